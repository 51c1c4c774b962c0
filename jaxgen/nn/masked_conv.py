"""Masked layers, such as the causal convolutions of a PixelCNN."""

from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn.transformed import call_transformed, is_kernel

Mask: TypeAlias = Callable[[tuple[int, ...]], Any]
"""The mask of a kernel, by the kernel's shape: ones where it stays, zeros where it is taken away."""


class Masked(nn.Module):
    """A layer whose kernel is multiplied by a mask at every call.

    `Masked(Conv(16, (7, 7)), raster_mask(sees_itself=False))(x)` is the first layer of a PixelCNN. With weight normalisation,
    `Masked(WeightNorm(layer), mask)` masks the direction before its length is taken, and
    `WeightNorm(Masked(layer, mask))` masks the kernel that was normalised.

    Fields:
      layer: the layer.
      mask: a function of the kernel's shape that returns the mask, such as a `raster_mask`.
    """

    layer: nn.Module
    mask: Mask

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with the masked kernel."""
        return call_transformed(self.layer, self._masked, *args, **kwargs)

    def _masked(self, name: str, parameter: Array) -> Array:
        return parameter * np.asarray(self.mask(parameter.shape), parameter.dtype) if is_kernel(name) else parameter


def raster_mask(*, sees_itself: bool, colours: int = 1, backwards: bool = False) -> Mask:
    """The mask by which an output of a convolution sees only what comes before it, row by row from the upper left.

    Of its own pixel, an output of one colour sees the colours before it; with `sees_itself` also its own. A network is causal
    whose first layer does not see itself (type A of the paper) and whose later ones do (type B).

    Args:
      sees_itself: whether an output sees the inputs of its own colour in its own pixel.
      colours: the number of colours, in the order in which they are generated. The channels on both sides of the layer are cut
        into as many equal parts, one after the other: the first part belongs to the first colour.
      backwards: whether pixels come in the opposite order, from the lower right; the order of colours stays.

    Returns:
      The mask of a kernel `[h, w, in, out]`, for a convolution of stride one with "SAME" padding.

    Raises:
      SizeError: when the mask is made, if the colours do not divide both numbers of channels.

    Source: van den Oord et al. 2016 (Pixel recurrent neural networks), section 3.4 and figure 2.

    >>> raster_mask(sees_itself=False)((3, 3, 1, 1))[:, :, 0, 0].tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def mask(shape: tuple[int, ...]) -> Float[np.ndarray, "h w i o"]:
        h, w, inputs, outputs = shape
        if inputs % colours or outputs % colours:
            raise SizeError(f"{colours} colours do not divide {inputs} and {outputs} channels; take multiples of {colours}.")
        row, column = (h - 1) // 2, (w - 1) // 2
        kept = np.zeros(shape, np.float32)
        kept[:row] = kept[row, :column] = 1
        of_input, of_output = (np.arange(n) * colours // n for n in (inputs, outputs))
        kept[row, column] = (of_input[:, None] <= of_output) if sees_itself else (of_input[:, None] < of_output)
        return kept[::-1, ::-1] if backwards else kept

    return mask
