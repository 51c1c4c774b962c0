"""What `experiments.ladder_vae` is wired to, held against Sønderby et al. 2016 and their code."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_advised, assert_splits, defaults, moves, shapes, state_of, told

import experiments.ladder_vae
import jaxgen
from jaxgen.models import vae
from jaxgen.types import Batch

SMALL: dict[str, Any] = {"latent_sizes": (3, 2), "hidden_sizes": (5, 4)}


def test_the_defaults_are_the_codes_but_for_the_sizes() -> None:
    facts: dict[str, Any] = {"inference": "ladder", "binarization": "dynamic", "batch_norm": True, "by_mean": True}
    facts |= {"share": False, "free_bits": 0.0, "balanced": False, "warmup": 2000, "steps": 6000, "latent_sizes": (16, 8, 4)}
    written = defaults(experiments.ladder_vae.experiment)
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_pixels_are_binary_in_training_and_evaluation(binarization: Any, measured: list) -> None:
    experiment = make("ladder_vae", binarization=binarization)
    grey = jnp.full((16, 16, 1), 51, jnp.uint8)
    batch: Batch = {"image": grey[None], "slot": jnp.arange(1), "index": jnp.arange(3, 4)}
    drawn = [[experiment.train.transform(batch, jax.random.key(i))["image"][0] for i in range(2)]]
    drawn += [[one.transform({"image": grey, "index": 3}, jax.random.key(i))["image"] for i in range(2)] for one in measured]
    assert len(drawn) == 3
    for once, again in drawn:
        assert set(np.unique(once)) == {0.0, 1.0}
        assert np.array_equal(once, again) == (binarization == "static")
    for one in measured:
        assert_splits(experiment, one, "image")


@pytest.mark.parametrize("analytic_kl", [True, False])
@pytest.mark.parametrize("step", [0, 30, 500])
def test_the_weight_of_the_kls_rises_from_nothing_to_one(step: int, analytic_kl: bool) -> None:
    experiment = make("ladder_vae", warmup=100, batch_norm=False, analytic_kl=analytic_kl, **SMALL)
    # Of the posterior of z_2 the mean is 0.7, and its deviation 1; nothing else is told from the images.
    raw = math.log(math.e ** (1 - 1e-5) - 1)
    state: Any = state_of(experiment, {"model/up_1/Dense_0/bias": 0.7, "model/up_1/Dense_1/bias": raw}, step=step)
    values, metrics = told(experiment, "model", state, {"image": jnp.ones((400, 8, 8, 1))})
    assert metrics["kl_2"].mean() == pytest.approx(2 * 0.5 * 0.7**2, abs=1e-3 if analytic_kl else 0.2)
    assert (metrics["kl_2"].std() < 1e-4) == analytic_kl, "a KL by samples is another number for each example"
    beta = min(1.0, step / 100)
    np.testing.assert_allclose(values, beta * metrics["kl"] + 64 * math.log(2), rtol=1e-5)
    np.testing.assert_allclose(metrics["log_likelihood"], -64 * math.log(2), rtol=1e-5)
    assert float(experiment.schedules["beta"](step)) == pytest.approx(beta)


def test_no_warm_up_has_the_whole_weight_from_the_start() -> None:
    assert float(make("ladder_vae", warmup=0, **SMALL).schedules["beta"](0)) == 1.0


def test_the_flags_of_the_inference_reach_it() -> None:
    modules = {
        name: make("ladder_vae", **{**SMALL, **flags}).networks["model"].module
        for name, flags in {"own": {}, "shared": {"share": True, "by_mean": False}, "chain": {"inference": "bottom-up"}}.items()
    }
    assert [type(modules[name]) for name in modules] == [vae.LadderVAE, vae.LadderVAE, vae.MarkovVAE]
    assert [(len(modules[name].merging), modules[name].by_mean) for name in ("own", "shared")] == [(1, True), (0, False)]


def test_the_sizes_of_the_layers() -> None:
    found = shapes(make("ladder_vae", batch_norm=False, **SMALL))
    kernels = {path.removeprefix("model/"): shape for path, shape in found.items() if path.endswith("kernel")}
    wanted = {}
    for name, (n, width, units) in {"up_0": (64, 5, 3), "up_1": (3, 4, 2), "down_0": (2, 4, 3), "merging_0": (2, 4, 3)}.items():
        wanted |= {f"{name}/mlp/Dense_0/kernel": (n, width), f"{name}/mlp/Dense_1/kernel": (width, width)}
        wanted |= {f"{name}/Dense_{i}/kernel": (width, units) for i in range(2)}
    wanted |= {"decoder/mlp/Dense_0/kernel": (3, 5), "decoder/mlp/Dense_1/kernel": (5, 5), "decoder/Dense_0/kernel": (5, 64)}
    assert kernels == wanted
    normalised = shapes(make("ladder_vae", **SMALL))
    assert sum(path.endswith("/scale") for path in normalised) == 4 * 4 + 2


@pytest.mark.parametrize(("flags", "keyword"), [({"free_bits": 0.5}, "free_bits"), ({"balanced": True}, "sizes")])
def test_the_flags_of_the_loss_reach_it(flags: Any, keyword: str, monkeypatch: Any) -> None:
    asked: list[dict[str, Any]] = []
    whole = experiments.ladder_vae.objectives.hierarchical_elbo

    def spied(model: Any, **options: Any) -> Any:
        asked.append(options)
        return whole(model, **options)

    monkeypatch.setattr(experiments.ladder_vae.objectives, "hierarchical_elbo", spied)
    make("ladder_vae", **SMALL, **flags)
    assert asked[0][keyword] == {"free_bits": 0.5, "sizes": (1.0, 1.0)}[keyword]
    make("ladder_vae", **SMALL)
    assert asked[1]["free_bits"] == 0.0
    assert asked[1]["sizes"] is None


def test_the_optimizer_cuts_gradients_as_the_code_does() -> None:
    tx = make("ladder_vae", learning_rate=1.0, **SMALL).players["model"].tx
    # The first gradient has the norm 100, is scaled to 4 and cut to 0.9. Then Adam with epsilon 1e-4.
    first, second = moves(tx, [100.0, 0.5])
    assert first == pytest.approx(-0.9 / (0.9 + 1e-4), rel=1e-4)
    m, v = (0.1 * 0.9 * 0.9 + 0.1 * 0.5) / (1 - 0.81), (0.999 * 0.001 * 0.81 + 0.001 * 0.25) / (1 - 0.999**2)
    assert second == pytest.approx(-m / (math.sqrt(v) + 1e-4), rel=1e-3)
    many = {"kernel": jnp.full((100, 1), 0.8)}
    update, _ = tx.update(many, tx.init(many), many)
    # The norm 8 is scaled to 4, so that each number becomes 0.4.
    assert float(update["kernel"][0, 0]) == pytest.approx(-0.4 / (0.4 + 1e-4), rel=1e-5)


def test_active_units_are_counted_over_the_test_set(counted: list) -> None:
    experiment = make("ladder_vae", batch_norm=False, **SMALL)
    raw = math.log(math.e ** (1 - 1e-5) - 1)
    # KL of m^2 / 2: one unit above 0.01 nats and one below.
    values = {"model/up_1/Dense_0/bias": np.array([0.2, 0.1]), "model/up_1/Dense_1/bias": raw}
    found = experiment.evaluators["test"](state_of(experiment, values), jax.random.key(0), lambda it, **_: it)
    assert found["active_2"] == 1
    assert counted == [experiment.splits["test"]]
    assert found["negative_elbo"] == -found["elbo"]
    assert experiment.best == "test/negative_elbo"
    assert_advised(experiment, *(f"test/active_{i + 1}" for i in range(len(SMALL["latent_sizes"]))))
    assert {(alarm.below, alarm.share, alarm.after) for alarm in experiment.alarms} == {(1, 0, 1000)}
    assert {alarm.value.removeprefix("test/") for alarm in experiment.alarms} < found.keys()


def test_the_figure_has_as_many_importance_samples_as_it_says(measured: list, monkeypatch: Any) -> None:
    asked: list[dict[str, Any]] = []
    whole = experiments.ladder_vae.objectives.hierarchical_nll
    monkeypatch.setattr(
        experiments.ladder_vae.objectives, "hierarchical_nll", lambda model, **o: asked.append(o) or whole(model, **o)
    )
    experiment = make("ladder_vae", nll_samples=6, **SMALL)
    found = measured[1].measure(state_of(experiment, {}), {"image": jnp.zeros((2, 8, 8, 1))}, jax.random.key(0))
    assert asked == [{"samples": 6}]
    assert (np.asarray(found["nll"]) > 0).all()


def test_the_picture_of_the_layers_keeps_the_upper_ones() -> None:
    experiment = make("ladder_vae", **SMALL)
    state = state_of(experiment, {})
    images = np.asarray(experiment.pictures["layers"](state, jax.random.key(0)).images)
    assert images.shape == (2 * 2 * 16, 8, 8, 1)
    # With all layers kept, a row is one image.
    np.testing.assert_array_equal(images[32:48], np.broadcast_to(images[32], (16, 8, 8, 1)))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"latent_sizes": (3,), "hidden_sizes": (5, 4)}, "--latent-sizes has 1 layers and --hidden-sizes 2"),
        ({"inference": "bottom-up", "share": True}, "they go with --inference ladder"),
        ({"inference": "bottom-up", "by_mean": False}, "they go with --inference ladder"),
    ],
)
def test_flags_that_contradict(flags: Any, sentence: str) -> None:
    with pytest.raises(jaxgen.UserError, match=sentence):
        make("ladder_vae", **flags)
