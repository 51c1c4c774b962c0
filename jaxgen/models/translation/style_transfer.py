"""The networks of style transfer by the moments of maps: the stages of VGG, and a decoder that mirrors them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.cnn.vgg import HE, VGG19, Stages
from jaxgen.nn import BOX, Conv, doubled, max_pool, reflect_pad

TO_RELU4_1: Stages = (*VGG19[:3], VGG19[3][:1])
"""The paper's encoder: the convolutions of VGG-19 up to relu4_1."""

TO_RELU5_1: Stages = (*VGG19[:4], VGG19[4][:1])
"""The convolutions of VGG-19 up to relu5_1, whose maps pix2pixHD and SPADE compare images by."""


class TransferEncoder(nn.Module):
    """Images to the maps behind the first convolution of each stage of VGG, the largest first.

    Of the last stage only the first convolution is there.

    Source: Huang & Belongie 2017, section 5.1; the first convolution is that of the authors' "normalised" VGG, which takes the
    place of a subtraction of the colours' means. The networks that tell classes apart have zeros beyond the borders.

    Fields:
      stages: the channels of the convolutions of each stage.
      recoloured: whether a convolution of one pixel comes first.
      dtype: the dtype of the computation; the parameters are float32.
      reflected: whether borders are reflected; else there are zeros beyond them.
    """

    stages: Stages = TO_RELU4_1
    recoloured: bool = False
    dtype: Any = jnp.float32
    reflected: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Encodes a batch.

        Args:
          x: images in [0, 1].
          train: whether this is training, which changes nothing.

        Returns:
          The maps.

        Raises:
          SizeError: if the sides cannot be halved between the stages, or become narrower than two pixels.
        """
        halvings = len(self.stages) - 1
        if any(side % 2**halvings or side >> halvings < 2 for side in x.shape[1:3]):
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be halved {halvings} times, to two pixels or more; give a --side "
                f"that is a multiple of {2**halvings}, {2 ** (halvings + 1)} or more, or fewer --channels."
            )
        h = x.astype(self.dtype)
        if self.recoloured:
            h = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="colours")(h)
        found = []
        for i, stage in enumerate(self.stages):
            last = i == halvings
            for j, channels in enumerate(stage[:1] if last else stage):
                zeros = 0 if self.reflected else 1
                conv = Conv(channels, (3, 3), padding=zeros, kernel_init=HE, dtype=self.dtype, name=f"conv{i}_{j}")
                h = nn.relu(conv(reflect_pad(h, 1) if self.reflected else h))
                if j == 0:
                    found.append(h)
            h = h if last else max_pool(h, (2, 2))
        return tuple(found)


class TransferDecoder(nn.Module):
    """The smallest maps of a `TransferEncoder` to images: its convolutions backwards, with nearest pixels in place of maxima.

    Borders are reflected, nothing is normalised, and the last convolution has no rectifier.

    Source: Huang & Belongie 2017, section 5.1.

    Fields:
      outputs: the channels of the images.
      stages: the channels of the encoder's convolutions of each stage.
      dtype: the dtype of the computation; the parameters are float32.
    """

    outputs: int = 3
    stages: Stages = TO_RELU4_1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Decodes a batch, in float32, about in [0, 1]."""
        h = h.astype(self.dtype)
        for i in reversed(range(len(self.stages))):
            own = self.stages[i] if i < len(self.stages) - 1 else self.stages[i][:1]
            outs = (*own[-2::-1], self.stages[i - 1][-1] if i else self.outputs)
            for j, channels in enumerate(outs):
                conv = Conv(channels, (3, 3), padding=0, kernel_init=HE, dtype=self.dtype, name=f"conv{i}_{j}")
                h = conv(reflect_pad(h, 1))
                h = h if i == 0 and j == len(outs) - 1 else nn.relu(h)
            h = doubled(h, BOX) if i else h
        return h.astype(jnp.float32)
