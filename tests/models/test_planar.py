"""Planar and radial steps: constraints, Jacobians by autodiff, inverses by bisection; posteriors that are made of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal
from scipy import optimize, stats

from jaxgen.distributions import FlowPosterior, Normal
from jaxgen.errors import UserError
from jaxgen.models.autoencoders import mlp
from jaxgen.models.flows import Planar, Radial, planar, radial
from jaxgen.models.vae import FlowVAE
from jaxgen.nn import BernoulliLikelihood

D = 5


def numbers(kind: str, n: int, d: int = D, *, scale: float = 2.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Parameters of n steps, in double precision."""
    rng = np.random.default_rng(seed)
    if kind == "planar":
        return scale * rng.normal(size=(n, d)), scale * rng.normal(size=(n, d)), rng.normal(size=n)
    return rng.normal(size=(n, d)), np.exp(rng.normal(size=n)), scale * rng.normal(size=n)


STEPS: dict[str, Any] = {"planar": planar, "radial": radial}
KINDS = pytest.mark.parametrize("kind", STEPS)


@KINDS
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_determinant_is_that_of_the_jacobian(kind: str, scale: float) -> None:
    with jax.enable_x64(True):
        z = jnp.asarray(np.random.default_rng(1).normal(size=(20, D)))
        parameters = tuple(map(jnp.asarray, numbers(kind, 20, scale=scale)))
        _, found = jax.jit(STEPS[kind])(z, *parameters)
        one = lambda z, *own: STEPS[kind](z, *own)[0]
        jacobian = jax.jit(jax.vmap(jax.jacfwd(one)))(z, *parameters)
        sign, expected = np.linalg.slogdet(np.asarray(jacobian))
        assert (sign == 1).all()  # by the constraint
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@KINDS
def test_single_precision_agrees_with_double(kind: str) -> None:
    z, parameters = np.random.default_rng(1).normal(size=(50, D)), numbers(kind, 50)
    found = STEPS[kind](jnp.float32(z), *map(jnp.float32, parameters))
    with jax.enable_x64(True):
        expected = STEPS[kind](*map(jnp.asarray, (z, *parameters)))
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


def constrained(w: np.ndarray, u: np.ndarray) -> np.ndarray:
    inner = (w * u).sum(-1, keepdims=True)
    return u + (np.logaddexp(0, inner) - 1 - inner) * w / (w * w).sum(-1, keepdims=True)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_direction_of_a_planar_step_never_turns_back(scale: float) -> None:
    """Far on one side of the plane tanh is 1, and the step is u itself."""
    w, u, b = numbers("planar", 400, scale=scale)
    z = 100 * w / (w * w).sum(-1, keepdims=True)
    with jax.enable_x64(True):
        moved, _ = planar(*map(jnp.asarray, (z, w, u, 0 * b)))
        direction = np.asarray(moved) - z
    np.testing.assert_allclose(direction, constrained(w, u), rtol=1e-6, atol=1e-9 * np.abs(z).max())
    assert ((w * direction).sum(-1) >= -1 - 1e-9).all()
    assert ((w * u).sum(-1) < -1).any() == (scale > 0.5)  # where the constraint changes much


def test_a_planar_step_is_inverted_by_bisection() -> None:
    w, u, b = numbers("planar", 30)
    z = np.random.default_rng(5).normal(size=(30, D))
    with jax.enable_x64(True):
        y = np.asarray(planar(*map(jnp.asarray, (z, w, u, b)))[0])
    u = constrained(w, u)
    for i in range(30):
        slope, target = w[i] @ u[i], w[i] @ y[i]
        reach = abs(target) + abs(slope) + 1
        crossed = lambda a, slope=slope, offset=b[i], target=target: a + slope * np.tanh(a + offset) - target
        along = optimize.brentq(crossed, -reach, reach, xtol=1e-14)
        np.testing.assert_allclose(y[i] - u[i] * np.tanh(along + b[i]), z[i], atol=1e-10)


def test_what_moves_nothing_has_values_and_gradients() -> None:
    """A plane without a normal vector, and a point at the centre."""
    zeros = jnp.zeros((1, D))

    def moved(w: jax.Array, centre: jax.Array) -> Any:
        u = jnp.ones((1, D))
        (a, one), (c, other) = planar(zeros + 1, w, u, jnp.zeros(1)), radial(zeros, centre, jnp.ones(1), jnp.ones(1))
        return a.sum() + c.sum() + one.sum() + other.sum(), (one, other)

    (_, (one, other)), gradients = jax.value_and_grad(moved, (0, 1), has_aux=True)(zeros, zeros)
    assert float(one[0]) == 0
    # At the centre every direction is stretched by 1 + beta / alpha.
    np.testing.assert_allclose(other, D * np.log(np.logaddexp(0, 1.0)), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("size", [-80.0, 80.0])
def test_determinants_of_strong_steps_are_finite(size: float) -> None:
    w, u = jnp.full((1, 1), 1.0), jnp.full((1, 1), size)
    _, log_det = planar(jnp.zeros((1, 1)), w, u, jnp.zeros(1))
    np.testing.assert_allclose(log_det, size if size < 0 else np.log(size), rtol=1e-4)


def posterior(kind: str, d: int = 2, steps: int = 4) -> FlowPosterior:
    parameters = [np.stack(p) for p in zip(*(numbers(kind, 3, d, seed=k, scale=1.0) for k in range(steps)), strict=True)]
    base = Normal(normal(3, d, seed=8), jnp.exp(0.3 * normal(3, d, seed=9)))
    return FlowPosterior(base, STEPS[kind], tuple(map(jnp.float32, parameters)))


@KINDS
def test_the_density_at_samples_is_that_of_a_law(kind: str) -> None:
    """For any density g within it, the mean of g / q over the samples of q is the integral of g, 1."""
    q = posterior(kind)
    z, log_q = jax.jit(lambda q, key: q.sample_and_log_prob(key, samples=60_000))(q, jax.random.key(0))
    assert (z.shape, log_q.shape) == ((60_000, 3, 2), (60_000, 3))
    for b in range(3):
        own = np.asarray(z[:, b], np.float64)
        law = stats.multivariate_normal(np.median(own, 0), 0.3 * np.cov(own.T) + 1e-3 * np.eye(2))
        weights = np.exp(law.logpdf(own) - np.asarray(log_q[:, b]))
        assert weights.mean() == pytest.approx(1, abs=6 * weights.std() / np.sqrt(len(own)))
        assert weights.std() / np.sqrt(len(own)) < 0.05


@KINDS
def test_samples_and_densities_are_those_of_a_loop(kind: str) -> None:
    q, key = posterior(kind), jax.random.key(3)
    z, log_q = q.sample_and_log_prob(key, samples=2)
    moved = q.base.sample(key, samples=2)
    expected = np.asarray(q.base.log_prob(moved), np.float64).sum(-1)
    for k in range(4):
        moved, log_det = STEPS[kind](moved, *(p[k] for p in q.parameters))
        expected = expected - np.asarray(log_det)
    np.testing.assert_allclose(z, moved, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_q, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(q.sample(key, samples=2), z)


@KINDS
def test_a_compiled_step_of_many_points_is_that_of_single_operations(kind: str) -> None:
    """At a size at which XLA fused the sum over dimensions wrongly on a CPU."""
    z, parameters = normal(10_000, 4, 2), tuple(map(jnp.float32, numbers(kind, 4, 2)))
    found = jax.jit(STEPS[kind])(z, *parameters)
    with jax.disable_jit():
        expected = STEPS[kind](z, *parameters)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)


def test_what_has_no_closed_form_is_refused() -> None:
    q = posterior("planar")
    with pytest.raises(UserError, match="ask for both, by `sample_and_log_prob`"):
        q.log_prob(q.mean)
    with pytest.raises(UserError, match="take a sampled one"):
        q.kl(Normal())


@pytest.mark.parametrize("kind", [Planar, Radial])
@pytest.mark.parametrize("amortised", [True, False])
def test_the_model_gives_each_image_its_steps(kind: Any, amortised: bool) -> None:
    flow = kind(3, amortised)
    model = FlowVAE(mlp.Encoder((6,)), mlp.Decoder((2, 2, 1), (6,)), BernoulliLikelihood(), 4, flow=flow)
    x = normal(5, 2, 2, 1)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    q = model.apply(variables, x, method="encode")
    assert q.mean.shape == (5, 4)
    assert all(p.shape[:2] == (3, 5) for p in q.parameters)
    for p in q.parameters:
        assert (np.ptp(np.asarray(p), axis=1).max() > 0) == amortised
    if kind is Radial:
        # Radial steps begin near the identity, with z_0 near the origin.
        np.testing.assert_allclose(q.mean, q.base.mean, atol=0.2)
    assert set(variables["params"]["flow"]) == ({"Dense_0"} if amortised else {"free"})
    assert model.apply(variables, x).logits.shape == x.shape
