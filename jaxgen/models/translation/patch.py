"""The discriminator of patches: a convolutional network that judges every patch of an image by itself."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.gan.dcgan import KERNEL, gains
from jaxgen.nn import BatchNorm, Conv, InstanceNorm


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
    """

    layers: int = 3
    width: int = 64
    dtype: Any = jnp.float32
    instance: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 1"]:
        """Judges a batch, in float32.

        Args:
          x: the images; of a conditional game the input and the output, one after the other in the channels.
          train: whether the batch normalisation takes the statistics of the batch.

        Returns:
          The logits.

        Raises:
          SizeError: if nothing is left of the images.
        """
        strides = [2] * self.layers + [1] if self.layers else [1, 1]
        size, pad = (4, 1) if self.layers else (1, 0)
        side = min(x.shape[1:3])
        for stride in (*strides, 1):
            side = (side + 2 * pad - size) // stride + 1
            if side < 1:
                raise SizeError(
                    f"Images of {x.shape[1]}x{x.shape[2]} are too small for a discriminator of {self.layers} layers; give "
                    "fewer --layers."
                )
        h = x
        for i, stride in enumerate(strides):
            channels = self.width * min(2**i, 8)
            h = self._conv(channels, size, stride, pad, f"conv{i}", use_bias=self.instance or i == 0)(h)
            if i and self.instance:
                h = InstanceNorm(dtype=self.dtype)(h)
            elif i:
                h = BatchNorm(scale_init=gains, dtype=self.dtype, name=f"norm{i}")(h, train=train)
            h = nn.leaky_relu(h, 0.2)
        return self._conv(1, size, 1, pad, "head")(h).astype(jnp.float32)

    @nn.nowrap
    def _conv(self, channels: int, size: int, stride: int, pad: int, name: str, *, use_bias: bool = True) -> Conv:
        return Conv(
            channels,
            (size, size),
            (stride, stride),
            pad,
            use_bias=use_bias,
            kernel_init=KERNEL,
            dtype=self.dtype,
            name=name,
        )


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
