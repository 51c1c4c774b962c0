"""Bounds of hierarchies against the evidence of linear Gaussian ones, and against the plain ELBO."""

import functools
from typing import Any

import contract
import hierarchies
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest

import jaxgen
from jaxgen.devices import collectives
from jaxgen.distributions import Normal
from jaxgen.models import vae
from jaxgen.objectives import balance, elbo, hierarchical_bound, hierarchical_elbo, sizes_by_resolution

X = hierarchies.X
EXACT = {"ladder": hierarchies.ladder, "own": functools.partial(hierarchies.ladder, own=True), "markov": hierarchies.markov}


def started(model: Any) -> Any:
    return {"model": model.init(jax.random.key(0), X)["params"]}


def values(model: Any, *, train: bool = True, step: int = 0, batch: Any = None, key: int = 0, **options: Any) -> Any:
    params = started(model)
    batch = {"image": jnp.array(X)} if batch is None else batch
    loss = hierarchical_elbo(model, **options)
    return loss(params, lg.state(params, step=step), batch, jax.random.key(key), train=train)


@pytest.mark.parametrize("kind", EXACT)
def test_with_the_exact_posterior_the_elbo_is_the_evidence(kind: str) -> None:
    loss, aux = values(EXACT[kind](), analytic_kl=False)
    np.testing.assert_allclose(-loss, hierarchies.evidence(X), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["elbo"], -loss, rtol=1e-6)


@pytest.mark.parametrize("kind", EXACT)
def test_the_closed_kl_is_the_mean_of_the_sampled_one(kind: str) -> None:
    model = EXACT[kind](shift=1.2)
    params = started(model)

    def difference(key: jax.Array) -> Any:
        state = lg.state(params)
        both = [hierarchical_elbo(model, analytic_kl=a)(params, state, {"image": X}, key, train=True)[1] for a in (True, False)]
        return jnp.stack([both[0].metrics[n] - both[1].metrics[n] for n in ("kl_1", "kl_2")])

    mean, error = lg.over_keys(difference, 3000)
    assert (abs(mean) < 4.5 * error + 1e-4).all()


def test_another_posterior_falls_short() -> None:
    model = hierarchies.ladder(shift=1.5)
    params, loss = started(model), hierarchical_elbo(model)
    found, _ = lg.over_keys(lambda key: -loss(params, lg.state(params), {"image": X}, key, train=True)[0], 500)
    assert (found < hierarchies.evidence(X) - 0.1).all()


@pytest.mark.parametrize("kind", ["ladder", contract.slow("own"), contract.slow("markov")])
def test_the_importance_weighted_bound_rises_to_the_evidence(kind: str) -> None:
    model = EXACT[kind](shift=1.5)
    bound = functools.partial(hierarchical_bound, model, started(model), {}, jnp.array(X))
    keys = jax.random.split(jax.random.key(0), 300)
    means = [np.asarray(jax.vmap(lambda k, n=n: bound(k, samples=n))(keys)).mean() for n in (1, 5)]
    best = hierarchies.evidence(X)
    assert means[0] < means[1] - 0.1
    assert means[1] < best.mean()
    many = bound(jax.random.key(1), samples=20_000, chunk=2_000)
    np.testing.assert_allclose(many, best, atol=0.05)


def test_the_bound_does_not_depend_on_the_chunk() -> None:
    model = hierarchies.ladder(shift=1.5)
    bound = functools.partial(hierarchical_bound, model, started(model), {}, jnp.array(X), jax.random.key(0), samples=12)
    for chunk in (1, 3, 6):
        np.testing.assert_allclose(bound(chunk=chunk), bound(), rtol=1e-5)
    with pytest.raises(jaxgen.UserError, match="12 importance samples cannot be cut into chunks of 5"):
        bound(chunk=5)


class Plain(vae.LadderVAE):
    """One layer, with the method that the plain ELBO asks for."""

    def encode(self, x: jax.Array, *, train: bool = False) -> Normal:
        return self.up[0](x, train=train)


@pytest.mark.parametrize("analytic_kl", [True, False])
def test_one_layer_is_the_plain_vae(analytic_kl: bool) -> None:
    full = hierarchies.ladder(shift=1.3)
    model = Plain(full.up[:1], (), full.decoder, full.likelihood)
    params = started(model)

    def mean(loss: Any) -> Any:
        return lg.over_keys(lambda key: loss(params, lg.state(params), {"image": jnp.array(X)}, key, train=True)[0], 4000)

    (ours, error), (plain, other) = (mean(make(model, analytic_kl=analytic_kl)) for make in (hierarchical_elbo, elbo))
    assert (abs(ours - plain) < 4.5 * np.hypot(error, other) + 1e-5).all()
    # The closed KL has no noise.
    if analytic_kl:
        state, batch = lg.state(params), {"image": jnp.array(X)}
        both = [make(model)(params, state, batch, jax.random.key(0), train=True)[1] for make in (hierarchical_elbo, elbo)]
        np.testing.assert_allclose(both[0].metrics["kl"], both[1].metrics["kl"], rtol=1e-6)


@pytest.mark.parametrize("step", [0, 5, 20])
def test_the_warm_up_weighs_all_groups(step: int) -> None:
    loss, aux = values(hierarchies.ladder(shift=1.3), beta=lambda s: jnp.minimum(s / 10, 1.0), step=step, weights=(1.0, 3.0))
    m = aux.metrics
    beta = min(step / 10, 1.0)
    np.testing.assert_allclose(loss, beta * (m["kl_1"] + 3 * m["kl_2"]) - m["log_likelihood"], rtol=1e-5)
    np.testing.assert_allclose(m["elbo"], m["log_likelihood"] - m["kl"], rtol=1e-5)
    np.testing.assert_allclose(m["kl"], m["kl_1"] + m["kl_2"], rtol=1e-5)


def test_free_bits_hold_the_mean_of_a_batch() -> None:
    model = hierarchies.ladder()
    _, aux = values(model)
    kl = np.array([aux.metrics[f"kl_{i}"] for i in (1, 2)])
    free = float(kl.mean(1).mean())  # between the two groups
    loss, aux = values(model, free_bits=free)
    assert np.mean(loss + aux.metrics["log_likelihood"]) == pytest.approx(np.maximum(free, kl.mean(1)).sum(), rel=1e-5)
    evaluated, aux = values(model, free_bits=free, train=False)
    np.testing.assert_allclose(evaluated, -aux.metrics["elbo"], rtol=1e-6)


def test_balancing_by_hand_while_the_weight_grows() -> None:
    model = hierarchies.ladder(shift=1.2)
    loss, aux = values(model, beta=0.5, sizes=(1.0, 4.0))
    kl = np.array([aux.metrics[f"kl_{i}"] for i in (1, 2)])
    raw = (kl.mean(1) + 0.01) / [1, 4]
    gamma = raw / raw.mean()
    np.testing.assert_allclose(loss, 0.5 * gamma @ kl - aux.metrics["log_likelihood"], rtol=1e-5)
    for options in ({"beta": 1.0}, {"beta": 1.0, "train": False}):
        whole, aux = values(model, sizes=(1.0, 4.0), **options)
        np.testing.assert_allclose(whole, -aux.metrics["elbo"], rtol=1e-5)


def test_sampled_kls_are_balanced_by_their_absolute_values() -> None:
    """As in NVAE's code: examples whose KL is below zero by chance do not cancel others."""
    _, aux = values(hierarchies.ladder(shift=2.0), beta=0.5, analytic_kl=False, sizes=(1.0, 1.0))
    kl = np.array([aux.metrics[f"kl_{i}"] for i in (1, 2)])
    assert (kl < 0).any()
    raw = np.abs(kl).mean(1) + 0.01
    loss, _ = values(hierarchies.ladder(shift=2.0), beta=0.5, analytic_kl=False, sizes=(1.0, 1.0))
    np.testing.assert_allclose(loss, 0.5 * raw / raw.mean() @ kl - aux.metrics["log_likelihood"], rtol=1e-4)


def test_finer_scales_are_larger_by_four_and_share_it_among_their_groups() -> None:
    np.testing.assert_allclose(sizes_by_resolution((2, 4, 1)), [1, 1, 2, 2, 2, 2, 32])
    np.testing.assert_allclose(sizes_by_resolution((1, 8)), [2, *[1] * 8])


def test_no_gradient_flows_through_the_balance() -> None:
    assert (jax.jacobian(lambda kl: balance(kl, (1.0, 2.0)))(jnp.array([0.5, 2.0])) == 0).all()


@pytest.mark.parametrize("options", [{"sizes": (1.0, 2.0), "beta": 0.5}, {"free_bits": 1.0}], ids=["balanced", "free"])
def test_replicas_and_padding_see_the_mean_of_the_batch(options: dict[str, Any]) -> None:
    model = hierarchies.ladder(shift=1.2)
    params = started(model)
    loss = hierarchical_elbo(model, **options)
    x = jnp.concatenate([X, 100 * X[:2]])
    own = jax.random.split(jax.random.key(4), 8)
    mask = jnp.array([1, 1, 1, 1, 1, 1, 0, 0])

    def on(x: Any, own: Any, mask: Any) -> Any:
        return loss(params, lg.state(params), {"image": x, "key": own, "mask": mask}, jax.random.key(0), train=True)[0]

    parts = (x.reshape(4, 2, -1), own.reshape(4, 2), mask.reshape(4, 2))
    replicas = jax.pmap(on, axis_name=collectives.AXIS, devices=jax.devices()[:4])(*parts).reshape(8)
    np.testing.assert_allclose(replicas[:6], on(x, own, mask)[:6], rtol=1e-5)
    alone = loss(params, lg.state(params), {"image": jnp.array(X), "key": own[:6]}, jax.random.key(0), train=True)[0]
    np.testing.assert_allclose(replicas[:6], alone, rtol=1e-5)


@pytest.mark.parametrize("options", [{"weights": (1.0,)}, {"sizes": (1.0, 1.0, 1.0)}], ids=["weights", "sizes"])
def test_a_number_for_each_group(options: dict[str, Any]) -> None:
    with pytest.raises(jaxgen.UserError, match="the model has 2 groups of latents; give as many"):
        values(hierarchies.ladder(), **options)
