"""Variants of `experiments.autoencoder`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"network": "conv", "likelihood": "gaussian", "bf16": True}),
    contract.slow({"network": "residual", "ema": 0.9}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("autoencoder", flags, tmp_path)
