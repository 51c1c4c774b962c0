"""GoogLeNet: stages of inception blocks, of which each looks at its input through windows of several sizes."""

from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BatchNorm, Conv, max_pool


class Branches(NamedTuple):
    """The channels of an inception block's branches.

    Fields:
      one: channels of the 1x1 convolution.
      three_in: channels of the 1x1 convolution before the 3x3 one.
      three: channels of the 3x3 convolution.
      five_in: channels of the 1x1 convolution before the 5x5 one.
      five: channels of the 5x5 convolution.
      pooled: channels of the 1x1 convolution after the maximum over 3x3.
    """

    one: int
    three_in: int
    three: int
    five_in: int
    five: int
    pooled: int


Stages: TypeAlias = tuple[tuple[Branches, ...], ...]

GOOGLENET: Stages = (
    (Branches(64, 96, 128, 16, 32, 32), Branches(128, 128, 192, 32, 96, 64)),
    (
        Branches(192, 96, 208, 16, 48, 64),
        Branches(160, 112, 224, 24, 64, 64),
        Branches(128, 128, 256, 24, 64, 64),
        Branches(112, 144, 288, 32, 64, 64),
        Branches(256, 160, 320, 32, 128, 128),
    ),
    (Branches(256, 160, 320, 32, 128, 128), Branches(384, 192, 384, 48, 128, 128)),
)
"""Blocks 3a to 5b of the paper's table 1."""


def branches(channels: int) -> Branches:
    """The branches of a block with this many channels, a multiple of 8 at best, in the proportions of the paper's block 3a.

    >>> branches(256) == GOOGLENET[0][0]
    True
    >>> one, _, three, _, five, pooled = branches(12)
    >>> one + three + five + pooled
    12
    """
    one, five, pooled = (max(channels // part, 1) for part in (4, 8, 8))
    return Branches(one, max(3 * channels // 8, 1), channels - one - five - pooled, max(channels // 16, 1), five, pooled)


class Inception(nn.Module):
    """The outputs of four branches, one after another: 1x1, 1x1 then 3x3, 1x1 then 5x5, a maximum over 3x3 then 1x1.

    A convolution has no bias, and batch normalisation and rectification follow it.

    Fields:
      channels: the channels of the branches.
      third: the side of the largest window, 5; torchvision has 3.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Szegedy et al. 2015, figure 2b; batch normalisation as in Ioffe & Szegedy 2015 and in torchvision.
    """

    channels: Branches
    third: int = 5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps a batch of feature maps."""
        c, x = self.channels, x.astype(self.dtype)

        def unit(x: Array, channels: int, size: int, name: str) -> Array:
            return Unit(channels, size, dtype=self.dtype, name=name)(x, train=train)

        return jnp.concatenate(
            [
                unit(x, c.one, 1, "one"),
                unit(unit(x, c.three_in, 1, "three_in"), c.three, 3, "three"),
                unit(unit(x, c.five_in, 1, "five_in"), c.five, self.third, "five"),
                unit(max_pool(x, (3, 3), (1, 1), 1), c.pooled, 1, "pooled"),
            ],
            axis=-1,
        )


class Unit(nn.Module):
    """A convolution without bias, batch normalisation and rectification.

    Fields:
      features: output channels.
      size: the side of the window.
      stride: the stride.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    size: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        start = nn.initializers.he_normal()
        options = {"use_bias": False, "kernel_init": start, "dtype": self.dtype, "name": "conv"}
        x = Conv(self.features, (self.size, self.size), (self.stride, self.stride), self.size // 2, **options)(x)
        return jax.nn.relu(BatchNorm(epsilon=1e-3, dtype=self.dtype, name="norm")(x, train=train))


class GoogLeNet(nn.Module):
    """A stem and stages of inception blocks, between which the side is halved: images to maps.

    Fields:
      stages: the blocks of each stage.
      stem: channels of the stem. For large images they are those of its three convolutions, 7x7 of stride 2, 1x1 and 3x3, with
        a maximum over 3x3 of stride 2 after the first and the last; for small images there is one 3x3 convolution, with the
        first number.
      large: whether the stem is that for large images.
      torchvision: whether two details are those of torchvision: 3x3 windows in place of 5x5 in the blocks, and a maximum over
        2x2 before the third stage.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Szegedy et al. 2015, table 1, without the auxiliary classifiers.
    """

    stages: Stages = GOOGLENET
    stem: tuple[int, ...] = (64, 64, 192)
    large: bool = True
    torchvision: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The output of every stage, the largest maps first."""
        if not self.large and min(x.shape[1:3]) >> (len(self.stages) - 1) == 0:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be halved {len(self.stages) - 1} times; give the network fewer "
                "stages (fewer --channels), or take larger images."
            )
        x = x.astype(self.dtype)
        if self.large:
            first, second, third = self.stem
            x = Unit(first, 7, 2, self.dtype, name="stem0")(x, train=train)
            x = max_pool(x, (3, 3), (2, 2), ceil_mode=True)
            x = Unit(second, 1, dtype=self.dtype, name="stem1")(x, train=train)
            x = Unit(third, 3, dtype=self.dtype, name="stem2")(x, train=train)
            x = max_pool(x, (3, 3), (2, 2), ceil_mode=True)
        else:
            x = Unit(self.stem[0], 3, dtype=self.dtype, name="stem0")(x, train=train)
        found = []
        for i, stage in enumerate(self.stages):
            if i > 0:
                window = 2 if not self.large or (self.torchvision and i == 2) else 3
                x = max_pool(x, (window, window), (2, 2), ceil_mode=self.large)
            for j, block in enumerate(stage):
                third = 3 if self.torchvision else 5
                x = Inception(block, third, self.dtype, name=f"block{i}_{j}")(x, train=train)
            found.append(x)
        return tuple(found)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """The last maps."""
        return self.maps(x, train=train)[-1]
