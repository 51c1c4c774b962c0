"""Averages of parameters and variables against the debiased sum written out in double precision."""

import functools
from typing import Any

import flax.linen as nn
import games
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen.game import Aux, Player, _debiased, averaged, create_state, make_train_step, with_averaged_variables
from jaxgen.nn import BatchNorm

KEY = jax.random.key(3)
X = jax.random.normal(jax.random.key(1), (7, 16, 4))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        self.variable("counts", "calls", lambda: jnp.int32(0)).value += 1
        return nn.Dense(2)(BatchNorm()(nn.Dense(3)(x), train=train))


NET = Net()


def loss(name: str, sign: float, p: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[jax.Array, Aux]:
    own = state.vars[name]
    out, new = NET.apply({"params": p[name], **own}, batch["x"], train=train, mutable=list(own))
    return sign * (out**2).sum(-1), Aux({name: dict(new)})


def game(*every: int) -> tuple[dict[str, Player], jaxgen.TrainState]:
    names = ("first", "second")[: len(every)]
    players = {
        n: Player(functools.partial(loss, n, s), optax.adam(0.05), e) for n, s, e in zip(names, (1, -1), every, strict=False)
    }
    variables = {name: NET.init(jax.random.fold_in(KEY, i), X[0]) for i, name in enumerate((*names, "frozen"))}
    params = {name: v["params"] for name, v in variables.items()}
    vars = {name: {k: v for k, v in own.items() if k != "params"} for name, own in variables.items()}
    return players, create_state(KEY, params, vars, players, ema=0.9)


def by_hand(states: list[jaxgen.TrainState], decay: float, field: str, players: Any) -> list[np.ndarray]:
    """The average over the states after each step; of a counter the last value."""
    weights = decay ** np.arange(len(states) - 1, -1.0, -1)
    weights /= weights.sum()
    leaves = [jax.tree.leaves({name: getattr(state, field)[name] for name in players}) for state in states]
    return [
        sum(w * np.asarray(x, np.float64) for w, x in zip(weights, column, strict=True))
        if np.issubdtype(column[-1].dtype, np.floating)
        else np.asarray(column[-1])
        for column in zip(*leaves, strict=True)
    ]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize(("every", "accumulate"), [((1,), 1), ((1,), 4), ((1, 3), 1), ((2, 1), 2)])
def test_averages_are_the_debiased_sum(every: tuple[int, ...], accumulate: int, decay: float) -> None:
    players, state = game(*every)
    step = jax.jit(make_train_step(players, ema=decay, accumulate=accumulate), donate_argnums=0)
    states = []
    for x in X:
        state, _ = step(state, {"x": x})
        states.append(jax.tree.map(np.asarray, state._replace(key=None)))
        for field, kept in (("params", state.ema), ("vars", state.ema_vars)):
            for got, expected in zip(jax.tree.leaves(kept), by_hand(states, decay, field, players), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert set(averaged(state).vars) == {*players, "frozen"}
    assert averaged(state).vars["first"] is state.ema_vars["first"]
    assert averaged(state).vars["frozen"] is state.vars["frozen"]


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.995, 0.9999, 0.999999])
def test_the_weight_of_a_step_is_exact_in_single_precision(decay: float) -> None:
    steps = np.unique(np.geomspace(1, 1e7, 200).astype(np.int64)) - 1
    got = jax.vmap(lambda step: _debiased(decay, step))(jnp.asarray(steps, jnp.int32))
    exact = (1 - np.longdouble(decay)) / -np.expm1((steps + 1) * np.log1p(np.longdouble(decay) - 1))
    np.testing.assert_allclose(got, exact.astype(np.float64), rtol=1e-6)
    assert got[0] == 1


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999])
def test_a_long_average_of_a_moving_value_is_its_sum(decay: float) -> None:
    """Thousands of steps, in which rounding could add up."""
    player = Player(lambda p, s, b, k, *, train: (-p["model"] * jnp.ones(1), Aux()), optax.sgd(1e-3))
    state = create_state(KEY, {"model": jnp.float32(5.0)}, {}, {"model": player}, ema=decay)
    step = make_train_step({"model": player}, ema=decay)
    state = jax.jit(lambda s: jax.lax.fori_loop(0, 5000, lambda i, s: step(s, {})[0], s))(state)
    values = 5 + 1e-3 * np.arange(1, 5001)
    weights = decay ** np.arange(4999, -1.0, -1)
    np.testing.assert_allclose(state.ema["model"], (weights * values).sum() / weights.sum(), rtol=1e-4)


def test_the_initial_parameters_have_no_part() -> None:
    players, state = game(1)
    spoilt = state._replace(ema=jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), state.ema))
    step = jax.jit(make_train_step(players, ema=0.9999))
    after, _ = step(spoilt, {"x": X[0]})
    jax.tree.map(np.testing.assert_array_equal, after.ema["first"], after.params["first"])
    jax.tree.map(np.testing.assert_array_equal, after.ema_vars["first"], after.vars["first"])


def test_averaged_weights_have_batch_statistics_of_their_own() -> None:
    """Weights that grow: the statistics of the last ones are far from those of the average."""
    net = nn.Dense(4, use_bias=False)
    norm = BatchNorm()
    x = jax.random.normal(jax.random.key(1), (512, 8))
    params = {"model": net.init(KEY, x)["params"]}
    vars = {"model": dict(norm.init(KEY, net.apply(net.init(KEY, x), x), train=True))}
    vars["model"].pop("params")
    affine = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}

    def out(p: Any, v: Any, train: bool) -> Any:
        h = net.apply({"params": p["model"]}, x)
        return norm.apply({"params": {"BatchNorm_0": affine}, **v["model"]}, h, train=train, mutable=["batch_stats"])

    def grow(p: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[jax.Array, Aux]:
        return -jnp.sum(p["model"]["kernel"] ** 2) * jnp.ones(1), Aux({"model": dict(out(p, state.vars, train)[1])})

    players = {"model": Player(grow, optax.sgd(0.02))}
    state = create_state(KEY, params, vars, players, ema=0.99)
    step = jax.jit(make_train_step(players, ema=0.99))
    for _ in range(100):
        state, _ = step(state, {})
    view = averaged(state)
    assert out(view.params, view.vars, False)[0].std() == pytest.approx(1, abs=0.05)
    assert out(view.params, state.vars, False)[0].std() < 0.7


@functools.cache
def on_one_device() -> jaxgen.Run:
    return games.fit(games.regression(batch_size=16, noise=0.0, ema=0.9))


@pytest.mark.parametrize("way", [{"parallel": "jit"}, {"parallel": "jit", "fsdp": 8}, {"parallel": "pmap"}], ids=str)
def test_eight_devices_average_as_one(way: dict[str, Any]) -> None:
    one, eight = on_one_device(), games.fit(games.regression(batch_size=16, noise=0.0, ema=0.9), **way)
    assert jax.tree.leaves(one.state.ema_vars)
    kept = [(run.state.ema, run.state.ema_vars) for run in (one, eight)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *kept)
    assert eight.evaluate()["test"] == pytest.approx(one.evaluate()["test"], rel=1e-4)


def test_a_state_without_averages_of_variables_is_taken_with_the_current_ones() -> None:
    _, state = game(1, 1)
    old = state._replace(ema_vars={})
    assert averaged(old).vars == old.vars
    begun = with_averaged_variables(old)
    jax.tree.map(np.testing.assert_array_equal, begun.ema_vars, {name: old.vars[name] for name in ("first", "second")})
    assert with_averaged_variables(begun) is begun
    without = state._replace(ema={}, ema_vars={})
    assert with_averaged_variables(without) is without
