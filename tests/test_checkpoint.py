"""Checkpoints: read as they were written or refused, and never the reason that an older one is lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from games import fit, regression
from mistakes import contents

import jaxgen
from jaxgen import checkpoint, commands, durable, hashes, logs, run
from jaxgen.errors import DamagedError, UserError
from jaxgen.logs import read_jsonl


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 5, 10, 15 and 20, the last in the middle of a window of metrics."""
    folder = tmp_path_factory.mktemp("written") / "run"
    fit(regression(steps=20, ema=0.9), folder, log_every=7, keep=4)
    return folder


@pytest.fixture
def run_folder(written: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(written, tmp_path / "run"))


def files(folder: Path, step: int) -> list[Path]:
    return sorted(p for p in (folder / "checkpoints" / str(step)).rglob("*") if p.is_file())


def data_files(folder: Path, step: int) -> list[Path]:
    """The files of the state's arrays: which of them are read is the storage's affair."""
    state = folder / "checkpoints" / str(step) / "state"
    return [p for p in state.rglob("*") if p.is_file() and p.parent.name == "d"]


def resume(folder: Path, **options) -> jaxgen.Run:
    return fit(regression(steps=20, ema=0.9), folder, log_every=7, keep=4, **options)


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


def test_a_damaged_checkpoint_is_refused_or_the_same_whatever_file_is_damaged(run_folder: Path) -> None:
    truth, refused = run.digest(run_folder), 0
    spec = jax.eval_shape(lambda: run.begin(regression(ema=0.9), 0))
    for path in files(run_folder, 20):
        for damage in damages(path):
            checkpoints = jaxgen.workdir.read(run_folder).checkpoints()
            try:
                state, _, meta = checkpoints.restore(20, spec, None)
                digest = hashes.digest(checkpoint.to_tree(state), int(meta["position"]))
                assert digest == truth, f"{path.name}, {damage}: another state, unnoticed"
            except DamagedError:
                refused += 1
            finally:
                checkpoints.close()
    assert refused > 20
    assert run.digest(run_folder) == truth


LEAVES = """
import asyncio, gc, sys
from pathlib import Path
import tensorstore
from jaxgen import workdir

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


@pytest.mark.parametrize("damage", ["bit in the middle", "truncated", "missing"])
def test_a_run_goes_on_from_the_last_whole_checkpoint(run_folder: Path, damage: str, capsys) -> None:
    truth, lines = run.digest(run_folder), timeless(run_folder)
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
    assert resumed.digest() == run.digest(run_folder) == truth
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
        commands.main(["digest", str(run_folder)])
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
        run.digest(run_folder)


def test_what_a_checkpoint_says_of_itself_is_verified(run_folder: Path) -> None:
    (path,) = (p for p in files(run_folder, 20) if "meta" in p.parts and b'"position"' in p.read_bytes())
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "position": 21}))
    with pytest.raises(DamagedError, match="what it says of itself was changed"):
        run.digest(run_folder)


def test_a_checkpoint_of_another_experiment_is_no_damaged_one(run_folder: Path) -> None:
    with pytest.raises(UserError, match="does not fit this experiment: ema/") as caught:
        jaxgen.load(run_folder, experiment=lambda **flags: regression(**flags)._replace(ema=None))
    assert not isinstance(caught.value, DamagedError)


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
    run.digest(run_folder)
    assert {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")} == before


def test_the_best_is_that_of_the_lines_and_survives_a_resume(tmp_path: Path) -> None:
    values = iter([3.0, float("nan"), 1.0, 2.0, 4.0, 5.0])
    scored = lambda steps: regression(steps=steps)._replace(evaluators={"test": lambda *_: {"loss": next(values)}})
    fit(scored(15), tmp_path, evaluate_every=5, keep=1)
    fit(scored(30), tmp_path, evaluate_every=5, keep=1)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [15, 30]
    assert jaxgen.load(tmp_path, experiment=regression, best=True).position == 15


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    kept = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or kept[0](handle))
    monkeypatch.setattr(os, "replace", lambda a, b: order.append("replace") or kept[1](a, b))
    durable.write(tmp_path / "a", "new")
    assert order == ["fsync", "replace", "fsync"]
    assert (tmp_path / "a").read_text() == "new"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    durable.write(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        durable.write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_the_lines_are_on_the_disk_before_the_checkpoint_that_relies_on_them(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    sync, save = logs.JsonLines.sync, checkpoint.Checkpoints.save
    monkeypatch.setattr(logs.JsonLines, "sync", lambda self: order.append("lines") or sync(self))
    monkeypatch.setattr(checkpoint.Checkpoints, "save", lambda self, *a, **k: order.append("save") or save(self, *a, **k))
    fit(regression(steps=10), tmp_path)
    assert order == ["lines", "save"] * 2


def test_a_second_process_is_kept_off(tmp_path: Path) -> None:
    lock = durable.Lock(tmp_path)
    assert lock.take()
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {os.getpid()} on .*; wait for it, stop it, or give"):
        fit(regression(steps=5), tmp_path)
    lock.release()
    fit(regression(steps=5), tmp_path)
    fit(regression(steps=10), tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(30, "Read-only file system"), "read-only file system"),
        (ValueError("RESOURCE_EXHAUSTED: writing 5 bytes: No space left on device [os error 28]"), "the disk is full"),
        (ValueError("shapes differ"), None),
    ],
)
def test_what_a_disk_refuses_is_told_from_a_mistake_of_ours(error: Exception, reason: str | None) -> None:
    assert durable.refusal(error) == reason
    wrapped = RuntimeError("in the background")
    wrapped.__cause__ = error
    assert durable.refusal(wrapped) == reason
    with pytest.raises(UserError if reason else ValueError), durable.explained("Saving", "free space."):
        raise error


def changed(leaf: str, change: Any) -> Any:
    """The experiment, whose first state has one leaf changed, removed or added: as another version of its code would."""

    def experiment(**flags: Any) -> jaxgen.Experiment:
        made = regression(**flags)

        def init(key: jax.Array) -> Any:
            params, vars = jax.tree.map(lambda x: x, made.init(key))
            parent, _, name = leaf.rpartition("/")
            place = vars
            for part in parent.split("/"):
                place = place[part]
            if change is None:
                del place[name]
            else:
                place[name] = change(place.get(name))
            return params, vars

        # The loss is as it was and does not fit the other state: a step would fail, a checkpoint is compared before any.
        return made._replace(init=init)

    return experiment


MEAN = "model/batch_stats/BatchNorm_0/BatchNorm_0/mean"


@pytest.mark.parametrize(
    ("leaf", "change", "told"),
    [
        (MEAN, lambda x: x.astype(jnp.bfloat16), rf"ema_vars/{MEAN} is float32\[16\] there and bfloat16\[16\] here"),
        (MEAN, lambda x: x.astype(jnp.int32), rf"ema_vars/{MEAN} is float32\[16\] there and int32\[16\] here"),
        (MEAN, lambda x: x[:8], rf"ema_vars/{MEAN} is float32\[16\] there and float32\[8\] here"),
        (MEAN, lambda x: x.reshape(4, 4), rf"ema_vars/{MEAN} is float32\[16\] there and float32\[4, 4\] here"),
        (MEAN, None, rf"ema_vars/{MEAN} is float32\[16\] there and absent here"),
        ("model/extra", lambda _: jnp.zeros(3), r"ema_vars/model/extra is absent there and float32\[3\] here"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told_by_its_leaf_and_nothing_is_moved(
    leaf: str, change: Any, told: str, run_folder: Path
) -> None:
    before = contents(run_folder)
    folder = jaxgen.workdir.read(run_folder)
    spec = jax.eval_shape(lambda: run.begin(changed(leaf, change)(ema=0.9), 0))
    checkpoints = folder.checkpoints()
    with pytest.raises(UserError, match=f"The checkpoint of step 20 in .* does not fit this experiment: {told}") as caught:
        checkpoints.restore_last(spec, None, aside=folder.damaged, say=print)
    checkpoints.close()
    assert not isinstance(caught.value, DamagedError)
    assert contents(run_folder) == before


def another_window(made: jaxgen.Experiment, change: Any) -> jaxgen.Experiment:
    """The experiment, whose loss reports other metrics: what lies beside the state differs."""
    player = made.players["model"]

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        values, aux = player.loss(params, state, batch, key, train=train)
        return values, aux._replace(metrics=change(dict(aux.metrics)))

    return made._replace(players={"model": player._replace(loss=loss)})


@pytest.mark.parametrize("change", [lambda m: {**m, "more": m["squared"]}, lambda m: {}, lambda m: {"other": m["squared"]}])
def test_other_metrics_are_no_damage_either(change: Any, run_folder: Path) -> None:
    before = contents(run_folder / "checkpoints")
    with pytest.raises(UserError, match=r"does not fit this experiment: beside/\S+ is \S+ there and \S+ here") as caught:
        fit(another_window(regression(steps=30, ema=0.9), change), run_folder, keep=4)
    assert not isinstance(caught.value, DamagedError)
    assert contents(run_folder / "checkpoints") == before
    assert not (run_folder / "damaged").exists()


def rewritten(folder: Path, step: int, **change: Any) -> None:
    """Changes what a checkpoint says of itself and signs it, as another version would have written it."""
    (path,) = (p for p in files(folder, step) if "meta" in p.parts and b'"position"' in p.read_bytes())
    meta = {**json.loads(path.read_text()), **change}
    meta.pop("signature")
    path.write_text(json.dumps({**meta, "signature": hashes.signature(meta)}))


def test_a_newer_format_is_told_and_nothing_is_moved(run_folder: Path) -> None:
    rewritten(run_folder, 20, format=99)
    before = contents(run_folder / "checkpoints")
    with pytest.raises(UserError, match=r"step 20 in .* was written by a newer jaxgen \(format 99, .*upgrade jaxgen") as caught:
        resume(run_folder)
    assert not isinstance(caught.value, DamagedError)
    assert contents(run_folder / "checkpoints") == before


@pytest.mark.parametrize("change", [{"run": {"versions": {"jax": "0.3.0", "flax": "99.0"}}}, {"storage": "0.0.1"}])
def test_other_versions_on_record_are_no_damage(change: dict[str, Any], run_folder: Path) -> None:
    truth = run.digest(run_folder)
    rewritten(run_folder, 20, **change)
    assert resume(run_folder).digest() == truth
    assert not (run_folder / "damaged").exists()


def test_what_another_version_of_the_storage_wrote_and_this_cannot_read_is_not_moved(run_folder: Path) -> None:
    rewritten(run_folder, 20, storage="99.0.0")
    for path in data_files(run_folder, 20):
        path.write_bytes(b"a format to come")
    before = contents(run_folder / "checkpoints")
    with pytest.raises(UserError, match=r"cannot be read .* was written by orbax-checkpoint 99\.0\.0, and this is") as caught:
        resume(run_folder)
    assert not isinstance(caught.value, DamagedError)
    assert contents(run_folder / "checkpoints") == before


def test_a_checkpoint_without_shapes_on_record_is_compared_by_its_files(run_folder: Path) -> None:
    """As earlier versions wrote them."""
    for step in (5, 10, 15, 20):
        rewritten(run_folder, step, shapes=None, format=1)
    assert resume(run_folder).position == 20
    with pytest.raises(UserError, match="does not fit this experiment: ema/"):
        jaxgen.load(run_folder, experiment=lambda **flags: regression(**flags)._replace(ema=None))
