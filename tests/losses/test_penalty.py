"""Penalties of critics whose gradients are known, lazy ones, and the clipping of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.losses import penalty

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
W = jnp.array(RNG.normal(size=(4, 4, 3)), jnp.float32)
A = jnp.array(RNG.normal(size=(48, 48)), jnp.float32)
REAL, FAKE = (jnp.array(RNG.normal(size=(5, 4, 4, 3)), jnp.float32) for _ in range(2))


def linear(x):
    return (x * W).sum((1, 2, 3))


def quadratic(x):
    flat = x.reshape(x.shape[0], -1)
    return ((flat @ A) * flat).sum(1) / 2


def norms(x) -> np.ndarray:
    """Of the gradient of `quadratic`, (A + A^T) x / 2."""
    flat = np.asarray(x).reshape(len(x), -1)
    return np.linalg.norm(flat @ np.asarray(A + A.T) / 2, axis=1)


def test_gradient_penalty_of_a_linear_critic_is_the_same_everywhere() -> None:
    norm = np.linalg.norm(W)
    values = penalty.gradient_penalty(7.0)(linear, REAL, FAKE, KEY, None)
    np.testing.assert_allclose(values, np.full(5, 7 * (norm - 1) ** 2), rtol=1e-5)


def test_gradient_penalty_is_two_sided_and_taken_between_the_examples() -> None:
    # f = |x|^2 / 2 has the gradient x: the norms are those of the points at which it is taken.
    def critic(x):
        return (x**2).sum(1) / 2

    real, fake = jnp.full((4000, 1), 3.0), jnp.zeros((4000, 1))
    values = np.asarray(penalty.gradient_penalty(1.0)(critic, real, fake, KEY, None))
    # E (3u - 1)^2 for u ~ U[0, 1], with norms below one as well as above.
    assert values.mean() == pytest.approx(1.0, abs=0.06)
    points = 3 * np.asarray(jax.random.uniform(KEY, (4000, 1)))[:, 0]
    np.testing.assert_allclose(values, (points - 1) ** 2, atol=1e-5)
    assert (points < 1).any()
    assert (points > 1).any()


def test_gradient_penalty_draws_a_point_for_each_example_on_its_own_line() -> None:
    seen = []

    def critic(x):
        seen.append(x)
        return x.sum((1, 2, 3))

    with jax.disable_jit():
        penalty.gradient_penalty()(critic, REAL, FAKE, KEY, None)
    points = np.asarray(jax.lax.stop_gradient(seen[0].primal if hasattr(seen[0], "primal") else seen[0]))
    u = (points - FAKE) / (REAL - FAKE)
    np.testing.assert_allclose(u, np.broadcast_to(u.mean((1, 2, 3), keepdims=True), u.shape), atol=1e-3)
    assert np.unique(np.round(u[:, 0, 0, 0], 3)).size == 5


def test_a_dead_critic_has_a_finite_gradient() -> None:
    def mean(w):
        return penalty.gradient_penalty(1.0)(lambda x: jax.nn.relu(w * x - 9).sum((1, 2, 3)), REAL, FAKE, KEY, None).mean()

    value, slope = jax.value_and_grad(mean)(jnp.float32(0.1))
    assert value == pytest.approx(1.0, abs=1e-5)
    assert jnp.isfinite(slope)


@pytest.mark.parametrize(("made", "at"), [(penalty.r1, REAL), (penalty.r2, FAKE)])
def test_r1_and_r2_of_a_quadratic(made, at) -> None:
    values = made(3.0)(quadratic, REAL, FAKE, KEY, None)
    np.testing.assert_allclose(values, 1.5 * norms(at) ** 2, rtol=1e-4)


@pytest.mark.parametrize("base", [penalty.gradient_penalty(), penalty.r1(), penalty.r2()])
def test_lazily_is_the_penalty_times_n_in_its_steps_and_zero_between(base) -> None:
    lazy = penalty.lazily(base, 4)
    plain = np.asarray(base(quadratic, REAL, FAKE, KEY, None))
    for step in range(9):
        values = lazy(quadratic, REAL, FAKE, KEY, jnp.int32(step))
        np.testing.assert_allclose(values, 4 * plain if step % 4 == 0 else np.zeros(5), rtol=1e-5)
    np.testing.assert_allclose(lazy(quadratic, REAL, FAKE, KEY, None), plain, rtol=1e-6)


def test_lazily_costs_nothing_between() -> None:
    """The critic is in one branch of a condition and nowhere else, and gradients stay inside."""

    def loss(w, step):
        return penalty.lazily(penalty.r1(), 4)(lambda x: jnp.tanh(w * x).sum((1, 2, 3)), REAL, FAKE, KEY, step).mean()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(jnp.float32(0.3), jnp.int32(1)).jaxpr
    outer = [e.primitive.name for e in jaxpr.eqns]
    assert "cond" in outer
    assert "tanh" not in outer
    branches = [
        [e.primitive.name for e in b.jaxpr.eqns] for e in jaxpr.eqns if e.primitive.name == "cond" for b in e.params["branches"]
    ]
    assert any("tanh" in names for names in branches)
    assert any("tanh" not in names for names in branches)
    assert jax.grad(loss)(jnp.float32(0.3), jnp.int32(1)) == 0
    assert jax.grad(loss)(jnp.float32(0.3), jnp.int32(4)) != 0


@given(st.floats(0.01, 2.0), st.integers(0, 2**31 - 1))
@settings(max_examples=20)
def test_clip_weights_keeps_every_parameter_within_the_limit(limit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = {"w": jnp.array(rng.normal(size=(3, 2)), jnp.float32), "b": jnp.array(rng.normal(size=2), jnp.float32)}
    grads = jax.tree.map(lambda p: 3 * p**2, params)
    plain, clipped = optax.sgd(0.5), optax.chain(optax.sgd(0.5), penalty.clip_weights(limit))
    step, _ = plain.update(grads, plain.init(params), params)
    cut, _ = clipped.update(grads, clipped.init(params), params)
    expected = jax.tree.map(lambda p: np.clip(p, -limit, limit), optax.apply_updates(params, step))
    moved = optax.apply_updates(params, cut)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, expected)
    assert max(float(abs(p).max()) for p in jax.tree.leaves(moved)) <= limit * (1 + 1e-5)


@given(st.floats(0.1, 3.0), st.integers(0, 10))
@settings(max_examples=20)
def test_max_norm_shortens_what_leads_to_a_unit_and_nothing_else(limit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = {"w": jnp.array(rng.normal(size=(4, 3)), jnp.float32), "b": jnp.array(rng.normal(size=3), jnp.float32)}
    updates = jax.tree.map(lambda p: 0.5 * p, params)
    tx = penalty.max_norm(limit)
    moved = optax.apply_updates(params, tx.update(updates, tx.init(params), params)[0])
    free = jax.tree.map(lambda p: 1.5 * np.asarray(p), params)
    norms = np.linalg.norm(free["w"], axis=0)
    np.testing.assert_allclose(moved["w"], free["w"] * np.minimum(1, limit / norms), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved["b"], free["b"], rtol=1e-6)


@pytest.mark.parametrize("projection", [penalty.clip_weights, penalty.max_norm])
def test_a_projection_wants_the_parameters(projection) -> None:
    with pytest.raises(ValueError, match="needs the parameters"):
        projection(0.01).update({"w": jnp.ones(1)}, optax.EmptyState())


def test_a_gradient_may_have_another_target_than_one() -> None:
    """lambda (|g| - gamma)^2 / gamma^2, as in the code of Karras et al. 2018."""
    found = penalty.gradient_penalty(10.0, target=4.0)(linear, REAL, FAKE, KEY, None)
    norm = float(jnp.linalg.norm(W))
    np.testing.assert_allclose(found, 10 * (norm - 4) ** 2 / 16, rtol=1e-5)
