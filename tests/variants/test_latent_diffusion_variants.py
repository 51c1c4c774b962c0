"""Variants of `experiments.latent_diffusion`."""

from pathlib import Path
from typing import Any

import contract
import pytest

import jaxgen

VARIANTS: list[Any] = [
    contract.slow({"told": None, "sampler": "ancestral", "scale": 0.2, "dropout": 0.1}),
    contract.slow({"drop": 0.0, "accumulate": 2, "bf16": True, "remat": True}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("latent_diffusion", flags, tmp_path)


@pytest.mark.slow
def test_captions(tmp_path: Path) -> None:
    first = str(tmp_path / "first")
    made = contract.make("latent_autoencoder", dataset="captioned_digits", steps=1)
    jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}), workdir=first, quiet=True)
    flags = {"first_stage": first, "dataset": "captioned_digits", "told": "caption", "text_depth": 1}
    contract.hold("latent_diffusion", flags, tmp_path)
