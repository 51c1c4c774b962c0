"""The first half of a U-Net: what U-Nets and classifiers of noisy images have in common."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.diffusion.attention import CrossAttention, SelfAttention, SpatialTransformer
from jaxgen.nn import BOX, AdditiveGroupNorm, Attention, ConditionalResidualBlock, Conv, GroupNorm, Sinusoidal, Taps, halved
from jaxgen.nn.padding import Padding

Block: TypeAlias = Callable[..., Array]
"""`block(h, features, *, attend=False, resize=1)`: a residual block and what follows it, with all conditions."""


class UNetEncoder(nn.Module):
    """Residual blocks down to small maps, conditioned on the time. Any sides will do: an odd side is halved upwards.

    Fields:
      channels: the numbers of channels by level, the largest maps first; each level after the first halves the side.
      blocks: residual blocks at each size.
      attention: sides of the maps that attend to themselves; the smallest maps always do.
      heads: the number of attention heads.
      dropout: share of the activations dropped in training, in each block.
      norm: the layer by which the time enters a block: `AdditiveGroupNorm` (a shift before the normalisation),
        `AdaptiveGroupNorm` (a scale and a shift after it) or `ConditionalInstanceNorm`.
      time: embedding of the time, `[B] -> [B, F]`; None for sines and cosines, as many as the width.
      classes: the number of labels, which are an input of a U-Net and the output of a classifier.
      remat: whether to recompute the blocks' maps in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
      attention_levels: numbers of the levels, from 0, that attend to themselves, in place of `attention`. The same levels do at
        every resolution, so that a network can be sampled at another one than it was trained at.
      head_width: channels of an attention head, whose number follows from it; None for the number in `heads`. Maps with fewer
        channels have one head.
      transformer_depth: the number of blocks of the Transformer that takes the place of each attention; 0 for attention alone.
      width: the width of the embedded time, of which the blocks get four times as many numbers; None for the channels of
        the largest maps.
      stem: channels of the first convolution; None for the channels of the largest maps.
      groups: the most groups of every group normalisation, those of `norm` among them, as in `GroupNorm`.
      epsilon: the number that every normalisation adds to the variances; None for each one's own.
      skip_scale: the factor of every sum of a branch and its shortcut.
      taps: the filter by which maps are halved and doubled in residual blocks of their own, `BOX` or `BINOMIAL`; None for
        convolutions of stride 2 on the way down, and for the nearest pixel and a convolution on the way up.
      resample_in_blocks: whether the filter is part of residual blocks; otherwise it stands alone between the blocks.
      project_resampled: whether a block that resamples has a 1x1 convolution on its shortcut, as if its channels changed.
      stride_padding: the padding of the convolutions of stride 2: "SAME" is TensorFlow's, one pixel after even sides; 1 is
        PyTorch's, one on every side.
      pyramid: a function that makes what joins the image to the maps of each level, `ResidualPyramid` or `SkipPyramid`.
      kernel_init: the initializer of all kernels but those named next; None for each layer's own.
      last_init: the initializer of the last kernel of every branch and of the network.
      qkv_init: the initializer of the kernels of queries, keys and values; None for `kernel_init`.
    """

    channels: tuple[int, ...] = (128, 256, 256, 256)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    heads: int = 1
    dropout: float = 0.1
    norm: Callable[..., nn.Module] = AdditiveGroupNorm
    time: nn.Module | None = None
    classes: int = 0
    remat: bool = False
    dtype: Any = jnp.float32
    attention_levels: tuple[int, ...] | None = None
    head_width: int | None = None
    transformer_depth: int = 0
    width: int | None = None
    stem: int | None = None
    groups: int | None = None
    epsilon: float | None = None
    skip_scale: float = 1.0
    taps: Taps | None = None
    resample_in_blocks: bool = True
    project_resampled: bool = False
    stride_padding: Padding = "SAME"
    pyramid: Callable[..., nn.Module] | None = None
    kernel_init: nn.initializers.Initializer | None = None
    last_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    qkv_init: nn.initializers.Initializer | None = None

    def embedded(self, time: Float[Array, " b"]) -> Float[Array, "b f"]:
        """The time as a vector."""
        return (self.time or Sinusoidal(self.width or self.channels[0]))(time).astype(self.dtype)

    def mapped(self, embedding: Float[Array, "b f"]) -> Float[Array, "b g"]:
        """Two layers over the embedded condition, before the activation that ends them."""
        dense = functools.partial(nn.Dense, 4 * (self.width or self.channels[0]), dtype=self.dtype, **self._kernels())
        # The outer layer is made first, and so is called Dense_0.
        return dense()(jax.nn.swish(dense()(embedding)))

    def block_of(
        self, condition: Float[Array, "b g"], context: Array | None = None, mask: Array | None = None, *, train: bool
    ) -> Block:
        """A function that runs one more block.

        Args:
          condition: the vectors that the blocks get.
          context: vectors that the maps look at.
          mask: a mask that is false for vectors that are not there.
          train: whether activations are dropped.

        Returns:
          A function of maps, which makes a residual block at each call.
        """
        kind = nn.remat(ConditionalResidualBlock, static_argnums=(3,)) if self.remat else ConditionalResidualBlock
        shared: dict[str, Any] = {"dtype": self.dtype, "group_norm": self.group_norm, "scale": self.skip_scale}
        norm = functools.partial(self.norm, **_given(groups=self.groups, epsilon=self.epsilon), **self._kernels())
        of_qkv = _given(kernel_init=self.qkv_init or self.kernel_init)

        def block(h: Array, features: int, *, attend: bool = False, resize: int = 1) -> Array:
            own: dict[str, Any] = {"conv": self.conv, "last_init": self.last_init, **shared}
            if resize != 1:
                own |= {"resize": resize, "taps": self.taps, "project": self.project_resampled}
            h = kind(features, norm, self.dropout, **own)(h, condition, train)
            if not attend:
                return h
            heads = self.heads_of(features)
            if self.transformer_depth:
                kernels = self._kernels()
                layer = SpatialTransformer(heads, self.transformer_depth, out_init=self.last_init, **kernels, **shared)
                return layer(h, context, mask)
            looks: dict[str, Any] = {"attention": functools.partial(Attention, **of_qkv), "out_init": self.last_init, **shared}
            h = SelfAttention(heads, **looks)(h)
            return h if context is None else CrossAttention(heads, **looks)(h, context, mask)

        return block

    def descend(self, x: Float[Array, "b h w c"], block: Block) -> list[Array]:
        """The maps of the way down: of the first convolution, and after it of every block and every change of size."""
        h, pyramid = self.conv(self.stem or self.channels[0], (3, 3), dtype=self.dtype)(x), x
        maps = [h]
        for level, channels in enumerate(self.channels):
            if level > 0:
                h = self._reduced(h, block)
                if self.pyramid is not None:
                    join = self.pyramid(taps=self.taps or BOX, conv=self.conv, dtype=self.dtype)
                    pyramid, h = join(pyramid.astype(self.dtype), h)
                maps.append(h)
            for _ in range(self.blocks):
                h = block(h, channels, attend=self.attends(level, h))
                maps.append(h)
        return maps

    def middle(self, h: Array, block: Block) -> Array:
        """The smallest maps: a block, attention, and a block."""
        h = block(h, h.shape[-1], attend=True)
        return block(h, h.shape[-1])

    def attends(self, level: int, h: Array) -> bool:
        """Whether maps of a level attend to themselves."""
        return h.shape[1] in self.attention if self.attention_levels is None else level in self.attention_levels

    def heads_of(self, channels: int) -> int:
        """The number of attention heads of maps with so many channels."""
        return self.heads if self.head_width is None else max(channels // self.head_width, 1)

    @property
    def conv(self) -> Callable[..., nn.Module]:
        """A function that makes a convolution."""
        return functools.partial(Conv, **self._kernels())

    @property
    def group_norm(self) -> Callable[..., nn.Module]:
        """A function that makes a plain normalisation."""
        return functools.partial(GroupNorm, **_given(groups=self.groups, epsilon=self.epsilon))

    def _reduced(self, h: Array, block: Block) -> Array:
        if self.taps is None:
            return self.conv(h.shape[-1], (3, 3), (2, 2), padding=self.stride_padding, dtype=self.dtype)(h)
        return block(h, h.shape[-1], resize=-2) if self.resample_in_blocks else halved(h, self.taps)

    def _kernels(self) -> dict[str, Any]:
        return _given(kernel_init=self.kernel_init)


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None, so that a layer keeps its own value of the others."""
    return {name: value for name, value in fields.items() if value is not None}
