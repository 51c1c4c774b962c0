"""Players that own several networks, and turns that depend on what happened before them."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import data
from jaxgen.game import Aux, Player, averaged, create_state, make_train_step

X = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
ENCODER, DECODER, CRITIC = nn.Dense(3), nn.Dense(6), nn.Dense(1)
NETWORKS = {
    "encoder": jaxgen.Network(ENCODER, jnp.zeros((1, 6))),
    "decoder": jaxgen.Network(DECODER, jnp.zeros((1, 3))),
    "critic": jaxgen.Network(CRITIC, jnp.zeros((1, 6))),
}


def rebuilt(params, x):
    return DECODER.apply({"params": params["decoder"]}, jnp.tanh(ENCODER.apply({"params": params["encoder"]}, x)))


def score(params, x):
    return CRITIC.apply({"params": params["critic"]}, x)[:, 0]


def reconstruct(params, state, batch, key, *, train):
    y = rebuilt(params, batch["x"])
    return ((y - batch["x"]) ** 2).sum(-1) - 0.01 * score(params, y), Aux()


def judge(params, state, batch, key, *, train):
    real, fake = score(params, batch["x"]), score(params, jax.lax.stop_gradient(rebuilt(params, batch["x"])))
    return jax.nn.softplus(-real) + jax.nn.softplus(fake), Aux(metrics={"right": (real > fake) * 1.0})


def game(when: Any = None, *, steps: int = 12, batch_size: int = 16, **options: Any) -> jaxgen.Experiment:
    """An autoencoder of two networks moves first, and then a critic of what it makes."""
    source = data.from_arrays({"x": X}, name="normal", fingerprint="normal")
    players = {
        "autoencoder": Player(reconstruct, optax.adam(3e-2), owns=("encoder", "decoder")),
        "critic": Player(judge, optax.adam(3e-2), when=when),
    }
    return jaxgen.Experiment(data.shuffled(source, batch_size), players, steps, NETWORKS, best=None, **options)


def poor(state, metrics):
    """Whether the reconstruction is still poor: the critic moves at first, and no more later."""
    return metrics["autoencoder/loss"] > 4.5


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def test_a_player_of_two_networks_is_one_optimizer_over_both() -> None:
    params = jaxgen.initialize(NETWORKS)(jax.random.key(0))[0]
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    players = {"autoencoder": Player(reconstruct, tx, owns=("encoder", "decoder"))}
    state = create_state(jax.random.key(1), params, {}, players, ema=0.9)
    step = jax.jit(make_train_step(players, ema=0.9))
    own = {name: params[name] for name in ("encoder", "decoder")}

    @jax.jit
    def textbook(own, opt, x):
        loss = lambda own: reconstruct({**params, **own}, None, {"x": x}, None, train=True)[0].mean()
        updates, opt = tx.update(jax.grad(loss)(own), opt, own)
        return optax.apply_updates(own, updates), opt

    opt = tx.init(own)
    for x in X.reshape(4, 16, 6):
        state, metrics = step(state, {"x": x})
        own, opt = textbook(own, opt, x)
    np.testing.assert_allclose(flat({n: state.params[n] for n in own}), flat(own), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(flat(state.params["critic"]), flat(params["critic"]))
    assert set(metrics) == {"loss", "grad_norm"}
    assert set(state.ema) == {"encoder", "decoder"}
    assert np.abs(flat(averaged(state).params["encoder"]) - flat(state.params["encoder"])).max() > 1e-4


@pytest.mark.parametrize(
    ("owns", "sentence"),
    [
        ({"critic": ("critic", "decoder")}, "players 'autoencoder' and 'critic' both own 'decoder'; a network moves in"),
        ({"critic": ("judge",)}, "player 'critic' has no parameters of its own network 'judge'; init made"),
    ],
)
def test_a_network_that_moves_at_any_time_has_one_owner(owns: dict[str, tuple[str, ...]], sentence: str) -> None:
    made = game()
    players = {name: player._replace(owns=owns.get(name, player.owns)) for name, player in made.players.items()}
    with pytest.raises(ValueError, match=sentence):
        create_state(jax.random.key(0), *made.initial(jax.random.key(0)), players)


def of_phases(first: Any, second: Any, **options: Any) -> jaxgen.Experiment:
    """The encoder and the decoder reconstruct in one phase, with momentum; in the other the encoder's output is made small."""

    def small(params, state, batch, key, *, train):
        return (ENCODER.apply({"params": params["encoder"]}, batch["x"]) ** 2).sum(-1), Aux()

    made = game(**options)
    players = {
        "autoencoder": Player(reconstruct, optax.sgd(1e-2, momentum=0.9), owns=("encoder", "decoder"), when=first),
        "small": Player(small, optax.sgd(1e-2, momentum=0.5), owns=("encoder",), when=second),
    }
    return made._replace(players=players)


def early(state, metrics):
    return state.step < 3


def late(state, metrics):
    return state.step >= 3


def test_two_players_move_one_network_in_turn_each_with_its_own_momentum() -> None:
    made = of_phases(early, late)
    params, vars = made.initial(jax.random.key(0))
    state = create_state(jax.random.key(1), params, vars, made.players, ema=0.9)
    step = jax.jit(make_train_step(made.players, ema=0.9))
    own, trace = dict(params), {}
    for i in range(6):
        batch = {"x": X[16 * (i % 4) : 16 * (i % 4 + 1)]}
        state, metrics = step(state, batch)
        name, decay = ("autoencoder", 0.9) if i < 3 else ("small", 0.5)
        player = made.players[name]
        mean = lambda p, own=own, player=player, batch=batch: player.loss({**own, **p}, None, batch, None, train=True)[0].mean()
        grads = jax.grad(mean)({n: own[n] for n in player.owns})
        before = trace.get(name, jax.tree.map(jnp.zeros_like, grads))
        trace[name] = jax.tree.map(lambda g, t, decay=decay: g + decay * t, grads, before)
        own |= jax.tree.map(lambda p, t: p - 1e-2 * t, {n: own[n] for n in player.owns}, trace[name])
        assert [metrics[f"{n}/loss"].weight > 0 for n in made.players] == [i < 3, i >= 3]
        np.testing.assert_allclose(flat({n: state.params[n] for n in own}), flat(own), rtol=1e-5, atol=1e-7)
    assert set(state.ema) == {"encoder", "decoder"}


def test_players_who_share_a_network_say_when_it_is_theirs_and_average_it_alike() -> None:
    for whens in ((None, late), (early, None)):
        made = of_phases(*whens)
        with pytest.raises(ValueError, match=r"'autoencoder' and 'small' both own 'encoder'; .* by `when` in which steps"):
            create_state(jax.random.key(0), *made.initial(jax.random.key(0)), made.players)
    made = of_phases(early, late)
    players = {**made.players, "small": made.players["small"]._replace(ema=())}
    with pytest.raises(ValueError, match="'encoder', whose averages they keep with different decays"):
        create_state(jax.random.key(0), *made.initial(jax.random.key(0)), players)


def test_a_turn_that_does_not_take_place_changes_nothing() -> None:
    """Not even the momentum of its optimizer, which a gradient of zero would move."""
    made = game(poor)
    state = create_state(jax.random.key(1), *made.initial(jax.random.key(0)), made.players)
    step = jax.jit(make_train_step(made.players))
    moved = []
    for i in range(40):
        before, (state, metrics) = state, step(state, {"x": X[16 * (i % 4) : 16 * (i % 4 + 1)]})
        loss = float(metrics["autoencoder/loss"].value)
        moved.append(float(metrics["critic/loss"].weight) > 0)
        assert moved[-1] == (loss > 4.5)
        same = np.array_equal(
            flat((before.params["critic"], before.opt["critic"])), flat((state.params["critic"], state.opt["critic"]))
        )
        assert same != moved[-1]
        assert np.abs(flat(before.params["encoder"]) - flat(state.params["encoder"])).max() > 0
    assert moved[0]
    assert not moved[-1]


def test_a_turn_may_depend_on_the_state_and_on_every() -> None:
    made = game(lambda state, metrics: state.step < 6)
    players = {**made.players, "critic": made.players["critic"]._replace(every=2)}
    run = jaxgen.fit(made._replace(players=players), log_every=1, quiet=True)
    logged = [line["step"] for line in run.history if "critic/loss" in line]
    assert logged == [2, 4, 6]


WAYS = [{"parallel": "jit"}, {"fsdp": 8}, {"parallel": "pmap"}]


@pytest.mark.trains
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_eight_devices_play_as_one(way: dict[str, Any]) -> None:
    one, eight = (jaxgen.fit(game(poor), log_every=1, quiet=True, **how) for how in ({}, way))
    np.testing.assert_allclose(flat(eight.state.params), flat(one.state.params), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("way", [*WAYS, {"accumulate": 2}], ids=str)
def test_two_players_of_one_network_move_it_in_any_way_as_on_one_device(way: dict[str, Any]) -> None:
    own = {name: value for name, value in way.items() if name == "accumulate"}
    how = {name: value for name, value in way.items() if name != "accumulate"}
    one = jaxgen.fit(of_phases(early, late), quiet=True)
    other = jaxgen.fit(of_phases(early, late, **own), quiet=True, **how)
    np.testing.assert_allclose(flat(other.state.params), flat(one.state.params), rtol=1e-4, atol=1e-5)


def test_micro_batches_play_as_one_batch() -> None:
    whole, parts = (jaxgen.fit(game(poor, accumulate=n), log_every=1, quiet=True) for n in (1, 4))
    np.testing.assert_allclose(flat(parts.state.params), flat(whole.state.params), rtol=1e-4, atol=1e-5)


def test_a_resumed_game_is_the_unbroken_one(tmp_path: Path) -> None:
    whole = jaxgen.fit(game(poor, ema=0.9), quiet=True)
    jaxgen.fit(game(poor, ema=0.9, steps=5), workdir=tmp_path, quiet=True)
    assert jaxgen.fit(game(poor, ema=0.9), workdir=tmp_path, quiet=True).digest() == whole.digest()
    module, variables = whole.network("encoder")
    assert module.apply(variables, X[:2]).shape == (2, 3)
