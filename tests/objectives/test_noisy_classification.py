"""Classification of noisy data against scikit-learn's likelihood, and against the exact posterior, which is its minimum."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parameters import normal
from scipy.special import softmax
from sklearn.metrics import log_loss

import jaxgen
from jaxgen import diffusion, keys
from jaxgen.diffusion import EPSILON, cosine, geometric, linear, variance_preserving
from jaxgen.objectives import classifier_of, noisy_classification
from jaxgen.types import Array

KEY = jax.random.key(0)
CHAIN = linear(50)


class Linear(nn.Module):
    """Logits that are linear in the noisy data and in the time, with dropout."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, time: Array, *, train: bool = False) -> Array:
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(3)(jnp.concatenate([x.reshape(len(x), -1), time[:, None]], 1))


def state_of(params: Any) -> jaxgen.TrainState:
    return jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, params, {}, {}, {})


def noisy(batch: Any, schedule: Any, parameterisation: Any = EPSILON) -> tuple[Any, Any]:
    """The noisy data and the times by the protocol: the keys of the examples, folded with 0 for t and with 1 for the noise."""
    own = keys.per_example(KEY, batch)
    level = schedule.level(schedule.draw(keys.fold_in(own, 0), len(batch["image"])))
    eps = keys.draw(jax.random.normal, keys.fold_in(own, 1), batch["image"].shape)
    xt = level.alpha[:, None] * batch["image"] + level.sigma[:, None] * eps
    return parameterisation.given(xt, level)


def a_batch(n: int = 8) -> dict[str, Any]:
    return {"image": normal(n, 2), "label": jnp.arange(n) % 3, "slot": jnp.arange(n)}


@pytest.mark.parametrize("schedule", [CHAIN, variance_preserving(), geometric(5)], ids=["discrete", "continuous", "exploding"])
@pytest.mark.parametrize("meaning", [EPSILON, diffusion.edm(0.5)], ids=["epsilon", "edm"])
def test_it_is_the_likelihood_of_the_label_given_the_noisy_data_and_the_time(schedule: Any, meaning: Any) -> None:
    batch, model = a_batch(), Linear()
    params = {"model": model.init(KEY, batch["image"], jnp.zeros(8))["params"]}
    found, aux = noisy_classification(model, schedule, meaning)(params, state_of(params), batch, KEY, train=True)
    xt, time = noisy(batch, schedule, meaning)
    p = softmax(np.asarray(model.apply({"params": params["model"]}, xt, time), np.float64), 1)
    expected = [log_loss([label], p[i : i + 1], labels=range(3)) for i, label in enumerate(np.asarray(batch["label"]))]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(aux.metrics["error"], p.argmax(1) != batch["label"])


def test_times_are_uniform_over_the_chain_and_each_example_has_its_own_time_and_noise() -> None:
    batch = {"image": jnp.zeros((20_000, 1)), "label": jnp.zeros(20_000, jnp.int32), "slot": jnp.arange(20_000)}
    seen: list[Any] = []

    class Recorded(nn.Module):
        @nn.compact
        def __call__(self, x: Array, time: Array, *, train: bool = False) -> Array:
            seen.append((np.asarray(time), np.asarray(x)))
            return jnp.zeros((len(x), 2))

    noisy_classification(Recorded(), CHAIN)({"model": {}}, state_of({"model": {}}), batch, KEY, train=True)
    time, x = seen[0]
    counts = np.bincount(time.astype(int), minlength=51)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:], 400, atol=5 * 20)
    eps = x[:, 0] / CHAIN.sigma[time.astype(int)]
    assert eps.std() == pytest.approx(1, abs=0.02)
    assert len(np.unique(eps)) > 19_000


def test_no_value_depends_on_the_other_examples_of_the_batch() -> None:
    batch, model = a_batch(), Linear()
    params = {"model": model.init(KEY, batch["image"], jnp.zeros(8))["params"]}
    loss = noisy_classification(model, CHAIN)
    whole, _ = loss(params, state_of(params), batch, KEY, train=False)
    half, _ = loss(params, state_of(params), {name: a[4:] for name, a in batch.items()}, KEY, train=False)
    np.testing.assert_allclose(whole[4:], half, rtol=1e-6)


def test_dropout_is_for_training_alone() -> None:
    batch, model = a_batch(), Linear(0.5)
    params = {"model": model.init(KEY, batch["image"], jnp.zeros(8))["params"]}
    values = {
        (dropout, train): noisy_classification(Linear(dropout), CHAIN)(params, state_of(params), batch, KEY, train=train)[0]
        for dropout in (0.0, 0.5)
        for train in (False, True)
    }
    np.testing.assert_array_equal(values[0.5, False], values[0.0, False])
    assert (np.asarray(values[0.5, True]) != np.asarray(values[0.0, True])).any()
    level = CHAIN.level(7)
    log_prob = classifier_of(model, params, {}, batch["label"])(batch["image"], level._replace(time=jnp.full(8, 7.0)))
    logits = model.apply({"params": params["model"]}, batch["image"], jnp.full(8, 7.0))
    np.testing.assert_allclose(log_prob, jax.nn.log_softmax(logits)[jnp.arange(8), batch["label"]], rtol=1e-5)


@pytest.mark.trains
def test_what_is_learned_is_the_posterior_and_its_gradient_guides_to_the_class() -> None:
    """Two Gaussians at -1 and 1 at one level of noise: log p(1 | x) has the slope 2 alpha / S^2 (1 - p)."""
    std, level_number = 0.4, 12
    chain = diffusion.subsequence(cosine(30), [level_number])
    model, rng = Linear(), np.random.default_rng(0)
    label = rng.integers(0, 2, 4000)
    image = (2 * label - 1 + std * rng.normal(size=4000)).astype(np.float32)[:, None]
    batch = {"image": jnp.asarray(image), "label": jnp.asarray(label), "slot": jnp.arange(4000)}
    players = {"model": jaxgen.Player(noisy_classification(model, chain), optax.adam(optax.cosine_decay_schedule(0.3, 400)))}
    params = {"model": model.init(KEY, batch["image"], jnp.zeros(4000))["params"]}
    state = jaxgen.create_state(KEY, params, {}, players)
    step = jax.jit(jaxgen.make_train_step(players))
    for _ in range(400):
        state, _ = step(state, batch)
    level = jax.tree.map(lambda a: a.repeat(3), chain.level(jnp.ones(1, jnp.int32)))
    alpha, variance = float(level.alpha[0]), float(level.alpha[0] ** 2 * std**2 + level.sigma[0] ** 2)
    x = np.array([[-1.5], [0.0], [0.8]])
    p = 1 / (1 + np.exp(-2 * alpha * x / variance))
    log_prob = classifier_of(model, state.params, {}, jnp.ones(3, jnp.int32))
    np.testing.assert_allclose(np.exp(log_prob(jnp.float32(x), level)), p[:, 0], atol=0.02)
    gradient = jax.grad(lambda x: log_prob(x, level).sum())(jnp.float32(x))
    np.testing.assert_allclose(gradient, 2 * alpha / variance * (1 - p), atol=0.12)
