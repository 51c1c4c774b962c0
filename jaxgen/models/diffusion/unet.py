"""The U-Net of denoising diffusion models."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxgen.nn import AdditiveGroupNorm, Attention, ConditionalResidualBlock, Conv, Embed, GroupNorm, Sinusoidal


class UNet(nn.Module):
    """Residual blocks down to small maps and up again with the maps of the way down at hand, told the time.

    The defaults are the paper's CIFAR-10 model of 35.7 million parameters. Any sides will do: an odd side is halved upwards,
    and on the way up the map is cropped to the one that it came from.

    Source: Ho et al. 2020, appendix B.

    Fields:
      channels: the numbers of channels by level, the largest maps first; each level after the first halves the side.
      blocks: residual blocks at each size on the way down; one more on the way up.
      attention: sides of the maps that attend to themselves; the smallest maps always do.
      heads: the number of attention heads.
      dropout: share of the activations dropped in training, in each block.
      norm: the layer by which a block is told the time: `AdditiveGroupNorm`, `AdaptiveGroupNorm` or `ConditionalInstanceNorm`.
      time: embedding of the time, `[B] -> [B, F]`; None for sines and cosines, as many as channels of the largest maps.
      classes: the number of labels, with one more for "unlabelled"; 0 for a model that is told none.
      remat: whether to recompute the blocks' maps in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
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

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        context: Float[Array, "b n e"] | None = None,
        mask: Bool[Array, "b n"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        """Predicts from noisy images, in float32; zero at the start.

        Args:
          x: noisy images.
          time: the times of the noise.
          label: classes, where the model has any.
          context: vectors of a text, say, at which the maps look wherever they look at themselves. A model that is initialised
            without any has no parameters for them.
          mask: a mask that is false for the vectors that only fill the texts up.
          train: whether activations are dropped.

        Returns:
          An image each.
        """
        condition = self._condition(time, label)
        kind = nn.remat(ConditionalResidualBlock, static_argnums=(3,)) if self.remat else ConditionalResidualBlock

        def block(h: Array, features: int, *, attend: bool) -> Array:
            h = kind(features, self.norm, self.dropout, dtype=self.dtype)(h, condition, train)
            if attend:
                h = SelfAttention(self.heads, dtype=self.dtype)(h)
                if context is not None:
                    h = CrossAttention(self.heads, dtype=self.dtype)(h, context, mask)
            return h

        h = Conv(self.channels[0], (3, 3), dtype=self.dtype)(x)
        maps = [h]
        for level, channels in enumerate(self.channels):
            if level > 0:
                h = Conv(h.shape[-1], (3, 3), (2, 2), dtype=self.dtype)(h)
                maps.append(h)
            for _ in range(self.blocks):
                h = block(h, channels, attend=h.shape[1] in self.attention)
                maps.append(h)

        h = block(h, h.shape[-1], attend=True)
        h = block(h, h.shape[-1], attend=False)

        for level, channels in reversed(list(enumerate(self.channels))):
            for _ in range(self.blocks + 1):
                h = jnp.concatenate([h, maps.pop()], axis=-1)
                h = block(h, channels, attend=h.shape[1] in self.attention)
            if level > 0:
                height, width = maps[-1].shape[1:3]
                h = h.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
                h = Conv(h.shape[-1], (3, 3), dtype=self.dtype)(h)

        h = jax.nn.swish(GroupNorm(dtype=self.dtype)(h))
        out = Conv(x.shape[-1], (3, 3), kernel_init=nn.initializers.zeros_init(), dtype=self.dtype)(h)
        return out.astype(jnp.float32)

    def _condition(self, time: Array, label: Array | None) -> Float[Array, "b f"]:
        width = 4 * self.channels[0]
        embedding = (self.time or Sinusoidal(self.channels[0]))(time).astype(self.dtype)
        condition = nn.Dense(width, dtype=self.dtype)(jax.nn.swish(nn.Dense(width, dtype=self.dtype)(embedding)))
        if self.classes:
            condition = condition + Embed(self.classes + 1, width, dtype=self.dtype)(label)
        return jax.nn.swish(condition)


class SelfAttention(nn.Module):
    """Each pixel looks at all, $x + f(x)$; at the start it is the identity.

    Fields:
      heads: number of heads.
      dtype: the dtype of the computation; the parameters are float32.
    """

    heads: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Attends over the pixels of each example."""
        b, h, w, c = x.shape
        y = GroupNorm(dtype=self.dtype)(x).reshape(b, h * w, c)
        y = Attention(self.heads, out_init=nn.initializers.zeros_init(), dtype=self.dtype)(y)
        return x + y.reshape(x.shape)


class CrossAttention(nn.Module):
    """Each pixel looks at the vectors of a context, $x + f(x, c)$; at the start it is the identity.

    Fields:
      heads: number of heads.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Rombach et al. 2022, section 3.3, here without the feed-forward part.
    """

    heads: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], context: Float[Array, "b n e"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b h w c"]:
        """Attends from the pixels of each example to its context."""
        b, h, w, c = x.shape
        y = GroupNorm(dtype=self.dtype)(x).reshape(b, h * w, c)
        own = None if mask is None else mask[:, None]
        y = Attention(self.heads, out_init=nn.initializers.zeros_init(), dtype=self.dtype)(y, context, mask=own)
        return x + y.reshape(x.shape)
