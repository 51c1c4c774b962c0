"""Schedules of the learning rate, and clipped gradients."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import optimizers


def test_a_rate_rises_along_a_line_and_falls_along_a_cosine() -> None:
    rate = optimizers.learning_rate(0.2, steps=30, warmup=10, cosine=True)
    steps = np.arange(31)
    falling = 0.1 * (1 + np.cos(np.pi * (steps - 10) / 20))
    expected = np.where(steps < 10, 0.02 * steps, falling)
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, atol=1e-7)


def test_a_cosine_may_end_above_zero() -> None:
    rate = optimizers.learning_rate(0.2, steps=30, warmup=10, cosine=True, final=0.05)
    found = [float(rate(step)) for step in (0, 10, 20, 30, 99)]
    np.testing.assert_allclose(found, [0.0, 0.2, 0.125, 0.05, 0.05], rtol=1e-6)


def test_without_a_cosine_the_rate_stays() -> None:
    rate = optimizers.learning_rate(0.2, steps=30, warmup=4)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 1, 4, 30, 99)], [0.0, 0.05, 0.2, 0.2, 0.2], rtol=1e-6)
    plain = optimizers.learning_rate(0.2, steps=30)
    assert [float(plain(step)) for step in (0, 99)] == [pytest.approx(0.2)] * 2


@pytest.mark.parametrize(("falls", "least"), [(4, 4), (0, 0), (10, 10), (99, 10)])
def test_a_rate_stays_and_falls_to_zero_along_a_line(falls: int, least: int) -> None:
    rate = optimizers.constant_then_linear(0.2, steps=10, falls=falls)
    expected = [0.2 if step <= 10 - least else 0.2 * (10 - step) / least for step in range(10)]
    np.testing.assert_allclose([float(rate(step)) for step in range(10)], expected, rtol=1e-6)
    assert float(rate(10)) == (0 if falls else pytest.approx(0.2))


@pytest.mark.parametrize(("norm", "expected"), [(1.0, [-0.6, -0.8]), (10.0, [-3.0, -4.0]), (None, [-3.0, -4.0])])
def test_a_gradient_is_shortened_as_a_whole_and_before_the_optimizer(norm: float | None, expected: list[float]) -> None:
    tx = optimizers.clipped(optax.sgd(1.0), norm)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    moved, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_allclose([moved["a"][0], moved["b"][0]], expected, rtol=1e-6)


def test_the_bound_is_on_the_gradient_and_not_on_the_step() -> None:
    tx = optimizers.clipped(optax.sgd(0.1), 1.0)
    moved, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
    np.testing.assert_allclose(moved, [-0.06, -0.08], rtol=1e-6)


@pytest.mark.parametrize("at", [(), (3,), (1, 2, 5)])
def test_an_optimizer_that_begins_anew_is_one_that_is_made_anew(at: tuple[int, ...]) -> None:
    adam = optax.adam(0.1, b1=0.5, b2=0.9)
    tx = optimizers.restarted(adam, at)
    params = {"kernel": jnp.array([1.0, -2.0])}
    state, expected = tx.init(params), adam.init(params)
    for step in range(8):
        grads = {"kernel": jnp.array([np.sin(step + 1.0), np.cos(3.0 * step)])}
        move, state = tx.update(grads, state, params)
        if step in at:
            expected = adam.init(params)
        by_hand, expected = adam.update(grads, expected, params)
        np.testing.assert_allclose(move["kernel"], by_hand["kernel"], rtol=1e-6)
