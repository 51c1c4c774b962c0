"""Variants of MADE."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[dict[str, Any]] = [
    {"hidden": (6, 5), "agnostic": "connectivity", "raster": True, "condition": True, "accumulate": 2, "ema": 0.9},
    {"masks": 1, "direct": False, "optimizer": "adagrad", "binarization": "static", "bf16": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("made", flags, tmp_path)
