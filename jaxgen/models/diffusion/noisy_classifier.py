"""A classifier of noisy images at a known time of the noise, for classifier guidance."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.diffusion.encoder import UNetEncoder
from jaxgen.nn import attend, width_of_head


class NoisyClassifier(UNetEncoder):
    """The way down and the middle of a U-Net, then attention that pools the smallest maps.

    Images of one size only, since the pool has a position for each pixel of the smallest maps.

    Source: Dhariwal & Nichol 2021, section 4.1 (the trunk of the U-Net's way down, with an attention pool at 8x8), table 12.

    Fields:
      classes: the number of classes. The other fields are those of `UNetEncoder`.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], time: Float[Array, " b"], *, train: bool = False) -> Float[Array, "b k"]:
        """Classifies noisy images.

        Args:
          x: noisy images.
          time: the times of the noise, as the denoiser gets them.
          train: whether activations are dropped.

        Returns:
          The logits of the classes, in float32.
        """
        block = self.block_of(jax.nn.swish(self.mapped(self.embedded(time))), train=train)
        h = self.middle(self.descend(x, block)[-1], block)
        h = jax.nn.swish(self.group_norm(dtype=self.dtype)(h))
        return AttentionPool(self.classes, self.heads_of(h.shape[-1]), dtype=self.dtype)(h).astype(jnp.float32)


class AttentionPool(nn.Module):
    """A vector for each map: what the map's mean finds by attention to all pixels and to itself.

    Fields:
      features: the width of the vectors.
      heads: the number of heads; it divides the channels.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Radford et al. 2021 (CLIP), section 2.4.
    """

    features: int
    heads: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b o"]:
        """Pools a batch of maps."""
        b, h, w, c = x.shape
        known: Any = self.get_variable("params", "positions")
        if known is not None and len(known) != h * w + 1:
            raise SizeError(
                f"The pool has positions for {len(known) - 1} pixels, and the smallest maps have {h}x{w}; give images of the "
                "size that the classifier was made for."
            )
        positions = self.param("positions", nn.initializers.normal(c**-0.5), (h * w + 1, c), jnp.float32)
        pixels = x.reshape(b, h * w, c).astype(self.dtype)
        tokens = jnp.concatenate([pixels.mean(1, keepdims=True), pixels], axis=1) + positions.astype(self.dtype)

        def projected(tokens: Array, name: str) -> Array:
            return nn.DenseGeneral((self.heads, width_of_head(c, self.heads)), dtype=self.dtype, name=name)(tokens)

        # The mean's query alone: the other queries' answers would be thrown away.
        y = attend(projected(tokens[:, :1], "query"), projected(tokens, "key"), projected(tokens, "value"))
        return nn.DenseGeneral(self.features, axis=(-2, -1), dtype=self.dtype, name="out")(y)[:, 0]
