"""The residual network that translates images: quartered in its sides, changed by residual blocks, and enlarged again."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.gan.dcgan import KERNEL
from jaxgen.nn import Conv, ConvTranspose, InstanceNorm, reflect_pad

HALVINGS = 2
"""Convolutions of stride two, and as many transposed ones."""


class ResnetTranslator(nn.Module):
    """Images to images of the same size in [-1, 1], by residual blocks at a quarter of the side.

    A 7x7 convolution, two 3x3 ones of stride two, the blocks, two transposed 3x3 ones, and a 7x7 one that ends in tanh. All but
    the last are followed by instance normalisation without gains and by a rectifier. Borders are reflected where the side
    stays, and zero where it changes.

    Source: Zhu et al. 2017, appendix 7.2; Johnson et al. 2016. The biases of the convolutions and the borders of the transposed
    ones are those of the authors' later code (github.com/junyanz/pytorch-CycleGAN-and-pix2pix).

    Fields:
      blocks: the number of residual blocks: six for images of 128x128, nine for 256x256.
      width: the channels of the first map; they double with each halving.
      outputs: the channels of the result.
      dtype: the dtype of the computation; the parameters are float32.
    """

    blocks: int = 9
    width: int = 64
    outputs: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Translates a batch, in float32; each image is normalised by itself, in training and after it.

        Args:
          x: the images, in [-1, 1].
          train: whether this is training, which changes nothing.

        Returns:
          The translated images.

        Raises:
          SizeError: if the sides are no multiples of four, or below eight.
        """
        least = 2 ** (HALVINGS + 1)  # a map of 2x2 is the smallest whose border can be reflected
        if any(side % 2**HALVINGS or side < least for side in x.shape[1:3]):
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be translated at a quarter of their sides; give a --side that is "
                f"a multiple of {2**HALVINGS}, {least} or more."
            )
        h = self._normalised(self._conv(self.width, 7, "in")(reflect_pad(x, 3)))
        for i in range(HALVINGS):
            h = self._normalised(self._conv(self.width * 2 ** (i + 1), 3, f"down{i}", stride=2, pad=1)(h))
        for i in range(self.blocks):
            y = self._normalised(self._conv(h.shape[-1], 3, f"block{i}_conv0")(reflect_pad(h, 1)))
            h = h + InstanceNorm(dtype=self.dtype)(self._conv(h.shape[-1], 3, f"block{i}_conv1")(reflect_pad(y, 1)))
        for i in reversed(range(HALVINGS)):
            enlarge = ConvTranspose(
                self.width * 2**i, (3, 3), (2, 2), ((1, 0), (1, 0)), kernel_init=KERNEL, dtype=self.dtype, name=f"up{i}"
            )
            h = self._normalised(enlarge(h))
        return jnp.tanh(self._conv(self.outputs, 7, "out")(reflect_pad(h, 3)).astype(jnp.float32))

    @nn.nowrap
    def _conv(self, channels: int, size: int, name: str, *, stride: int = 1, pad: int = 0) -> Conv:
        return Conv(channels, (size, size), (stride, stride), pad, kernel_init=KERNEL, dtype=self.dtype, name=name)

    @nn.nowrap
    def _normalised(self, h: Array) -> Array:
        return nn.relu(InstanceNorm(dtype=self.dtype)(h))
