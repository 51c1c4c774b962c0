"""The U-Net that translates images: it halves maps to a few pixels and doubles them again, with skips between equal sizes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.gan.dcgan import KERNEL, gains, smallest_map
from jaxgen.nn import BatchNorm, Conv, ConvTranspose, dropout
from jaxgen.types import Key

NOISY = 3
"""Decoder layers with dropout, from the innermost on."""


class UNetTranslator(nn.Module):
    """Images to images of the same size in [-1, 1]: 4x4 convolutions that halve the side, and transposed ones that double it.

    Each convolution but the first follows a leaky rectifier of slope 0.2, each transposed one a rectifier. Batch normalisation
    follows all of them but the first, the innermost convolution and the last. The innermost has none because a map of one pixel
    and one example would become zero. A decoder layer sees the encoder's map of its size and the layer below it. Dropout after
    the three innermost decoder layers is the only noise.

    Source: Isola et al. 2017, section 3.2 and appendix 6.1; the innermost layer without a normalisation is the authors' later
    code's (github.com/junyanz/pytorch-CycleGAN-and-pix2pix).

    Fields:
      downs: the number of convolutions, each of which halves the side.
      width: the channels of the first map; they double with each convolution, up to eight times as many.
      outputs: the channels of the result.
      rate: the share of the values that dropout takes out.
      dtype: the dtype of the computation; the parameters are float32.
    """

    downs: int = 8
    width: int = 64
    outputs: int = 3
    rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], key: Key | None = None, *, train: bool = False) -> Float[Array, "b h w o"]:
        """Translates a batch, in float32.

        Args:
          x: the images, in [-1, 1].
          key: the keys of the noise, one for each example; None is without noise.
          train: whether the batch normalisation takes the statistics of the batch.

        Returns:
          The translated images.

        Raises:
          SizeError: if the sides cannot be halved so often.
        """
        smallest_map(x.shape[1:], self.downs, flag="--downs")
        widths = [self.width * min(2**i, 8) for i in range(self.downs)]
        innermost = self.downs - 1
        maps = []
        h = x
        for i, channels in enumerate(widths):
            h = h if i == 0 else nn.leaky_relu(h, 0.2)
            normalised = 0 < i < innermost
            h = self._layer(Conv, channels, f"down{i}", use_bias=not normalised)(h)
            h = self._norm(f"down{i}_norm", h, train) if normalised else h
            maps.append(h)
        for i in reversed(range(self.downs)):
            h = nn.relu(h if i == innermost else jnp.concatenate([maps[i], h], axis=-1))
            if i == 0:
                h = self._layer(ConvTranspose, self.outputs, "up0")(h)
                break
            h = self._layer(ConvTranspose, widths[i - 1], f"up{i}", use_bias=False)(h)
            h = self._norm(f"up{i}_norm", h, train)
            if key is not None and self.rate and innermost - i < NOISY:
                own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, i)
                h = jax.vmap(lambda one, key: dropout(one, self.rate, key))(h, own)
        return jnp.tanh(h.astype(jnp.float32))

    @nn.nowrap
    def _layer(self, layer: Any, channels: int, name: str, *, use_bias: bool = True) -> Any:
        return layer(channels, (4, 4), (2, 2), use_bias=use_bias, kernel_init=KERNEL, dtype=self.dtype, name=name)

    @nn.nowrap
    def _norm(self, name: str, h: Array, train: bool) -> Array:
        return BatchNorm(scale_init=gains, dtype=self.dtype, name=name)(h, train=train)
