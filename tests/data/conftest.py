"""A folder of pictures."""

from pathlib import Path

import pytest
from folders import picture


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of three pictures."""
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))
    for i, name in enumerate("ab"):
        for j in range(3):
            picture(tmp_path / "pets" / name / f"{j}.png", 10 * (3 * i + j))
    return tmp_path / "pets"
