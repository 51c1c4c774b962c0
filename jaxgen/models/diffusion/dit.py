"""The diffusion Transformer: a denoiser of patches, whose blocks are scaled, shifted and gated by the time and the class."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.errors import InputError
from jaxgen.nn import Attention, Embed, LayerNorm, PatchEmbedding, Sinusoidal, from_patches, grid_of, sinusoidal_2d
from jaxgen.nn.transformer import Transformer
from jaxgen.types import Key

NARROW = nn.initializers.normal(0.02)
"""The initializer of the time's kernels and of the labels' vectors."""

XAVIER = nn.initializers.xavier_uniform()

FUSED = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")
"""Xavier's of one layer that gives queries, keys and values: of d inputs and 3d outputs, where one of the three has d."""

Norm = functools.partial(LayerNorm, epsilon=1e-6, affine=False)


def xavier_of_patches(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Xavier's initializer of a kernel `[p, p, C, features]` as that of a dense layer from p p C numbers to the features."""
    return XAVIER(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)


def modulate(x: Float[Array, "b n c"], shift: Float[Array, "b 1 c"], scale: Float[Array, "b 1 c"]) -> Float[Array, "b n c"]:
    r"""$(1 + \mathrm{scale})\, x + \mathrm{shift}$."""
    return x * (1 + scale) + shift


class Modulation(nn.Module):
    """Numbers for each channel that a condition gives, all zero at the start: a dense layer of its SiLU.

    Fields:
      parts: the number of parts, each with one number for every channel.
      dtype: the dtype of the computation; the parameters are float32.
    """

    parts: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, condition: Float[Array, "b 1 c"]) -> list[Float[Array, "b 1 c"]]:
        """Gives one array for each part."""
        zeros = nn.initializers.zeros_init()
        dense = nn.Dense(self.parts * condition.shape[-1], kernel_init=zeros, dtype=self.dtype, name="dense")
        return jnp.split(dense(jax.nn.silu(condition)), self.parts, axis=-1)


class AdaptiveBlock(nn.Module):
    r"""The adaLN-Zero block: $x \leftarrow x + g\, f((1 + s)\, \mathrm{norm}(x) + b)$ for f the attention, then the MLP.

    The shift b, the scale s and the gate g of each branch are linear in the SiLU of a condition and start at zero, so that a
    block starts as the identity. The norms learn nothing themselves. `Transformer` makes a stack of these blocks by
    `block=AdaptiveBlock`, and hands on the condition as a `context` of one vector.

    Fields:
      heads: number of heads; it divides the width.
      depth: number of blocks of the whole; nothing depends on it.
      expansion: hidden units of the MLP for each of the width.
      activation: the activation function between its two layers.
      dtype: the dtype of the computation; the parameters are float32.
      layer: the number of this block in the whole; nothing depends on it.

    Source: Peebles & Xie 2023, section 3.2 and figure 3, and the authors' code (`DiTBlock`).
    """

    heads: int
    depth: int = 1
    expansion: int = 4
    activation: Any = jax.nn.gelu
    dtype: Any = jnp.float32
    layer: int = 0

    drops = False
    """Nothing is dropped in training."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], mask: None, bias: None, context: Float[Array, "b 1 c"], *rest: None
    ) -> Float[Array, "b n c"]:
        """Maps a sequence.

        Args:
          x: the sequence.
          mask: nothing; a block has neither masks nor biases.
          bias: nothing.
          context: the condition, one vector for each sequence.
          *rest: nothing, for what else `Transformer` hands to its blocks.

        Returns:
          One vector for each position.
        """
        width, dtype = x.shape[-1], self.dtype
        x = x.astype(dtype)
        parts = Modulation(6, dtype, name="modulation")(context.astype(dtype))
        attention = Attention(self.heads, XAVIER, dtype, FUSED, name="attention")

        def mlp(y: Array) -> Array:
            dense = functools.partial(nn.Dense, kernel_init=XAVIER, dtype=dtype)
            return dense(width, name="mlp_out")(self.activation(dense(self.expansion * width, name="mlp_in")(y)))

        for branch, (shift, scale, gate) in ((attention, parts[:3]), (mlp, parts[3:])):
            x = x + gate * branch(modulate(Norm(dtype=dtype)(x), shift, scale))
        return x


class DiT(nn.Module):
    """Patches through blocks that the time and the class modulate, and a layer that gives the pixels of each patch.

    The defaults are those of DiT-XL/2 without labels; `models.diffusion.dit_presets` has the paper's sizes. The positions are
    fixed sines and cosines, so images of any size that the patches cover will do. The output is zero at the start.

    Fields:
      patch: the side of a patch in pixels; it divides the images'.
      width: the width of the patches' vectors, a multiple of four.
      depth: the number of blocks.
      heads: the number of heads; it divides the width.
      classes: the number of labels, with one more for "unlabelled"; 0 for a model without labels.
      outputs: channels of the output, twice those of the images for learned variances; None for those of the images.
      time: the embedding of the time, which two layers map to the width. The authors count their times from 0.
      remat: whether to recompute the blocks in the backward pass.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Peebles & Xie 2023, section 3.2, and the authors' code.

    >>> model = DiT(patch=2, width=16, depth=2, heads=2, outputs=6)
    >>> x, time = jnp.ones((1, 4, 8, 3)), jnp.ones(1)
    >>> y = model.apply(model.init(jax.random.key(0), x, time), x, time)
    >>> y.shape, float(abs(y).max())
    ((1, 4, 8, 6), 0.0)
    """

    patch: int = 2
    width: int = 1152
    depth: int = 28
    heads: int = 16
    classes: int = 0
    outputs: int | None = None
    time: nn.Module = Sinusoidal(256, endpoint=False, cosines_first=True)
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Predicts from noisy images, in float32.

        Args:
          x: noisy images, or noisy latents of these.
          time: the times of the noise.
          label: classes, where the model has any; the number of the classes stands for "unlabelled".
          train: whether it is trained, which changes nothing: the network drops nothing.

        Returns:
          An image each.

        Raises:
          InputError: if the model has classes and is given no labels.
          SizeError: if patches do not cover the images.
        """
        grid, outputs = grid_of(x.shape[1], x.shape[2], self.patch), self.outputs or x.shape[-1]
        condition = self._condition(time, label)[:, None]
        patches = PatchEmbedding(self.width, self.patch, kernel_init=xavier_of_patches, dtype=self.dtype, name="patches")
        h = patches(x) + sinusoidal_2d(grid, self.width).astype(self.dtype)
        stack = Transformer(self.depth, self.heads, remat=self.remat, dtype=self.dtype, block=AdaptiveBlock, name="transformer")
        h = stack(h, context=condition)
        h = modulate(Norm(dtype=self.dtype)(h), *Modulation(2, self.dtype, name="modulation")(condition))
        zeros = nn.initializers.zeros_init()
        pixels = nn.Dense(self.patch**2 * outputs, kernel_init=zeros, dtype=self.dtype, name="out")(h)
        return from_patches(pixels, grid, self.patch).astype(jnp.float32)

    def _condition(self, time: Array, label: Array | None) -> Float[Array, "b c"]:
        dense = functools.partial(nn.Dense, self.width, kernel_init=NARROW, dtype=self.dtype)
        hidden = jax.nn.silu(dense(name="time_in")(self.time(time).astype(self.dtype)))
        condition = dense(name="time_out")(hidden)
        if not self.classes:
            return condition
        if label is None:
            raise InputError(
                f"A network with {self.classes} classes takes a label of each image, {self.classes} where it has none."
            )
        return condition + Embed(self.classes + 1, self.width, NARROW, self.dtype, name="label")(label)
