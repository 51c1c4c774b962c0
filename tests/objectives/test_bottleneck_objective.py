"""The variational information bottleneck's loss and prediction against numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from parameters import filled, normal
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from jaxgen.distributions import Normal
from jaxgen.models.autoencoders import mlp
from jaxgen.models.bottleneck import Bottleneck, DiagonalPosterior, FullPosterior
from jaxgen.objectives import bottleneck, bottleneck_prediction

KINDS = pytest.mark.parametrize("kind", [DiagonalPosterior, FullPosterior])
X, LABELS = normal(6, 2, 2, 1), jnp.array([0, 1, 2, 3, 4, 2])


def build(kind: Any) -> tuple[Bottleneck, dict[str, Any]]:
    model = Bottleneck(mlp.Encoder((8,)), kind(3), 5)
    return model, {"model": filled(model, X)["params"]}


def run(loss: Any, params: Any, *, seed: int = 0, step: int = 0) -> tuple[Any, dict[str, Any]]:
    batch = {"image": X, "label": LABELS}
    out, aux = jax.jit(lambda p, key: loss(p, lg.state(p, step=step), batch, key, train=True))(params, jax.random.key(seed))
    return out, dict(aux.metrics)


def of_width(params: dict[str, Any], rho: float) -> dict[str, Any]:
    """The same encoder with one rho for all latents and independent latents; far below zero a sample is the mean."""
    posterior = params["model"]["posterior"]
    moments = {name: p.at[..., 3:].set(0.0) for name, p in posterior["moments"].items()}
    moments["bias"] = moments["bias"].at[3:].set(rho)
    others = jax.tree.map(jnp.zeros_like, {k: v for k, v in posterior.items() if k != "moments"})
    return {"model": {**params["model"], "posterior": {**others, "moments": moments}}}


@KINDS
def test_beta_zero_leaves_the_cross_entropy(kind: Any) -> None:
    model, params = build(kind)
    params = of_width(params, -20.0)
    values, metrics = run(bottleneck(model, beta=0.0), params)
    p = softmax(np.asarray(model.apply({"params": params["model"]}, X), np.float64), axis=-1)
    theirs = [log_loss([y], p[i : i + 1], labels=range(5)) for i, y in enumerate(LABELS.tolist())]
    np.testing.assert_allclose(values, theirs, rtol=1e-4)
    np.testing.assert_array_equal(values, metrics["cross_entropy"])


@KINDS
def test_beta_weighs_the_rate_in_nats(kind: Any) -> None:
    model, params = build(kind)
    values, metrics = run(bottleneck(model, beta=0.3, samples=2), params)
    np.testing.assert_allclose(values, metrics["cross_entropy"] + 0.3 * metrics["rate"], rtol=1e-5)
    q = model.apply({"params": params["model"]}, X, method="encode")
    scale = np.asarray(q.scale if kind is FullPosterior else np.asarray(q.std)[:, :, None] * np.eye(3), np.float64)
    mean = np.asarray(q.mean, np.float64)
    cov = scale @ scale.swapaxes(1, 2)
    kl = 0.5 * (np.trace(cov, axis1=1, axis2=2) + (mean**2).sum(1) - 3 - np.linalg.slogdet(cov)[1])
    np.testing.assert_allclose(metrics["rate"], kl, rtol=1e-4)


def test_beta_may_be_a_schedule_of_the_step() -> None:
    model, params = build(DiagonalPosterior)
    values, metrics = run(bottleneck(model, beta=lambda step: 0.1 * step), params, step=4)
    np.testing.assert_allclose(values, metrics["cross_entropy"] + 0.4 * metrics["rate"], rtol=1e-5)


def test_the_prior_is_the_one_that_is_given() -> None:
    model, params = build(DiagonalPosterior)
    prior = Normal(0.5, 2.0)
    _, metrics = run(bottleneck(model, beta=1.0, prior=prior), params)
    q = model.apply({"params": params["model"]}, X, method="encode")
    np.testing.assert_allclose(metrics["rate"], q.kl(prior).sum(1), rtol=1e-5)


@KINDS
def test_prediction_is_the_mean_of_the_probabilities_of_samples(kind: Any) -> None:
    model, params = build(kind)
    if kind is DiagonalPosterior:
        params = of_width(params, 6.0)
    told, _ = bottleneck_prediction(model, params, {}, X, jax.random.key(0), samples=12)
    assert told.log_probs.shape == (12, 6, 5)
    # By hand from the same noise, one sample and one example at a time.
    q = model.apply({"params": params["model"]}, X, method="encode")
    z = np.asarray(q.sample(jax.random.fold_in(jax.random.key(0), 1), samples=12), np.float64)
    layer = params["model"]["decoder"]
    mean = np.zeros((6, 5))
    for i in range(12):
        for b in range(6):
            mean[b] += softmax(z[i, b] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])) / 12
    np.testing.assert_allclose(told.probabilities, mean, rtol=1e-4)
    np.testing.assert_allclose(told.probabilities.sum(-1), 1, rtol=1e-5)
    # Neither the mean of logits nor the probabilities of the mean code.
    assert np.abs(mean - softmax(told.log_probs.mean(0), axis=-1)).max() > 1e-3
    theirs = -log_softmax(z @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), axis=-1).mean(0)
    np.testing.assert_allclose(told.cross_entropy(LABELS), theirs[np.arange(6), LABELS], rtol=1e-4)


def test_the_samples_differ_and_so_do_the_examples_noises() -> None:
    model, params = build(DiagonalPosterior)
    same = jnp.broadcast_to(X[:1], X.shape)
    told, _ = bottleneck_prediction(model, params, {}, same, jax.random.key(0), samples=3)
    assert len(np.unique(told.log_probs[..., 0])) == 18


def test_values_of_examples_do_not_depend_on_each_other() -> None:
    model, params = build(FullPosterior)
    loss = bottleneck(model, beta=0.1, samples=2)
    run = jax.jit(lambda x: loss(params, lg.state(params), {"image": x, "label": LABELS}, jax.random.key(0), train=True)[0])
    before = np.asarray(run(X))
    for i in range(6):
        np.testing.assert_array_equal(np.asarray(run(X.at[i].add(0.5))) != before, np.arange(6) == i)


@KINDS
def test_the_gradient_reaches_every_parameter(kind: Any) -> None:
    model, params = build(kind)

    def gradient(beta: float) -> Any:
        return jax.grad(lambda p: run(bottleneck(model, beta=beta), p)[0].mean())(params)["model"]

    told, both = gradient(0.0), gradient(1.0)
    for path, g in jax.tree_util.tree_leaves_with_path(told):
        assert (np.abs(g) > 0).all(), path
    # The rate adds its own to the encoder's, and knows nothing of the decoder.
    for name in ("encoder", "posterior"):
        assert all((a != b).all() for a, b in zip(*map(jax.tree.leaves, (told[name], both[name])), strict=True))
    jax.tree.map(np.testing.assert_array_equal, told["decoder"], both["decoder"])


def test_a_code_that_is_the_prior_has_no_rate() -> None:
    model, params = build(DiagonalPosterior)
    zero = jax.tree.map(jnp.zeros_like, params["model"]["posterior"])
    params = of_width({"model": {**params["model"], "posterior": zero}}, 5 + float(np.log(np.expm1(1.0))))
    np.testing.assert_allclose(run(bottleneck(model, beta=1.0), params)[1]["rate"], 0, atol=1e-6)
