"""CLIP's residual network as an image encoder, with attention in place of the average at its end."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BatchNorm, Conv, attend, width_of_head


class AttentionPool(nn.Module):
    """One query, the mean over all places, attends to them and itself: `[B, H, W, C]` to `[B, D]`.

    Fields:
      heads: number of heads; it divides the channels.
      outputs: the dimension D of the output.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Radford et al. 2021, section 2.4.
    """

    heads: int
    outputs: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Pools feature maps."""
        b, h, w, channels = x.shape
        start = nn.initializers.normal(1 / math.sqrt(channels))
        x = x.astype(self.dtype).reshape(b, h * w, channels)
        x = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1)
        x = x + self.param("positions", start, (h * w + 1, channels), jnp.float32).astype(self.dtype)
        heads = (self.heads, width_of_head(channels, self.heads))
        q, k, v = (
            nn.DenseGeneral(heads, kernel_init=start, dtype=self.dtype, name=name)(a)
            for name, a in (("query", x[:, :1]), ("key", x), ("value", x))
        )
        out = attend(q, k, v).reshape(b, channels)
        return nn.Dense(self.outputs, kernel_init=start, dtype=self.dtype, name="out")(out)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 with a shortcut; it halves the side by averaging, which does not alias.

    The last norm's gain starts at zero, so that a block starts as its shortcut.

    Fields:
      features: channels of the 3x3 convolution; the output has four times as many.
      stride: the stride, 1 or 2.
      dtype: the dtype of the computation; the parameters are float32.

    Source: He et al. 2016, figure 5; He et al. 2019 (ResNet-D), figure 2; Zhang 2019 (the averaging).
    """

    features: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        outputs = 4 * self.features

        def conv(x: Array, features: int, size: int) -> Array:
            return Conv(features, (size, size), use_bias=False, dtype=self.dtype)(x)

        y = jax.nn.relu(BatchNorm(dtype=self.dtype)(conv(x, self.features, 1), train=train))
        y = jax.nn.relu(BatchNorm(dtype=self.dtype)(conv(y, self.features, 3), train=train))
        y = conv(_shrunk(y, self.stride), outputs, 1)
        y = BatchNorm(scale_init=nn.initializers.zeros_init(), dtype=self.dtype)(y, train=train)
        if self.stride > 1 or x.shape[-1] != outputs:
            x = BatchNorm(dtype=self.dtype)(conv(_shrunk(x, self.stride), outputs, 1), train=train)
        return jax.nn.relu(x.astype(self.dtype) + y)


class ResNet(nn.Module):
    """A stem of three convolutions, stages of bottlenecks that halve the side, and attention over what is left.

    With the defaults it is the ResNet-50 of the paper. The stem quarters the side and every stage but the first halves it.

    Fields:
      blocks: bottlenecks in each stage.
      width: channels after the stem; stage i ends in `4 * width * 2**i`.
      heads: the number of attention heads; it divides the channels at the end.
      outputs: the dimension D of the image's vector.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Radford et al. 2021, section 2.4.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    heads: int = 32
    outputs: int = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b d"]:
        """Maps images to vectors."""
        shrinks = 2 ** (len(self.blocks) + 1)
        if min(x.shape[1:3]) < shrinks:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} vanish where {shrinks} pixels become one; "
                "give the network fewer stages (--depth), or larger images."
            )
        if self.width < 2:
            raise SizeError(f"A stem of {self.width // 2} channels holds nothing; give the network a larger --width.")
        for features, stride in ((self.width // 2, 2), (self.width // 2, 1), (self.width, 1)):
            pads = ((1, 1), (1, 1))
            x = Conv(features, (3, 3), (stride, stride), pads, use_bias=False, dtype=self.dtype)(x)
            x = jax.nn.relu(BatchNorm(dtype=self.dtype)(x, train=train))
        x = _shrunk(x, 2)
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Bottleneck(self.width * 2**stage, stride, self.dtype, name=f"stage_{stage}_{i}")(x, train=train)
        return AttentionPool(self.heads, self.outputs, self.dtype, name="pool")(x)


def _shrunk(x: Array, factor: int) -> Array:
    """The average over squares; what is left over at the lower and right edge falls away."""
    if factor == 1:
        return x
    b, h, w, c = x.shape[0], x.shape[1] // factor, x.shape[2] // factor, x.shape[3]
    return x[:, : h * factor, : w * factor].reshape(b, h, factor, w, factor, c).mean((2, 4))
