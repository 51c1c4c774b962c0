"""Variants of `experiments.autoencoder`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"network": "conv", "likelihood": "gaussian", "bf16": True}),
    contract.slow({"network": "residual", "ema": 0.9}),
    contract.slow({"decoder": "pyramid", "scale_weight": 0.5}),
    contract.slow({"network": "vgg", "decoder": "pyramid", "ema": 0.9}),
    contract.slow({"network": "resnet", "decoder": "skips", "bf16": True}),
    contract.slow({"network": "inception", "likelihood": "gaussian"}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("autoencoder", flags, tmp_path)
