"""The likelihood under several orders: one set of masks a step in training, the mixture of all in evaluation."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled

import jaxgen
from jaxgen import objectives
from jaxgen.models.autoregressive import MADE

IMAGE = (2, 2, 1)
MODEL = MADE(IMAGE, (12,))
ALL = jnp.array(list(itertools.product([0.0, 1.0], repeat=4))).reshape(-1, *IMAGE)
PARAMS = {"model": filled(MODEL, ALL[:1])["params"]}


def told(masks: int, *, train: bool, step: int = 0) -> Any:
    loss = objectives.order_agnostic_likelihood(MODEL, masks=masks)
    state = jaxgen.TrainState(jnp.int32(step), jax.random.key(0), PARAMS, {}, {}, {})
    return jax.jit(lambda x: loss(PARAMS, state, {"image": x}, jax.random.key(1), train=train))(ALL)


def by_set(number: int) -> np.ndarray:
    """The logarithms of the probabilities of all images under one set of masks, in float64."""
    logits = np.asarray(MODEL.apply({"params": PARAMS["model"]}, ALL, number), np.float64)
    x = np.asarray(ALL)
    return (x * logits - np.logaddexp(0, logits)).sum((1, 2, 3))


@pytest.mark.parametrize("step", [0, 4, 5])
def test_a_step_of_training_has_one_set_of_masks_in_turn(step: int) -> None:
    values, aux = told(3, train=True, step=step)
    np.testing.assert_allclose(values, -by_set(step % 3), rtol=1e-5)
    np.testing.assert_array_equal(aux.metrics["mask_nll"], values)
    assert not np.allclose(by_set(0), by_set(1))


@pytest.mark.parametrize("step", [0, 5])
def test_an_evaluation_has_the_mean_of_the_probabilities_of_all_sets(step: int) -> None:
    values, aux = told(3, train=False, step=step)
    sets = np.stack([by_set(i) for i in range(3)])
    mixture = np.exp(sets).mean(0)
    np.testing.assert_allclose(values, -np.log(mixture), rtol=1e-5)
    assert np.exp(-np.asarray(values, np.float64)).sum() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(aux.metrics["nll"], values)
    np.testing.assert_allclose(aux.metrics["mask_nll"], -sets.mean(0), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["bits_per_dim"], values / (4 * math.log(2)), rtol=1e-6)


def test_with_one_set_training_and_evaluation_agree() -> None:
    np.testing.assert_allclose(told(1, train=True, step=7)[0], told(1, train=False)[0], rtol=1e-6)
