"""The variants of style transfer."""

from pathlib import Path

import contract
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [{"encoder_steps": 2, "channels": (2, 4), "ema": 0.9}, {"jitter": 4, "accumulate": 2, "bf16": True, "style": 1}],
    ids=contract.titled,
)
def test_variants(flags: dict, tmp_path: Path) -> None:
    contract.hold("style_transfer", flags, tmp_path)
