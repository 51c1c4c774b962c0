"""The standard deviation of a minibatch against its definition, in batches of any size, and however they are cut."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.devices import collectives
from jaxgen.nn import minibatch_stddev


def by_hand(x: Any, groups: list[list[int]]) -> np.ndarray:
    x = np.asarray(x, np.float64)
    out = np.zeros(len(x))
    for members in groups:
        out[members] = np.sqrt(x[members].var(0) + 1e-8).mean()
    return out


@pytest.mark.parametrize(
    ("n", "group", "groups"),
    [
        (8, 4, [[0, 2, 4, 6], [1, 3, 5, 7]]),
        (4, 16, [[0, 1, 2, 3]]),
        (7, 4, [[0, 2, 4, 6], [1, 3, 5]]),
        (10, 4, [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]),
        (1, 4, [[0]]),
    ],
)
def test_every_mth_example_is_in_one_group(n: int, group: int, groups: list[list[int]]) -> None:
    x = normal(n, 2, 3, 5)
    out = minibatch_stddev(x, group)
    np.testing.assert_array_equal(out[..., :-1], x)
    expected = by_hand(x, groups)
    np.testing.assert_allclose(out[..., -1], np.broadcast_to(expected[:, None, None], (n, 2, 3)), rtol=1e-5)


def test_what_fills_a_batch_up_has_no_part() -> None:
    x, mask = normal(8, 2, 2, 3), jnp.array([1.0] * 5 + [0.0] * 3)
    filled = x.at[5:].set(1e3)
    out = minibatch_stddev(filled, 4, mask=mask)[:5, 0, 0, -1]
    np.testing.assert_allclose(out, by_hand(x[:5], [[0, 2, 4], [1, 3]]), rtol=1e-5)


def test_micro_batches_have_the_groups_of_the_whole_batch() -> None:
    x = normal(16, 2, 2, 3)
    whole = minibatch_stddev(x, 4)
    for k in (2, 4):
        for i in range(k):
            np.testing.assert_allclose(minibatch_stddev(x[i::k], 4), whole[i::k], rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_replicas_have_the_groups_of_the_whole_batch(masked: bool) -> None:
    x = normal(16, 2, 2, 3)
    mask = jnp.array([1.0] * (13 if masked else 16) + [0.0] * (3 if masked else 0))
    weight = normal(16, 2, 2, 4, seed=1)

    def loss(x: Any, mask: Any, weight: Any) -> Any:
        return (minibatch_stddev(x, 4, mask=mask) * weight).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(x, mask, weight)
    parts = [a.reshape(4, 4, *a.shape[1:]) for a in (x, mask, weight)]
    values, grads = jax.pmap(jax.value_and_grad(loss), axis_name=collectives.AXIS)(*parts)
    np.testing.assert_allclose(values.sum(), value, rtol=1e-5)
    np.testing.assert_allclose(grads.reshape(x.shape), grad, rtol=1e-4, atol=1e-6)


def test_equal_examples_have_finite_second_derivatives_and_half_precision_is_kept() -> None:
    x = jnp.ones((4, 1, 1, 2))
    slope = jax.grad(lambda x: jnp.square(jax.grad(lambda x: minibatch_stddev(x)[..., -1].sum())(x)).sum())
    assert np.isfinite(jax.jit(slope)(x)).all()
    half = functools.partial(minibatch_stddev, group=2)(normal(4, 2, 2, 3).astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
