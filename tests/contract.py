"""The contract that every experiment holds: a few steps at tiny size, saved, resumed, loaded, evaluated, drawn, sampled."""

import atexit
import functools
import importlib
import inspect
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxgen
from jaxgen import pictures
from jaxgen.errors import FewExamplesWarning
from jaxgen.experiment import of_split
from jaxgen.runs import load
from jaxgen.runs.journal import read_jsonl
from jaxgen.training import program

TINY = {
    "batch_size": 8,
    "latents": 2,
    "hidden": (8,),
    "channels": (4, 8),
    "nll_samples": 4,
    "parzen_samples": 20,
    "timesteps": 6,
    "sampling_steps": 4,
    "langevin_steps": 2,
    "blocks": 0,
    "width": 16,
    "downs": 2,
    "layers": 1,
    "depth": 1,
    "residuals": 1,
    "kernel": 3,
    "heads": 2,
    "text_width": 8,
    "text_depth": 1,
    "embedding": 8,
    "encoder": "vit",
    "pairs": 40,
    "k": 1,
    "k_start": 2,
    "anneal_steps": 2,
    "codes": 8,
    "features": 4,
    "side": 8,
    "classifier_steps": 2,
    "svm_labels": 20,
    "svm_draws": 2,
    "mode_samples": 20,
    "pair_steps": 2,
    "groups": (1, 1),
    "readjust": 1,
    "encoder_steps": 0,
    "optimised_steps": 2,
    "mapping_depth": 1,
    "hold": 1,
    "fade": 2,
    "path_samples": 20,
    "map_width": 4,
    "discriminator_width": 4,
    "segmenter_steps": 2,
    "pretraining_steps": 1,
    "corruption_levels": (0.3,),
    "halvings": 1,
    "style_halvings": 2,
    "mlp_width": 4,
    "styles": 2,
}
"""By flag, where an experiment has it."""

WITHOUT_DRAWS = ("cycada", "cyclegan", "spade", "style_transfer")
"""Experiments whose samples are functions of what they are given alone."""


@functools.cache
def a_run(name: str) -> str:
    """A tiny run of an experiment after its first step, for the experiments that take a network of another run."""
    folder = Path(tempfile.mkdtemp(prefix=f"jaxgen-{name}-")) / "run"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    jaxgen.fit(make(name, steps=1)._replace(evaluators={}, final={}, pictures={}), workdir=folder, quiet=True)
    return str(folder)


PARENTS = {
    "autoencoder": "vqvae",
    "model": "ddpm",
    "first_stage": "latent_autoencoder",
    "flow": "flow_matching",
    "classifier": "lenet",
}
"""By flag of a run, the experiment that it is of."""

OTHER_PARENTS = {
    "autoguidance": {"model": "edm"},
    "consistency": {"model": "edm"},
    "hierarchical_code_prior": {"autoencoder": "vqvae2"},
}
"""The same of experiments that stand on another one's run."""


def make(name: str, **flags: Any) -> jaxgen.Experiment:
    """An experiment at tiny size; TINY's flags only where it has them."""
    function = importlib.import_module(f"experiments.{name}").experiment
    known = inspect.signature(function).parameters
    parents = PARENTS | OTHER_PARENTS.get(name, {})
    flags = {flag: a_run(parent) for flag, parent in parents.items() if flag in known and flag not in flags} | flags
    return function(**{flag: value for flag, value in TINY.items() if flag in known} | flags)


ONE_A_FAMILY = ("vae", "vqvae", "gan", "pix2pix", "ddpm", "clip", "lenet")
"""What stands for the other experiments of its kind where a test is long; `pytest -m slow` runs it of the others."""


def one_a_family(names: Iterable[str], *, long: tuple[str, ...] = ()) -> list[Any]:
    """The experiments by name: one of each family, but for those that are `long`, is run by default."""
    return [name if name in ONE_A_FAMILY and name not in long else slow(name) for name in names]


def alone(names: Iterable[str], *, long: tuple[str, ...] = ()) -> list[Any]:
    """The experiments by name: those that stand on another's run, which has to be trained first, are slow."""
    return [slow(name) if name in long or stands_on_a_run(name) else name for name in names]


def stands_on_a_run(name: str) -> bool:
    known = inspect.signature(importlib.import_module(f"experiments.{name}").experiment).parameters
    return bool(known.keys() & (PARENTS | OTHER_PARENTS.get(name, {})).keys())


def titled(flags: Any) -> str:
    """The name of a variant in the tests' output."""
    return " ".join(f"{name}={value}" for name, value in flags.items()) if isinstance(flags, dict) else str(flags)


def slow(parameter: Any) -> Any:
    """A parameter of a test that only `pytest -m slow` runs."""
    return pytest.param(parameter, marks=pytest.mark.slow)


def hold(name: str, flags: dict[str, Any], folder: Path) -> None:
    """Runs an experiment through all that can be asked of it."""
    warnings.simplefilter("ignore", FewExamplesWarning)  # until the test ends: a tiny run has few of everything
    options: dict[str, Any] = {"log_every": 2, "evaluate_every": 4, "save_every": 2, "quiet": True}
    whole = jaxgen.fit(make(name, **flags, steps=4), workdir=str(folder / "whole"), **options)
    jaxgen.fit(make(name, **flags, steps=3), workdir=str(folder / "part"), **options)
    resumed = jaxgen.fit(make(name, **flags, steps=4), workdir=str(folder / "part"), **options)
    assert resumed.digest() == whole.digest() == load.digest(folder / "part")

    loaded = jaxgen.load(folder / "whole")
    assert loaded.digest() == whole.digest()
    assert loaded.experiment.config.flags == whole.experiment.config.flags
    lines = read_jsonl(folder / "whole" / "metrics.jsonl")
    assert all(np.isfinite(v) for line in lines for k, v in line.items() if k != "split")
    reports = {f"{line['split']}/{metric}" for line in lines for metric in line}
    assert {alarm.value for alarm in whole.experiment.alarms} <= reports
    evaluated = loaded.evaluate()
    for split, values in evaluated.items():
        reported = {k: v for line in lines if line["split"] == split for k, v in line.items() if k not in ("step", "split")}
        assert values == pytest.approx(reported, rel=1e-5)
    figures = loaded.figures(evaluated)
    domains = of_split(whole.experiment.splits, "test")
    assert set(figures) == {f"{domain}/{name}" for domain in domains for name in whole.experiment.protocol}

    for network, value in loaded.experiment.networks.items():
        module, variables = loaded.network(network)
        out = module.apply(variables, *value.inputs, rngs={"sample": jax.random.key(0)})
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(out))

    for picture in loaded.pictures().values():
        images = np.asarray(picture.images)
        assert images.ndim == 4
        assert len(images) % picture.columns == 0
        assert np.isfinite(images).all()
        assert pictures.save(picture, folder / "picture.png").stat().st_size > 0
    if loaded.experiment.sample is not None:
        samples = loaded.sample(5)
        assert samples.shape == (5, *data_shape(loaded.experiment))
        np.testing.assert_array_equal(samples, loaded.sample(5))
        assert np.array_equal(samples, loaded.sample(5, seed=9)) == (name in WITHOUT_DRAWS)
        given = jaxgen.given(5, loaded.experiment.given)
        traced = jax.eval_shape(loaded.experiment.sample, loaded.state, jax.random.key(0), given)
        assert traced.shape == samples.shape


def data_shape(experiment: jaxgen.Experiment) -> tuple[int, ...]:
    """The shape of one training example, an image or a point, as the loss sees it."""
    batch = jax.eval_shape(experiment.train.transform, program.batch_spec(experiment.train), jax.random.key(0))
    batch = batch.get("a", batch)  # of two domains the first
    return next(batch[feature] for feature in ("image", "point") if feature in batch).shape[1:]
