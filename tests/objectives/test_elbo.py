"""The ELBO against the evidence and the posterior of probabilistic PCA."""

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from parameters import filled, normal
from scipy import optimize
from sklearn.metrics import log_loss

from jaxgen.distributions import Normal
from jaxgen.models import vae
from jaxgen.models.autoencoders import mlp
from jaxgen.nn import likelihoods
from jaxgen.objectives import elbo

MODEL = lg.LinearGaussian(dim=5, latents=2)
EXACT = lg.exact(5, 2)
X = lg.draw(EXACT, 6)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("prior", [Normal(0.0, 1.0), Normal(0.5, 2.0)], ids=str)
def test_elbo_with_the_exact_posterior_is_the_evidence_whatever_the_samples(prior: Normal, samples: int) -> None:
    params = lg.exact(5, 2, prior=prior)
    loss, metrics = lg.values(elbo(MODEL, samples=samples, analytic_kl=False, prior=prior), lg.tree(params), X)
    assert loss.shape == (6,)
    np.testing.assert_allclose(-loss, lg.evidence(params, X, prior), rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], -loss, rtol=1e-6)


@pytest.mark.parametrize("analytic_kl", [True, False])
@pytest.mark.parametrize("samples", [1, 5])
def test_elbo_falls_short_of_the_evidence_by_the_kl_to_the_posterior(samples: int, analytic_kl: bool) -> None:
    loss, other = elbo(MODEL, samples=samples, analytic_kl=analytic_kl), lg.moved(EXACT)
    params = lg.tree(other)

    def bound(key: jax.Array) -> jax.Array:
        return -loss(params, lg.state(params), {"image": jnp.array(X)}, key, train=True)[0]

    mean, error = lg.over_keys(bound, 20_000)
    gap = lg.gap(other, EXACT, X)
    assert (gap > 20 * error).all()
    np.testing.assert_array_less(np.abs(mean - (lg.evidence(EXACT, X) - gap)), 5 * error + 1e-4)


@pytest.mark.parametrize("analytic_kl", [True, False])
def test_gradient_at_the_exact_posterior_is_that_of_the_evidence(analytic_kl: bool) -> None:
    loss, params = elbo(MODEL, analytic_kl=analytic_kl), lg.tree(EXACT)

    def mean_loss(own: dict, key: jax.Array) -> jax.Array:
        return loss({"model": own}, lg.state(params), {"image": jnp.array(X)}, key, train=True)[0].mean()

    mean, error = lg.over_keys(lambda key: jax.grad(mean_loss)(params["model"], key), 20_000)

    def by(name: str, value: np.ndarray) -> float:
        return -lg.evidence({**EXACT, name: value.reshape(EXACT[name].shape)}, X).mean()

    # The KL to the posterior is at its minimum, so it adds nothing, and q's own parameters have no gradient at all.
    for name in EXACT:
        theirs = 0.0
        if name in ("weight", "mean", "log_sigma"):
            theirs = optimize.approx_fprime(EXACT[name].ravel(), lambda v, name=name: by(name, v), 1e-6).reshape(
                mean[name].shape
            )
        np.testing.assert_array_less(np.abs(mean[name] - theirs), 5 * error[name] + 1e-3)


@pytest.mark.parametrize("prior", [Normal(0.0, 1.0), Normal(0.5, 2.0)], ids=str)
def test_metrics_are_the_terms_of_each_example(prior: Normal) -> None:
    params = lg.moved(EXACT)
    loss, metrics = lg.values(elbo(MODEL, samples=4, prior=prior), lg.tree(params), X)
    assert {name: m.shape for name, m in metrics.items()} == {"elbo": (6,), "log_likelihood": (6,), "kl": (6,)}
    mean, std = params["encoder"] @ X.T + params["offset"][:, None], np.exp(params["log_std"])[:, None]
    ratio, shift = std / prior.std, (mean - prior.mean) / prior.std
    np.testing.assert_allclose(metrics["kl"], (0.5 * (ratio**2 + shift**2 - 1) - np.log(ratio)).sum(0), rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], metrics["log_likelihood"] - metrics["kl"], rtol=1e-5)
    np.testing.assert_allclose(loss, -metrics["elbo"], rtol=1e-6)


def test_analytic_and_sampled_kl_share_the_log_likelihood_of_their_samples() -> None:
    analytic, sampled = (
        lg.values(elbo(MODEL, samples=4, analytic_kl=a), lg.tree(lg.moved(EXACT)), X)[1] for a in (True, False)
    )
    np.testing.assert_allclose(analytic["log_likelihood"], sampled["log_likelihood"], rtol=1e-6)
    assert np.abs(analytic["kl"] - sampled["kl"]).min() > 0


@pytest.mark.parametrize("analytic_kl", [True, False])
@pytest.mark.parametrize("beta", [0.0, 4.0])
def test_beta_weighs_the_kl_alone(beta: float, analytic_kl: bool) -> None:
    params = lg.tree(lg.moved(EXACT))
    plain, metrics = lg.values(elbo(MODEL, analytic_kl=analytic_kl), params, X)
    weighted, own = lg.values(elbo(MODEL, beta=beta, analytic_kl=analytic_kl), params, X)
    np.testing.assert_allclose(weighted - plain, (beta - 1) * metrics["kl"], rtol=1e-4, atol=1e-5)
    # The metrics are those of beta = 1, to compare runs by.
    jax.tree.map(np.testing.assert_array_equal, own, metrics)


def test_a_schedule_of_beta_reads_the_step() -> None:
    params, loss = lg.tree(lg.moved(EXACT)), elbo(MODEL, beta=lambda step: 0.25 * step.astype(jnp.float32))
    for step in (0, 8):
        scheduled, _ = lg.values(loss, params, X, step=step)
        fixed, _ = lg.values(elbo(MODEL, beta=0.25 * step), params, X)
        np.testing.assert_allclose(scheduled, fixed, rtol=1e-6)


def test_samples_of_the_examples_and_of_the_keys_differ() -> None:
    loss, params = elbo(MODEL), lg.tree(EXACT)
    alike = np.broadcast_to(X[:1], (6, 5))
    first, second = (np.asarray(lg.values(loss, params, alike, seed=seed)[0]) for seed in (0, 1))
    assert len(set(first) | set(second)) == 12


def test_names_of_parameters_and_feature_are_free() -> None:
    x, key = jnp.array(X), jax.random.key(0)
    params = lg.tree(EXACT)
    plain = elbo(MODEL)(params, lg.state(params), {"image": x}, key, train=True)[0]
    renamed = elbo(MODEL, name="vae", feature="x")
    other = renamed({"vae": params["model"]}, lg.state({}), {"x": x}, key, train=True)[0]
    np.testing.assert_array_equal(plain, other)


def test_log_likelihood_of_images_is_summed_over_their_pixels() -> None:
    model = vae.VAE(mlp.Encoder(hidden=(8,)), mlp.Decoder((4, 3, 2), hidden=(8,)), likelihoods.BernoulliLikelihood(), 3)
    x = np.asarray(normal(5, 4, 3, 2) > 0, np.float32)
    params = filled(model, jnp.array(x))["params"]
    # A posterior without width: the sample is its mean.
    params["head"]["kernel"] = params["head"]["kernel"].at[:, 3:].set(0.0)
    params["head"]["bias"] = params["head"]["bias"].at[3:].set(-20.0)
    _, metrics = lg.values(elbo(model, samples=2), {"model": params}, x)
    p = model.apply({"params": params}, jnp.array(x)).mean
    theirs = [log_loss(x[i].ravel(), np.asarray(p[i], np.float64).ravel(), normalize=False) for i in range(5)]
    np.testing.assert_allclose(-metrics["log_likelihood"], theirs, rtol=1e-4)
