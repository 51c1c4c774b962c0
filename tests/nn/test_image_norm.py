"""Layer normalisation of whole images, by NumPy; and of constant images, which have no deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import ImageNorm


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_the_deviation_is_unbiased_and_epsilon_is_added_to_it(epsilon: float) -> None:
    x, module = 2 * normal(3, 2, 3, 4) + 1, ImageNorm(epsilon)
    variables = filled(module, x)
    rows = np.asarray(x, np.float64).reshape(3, -1)
    expected = (rows - rows.mean(1, keepdims=True)) / (rows.std(1, ddof=1, keepdims=True) + epsilon)
    expected = expected.reshape(x.shape) * variables["params"]["scale"] + variables["params"]["bias"]
    np.testing.assert_allclose(module.apply(variables, x), expected, atol=1e-5)
    half = ImageNorm(epsilon, dtype=jnp.bfloat16).apply(variables, x)
    assert half.dtype == jnp.bfloat16


def test_a_constant_image_becomes_the_bias_and_has_a_gradient() -> None:
    module, x = ImageNorm(), jnp.full((1, 2, 2, 3), 0.25)
    variables = filled(module, x)
    y, gradient = jax.value_and_grad(lambda x: (module.apply(variables, x) ** 2).sum())(x)
    assert float(y) == pytest.approx(4 * float((variables["params"]["bias"] ** 2).sum()), rel=1e-4)
    assert np.isfinite(gradient).all()


def test_gains_start_evenly_from_0_to_1() -> None:
    params = ImageNorm().init(jax.random.key(0), jnp.zeros((1, 1, 1, 500)))["params"]
    assert 0 <= params["scale"].min() < 0.02
    assert 0.98 < params["scale"].max() <= 1
    assert params["scale"].mean() == pytest.approx(0.5, abs=0.05)
    assert not params["bias"].any()
