"""What `experiments.consistency` is wired to, held against Geng et al. 2024 and the authors' code (github.com/locuslab/ect:
training/loss.py, training/ct_training_loop.py, ct_train.py, run_ecm.sh).

An affine network stands in for the EDM; with the answer 0 its denoiser is that of Gaussian data."""

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

import experiments.consistency as module
import jaxgen
from jaxgen import data, diffusion, keys
from jaxgen.errors import UserError
from jaxgen.network import FrozenNetwork
from jaxgen.types import Batch

NAME, KEY = "consistency", jax.random.key(3)
EDM = diffusion.Trained(diffusion.time_is_sigma(), diffusion.edm(0.5), (-1.0, 1.0))


def teacher(role: Any = EDM, side: int = 8) -> FrozenNetwork:
    """An EDM that answers 0, as a frozen part."""
    params = jax.tree.map(np.asarray, state_of().params["model"])
    whence = ("0" * 64, "runs/edm", Path("runs/edm"), "model", "last", 1, Path("runs/edm"))
    inputs = (jnp.zeros((1, side, side, 1)), jnp.zeros(1))
    return FrozenNetwork(Affine((4, 8), 0, ()), params, {}, *whence, role, inputs)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda model: teacher())


def state(of_teacher: dict[str, float] | None = None, **numbers: float) -> jaxgen.TrainState:
    own = state_of(**numbers)
    return own._replace(params={**own.params, "teacher": state_of(**(of_teacher or {})).params["model"]})


def test_the_defaults_are_the_authors_where_they_do_not_depend_on_the_images() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    facts: dict[str, Any] = {"log_mean": -1.1, "log_std": 2.0, "shrink": 2.0, "widen": 8.0, "slope": 1.0, "huber": 0.0}
    facts |= {"noises": (80.0, 0.821), "dropout": 0.2}
    assert {name: written[name] for name in facts} == facts
    assert written["steps"] == 8 * written["stage_steps"], "eight stages, as 200,000 steps by 25,000"


def test_the_loss_gets_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    whole = module.objectives.consistency

    def consistency(network: Any, times: Any, meaning: Any, earlier: Any, *, c: float) -> Any:
        seen.update(network=network, times=times, meaning=meaning, earlier=earlier, c=c)
        return whole(network, times, meaning, earlier, c=c)

    monkeypatch.setattr(module.objectives, "consistency", consistency)
    make(NAME, log_mean=0.5, log_std=0.1, stage_steps=3, shrink=4.0, widen=2.0, slope=0.5, huber=0.2, dropout=0.3)
    assert seen["c"] == 0.2
    assert seen["network"].dropout == 0.3
    assert seen["meaning"] is EDM.parameterisation
    t = seen["times"].draw(KEY, 4000)
    assert np.log(t).mean() == pytest.approx(0.5, abs=0.01)
    assert np.log(t).std() == pytest.approx(0.1, abs=0.01)
    assert float(seen["times"].level(jnp.float32(3.0)).sigma) == 3.0
    for step, power in ((2, 1), (3, 2)):
        expected = 5 * (1 - (1 + 2 / (1 + np.exp(0.5 * 5))) / 4**power)
        assert float(seen["earlier"](jnp.float32(5.0), jnp.int32(step))) == pytest.approx(expected, rel=1e-5)


def test_training_begins_with_the_teacher_and_leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = jax.tree.map(np.asarray, state_of(constant=0.3, of_x=-0.2).params["model"])
    monkeypatch.setattr(jaxgen, "frozen", lambda model: teacher()._replace(params=trained))
    experiment = make(NAME)
    params, _ = experiment.initial(KEY)
    assert float(params["model"]["constant"]) == pytest.approx(0.3)
    assert params.keys() == {"model", "teacher"}
    assert jax.tree.all(jax.tree.map(np.array_equal, params["model"], params["teacher"]))
    assert list(experiment.players) == ["model"]
    assert experiment.players["model"].owns == ()
    assert experiment.frozen["teacher"].given == "runs/edm"


@pytest.mark.parametrize("noises", [(80.0,), (20.0, 0.5), (80.0, 3.0, 0.5)])
def test_samples_are_evaluated_at_the_noises_alone(noises: tuple[float, ...]) -> None:
    """Each denoises to 0.25 / (0.25 + s^2) of its state, and the next begins from that with new noise."""
    experiment = make(NAME, noises=noises)
    variance = noises[0] ** 2
    for s, after in zip(noises, (*noises[1:], 0.0), strict=True):
        variance = variance * (0.25 / (0.25 + s**2)) ** 2 + after**2
    x = np.asarray(experiment.sample(state(), KEY, jaxgen.given(3000)), np.float64) * 2 - 1
    normal = np.random.default_rng(0).normal(size=200_000)
    assert x.std() == pytest.approx(np.clip(np.sqrt(variance) * normal, -1, 1).std(), rel=0.01)


def test_samples_are_of_the_tuned_network() -> None:
    experiment = make(NAME, noises=(80.0,))
    own, others = (experiment.sample(s, KEY, jaxgen.given(2)) for s in (state(constant=0.5), state({"constant": 0.5})))
    x = np.asarray(own, np.float64) * 2 - 1
    assert x.mean() == pytest.approx(0.25, abs=0.01), "c_out is 0.5 at the largest noise"
    assert np.abs(np.asarray(others) * 2 - 1).mean() < 0.05


def test_one_evaluation_is_compared_with_the_flow_of_the_teacher(measured: list[Measured]) -> None:
    make(NAME)
    batch: Batch = {"image": jnp.zeros((100, 2, 2, 1)), "slot": jnp.arange(100, dtype=jnp.int32)}
    final = measured[-1].measure
    found = {name: float(v.mean()) for name, v in final(state(constant=0.5), batch, KEY).items()}
    z = keys.draw(jax.random.normal, keys.per_example(KEY, batch), (100, 2, 2, 1))
    z = np.asarray(z, np.float64)
    end = 0.5 * 1.05527 * z  # of Heun's 18 steps, whose error on a Gaussian is known
    once = 80 * z * 0.25 / (0.25 + 6400)
    assert found["untuned_mse"] == pytest.approx(((once - end) ** 2).mean(), rel=2e-3)
    assert found["one_step_mse"] == pytest.approx(((once + 0.25 - end) ** 2).mean(), rel=2e-3)
    moved = final(state({"constant": 0.5}), batch, KEY)
    assert float(moved["untuned_mse"].mean()) != pytest.approx(found["untuned_mse"], rel=0.01)


def test_the_test_split_is_measured_and_nothing_is_called_best(measured: list[Measured]) -> None:
    experiment = make(NAME)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    assert experiment.best is None
    assert experiment.sampling == ("noises",)
    for _, _, transform in measured:
        found = transform({"image": jnp.asarray([[[0], [51], [255]]], jnp.uint8), "index": 3}, KEY)["image"].ravel()
        np.testing.assert_allclose(found, [-1.0, -0.6, 1.0], atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make(NAME, flip=flip)
    batch: Batch = {
        "image": jnp.tile(jnp.asarray([[[0], [51], [255]]], jnp.uint8), (400, 1, 1, 1)),
        "slot": jnp.arange(400),
        "index": jnp.arange(400),
    }
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, [1.0, -0.6, -1.0], atol=1e-6).all(1)
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)


def test_the_picture_shows_one_noise_a_column() -> None:
    """The teacher's flow above, the tuned network below it: with one noise to evaluate at, the last two rows are the same."""
    experiment = make(NAME, noises=(80.0,))
    picture = experiment.pictures["compared"](state(constant=0.5), KEY)
    rows = np.asarray(picture.images).reshape(3, 16, -1)
    assert picture.columns == 16
    np.testing.assert_array_equal(rows[1], rows[2])
    slope = np.polyfit(rows[1].ravel(), rows[0].ravel(), 1)[0]
    assert slope > 10, "the flow's ends are far apart where the mean hardly moves"


def test_samples_in_the_picture_begin_at_the_noise_that_is_asked_for() -> None:
    """One evaluation at 3 of noise of that size: its deviation is 3 * 0.25 / (0.25 + 9), and so is that of samples."""
    experiment = make(NAME, noises=(3.0,))
    rows = np.asarray(experiment.pictures["compared"](state(), KEY).images).reshape(3, 16, -1) * 2 - 1
    assert rows[2].std() == pytest.approx(3 * 0.25 / 9.25, rel=0.1)
    assert rows[1].std() == pytest.approx(80 * 0.25 / 6400.25, rel=0.1), "the other is at the most noise whatever is asked for"
    samples = np.asarray(experiment.sample(state(), KEY, jaxgen.given(200))) * 2 - 1
    assert samples.std() == pytest.approx(3 * 0.25 / 9.25, rel=0.1)


def test_the_network_can_be_used_by_others() -> None:
    experiment = make(NAME)
    assert experiment.networks["model"].role is EDM or experiment.networks["model"].role == EDM
    assert experiment.networks["model"].inputs[0].shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    ("role", "side", "told"),
    [
        (None, 8, "--model runs/edm is no denoiser of noise of any size; give a run of experiments.edm"),
        (diffusion.Trained(diffusion.linear(6), diffusion.EPSILON, (-1.0, 1.0)), 8, "is no denoiser of noise of any size"),
        (EDM._replace(schedule=diffusion.linear_path()), 8, "is no denoiser of noise of any size"),
        (EDM._replace(conditions=("label",)), 8, "was trained with a condition \\(label\\)"),
        (EDM, 7, "The images of --dataset are 8x8x1, and those of --model 7x7x1; give the set"),
    ],
    ids=["none", "chain", "path", "condition", "size"],
)
def test_another_network_is_refused(role: Any, side: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda model: teacher(role, side))
    with pytest.raises(UserError, match=told):
        make(NAME)


@pytest.mark.parametrize("noises", [(0.5, 80.0), (80.0, 80.0)])
def test_noises_that_do_not_descend_are_refused(noises: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"do not descend; give the largest first\.$"):
        make(NAME, noises=noises)


def test_the_optimizer_is_rectified_adam() -> None:
    """As torch.optim.RAdam, in numpy: without second moments until their estimate is known well enough, in the sixth step."""
    tx = make(NAME, learning_rate=0.1).players["model"].tx
    rng, p = np.random.default_rng(0), np.zeros(5)
    state, first, second, longest = tx.init(jnp.zeros(5)), np.zeros(5), np.zeros(5), 2 / 0.001 - 1
    for t in range(1, 12):
        g = rng.normal(size=5)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        expected = -0.1 * first / (1 - 0.9**t)
        if length > 5:
            known = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            expected = expected * np.sqrt(known * (1 - 0.999**t) / second)
        found, state = tx.update(jnp.asarray(g, jnp.float32), state, jnp.asarray(p, jnp.float32))
        np.testing.assert_allclose(found, expected, rtol=0.02)  # the lengths are rounded to single precision


def test_parameters_are_averaged_and_micro_batches_counted() -> None:
    experiment = make(NAME, ema=0.9, accumulate=2)
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    assert data.load("digits", "train").length == experiment.splits["train"].length
