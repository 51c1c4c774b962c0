"""The flows of NVAE's posterior: pairs of shifts by masked convolutions, in the order of the pixels and against it."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.vae.nvae_cells import NormedConv
from jaxgen.nn.masked_conv import raster_mask

EXPANSION = 6
"""Hidden channels for each channel of the latents."""


class ShiftFlow(nn.Module):
    r"""An inverse autoregressive step that shifts alone, $z' = z - \mu(z)$, so that its Jacobian has the determinant 1.

    $\mu$ of a channel at a pixel sees the pixels before it, and the channels before it at its own. It is a masked 3x3
    convolution to six times the channels, a masked depthwise 5x5, and a masked 1x1, with ELU between them.

    Source: Kingma et al. 2016; Vahdat & Kautz 2020, section 3.3; github.com/NVlabs/NVAE, model.py (`CellAR`),
    neural_ar_operations.py.

    Fields:
      backwards: whether the order of the pixels begins at the lower right; that of the channels stays.
      dtype: the dtype of the computation of the shift.
    """

    backwards: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The latents after the step."""
        channels = z.shape[-1]
        hidden = EXPANSION * channels
        before = raster_mask(sees_itself=False, colours=channels, backwards=self.backwards)
        # A depthwise kernel has one input channel, the output's own.
        own = raster_mask(sees_itself=True, backwards=self.backwards)
        until = raster_mask(sees_itself=True, colours=channels, backwards=self.backwards)
        h = NormedConv(hidden, (3, 3), use_bias=False, mask=before, dtype=self.dtype)(z)
        h = NormedConv(hidden, (5, 5), use_bias=False, groups=hidden, mask=own, dtype=self.dtype)(nn.elu(h))
        # Activated twice, as in the authors' code.
        shift = NormedConv(channels, (1, 1), mask=until, gain=0.1, dtype=self.dtype)(nn.elu(nn.elu(h)))
        return z - shift.astype(jnp.float32)


class ShiftFlows(nn.Module):
    """Pairs of shifts, the second of each in the opposite order of the pixels.

    Fields:
      pairs: the number of pairs.
      dtype: the dtype of the computation of the shifts.
    """

    pairs: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The latents after all steps; their density is that of the first latents."""
        for _ in range(self.pairs):
            z = ShiftFlow(dtype=self.dtype)(z)
            z = ShiftFlow(backwards=True, dtype=self.dtype)(z)
        return z
