"""InceptionV3 of the Fréchet inception distance and the inception score: the TensorFlow graph of 2015-12-05.

It is not the network of the paper, nor the one that later releases distribute: 1008 classes, an average over 3x3 that does not
count the border, and in the last block a maximum in the average's place. Numbers are comparable by exactly this network.
The modules are named as the PyTorch conversions of the graph name them, so that their weights are read by name.
"""

from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from jaxgen.nn import BatchNorm

SIDE = 299
"""Pixels along either side of the images that the network sees."""

Layer: TypeAlias = tuple[str, int, tuple[int, int]]
"""Name, features and kernel size."""


class Seen(NamedTuple):
    """The network's features and logits of images.

    Fields:
      features: the averages of the last block's maps, `[B, 2048]`.
      unbiased: the logits without their bias, `[B, 1008]`: what the inception score takes.
      logits: the logits with the bias.
    """

    features: Float[Array, "b d"]
    unbiased: Float[Array, "b k"]
    logits: Float[Array, "b k"]


def prepare(images: UInt8[Array, "b h w c"]) -> Float[Array, "b 299 299 3"]:
    """Bytes as the network wants them: of 299x299 pixels, in [-1, 1), grey ones with three equal channels.

    Args:
      images: the images, with one channel or three, of any size.

    Returns:
      $(x - 128) / 128$ of the resized images.
    """
    x = resize(images.astype(jnp.float32), (SIDE, SIDE))
    return (jnp.broadcast_to(x, (*x.shape[:3], 3)) - 128) / 128


def resize(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    r"""Bilinear interpolation as TensorFlow 1 has it, with neither aligned corners nor antialiasing.

    Output pixel i lies at $i \cdot \mathrm{in} / \mathrm{out}$, where one of today would say
    $(i + 1/2) \cdot \mathrm{in} / \mathrm{out} - 1/2$: the image moves by half a pixel to the upper left, and one that shrinks
    is sampled, not averaged. Both show in the distances, and all that are published by this network have them.

    Args:
      x: images.
      size: height and width to come to.

    Returns:
      The images.

    >>> resize(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1), (1, 4)).ravel().tolist()
    [0.0, 2.0, 4.0, 4.0]
    """
    for axis, out in ((2, size[1]), (1, size[0])):
        there = x.shape[axis]
        place = np.arange(out, dtype=np.float32) * np.float32(there / out)
        low = place.astype(np.int32)
        share = jnp.asarray((place - low).reshape([-1 if a == axis else 1 for a in range(4)]), x.dtype)
        before, after = (jnp.take(x, jnp.asarray(i), axis=axis) for i in (low, np.minimum(low + 1, there - 1)))
        x = before + (after - before) * share
    return x


class InceptionV3(nn.Module):
    """The network, for inference: batch normalisation by the running averages alone.

    Fields:
      dtype: the dtype of the computation; the parameters and what comes out are float32.

    Source: Szegedy et al. 2016, table 1 (the blocks); Heusel et al. 2017 and Salimans et al. 2016 (this graph).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b 299 299 3"]) -> Seen:
        """Maps images in [-1, 1), as `prepare` makes them."""
        x = Unit(32, (3, 3), 2, "VALID", self.dtype, name="Conv2d_1a_3x3")(x)
        x = Unit(32, (3, 3), 1, "VALID", self.dtype, name="Conv2d_2a_3x3")(x)
        x = Unit(64, (3, 3), dtype=self.dtype, name="Conv2d_2b_3x3")(x)
        x = _thinned(x)
        x = Unit(80, (1, 1), dtype=self.dtype, name="Conv2d_3b_1x1")(x)
        x = Unit(192, (3, 3), 1, "VALID", self.dtype, name="Conv2d_4a_3x3")(x)
        x = _thinned(x)
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pooled, self.dtype, name=name)(x)
        x = BlockB(self.dtype, name="Mixed_6a")(x)
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(inner, self.dtype, name=name)(x)
        x = BlockD(self.dtype, name="Mixed_7a")(x)
        x = BlockE(dtype=self.dtype, name="Mixed_7b")(x)
        x = BlockE(maximum=True, dtype=self.dtype, name="Mixed_7c")(x)
        features = x.astype(jnp.float32).mean((1, 2))
        unbiased = nn.Dense(1008, use_bias=False, name="fc")(features)
        bias = self.param("fc_bias", nn.initializers.zeros_init(), (1008,), jnp.float32)
        return Seen(features, unbiased, unbiased + bias)


class Unit(nn.Module):
    """A convolution without bias, batch normalisation by running averages, and rectification.

    Fields:
      features: output channels.
      kernel_size: height and width.
      stride: the stride along both axes.
      padding: the padding, "SAME" or "VALID".
      dtype: the dtype of the computation.
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32).astype(self.dtype)
        strides, axes = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
        # XLA's own convolution on a CPU too: as fast as gathered patches where there is no loop, compiled in a sixth of the
        # time, and with a sixth of the memory, of which a batch of images of 299x299 needs much.
        y = lax.conv_general_dilated(x.astype(self.dtype), kernel, strides, self.padding, dimension_numbers=axes)
        return jax.nn.relu(BatchNorm(epsilon=1e-3, dtype=self.dtype, name="bn")(y, train=False))


class BlockA(nn.Module):
    """Branches of 1x1, 5x5, two 3x3, and an average.

    Fields:
      pooled: features of the average's branch.
      dtype: the dtype of the computation.
    """

    pooled: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Maps a batch of feature maps."""
        branches = (
            _chain(x, self.dtype, ("branch1x1", 64, (1, 1))),
            _chain(x, self.dtype, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
            _chain(x, self.dtype, *_numbered("branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3)))),
            _chain(_averaged(x), self.dtype, ("branch_pool", self.pooled, (1, 1))),
        )
        return jnp.concatenate(branches, axis=-1)


class BlockB(nn.Module):
    """Halves the side: branches of 3x3, two 3x3, and a maximum.

    Fields:
      dtype: the dtype of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        double = _chain(x, self.dtype, *_numbered("branch3x3dbl", (64, (1, 1)), (96, (3, 3))))
        branches = (
            Unit(384, (3, 3), 2, "VALID", self.dtype, name="branch3x3")(x),
            Unit(96, (3, 3), 2, "VALID", self.dtype, name="branch3x3dbl_3")(double),
            _thinned(x),
        )
        return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
    """Branches of 1x1, 7x7 and two 7x7, each of these as 1x7 and 7x1, and an average.

    Fields:
      inner: features inside of the branches of 7x7.
      dtype: the dtype of the computation.
    """

    inner: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Maps a batch of feature maps."""
        wide, high, n = (1, 7), (7, 1), self.inner
        branches = (
            _chain(x, self.dtype, ("branch1x1", 192, (1, 1))),
            _chain(x, self.dtype, *_numbered("branch7x7", (n, (1, 1)), (n, wide), (192, high))),
            _chain(x, self.dtype, *_numbered("branch7x7dbl", (n, (1, 1)), (n, high), (n, wide), (n, high), (192, wide))),
            _chain(_averaged(x), self.dtype, ("branch_pool", 192, (1, 1))),
        )
        return jnp.concatenate(branches, axis=-1)


class BlockD(nn.Module):
    """Halves the side: branches of 3x3, 7x7 and 3x3, and a maximum.

    Fields:
      dtype: the dtype of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        small = _chain(x, self.dtype, ("branch3x3_1", 192, (1, 1)))
        large = _chain(x, self.dtype, *_numbered("branch7x7x3", (192, (1, 1)), (192, (1, 7)), (192, (7, 1))))
        branches = (
            Unit(320, (3, 3), 2, "VALID", self.dtype, name="branch3x3_2")(small),
            Unit(192, (3, 3), 2, "VALID", self.dtype, name="branch7x7x3_4")(large),
            _thinned(x),
        )
        return jnp.concatenate(branches, axis=-1)


class BlockE(nn.Module):
    """Branches of 1x1, 3x3 and two 3x3, whose last parts are a 1x3 and a 3x1 in parallel, and an average or a maximum.

    Fields:
      maximum: whether to pool by the maximum, as the graph does in its last block and the paper does not.
      dtype: the dtype of the computation.
    """

    maximum: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Maps a batch of feature maps."""
        single = _chain(x, self.dtype, ("branch3x3_1", 384, (1, 1)))
        double = _chain(x, self.dtype, *_numbered("branch3x3dbl", (448, (1, 1)), (384, (3, 3))))
        pooled = nn.max_pool(x, (3, 3), (1, 1), "SAME") if self.maximum else _averaged(x)
        branches = (
            _chain(x, self.dtype, ("branch1x1", 320, (1, 1))),
            _chain(single, self.dtype, ("branch3x3_2a", 384, (1, 3))),
            _chain(single, self.dtype, ("branch3x3_2b", 384, (3, 1))),
            _chain(double, self.dtype, ("branch3x3dbl_3a", 384, (1, 3))),
            _chain(double, self.dtype, ("branch3x3dbl_3b", 384, (3, 1))),
            _chain(pooled, self.dtype, ("branch_pool", 192, (1, 1))),
        )
        return jnp.concatenate(branches, axis=-1)


def _chain(x: Array, dtype: Any, *layers: Layer) -> Array:
    """One layer after another, as parts of the module that calls."""
    for name, features, kernel_size in layers:
        x = Unit(features, kernel_size, dtype=dtype, name=name)(x)
    return x


def _numbered(name: str, *layers: tuple[int, tuple[int, int]]) -> list[Layer]:
    return [(f"{name}_{i}", features, kernel_size) for i, (features, kernel_size) in enumerate(layers, 1)]


def _thinned(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")


def _averaged(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
