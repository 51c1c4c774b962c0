"""Checkpoints: what is written in which order, what is kept, what is cleared, what a reader leaves alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import files, resume
from games import fit, regression

import jaxgen
from jaxgen.runs import checkpoint, journal, load


def test_what_a_writer_that_died_left_behind_is_cleared_by_the_next_and_seen_by_no_reader(run_folder: Path) -> None:
    left = [run_folder / "checkpoints" / name for name in ("25.orbax-checkpoint-tmp", ".deleted")]
    for folder in left:
        shutil.copytree(run_folder / "checkpoints" / "5", folder / "5" if folder.name == ".deleted" else folder)
    assert jaxgen.load(run_folder, experiment=regression).position == 20
    assert all(folder.exists() for folder in left[:1])
    resume(run_folder)
    assert not any(folder.exists() for folder in left)


def test_reading_writes_nothing(run_folder: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    jaxgen.load(run_folder, experiment=regression)
    jaxgen.load_params(run_folder, best=True)
    load.digest(run_folder)
    assert {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")} == before


def test_the_best_is_that_of_the_lines_and_survives_a_resume(tmp_path: Path) -> None:
    values = iter([3.0, float("nan"), 1.0, 2.0, 4.0, 5.0])
    scored = lambda steps: regression(steps=steps)._replace(evaluators={"test": lambda *_: {"loss": next(values)}})
    fit(scored(15), tmp_path, evaluate_every=5, keep=1)
    fit(scored(30), tmp_path, evaluate_every=5, keep=1)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [15, 30]
    assert jaxgen.load(tmp_path, experiment=regression, best=True).position == 15


def there(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir())


def test_steps_at_multiples_are_kept_for_good_and_by_later_commands_too(tmp_path: Path) -> None:
    """Beside the last one; they are saved even where no other checkpoint is due."""
    made = lambda steps: regression(steps=steps, ema=0.9)._replace(best=None)
    few = {"keep": 1, "save_every": 100, "evaluate_every": 100}
    fit(made(15), tmp_path, **few, keep_every=4)
    assert there(tmp_path) == [4, 8, 12, 15]
    fit(made(21), tmp_path, **few, keep_every=4)
    assert there(tmp_path) == [4, 8, 12, 16, 20, 21]
    # Without the flag, and with another number.
    fit(made(23), tmp_path, **few)
    assert there(tmp_path) == [4, 8, 12, 16, 20, 23]
    fit(made(30), tmp_path, **few, keep_every=10)
    assert there(tmp_path) == [4, 8, 12, 16, 20, 30]
    fit(made(31), tmp_path, **few)
    assert there(tmp_path) == [4, 8, 12, 16, 20, 30, 31]
    assert jaxgen.load(tmp_path, experiment=made(31), step=8).digest() == fit(made(8)).digest()
    with pytest.raises(jaxgen.UserError, match="has no checkpoint of step 10; it has 4, 8, 12, 16, 20, 30, 31"):
        jaxgen.load(tmp_path, experiment=made(31), step=10)
    assert load.digest(tmp_path) == fit(made(31)).digest()


def test_an_old_checkpoint_at_a_multiple_is_kept_and_a_damaged_one_is_not_in_the_way(tmp_path: Path) -> None:
    made = lambda steps: regression(steps=steps)._replace(best=None)
    fit(made(20), tmp_path, keep=4)
    assert there(tmp_path) == [5, 10, 15, 20]
    for path in files(tmp_path, 5):
        path.write_bytes(b"")
    fit(made(30), tmp_path, keep=1, keep_every=10)
    assert there(tmp_path) == [10, 20, 30]
    fit(made(35), tmp_path, keep=1)
    assert there(tmp_path) == [30, 35], "what says nothing of itself is kept by the commands that have the flag"


def test_the_lines_are_on_the_disk_before_the_checkpoint_that_relies_on_them(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    sync, save = journal.JsonLines.sync, checkpoint.Checkpoints.save
    monkeypatch.setattr(journal.JsonLines, "sync", lambda self: order.append("lines") or sync(self))
    monkeypatch.setattr(checkpoint.Checkpoints, "save", lambda self, *a, **k: order.append("save") or save(self, *a, **k))
    fit(regression(steps=10), tmp_path)
    assert order == ["lines", "save"] * 2


LEAVES = """
import asyncio, gc, sys
from pathlib import Path
import tensorstore
from jaxgen.runs import workdir

def forget(name, file):
    names = {}
    exec(compile(f"async def {name}(): pass", file, "exec"), names)
    names[name]()

async def abandon(awaitable):
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0.2)
    del task
    gc.collect()

async def fail():
    raise ValueError("ours")

workdir.read(Path(sys.argv[1])).checkpoints().close()
forget("_read_array", "/site/orbax/checkpoint/reading.py")
store = {"driver": "zarr", "kvstore": {"driver": "file", "path": sys.argv[1] + "/nothing/"}}
asyncio.run(abandon(tensorstore.open(store)))
print("all else", file=sys.stderr, flush=True)
forget("mine", "/home/mine.py")
asyncio.run(abandon(fail()))
"""


@pytest.mark.parametrize("warnings", ["default", "error"])
def test_what_orbax_leaves_behind_where_it_gave_up_is_not_told_and_all_else_is(run_folder: Path, warnings: str) -> None:
    command = [sys.executable, "-W", f"{warnings}::RuntimeWarning", "-c", LEAVES, str(run_folder)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    before, after = told.split("all else")
    assert not before
    assert "coroutine 'mine' was never awaited" in after
    assert "ValueError: ours" in after
