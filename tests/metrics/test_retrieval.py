"""Recall against a count over all orders of the ties, and zero-shot accuracy against scikit-learn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parameters import normal
from sklearn.metrics import balanced_accuracy_score

from jaxgen.metrics import retrieval, zero_shot

RECALL = jax.jit(retrieval.recall, static_argnums=2)
CHANCE = jax.jit(retrieval.chance, static_argnums=1)


def by_counting(similarity: np.ndarray, relevant: np.ndarray, k: int) -> list[float]:
    """The mean over all orders of the candidates, of which a stable sort keeps the order among equals."""
    out = []
    for s, r in zip(similarity, relevant, strict=True):
        orders = [np.array(o) for o in itertools.permutations(range(len(s)))]
        out.append(float(np.mean([r[o[np.argsort(-s[o], kind="stable")[:k]]].any() for o in orders])))
    return out


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 2, 3, 7]))
def test_recall_is_the_mean_over_the_orders_of_ties(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 3, (4, 5)).astype(np.float32)
    relevant = rng.random((4, 5)) < rng.choice([0.2, 0.5])
    ours = RECALL(jnp.array(similarity), jnp.array(relevant), k)
    np.testing.assert_allclose(ours, by_counting(similarity, relevant, k), atol=1e-6)


def test_recall_without_ties_is_whether_a_right_answer_is_among_the_first() -> None:
    similarity = normal(40, 30)
    relevant = np.random.default_rng(1).random((40, 30)) < 0.1
    for k in (1, 5, 10, 30):
        first = np.argsort(-np.asarray(similarity), axis=1)[:, :k]
        np.testing.assert_allclose(RECALL(similarity, jnp.array(relevant), k), np.take_along_axis(relevant, first, 1).any(1))


def test_chance_is_k_over_n_and_more_with_several_right_answers() -> None:
    for k in (1, 5, 10):
        np.testing.assert_allclose(CHANCE(jnp.eye(40, dtype=bool), k), k / 40, rtol=1e-5)
    pairs = jnp.array(np.kron(np.eye(3), np.ones((2, 2))) > 0)
    np.testing.assert_allclose(CHANCE(pairs, 2), 1 - (4 * 3) / (6 * 5), rtol=1e-5)
    # A collapsed encoder scores chance, and not the 1 of a careless sort.
    np.testing.assert_allclose(RECALL(jnp.full((6, 6), 0.7), pairs, 2), CHANCE(pairs, 2), rtol=1e-6)
    with pytest.raises(ValueError, match="hold none"):
        retrieval.recall(jnp.eye(2), jnp.eye(2, dtype=bool), 0)


def test_random_vectors_score_chance() -> None:
    similarity = normal(3000, 20)
    relevant = jnp.array(np.arange(20) // 2 == (np.arange(3000) % 10)[:, None])
    for k in (1, 5):
        expected = float(CHANCE(relevant[:1], k)[0])
        error = np.sqrt(expected * (1 - expected) / 3000)
        assert abs(float(RECALL(similarity, relevant, k).mean()) - expected) < 4 * error


def test_a_class_is_the_mean_direction_of_its_prompts() -> None:
    prompts = normal(3, 4, 6) * jnp.array([1.0, 10.0, 100.0, 0.1])[None, :, None]
    p = np.asarray(prompts, np.float64)
    expected = (p / np.linalg.norm(p, axis=-1, keepdims=True)).mean(1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(zero_shot.ensemble(prompts), expected, rtol=1e-5, atol=1e-6)


def test_the_nearest_class_by_the_cosine_is_the_answer_and_ties_share_it() -> None:
    image, classes = normal(50, 6), normal(4, 6, seed=1) * jnp.array([[0.1], [1.0], [10.0], [100.0]])
    label = jnp.array(np.random.default_rng(2).integers(0, 4, 50), jnp.int32)
    u, v = np.asarray(image), np.asarray(classes)
    nearest = (u @ v.T / np.linalg.norm(v, axis=1)).argmax(1)
    hits = zero_shot.correct(image, classes, label)
    np.testing.assert_array_equal(hits, nearest == np.asarray(label))
    np.testing.assert_allclose(
        zero_shot.balanced(hits, label, 4), balanced_accuracy_score(np.asarray(label), nearest), rtol=1e-5
    )
    np.testing.assert_allclose(zero_shot.correct(image, jnp.ones((4, 6)), label), 0.25)


def test_balanced_accuracy_of_one_answer_is_one_class_whatever_its_share() -> None:
    label = jnp.array([0] * 90 + [2] * 10, jnp.int32)
    hits = (label == 0).astype(jnp.float32)
    assert float(hits.mean()) == pytest.approx(0.9)
    assert float(zero_shot.balanced(hits, label, 4)) == pytest.approx(0.5)
