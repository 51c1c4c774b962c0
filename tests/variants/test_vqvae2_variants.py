"""Variants of `experiments.vqvae2`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[Any] = [
    contract.slow({"quantiser": "gradient", "ema": 0.9, "channels": (4,), "blocks": 1}),
    contract.slow({"accumulate": 2, "restart": 2, "bf16": True}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("vqvae2", flags, tmp_path)
