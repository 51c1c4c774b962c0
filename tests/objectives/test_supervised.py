"""Classification against scikit-learn's likelihood and scipy's divergences."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from parameters import normal
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from jaxgen.game import Player, create_state, make_train_step
from jaxgen.losses.classification import cross_entropy
from jaxgen.objectives import classification

LOGITS, LABEL = 3 * normal(6, 4), jnp.array([0, 3, 1, 1, 2, 0])


class Linear(nn.Module):
    """A layer of logits, with dropout."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return nn.Dense(3)(nn.Dropout(self.dropout)(x, deterministic=not train))


def test_cross_entropy_is_the_likelihood() -> None:
    p = softmax(np.asarray(LOGITS, np.float64), 1)
    expected = [log_loss(LABEL[i : i + 1], p[i : i + 1], labels=range(4)) for i in range(6)]
    np.testing.assert_allclose(cross_entropy(LOGITS, LABEL), expected, rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(LOGITS.astype(jnp.bfloat16), LABEL), expected, rtol=0.05)
    assert cross_entropy(LOGITS.astype(jnp.bfloat16), LABEL).dtype == jnp.float32


def test_smoothed_it_is_a_divergence_plus_the_targets_entropy() -> None:
    p = softmax(np.asarray(LOGITS, np.float64), 1)
    q = 0.7 * np.eye(4)[np.asarray(LABEL)] + 0.3 / 4
    np.testing.assert_allclose(
        cross_entropy(LOGITS, LABEL, smoothing=0.3), entropy(q, p, axis=1) + entropy(q, axis=1), rtol=1e-5
    )


def test_it_is_smoothed_and_dropped_in_training_alone() -> None:
    model, x, label = Linear(0.5), normal(5, 8), jnp.array([0, 1, 2, 2, 1])
    params = {"model": model.init(jax.random.key(0), x)["params"]}
    batch, logits = {"image": x, "label": label}, model.apply({"params": params["model"]}, x)
    loss = functools.partial(classification(model, smoothing=0.2), params, lg.state(params), batch)
    values, aux = loss(jax.random.key(0), train=False)
    np.testing.assert_allclose(values, cross_entropy(logits, label), rtol=1e-6)
    np.testing.assert_array_equal(aux.metrics["error"], np.asarray(logits).argmax(1) != np.asarray(label))
    rngs = {"dropout": jax.random.key(1)}
    dropped = model.apply({"params": params["model"]}, x, train=True, rngs=rngs)
    values, _ = loss(jax.random.key(1), train=True)
    np.testing.assert_allclose(values, cross_entropy(dropped, label, smoothing=0.2), rtol=1e-6)


@pytest.mark.trains
def test_a_linear_model_ends_at_the_likelihood_of_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300)
    x = (rng.normal(size=(300, 2)) + np.array([[0, 0], [2, 0], [0, 2]])[label]).astype(np.float32)
    model = Linear()
    loss = classification(model)
    players = {"model": Player(loss, optax.adam(optax.cosine_decay_schedule(0.1, 400)))}
    step, batch = make_train_step(players), {"image": jnp.array(x), "label": jnp.array(label, jnp.int32)}
    begin = create_state(jax.random.key(0), {"model": model.init(jax.random.key(0), batch["image"])["params"]}, {}, players)
    end = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s, batch)[0], None), s, None, length=400)[0])(begin)
    values, aux = loss(end.params, end, batch, jax.random.key(0), train=False)
    best = LogisticRegression(C=np.inf, tol=1e-8).fit(x, label)
    assert values.mean() == pytest.approx(log_loss(label, best.predict_proba(x)), rel=1e-3)
    assert aux.metrics["error"].mean() == pytest.approx(1 - best.score(x, label), abs=0.01)
