"""The image itself, made smaller level by level, joined to the maps of a U-Net on the way down."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import BINOMIAL, Conv, Taps, halved


class ResidualPyramid(nn.Module):
    r"""$h \leftarrow s\,(h + \mathrm{conv}(p))$ with the map p of the level above at half its size; h is also the next p.

    Fields:
      taps: the filter by which p is halved after a 3x3 convolution.
      scale: the factor s of the sum.
      conv: a function that makes a convolution.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Song et al. 2021, appendix H.1 (progressive growing, "residual"); after Karras et al. 2020 (StyleGAN2), figure 7.
    """

    taps: Taps = BINOMIAL
    scale: float = math.sqrt(0.5)
    conv: Callable[..., nn.Module] = Conv
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Array, h: Float[Array, "b h w c"]) -> tuple[Array, Float[Array, "b h w c"]]:
        """Gives the pyramid's next map and the U-Net's, which are one."""
        # The convolution's border reaches as far as the filter does: what it sees there are no zeros.
        padding = 1 + (len(self.taps) - 2) // 2
        y = self.conv(h.shape[-1], (3, 3), padding=padding, dtype=self.dtype)(pyramid)
        h = (h + halved(y, self.taps, bordered=True)) * self.scale
        return h, h


class SkipPyramid(nn.Module):
    r"""$h \leftarrow h + \mathrm{conv}_{1 \times 1}(p)$ with the image p at the size of h.

    Fields:
      taps: the filter by which p is halved.
      conv: a function that makes a convolution.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Song et al. 2021, appendix H.1 (progressive growing, "input skip"); after Karras et al. 2020 (StyleGAN2), figure 7.
    """

    taps: Taps = BINOMIAL
    conv: Callable[..., nn.Module] = Conv
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Array, h: Float[Array, "b h w c"]) -> tuple[Array, Float[Array, "b h w c"]]:
        """Gives the pyramid's next map and the U-Net's."""
        pyramid = halved(pyramid, self.taps)
        return pyramid, h + self.conv(h.shape[-1], (1, 1), dtype=self.dtype)(pyramid)
