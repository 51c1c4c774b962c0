"""A loss with a penalty on steepness: its value, its gradient, and its vectors over steps, micro-batches and replicas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parameters import normal

import jaxgen
from jaxgen.devices import collectives
from jaxgen.game import create_state, make_train_step, merging
from jaxgen.objectives import SPECTRAL, spectral_state, spectrally_regularised

PARAMS = {"model": {"kernel": normal(6, 4), "scale": jnp.array([0.5, -3.0])}}
X = normal(8, 6, seed=1)


def plain(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
    return ((batch["x"] @ params["model"]["kernel"]) ** 2).sum(-1), jaxgen.Aux({}, {"own": jnp.zeros(len(batch["x"]))})


def kernels(params: Any) -> Any:
    return {"it": params["kernel"]}


def scales(params: Any) -> Any:
    return {"it": params["scale"]}


def begun(rate: float = 0.0, weight: Any = 0.1) -> Any:
    loss = spectrally_regularised(plain, kernels, scales, weight=weight)
    player = jaxgen.Player(loss, optax.sgd(rate), merge={SPECTRAL: merging.same})
    vars = {SPECTRAL: spectral_state(kernels(PARAMS["model"]), jax.random.key(0))}
    return player, create_state(jax.random.key(0), PARAMS, vars, {"model": player})


@pytest.mark.parametrize("step", [0, 7])
def test_the_penalty_by_hand(step: int) -> None:
    player, state = begun(weight=lambda step: 0.1 * jnp.float32(step + 1))
    state = state._replace(step=jnp.int32(step))
    batch = {"x": X}
    values, aux = player.loss(state.params, state, batch, jax.random.key(0), train=True)
    sigma = np.linalg.svd(PARAMS["model"]["kernel"])[1][0]
    expected = plain(PARAMS, None, batch, None, train=True)[0]
    np.testing.assert_allclose(values, expected + 0.1 * (step + 1) * (sigma + 3), rtol=1e-4)
    assert float(aux.metrics["spectral_norms"]) == pytest.approx(sigma, rel=1e-4)
    assert float(aux.metrics["largest_scales"]) == 3
    assert "own" in aux.metrics
    evaluated, aux = player.loss(state.params, state, batch, jax.random.key(0), train=False)
    np.testing.assert_array_equal(evaluated, expected)
    assert not aux.vars


def test_the_vectors_move_once_a_step_with_any_micro_batches() -> None:
    player, state = begun(0.01)
    # Vectors that have not arrived, so that further iterations would be seen.
    away = jax.tree.map(lambda u: u + 0.5, state.vars[SPECTRAL]["after"])
    state = state._replace(vars={SPECTRAL: {**state.vars[SPECTRAL], "after": away}})
    ended = []
    for accumulate in (1, 2, 4):
        step = jax.jit(make_train_step({"model": player}, accumulate=accumulate))
        now = state
        for _ in range(3):
            now, metrics = step(now, {"x": X})
        ended.append((now, metrics))
    for other, metrics in ended[1:]:
        for a, b in zip(jax.tree.leaves(other.vars), jax.tree.leaves(ended[0][0].vars), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(other.params["model"]["kernel"], ended[0][0].params["model"]["kernel"], rtol=1e-4)
        assert float(metrics["loss"].value) == pytest.approx(float(ended[0][1]["loss"].value), rel=1e-5)
    assert int(ended[0][0].vars[SPECTRAL]["step"]) == 3
    assert not np.allclose(ended[0][0].vars[SPECTRAL]["after"]["4x6"], away["4x6"])


def test_replicas_have_the_same_vectors_and_one_penalty() -> None:
    player, state = begun(0.01)
    step = make_train_step({"model": player})
    alone, metrics = jax.jit(step)(state, {"x": X})
    copies = jax.tree.map(lambda x: jnp.stack([x] * 4), state)
    parts = {"x": X.reshape(4, 2, 6)}
    many, of_many = jax.pmap(step, axis_name=collectives.AXIS, devices=jax.devices()[:4])(copies, parts)
    for a, b in zip(jax.tree.leaves(many.vars), jax.tree.leaves(alone.vars), strict=True):
        np.testing.assert_allclose(a, jnp.broadcast_to(b, a.shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(many.params["model"]["kernel"][3], alone.params["model"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(of_many["loss"].value[0], metrics["loss"].value, rtol=1e-5)
