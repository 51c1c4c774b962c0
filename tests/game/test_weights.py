"""Weights of examples: one ratio of sums, its gradient and its standard error, however a batch is cut."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import ways
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgen
from jaxgen import Aux, Player, Weighted, data, objectives, penalised, reduction, weighted_mean
from jaxgen.reduction import compute, merge, moments, reduce, together

RNG = np.random.default_rng(0)
CUTS = [("one", 1), ("one", 4), ("mesh", 1), ("mesh", 2), ("fsdp", 2), ("pmap", 1), ("pmap", 2)]
"""A way to run, and a number of micro-batches."""


def squares(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Aux]:
    values = (params["model"] - batch["x"]) ** 2
    metrics = {
        "x": Weighted(batch["x"], batch["other"]),
        "plain": batch["x"],
        "whole": Weighted(values.sum(), values.sum() + 1),
    }
    return Weighted(values, batch["w"]), Aux({}, metrics)


def batch_of(x: Any, w: Any, mask: Any) -> dict[str, np.ndarray]:
    x, w, mask = (np.asarray(a, np.float32) for a in (x, w, mask))
    return {"x": x, "w": w, "mask": mask, "other": np.arange(16, dtype=np.float32) % 3}


@functools.cache
def compiled(way: str, accumulate: int) -> Any:
    players = {"model": Player(squares, optax.sgd(1.0))}
    like = batch_of(*[np.zeros(16)] * 3)
    return ways.stepper(players, way, like, params={"model": jnp.float32(0.5)}, accumulate=accumulate)


def sixteen(elements: Any) -> Any:
    return st.lists(elements, min_size=16, max_size=16)


@settings(max_examples=40)
@given(
    x=sixteen(st.floats(-3, 3, width=16)), w=sixteen(st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0])), mask=sixteen(st.booleans())
)
def test_a_cut_of_the_batch_changes_nothing(x: list[float], w: list[float], mask: list[bool]) -> None:
    """Loss, gradient and metrics are closed forms of the whole batch; nothing is NaN where no example counts."""
    batch = batch_of(x, w, mask)
    x, m = (batch[name].astype(np.float64) for name in ("x", "mask"))
    w, other = (m * batch[name].astype(np.float64) for name in ("w", "other"))
    expected = {"plain": (m @ x, m.sum()), "x": (other @ x, other.sum()), "loss": (w @ (0.5 - x) ** 2, w.sum())}
    gradient = 2 * w @ (0.5 - x) / max(w.sum(), 1e-9)
    for way, accumulate in CUTS:
        state, metrics, _ = compiled(way, accumulate)(batch)
        np.testing.assert_allclose(0.5 - state.params["model"], gradient, rtol=1e-5, atol=1e-5, err_msg=f"{way} {accumulate}")
        np.testing.assert_allclose(metrics["grad_norm"], abs(gradient), rtol=1e-5, atol=1e-5)
        for name, (total, weight) in expected.items():
            assert (name in metrics) == (weight > 0)
            if weight > 0:
                np.testing.assert_allclose(metrics[name], total / weight, rtol=1e-5, atol=1e-5)


def test_the_mean_of_ratios_is_another_number() -> None:
    """So that the test above can fail: the parts of this batch have means that do not average to that of the whole."""
    x, w = np.arange(16.0), np.array([100.0] + [1.0] * 15)
    parts = [(w[i::4] @ x[i::4]) / w[i::4].sum() for i in range(4)]
    assert abs(np.mean(parts) - w @ x / w.sum()) > 1
    state, _, _ = compiled("pmap", 2)(batch_of(x, w, np.ones(16)))
    assert 0.5 - state.params["model"] == pytest.approx(2 * (0.5 - w @ x / w.sum()), rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", ways.WAYS)
def test_masked_parts_and_a_penalty_of_the_parameters(way: str, accumulate: int) -> None:
    """Unequal numbers of tokens; the parameters are large enough to be cut by fsdp."""
    x, y = RNG.normal(size=(16, 3, 1024)).astype(np.float32) / 32, RNG.normal(size=(16, 3)).astype(np.float32)
    tokens = RNG.random((16, 3)) < 0.4
    tokens[5:9] = False
    theta = RNG.normal(size=1024).astype(np.float32)

    def loss(params, state, batch, key, *, train):
        values = weighted_mean((batch["x"] @ params["model"] - batch["y"]) ** 2, batch["tokens"])
        return penalised(values, 0.3 * (params["model"] ** 2).sum()), Aux()

    batch = {"x": x, "y": y, "tokens": tokens}
    players = {"model": Player(loss, optax.sgd(1.0))}
    step = ways.stepper(players, way, batch, params={"model": jnp.asarray(theta)}, accumulate=accumulate)
    state, metrics, placed = step(batch)
    a, b, t = x[tokens].astype(np.float64), y[tokens].astype(np.float64), theta.astype(np.float64)
    assert metrics["loss"] == pytest.approx(((a @ t - b) ** 2).mean() + 0.3 * t @ t, rel=1e-5)
    gradient = 2 * a.T @ (a @ t - b) / len(a) + 0.6 * t
    np.testing.assert_allclose(theta - np.asarray(state.params["model"]), gradient, rtol=1e-4, atol=1e-5)
    shard = placed.params["model"].addressable_shards[0].data
    assert shard.size == (128 if way == "fsdp" else 1024)


@pytest.mark.parametrize(("way", "accumulate"), CUTS)
def test_a_loss_of_the_parameters_alone_is_a_scalar(way: str, accumulate: int) -> None:
    def loss(params, state, batch, key, *, train):
        return params["model"] ** 2, Aux()

    batch = batch_of(np.zeros(16), np.zeros(16), [1, 0, 0, 0, 1, 1] + [0] * 10)
    step = ways.stepper(
        {"model": Player(loss, optax.sgd(1.0))}, way, batch, params={"model": jnp.float32(3.0)}, accumulate=accumulate
    )
    state, metrics, _ = step(batch)
    assert metrics["loss"] == pytest.approx(9.0, rel=1e-6)
    assert state.params["model"].item() == pytest.approx(3.0 - 6.0, rel=1e-5)


def test_weights_are_constants_of_the_gradient() -> None:
    def loss(params, state, batch, key, *, train):
        return Weighted(params["model"] * batch["x"], jnp.exp(params["model"] * batch["x"])), Aux()

    x = np.array([0.0, 1.0, 2.0, 4.0], np.float32)
    players = {"model": Player(loss, optax.sgd(1.0))}
    for accumulate in (1, 2):
        step = ways.stepper(players, "one", {"x": x}, params={"model": jnp.float32(0.5)}, accumulate=accumulate)
        w = np.exp(0.5 * x)
        assert 0.5 - step({"x": x})[0].params["model"] == pytest.approx((w @ x) / w.sum(), rel=1e-5)


def test_several_steps_are_one_ratio() -> None:
    batches = [batch_of(RNG.normal(size=16), RNG.integers(0, 9, 16), RNG.random(16) < 0.7) for _ in range(3)]
    total = {name: np.concatenate([b[name] * b["mask"] for b in batches]).astype(np.float64) for name in ("other", "mask")}
    x = np.concatenate([b["x"] for b in batches])
    for cut in (("one", 1), ("pmap", 2)):
        metrics = compiled(*cut)(*batches)[1]
        assert metrics["x"] == pytest.approx(total["other"] @ x / total["other"].sum(), rel=1e-5)
        assert metrics["plain"] == pytest.approx(total["mask"] @ x / total["mask"].sum(), rel=1e-5)
    a, b = reduce(Weighted(jnp.array([2.0]), jnp.array([3]))), reduce(Weighted(jnp.array([6.0]), jnp.array([1])))
    assert compute(merge({"x": a}, {"x": b})) == {"x": 3.0}
    assert reduce(Weighted(jnp.ones(2), jnp.zeros(2))).value == 0  # what `Player.when` is told


SOURCE = data.from_arrays(
    {"x": RNG.normal(2, 3, 64).astype(np.float32), "w": RNG.integers(0, 5, 64).astype(np.float32)}, name="weighted"
)


def game(*, steps: int = 9, accumulate: int = 1) -> jaxgen.Experiment:
    def loss(params, state, batch, key, *, train):
        return Weighted((params["model"] - batch["x"]) ** 2, batch["w"]), Aux({}, {"x": Weighted(batch["x"], batch["w"])})

    players = {"model": Player(loss, optax.adam(0.1))}
    return jaxgen.Experiment(
        data.shuffled(SOURCE, 16),
        players,
        steps,
        init=lambda key: ({"model": jnp.float32(0)}, {}),
        evaluators={"test": jaxgen.mean_over(SOURCE, jaxgen.loss_of(players["model"]), batch_size=24)},
        accumulate=accumulate,
    )


def test_a_window_of_an_epoch_is_the_ratio_of_the_split_and_a_resumed_run_is_the_unbroken_one(tmp_path: Path) -> None:
    x, w = (SOURCE.gather(np.arange(64))[name].astype(np.float64) for name in ("x", "w"))
    options: dict[str, Any] = {"log_every": 4, "quiet": True}
    whole = jaxgen.fit(game(), **options)
    logged = [line["x"] for line in whole.history if line["split"] == "train"]
    np.testing.assert_allclose(logged[:2], w @ x / w.sum(), rtol=1e-5)
    assert whole.evaluate()["test"]["x"] == pytest.approx(w @ x / w.sum(), rel=1e-5)
    jaxgen.fit(game(steps=6), workdir=tmp_path, **options)
    assert jaxgen.fit(game(), workdir=tmp_path, **options).digest() == whole.digest()


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("sizes", [[12], [1, 11], [3, 4, 5], [1] * 12, [6, 0, 6]])
def test_weighted_moments_of_parts_are_those_of_the_whole(sizes: list[int], offset: float) -> None:
    values, weights = (offset + RNG.normal(size=12)).astype(np.float32), RNG.integers(0, 4, 12).astype(np.float32)
    total = None
    for v, w in zip(*(np.split(a, np.cumsum(sizes)[:-1]) for a in (values, weights)), strict=True):
        padded = Weighted(jnp.append(v, jnp.nan), jnp.append(w, 100.0))
        own = jax.tree.map(np.float64, moments(padded, jnp.append(jnp.ones(len(v)), 0)))
        total = own if total is None else together(total, own)
    v, w = values.astype(np.float64), weights.astype(np.float64)
    ratio = w @ v / w.sum()
    np.testing.assert_allclose(total.mean, ratio, rtol=1e-6)
    exact = np.sqrt(12 / 11 * (w**2 @ (v - ratio) ** 2)) / w.sum()
    np.testing.assert_allclose(total.stderr, exact, rtol=1e-4 if offset == 0 else 0.01)


def test_equal_weights_have_the_error_of_a_mean() -> None:
    values = jnp.asarray(RNG.normal(size=30), jnp.float32)
    weighted, plain = moments(Weighted(values, jnp.full(30, 3.0))), moments(values)
    assert weighted.mean == pytest.approx(float(plain.mean), abs=1e-6)
    assert weighted.stderr == pytest.approx(plain.stderr, rel=1e-5)


def test_the_error_of_a_ratio_is_its_spread_over_splits() -> None:
    rng, found = np.random.default_rng(1), []
    of = jax.jit(moments)
    for _ in range(600):
        w = rng.poisson(3, 150).astype(np.float32)
        v = rng.normal(1 + 0.5 * w, 1).astype(np.float32)  # the value depends on the weight
        one = jax.device_get(of(Weighted(jnp.asarray(v), jnp.asarray(w))))
        found.append((float(one.mean), one.stderr))
    means, errors = np.array(found).T
    assert errors.mean() == pytest.approx(means.std(), rel=0.1)
    # The error of the mean of the values, as if the weights were alike, is another number.
    assert np.sqrt(1 + 0.25 * 3) / np.sqrt(150) < 0.9 * errors.mean()


@pytest.mark.parametrize("size", [1, 13, 64])
def test_an_evaluation_does_not_depend_on_the_size_of_its_batches(size: int) -> None:
    def measure(state, batch, key):
        known = (batch["x"], batch["w"])
        return {
            "ratio": Weighted(*known),
            "none": Weighted(batch["x"], 0 * batch["w"]),
            "whole": Weighted(*(a.sum() for a in known)),
        }

    state = jaxgen.create_state(jax.random.key(1), {"p": jnp.zeros(())}, {}, {})
    found = jaxgen.mean_over(SOURCE, measure, batch_size=size)(state, jax.random.key(0), lambda it, **_: it)
    assert set(found) == {"ratio", "ratio_stderr", "whole"}
    x, w = (SOURCE.gather(np.arange(64))[name].astype(np.float64) for name in ("x", "w"))
    ratio = w @ x / w.sum()
    assert found["ratio"] == pytest.approx(ratio, rel=1e-5)
    assert found["ratio_stderr"] == pytest.approx(np.sqrt(64 / 63 * (w**2 @ (x - ratio) ** 2)) / w.sum(), rel=1e-4)


def test_what_has_no_meaning_is_refused() -> None:
    of = Weighted(jnp.ones(3), jnp.ones(3))
    with pytest.raises(TypeError, match="unsupported"):
        2 * of
    with pytest.raises(ValueError, match="one value and one weight an example"):
        reduce(Weighted(jnp.ones(3), jnp.ones(2)))
    with pytest.raises(jaxgen.UserError, match="weights of the same shape"):
        weighted_mean(jnp.ones((3, 2)), jnp.ones(3))
    with pytest.raises(jaxgen.UserError, match="a penalty is a scalar"):
        penalised(of, jnp.ones(3))
    with pytest.raises(TypeError, match="no mean in common"):
        together(moments(of), moments(jnp.ones(3)))
    joint = objectives.simultaneous({"a": lambda *args, **options: (of, Aux())})
    params = {"game": {"a": jnp.ones(())}}
    with pytest.raises(ValueError, match="'a' returned some"):
        joint(params, jaxgen.create_state(jax.random.key(0), params, {}, {}), {}, jax.random.key(0), train=True)
    assert reduction.moments(Weighted(jnp.ones(()), jnp.ones(()))).stderr is None
