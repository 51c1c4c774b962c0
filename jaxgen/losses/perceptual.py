"""Differences of images as a network sees them: of its maps instead of the pixels."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import InputError

VGG19_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""The weights of VGG-19's maps before each of its five maxima, as pix2pixHD and SPADE have them.

The authors take the first map of a stage (relu1_1 to relu5_1).
"""


def feature_distance(
    found: Sequence[Float[Array, "b ..."]],
    wanted: Sequence[Float[Array, "b ..."]],
    weights: Sequence[float] | None = None,
) -> Float[Array, " b"]:
    r"""$\sum_i w_i\, \overline{|f_i(x) - f_i(y)|}$: the mean absolute differences of the maps, summed over the layers.

    Of a discriminator's maps it is the loss of feature matching; of a network that was trained to tell classes apart it is a
    perceptual loss. No gradient goes to the wanted maps.

    Args:
      found: the maps of what was made, one array for each layer.
      wanted: the maps of what it should be like.
      weights: a weight for each layer; None weighs all layers by one.

    Returns:
      One value per example, in float32.

    Raises:
      InputError: if the numbers of layers differ.

    Source: Wang et al. 2018 (pix2pixHD), equation 4; Johnson et al. 2016, equation 2, with absolute in place of squared
    differences.

    >>> feature_distance([jnp.ones((1, 2)), jnp.ones((1, 3))], [jnp.zeros((1, 2)), 3 * jnp.ones((1, 3))], (1.0, 0.5)).tolist()
    [2.0]
    """
    weights = [1.0] * len(found) if weights is None else weights
    if not len(found) == len(wanted) == len(weights):
        raise InputError(f"There are {len(found)} and {len(wanted)} maps and {len(weights)} weights; give as many of each.")
    total = jnp.zeros(found[0].shape[:1] if found else (), jnp.float32)
    for weight, made, real in zip(weights, found, wanted, strict=True):
        difference = jnp.abs(made.astype(jnp.float32) - lax.stop_gradient(real.astype(jnp.float32)))
        total = total + weight * difference.mean(tuple(range(1, difference.ndim)))
    return total
