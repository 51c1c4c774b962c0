"""The process that others are forked from, the run that nothing disturbed, and a disk to fill."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import STEPS, Truth, Truths, Zygote, digests, lines


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def truth(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Truths:
    @functools.cache
    def truth(steps: int = STEPS) -> Truth:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert zygote.run(folder, steps=steps, keep=1000).code == 0
        return Truth(digests(folder / "run"), lines(folder / "run"))

    return truth


@pytest.fixture
def disk(zygote: Zygote, tmp_path: Path) -> Path:
    """A disk of 8 MiB, as the processes name it; `zygote.seen(disk)` reads it from here."""
    if not zygote.may_mount:
        pytest.skip("no mount namespace is permitted here (unshare -rm)")
    return zygote.disk(tmp_path, "8m")
