"""Variables that are no averages: each is the same on all replicas after a step, and what its rule says it is."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import ways

import jaxgen
from jaxgen import Aux, Player, data, keys, objectives
from jaxgen.devices import collectives
from jaxgen.game import create_state, make_train_step, merging
from jaxgen.models.translation import empty_pool, exchange
from jaxgen.nn import VectorQuantiserEMA

RNG = np.random.default_rng(0)
X = np.arange(16, dtype=np.float32)
PARAMS = {"model": jnp.float32(0)}
EIGHT = ("mesh", "fsdp", "pmap")


def counting(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Aux]:
    old = state.vars["stats"]
    new = {
        "average": {"x": 0.5 * old["average"]["x"] + 0.5 * collectives.mean(batch["x"].mean())},
        "local": {"x": 0.5 * old["local"]["x"] + 0.5 * batch["x"].mean()},
        "sums": {"x": old["sums"]["x"] + batch["x"].sum(), "n": old["sums"]["n"] + len(batch["x"])},
    }
    return params["model"] * batch["x"], Aux({"stats": new})


def copies(placed: Any) -> list[np.ndarray]:
    """The variables as each device holds them."""
    flat = jax.tree.leaves(placed.vars)
    return [np.concatenate([np.asarray(x.addressable_shards[i].data).ravel() for x in flat]) for i in range(8)]


def counted(way: str, accumulate: int, merge: Any, *batches: Any) -> tuple[Any, Any]:
    vars = {"stats": {"average": {"x": jnp.float32(2)}, "local": {"x": jnp.float32(2)}, "sums": {"x": jnp.float32(5), "n": 3}}}
    vars = jax.tree.map(jnp.asarray, vars)
    players = {"model": Player(counting, optax.sgd(0.1), merge=merge)}
    step = ways.stepper(players, way, {"x": X}, params=PARAMS, vars=vars, accumulate=accumulate)
    state, _, placed = step(*batches)
    return state.vars["stats"], placed


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", ways.WAYS)
def test_means_and_totals_are_those_of_the_global_batch(way: str, accumulate: int) -> None:
    rules = {"average": merging.same, "sums": merging.total}
    batches = [{"x": X}, {"x": X**2}]
    found, placed = counted(way, accumulate, rules, *batches)
    assert found["sums"]["n"] == 3 + 32
    assert found["sums"]["x"] == pytest.approx(5 + X.sum() + (X**2).sum(), rel=1e-6)
    # Averages take the micro-batches in turn: the even rows and then the odd ones, on one device as on replicas of two rows.
    average = 2.0
    for batch in batches:
        for part in range(accumulate):
            average = 0.5 * average + 0.5 * batch["x"][part::accumulate].mean()
    assert found["average"]["x"] == found["local"]["x"] == pytest.approx(average, rel=1e-6)
    if way != "one":
        assert all(np.array_equal(one, copies(placed)[0]) for one in copies(placed))


def test_what_each_replica_computes_for_itself_is_not_the_same() -> None:
    """So that the comparison of the replicas above can fail."""
    _, placed = counted("pmap", 1, {"local": merging.same, "sums": merging.total}, {"x": X})
    assert not np.array_equal(copies(placed)[0], copies(placed)[1])


class Autoencoder(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        found = VectorQuantiserEMA(6, 3, decay=0.8, restart=2, name="quantiser")(nn.Dense(3)(x), train=train)
        return nn.Dense(4)(found.vectors), found.loss


@pytest.mark.parametrize("way", EIGHT)
def test_an_ema_codebook_is_the_same_on_all_replicas(way: str) -> None:
    model = Autoencoder()
    params, vars = jaxgen.initialize({"model": jaxgen.Network(model, jnp.zeros((1, 4)))})(jax.random.key(0))

    def loss(params, state, batch, key, *, train):
        (out, commitment), vars = objectives.apply(model, params, state.vars, batch["x"], key=key, train=train)
        return ((out - batch["x"]) ** 2).sum(-1) + commitment, Aux(vars)

    batches = [{"x": x} for x in RNG.normal(size=(3, 16, 4)).astype(np.float32)]
    players = {"model": Player(loss, optax.sgd(0.01), merge={"codebook": merging.same})}
    placed = ways.stepper(players, way, batches[0], params=params, vars=vars)(*batches)[2]
    first, *others = copies(placed)
    assert np.abs(first).max() > 0
    for other in others:
        np.testing.assert_array_equal(other, first)


IMAGES = RNG.random((64, 2, 2, 1)).astype(np.float32)


def shows(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Aux]:
    own = keys.fold_in(keys.per_example(key, batch), 7)
    shown, pool = exchange(state.vars["pool"], batch["image"], own, train=train, mask=batch.get("mask"))
    values = shown.mean((1, 2, 3))
    return params["model"] * values, Aux({"pool": pool} if train else {}, {"shown": values})


PLAYERS = {"model": Player(shows, optax.sgd(0.1), merge={"pool": merging.whole})}


@pytest.mark.parametrize("way", EIGHT)
def test_a_pool_is_one_of_the_global_batch_on_all_devices(way: str) -> None:
    """To the bit: images are copied and not computed, and the draws belong to the examples."""
    batches = [{"image": x, "mask": m} for x, m in zip(IMAGES.reshape(4, 16, 2, 2, 1), RNG.random((4, 16)) < 0.8, strict=True)]
    vars = {"pool": empty_pool((2, 2, 1), size=10)}
    one, eight = (ways.stepper(PLAYERS, how, batches[0], params=PARAMS, vars=vars)(*batches) for how in ("one", way))
    assert one[0].vars["pool"]["count"] == 10
    np.testing.assert_array_equal(eight[0].vars["pool"]["images"], one[0].vars["pool"]["images"])
    np.testing.assert_allclose(eight[1]["shown"], one[1]["shown"], rtol=1e-5)
    assert all(np.array_equal(copy, copies(eight[2])[0]) for copy in copies(eight[2]))


def pooled(*, steps: int = 8, accumulate: int = 1) -> jaxgen.Experiment:
    source = data.from_arrays({"image": IMAGES}, name="pooled")

    def init(key):
        return {"model": jnp.float32(0)}, {"pool": empty_pool((2, 2, 1), size=10)}

    evaluators = {"test": jaxgen.mean_over(source, jaxgen.loss_of(PLAYERS["model"]), batch_size=24)}
    return jaxgen.Experiment(
        data.shuffled(source, 8), PLAYERS, steps, init=init, evaluators=evaluators, accumulate=accumulate, best=None
    )


def test_a_resumed_pool_is_the_unbroken_one_and_an_evaluation_leaves_it(tmp_path: Path) -> None:
    whole = jaxgen.fit(pooled(), quiet=True)
    jaxgen.fit(pooled(steps=3), workdir=tmp_path, quiet=True)
    run = jaxgen.fit(pooled(), workdir=tmp_path, quiet=True)
    assert run.digest() == whole.digest()
    before = np.asarray(run.state.vars["pool"]["images"])
    assert run.evaluate()["test"]["shown"] == pytest.approx(float(IMAGES.mean()), rel=1e-5)
    np.testing.assert_array_equal(run.state.vars["pool"]["images"], before)


def test_micro_batches_are_refused_where_a_variable_is_of_the_whole_batch() -> None:
    sentence = "--accumulate 2 cuts a batch into micro-batches, and 'pool' of player 'model' can be written only once a step"
    with pytest.raises(jaxgen.UserError, match=sentence):
        jaxgen.fit(pooled(accumulate=2), quiet=True)
    make_train_step({"model": PLAYERS["model"]._replace(merge={"pool": merging.same})}, accumulate=2)


def test_a_rule_for_no_variable_is_refused() -> None:
    with pytest.raises(
        ValueError, match="player 'model' says how 'pool' is merged, which is no variable; there are \\['bank'\\]"
    ):
        create_state(jax.random.key(0), PARAMS, {"bank": jnp.zeros(3)}, PLAYERS)
