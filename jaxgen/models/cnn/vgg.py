"""VGG: stages of 3x3 convolutions with a maximum over 2x2 after each."""

from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BatchNorm, Conv, max_pool

Stages: TypeAlias = tuple[tuple[int, ...], ...]
"""The channels of the convolutions of each stage."""

VGG16: Stages = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
"""Configuration D of the paper."""

VGG19: Stages = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
"""Configuration E of the paper."""

TO_RELU5_3: Stages = (*VGG16[:3], VGG16[3] + VGG16[4])
"""VGG-16 without the maximum between its last two stages, as MUNIT's authors have it."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The moments of ImageNet's colours in [0, 1], by which torchvision's networks are given their images."""

HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He's normal initializer by the outputs of a layer, as torchvision has it for VGG and ResNet."""


def imagenet_colours(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Images in [-1, 1] as torchvision's networks are given them: colours of mean 0 and deviation 1 in ImageNet.

    An image of one channel is taken three times.

    >>> [round(float(colour), 2) for colour in imagenet_colours(jnp.full((1, 1, 1, 1), 2 * 0.485 - 1)).ravel()]
    [0.0, 0.13, 0.35]
    """
    return ((jnp.broadcast_to(x, (*x.shape[:3], 3)) + 1) / 2 - jnp.asarray(MEAN)) / jnp.asarray(STD)


class VGG(nn.Module):
    """The convolutions of VGG: images to maps whose side is halved by each stage.

    Fields:
      stages: the channels of the convolutions of each stage.
      batch_norm: whether batch normalisation follows each convolution, which keeps its bias as in torchvision.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Simonyan & Zisserman 2015, table 1; deep networks without batch normalisation need an initializer such as He's.
    """

    stages: Stages = VGG16
    batch_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The maps of every stage before its maximum, the largest first, and the output."""
        if min(x.shape[1:3]) >> len(self.stages) == 0:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be halved {len(self.stages)} times; give the network fewer stages "
                "(fewer --channels), or take larger images."
            )
        x = x.astype(self.dtype)
        found = []
        for i, stage in enumerate(self.stages):
            for j, channels in enumerate(stage):
                x = Conv(channels, (3, 3), padding=1, kernel_init=HE, dtype=self.dtype, name=f"conv{i}_{j}")(x)
                if self.batch_norm:
                    x = BatchNorm(dtype=self.dtype, name=f"norm{i}_{j}")(x, train=train)
                x = jax.nn.relu(x)
            found.append(x)
            x = max_pool(x, (2, 2))
        return (*found, x)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """The last maps."""
        return self.maps(x, train=train)[-1]


class DeepMaps(nn.Module):
    """Images to the maps of VGG before its last maximum, by which two images are compared.

    Fields:
      stages: the channels of the convolutions of each stage.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Huang et al. 2018, section 5.1; the stages are those of its authors' code (github.com/NVlabs/MUNIT, networks.py),
    which gives the network of Caffe its colours, and not torchvision's.
    """

    stages: Stages = TO_RELU5_3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """The maps of images in [-1, 1], with three channels or one.

        Raises:
          SizeError: if the maps would be of one pixel, which nothing is left of after instance normalisation.
        """
        least = 1 << len(self.stages)
        if min(x.shape[1:3]) < least:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} are too small to be compared by VGG; take images whose sides are {least} "
                "or longer, or leave --vgg out."
            )
        return VGG(self.stages, dtype=self.dtype, name="trunk").maps(imagenet_colours(x))[-2]
