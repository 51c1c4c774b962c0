"""Labels that are no classes: nan where code is traced, and never the last class."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import nn
from jaxgen.losses import classification
from jaxgen.metrics import zero_shot
from jaxgen.models.gan import conditional
from jaxgen.objectives.bottleneck import Prediction

K = 3
X = jnp.zeros((1, K)).at[0, K - 1].set(9.0)


def embed(label: jax.Array) -> jax.Array:
    module = nn.Embed(K, 4)
    return module.apply(module.init(jax.random.key(0), label), label).sum(-1)


def judge(label: jax.Array) -> jax.Array:
    class Sum(conditional.nn.Module):
        @conditional.nn.compact
        def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
            return x.sum(-1)

    return conditional.Discriminator(Sum(), K, planes=False).apply({}, jnp.ones((1, 2)), label)


TRACED: dict[str, Callable[[jax.Array], jax.Array]] = {
    "cross_entropy": lambda label: classification.cross_entropy(X, label),
    "smoothed": lambda label: classification.cross_entropy(X, label, smoothing=0.1),
    "error": lambda label: classification.error(X, label),
    "bottleneck": lambda label: Prediction(jnp.zeros(1), jax.nn.log_softmax(X)[None]).cross_entropy(label),
    "zero_shot": lambda label: zero_shot.correct(X, jnp.eye(K), label),
    "balanced": lambda label: zero_shot.balanced(jnp.ones(1), label, K)[None],
    "embedding": embed,
    "one-hot": judge,
}


@pytest.mark.parametrize("name", TRACED)
def test_a_label_that_is_no_class_has_no_value(name: str) -> None:
    value = jax.jit(TRACED[name])
    for label in (-1, -K, K, 255):
        assert np.isnan(value(jnp.array([label]))).all()
    for label in range(K):
        assert np.isfinite(value(jnp.array([label]))).all()


def test_the_error_is_of_the_largest_score_in_any_number_of_rows() -> None:
    scores = jnp.stack([jnp.eye(3), jnp.eye(3)[::-1]])
    assert classification.error(scores, jnp.arange(3)).tolist() == [[0, 0, 0], [1, 0, 1]]


def test_vectors_of_classes_are_those_of_flax() -> None:
    import flax.linen

    ours, theirs = (module(5, 4) for module in (nn.Embed, flax.linen.Embed))
    ids = jnp.array([[0, 4], [2, 2]])
    (made, variables), (of_flax, theirs_too) = (m.init_with_output(jax.random.key(3), ids) for m in (ours, theirs))
    np.testing.assert_array_equal(made, of_flax)
    np.testing.assert_array_equal(variables["params"]["embedding"], theirs_too["params"]["embedding"])
