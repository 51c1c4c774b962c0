"""Starting, breaking and watching the processes of tests/breakable.py, and what they leave beside an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import hashes
from jaxgen.runs import workdir
from jaxgen.runs.journal import read_jsonl

HERE = Path(__file__).parent
TRAIN = {"steps": 30, "log_every": 7, "evaluate_every": 15, "save_every": 5, "keep": 3, "workdir": "run"}
PATIENCE = 180.0
STEPS = TRAIN["steps"]


class Broken(NamedTuple):
    """What a process left."""

    code: int
    err: str
    out: str


class Child:
    """A process of its own."""

    def __init__(self, zygote: "Zygote", pid: int, out: Path, err: Path) -> None:
        self.zygote, self.pid, self.out, self.err = zygote, pid, out, err

    def wait(self, seconds: float = PATIENCE) -> Broken:
        """Its end; a process that does not end is killed, and the test with it."""
        code = self.zygote.ask(wait=self.pid, seconds=seconds)
        if code is None:
            for signum in (signal.SIGUSR1, signal.SIGKILL):
                os.kill(self.pid, signum)
                self.zygote.ask(wait=self.pid, seconds=1)
            raise AssertionError(f"hangs:\n{self.said()}")
        return Broken(code, self.said(), self.out.read_text())

    def said(self) -> str:
        return self.err.read_bytes().decode() if self.err.is_file() else ""  # a pipe has another reader

    def running(self) -> bool:
        return self.zygote.ask(wait=self.pid, seconds=0) is None

    def send(self, signum: int) -> None:
        if self.running():  # else its number may be another's by now
            os.kill(self.pid, signum)

    def until(self, reached: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Waits until something is so, or it ends."""
        deadline = time.monotonic() + seconds
        while self.running() and not reached():
            assert time.monotonic() < deadline, f"waited in vain:\n{self.said()}"
            time.sleep(0.005)


class Zygote:
    """Forks the processes, in a mount namespace of its own where that is permitted."""

    def __init__(self, home: Path) -> None:
        own = ["unshare", "-rm"]
        self.may_mount = subprocess.run([*own, "mount", "-t", "tmpfs", "t", "/mnt"], capture_output=True).returncode == 0
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        # What a user sees is looked at, and XLA of jax 0.10.0 complains of every program that it takes from the tests' cache.
        env["TF_CPP_MIN_LOG_LEVEL"] = "3"
        env |= {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(home / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAXGEN_CACHE": str(home / "cache"),
        }
        command = [*(own if self.may_mount else []), sys.executable, str(HERE / "breakable.py"), "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self._process.stdout.readline() == "ready\n"
        self._logs, self._count, self._disks = home, 0, set[Path]()

    def ask(self, **request: Any) -> Any:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def shell(self, command: str) -> str:
        """A command in the processes' namespace."""
        code, said = self.ask(shell=command)
        assert code == 0, said
        return said

    def disk(self, path: Path, size: str) -> Path:
        """A small disk, which the processes see there."""
        self.shell(f"mount -t tmpfs -o size={size} tmpfs {path}")
        self._disks.add(path)
        return path

    def seen(self, path: Path) -> Path:
        """A folder of the processes, as it can be read from here: a copy, where it is a disk of theirs."""
        if path not in self._disks:
            return path
        copy = path.with_name(f"{path.name} seen")
        self.shell(f"rm -rf '{copy}' && cp -a {path} '{copy}'")
        return copy

    def start(
        self,
        cwd: Path,
        *command: str,
        faults: Sequence[Mapping[str, Any]] = (),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        err: Path | None = None,
        **flags: Any,
    ) -> Child:
        """A process in a folder: `jaxgen COMMAND`, or without one a training with these flags and those of TRAIN."""
        self._count += 1
        out, err = self._logs / f"{self._count}.out", err or self._logs / f"{self._count}.err"
        if not err.exists():
            err.touch()
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in {**TRAIN, **flags}.items())
        request = {
            "command": "jaxgen" if command else "train",
            "args": command or [word for pair in pairs for word in pair],
            "cwd": str(cwd),
            "env": dict(env or {}),
            "faults": list(faults),
            "log": str(log) if log else None,
        }
        return Child(self, self.ask(**request, out=str(out), err=str(err)), out, err)

    def run(self, cwd: Path, *command: str, **options: Any) -> Broken:
        return self.start(cwd, *command, **options).wait()

    def close(self) -> None:
        with self._process:
            self._process.stdin.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics but the speed, after each was seen to be whole."""
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    found = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in found]


def digests(folder: Path) -> dict[int, str]:
    """The digest of every committed checkpoint, each of them read and verified."""
    if not (folder / "checkpoints").is_dir():
        return {}
    checkpoints = workdir.Workdir(folder, {"best": "test/loss"}).checkpoints()
    try:
        return {s: hashes.digest(checkpoints.tree(s), int(checkpoints.meta(s)["position"])) for s in checkpoints.steps()}
    finally:
        checkpoints.close()


def where(folder: Path) -> str:
    """What a process that was killed was about, as its folder tells."""
    checkpoints = folder / "checkpoints"
    if not (folder / "run.json").exists():
        return "before the record"
    if (folder / "run.json.tmp").exists() or (folder / "metrics.jsonl.tmp").exists():
        return "rewriting the record or the lines"
    if not checkpoints.is_dir() or not any(checkpoints.iterdir()):
        return "before the first checkpoint"
    if any(p.name.endswith("-tmp") for p in checkpoints.iterdir()):
        return "writing a checkpoint"
    if (checkpoints / ".deleted").exists():
        return "deleting a checkpoint"
    return "between checkpoints"


class Truth(NamedTuple):
    """What a run is that nothing disturbed."""

    digests: Mapping[int, str]
    lines: list[dict[str, Any]]


Truths = Callable[..., Truth]


def silent(broken: Broken) -> None:
    """Nothing that a user would have to scroll past."""
    assert "Traceback" not in broken.err, broken.err
    lines = [line.rpartition("\r")[2] for line in broken.err.split("\n")]  # a bar is drawn again in its own line
    assert len([line for line in lines if line.strip()]) < 20, broken.err


def sentence(broken: Broken, code: int = 2) -> str:
    """The last line, of a process that stopped by one."""
    silent(broken)
    assert broken.code == code, broken
    last = broken.err.splitlines()[-1]
    assert last.endswith((".", "`")), last
    assert len(last) < 400, last
    return last


def committed(folder: Path, truth: Truth) -> int:
    """The last step on disk, after every checkpoint was seen to be that of the undisturbed run, and its lines to be there."""
    found = digests(folder / "run")
    # A signal saves at any step, between those of the plan: of these, the planned ones that follow tell.
    assert {step: digest for step, digest in found.items() if truth.digests.get(step, digest) != digest} == {}
    last = max(found, default=0)
    until = [line for line in truth.lines if line["step"] < last]
    there = [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_jsonl(folder / "run/metrics.jsonl")]
    assert there[: len(until)] == until
    return last


def goes_on(zygote: Zygote, folder: Path, truth: Truth, **options: Any) -> Broken:
    """The same command finishes the run, which is then the undisturbed one."""
    before = committed(zygote.seen(folder), truth)
    got = zygote.run(folder, **options)
    assert got.code == 0, got.err
    silent(got)
    if before:
        assert before == max(truth.digests) or f"Resuming run at step {before:,} of" in got.err
    finished(zygote.seen(folder), truth)
    return got


def finished(folder: Path, truth: Truth) -> None:
    assert committed(folder, truth) == max(truth.digests)
    assert lines(folder / "run") == truth.lines
    kept = sorted(digests(folder / "run"))
    assert [step for step in kept if step in truth.digests][-3:] == sorted(truth.digests)[-3:]
    assert len(kept) <= 4  # the best may be an older one
    assert not {p.name for p in (folder / "run").rglob("*") if "tmp" in p.name or p.name == ".deleted"}
