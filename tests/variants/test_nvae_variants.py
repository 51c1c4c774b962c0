"""Variants of NVAE, long to compile."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[dict[str, Any]] = [
    {"residual": False, "balanced": False, "spectral": 0.0, "flows": 1, "ema": 0.9},
    {"binarization": "none", "components": 2, "accumulate": 2, "spectral_start": 1.0, "blocks": 1, "groups": (1,)},
    {"binarization": "static", "padding": 4, "bf16": True, "squeeze_excite": False, "decay_steps": 0, "beta_warmup": 0},
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("nvae", flags, tmp_path)
