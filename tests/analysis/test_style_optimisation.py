"""Images that descend a loss of their own."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.analysis.style_optimisation import optimised

pytestmark = pytest.mark.trains
TARGET = jnp.asarray(np.random.default_rng(0).uniform(-0.2, 1.2, (3, 2, 2, 1)), jnp.float32)


def loss(x):
    return jnp.square(x - TARGET[: len(x)]).sum((1, 2, 3))


def test_they_arrive_at_the_nearest_image_within_the_range() -> None:
    found = optimised(loss, jnp.full(TARGET.shape, 0.5), steps=300)
    np.testing.assert_allclose(found, TARGET.clip(0, 1), atol=0.01)


def test_an_image_does_not_depend_on_the_others() -> None:
    start = jnp.full(TARGET.shape, 0.3)
    np.testing.assert_allclose(optimised(loss, start[:1], steps=20), optimised(loss, start, steps=20)[:1], rtol=1e-6)


def test_a_step_is_adams() -> None:
    start = jnp.full((1, 2, 2, 1), 0.3)
    assert optimised(loss, start, steps=0) == pytest.approx(start)
    updates, _ = optax.adam(0.05).update(2 * (start - TARGET[:1]), optax.adam(0.05).init(start))
    np.testing.assert_allclose(optimised(loss, start, steps=1, learning_rate=0.05), start + updates, rtol=1e-5)
