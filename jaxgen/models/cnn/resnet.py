"""ResNet: stages of residual blocks, each but the first of which halves the side."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.cnn.vgg import HE
from jaxgen.nn import BatchNorm, Conv, max_pool


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1, and a shortcut.

    The stride is that of the first 3x3 convolution. The shortcut is a 1x1 convolution where the shape changes.

    Fields:
      features: channels of the 3x3 convolutions; the output of a bottleneck has four times as many.
      stride: the stride, 1 or 2.
      bottleneck: whether it is a bottleneck of three convolutions.
      dtype: the dtype of the computation; the parameters are float32.

    Source: He et al. 2016, figure 5 and option B; torchvision puts the stride of a bottleneck there.
    """

    features: int
    stride: int = 1
    bottleneck: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        outputs = self.features * (4 if self.bottleneck else 1)
        n, s = self.features, self.stride
        layers = ((n, 1, 1), (n, 3, s), (outputs, 1, 1)) if self.bottleneck else ((n, 3, s), (outputs, 3, 1))

        def unit(x: Array, channels: int, size: int, stride: int, name: str) -> Array:
            pad = size // 2
            options = {"use_bias": False, "kernel_init": HE, "dtype": self.dtype, "name": f"conv{name}"}
            x = Conv(channels, (size, size), (stride, stride), pad, **options)(x)
            return BatchNorm(dtype=self.dtype, name=f"norm{name}")(x, train=train)

        y = x
        for i, (channels, size, stride) in enumerate(layers):
            y = unit(jax.nn.relu(y) if i else y, channels, size, stride, str(i))
        if s > 1 or x.shape[-1] != outputs:
            x = unit(x, outputs, 1, s, "_shortcut")
        return jax.nn.relu(x.astype(self.dtype) + y)


class ResNet(nn.Module):
    """A stem and stages of residual blocks: images to maps.

    Fields:
      channels: channels of the stages, of the 3x3 convolutions; the stem has the first number.
      blocks: residual blocks of each stage.
      bottleneck: whether the blocks are bottlenecks, whose outputs have four times as many channels.
      large: whether the stem is that for large images, a 7x7 convolution of stride 2 and a maximum over 3x3 of stride 2;
        otherwise a 3x3 convolution.
      dtype: the dtype of the computation; the parameters are float32.

    Source: He et al. 2016, table 1. The defaults are those of ResNet-18 with a stem for small images.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    large: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The output of every stage, the largest maps first."""
        size, stride = (7, 2) if self.large else (3, 1)
        options = {"use_bias": False, "kernel_init": HE, "dtype": self.dtype, "name": "stem"}
        x = Conv(self.channels[0], (size, size), (stride, stride), size // 2, **options)(x.astype(self.dtype))
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="stem_norm")(x, train=train))
        if self.large:
            x = max_pool(x, (3, 3), (2, 2), 1)
        found = []
        for i, (features, count) in enumerate(zip(self.channels, self.blocks, strict=True)):
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                x = Block(features, stride, self.bottleneck, self.dtype, name=f"stage{i}_{j}")(x, train=train)
            found.append(x)
        return tuple(found)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """The last maps."""
        return self.maps(x, train=train)[-1]
