"""Variants of `experiments.latent_autoencoder`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"variant": "kl", "start": 2, "loss": "non_saturating", "attention_levels": (0,), "blocks": 1}),
    contract.slow({"variant": "vq", "start": 0, "ema": 0.9, "accumulate": 2, "bf16": True}),
    contract.slow({"variant": "vq", "gan": 0.0}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("latent_autoencoder", flags, tmp_path)
