"""Denoising, contractive and sparse reconstruction, against numpy, autodiff, and closed forms of linear maps."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import jaxgen
from jaxgen import objectives
from jaxgen.distributions import Normal
from jaxgen.models.autoencoders import TiedAutoencoder

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 3, 2, 1)), jnp.float32)
MODEL = TiedAutoencoder((3, 2, 1), 4)
PARAMS = MODEL.init(KEY, X)["params"] | {"bias": jnp.array([0.1, -0.2, 0.3, 0.0]), "visible_bias": 0.1 * jnp.arange(6.0)}
BATCH: dict[str, Any] = {"image": X, "slot": jnp.arange(5)}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def by_hand(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """The units, and the logits of the image, in float64."""
    w, b, c = (np.asarray(PARAMS[name], np.float64) for name in ("kernel", "bias", "visible_bias"))
    h = sigmoid(np.asarray(x, np.float64).reshape(len(x), -1) @ w + b)
    return h, h @ w.T + c


def values(loss: Any, *, train: bool = True, x: Any = X, model: Any = PARAMS) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    state = jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, {"model": model}, {}, {}, {}, {})
    found, aux = loss({"model": model}, state, {**BATCH, "image": x}, KEY, train=train)
    return np.asarray(found), {name: np.asarray(metric) for name, metric in aux.metrics.items()}


def cross_entropy(x: Any, logits: Any) -> Any:
    return (np.logaddexp(0, logits) - np.asarray(x, np.float64).reshape(len(x), -1) * logits).sum(1)


def test_weights_are_tied_and_begin_within_four_times_glorots_limit() -> None:
    h, logits = by_hand(X)
    np.testing.assert_allclose(MODEL.apply({"params": PARAMS}, X, method="encode"), h, rtol=1e-5)
    found: Any = MODEL.apply({"params": PARAMS}, X)
    np.testing.assert_allclose(found.logits.reshape(5, -1), logits, rtol=1e-4, atol=1e-5)
    kernel = TiedAutoencoder((28, 28, 1), 500).init(KEY, jnp.zeros((1, 28, 28, 1)))["params"]["kernel"]
    limit = 4 * np.sqrt(6 / (784 + 500))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert float(kernel.std()) == pytest.approx(limit / np.sqrt(3), rel=0.01)


def test_the_clean_image_is_compared_with_what_a_corrupted_one_gives() -> None:
    loss = objectives.denoising(MODEL, lambda key, x: x.at[:, 0].set(0.0))
    corrupted = np.asarray(X).copy()
    corrupted[:, 0] = 0
    found, metrics = values(loss)
    np.testing.assert_allclose(found, cross_entropy(X, by_hand(corrupted)[1]), rtol=1e-5)
    clean, _ = values(loss, train=False)
    np.testing.assert_allclose(clean, cross_entropy(X, by_hand(X)[1]), rtol=1e-5)
    errors = (np.asarray(X).reshape(5, -1) - sigmoid(by_hand(corrupted)[1])) ** 2
    np.testing.assert_allclose(metrics["squared_error"], errors.sum(1), rtol=1e-4)


def test_corruptions_have_their_rates_and_leave_the_rest() -> None:
    x = jnp.full((4, 5000), 0.25)
    keys = jax.random.split(KEY, 4)
    for key in (KEY, keys):
        masked = np.asarray(objectives.masking(0.3)(key, x))
        assert set(np.unique(masked)) == {0.0, 0.25}
        assert (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
        speckled = np.asarray(objectives.salt_and_pepper(0.2, low=-1.0)(key, x))
        assert [(speckled == v).mean() for v in (-1.0, 0.25, 1.0)] == pytest.approx([0.1, 0.8, 0.1], abs=0.015)
        added = np.asarray(objectives.gaussian_noise(0.5)(key, x)) - 0.25
        assert [added.mean(), added.std()] == pytest.approx([0, 0.5], abs=0.02)
    rows = np.asarray(objectives.masking(0.3)(keys, x))
    np.testing.assert_array_equal(rows[2], objectives.masking(0.3)(keys[2:3], x[2:3])[0])


def test_the_best_linear_denoiser_is_the_scores_and_wieners() -> None:
    """Of Gaussian data r(x~) = S (S + s^2)^-1 x~, and (r(x~) - x~) / s^2 is the score of the noisy data (Vincent 2011)."""
    s2, covariance = 0.3, np.array([[1.0, 0.4], [0.4, 0.5]])

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x: Any, *, train: bool = False) -> Normal:
            mean = nn.Dense(2, use_bias=False)(x)
            return Normal(mean, jnp.ones_like(mean))

    loss = objectives.denoising(Linear(), objectives.gaussian_noise(s2**0.5))
    x = jnp.asarray(np.random.default_rng(1).multivariate_normal([0, 0], covariance, 200_000), jnp.float32)
    wiener = np.linalg.solve(covariance + s2 * np.eye(2), covariance)

    def gradient(kernel: Any) -> Any:
        params = {"model": {"Dense_0": {"kernel": kernel}}}
        state = jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, params, {}, {}, {}, {})
        batch = {"image": x, "slot": jnp.arange(len(x))}
        return jax.grad(lambda k: loss({"model": {"Dense_0": {"kernel": k}}}, state, batch, KEY, train=True)[0].mean())(kernel)

    np.testing.assert_allclose(gradient(jnp.asarray(wiener, jnp.float32)), 0, atol=0.01)
    assert np.abs(gradient(jnp.eye(2))).max() > 0.1
    score = -np.linalg.inv(covariance + s2 * np.eye(2))
    np.testing.assert_allclose((wiener - np.eye(2)) / s2, score, rtol=1e-9)


@pytest.mark.slow
def test_the_jacobian_is_autodiffs_by_formula_by_backward_passes_and_on_average_by_draws() -> None:
    def encode(x: Any) -> Any:
        return MODEL.apply({"params": PARAMS}, x, method="encode")

    expected = [(np.asarray(jax.jacrev(lambda one: encode(one[None])[0])(x), np.float64) ** 2).sum() for x in X]
    np.testing.assert_allclose(MODEL.apply({"params": PARAMS}, X, method="squared_jacobian"), expected, rtol=1e-5)
    np.testing.assert_allclose(objectives.squared_jacobian(encode, X), expected, rtol=1e-5)
    draws = np.stack([objectives.squared_jacobian(encode, X, key) for key in jax.random.split(KEY, 2000)])
    assert (np.abs(draws.mean(0) - expected) < 4 * draws.std(0) / np.sqrt(2000)).all()
    assert draws.std() > 0


@pytest.mark.parametrize("train", [True, False])
def test_the_contractive_loss_is_the_cross_entropy_and_the_jacobian(train: bool) -> None:
    h, logits = by_hand(X)
    norm = ((h * (1 - h)) ** 2) @ (np.asarray(PARAMS["kernel"], np.float64) ** 2).sum(0)
    found, metrics = values(objectives.contractive(MODEL, 0.7), train=train)
    np.testing.assert_allclose(found, cross_entropy(X, logits) + 0.7 * norm, rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_jacobian"], norm, rtol=1e-5)


def test_a_model_without_a_formula_has_its_jacobian_computed() -> None:
    class Deeper(nn.Module):
        def setup(self) -> None:
            self.inner, self.outer = nn.Dense(3), nn.Dense(6)

        def encode(self, x: Any, *, train: bool = False) -> Any:
            return nn.tanh(self.inner(x.reshape(len(x), -1)))

        def __call__(self, x: Any, *, train: bool = False) -> Normal:
            mean = self.outer(self.encode(x)).reshape(x.shape)
            return Normal(mean, jnp.ones_like(mean))

    params = Deeper().init(KEY, X)["params"]
    encode = lambda x: Deeper().apply({"params": params}, x, method="encode")
    expected = [(np.asarray(jax.jacrev(lambda one: encode(one[None])[0])(x)) ** 2).sum() for x in X]
    found = values(objectives.contractive(Deeper(), 1.0), model=params)[1]["squared_jacobian"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    estimated = values(objectives.contractive(Deeper(), 1.0, exact=False), model=params)[1]["squared_jacobian"]
    assert np.abs(estimated - expected).max() > 0


def test_rates_diverge_as_bernoulli_variables_do() -> None:
    measured = np.array([1e-3, 0.05, 0.4, 0.999])
    expected = special.rel_entr(0.05, measured) + special.rel_entr(0.95, 1 - measured)
    np.testing.assert_allclose(
        objectives.bernoulli_kl(0.05, jnp.asarray(measured, jnp.float32)), expected, rtol=1e-3, atol=1e-6
    )
    assert np.isfinite(objectives.bernoulli_kl(0.05, jnp.array([0.0, 1.0]))).all()


def test_the_sparse_penalty_is_of_the_batchs_mean_units_and_of_training_alone() -> None:
    h, logits = by_hand(X)
    rates = h.mean(0)
    penalty = 2.0 * (special.rel_entr(0.1, rates) + special.rel_entr(0.9, 1 - rates)).sum()
    found, metrics = values(objectives.sparse_rate(MODEL, rate=0.1, weight=2.0))
    np.testing.assert_allclose(found, cross_entropy(X, logits) + penalty, rtol=1e-5)
    np.testing.assert_allclose(metrics["activation"], h.mean(1), rtol=1e-5)
    clean, _ = values(objectives.sparse_rate(MODEL, rate=0.1, weight=2.0), train=False)
    np.testing.assert_allclose(clean, cross_entropy(X, logits), rtol=1e-5)
