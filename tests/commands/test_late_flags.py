"""Flags that training does not depend on: given anew to a trained run, and refused where training depends on them."""

import atexit
import functools
import importlib
import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from contract import make, one_a_family
from PIL import Image
from test_experiments import NAMES

import jaxgen
from jaxgen import UserError, commands
from jaxgen.commands import arguments, runs
from jaxgen.commands.main import main
from jaxgen.errors import FewExamplesWarning
from jaxgen.flags import late
from jaxgen.runs.run import begin
from jaxgen.traces import programs
from jaxgen.training import program


def picture() -> Path:
    """The file of a picture."""
    folder = Path(tempfile.mkdtemp(prefix="jaxgen-example-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(folder / "example.png")
    return folder / "example.png"


OTHERS: dict[str, Any] = {
    "sampler": "ddim",
    "variance": "large",
    "sampling_steps": 3,
    "nll_samples": 2,
    "nll_steps": 5,
    "langevin_steps": 3,
    "step_size": 1e-4,
    "parzen_samples": 7,
    "svm_labels": 30,
    "svm_draws": 3,
    "mode_samples": 30,
    "samples": 3,
    "guidance": 3.0,
    "noises": (20.0, 0.5),
    "interval": (0.1, 2.0),
    "rescale": 0.5,
    "threshold": 0.9,
    "temperature": 0.5,
    "top_k": 2,
    "top_p": 0.5,
    "keep_rows": 0.5,
    "void": 3,
    "noise": False,
    "statistics": "running",
    "smallest": 0.01,
    "largest": 40.0,
    "rho": 5.0,
    "churn": 20.0,
    "churn_range": (0.1, 10.0),
    "churn_noise": 1.01,
    "shift": 3.0,
    "direction": "b_to_a",
    "classifier_steps": 3,
    "noise_samples": 3,
    "eta": 0.5,
    "largest_noise": 0.1,
    "predictor": "ancestral",
    "corrector_steps": 2,
    "snr": 0.3,
    "tolerance": 1e-2,
    "readjust": 2,
    "alpha": 0.5,
    "style": 1,
    "optimised_steps": 3,
    "psi": 0.5,
    "truncated": 1,
    "path_samples": 7,
    "lpips": Path("lpips.safetensors"),
    "segmenter_steps": 3,
    "example": picture(),
    "styles": 3,
}
"""By flag, a value that is neither the default nor that of tiny runs."""


def flags_of(name: str) -> dict[str, Any]:
    return late(importlib.import_module(f"experiments.{name}").experiment)


CASES = [(name, flag) for name in NAMES for flag in flags_of(name)]


def traced(made: jaxgen.Experiment) -> str:
    """A training step with its data, as a program, and the shapes of the state that it begins with."""
    step = program.with_data(jaxgen.make_train_step(made.players, ema=made.ema, accumulate=made.accumulate), made.train)
    state = jax.eval_shape(lambda: begin(made, 0))
    made_program = jax.make_jaxpr(step)(state, program.batch_spec(made.train))
    # A program's text leaves out its constants, such as a schedule's numbers.
    constants = [np.asarray(x).tobytes() for _, of in programs(made_program) for x in of]
    text = f"{made_program}{constants}{jax.tree.map(lambda x: x.shape, state)}"
    return re.sub(r"0x[0-9a-f]+", "", text)


@functools.cache
def with_defaults(name: str) -> str:
    """The same of an experiment at tiny size."""
    return traced(make(name, steps=4))


def test_flags_are_sampling_flags_in_the_help() -> None:
    assert {flag for _, flag in CASES} == set(OTHERS)
    for name, flag in CASES:
        assert arguments.groups_of(importlib.import_module(f"experiments.{name}").experiment)[flag] == "sampling"


@pytest.mark.parametrize("name", one_a_family(sorted({name for name, _ in CASES})))
def test_training_depends_on_none_of_them(name: str) -> None:
    """With all of an experiment's flags at once; with each alone, below."""
    together = {flag: OTHERS[flag] for flag in flags_of(name)}
    assert traced(make(name, steps=4, **together)) == with_defaults(name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flag"), CASES)
def test_training_does_not_depend_on_it(name: str, flag: str) -> None:
    assert traced(make(name, steps=4, **{flag: OTHERS[flag]})) == with_defaults(name)


@pytest.mark.parametrize(("name", "flags"), [("vae", {"beta": 2.0}), ("ddpm", {"schedule": "cosine"})])
def test_a_program_shows_a_flag_that_training_depends_on(name: str, flags: dict[str, Any]) -> None:
    assert traced(make(name, steps=4, **flags)) != with_defaults(name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ddpm"
    bare = make("ddpm", steps=2)._replace(evaluators={}, final={}, pictures={})
    jaxgen.fit(bare, workdir=folder, quiet=True)
    return folder


def test_samples_are_those_of_a_run_that_was_trained_with_the_flag(run: Path, tmp_path: Path) -> None:
    trained = make("ddpm", steps=2, sampler="ddim", sampling_steps=2)._replace(evaluators={}, final={}, pictures={})
    jaxgen.fit(trained, workdir=tmp_path / "other", quiet=True)
    expected = jaxgen.load(tmp_path / "other").sample(3)
    anew = jaxgen.load(run, anew={"sampler": "ddim", "sampling_steps": 2})
    np.testing.assert_array_equal(anew.sample(3), expected)
    assert np.abs(jaxgen.load(run).sample(3) - expected).max() > 1e-3
    assert anew.experiment.config.flags["sampler"] == "ddim"
    main(["sample", str(run), "--n", "3", "--sampler", "ddim", "--out", str(tmp_path / "s.npy"), "--sampling-steps=2"])
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), expected)


def test_several_values_are_a_curve(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, words = tmp_path / "curve.json", ["nll-samples=1", "nll-samples=4"]
    main(["evaluate", str(run), "--nll-samples", "1", "4", "--json", str(file), "--variance", "large"])
    settings = json.loads(file.read_text())["settings"]
    assert [one["anew"] for one in settings] == [{"nll_samples": n, "variance": "large"} for n in (1, 4)]
    for one in settings:
        recorded = dict(one["measurements"]["test/bits_per_dim"]["protocol"]["settings"])
        assert {name: recorded[name] for name in one["anew"]} == one["anew"]
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].split()[:3] == ["--nll-samples", "--variance", "test/bits_per_dim"]
    assert [line.split()[:2] for line in lines[1:]] == [["1", "large"], ["4", "large"]]
    several = runs.settings(commands.measuring.evaluate, run, None, ["variance=small", "variance=large", *words], several=True)
    assert several == [{"variance": kind, "nll_samples": n} for kind in ("small", "large") for n in (1, 4)]


def test_what_is_measured_on_samples_names_how_they_were_drawn(run: Path) -> None:
    warnings.simplefilter("ignore", FewExamplesWarning)
    found = jaxgen.load(run, anew={"sampling_steps": 2}).measure(["precision_recall"], n=40)
    settings = dict(next(iter(found.values())).protocol.settings)
    assert (settings["sampler"], settings["sampling_steps"], settings["variance"]) == ("ancestral", 2, "small")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["sample", "--channels", "8"],
            "--channels decides what .* was trained to, and stays as it is on record; only --sampler,",
        ),
        (["evaluate", "--sampling-step", "8"], "There is no --sampling-step of .*; perhaps you meant --sampling-steps"),
        (["sample", "--sed", "8"], "There is no --sed of .*; perhaps you meant --seed"),
        (["sample", "--sampling-steps", "2", "3"], "--sampling-steps has 2 values; give one, or measure them all by"),
        (["sample", "--sampling-steps"], "--sampling-steps has no value; give one or more behind it"),
        (["sample", "--sampling-steps", "0"], "--sampling-steps is 0; give 1 or more"),
        (["sample", "--sampling-steps", "7"], "--sampling-steps 7 are more than --timesteps 6"),
        (["sample", "--whatever"], "There is no --whatever of .*; those of sampling and measuring are --sampler, "),
    ],
)
def test_a_mistake_is_a_sentence(words: list[str], sentence: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, *flags = words
    with pytest.raises(SystemExit) as end:
        main([command, str(run), *flags])
    assert end.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_a_run_of_a_given_experiment_takes_no_flags(run: Path) -> None:
    with pytest.raises(UserError, match="brings its data and its flags with it"):
        jaxgen.load(run, experiment=make("ddpm", steps=2), anew={"sampling_steps": 2})


def test_the_settings_of_samples_are_all_that_move_them(run: Path) -> None:
    """And no others: a flag that moves nothing would keep values apart that compare."""
    state = jaxgen.load(run).state
    made = make("ddpm", steps=2)
    drawn = {None: made.sample(state, jax.random.key(0), jaxgen.given(2))}
    for flag in flags_of("ddpm"):
        drawn[flag] = make("ddpm", steps=2, **{flag: OTHERS[flag]}).sample(state, jax.random.key(0), jaxgen.given(2))
    moved = {flag for flag, images in drawn.items() if np.abs(images - drawn[None]).max() > 1e-6}
    assert moved == set(made.sampling)
