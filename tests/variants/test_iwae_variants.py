"""Variants of `experiments.iwae`."""

from pathlib import Path
from typing import Any

import contract
import pytest

VARIANTS: list[dict[str, Any]] = [{"k": 3, "binarization": "static"}]


@pytest.mark.slow
@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("iwae", flags, tmp_path)
