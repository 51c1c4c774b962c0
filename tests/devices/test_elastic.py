"""A checkpoint knows no devices: what 8 have begun goes on on 1, 2 or 4, under `pmap`, or on another number of hosts.

The state that is taken up is the one that was saved, bit for bit; what follows agrees with the unbroken run as closely as sums
in another order do; and the examples consumed are the same ones in the same steps, none of them twice, none left out.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from consumed import watched
from games import fit, regression
from test_parallel import finish, flat, losses
from ways import there_are

import jaxgen
from jaxgen.devices import parallel
from jaxgen.runs import workdir
from jaxgen.runs.journal import read_jsonl
from jaxgen.runs.serialization import to_tree


class Way(NamedTuple):
    """How many devices there are, and what is done with them."""

    devices: int = 1
    kind: str = "jit"
    fsdp: int = 1
    hosts: int = 1

    def __str__(self) -> str:
        cut = f" fsdp {self.fsdp}" if self.fsdp > 1 else ""
        return f"{self.kind} {self.devices}{cut}" + (f" hosts {self.hosts}" if self.hosts > 1 else "")

    @property
    def options(self) -> dict[str, Any]:
        return {"parallel": self.kind, "fsdp": self.fsdp}


ONE = Way()


@pytest.fixture(autouse=True)
def _small_leaves_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "SMALL", 16)


def game(**flags: Any) -> jaxgen.Experiment:
    return regression(batch_size=16, ema=0.9, **flags)


def stage(way: Way, folder: Path, *, steps: int, **flags: Any) -> tuple[jaxgen.Run, dict[Any, Any]]:
    """A run to a number of steps, on a way; and what it consumed."""
    experiment = watched(game(**flags, steps=steps))
    with there_are(way.devices):
        run = fit(experiment, folder, log_every=1, evaluate_every=100, **way.options)
    return run, experiment.train.take()


def both(before: dict[Any, Any], after: dict[Any, Any]) -> dict[Any, Any]:
    """Two logs as one: a step that is in both has every slot twice."""
    return {step: before.get(step, []) + after.get(step, []) for step in {**before, **after}}


def agree(run: jaxgen.Run, one: jaxgen.Run) -> None:
    np.testing.assert_allclose(losses(run), losses(one), rtol=1e-5)
    np.testing.assert_allclose(flat(run), flat(one), atol=1e-4)
    averages = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(r.state.ema)]) for r in (run, one)]
    np.testing.assert_allclose(*averages, atol=1e-4)


EVERYWHERE = [Way(n, kind) for n in (1, 2, 4, 8) for kind in ("jit", "pmap")] + [Way(n, fsdp=n) for n in (2, 4, 8)]
SOURCES = (Way(8), Way(8, fsdp=8), Way(8, "pmap"), ONE)


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        (Way(8, fsdp=8), (ONE, Way(2), Way(4, fsdp=2), Way(4, "pmap"))),
        (Way(8, "pmap"), (ONE, Way(8, fsdp=8))),
        *[pytest.param(source, EVERYWHERE, marks=pytest.mark.slow) for source in SOURCES],
    ],
    ids=lambda x: str(x) if isinstance(x, Way) else str(len(x)),
)
def test_what_was_saved_is_what_is_taken_up(source: Way, targets: Sequence[Way], tmp_path: Path) -> None:
    with there_are(source.devices):
        saved = fit(game(steps=3), tmp_path, **source.options)
    tree = jax.device_get(to_tree(saved.state))
    for way in targets:
        with there_are(way.devices):
            taken = fit(game(steps=3), tmp_path, **way.options)
        assert taken.digest() == saved.digest(), f"{source} -> {way}"
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(to_tree(taken.state)), tree)
        for kernel in (x for x in jax.tree.leaves((taken.state.params, taken.state.opt, taken.state.ema)) if x.size == 256):
            assert kernel.addressable_shards[0].data.size * way.fsdp == kernel.size
            assert len(kernel.sharding.device_set) == (1 if way.kind == "pmap" else way.devices)


STILL = {"noise": 0.0}
"""For `pmap`, where noise is a replica's own."""


@pytest.mark.parametrize(
    ("ways", "flags"),
    [
        pytest.param((Way(8, fsdp=8), Way(2), ONE), {"accumulate": 2}, marks=pytest.mark.slow),
        ((Way(4, "pmap"), Way(2, fsdp=2)), STILL),
        pytest.param((Way(8), Way(2), Way(8, fsdp=8), Way(4, fsdp=2), ONE), {}, marks=pytest.mark.slow),
        pytest.param((Way(8, "pmap"), Way(2, "pmap"), Way(4), ONE, Way(4, "pmap")), STILL, marks=pytest.mark.slow),
    ],
    ids=lambda x: " then ".join(map(str, x)) if isinstance(x, tuple) else "",
)
def test_a_run_goes_on_on_other_devices(ways: Sequence[Way], flags: dict[str, Any], tmp_path: Path) -> None:
    one, expected = stage(ONE, tmp_path / "one", steps=3 * len(ways), **flags)
    log: dict[Any, Any] = {}
    for i, way in enumerate(ways, start=1):
        run, part = stage(way, tmp_path / "elastic", steps=3 * i, **flags)
        log = both(log, part)
    assert log == expected
    agree(run, one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jit", "pmap"])
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_from_each_way_to_each(source: Way, kind: str, tmp_path: Path) -> None:
    flags = STILL if "pmap" in (kind, source.kind) else {}
    one, expected = stage(ONE, tmp_path / "one", steps=6, **flags)
    _, first = stage(source, tmp_path / "first", steps=3, **flags)
    for way in EVERYWHERE:
        if way.kind == kind:
            shutil.copytree(tmp_path / "first", tmp_path / str(way))
            run, second = stage(way, tmp_path / str(way), steps=6, **flags)
            assert both(first, second) == expected, f"{source} -> {way}"
            agree(run, one)


SCRIPT = """
import json, pathlib, sys

import jax

import consumed, contract, games, jaxgen
from jaxgen.devices import hosts, parallel

if __name__ == "__main__":
    system, flags, steps, options, meeting, out = json.loads(sys.argv[1])
    hosts.join_hosts(**meeting)
    if system == "regression":
        parallel.SMALL = 16
        experiment = games.regression(**flags, steps=steps)
    else:
        experiment = contract.make(system, **{k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}, steps=steps)
    experiment = consumed.watched(experiment._replace(evaluators={}, final={}, pictures={}))
    # With several hosts a run's state is brought together before it is shown.
    cut, shown = [], parallel.Jit.to_view
    note = lambda x: cut.append(not x.sharding.is_fully_replicated)
    parallel.Jit.to_view = lambda way, tree: jax.tree.map(note, tree) and shown(way, tree)
    jaxgen.fit(experiment, workdir="run", log_every=1, save_every=2, quiet=True, **options)
    log = [[name, key.hex(), pairs] for (name, key), pairs in experiment.train.take().items()]
    pathlib.Path(out).write_text(json.dumps({"log": log, "cut": any(cut)}))
"""


def begin(folder: Path, system: str, flags: dict[str, Any], steps: int, way: Way) -> tuple[list[Path], list[Any]]:
    folder.mkdir(exist_ok=True)
    script = folder / "elastic.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(jaxgen.__file__).parents[1])])
    local = f"--xla_force_host_platform_device_count={way.devices // way.hosts}"
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": local}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    files, running = [], []
    for process in range(way.hosts):
        hosts = {"coordinator": f"localhost:{port}", "processes": way.hosts, "process": process} if way.hosts > 1 else {}
        files.append(folder / f"consumed {steps} {process}.json")
        arguments = json.dumps([system, flags, steps, way.options, hosts, str(files[-1])])
        command = [sys.executable, str(script), arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes))
    return files, running


def processes(ways: Sequence[Way], folder: Path, system: str, flags: dict[str, Any], *, steps: int = 2) -> tuple[Any, Any, Any]:
    """One run, some steps on each of the ways, each in processes of its own: its state, its losses and what it consumed."""
    log: dict[Any, Any] = {}
    for i, way in enumerate(ways, start=1):
        files, running = begin(folder, system, flags, steps * i, way)
        finish(*running)
        told = [json.loads(file.read_text()) for file in files]
        assert [t["cut"] for t in told] == [way.fsdp > 1] * way.hosts, f"{way}: the parameters are cut, or are not"
        for name, key, pairs in (entry for t in told for entry in t["log"]):
            log[name, key] = sorted(log.get((name, key), []) + pairs)
    with contextlib.closing(workdir.read(folder / "run").checkpoints()) as checkpoints:
        assert checkpoints.steps()[-1] == steps * len(ways)
        tree = checkpoints.tree(steps * len(ways))
    lines = [line for line in read_jsonl(folder / "run" / "metrics.jsonl") if line["split"] == "train"]
    assert [line["step"] for line in lines] == [*range(1, steps * len(ways) + 1)]
    return tree, [[value for name, value in sorted(line.items()) if name.endswith("loss")] for line in lines], log


VAE = ("vae", {"hidden": (64,), "batch_size": 16, "ema": 0.9})
GAME = ("regression", {"batch_size": 16, "ema": 0.9})
QUIET = ("regression", {"batch_size": 16, "ema": 0.9, **STILL})
PLACES: dict[str, tuple[tuple[str, dict[str, Any]], tuple[Way, ...]]] = {
    "eight, four, two, one": (VAE, (Way(8), Way(4), Way(2), ONE)),
    "fsdp, fewer and fewer": (VAE, (Way(8, fsdp=8), Way(4, fsdp=4), Way(2, fsdp=2), ONE)),
    "fsdp, more and more": (VAE, (ONE, Way(2), Way(4, fsdp=2), Way(8, fsdp=8))),
    "two players": (("dcgan", {"channels": (16, 32), "batch_size": 16}), (Way(8, fsdp=8), ONE, Way(4))),
    "replicas": (QUIET, (Way(8, "pmap"), Way(2, "pmap"), ONE, Way(8, "pmap"))),
    "two hosts, one, two": (GAME, (Way(2, hosts=2), ONE, Way(4, fsdp=2, hosts=2), Way(2, fsdp=2))),
    "two hosts cut, one, two": (GAME, (ONE, Way(2, fsdp=2, hosts=2), ONE, Way(2, hosts=2))),
    "two hosts of replicas": (QUIET, (Way(4, "pmap", hosts=2), Way(2, "pmap"), Way(2, "pmap", hosts=2), ONE)),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_processes_with_other_devices_and_hosts(place: str, tmp_path: Path) -> None:
    (system, flags), ways = PLACES[place]
    one = processes([ONE], tmp_path / "one", system, flags, steps=2 * len(ways))
    tree, values, log = processes(ways, tmp_path / "elastic", system, flags)
    assert log == one[2]
    np.testing.assert_allclose(values, one[1], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), tree, one[0])
