"""The variational autoencoder and its likelihoods."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from scipy import special

from jaxgen.distributions import Bernoulli, DiscretizedLogistic, Normal
from jaxgen.models import vae
from jaxgen.models.autoencoders import conv, mlp, residual
from jaxgen.nn import likelihoods

LIKELIHOODS = [
    likelihoods.BernoulliLikelihood(),
    likelihoods.GaussianLikelihood(std=0.3),
    likelihoods.GaussianLikelihood(),
    likelihoods.HeteroscedasticGaussianLikelihood(),
    likelihoods.DiscretizedLogisticLikelihood(),
]
SMALL: dict[ModuleType, dict[str, Any]] = {
    mlp: {"hidden": (16, 12)},
    conv: {"channels": (4, 8)},
    residual: {"channels": (4, 8)},
}


def build(
    likelihood: Any, kind: ModuleType = mlp, shape: tuple[int, int, int] = (4, 3, 2), dtype: Any = jnp.float32
) -> vae.VAE:
    out = (*shape[:2], shape[2] * likelihood.outputs)
    options = {**SMALL[kind], "dtype": dtype}
    return vae.VAE(kind.Encoder(**options), kind.Decoder(out, **options), likelihood, 5, dtype=dtype)


def test_posterior_splits_a_linear_map_of_the_features_into_mean_and_log_std() -> None:
    model, x = build(likelihoods.BernoulliLikelihood()), normal(2, 4, 3, 2)
    params = filled(model, x)
    q = model.apply(params, x, method="encode")
    features = model.encoder.apply({"params": params["params"]["encoder"]}, x)
    head = params["params"]["head"]
    raw = np.asarray(features) @ head["kernel"] + head["bias"]
    assert q.mean.shape == q.std.shape == (2, 5)
    np.testing.assert_allclose(q.mean, raw[:, :5], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.log(q.std), raw[:, 5:], rtol=1e-4, atol=1e-5)


def test_a_call_decodes_the_posterior_mean() -> None:
    model, x = build(likelihoods.BernoulliLikelihood()), normal(2, 4, 3, 2)
    params = filled(model, x)
    z = model.apply(params, x, method="encode").mean
    np.testing.assert_array_equal(model.apply(params, x).logits, model.apply(params, z, method="decode").logits)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda likelihood: type(likelihood).__name__)
def test_a_likelihood_is_over_images_whatever_it_takes_from_the_decoder(likelihood: Any) -> None:
    model, x = build(likelihood), jnp.zeros((2, 4, 3, 2))

    def results(key: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        p, _ = model.init_with_output(key, x)
        return p.mean, p.log_prob(x), p.sample(key)

    assert {r.shape for r in jax.eval_shape(results, jax.random.key(0), x)} == {x.shape}


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda likelihood: type(likelihood).__name__)
def test_a_likelihood_is_float32_after_a_bfloat16_decoder(likelihood: Any) -> None:
    raw = normal(2, 4, 3, 2 * likelihood.outputs).astype(jnp.bfloat16)
    p, _ = likelihood.init_with_output(jax.random.key(0), raw)
    assert p.log_prob(jnp.zeros((2, 4, 3, 2))).dtype == jnp.float32
    assert {part.dtype for part in p if isinstance(part, jax.Array)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("kind", [mlp, conv, residual], ids=lambda kind: kind.__name__.split(".")[-1])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)], ids=str)
def test_every_network_serves_as_encoder_and_decoder(kind: ModuleType, shape: tuple[int, int, int]) -> None:
    for likelihood in (
        likelihoods.BernoulliLikelihood(),
        likelihoods.DiscretizedLogisticLikelihood(),
    ):  # one number an element, and two
        model, x = build(likelihood, kind, shape, jnp.bfloat16), jnp.zeros((2, *shape))

        def results(key: jax.Array, x: jax.Array, model: vae.VAE = model) -> Any:
            (q, p), variables = model.init_with_output(key, x, method=lambda m, x: (m.encode(x), m(x)))
            return q, p.mean, variables

        q, mean, variables = jax.eval_shape(results, jax.random.key(0), x)
        assert (q.mean.shape, q.std.shape, mean.shape) == ((2, 5), (2, 5), x.shape)
        assert {leaf.dtype for leaf in jax.tree.leaves((q, mean, variables))} == {jnp.dtype(jnp.float32)}


def test_bernoulli_likelihood_takes_logits() -> None:
    raw = normal(2, 3, 3, 1)
    p = likelihoods.BernoulliLikelihood().apply({}, raw)
    assert isinstance(p, Bernoulli)
    np.testing.assert_allclose(p.mean, special.expit(raw), rtol=1e-5)


def test_gaussian_likelihood_has_one_given_or_learned_width() -> None:
    raw = normal(2, 3, 3, 1)
    given = likelihoods.GaussianLikelihood(std=0.25).apply({}, raw)
    np.testing.assert_array_equal(given.mean, raw)
    np.testing.assert_array_equal(given.std, 0.25)
    learned, params = likelihoods.GaussianLikelihood().init_with_output(jax.random.key(0), raw)
    np.testing.assert_array_equal(learned.std, 1.0)
    assert jax.tree.map(jnp.shape, params) == {"params": {"log_std": ()}}
    wide = likelihoods.GaussianLikelihood().apply({"params": {"log_std": jnp.array(0.5)}}, raw)
    np.testing.assert_allclose(wide.std, np.exp(0.5), rtol=1e-6)


def test_a_learned_width_settles_at_the_root_mean_square_error() -> None:
    raw, x = jnp.zeros((4, 5, 5, 1)), 0.3 * normal(4, 5, 5, 1)

    def loss(log_std: jax.Array) -> jax.Array:
        return -likelihoods.GaussianLikelihood().apply({"params": {"log_std": log_std}}, raw).log_prob(x).mean()

    np.testing.assert_allclose(jax.grad(loss)(jnp.log(jnp.sqrt((x**2).mean()))), 0.0, atol=1e-5)


def test_heteroscedastic_likelihood_keeps_the_width_above_its_least() -> None:
    mean, log_std = normal(1, 2, 2, 3), jnp.full((1, 2, 2, 3), -50.0).at[0, 0].set(2.0)
    p = likelihoods.HeteroscedasticGaussianLikelihood(least=-3.0).apply({}, jnp.concatenate([mean, log_std], -1))
    assert isinstance(p, Normal)
    np.testing.assert_array_equal(p.mean, mean)
    np.testing.assert_allclose(p.std[0, 1], np.exp(-3.0), rtol=1e-5)
    np.testing.assert_allclose(p.std[0, 0], np.exp(2.0), rtol=0.01)


def test_logistic_likelihood_keeps_the_scale_above_a_thousandth() -> None:
    loc, log_scale = normal(1, 2, 2, 3), jnp.full((1, 2, 2, 3), -50.0).at[0, 0].set(1.0)
    p = likelihoods.DiscretizedLogisticLikelihood().apply({}, jnp.concatenate([loc, log_scale], -1))
    assert isinstance(p, DiscretizedLogistic)
    np.testing.assert_array_equal(p.loc, loc)
    np.testing.assert_array_equal(p.log_scale[0, 1], -7.0)
    np.testing.assert_array_equal(p.log_scale[0, 0], -1.0)
