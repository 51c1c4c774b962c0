"""The discriminator of patches: a convolutional network that judges every patch of an image by itself."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.gan.dcgan import KERNEL, gains
from jaxgen.nn import BatchNorm, Conv, InstanceNorm, SpectralNorm, avg_pool, reflect_pad


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one for each of the overlapping patches that the last unit sees ("PatchGAN").

    4x4 convolutions: `layers` of stride two, then two of stride one; or, with no layers, three of 1x1, which judge each pixel
    by itself ("PixelGAN"). Leaky rectifiers of slope 0.2 between them, and batch or instance normalisation after all but the
    first and the last.

    Source: Isola et al. 2017, section 3.2.2 and appendix 6.1.2; Zhu et al. 2017, section 4 (instance normalisation).

    Fields:
      layers: the number of convolutions of stride two; the sides of a patch are `receptive_field(layers)` pixels.
      width: the channels of the first map; they double with each convolution, up to eight times as many.
      dtype: the dtype of the computation; the parameters are float32.
      instance: whether each image is normalised by itself, without gains and with biases of the convolutions, as in CycleGAN.
      spectral: whether the convolutions that a normalisation follows are divided by their spectral norms and have no biases, as
        in SPADE.
      pad: the zeros on every side of 4x4 convolutions: 1 in pix2pix, 2 in SPADE.
      kernel_init: the initializer of the kernels.
    """

    layers: int = 3
    width: int = 64
    dtype: Any = jnp.float32
    instance: bool = False
    spectral: bool = False
    pad: int = 1
    kernel_init: nn.initializers.Initializer = KERNEL

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 1"]:
        """Judges a batch, in float32.

        Args:
          x: the images; of a conditional game the input and the output, one after the other in the channels.
          train: whether the batch normalisation takes the statistics of the batch, and spectral norms are followed.

        Returns:
          The logits.

        Raises:
          SizeError: if nothing is left of the images.
        """
        return self.maps(x, train=train)[-1]

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The maps after each rectifier, the largest first, and the logits; its arguments are those of a call."""
        strides = [2] * self.layers + [1] if self.layers else [1, 1]
        size, pad = (4, self.pad) if self.layers else (1, 0)
        side = min(x.shape[1:3])
        for stride in (*strides, 1):
            side = (side + 2 * pad - size) // stride + 1
            if side < 1:
                raise SizeError(
                    f"Images of {x.shape[1]}x{x.shape[2]} are too small for a discriminator of {self.layers} layers; give "
                    "fewer --layers."
                )
        h = x
        maps = []
        for i, stride in enumerate(strides):
            channels = self.width * min(2**i, 8)
            biased = i == 0 or (self.instance and not self.spectral)
            conv = self._conv(channels, size, stride, pad, f"conv{i}", use_bias=biased)
            h = SpectralNorm(conv, name=f"conv{i}_spectral")(h, update_stats=train) if i and self.spectral else conv(h)
            if i and self.instance:
                h = InstanceNorm(dtype=self.dtype)(h)
            elif i:
                h = BatchNorm(scale_init=gains, dtype=self.dtype, name=f"norm{i}")(h, train=train)
            h = nn.leaky_relu(h, 0.2)
            maps.append(h)
        return (*maps, self._conv(1, size, 1, pad, "head")(h).astype(jnp.float32))

    @nn.nowrap
    def _conv(self, channels: int, size: int, stride: int, pad: int, name: str, *, use_bias: bool = True) -> Conv:
        return Conv(
            channels,
            (size, size),
            (stride, stride),
            pad,
            use_bias=use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=name,
        )


class HalvingDiscriminator(nn.Module):
    """Images to a map of logits by 4x4 convolutions of stride two alone, without normalisation; the last layer is of 1x1.

    Borders are reflected, and leaky rectifiers have the slope 0.2.

    Source: Huang et al. 2018, section 5.1 and appendix B.2; reflected borders are the authors' code's
    (github.com/NVlabs/MUNIT).

    Fields:
      layers: the number of convolutions of stride two.
      width: the channels of the first map; they double with each convolution.
      dtype: the dtype of the computation; the parameters are float32.
    """

    layers: int = 4
    width: int = 64
    dtype: Any = jnp.float32

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 1"]:
        """The logits, in float32; training changes nothing.

        Raises:
          SizeError: if the images cannot be halved so often.
        """
        return self.maps(x, train=train)[-1]

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The maps after each rectifier, the largest first, and the logits; its arguments are those of a call."""
        if min(x.shape[1:3]) >> self.layers == 0:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be halved {self.layers} times by a discriminator; give fewer "
                "--layers, or fewer --scales."
            )
        h, maps = x, []
        for i in range(self.layers):
            conv = Conv(self.width * 2**i, (4, 4), (2, 2), padding=0, kernel_init=KERNEL, dtype=self.dtype, name=f"conv{i}")
            h = nn.leaky_relu(conv(reflect_pad(h, 1)), 0.2)
            maps.append(h)
        head = Conv(1, (1, 1), kernel_init=KERNEL, dtype=self.dtype, name="head")
        return (*maps, head(h).astype(jnp.float32))


class MultiScaleDiscriminator(nn.Module):
    """Discriminators of patches on images of several sizes, each half as large as the one before, with parameters of their own.

    Source: Wang et al. 2018 (pix2pixHD), section 3.2; Park et al. 2019, appendix A; Huang et al. 2018, section 5.1. An image is
    halved by the mean of the 3x3 pixels around every second one, of those that lie within the image, as in the authors' codes.

    Fields:
      patch: the function that makes a discriminator with a method `maps`, such as
        `functools.partial(PatchDiscriminator, layers=3)`.
      scales: the number of sizes.
    """

    patch: Callable[..., Any] = functools.partial(PatchDiscriminator, instance=True, spectral=True, pad=2)
    scales: int = 2

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ 1"], ...]:
        """The logits of each size, the largest first."""
        return tuple(maps[-1] for maps in self.maps(x, train=train))

    @nn.compact
    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[tuple[Float[Array, "b _ _ _"], ...], ...]:
        """The maps of each size's discriminator and its logits (`PatchDiscriminator.maps`).

        Args:
          x: the images; of a conditional game the input and the output, one after the other in the channels.
          train: whether the batch normalisation takes the statistics of the batch, and spectral norms are followed.

        Returns:
          The maps by size, and within a size by layer.

        Raises:
          SizeError: if nothing is left of the images.
        """
        found = []
        for i in range(self.scales):
            x = avg_pool(x, (3, 3), (2, 2), 1, count_include_pad=False) if i else x
            found.append(self.patch(name=f"scale{i}").maps(x, train=train))
        return tuple(found)


def receptive_field(layers: int) -> int:
    """The side of the patch that one logit of a `PatchDiscriminator` sees.

    Args:
      layers: the number of its convolutions of stride two.

    Returns:
      Pixels.

    >>> [receptive_field(layers) for layers in range(6)]
    [1, 16, 34, 70, 142, 286]
    """
    side = 1
    for stride in (1, 1, *[2] * layers) if layers else ():
        side = (side - 1) * stride + 4
    return side
