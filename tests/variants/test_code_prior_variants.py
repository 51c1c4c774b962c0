"""Variants of `experiments.code_prior`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"labels": True, "accumulate": 2}),
    contract.slow({"network": "pixelsnail", "labels": True, "width": 8}),
    contract.slow({"network": "transformer", "keep_rows": 0.5, "bf16": True, "ema": None, "width": 8}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("code_prior", flags, tmp_path)
