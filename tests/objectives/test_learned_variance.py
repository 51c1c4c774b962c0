"""Losses with a learned variance against the authors' formulas in numpy, and against the best variance of Gaussian data."""

from typing import Any

import flax.linen as nn
import improved
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from parameters import normal

import jaxgen
from jaxgen import keys
from jaxgen.diffusion import (
    Prediction,
    cosine,
    diffuse,
    from_betas,
    large_variance,
    learned_range,
    linear,
    small_variance,
    subsequence,
)
from jaxgen.distributions import Normal
from jaxgen.objectives import Told, bound_term, denoising_score_matching, hybrid, variational_bound, vlb

KEY = jax.random.key(4)
MAKERS = {"hybrid": hybrid, "vlb": vlb}
PARAMS = {"model": {"mean": jnp.array([0.9, 0.2, 0.0]), "v": jnp.array([0.7, 0.5, 0.0])}}


class Waves(nn.Module):
    """A network of two channels to each of the data's, with parameters of the mean and of v."""

    @nn.compact
    def __call__(self, x: Any, time: Any, label: Any = None, *, train: bool = False) -> Any:
        mean, v = (self.param(name, nn.initializers.zeros_init(), (3,)) for name in ("mean", "v"))
        time = jnp.asarray(time).reshape(-1, *(1,) * (x.ndim - 1))
        shift = 0.0 if label is None else label.reshape(time.shape)
        waves = (p[0] * jnp.sin(x) + p[1] * jnp.cos(0.1 * time) + p[2] * shift for p in (mean, v))
        return jnp.concatenate([*waves], -1)


def in_numpy(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    time = t.reshape(-1, *(1,) * (x.ndim - 1))
    return np.concatenate([a * np.sin(x) + b * np.cos(0.1 * time) for a, b in ((0.9, 0.2), (0.7, 0.5))], -1)


def state_of(params: Any = PARAMS, **vars: Any) -> jaxgen.TrainState:
    return jaxgen.TrainState(jnp.int32(0), KEY, params, {}, vars, {})


def images(n: int, channels: int, seed: int = 0) -> np.ndarray:
    """Bytes in [-1, 1], black and white among them."""
    levels = np.random.default_rng(seed).integers(0, 256, (n, 3, 2, channels))
    levels[0], levels[1] = 0, 255
    return levels / 127.5 - 1


def drawn(schedule: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps and the noise of the examples."""
    own = keys.per_example(KEY, {"image": x})
    t, noise = schedule.draw(keys.fold_in(own, 0), len(x)), keys.draw(jax.random.normal, keys.fold_in(own, 1), x.shape)
    return np.asarray(t), np.asarray(noise, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("make", "steps"), [(cosine, 8), (linear, 8), (cosine, 1000)])
@pytest.mark.parametrize("kind", MAKERS)
def test_the_losses_are_the_authors(kind: str, make: Any, steps: int, channels: int) -> None:
    schedule, x = make(steps), images(64, channels)
    loss = jax.jit(
        MAKERS[kind](Waves(), schedule, share=0.001) if kind == "hybrid" else vlb(Waves(), schedule), static_argnames="train"
    )
    found, aux = loss(PARAMS, state_of(), {"image": jnp.asarray(x, jnp.float32)}, KEY, train=True)
    t, noise = drawn(schedule, x)
    assert (steps > 8) or {1, 2, steps} <= set(t.tolist())
    chain = improved.Chain(schedule.beta[1:])
    out = in_numpy(chain.q_sample(x, t, noise), t)
    # Their logarithms are cut at 1e-12; ours have the tails.
    expected = chain.training_losses(out, x, t, noise, kind)
    np.testing.assert_allclose(found[t > 1], expected[t > 1], rtol=5e-4)
    near = (t == 1) & (chain.vb_terms_bpd(out, x, chain.q_sample(x, t, noise), t, clip=False) < 20)
    np.testing.assert_allclose(found[near], expected[near], rtol=5e-3)
    error = ((noise - out[..., :channels]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(aux.metrics["noise_error"], error, rtol=1e-3)
    if kind == "hybrid":
        np.testing.assert_allclose(aux.metrics["vlb"][t > 1], 1000 * (expected - error)[t > 1], rtol=5e-3, atol=2e-3)


def test_the_decoder_is_that_of_the_authors_but_for_their_approximation() -> None:
    """They take tanh for the normal's distribution function: its errors are below 2e-4."""
    schedule, x = cosine(4), images(200, 3)
    chain, t = improved.Chain(schedule.beta[1:]), np.ones(200, int)
    x[2:] = np.clip(x[2:], -0.5, 0.5)
    noise = np.random.default_rng(1).normal(size=x.shape)
    xt = chain.q_sample(x, t, noise)
    out = np.concatenate([noise + 0.05 * np.sin(xt), 0.5 * np.cos(xt)], -1)
    predicted = Prediction(
        *(jnp.asarray(a, jnp.float32) for a in (chain.p_mean_variance(out, xt, t, clip=False)[2], noise, out[..., 3:]))
    )
    found = bound_term(predicted, schedule, jnp.asarray(x, jnp.float32), jnp.asarray(t)) / (18 * np.log(2))
    exact, theirs = (chain.vb_terms_bpd(out, x, xt, t, clip=False, tanh=tanh) for tanh in (False, True))
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    assert np.abs(exact - theirs).max() < 0.1
    assert np.abs(exact - theirs).max() > 0


def test_the_hybrids_mean_learns_from_the_noise_and_its_variance_from_the_bound_alone() -> None:
    schedule, batch = cosine(20), {"image": jnp.asarray(images(32, 1), jnp.float32)}

    def gradient(loss: Any) -> Any:
        mean = lambda params: loss(params, state_of(params), batch, KEY, train=True)[0].mean()
        return jax.jit(jax.grad(mean))(PARAMS)["model"]

    both, bound = gradient(hybrid(Waves(), schedule, share=0.25)), gradient(vlb(Waves(), schedule))

    class Mean(Waves):
        @nn.compact
        def __call__(self, *args: Any, **named: Any) -> Any:
            return jnp.split(Waves.__call__(self, *args, **named), 2, -1)[0]

    np.testing.assert_allclose(both["mean"], gradient(denoising_score_matching(Mean(), schedule))["mean"], rtol=1e-5)
    np.testing.assert_allclose(both["v"], 0.25 * bound["v"], rtol=1e-5)
    assert np.abs(bound["mean"][:2]).min() > 0
    assert np.abs(bound["v"][:2]).min() > 0


def test_conditions_reach_the_network() -> None:
    """An answer that is the label has the error (label - eps)^2."""
    batch = {"image": jnp.asarray(images(8, 1), jnp.float32), "label": jnp.arange(8.0)}
    params = {"model": {"mean": jnp.array([0.0, 0.0, 1.0]), "v": jnp.zeros(3)}}
    _, eps = drawn(linear(6), batch["image"])
    expected = ((np.arange(8.0).reshape(-1, 1, 1, 1) - eps) ** 2).mean((1, 2, 3))
    for make in MAKERS.values():
        loss = make(Waves(), linear(6), told={"label": Told("label")})
        _, aux = loss(params, state_of(params), batch, KEY, train=False)
        np.testing.assert_allclose(aux.metrics["noise_error"], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_are_finite_where_next_to_nothing_is_left_of_the_data(kind: str) -> None:
    """At the end of a long chain a prediction is off by 1e6, and the mass of a byte's level there has no float32."""
    schedule = cosine(4000)
    end = subsequence(schedule, [1, 3999, 4000])
    batch = {"image": jnp.asarray(images(32, 1), jnp.float32)}
    t, _ = drawn(end, np.asarray(batch["image"]))
    assert schedule.alpha[4000] < 2e-5
    assert set(t.tolist()) == {1, 2, 3}
    loss = MAKERS[kind](Waves(), end)
    params = {"model": {"mean": jnp.array([30.0, 0.2, 0.0]), "v": jnp.array([0.7, 0.5, 0.0])}}
    gradient = jax.grad(lambda params: loss(params, state_of(params), batch, KEY, train=True)[0].mean())(params)
    assert all(np.isfinite(np.asarray(g)).all() for g in jax.tree.leaves(gradient))


C2 = 0.37
GAUSSIAN = Mixture((0.0,), C2**0.5)
CHAIN = from_betas(np.linspace(0.01, 0.3, 10))
ANALYTIC = CHAIN.posterior_variance + CHAIN.posterior_x0**2 * CHAIN.sigma**2 * C2 / (CHAIN.alpha**2 * C2 + CHAIN.sigma**2)
"""The variance of x_{t-1} given x_t, by the law of total variance."""


def with_v(v: Any) -> Any:
    """The exact denoiser, with a v that depends on the step."""

    def denoise(x: jax.Array, level: Any) -> Prediction:
        t = jnp.argmin(jnp.abs(jnp.asarray(CHAIN.time) - jnp.reshape(level.time, (-1, 1))), axis=1)
        return GAUSSIAN.denoise(x, level)._replace(v=jnp.broadcast_to(jnp.asarray(v)[t].reshape(-1, 1), x.shape))

    return denoise


def test_the_v_of_the_least_bound_is_the_analytic_variance() -> None:
    """Of Gaussian data, found by Newton's method on v at every step; beyond 1 if need be, for v is not bounded."""
    x0 = jnp.asarray(np.sqrt(C2) * np.random.default_rng(0).normal(size=(40_000, 1)), jnp.float32)
    least, span = learned_range(CHAIN)

    def terms(v: jax.Array) -> jax.Array:
        def at(t: jax.Array) -> jax.Array:
            level, steps = CHAIN.level(t), jnp.full(len(x0), t)
            found = GAUSSIAN.denoise(diffuse(x0, jax.random.normal(jax.random.fold_in(KEY, t), x0.shape), level), level)
            return bound_term(found._replace(v=v[t - 1] + 0 * x0), CHAIN, x0, steps, decoder=Normal).mean()

        return jax.lax.map(at, jnp.arange(1, 11)).sum()

    v = jnp.zeros(10)
    move = jax.jit(lambda v: v - jax.grad(terms)(v) / jax.jvp(jax.grad(terms), (v,), (jnp.ones(10),))[1])
    for _ in range(8):
        v = move(v)
    found = least[1:] * np.exp(span[1:] * (np.asarray(v) + 1) / 2)
    # At step 1 the decoder's: the variance of x_0 given x_1.
    np.testing.assert_allclose(found, ANALYTIC[1:], rtol=0.02)
    assert (np.asarray(v)[1:] < 1).all()


def test_the_bound_with_the_best_v_is_the_likelihood_and_the_priors_kl() -> None:
    least, span = learned_range(CHAIN)
    v = np.append(0.0, 2 * np.log(ANALYTIC[1:] / least[1:]) / span[1:] - 1)
    x0 = np.sqrt(C2) * np.random.default_rng(0).normal(size=(20_000, 1))
    bound = jax.jit(lambda x: variational_bound(with_v(v), CHAIN, x, KEY, variance=learned_range, decoder=Normal).total)
    nll = 0.5 * (np.log(2 * np.pi * C2) + (x0**2).mean() / C2)
    end = CHAIN.alpha[-1] ** 2 * C2 + CHAIN.sigma[-1] ** 2
    assert bound(jnp.asarray(x0, jnp.float32)).mean() == pytest.approx(nll + 0.5 * (end - 1 - np.log(end)), abs=0.02)


@pytest.mark.parametrize("samples", [None, 4])
@pytest.mark.parametrize(("v", "fixed"), [(-1.0, small_variance), (1.0, large_variance)])
def test_at_the_ends_of_the_range_the_bound_is_that_of_fixed_variances(v: float, fixed: Any, samples: Any) -> None:
    x = normal(5, 3, 2, 1)
    denoise = lambda x, level: GAUSSIAN.denoise(x, level)._replace(v=v + 0 * x)
    one, other = (
        variational_bound(denoise, CHAIN, x, KEY, variance=of, decoder=Normal, samples=samples) for of in (learned_range, fixed)
    )
    np.testing.assert_allclose(one.prior, other.prior, rtol=1e-6)
    if samples is None:  # otherwise the variances' part is estimated as well
        np.testing.assert_allclose(one.transitions, other.transitions, rtol=1e-4)
    if v < 0:
        np.testing.assert_allclose(one.transitions, other.transitions, rtol=1e-4)
        np.testing.assert_allclose(one.decoder, other.decoder, rtol=1e-5)
    else:  # where the fixed one is not beta_1
        std = np.sqrt(CHAIN.beta[1])
        whole = variational_bound(denoise, CHAIN, x, KEY, variance=lambda c: np.full(11, std**2), decoder=Normal)
        np.testing.assert_allclose(one.decoder, whole.decoder, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 3])
def test_an_estimate_with_learned_variances_is_unbiased_and_terms_add_up_to_the_bound(samples: int) -> None:
    x = jnp.array([[-0.5], [1.0]])
    denoise = lambda x, level: GAUSSIAN.denoise(x, level)._replace(v=jnp.sin(3 * x))

    def whole(key: jax.Array, samples: int | None) -> jax.Array:
        return variational_bound(denoise, CHAIN, x, key, variance=learned_range, decoder=Normal, samples=samples).transitions

    def term(key: jax.Array) -> jax.Array:
        t = jax.random.randint(key, (2,), 2, 11)
        level = CHAIN.level(t)
        found = denoise(diffuse(x, jax.random.normal(jax.random.fold_in(key, 1), x.shape), level), level)
        return 9 * bound_term(found, CHAIN, x, t, decoder=Normal)

    all_keys = jax.random.split(KEY, 4000)
    exact = jax.jit(jax.vmap(lambda key: whole(key, None)))(all_keys[:1000])
    for estimate in (lambda key: whole(key, samples), term):
        found = jax.jit(jax.vmap(estimate))(all_keys)
        error = np.hypot(found.std(0) / np.sqrt(4000), exact.std(0) / np.sqrt(1000))
        np.testing.assert_array_less(np.abs(found.mean(0) - exact.mean(0)), 4.5 * error)
        assert (error < 0.1 * np.abs(exact.mean(0))).all()


def test_a_network_without_a_variance_is_refused_by_the_bound() -> None:
    with pytest.raises(jaxgen.errors.InputError, match="predicts no variance for its bound"):
        variational_bound(GAUSSIAN.denoise, CHAIN, jnp.zeros((2, 1)), KEY, variance=learned_range)
