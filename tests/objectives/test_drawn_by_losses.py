"""Steps drawn by their losses: the law against the authors' code in numpy, on one device as on eight."""

from typing import Any

import improved
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import ways

import jaxgen
from jaxgen import Aux, Player, keys
from jaxgen.game import merging
from jaxgen.objectives import SecondMoment

RNG = np.random.default_rng(0)


def batches(n: int, steps: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Drawn unevenly, so that a batch has some steps more often than the history holds."""
    skewed = np.arange(1.0, steps + 1)
    return [
        (RNG.choice(steps, size, p=skewed / skewed.sum()) + 1, RNG.gamma(2.0, size=size).astype(np.float32) * 5)
        for _ in range(n)
    ]


@pytest.mark.parametrize(("steps", "history", "size"), [(6, 10, 40), (20, 3, 64), (1, 10, 7)])
def test_the_law_is_the_authors(steps: int, history: int, size: int) -> None:
    law, theirs = SecondMoment(steps, history), improved.Resampler(steps, history)
    note = jax.jit(law.noted)
    ours, known = law.empty(), []
    for t, losses in batches(60, steps, size):
        ours = note(ours, jnp.asarray(t), jnp.asarray(losses))
        theirs.update(t, losses)
        np.testing.assert_allclose(law.probabilities(ours), theirs.probabilities(), rtol=1e-5)
        np.testing.assert_array_equal(np.minimum(ours["counts"], history), theirs.counts)
        known.append(bool((theirs.counts == history).all()))
    assert known[-1]
    assert known[0] is (steps == 1 and size >= history)
    assert ours["counts"].max() < 2 * history
    np.testing.assert_allclose(np.sort(ours["losses"], 1), np.sort(theirs.history, 1), rtol=1e-6)


def filled(steps: int = 5) -> tuple[SecondMoment, dict[str, Any]]:
    law = SecondMoment(steps, history=2)
    t = np.repeat(np.arange(1, steps + 1), 2)
    return law, law.noted(law.empty(), jnp.asarray(t), jnp.asarray(10.0**t, jnp.float32))


def test_steps_are_drawn_by_the_law_and_weighted_to_be_uniform() -> None:
    law, history = filled()
    t, weight = jax.jit(lambda key: law.draw(history, key, 200_000))(jax.random.key(1))
    p = np.asarray(law.probabilities(history), np.float64)
    counts = np.bincount(t, minlength=6)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 200_000, p, atol=4 * np.sqrt(p / 200_000).max(), rtol=0.1)
    np.testing.assert_allclose(weight, 1 / (5 * p[np.asarray(t) - 1]), rtol=1e-5)
    loss = 10.0 ** np.asarray(t)
    assert (weight * loss).mean() == pytest.approx((10.0 ** np.arange(1, 6)).mean(), rel=0.01)
    uniform = 10.0 ** RNG.integers(1, 6, 200_000)
    assert (weight * loss).std() < 0.1 * uniform.std()


def test_steps_are_uniform_until_all_have_a_history() -> None:
    law = SecondMoment(4, history=2)
    history = law.noted(law.empty(), jnp.array([1, 1, 2, 2, 3, 3, 4]), jnp.array([9.0, 9, 1, 1, 1, 1, 1]))
    np.testing.assert_allclose(law.probabilities(history), 0.25)
    t, weight = law.draw(history, jax.random.split(jax.random.key(0), 4000), 4000)
    np.testing.assert_allclose(np.bincount(t, minlength=5) / 4000, [0, 0.25, 0.25, 0.25, 0.25], atol=0.03)
    np.testing.assert_allclose(weight, 1.0)
    full = law.noted(history, jnp.array([4]), jnp.array([1.0]))
    assert law.probabilities(full)[0] == pytest.approx(0.999 * 9 / 12 + 0.001 / 4)
    nothing = {"losses": jnp.zeros((4, 2)), "counts": jnp.full(4, 2)}
    np.testing.assert_allclose(law.probabilities(nothing), 0.25)
    huge = {"losses": 1e30 * full["losses"], "counts": full["counts"]}
    np.testing.assert_allclose(law.probabilities(huge), law.probabilities(full), rtol=1e-5)


def test_padding_is_not_kept() -> None:
    law, history = filled()
    t, losses = jnp.array([1, 2, 5, 5, 5]), jnp.full(5, 7.0)
    mask = jnp.array([0, 1, 0, 0, 0])
    after, alone = law.noted(history, t, losses, mask), law.noted(history, t[1:2], losses[1:2])
    jax.tree.map(np.testing.assert_array_equal, after, alone)


LAW = SecondMoment(4, history=3)


def resampled(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Aux]:
    own = keys.per_example(key, batch)
    t, weight = LAW.draw(state.vars["history"], own, len(batch["x"]))
    losses = params["model"] * batch["x"] * t.astype(jnp.float32)
    history = LAW.noted(state.vars["history"], t, losses, batch.get("mask"))
    return weight * losses, Aux({"history": history} if train else {}, {"t": t.astype(jnp.float32)})


PLAYERS = {"model": Player(resampled, optax.sgd(1e-3), merge={"history": merging.same})}
PARAMS = {"model": jnp.float32(1)}


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", [way for way in ways.WAYS if way != "one"])
def test_the_history_is_one_of_the_global_batch_on_all_devices(way: str, accumulate: int) -> None:
    """The same steps are drawn and the same losses kept as on one device, by micro-batches one after another too."""
    rows = [{"x": x, "mask": m} for x, m in zip(RNG.random((6, 16)).astype(np.float32), RNG.random((6, 16)) < 0.8, strict=True)]
    made = (
        ways.stepper(PLAYERS, how, rows[0], params=PARAMS, vars={"history": LAW.empty()}, accumulate=accumulate)(*rows)
        for how in ("one", way)
    )
    one, eight = made
    assert (one[0].vars["history"]["counts"] >= 3).all(), "steps are drawn by the losses in the end"
    for name, values in one[0].vars["history"].items():
        np.testing.assert_allclose(eight[0].vars["history"][name], values, rtol=1e-5)
    assert eight[1]["t"] == pytest.approx(one[1]["t"], rel=1e-6)
    assert eight[1]["loss"] == pytest.approx(one[1]["loss"], rel=1e-5)
    copies = [
        np.concatenate([np.asarray(x.addressable_shards[i].data).ravel() for x in jax.tree.leaves(eight[2].vars)])
        for i in range(8)
    ]
    assert all(np.array_equal(copy, copies[0]) for copy in copies)


def test_an_evaluation_leaves_the_history() -> None:
    state = jaxgen.create_state(jax.random.key(0), PARAMS, {"history": LAW.empty()}, PLAYERS)
    found = jaxgen.loss_of(PLAYERS["model"])(state, {"x": jnp.ones(8)}, jax.random.key(1))
    assert found["loss"].shape == (8,)
    np.testing.assert_array_equal(state.vars["history"]["counts"], 0)
