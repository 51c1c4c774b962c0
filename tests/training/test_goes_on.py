"""What fails beside the training is told and does not end it; what is refused for want of memory or disk is a sentence."""

import errno
import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import fit, regression
from mistakes import files, refused, run

import jaxgen
from jaxgen import disk
from jaxgen.devices import memory, waiting
from jaxgen.errors import NotFiniteError, UserError
from jaxgen.runs.journal import read_jsonl
from jaxgen.samples import exports
from jaxgen.training import program

FAILURES: dict[str, tuple[Exception, str]] = {
    "a mistake": (ValueError("shapes\ndiffer"), r"ValueError: shapes differ, test_goes_on\.py line \d+"),
    "a sentence": (UserError("There is nothing to see."), "There is nothing to see"),
    "memory of the host": (MemoryError(), "it takes more memory than there is; give a smaller --batch-size"),
    "memory of a device": (RuntimeError("RESOURCE_EXHAUSTED: 5 GiB"), "it takes more memory than there is; give a smaller"),
    "a missing key": (KeyError("label"), "KeyError: 'label'"),
}


def failing(error: Exception) -> Any:
    def fails(*args: Any, **options: Any) -> Any:
        raise error

    return fails


@functools.cache
def truth() -> str:
    return str(fit(regression(steps=20)).digest())


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("where", ["pictures", "evaluators", "final"])
def test_what_fails_beside_the_training(where: str, failure: str, tmp_path: Path, capsys: Any) -> None:
    error, told = FAILURES[failure]
    made = regression(steps=20)
    there = {**getattr(made, where), "mine": failing(error)}
    assert fit(made._replace(**{where: there}), tmp_path / "run").digest() == truth()
    err = capsys.readouterr().err
    what = "picture mine" if where == "pictures" else "evaluation of mine"
    steps = (20,) if where == "final" else (10, 20)
    for step in steps:
        (line,) = [line for line in err.splitlines() if f"The {what} at step {step} failed (" in line]
        assert line.endswith("and the run goes on.")
        assert told.partition("\\")[0].partition(", test_")[0] in line
    lines = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if line["split"] == "test"] == [10, 20]
    assert not [line for line in lines if line["split"] == "mine"]
    assert (tmp_path / "run" / "samples" / "noise_00000020.png").is_file()


def test_the_guard_against_what_is_not_finite_still_ends_a_run(tmp_path: Path) -> None:
    made = regression(steps=20)
    with pytest.raises(NotFiniteError):
        fit(made._replace(evaluators={"test": failing(NotFiniteError("Not finite."))}), tmp_path)


def test_the_state_is_on_the_disk_before_a_picture_is_drawn_and_a_missing_picture_is_drawn_later(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(state: Any, key: Any) -> jaxgen.Picture:
        seen.append(sorted(p.name for p in (tmp_path / "checkpoints").iterdir()))
        return jaxgen.Picture(np.zeros((1, 2, 2, 1)), 1, "nothing")

    made = regression(steps=10)._replace(pictures={"look": look})
    fit(made, tmp_path)
    assert seen == [["10", "5"]]
    drawn = tmp_path / "samples" / "look_00000010.png"
    drawn.unlink()
    fit(made, tmp_path)
    assert drawn.is_file()
    assert len(seen) == 2
    fit(made, tmp_path)
    assert len(seen) == 2


def test_a_run_of_no_steps_keeps_what_it_began_with_and_goes_on_from_there(tmp_path: Path) -> None:
    """Such as weights from a file, that are to be sampled from."""

    def looked(steps: int) -> jaxgen.Experiment:
        return regression(steps=steps)._replace(
            pictures={"look": lambda state, key: jaxgen.Picture(np.zeros((1, 4, 4, 1)), 1, "")}
        )

    for _ in range(2):
        begun = fit(looked(0), tmp_path / "run")
        assert (tmp_path / "run" / "samples" / "look_00000000.png").is_file()
    loaded = jaxgen.load(tmp_path / "run", experiment=regression)
    np.testing.assert_array_equal(loaded.sample(3), begun.sample(3))
    same = [fit(looked(5), tmp_path / name).state.params for name in ("run", "at once")]
    jax.tree.map(np.testing.assert_array_equal, *same)
    assert not (tmp_path / "at once" / "samples" / "look_00000000.png").exists()


@pytest.mark.parametrize("sizes", [(1, 3), (64, 65), (5, 200)])
def test_the_first_samples_of_many_are_those_of_few(sizes: tuple[int, int], tmp_path: Path) -> None:
    few, many = sizes
    trained = fit(regression(steps=0)._replace(evaluators={}))
    one, two = trained.sample(few), trained.sample(many)
    np.testing.assert_array_equal(two[:few], one)
    assert len(np.unique(two.reshape(many, -1), axis=0)) == many
    exports.to_array(trained.samples(many), many, tmp_path / "a" / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "x.npy"), two)
    exports.to_folder(trained.samples(few), few, tmp_path / "b")
    assert len(files(tmp_path / "b")) == few
    assert files(tmp_path / "a") == ["x.npy"]


@pytest.mark.parametrize("write", [exports.to_array, exports.to_folder])
def test_what_the_disk_cannot_hold_is_refused_after_one_part(write: Any, tmp_path: Path) -> None:
    drawn = []

    def parts() -> Any:
        for _ in range(3):
            drawn.append(1)
            yield np.zeros((2, 8, 8, 1), np.float32)

    with pytest.raises(UserError, match=r"^1,000,000,000,000,000 samples take .* GiB, and the disk of .* has .* GiB free"):
        write(parts(), 10**15, tmp_path / "x.npy")
    assert drawn == [1]
    assert files(tmp_path) == []
    with pytest.raises(UserError, match=r"are too many for one picture; give --out samples.npy"):
        exports.to_picture(parts(), 10**8, tmp_path / "x.png", "")


def test_a_draw_that_is_interrupted_leaves_nothing_half_done(tmp_path: Path) -> None:
    def parts() -> Any:
        yield np.zeros((2, 8, 8, 1), np.float32)
        raise KeyboardInterrupt

    for write, name in ((exports.to_array, "x.npy"), (exports.to_folder, "x")):
        with pytest.raises(KeyboardInterrupt):
            write(parts(), 4, tmp_path / name)
        assert files(tmp_path) == []


def mapped_or_told(path: Path) -> np.memmap:
    with disk.explained("Writing", disk.MAKE_ROOM):
        return disk.mapped(path, np.float32, (100,))


@pytest.mark.parametrize("refused_with", [errno.ENOSPC, errno.EDQUOT])
def test_a_mapped_file_is_claimed_or_refused(refused_with: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = disk.mapped(tmp_path / "whole", np.float32, (1 << 18,))
    assert (tmp_path / "whole").stat().st_blocks * 512 >= array.nbytes

    def full(*_: Any) -> None:
        raise OSError(refused_with, os.strerror(refused_with))

    monkeypatch.setattr(os, "posix_fallocate", full)
    for name in ("x", "x.npy"):
        with pytest.raises(UserError, match=r"^Writing failed \(the disk is full\): free space there, or set TMPDIR"):
            mapped_or_told(tmp_path / name)
    assert files(tmp_path) == ["whole"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_is_claimed_where_the_file_system_has_no_way_to(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", absent)
    array = disk.mapped(tmp_path / "x.npy", np.uint8, (3_000_000,))
    assert not array.any()
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= array.nbytes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "vae --hidden 1000000 1000000",
            r"^Parameters, optimizers and averages take [\d,.]+ GiB .*--hidden is 1000000 1000000",
        ),
        ("vae --latents 100000000", r"^Parameters, optimizers .* \(--latents is 100000000\)"),
        ("gan --latents 1000000000", r"^Parameters, optimizers .* \(--latents is 1000000000\)"),
        ("autoencoder --hidden 100000000", r"^Parameters, optimizers .* \(--hidden is 100000000\)"),
    ],
)
def test_a_state_that_memory_cannot_hold(line: str, sentence: str, capsys: Any, tmp_path: Path) -> None:
    command, *args = line.split()
    told = refused(capsys, lambda: run(command, [*args, "--workdir", str(tmp_path / "run"), "--quiet"]))
    assert re.search(sentence, told), told
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."),
        ValueError("RESOURCE_EXHAUSTED: Failed to allocate"),
        np._core._exceptions._ArrayMemoryError((10**9, 10**9), np.dtype(np.float32)),
    ],
)
def test_memory_that_does_not_suffice(error: Exception) -> None:
    with pytest.raises(UserError) as caught, memory.explained("Training", {"batch_size": 8, "remat": False, "bf16": True}):
        raise error
    assert str(caught.value) == (
        "Training takes more memory than there is; give a smaller --batch-size (now 8), --remat, or a smaller network."
    )


def test_a_full_disk_and_a_mistake_are_no_want_of_memory() -> None:
    for error in (ValueError("RESOURCE_EXHAUSTED: No space left on device"), ValueError("shapes differ"), KeyError("x")):
        assert not memory.exhausted(error)


def test_a_wait_is_stopped_by_a_check_unless_it_is_whole() -> None:
    slow = jax.jit(lambda x: jax.lax.fori_loop(0, 3000, lambda i, y: jnp.tanh(y @ x), x))
    x = jnp.ones((128, 128))

    class Asked(Exception):  # noqa: N818
        pass

    def check() -> None:
        raise Asked

    with waiting.stopped_by(check):
        assert waiting.wait(slow(x), whole=True).is_ready()
        with pytest.raises(Asked):
            waiting.wait(slow(x))
    assert waiting.abandoned()
    waiting._abandoned = False


def test_many_steps_in_a_call_take_bounded_memory() -> None:
    batch = {"image": jax.ShapeDtypeStruct((128, 28, 28, 1), jnp.uint8)}
    assert program.steps_that_fit(batch, 20) == 20
    assert program.steps_that_fit(batch, 10**9) * 128 * 28 * 28 <= program.MOST
    assert program.steps_that_fit({"image": jax.ShapeDtypeStruct((1 << 31, 1), jnp.uint8)}, 5) == 1


def test_how_a_chunk_is_cut_into_calls_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = fit(regression(steps=20)).digest()
    monkeypatch.setattr(program, "CALL", 0.0)  # every call is too long
    assert fit(regression(steps=20)).digest() == truth
    monkeypatch.setattr(program, "CALL", 1e9)
    assert fit(regression(steps=20)).digest() == truth


LONG = """
import sys, time
import jax, jax.numpy as jnp
sys.path.insert(0, sys.argv[1])
from games import regression
import jaxgen
from jaxgen.commands.command_line import Mistakes
from jaxgen.devices.waiting import wait

slow = jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda i, y: jnp.tanh(y @ x), x))

def evaluator(state, key, track):
    slow(jnp.ones((200, 200)), 1)
    print("evaluating", flush=True)
    wait(slow(jnp.ones((200, 200)), 10**8))

with Mistakes():
    jaxgen.fit(regression(steps=5)._replace(evaluators={"test": evaluator}), workdir=sys.argv[2], evaluate_every=5)
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [("TERM", 143), ("INT INT", 130), *(pytest.param(*s, marks=pytest.mark.slow) for s in [("INT", 130), ("TERM INT", 130)])],
)
def test_a_signal_in_one_long_call_of_an_evaluation(signals: str, code: int, tmp_path: Path) -> None:
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", LONG, here, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "evaluating\n"
        for name in signals.split():
            process.send_signal(getattr(signal, f"SIG{name}"))
            time.sleep(0.01)
        _, err = process.communicate(timeout=120)
    assert process.returncode in (code, 143 if "TERM" in signals else code), err
    assert "Traceback" not in err
    if signals in ("TERM", "INT"):
        assert "Stopped at step 5, which is saved" in err
        assert jaxgen.load(tmp_path / "run", experiment=regression).position == 5
