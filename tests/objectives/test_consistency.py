"""Consistency, against the authors' formulas (github.com/locuslab/ect, training/loss.py) in numpy, and the exact map of
Gaussian data."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import diffusion, keys, objectives
from jaxgen.diffusion import laws
from jaxgen.types import Batch

KEY = jax.random.key(4)
MEANING = diffusion.edm(0.5)
TIMES = diffusion.Drawn(diffusion.time_is_sigma(), laws.log_normal(-1.1, 2.0))


class Known(nn.Module):
    """The answer `a + b x + d time`, and units that are dropped."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: Any, time: Any, *, train: bool = False) -> Any:
        a, b, d = (self.param(name, nn.initializers.zeros_init(), ()) for name in "abd")
        out = a + b * x + d * time.reshape(-1, 1, 1, 1)
        return nn.Dropout(self.rate, deterministic=not train)(out)


def state_of(step: int = 0, **numbers: float) -> jaxgen.TrainState:
    params = {"model": {name: jnp.float32(numbers.get(name, 0.0)) for name in "abd"}}
    return jaxgen.TrainState(jnp.int32(step), KEY, params, {}, {}, {}, {})


def batch_of(images: np.ndarray) -> Batch:
    return {"image": jnp.asarray(images, jnp.float32), "slot": jnp.arange(len(images), dtype=jnp.int32)}


def drawn(n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The times and the noise that the loss draws."""
    own = keys.per_example(KEY, {"slot": jnp.arange(n, dtype=jnp.int32)})
    t = TIMES.draw(keys.fold_in(own, 0), n)
    return np.asarray(t, np.float64), np.asarray(keys.draw(jax.random.normal, keys.fold_in(own, 1), (n, *shape)), np.float64)


def authors(t: np.ndarray, stage: int, q: float, k: float, b: float) -> np.ndarray:
    """`t_to_r_sigmoid`."""
    ratio = 1 - (1 + k / (1 + np.exp(b * t))) / q ** (stage + 1)
    return np.maximum(t * ratio, 0)


@pytest.mark.parametrize(
    ("q", "k", "b", "stage"), [(2.0, 8.0, 1.0, 0), (2.0, 8.0, 1.0, 3), (4.0, 3.0, 0.5, 1), (256.0, 8.0, 1.0, 0)]
)
def test_the_times_close_in_as_in_the_authors_code(q: float, k: float, b: float, stage: int) -> None:
    t = np.geomspace(1e-3, 80, 50)
    earlier = objectives.closing(25, q=q, k=k, b=b)
    for step in (25 * stage, 25 * stage + 24):
        found = earlier(jnp.asarray(t, jnp.float32), jnp.int32(step))
        np.testing.assert_allclose(found, authors(t, stage, q, k, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("c", "step"), [(0.0, 0), (0.0, 40), (0.3, 40)])
def test_the_loss_is_the_authors(c: float, step: int) -> None:
    """ECMLoss with ECMPrecond as it is in training, in numpy, where the network answers 0.3 - 0.2 of its input + 0.1 of its
    time."""
    x0 = np.random.default_rng(0).normal(size=(500, 2, 2, 1))
    loss = objectives.consistency(Known(), TIMES, MEANING, objectives.closing(10), c=c)
    state = state_of(step, a=0.3, b=-0.2, d=0.1)
    values, aux = loss(state.params, state, batch_of(x0), KEY, train=True)
    t, eps = drawn(500, (2, 2, 1))
    r = authors(t, step // 10, 2.0, 8.0, 1.0)
    assert (r == 0).any() == (step == 0)

    def predicted(sigma: np.ndarray) -> np.ndarray:
        s = sigma.reshape(-1, 1, 1, 1)
        size = np.sqrt(s**2 + 0.25)
        xt = x0 + s * eps
        return 0.25 / size**2 * xt + s * 0.5 / size * (0.3 - 0.2 * xt / size + 0.1 * np.log(s) / 4)

    target = np.where(r.reshape(-1, 1, 1, 1) > 0, predicted(np.maximum(r, 1e-9)), x0)
    distance = np.sqrt(((predicted(t) - target) ** 2).sum(axis=(1, 2, 3)) + c**2) - c
    np.testing.assert_allclose(aux.metrics["distance"], distance, rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(values, distance / (t - r), rtol=2e-3, atol=2e-3)


def test_the_target_has_no_gradient() -> None:
    """The slope of the loss is that against a target that was written down before."""
    x0 = np.random.default_rng(1).normal(size=(6, 2, 2, 1))
    batch, state = batch_of(x0), state_of(30, a=0.4, b=0.2)
    loss = objectives.consistency(Known(), TIMES, MEANING, objectives.closing(10), c=0.1)
    mean = lambda a, earlier: loss({"model": {**state.params["model"], "a": a}}, state, batch, KEY, train=True)[0].mean()
    found = jax.grad(mean)(jnp.float32(0.4), None)
    t, eps = drawn(6, (2, 2, 1))
    r = authors(t, 3, 2.0, 8.0, 1.0)

    def predicted(sigma: np.ndarray, a: float) -> np.ndarray:
        s = sigma.reshape(-1, 1, 1, 1)
        size = np.sqrt(s**2 + 0.25)
        return 0.25 / size**2 * (x0 + s * eps) + s * 0.5 / size * (a + 0.2 * (x0 + s * eps) / size)

    fixed = predicted(r, 0.4)
    of = lambda a: ((np.sqrt(((predicted(t, a) - fixed) ** 2).sum((1, 2, 3)) + 0.01) - 0.1) / (t - r)).mean()
    assert float(found) == pytest.approx((of(0.4 + 1e-4) - of(0.4 - 1e-4)) / 2e-4, rel=2e-3)


def test_both_evaluations_drop_the_same_units() -> None:
    """With an answer of 1 that is dropped by half, the two predictions of black differ as if all or none were kept."""
    loss = objectives.consistency(Known(0.5), TIMES, MEANING, objectives.closing(10))
    state = state_of(40, a=1.0)
    nothing = np.zeros((200, 1, 1, 1))
    found = np.asarray(loss(state.params, state, batch_of(nothing), KEY, train=True)[1].metrics["distance"])
    t, eps = drawn(200, (1, 1, 1))
    r = authors(t, 4, 2.0, 8.0, 1.0)
    predicted = lambda s, out: 0.25 / (s**2 + 0.25) * s * eps.ravel() + s * 0.5 / np.sqrt(s**2 + 0.25) * out
    either = [np.abs(predicted(t, out) - predicted(r, out)) for out in (0.0, 2.0)]
    gaps = [np.abs(found - one) for one in either]
    np.testing.assert_array_less(np.minimum(*gaps), 1e-4 + 2e-3 * found)
    assert 60 < (gaps[0] < gaps[1]).sum() < 140, "about half of them"


def test_equal_predictions_have_a_loss_and_a_slope_of_zero() -> None:
    loss = objectives.consistency(Known(), TIMES, diffusion.X0, lambda t, step: 0.5 * t)
    state = state_of(a=0.7)
    value, slope = jax.value_and_grad(lambda p: loss(p, state, batch_of(np.zeros((3, 1, 1, 1))), KEY, train=True)[0].sum())(
        state.params
    )
    assert float(value) == 0
    assert all(float(s) == 0 for s in jax.tree.leaves(slope))


C = 0.7
"""The deviation of Gaussian data, whose flow ends at x C / sqrt(C^2 + t^2)."""
EXACT = lambda t: C / jnp.sqrt(C**2 + t**2)


@pytest.mark.parametrize(("factor", "slope"), [(EXACT, 0.0), (lambda t: EXACT(t) ** 2, -0.0959)], ids=["flow", "mean"])
def test_the_ends_of_the_flow_are_where_the_loss_stands_still(factor: Any, slope: float) -> None:
    r"""As r closes in on t, the slope vanishes at the exact map of the flow, and not at the denoiser, which gives the mean.

    For an answer $a(t)\, x$ the slope of the square by a factor of a(t) is $2 a \frac{d}{dr} a(r) (C^2 + t r)$ at r = t.
    """

    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x: Any, time: Any, *, train: bool = False) -> Any:
            a = self.param("a", nn.initializers.ones_init(), ())
            return a * factor(time).reshape(-1, 1, 1, 1) * x

    n, rng = 100_000, np.random.default_rng(2)
    one = diffusion.Drawn(diffusion.time_is_sigma(), lambda key, n: jnp.full(n, 1.5))
    loss = objectives.consistency(Scaled(), one, diffusion.X0, lambda t, step: 0.99 * t, c=1e2)
    params = {"model": {"a": jnp.float32(1.0)}}
    state = state_of()._replace(params=params)
    batch = batch_of(C * rng.normal(size=(n, 1, 1, 1)))

    def mean(target_and_a: jax.Array) -> jax.Array:
        values, _ = loss({"model": {"a": target_and_a}}, state, batch, KEY, train=True)
        return 2e2 * values.mean()  # c is large: the square of the difference, over t - r

    assert float(jax.jit(jax.grad(mean))(jnp.float32(1.0))) == pytest.approx(slope, abs=0.02)
