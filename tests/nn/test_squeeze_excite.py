"""Squeeze and excitation by hand."""

import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import SqueezeExcite


@pytest.mark.parametrize(("channels", "units"), [(6, 4), (128, 8)])
def test_channels_are_scaled_by_the_means_of_the_map(channels: int, units: int) -> None:
    x = normal(2, 3, 5, channels)
    variables = filled(SqueezeExcite(), x)
    first, second = (variables["params"][f"Dense_{i}"] for i in range(2))
    assert first["kernel"].shape == (channels, units)
    h = np.maximum(np.asarray(x).mean((1, 2)) @ first["kernel"] + first["bias"], 0)
    scale = 1 / (1 + np.exp(-(h @ second["kernel"] + second["bias"])))
    np.testing.assert_allclose(SqueezeExcite().apply(variables, x), x * scale[:, None, None], rtol=1e-4, atol=1e-6)
