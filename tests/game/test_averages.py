"""Averages of parameters and variables against the debiased sum written out in double precision."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import games
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import data
from jaxgen.game import Aux, Player, averaged, create_state, make_train_step, with_averaged_variables
from jaxgen.game.averages import Averages, debiased
from jaxgen.measuring.protocol import difference
from jaxgen.nn import BatchNorm
from jaxgen.runs import load

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


def trained(players: dict[str, Player], state: jaxgen.TrainState, ema: Any, *, accumulate: int = 1) -> jaxgen.TrainState:
    """The state after a step on each of the batches."""
    step = jax.jit(make_train_step(players, ema=ema, accumulate=accumulate))
    for x in X:
        state, _ = step(state, {"x": x})
    return state


def begun(players: dict[str, Player], ema: Any) -> jaxgen.TrainState:
    _, like = game(*(1 for _ in players))
    return create_state(KEY, like.params, like.vars, players, ema=ema)


def same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


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
    got = jax.vmap(lambda step: debiased(decay, step))(jnp.asarray(steps, jnp.int32))
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


def slowing(step: Any) -> Any:
    """The decay of an average over a growing part of the training."""
    return 1 - 1 / (step + 3.0)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_several_decays_keep_what_each_of_them_keeps_alone(accumulate: int) -> None:
    players, _ = game(1, 3)
    decays = (0.9, 0.5, slowing)
    alone = [trained(players, begun(players, d), d, accumulate=accumulate) for d in decays]
    state = trained(players, begun(players, decays), decays, accumulate=accumulate)
    same((state.ema, state.ema_vars), (alone[0].ema, alone[0].ema_vars))
    same(state.more_ema, tuple(Averages(one.ema, one.ema_vars) for one in alone[1:]))
    for which, one in enumerate(alone):
        same(averaged(state, which).params, averaged(one).params)
        same(averaged(state, which).vars, averaged(one).vars)
    assert len({float(jax.tree.leaves(averaged(state, which).params["first"])[0].sum()) for which in range(3)}) == 3


def test_a_player_may_have_its_own_averages_or_none() -> None:
    players, _ = game(1, 1)
    own = {"first": players["first"]._replace(ema=(0.5, 0.9)), "second": players["second"]._replace(ema=())}
    state, all_of_them = (trained(p, begun(p, 0.9), 0.9) for p in (own, players))
    same(state.params, all_of_them.params)
    assert set(state.ema) == set(state.ema_vars) == {"first"}
    # The decay of the experiment is the second of the first player.
    same(state.more_ema[0].params["first"], all_of_them.ema["first"])
    assert averaged(state).params["second"] is state.params["second"]
    assert averaged(state).vars["second"] is state.vars["second"]
    # Without a decay of the experiment, the player that names one is averaged alone, and one with fewer keeps its first.
    own["second"] = players["second"]._replace(ema=0.5)
    two = trained(own, begun(own, None), None)
    assert averaged(two, 1).params["second"] is two.ema["second"]
    assert averaged(two, 1).vars["first"] is two.more_ema[0].vars["first"]
    one = {**players, "second": own["second"]}
    assert set(begun(one, None).ema) == {"second"}
    # The default is the experiment's, for all.
    assert set(all_of_them.ema) == {"first", "second"}
    assert begun(players, None).ema == begun(players, ()).ema == {}


@pytest.mark.parametrize("decay", [1, 1.5, -0.1, float("nan"), True, (0.9, 1.0)])
def test_a_decay_outside_of_its_range_is_refused(decay: Any) -> None:
    players, _ = game(1)
    with pytest.raises(
        ValueError, match=r"the decay of the averages of 'first' is .*; give 0 or more and less than 1, or \(\)"
    ):
        begun(players, decay)


def two_decays(**options: Any) -> jaxgen.Experiment:
    """A game with batch statistics, as a run folder rebuilds it."""
    return games.regression(**options)._replace(ema=(0.9, 0.5))


@functools.cache
def alone(decay: float, **options: Any) -> jaxgen.Run:
    return games.fit(games.regression(ema=decay, **options))


def test_a_run_with_two_averages_goes_on_and_is_loaded_with_either(tmp_path: Path) -> None:
    games.fit(two_decays(steps=10), tmp_path)
    whole, resumed = games.fit(two_decays()), games.fit(two_decays(), tmp_path)
    assert resumed.digest() == whole.digest() == load.digest(tmp_path)
    first, second = (jaxgen.load(tmp_path, experiment=two_decays, ema=which) for which in (0, 1))
    assert first.digest() == second.digest() == whole.digest()
    assert first.evaluate() == alone(0.9).evaluate() == whole.evaluate()
    assert second.evaluate() == alone(0.5).evaluate() != first.evaluate()
    same(second.network()[1], alone(0.5).network()[1])
    same(jaxgen.load_params(tmp_path), {"model": first.state.ema["model"]})
    for which in (2, -1):
        with pytest.raises(jaxgen.UserError, match=f"keeps 2 averages, so that ema={which} is none of them; they count from 0"):
            jaxgen.load(tmp_path, experiment=two_decays, ema=which)
    with pytest.raises(ValueError, match="the average 2 is asked for, counted from 0, and the state has 2"):
        averaged(whole.state, 2)
    with pytest.raises(
        jaxgen.UserError, match=r"does not fit this experiment: more_ema/0/params/model/\S+ is .* and absent here"
    ):
        jaxgen.load(tmp_path, experiment=lambda **flags: games.regression(**flags)._replace(ema=0.9))


def test_figures_of_another_average_are_of_another_protocol() -> None:
    made = two_decays(steps=5)._replace(splits={"test": data.from_arrays(games.ARRAYS, name="noise")}, protocol={"loss": ()})
    run = games.fit(made)
    first, second = (
        one.figures(one.evaluate(), checkpoint="best")["test/loss"] for one in (run, dataclasses.replace(run, ema=1))
    )
    assert (first.protocol.checkpoint, second.protocol.checkpoint) == ("best", "best, average 1")
    with pytest.raises(jaxgen.UserError, match="checkpoint is best and best, average 1"):
        difference(first, second)


@pytest.mark.parametrize("way", [{"parallel": "jit"}, {"parallel": "jit", "fsdp": 8}, {"parallel": "pmap"}], ids=str)
def test_eight_devices_keep_both_averages_as_one_does(way: dict[str, Any]) -> None:
    options = {"batch_size": 16, "noise": 0.0}
    eight = games.fit(two_decays(**options), **way)
    for which, decay in enumerate((0.9, 0.5)):
        one, kept = alone(decay, **options).state, averaged(eight.state, which)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), (kept.params, kept.vars), (one.ema, one.ema_vars)
        )
