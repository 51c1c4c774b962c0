"""Variants of `experiments.hierarchical_code_prior`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"labels": True, "accumulate": 2, "width": 8}),
    contract.slow({"keep_rows": 0.6, "bf16": True, "ema": None, "width": 8, "dropout": 0.0}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("hierarchical_code_prior", flags, tmp_path)
