"""The U-Net of denoising diffusion models."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxgen.errors import InputError
from jaxgen.models.diffusion.encoder import Block, UNetEncoder
from jaxgen.nn import Embed, doubled


class UNet(UNetEncoder):
    """Residual blocks down to small maps and up again, each with the map of the way down and with the time.

    The defaults are DDPM's CIFAR-10 model of 35.7 million parameters; `models.diffusion.presets` has the networks of other
    papers, which differ in the fields alone. Any sides will do: an odd side is halved upwards, and on the way up the map is
    cropped to the one that it came from.

    Source: Ho et al. 2020, appendix B. The fields: Nichol & Dhariwal 2021; Dhariwal & Nichol 2021, section 3; Song et al. 2021,
    appendix H.1; Karras et al. 2022, table 7 and appendix F; Rombach et al. 2022, appendix E.

    Fields:
      classes: the number of labels, with one more for "unlabelled"; 0 for a model without labels. The other fields are those
        of `UNetEncoder`; each level has one block more on the way up than on the way down.
      attend_last: whether on the way up the last block of a level alone is followed by attention.
      outputs: channels of the output, twice those of the images for learned variances; None for those of the images.
      label_first: whether the label enters as a unit vector before the layers that map the time, where "unlabelled" is zero;
        otherwise as a learned vector after them.
      label_dropout: share of the labels that are replaced by "unlabelled" in training.
    """

    attend_last: bool = False
    outputs: int | None = None
    label_first: bool = False
    label_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        context: Float[Array, "b n e"] | None = None,
        mask: Bool[Array, "b n"] | None = None,
        augment: Float[Array, "b a"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Predicts from noisy images, in float32; zero at the start.

        Args:
          x: noisy images.
          time: the times of the noise.
          label: classes, where the model has any.
          context: vectors of a text, say, at which the maps look wherever they look at themselves. A model that is initialised
            without any has no parameters for them.
          mask: a mask that is false for the vectors that only fill the texts up.
          augment: numbers that say how the images were augmented, all zero for those that were not. A model that is initialised
            without any has no parameters for them.
          train: whether activations are dropped.

        Returns:
          An image each.

        Raises:
          InputError: if the model has classes and is given no labels.
        """
        condition = self._condition(time, label, augment, train)
        block = self.block_of(condition, context, mask, train=train)
        maps = self.descend(x, block)
        h = self.middle(maps[-1], block)

        for level, channels in reversed(list(enumerate(self.channels))):
            for i in range(self.blocks + 1):
                h = jnp.concatenate([h, maps.pop()], axis=-1)
                h = block(h, channels, attend=self.attends(level, h) and (i == self.blocks or not self.attend_last))
            if level > 0:
                h = self._enlarged(h, maps[-1].shape[1:3], block)

        h = jax.nn.swish(self.group_norm(dtype=self.dtype)(h))
        out = self.conv(self.outputs or x.shape[-1], (3, 3), kernel_init=self.last_init, dtype=self.dtype)(h)
        return out.astype(jnp.float32)

    def _condition(self, time: Array, label: Array | None, augment: Array | None, train: bool) -> Float[Array, "b f"]:
        embedding, given = self.embedded(time), self._label(label, train) if self.classes else None
        first: dict[str, Any] = {"features": embedding.shape[-1], "dtype": self.dtype, **self._kernels()}
        if given is not None and self.label_first:
            embedding = embedding + nn.Dense(name="label", **first)(_unit_vector(given, self.classes))
        if augment is not None:
            embedding = embedding + nn.Dense(name="augment", use_bias=False, **first)(augment)
        condition = self.mapped(embedding)
        if given is not None and not self.label_first:
            condition = condition + Embed(self.classes + 1, condition.shape[-1], dtype=self.dtype)(given)
        return jax.nn.swish(condition)

    def _label(self, label: Array | None, train: bool) -> Int[Array, " b"]:
        """The labels, a share of which is "unlabelled" in training."""
        if label is None:
            raise InputError(
                f"A network with {self.classes} classes takes a label of each image, {self.classes} where it has none."
            )
        if not train or not self.label_dropout:
            return label
        dropped = jax.random.bernoulli(self.make_rng("dropout"), self.label_dropout, label.shape)
        return jnp.where(dropped, self.classes, label)

    def _enlarged(self, h: Array, sides: tuple[int, ...], block: Block) -> Array:
        height, width = sides
        if self.taps is None:
            h = h.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
            return self.conv(h.shape[-1], (3, 3), dtype=self.dtype)(h)
        h = block(h, h.shape[-1], resize=2) if self.resample_in_blocks else doubled(h, self.taps)
        return h[:, :height, :width]


def _unit_vector(label: Array, classes: int) -> Float[Array, "b k"]:
    r"""$\sqrt{K}\, e_k$ for the label k of K; zero for K, "unlabelled", and nan for a number that is neither."""
    unit = jnp.sqrt(jnp.float32(classes)) * jax.nn.one_hot(label, classes, dtype=jnp.float32)
    there = (label >= 0) & (label <= classes)
    return jnp.where(there[:, None], unit, jnp.nan)
