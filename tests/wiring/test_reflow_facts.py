"""What `experiments.reflow` is wired to, held against Liu et al. 2023 (algorithm 1) and the authors' code
(github.com/gnobitab/RectifiedFlow: run_lib_reflow.py, losses.py).

Affine networks stand in for both U-Nets: where the velocity is b x, n of Euler's steps multiply by (1 - b / n)^n."""

import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Affine, state_of
from wiring.conftest import Measured

import experiments.reflow as module
import jaxgen
from jaxgen import diffusion, keys
from jaxgen.errors import UserError
from jaxgen.network import FrozenNetwork
from jaxgen.types import Batch

NAME, KEY = "reflow", jax.random.key(3)
FLOW = diffusion.Trained(diffusion.linear_path(), diffusion.VELOCITY, (-1.0, 1.0))


def parent(role: Any = FLOW, side: int = 8, **numbers: float) -> FrozenNetwork:
    """A flow as a frozen part."""
    params = jax.tree.map(np.asarray, state_of(**numbers).params["model"])
    whence = ("0" * 64, "runs/flow", Path("runs/flow"), "model", "last", 1, Path("runs/flow"))
    inputs = (jnp.zeros((1, side, side, 1)), jnp.zeros(1))
    return FrozenNetwork(Affine((4, 8), 0, (), dropout=0.1), params, {}, *whence, role, inputs)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda flow: parent())


def state(of_flow: dict[str, float] | None = None, **numbers: float) -> jaxgen.TrainState:
    own = state_of(**numbers)
    return own._replace(params={**own.params, "flow": state_of(**(of_flow or {})).params["model"]})


def batch_of(n: int, side: int = 2) -> Batch:
    return {"image": jnp.zeros((n, side, side, 1)), "slot": jnp.arange(n, dtype=jnp.int32)}


def euler(b: float, steps: int) -> float:
    """The factor from noise to data."""
    return (1 - b / steps) ** steps


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    facts: dict[str, Any] = {"flow": "runs/flow_matching", "pair_steps": 20, "distil": 0, "sampler": "euler", "dropout": 0.0}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.slow
@pytest.mark.parametrize(("pair_steps", "distil"), [(20, 0), (3, 0), (3, 1), (2, 4)])
def test_the_loss_is_on_lines_between_the_ends_of_the_frozen_flow(pair_steps: int, distil: int) -> None:
    """Where the flow's velocity is 0.8 x, x = (1 - 0.8 / n)^n z, and the target (1 - that) z."""
    experiment = make(NAME, pair_steps=pair_steps, distil=distil, sampling_steps=None)
    loss, batch = experiment.players["model"].loss, batch_of(300)
    at = state({"of_x": 0.8}, constant=0.1, of_x=0.3, of_time=-0.2)
    values, _ = loss(at.params, at, batch, KEY, train=True)
    own = keys.per_example(KEY, batch)
    z = np.asarray(keys.draw(jax.random.normal, keys.fold_in(own, keys.COUPLED), (300, 2, 2, 1)), np.float64)
    if distil:
        u = keys.draw(lambda key, shape: jax.random.randint(key, shape, 0, distil), keys.fold_in(own, 0), (300,))
        t = 1 - np.asarray(u, np.float64) / distil
    else:
        t = np.asarray(diffusion.linear_path().draw(keys.fold_in(own, 0), 300), np.float64)
    t = t.reshape(-1, 1, 1, 1)
    x = euler(0.8, pair_steps) * z
    answer = 0.1 + 0.3 * ((1 - t) * x + t * z) - 0.2 * t
    np.testing.assert_allclose(values, ((answer - (z - x)) ** 2).mean((1, 2, 3)), rtol=1e-3, atol=1e-5)


def test_training_begins_with_the_flow_and_leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda flow: parent(constant=0.3, of_x=-0.2))
    experiment = make(NAME, dropout=0.4)
    params, _ = experiment.initial(KEY)
    assert float(params["model"]["constant"]) == pytest.approx(0.3)
    assert params.keys() == {"model", "flow"}
    assert jax.tree.all(jax.tree.map(np.array_equal, params["model"], params["flow"]))
    assert list(experiment.players) == ["model"]
    assert experiment.players["model"].owns == ()
    assert experiment.frozen["flow"].given == "runs/flow"
    assert experiment.networks["model"].module.dropout == 0.4
    at = state({"of_x": 0.5})
    loss = lambda params: experiment.players["model"].loss(params, at, batch_of(8), KEY, train=True)[0].mean()
    slopes = jax.grad(loss)(at.params)
    assert all(float(slope) == 0 for slope in jax.tree.leaves(slopes["flow"]))
    assert any(float(slope) != 0 for slope in jax.tree.leaves(slopes["model"]))


@pytest.mark.parametrize(
    ("flags", "factor"),
    [
        ({"sampling_steps": None}, euler(0.8, 2)),
        ({"sampling_steps": 1}, euler(0.8, 1)),
        ({"sampling_steps": 5}, euler(0.8, 5)),
        ({"sampling_steps": 3, "sampler": "heun"}, (1 - 0.8 / 3 + (0.8 / 3) ** 2 / 2) ** 3),
        ({"sampling_steps": 3, "sampler": "ddim"}, euler(0.8, 3)),
        ({"sampling_steps": None, "distil": 4}, euler(0.8, 4)),
        ({"sampling_steps": 2, "distil": 4}, euler(0.8, 2)),
    ],
    ids=str,
)
def test_samples_are_the_solution_of_the_trained_flow(flags: dict[str, Any], factor: float) -> None:
    experiment = make(NAME, **flags)
    x = np.asarray(experiment.sample(state({"of_x": -1.0}, of_x=0.8), KEY, jaxgen.given(2000)), np.float64) * 2 - 1
    expected = np.clip(factor * np.random.default_rng(0).normal(size=200_000), -1, 1)
    assert x.std() == pytest.approx(expected.std(), rel=0.005)


@pytest.mark.parametrize(("distil", "few"), [(0, (1, 2, 4)), (1, (1,)), (2, (1, 2)), (6, (1, 2))])
def test_both_flows_are_measured_against_the_pairs_of_the_frozen_one(
    distil: int, few: tuple[int, ...], measured: list[Measured]
) -> None:
    experiment = make(NAME, pair_steps=10, distil=distil, sampling_steps=None)
    batch = batch_of(100)
    z = np.asarray(keys.draw(jax.random.normal, keys.per_example(KEY, batch), (100, 2, 2, 1)), np.float64)
    squared = (z**2).mean((1, 2, 3))
    found = measured[-1].measure(state({"of_x": 0.8}, of_x=0.3), batch, KEY)
    expected = {}
    for suffix, b in (("", 0.3), ("_before", 0.8)):
        expected |= {f"mse_{k}{suffix}": (euler(b, k) - euler(0.8, 10)) ** 2 * squared for k in few}
        if not distil:
            speeds = b * (1 - b / 20) ** np.arange(20)
            expected |= {f"straightness{suffix}": speeds.var() * squared, f"cost{suffix}": speeds.mean() ** 2 * squared}
    assert found.keys() == expected.keys() == experiment.protocol.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-6, err_msg=name)
    assert set(experiment.protocol.values()) == {("pair_steps",)}


def test_the_picture_shows_one_noise_a_column() -> None:
    experiment = make(NAME, pair_steps=3)
    picture = experiment.pictures["compared"](state({"of_x": 0.8}, of_x=0.9), KEY)
    rows = np.asarray(picture.images, np.float64).reshape(7, 16, -1) * 2 - 1
    assert picture.columns == 16
    inside = (np.abs(rows) < 0.999).all(0)
    assert inside.any()
    z = rows[1][inside] / euler(0.8, 1)
    for row, factor in zip(rows, [euler(0.8, 3), *(euler(b, k) for b in (0.8, 0.9) for k in (1, 2, 4))], strict=True):
        np.testing.assert_allclose(row[inside], factor * z, atol=1e-4)


def test_the_test_split_is_measured_and_nothing_is_called_best(measured: list[Measured]) -> None:
    experiment = make(NAME, ema=0.9, accumulate=2)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    assert experiment.best is None
    assert experiment.sampling == ("sampler", "sampling_steps")
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    assert experiment.networks["model"].role == FLOW
    assert experiment.networks["model"].inputs[0].shape == (1, 8, 8, 1)


def test_the_rate_rises_and_the_gradient_is_clipped() -> None:
    experiment = make(NAME, warmup=10, learning_rate=0.1, clip=1e-3)
    rate = experiment.schedules["learning_rate"]
    assert [float(rate(jnp.int32(step))) for step in (0, 5, 10, 100)] == pytest.approx([0.0, 0.05, 0.1, 0.1], abs=0.011)
    tx = make(NAME, clip=1.0).players["model"].tx
    params = {"a": jnp.zeros(2)}
    moments = tx.update({"a": jnp.array([30.0, 40.0])}, tx.init(params), params)[1]
    first = next(leaf for leaf in jax.tree.leaves(moments) if leaf.shape == (2,))
    np.testing.assert_allclose(first, [0.06, 0.08], rtol=1e-5)


EDM = diffusion.Trained(diffusion.time_is_sigma(), diffusion.edm(0.5), (-1.0, 1.0))


@pytest.mark.parametrize(
    ("role", "side", "told"),
    [
        (None, 8, "--flow runs/flow is no flow along straight paths; give a run of experiments.flow_matching"),
        (diffusion.Trained(diffusion.linear(6), diffusion.EPSILON, (-1.0, 1.0)), 8, "is no flow along straight paths"),
        (EDM, 8, "is no flow along straight paths"),
        (FLOW._replace(parameterisation=diffusion.EPSILON), 8, "is no flow along straight paths"),
        (FLOW._replace(conditions=("label",)), 8, "--flow runs/flow was trained with a condition \\(label\\)"),
        (FLOW, 7, "The images of --dataset are 8x8x1, and those of --flow 7x7x1; give the set"),
    ],
    ids=["none", "chain", "edm", "epsilon", "condition", "size"],
)
def test_another_network_is_refused(role: Any, side: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda flow: parent(role, side))
    with pytest.raises(UserError, match=told):
        make(NAME)


@pytest.mark.parametrize(
    "flags", [{"distil": 1, "sampling_steps": 2}, {"distil": 2, "sampler": "heun", "sampling_steps": 2}], ids=str
)
def test_a_distilled_flow_is_sampled_where_it_was_trained(flags: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"--distil {flags['distil']} learns the velocity where .* that divide"):
        make(NAME, **flags)
