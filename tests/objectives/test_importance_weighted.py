"""The importance-weighted bound against the evidence of probabilistic PCA, and its gradient against its definition."""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from jax.scipy import stats as jstats
from parameters import filled, normal
from scipy import special

from jaxgen import keys
from jaxgen.distributions import Normal
from jaxgen.models import vae
from jaxgen.models.autoencoders import mlp
from jaxgen.nn import likelihoods
from jaxgen.objectives import elbo, importance_weighted, importance_weighted_bound, importance_weighted_nll

MODEL = lg.LinearGaussian(dim=5, latents=2)
EXACT = lg.exact(5, 2)
OTHER = lg.moved(EXACT)
X = lg.draw(EXACT, 4)


class Given(NamedTuple):
    """A normal distribution whose noise is given, the same at each call, so that a test knows it."""

    q: Normal
    noise: jax.Array

    def sample_and_log_prob(self, key: jax.Array, *, samples: int) -> tuple[jax.Array, jax.Array]:
        assert samples == len(self.noise)
        z = self.q.mean + self.q.std * self.noise
        return z, jnp.asarray(self.q.log_prob(z)).sum(-1)


class WithGivenNoise(lg.LinearGaussian):
    noise: Any = None

    def encode(self, x: jax.Array, *, train: bool = False) -> Any:
        return Given(super().encode(x, train=train), self.noise)


def bounds(params: dict[str, np.ndarray], samples: int, chunk: int | None = None) -> Any:
    """A function of the key."""
    own = lg.tree(params)
    return lambda key: importance_weighted_bound(MODEL, own, {}, jnp.array(X), key, samples=samples, chunk=chunk)[0]


@pytest.mark.parametrize(
    ("samples", "chunk", "prior"),
    [
        (1, None, lg.STANDARD),
        (7, None, Normal(0.5, 2.0)),
        (12, 3, Normal(0.5, 2.0)),
        (12, 1, lg.STANDARD),
        (12, 12, lg.STANDARD),
        (3, 50, lg.STANDARD),
    ],
)
def test_bound_with_the_exact_posterior_is_the_evidence_for_any_k(samples: int, chunk: int | None, prior: Normal) -> None:
    params = lg.exact(5, 2, prior=prior)
    loss, metrics = lg.values(importance_weighted(MODEL, samples=samples, chunk=chunk, prior=prior), lg.tree(params), X)
    np.testing.assert_allclose(-loss, lg.evidence(params, X, prior), rtol=1e-5)
    np.testing.assert_array_equal(metrics["bound"], -loss)


def test_one_sample_is_the_elbo_with_a_sampled_kl() -> None:
    one, _ = lg.values(importance_weighted(MODEL, samples=1), lg.tree(OTHER), X)
    other, _ = lg.values(elbo(MODEL, analytic_kl=False), lg.tree(OTHER), X)
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_bound_rises_with_k_towards_the_evidence_and_not_beyond() -> None:
    truth, far = lg.evidence(EXACT, X), lg.moved(OTHER)
    levels = [lg.over_keys(bounds(far, k), 10_000) for k in (1, 4, 16, 64)]
    for (low, low_error), (high, high_error) in itertools.pairwise(levels):
        assert (high - low > 5 * np.hypot(low_error, high_error)).all()
    for mean, error in levels:
        assert (mean < truth + 5 * error).all()
    gaps = [truth - mean for mean, _ in levels]
    np.testing.assert_allclose(gaps[0], lg.gap(far, EXACT, X), atol=5 * levels[0][1].max())
    assert (gaps[-1] < 0.1 * gaps[0]).all()


@pytest.mark.parametrize(("samples", "chunk"), [(1, None), (8, None), (8, 2)])
def test_mean_weight_is_an_unbiased_estimate_of_the_evidence(samples: int, chunk: int | None) -> None:
    truth = lg.evidence(EXACT, X)
    mean, error = lg.over_keys(lambda key: jnp.exp(bounds(OTHER, samples, chunk)(key) - truth.astype(np.float32)), 20_000)
    np.testing.assert_array_less(np.abs(mean - 1), 5 * error)
    assert (error < 0.02).all()


def test_five_thousand_samples_in_chunks_estimate_the_evidence() -> None:
    bound = jax.jit(bounds(OTHER, 5000, 50))(jax.random.key(0))
    _, error = lg.over_keys(lambda key: jnp.exp(bounds(OTHER, 1)(key) - lg.evidence(EXACT, X).astype(np.float32)), 5000)
    np.testing.assert_array_less(np.abs(bound - lg.evidence(EXACT, X)), 5 * error)


def log_weights(params: dict[str, jax.Array], noise: jax.Array) -> jax.Array:
    """By hand: log p(x | z) + log p(z) - log q(z | x) at z = V x + c + s * noise, `[k, B]`."""
    mean, std = X @ params["encoder"].T + params["offset"], jnp.exp(params["log_std"])
    z = mean + std * noise
    log_likelihood = jstats.norm.logpdf(jnp.array(X), z @ params["weight"].T + params["mean"], jnp.exp(params["log_sigma"]))
    return log_likelihood.sum(-1) + jstats.norm.logpdf(z).sum(-1) - jstats.norm.logpdf(z, mean, std).sum(-1)


@pytest.mark.parametrize("chunks", [1, 3])
def test_value_and_gradient_are_the_log_mean_weight_and_the_weighted_mean_of_the_samples_gradients(chunks: int) -> None:
    noise = normal(6, 4, 2, seed=3)
    params = lg.tree(OTHER)
    # Every chunk sees the same noise, so that the weights of all chunks are those of one, repeated.
    model = WithGivenNoise(dim=5, latents=2, noise=noise)
    loss = importance_weighted(model, samples=6 * chunks, chunk=6)

    def total(own: dict[str, jax.Array]) -> jax.Array:
        return loss({"model": own}, lg.state(params), {"image": jnp.array(X)}, jax.random.key(0), train=True)[0].sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(params["model"])
    log_w, per_sample = jax.jit(lambda p: (log_weights(p, noise), jax.jacrev(log_weights)(p, noise)))(params["model"])
    np.testing.assert_allclose(-value, (special.logsumexp(log_w, axis=0) - np.log(6)).sum(), rtol=1e-5)
    weights = special.softmax(np.asarray(log_w, np.float64), axis=0)
    for name, ours in gradient.items():
        theirs = -np.tensordot(weights, per_sample[name], axes=2)
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_chunks_have_noise_of_their_own() -> None:
    # With the same noise in each chunk the bound of eight samples would have the spread of two.
    two, chunked, eight = (
        np.asarray(jax.jit(jax.vmap(bounds(OTHER, *k)))(jax.random.split(jax.random.key(0), 4000))).std(0)
        for k in ((2, None), (8, 2), (8, None))
    )
    np.testing.assert_allclose(chunked, eight, rtol=0.15)
    assert (chunked < 0.75 * two).all()


def test_chunks_must_divide_the_samples() -> None:
    with pytest.raises(ValueError, match="10 importance samples cannot be cut into chunks of 4"):
        bounds(EXACT, 10, 4)(jax.random.key(0))


@pytest.mark.parametrize(("samples", "chunk", "at_once"), [(12, 50, 2), (12, 8, 4), (7, 3, 1), (6, 6, 6)])
def test_the_nll_of_a_state_is_the_bound_of_its_parameters(samples: int, chunk: int, at_once: int) -> None:
    """With the draws of each example, whatever the number of samples: a chunk that divides it is found."""
    batch = {"image": jnp.array(X), "index": jnp.arange(10, 14)}
    key = jax.random.key(3)
    found = importance_weighted_nll(MODEL, samples=samples, chunk=chunk)(lg.state(lg.tree(OTHER)), batch, key)
    own = keys.per_example(key, batch)
    bound, _ = importance_weighted_bound(MODEL, lg.tree(OTHER), {}, jnp.array(X), own, samples=samples, chunk=at_once)
    assert set(found) == {"nll"}
    np.testing.assert_allclose(found["nll"], -bound, rtol=1e-6)


def test_memory_of_the_gradient_is_that_of_a_chunk() -> None:
    model = vae.VAE(mlp.Encoder(hidden=(16,)), mlp.Decoder((28, 28, 1), hidden=(16,)), likelihoods.BernoulliLikelihood(), 4)
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]

    def bytes_of(samples: int, chunk: int | None) -> int:
        def total(own: Any, x: jax.Array) -> jax.Array:
            bound, _ = importance_weighted_bound(
                model, {"model": own}, {}, x, jax.random.key(0), samples=samples, chunk=chunk, train=True
            )
            return bound.sum()

        return jax.jit(jax.grad(total)).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(5000, 50) < 2 * bytes_of(50, None)
    assert bytes_of(5000, None) > 20 * bytes_of(50, None)


class Normalised(nn.Module):
    """A model with batch statistics in its decoder."""

    def setup(self) -> None:
        self.norm = nn.BatchNorm(momentum=0.5)

    def encode(self, x: jax.Array, *, train: bool) -> Normal:
        return Normal(x, jnp.ones_like(x))

    def decode(self, z: jax.Array, *, train: bool) -> Normal:
        mean = self.norm(z, use_running_average=not train)
        return Normal(mean, jnp.ones_like(mean))

    def __call__(self, x: jax.Array, *, train: bool = False) -> Normal:
        return self.decode(self.encode(x, train=train).mean, train=train)


@pytest.mark.parametrize("chunk", [None, 2])
def test_batch_statistics_of_a_decoder_are_updated_by_each_chunk(chunk: int | None) -> None:
    model, x = Normalised(), 10.0 + jnp.array(X)
    variables = filled(model, x)
    vars = {"model": {"batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}}
    params = {"model": variables["params"]}

    def updated(train: bool) -> jax.Array:
        _, out = importance_weighted_bound(model, params, vars, x, jax.random.key(0), samples=6, chunk=chunk, train=train)
        return out["model"]["batch_stats"]["norm"]["mean"]

    np.testing.assert_array_equal(updated(False), 0.0)
    share = 1 - 0.5 ** (1 if chunk is None else 3)
    np.testing.assert_allclose(updated(True), share * np.asarray(x).mean(0), rtol=0.15)
