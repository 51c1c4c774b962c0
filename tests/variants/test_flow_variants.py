"""Variants of the flows."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    ("planar_flow", {"transform": "radial", "amortised": False, "ema": 0.9, "accumulate": 2}),
    ("planar_flow", {"flow_steps": 0, "optimizer": "rmsprop", "learning_rate": 1e-5}),
    ("realnvp", {"scales": 1, "flip": True, "ema": 0.9, "accumulate": 2}),
    ("glow", {"levels": 1, "mixing": "shuffle", "additive": True, "accumulate": 2, "clip": 1.0}),
    ("glow", {"depth": 2, "mixing": "reverse", "bits": 8, "warmup_epochs": 0.0}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), VARIANTS, ids=contract.titled)
def test_variant(name: str, flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold(name, flags, tmp_path)
