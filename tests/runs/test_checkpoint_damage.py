"""Damaged checkpoints: read as they were written or refused, and never the reason that an older one is lost."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from checkpoints import data_files, files, resume
from games import regression

import jaxgen
from jaxgen import hashes
from jaxgen.commands.main import main
from jaxgen.errors import DamagedError, UserError
from jaxgen.runs import load, run, serialization, workdir
from jaxgen.runs.journal import read_jsonl


def damages(path: Path) -> Iterator[str]:
    """Damages a file in every way, one after another, and restores it."""
    whole = path.read_bytes()
    for name, broken in {
        "missing": None,
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "zeroed": bytes(len(whole)),
        "bit in the middle": flipped(whole, len(whole) // 2),
        "bit at the end": flipped(whole, len(whole) - 1),
    }.items():
        if broken == whole:
            continue
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        yield name
    path.write_bytes(whole)


def flipped(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] if whole else b"x"


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_or_the_same_whatever_file_is_damaged(run_folder: Path) -> None:
    truth, refused = load.digest(run_folder), 0
    spec = jax.eval_shape(lambda: run.begin(regression(ema=0.9), 0))
    for path in files(run_folder, 20):
        for damage in damages(path):
            checkpoints = workdir.read(run_folder).checkpoints()
            try:
                state, _, meta = checkpoints.restore(20, spec, None)
                digest = hashes.digest(serialization.to_tree(state), int(meta["position"]))
                assert digest == truth, f"{path.name}, {damage}: another state, unnoticed"
            except DamagedError:
                refused += 1
            finally:
                checkpoints.close()
    assert refused > 20
    assert load.digest(run_folder) == truth


@pytest.mark.parametrize("damage", ["bit in the middle", "truncated", "missing"])
def test_a_run_goes_on_from_the_last_whole_checkpoint(run_folder: Path, damage: str, capsys) -> None:
    truth, lines = load.digest(run_folder), timeless(run_folder)
    for path in data_files(run_folder, 20):
        for name in damages(path):
            if name == damage:
                break
    resumed = resume(run_folder, quiet=False)
    told = capsys.readouterr().err
    assert "The checkpoint of step 20" in told
    assert "is damaged" in told
    assert f"It is moved to {run_folder / 'damaged'}" in told
    assert "Resuming" in told
    assert "at step 15" in told
    assert resumed.digest() == load.digest(run_folder) == truth
    assert timeless(run_folder) == lines
    assert (run_folder / "damaged" / "20").is_dir()


def timeless(folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_jsonl(folder / "metrics.jsonl")]


def test_where_none_is_whole_the_run_stops_and_nothing_is_moved(run_folder: Path) -> None:
    for step in (5, 10, 15, 20):
        for path in data_files(run_folder, step):
            path.write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"step 5 in .* is damaged .* there is no other: restore it from a copy"):
        resume(run_folder)
    assert (run_folder / "checkpoints" / "5").is_dir()


def test_the_commands_name_the_checkpoints_that_are_left(run_folder: Path, capsys) -> None:
    for path in data_files(run_folder, 20):
        path.write_bytes(b"rubbish")
    with pytest.raises(SystemExit) as left:
        main(["digest", str(run_folder)])
    assert left.value.code == 2
    assert "there are those of step 5, 10, 15" in capsys.readouterr().err
    assert jaxgen.load(run_folder, step=15, experiment=regression).position == 15


def test_every_leaf_is_verified(run_folder: Path) -> None:
    """Not only what a storage library notices: another checkpoint's arrays under this one's name."""
    state = Path("checkpoints/20/state")
    shutil.rmtree(run_folder / state)
    shutil.copytree(run_folder / "checkpoints/15/state", run_folder / state)
    with pytest.raises(DamagedError, match=r"state/\S+ is not what was written"):
        jaxgen.load(run_folder, experiment=regression)
    with pytest.raises(DamagedError, match=r"state/\S+ is not what was written"):
        load.digest(run_folder)


def test_what_a_checkpoint_says_of_itself_is_verified(run_folder: Path) -> None:
    (path,) = (p for p in files(run_folder, 20) if "meta" in p.parts and b'"position"' in p.read_bytes())
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "position": 21}))
    with pytest.raises(DamagedError, match="what it says of itself was changed"):
        load.digest(run_folder)
