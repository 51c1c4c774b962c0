"""The contract, held by every experiment: a few steps at tiny size, saved, resumed, sampled, evaluated, drawn."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
import jaxgen
from jaxgen import data, pictures
from jaxgen import run as runs
from jaxgen.logs import read_jsonl

NAMES = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]

TINY = {"batch_size": 8, "latents": 2, "hidden": (8,), "channels": (4, 8), "nll_samples": 4}
"""By flag, where an experiment has it."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "vae": [
        {"max_kl": 2.0, "ema": 0.9},
        {"network": "conv", "likelihood": "logistic", "accumulate": 2},
        {"network": "residual", "likelihood": "gaussian-per-pixel", "bf16": True, "remat": True},
        {"likelihood": "gaussian-learned", "beta_warmup": 2, "analytic_kl": False, "samples": 3, "clip": 1.0},
        {"binarization": "static", "likelihood": "bernoulli", "cosine": False, "cache_budget": 0.0},
    ],
    "iwae": [{"k": 3, "binarization": "static"}],
    "autoencoder": [{"network": "conv", "likelihood": "gaussian", "bf16": True}, {"network": "residual", "ema": 0.9}],
}
CASES = [(name, flags) for name in NAMES for flags in [{}, *VARIANTS.get(name, [])]]
IDS = [" ".join([name, *(f"{k}={v}" for k, v in flags.items())]) for name, flags in CASES]


def make(name: str, **flags: Any) -> jaxgen.Experiment:
    function = importlib.import_module(f"experiments.{name}").experiment
    known = inspect.signature(function).parameters
    return function(**{k: v for k, v in {**TINY, **flags}.items() if k in known})


@pytest.mark.parametrize(("name", "flags"), CASES, ids=IDS)
def test_experiment(name: str, flags: dict[str, Any], tmp_path: Path) -> None:
    options = {"log_every": 2, "evaluate_every": 4, "save_every": 2, "quiet": True}
    whole = jaxgen.fit(make(name, **flags, steps=4), workdir=str(tmp_path / "whole"), **options)
    jaxgen.fit(make(name, **flags, steps=3), workdir=str(tmp_path / "part"), **options)
    resumed = jaxgen.fit(make(name, **flags, steps=4), workdir=str(tmp_path / "part"), **options)
    assert resumed.digest() == whole.digest() == runs.digest(tmp_path / "part")

    loaded = jaxgen.load(tmp_path / "whole")
    assert loaded.digest() == whole.digest()
    assert loaded.experiment.config.flags == whole.experiment.config.flags
    lines = read_jsonl(tmp_path / "whole" / "metrics.jsonl")
    assert all(np.isfinite(v) for line in lines for k, v in line.items() if k != "split")
    reported = {k: v for line in lines if line["split"] == "test" for k, v in line.items() if k not in ("step", "split")}
    assert loaded.evaluate()["test"] == pytest.approx(reported, rel=1e-5)

    for picture in loaded.pictures().values():
        images = np.asarray(picture.images)
        assert images.ndim == 4
        assert len(images) % picture.columns == 0
        assert np.isfinite(images).all()
        assert pictures.save(picture, tmp_path / "picture.png").stat().st_size > 0
    if loaded.experiment.sample is not None:
        images = loaded.sample(5)
        assert images.shape == (5, *data.load("digits", "test").shape("image"))
        np.testing.assert_array_equal(images, loaded.sample(5))
        assert not np.array_equal(images, loaded.sample(5, seed=9))


@pytest.mark.parametrize("name", NAMES)
def test_experiment_opens_with_its_command_and_documents_every_flag(name: str) -> None:
    module = importlib.import_module(f"experiments.{name}")
    assert f"python -m experiments.{name}" in (module.__doc__ or "")
    documented = inspect.getdoc(module.experiment).partition("Args:")[2]
    for flag, parameter in inspect.signature(module.experiment).parameters.items():
        assert f"  {flag}: " in documented, f"--{flag} is not documented"
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    last = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(last).endswith("jaxgen.run_experiment(experiment)")


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "usps", "emoji"])
def test_vae_on_any_prepared_dataset(dataset: str, shared: str, tmp_path: Path) -> None:
    flags = {
        "dataset": dataset,
        "data_dir": shared,
        "steps": 3,
        "cache_budget": 0.0,
        "network": "conv",
        "likelihood": "logistic",
    }
    experiment = make("vae", **flags)
    # The whole test split would only take longer: the loop is the same.
    run = jaxgen.fit(experiment._replace(evaluators={}, final={}), workdir=str(tmp_path), quiet=True)
    assert run.position == 3
    assert len(list((tmp_path / "samples").iterdir())) == 4


def test_vae_on_a_folder_of_images(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, n in {"train": 12, "test": 4}.items():
        for i in range(n):
            path = tmp_path / "photos" / split / "cats" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(path)
    experiment = make("vae", dataset=str(tmp_path / "photos"), likelihood="gaussian", steps=2)
    assert jaxgen.fit(experiment, quiet=True).sample(2).shape == (2, 16, 16, 3)
