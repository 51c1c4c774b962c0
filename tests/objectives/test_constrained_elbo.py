"""The constrained bound: a game whose solution is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from parameters import normal
from scipy import special

from jaxgen.distributions import Normal
from jaxgen.game import Player, TrainState, create_state, make_train_step
from jaxgen.objectives import constrained_elbo, elbo

WIDTH = 0.5
X = normal(64, 3)
EXACT = lg.exact(5, 2)


class Shrinking(nn.Module):
    """p(x | z) = N(z, 1) and q(z | x) = N(a x, 1/4): only a is learned, so the KL of maximal likelihood is finite."""

    def setup(self) -> None:
        self.a = self.param("a", nn.initializers.constant(0.6), ())

    def encode(self, x: jax.Array, *, train: bool) -> Normal:
        return Normal(self.a * x, jnp.full_like(x, WIDTH))

    def decode(self, z: jax.Array, *, train: bool) -> Normal:
        return Normal(z, jnp.ones_like(z))


def kl_of(a: float) -> float:
    """E_x KL(q || p) of the shrinking model."""
    return float(0.5 * a**2 * (X**2).sum(-1).mean() + 3 * (0.5 * (WIDTH**2 - 1) - np.log(WIDTH)))


def play(model: nn.Module, params: dict, x: jax.Array, *, delta: float, steps: int, rate: float) -> tuple[TrainState, float]:
    """Trains from beta = 1; gives the last state, and the mean KL of the last quarter of the steps."""
    loss, dual = constrained_elbo(model, delta=delta)
    players = {"model": Player(loss, optax.adam(rate)), "multiplier": Player(dual, optax.adam(rate))}
    start = create_state(jax.random.key(0), {**params, "multiplier": jnp.log(jnp.expm1(1.0))}, {}, players)
    step = make_train_step(players)

    def run(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
        state, metrics = step(state, {"image": x})
        return state, metrics["model/kl"].value

    state, kls = jax.jit(lambda state: jax.lax.scan(run, state, None, length=steps))(start)
    return state, float(kls[-steps // 4 :].mean())


@pytest.mark.trains
def test_an_active_bound_holds_with_equality_at_the_multiplier_of_the_closed_form() -> None:
    a = 0.7
    state, kl = play(Shrinking(), {"model": {"a": jnp.array(0.6)}}, X, delta=kl_of(a), steps=1500, rate=1e-2)
    np.testing.assert_allclose(kl, kl_of(a), rtol=0.05)
    np.testing.assert_allclose(state.params["model"]["a"], a, rtol=0.05)
    # Where the gradient in a of |x - a x|^2 / 2 + beta a^2 |x|^2 / 2 is zero.
    np.testing.assert_allclose(jax.nn.softplus(state.params["multiplier"]), (1 - a) / a, rtol=0.1)


@pytest.mark.trains
def test_a_slack_bound_ends_at_maximal_likelihood_with_no_multiplier() -> None:
    state, kl = play(Shrinking(), {"model": {"a": jnp.array(0.6)}}, X, delta=2 * kl_of(1.0), steps=2500, rate=1e-2)
    np.testing.assert_allclose(state.params["model"]["a"], 1.0, rtol=0.05)
    np.testing.assert_allclose(kl, kl_of(1.0), rtol=0.05)
    assert jax.nn.softplus(state.params["multiplier"]) < 0.01


@pytest.mark.trains
@pytest.mark.parametrize("delta", [0.7, 2.0])
def test_the_kl_of_a_linear_vae_ends_at_the_bound(delta: float) -> None:
    model = lg.LinearGaussian(dim=5, latents=2)
    start = {**lg.moved(EXACT), "log_sigma": np.zeros(())}
    _, kl = play(model, lg.tree(start), jnp.array(lg.draw(EXACT, 256)), delta=delta, steps=1500, rate=1e-2)
    np.testing.assert_allclose(kl, delta, rtol=0.05)


def both(delta: float, rho: float) -> tuple:
    model, params = lg.LinearGaussian(dim=5, latents=2), lg.tree(lg.moved(EXACT), multiplier=jnp.array(rho))
    losses = constrained_elbo(model, delta=delta)
    x = jnp.array(lg.draw(EXACT, 8))

    def mean(loss, params):
        values, aux = loss(params, lg.state(params), {"image": x}, jax.random.key(0), train=True)
        return values.mean(), aux

    return model, params, x, [jax.grad(lambda p, loss=loss: mean(loss, p), has_aux=True)(params) for loss in losses]


@pytest.mark.parametrize("rho", [-2.0, 0.5])
@pytest.mark.parametrize("delta", [0.1, 50.0])
def test_multiplier_rises_where_the_kl_is_above_the_bound_and_falls_where_it_is_below(delta: float, rho: float) -> None:
    _, _, _, [(_, aux), (dual, dual_aux)] = both(delta, rho)
    excess = np.asarray(aux.metrics["kl"]) - delta
    np.testing.assert_allclose(dual_aux.metrics["kl_excess"], excess, rtol=1e-5)
    # What is descended, so the multiplier goes the other way.
    np.testing.assert_allclose(dual["multiplier"], -special.expit(rho) * excess.mean(), rtol=1e-5)


def test_multiplier_weighs_the_models_kl_and_has_no_gradient_there() -> None:
    model, params, x, [(grad, aux), _] = both(1.0, 0.5)
    beta = np.log1p(np.exp(0.5))
    np.testing.assert_allclose(aux.metrics["beta"], beta, rtol=1e-6)
    assert grad["multiplier"] == 0

    def mean(own: dict) -> jax.Array:
        loss = elbo(model, beta=float(beta))
        return loss({"model": own}, lg.state(params), {"image": x}, jax.random.key(0), train=True)[0].mean()

    for name, theirs in jax.grad(mean)(params["model"]).items():
        np.testing.assert_allclose(grad["model"][name], theirs, rtol=1e-4, atol=1e-5)


def test_the_multipliers_turn_leaves_the_model_alone() -> None:
    _, dual = constrained_elbo(lg.LinearGaussian(dim=5, latents=2), delta=0.1)
    players = {"multiplier": Player(dual, optax.sgd(1.0))}
    before = lg.tree(lg.moved(EXACT), multiplier=jnp.array(0.0))
    after, _ = make_train_step(players)(
        create_state(jax.random.key(0), before, {}, players), {"image": jnp.array(lg.draw(EXACT, 8))}
    )
    jax.tree.map(np.testing.assert_array_equal, after.params["model"], before["model"])
    assert after.params["multiplier"] > 0


@pytest.mark.parametrize("prior", [Normal(0.0, 1.0), Normal(0.5, 2.0)], ids=str)
def test_losses_are_the_lagrangian_of_the_elbos_own_terms_and_its_multipliers_part(prior: Normal) -> None:
    model = lg.LinearGaussian(dim=5, latents=2)
    params = {"vae": lg.tree(lg.moved(EXACT))["model"], "rho": jnp.array(0.3)}
    arguments = (params, lg.state(params), {"x": jnp.array(lg.draw(EXACT, 8))}, jax.random.key(0))
    _, aux = elbo(model, samples=3, prior=prior, name="vae", feature="x")(*arguments, train=True)
    terms, beta = aux.metrics, np.log1p(np.exp(0.3))

    loss, dual = constrained_elbo(model, delta=1.5, samples=3, prior=prior, name="vae", multiplier="rho", feature="x")
    values, _ = loss(*arguments, train=True)
    np.testing.assert_allclose(values, -terms["log_likelihood"] + beta * (terms["kl"] - 1.5), rtol=1e-5)
    values, _ = dual(*arguments, train=True)
    np.testing.assert_allclose(values, -beta * (terms["kl"] - 1.5), rtol=1e-4)
