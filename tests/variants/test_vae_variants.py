"""The VAE's variants, and its data: any prepared set, a folder of images."""

from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytest
from contract import make

import jaxgen

VARIANTS: list[Any] = [
    {"max_kl": 2.0, "ema": 0.9},
    contract.slow({"network": "conv", "likelihood": "logistic", "accumulate": 2}),
    contract.slow({"network": "residual", "likelihood": "gaussian-per-pixel", "bf16": True, "remat": True}),
    contract.slow(
        {"likelihood": "gaussian-learned", "beta": 2, "beta_warmup": 2, "analytic_kl": False, "samples": 3, "clip": 1.0}
    ),
    contract.slow({"binarization": "static", "activation": "relu", "cosine": False, "cache_budget": 0.0}),
    contract.slow({"likelihood": "bernoulli", "beta_warmup": 0}),
    contract.slow({"optimizer": "adagrad", "decoder_hidden": (6, 5), "decoder_activation": "relu"}),
    contract.slow({"dataset": "captioned_digits", "factors": ("label", "colour", "size", "position", "ground")}),
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("vae", flags, tmp_path)


@pytest.mark.parametrize("dataset", ["mnist", contract.slow("cifar10"), contract.slow("usps"), contract.slow("emoji")])
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
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {f"{name}_00000003.png" for name in experiment.pictures}


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


def test_the_activation_is_that_of_the_layers() -> None:
    tanh, relu = (jaxgen.fit(make("vae", activation=name, steps=1), quiet=True) for name in ("tanh", "relu"))
    assert tanh.history[0]["loss"] != relu.history[0]["loss"]
