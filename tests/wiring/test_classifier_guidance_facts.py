"""What `experiments.classifier_guidance` is wired to, held against Dhariwal & Nichol 2021 and the authors' code
(github.com/openai/guided-diffusion: scripts/classifier_train.py, classifier_sample.py, gaussian_diffusion.py).

A classifier whose logits are written out by hand stands in for the network."""

import inspect
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import a_run, make
from wiring.conftest import Measured

import experiments.classifier_guidance as module
import jaxgen
from jaxgen import data, diffusion
from jaxgen.diffusion import Prediction
from jaxgen.models.diffusion import NoisyClassifier
from jaxgen.nn import AdaptiveGroupNorm
from jaxgen.runs import run
from jaxgen.types import Batch

NAME, KEY = "classifier_guidance", jax.random.key(3)
CHAIN = diffusion.linear(6)
"""The chain of the tiny run that is guided."""


class ByHand(NoisyClassifier):
    """The logits `w k mean(x) + v k time` of the class k, with a weight for training alone: of known gradient."""

    @nn.compact
    def __call__(self, x: Any, time: Any, *, train: bool = False) -> Any:
        w, v, t = (self.param(name, nn.initializers.zeros_init(), ()) for name in ("of_x", "of_time", "in_training"))
        told = w * x.mean((1, 2, 3)) + v * time + (t if train else 0.0)
        return told[:, None] * jnp.arange(self.classes)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.presets, "noisy_classifier", lambda *of, classes, **flags: ByHand(classes=classes))


def state_of(experiment: jaxgen.Experiment, of_x: float = 0.0, of_time: float = 0.0, in_training: float = 0.0) -> Any:
    state = run.begin(experiment, 0)
    own = {"of_x": of_x, "of_time": of_time, "in_training": in_training}
    return state._replace(params={**state.params, "model": jax.tree.map(jnp.float32, own)})


def a_batch(experiment: jaxgen.Experiment, n: int = 8) -> Any:
    rows = data.examples(experiment.splits["test"], n, data.scale(-1.0, 1.0))
    return {**jax.tree.map(jnp.asarray, rows), "slot": jnp.arange(n)}


def test_the_defaults_are_the_authors() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    facts: dict[str, Any] = {"learning_rate": 3e-4, "decay": 0.05, "attention": (32, 16, 8), "dropout": 0.0}
    assert {name: written[name] for name in facts} == facts


def test_the_network_is_the_authors_and_gets_its_flags() -> None:
    made = make(NAME, channels=(8, 12), blocks=2, attention=(4,), dropout=0.3, remat=True, bf16=True)
    one: Any = made.networks["model"].module
    assert isinstance(one, NoisyClassifier)
    assert (one.channels, one.blocks, one.attention, one.attention_levels) == ((8, 12), 2, (4,), None)
    assert (one.dropout, one.remat, one.dtype, one.classes) == (0.3, True, jnp.bfloat16, 10)
    assert (one.norm, one.head_width, one.width) == (AdaptiveGroupNorm, 64, 8)


@pytest.mark.usefixtures("by_hand")
def test_the_classifier_learns_on_the_chain_of_the_run_that_it_guides() -> None:
    """Times from 1 to 6 and no others: a classifier of the times alone is surer of the label, in proportion to them."""
    experiment = make(NAME)
    state, batch = state_of(experiment, of_time=1.0), a_batch(experiment, 300)
    found, aux = experiment.players["model"].loss(state.params, state, batch, KEY, train=False)
    by_time = np.array([-jax.nn.log_softmax(jnp.arange(10.0) * t) for t in range(1, 7)])
    told = np.abs(np.asarray(found)[:, None] - by_time[:, np.asarray(batch["label"])].T)
    np.testing.assert_allclose(told.min(1), 0, atol=1e-4)
    one = np.asarray(batch["label"]) == 0
    assert set(told[one].argmin(1).tolist()) == set(range(6))
    np.testing.assert_array_equal(aux.metrics["error"], np.asarray(batch["label"]) != 9)


def seen(monkeypatch: pytest.MonkeyPatch, **flags: Any) -> tuple[Any, Any, list[Any]]:
    """The denoiser that is sampled with, `denoise(state, batch)`; the experiment; and what `of_sampler` was called with."""
    made: list[Any] = []
    of_sampler = module.diffusion_model.of_sampler
    with monkeypatch.context() as patch:
        patch.setattr(module.diffusion_model, "of_sampler", lambda *of, **how: made.append((of, how)) or of_sampler(*of, **how))
        experiment = make(NAME, **flags)
    of, how = made[-1]  # those before it are the frozen run's
    return of[0], experiment, [*of[1:], how]


@pytest.mark.slow
@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_the_clipped_prediction_of_the_frozen_run_is_shifted(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """`condition_score`: the image is clipped, the noise shifted by sigma s grad, and the guided image not clipped again."""
    denoise, experiment, _ = seen(monkeypatch, guidance=scale)
    state = state_of(experiment, of_x=30.0, of_time=0.1, in_training=99.0)
    level, label = CHAIN.level(jnp.array([1, 4, 6])), jnp.array([0, 5, 9])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
    found: Prediction = denoise(state, {"label": label})(x, level)
    part = experiment.frozen["diffusion"]
    out = part.module.apply({"params": jax.tree.map(jnp.asarray, part.params)}, x, level.time)
    alpha, sigma = (np.asarray(a).reshape(3, 1, 1, 1) for a in level[1:])
    clean = np.clip((x - sigma * out) / alpha, -1, 1)
    p = np.asarray(jax.nn.softmax((30 * x.mean((1, 2, 3)) + 0.1 * level.time)[:, None] * jnp.arange(10), axis=-1))
    gradient = (30 / 64 * (np.asarray(label) - (p * np.arange(10)).sum(1))).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(found.x0, clean + scale * sigma**2 / alpha * gradient, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.eps, (x - alpha * clean) / sigma - scale * sigma * gradient, rtol=1e-3, atol=1e-3)
    assert (np.abs(clean) == 1).any()
    assert (np.abs(np.asarray(found.x0)) > 1).any() == (scale > 0)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_samples_walk_the_chain_of_the_frozen_run(sampler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chains: list[Any] = []
    patched = {name: lambda chain, name=name, of=of: chains.append((name, chain)) or of(chain) for name, of in STOCK.items()}
    monkeypatch.setattr(module.samplers, "ON_CHAIN", patched)
    _, _, (_, start, shape, how) = seen(monkeypatch, sampling_steps=3, sampler=sampler)
    (name, chain) = chains[-1]
    assert (name, chain.time.tolist()) == (sampler, [0, 2, 4, 6])
    assert (float(start.sigma), shape, how["pixels"]) == (pytest.approx(CHAIN.sigma[6]), (8, 8, 1), (-1.0, 1.0))


STOCK = dict(module.samplers.ON_CHAIN)


@pytest.mark.usefixtures("by_hand")
def test_samples_are_of_each_class_in_turn_or_of_those_given_and_guidance_tells_them_apart() -> None:
    experiment = make(NAME, sampler="ddim", guidance=3.0)
    assert experiment.sample is not None
    assert experiment.given is not None
    state, other = state_of(experiment, of_x=10.0), experiment.given.given({"label": ["4"]})
    in_turn = np.asarray(experiment.sample(state, KEY, jaxgen.given(12, experiment.given)))
    fours = np.asarray(experiment.sample(state, KEY, jaxgen.given(12, other)))
    np.testing.assert_allclose(in_turn[4], fours[4], atol=1e-6)
    brightness = in_turn[:10].mean((1, 2, 3)) - fours[:10].mean((1, 2, 3))
    assert brightness[9] > 0.1
    assert brightness[0] < -0.1
    without = make(NAME, sampler="ddim", guidance=0.0)
    assert without.sample is not None
    np.testing.assert_array_equal(
        *(without.sample(state, KEY, jaxgen.given(4, conditions)) for conditions in (experiment.given, other))
    )


def test_the_frozen_network_is_no_players() -> None:
    experiment = make(NAME)
    state = run.begin(experiment, 0)
    assert set(experiment.players) == {"model"}
    assert set(state.params) == {"model", "diffusion"}


@pytest.mark.usefixtures("by_hand")
def test_errors_are_of_each_quarter_of_the_chain(measured: list[Measured]) -> None:
    """Six steps are cut into 1-2, 3-4, 5 and 6: a classifier of the time alone answers 9 below a time of 4.5 and 0 above."""

    class Halved(ByHand):
        @nn.compact
        def __call__(self, x: Any, time: Any, *, train: bool = False) -> Any:
            return jnp.where(time < 4.5, 1.0, -1.0)[:, None] * jnp.arange(self.classes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.presets, "noisy_classifier", lambda *of, classes, **flags: Halved(classes=classes))
        experiment = make(NAME)
    source, measure, transform = measured[-1]
    batch: Batch = {"image": jnp.zeros((4, 8, 8, 1)), "label": jnp.array([0, 9, 0, 9]), "slot": jnp.arange(4)}
    state = run.begin(experiment, 0)
    state = state._replace(params={**state.params, "model": {}})
    found = {name: np.asarray(error).tolist() for name, error in measure(state, batch, KEY).items()}
    below, above = [1, 0, 1, 0], [0, 1, 0, 1]
    assert found == {"error_q0": below, "error_q1": below, "error_q2": above, "error_q3": above}
    assert source is measured[-2].source is experiment.splits["test"]
    images = {"image": jnp.asarray([[[0, 255]]], jnp.uint8)}
    np.testing.assert_allclose(transform(images, KEY)["image"].ravel(), [-1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
def test_training_images_are_cropped_at_random_with_black_around_them(flip: bool) -> None:
    experiment = make(NAME, shift=1, flip=flip)
    assert "train" in experiment.train.names[0]
    image = np.zeros((8, 8, 1), np.uint8)
    image[3, 2] = 255
    batch = {"image": jnp.asarray(image)[None].repeat(600, 0), "slot": jnp.arange(600), "index": jnp.arange(600)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"])[..., 0]
    assert (np.sort(seen.reshape(600, -1), 1)[:, [0, -2, -1]] == [-1, -1, 1]).all()
    places = {tuple(int(i) for i in np.unravel_index(a.argmax(), (8, 8))) for a in seen}
    columns = (1, 2, 3, 4, 5, 6) if flip else (1, 2, 3)
    assert places == {(row, column) for row in (2, 3, 4) for column in columns}
    still = np.asarray(make(NAME, shift=0).train.transform(batch, KEY)["image"])
    np.testing.assert_allclose(still, 2.0 * (np.asarray(batch["image"]) / 255) - 1)


def test_the_rate_falls_to_zero_along_a_line() -> None:
    rate = make(NAME, steps=10).schedules["learning_rate"]
    np.testing.assert_allclose([rate(step) for step in (0, 5, 10)], [3e-4, 1.5e-4, 0.0], atol=1e-9)


def mine(image: tuple[int, ...], classes: tuple[str, ...] | None = None) -> Any:
    label = {} if classes is None else {"label": np.arange(12) % len(classes)}
    rows = {"image": np.zeros((12, *image), np.uint8), **label}
    one = data.from_arrays(rows, name="mine", **({} if classes is None else {"classes": classes}))
    return one, one


DIGITS = tuple(map(str, range(10)))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"model": "nowhere"}, r"nowhere holds no run .*; train that run first, or check the path"),
        ({"sampling_steps": 7}, r"--sampling-steps 7 are more than the 6 of --model .*; give as many or fewer"),
        (
            {"dataset": mine((9, 9, 1), DIGITS)},
            "images of --dataset are 9x9x1, and those of --model 8x8x1; give the set that it was trained on",
        ),
        (
            {"dataset": mine((8, 8, 1), ("a", "b"))},
            r"classes of --dataset \(2, from a to b\) are others than those in the data of --model \(10, from 0 to 9\); give",
        ),
        ({"dataset": mine((8, 8, 1))}, r"mine has no classes of a feature 'label'; take a set that has"),
    ],
)
def test_what_does_not_go_together(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(jaxgen.UserError, match=says):
        make(NAME, **flags)


@pytest.mark.parametrize("parent", ["autoencoder", "flow_matching"])
def test_a_run_that_is_no_diffusion_model_on_a_chain_is_refused(parent: str) -> None:
    with pytest.raises(jaxgen.UserError, match=r"is no diffusion model on a chain of steps; give a run of experiments\.ddpm"):
        make(NAME, model=a_run(parent))


@pytest.mark.slow
def test_a_run_with_labels_is_refused(tmp_path: Path) -> None:
    labelled = make("ddpm", labels=True, steps=1)._replace(evaluators={}, final={}, pictures={})
    jaxgen.fit(labelled, workdir=tmp_path / "run", quiet=True)
    with pytest.raises(jaxgen.UserError, match=r"was trained with a condition \(label\), .*experiments\.ddpm without --labels"):
        make(NAME, model=str(tmp_path / "run"))
