"""One step, however it is run: `jit` on one device or a mesh of 8, with and without fsdp, `pmap`, and two processes."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import contract
import games
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.devices import collectives, hosts, parallel
from jaxgen.runs.journal import read_jsonl

WAYS: dict[str, dict[str, Any]] = {
    "mesh": {"parallel": "jit"},
    "fsdp": {"parallel": "auto", "fsdp": 8},
    "both": {"parallel": "jit", "fsdp": 2},
    "pmap": {"parallel": "pmap"},
}


SYSTEMS: dict[str, dict[str, Any]] = {
    "vae": {"hidden": (64,)},
    "dcgan": {"channels": (16, 32)},
    "ddpm": {"channels": (16, 32)},
    "vqvae": {"channels": (16,)},
    "clip": {"width": 32, "text_width": 32, "depth": 1, "text_depth": 1, "heads": 2},
}
"""One of each kind of objective, wide enough to be cut."""


@functools.cache
def trained(system: str, way: str | None = None) -> jaxgen.Run:
    experiment = contract.make(system, **SYSTEMS[system], batch_size=16, steps=20)
    bare = experiment._replace(evaluators={}, final={}, pictures={})
    return jaxgen.fit(bare, log_every=1, quiet=True, **(WAYS[way] if way else {}))


def losses(run: jaxgen.Run) -> np.ndarray:
    lines = [line for line in run.history if line["split"] == "train"]
    return np.array([[value for name, value in sorted(line.items()) if name.endswith("loss")] for line in lines])


def flat(run: jaxgen.Run) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves((run.state.params, run.state.vars))])


@pytest.fixture(scope="module")
def one() -> jaxgen.Run:
    return games.fit(games.regression(batch_size=16, noise=0.0, ema=0.9))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_one_device_is_eight(way: dict[str, Any], one: jaxgen.Run, tmp_path: Path) -> None:
    run = games.fit(games.regression(batch_size=16, noise=0.0, ema=0.9), tmp_path, **way)
    np.testing.assert_allclose(flat(run), flat(one), atol=1e-4)
    np.testing.assert_allclose(losses(run), losses(one), rtol=1e-5)
    assert run.evaluate()["test"] == pytest.approx(one.evaluate()["test"], rel=1e-4)


@pytest.mark.parametrize(
    ("system", "way"),
    [
        ("vae", "fsdp"),
        ("vae", "pmap"),  # its noise belongs to the examples
        pytest.param("clip", "pmap", marks=pytest.mark.slow),
        pytest.param("dcgan", "pmap", marks=pytest.mark.slow),
        pytest.param("vqvae", "pmap", marks=pytest.mark.slow),  # its codebook is of the counts and sums of all
        *[pytest.param(system, "fsdp", marks=pytest.mark.slow) for system in ("dcgan", "ddpm", "vqvae", "clip")],
        *[pytest.param(system, way, marks=pytest.mark.slow) for system in SYSTEMS for way in ("mesh", "both")],
    ],
)
def test_each_kind_of_objective_trains_alike_on_one_device_and_eight(system: str, way: str) -> None:
    one, eight = trained(system), trained(system, way)
    np.testing.assert_allclose(losses(eight), losses(one), rtol=1e-5)
    np.testing.assert_allclose(flat(eight), flat(one), atol=5e-4)
    cut = [x for x in jax.tree.leaves(eight.state.params) if x.addressable_shards[0].data.size < x.size]
    assert bool(cut) == ("fsdp" in WAYS[way])


@pytest.mark.slow
def test_the_image_pools_of_replicas_are_those_of_the_global_batch() -> None:
    made = contract.make("cyclegan", layers=0, width=4, pool=20, batch_size=16, steps=5)
    bare = made._replace(evaluators={}, final={}, pictures={})
    one, eight = (jaxgen.fit(bare, quiet=True, **how) for how in ({}, WAYS["pmap"]))
    assert {int(pool["count"]) for run in (one, eight) for pool in run.state.vars["pools"].values()} == {20}
    np.testing.assert_allclose(flat(eight), flat(one), atol=5e-4)


@pytest.mark.slow
def test_dropout_under_pmap_is_other_noise_of_the_same_law() -> None:
    one, eight = losses(trained("ddpm")), losses(trained("ddpm", "pmap"))
    assert not np.array_equal(one, eight)
    np.testing.assert_allclose(eight.mean(0), one.mean(0), rtol=0.05)


@pytest.mark.parametrize("way", [pytest.param(WAYS["fsdp"], marks=pytest.mark.slow), WAYS["pmap"]], ids=["fsdp", "pmap"])
def test_resume_equals_unbroken_on_eight_devices(way: dict[str, Any], tmp_path: Path) -> None:
    def make(steps: int) -> jaxgen.Experiment:
        return games.regression(batch_size=16, ema=0.9, steps=steps)

    whole = games.fit(make(20), tmp_path / "whole", **way)
    games.fit(make(13), tmp_path / "part", **way)
    assert games.fit(make(20), tmp_path / "part", **way).digest() == whole.digest()


@pytest.mark.parametrize("way", [WAYS["mesh"], WAYS["pmap"]], ids=["mesh", "pmap"])
def test_accumulation_and_two_players(way: dict[str, Any]) -> None:
    make = lambda: games.adversarial(steps=6, every=2, ema=0.9)._replace(train=games.paired(16))
    whole, cut = games.fit(make()), games.fit(make()._replace(accumulate=2), **way)
    for name in ("discriminator/loss", "generator/loss"):
        values = [[line[name] for line in run.history if line["split"] == "train"] for run in (whole, cut)]
        # These losses draw by batch, so a micro-batch at a time: equal in distribution.
        np.testing.assert_allclose(*values, rtol=0.2)


def test_a_loaded_run_is_evaluated_and_drawn_from_on_all_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jaxgen.fit(contract.make("vae", batch_size=16, steps=2), workdir=str(tmp_path), quiet=True)
    one = jaxgen.load(tmp_path)
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(one.state)} == {1}
    monkeypatch.setattr(parallel, "choose", functools.partial(parallel.choose, "jit"))
    eight = jaxgen.load(tmp_path)
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(eight.state)} == {8}
    assert eight.digest() == one.digest()
    assert eight.evaluate()["test"] == pytest.approx(one.evaluate()["test"], rel=1e-5)
    np.testing.assert_allclose(eight.sample(9), one.sample(9), atol=1e-6)
    values = [run.measure(["frechet", "two_sample"], n=300) for run in (one, eight)]
    assert values[1] == values[0]


def test_noise_under_pmap_is_each_replica_s_own() -> None:
    def draw(key: jax.Array) -> jax.Array:
        return jax.random.bits(collectives.own(key))

    keys = jnp.broadcast_to(jax.random.key(0), (8,))
    assert len(np.unique(jax.pmap(draw, axis_name=collectives.AXIS)(keys))) == 8


def test_replicas_reach_each_other_under_pmap_and_are_one_elsewhere() -> None:
    x = jnp.arange(16.0)

    def all_of_it(x: jax.Array) -> tuple[jax.Array, ...]:
        return collectives.gather(x), collectives.total(x.sum()), collectives.mean(x.mean()), jnp.asarray(collectives.offset(x))

    inside = jax.pmap(all_of_it, axis_name=collectives.AXIS)(x.reshape(8, 2))
    for replica in range(8):
        gathered, total, mean, offset = (np.asarray(part[replica]) for part in inside)
        np.testing.assert_array_equal(gathered, x)
        assert (total, mean, offset) == (120.0, 7.5, 2 * replica)
    gathered, total, mean, offset = all_of_it(x)
    np.testing.assert_array_equal(gathered, x)
    assert (total, mean, offset) == (120.0, 7.5, 0)
    assert not collectives.named()
    assert collectives.count() == 1


def test_masked_batches_under_pmap_are_one_global_mean() -> None:
    # Replicas with 0, 1 and 2 real examples: the mean is over all of them, and so is the gradient.
    values, mask = np.arange(16.0, dtype=np.float32), np.array([0, 0, 1, 0, 1, 1] + [1] * 10, np.float32)

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> tuple[jax.Array, jaxgen.Aux]:
        return params["model"] * batch["x"], jaxgen.Aux()

    import optax

    player = {"model": jaxgen.Player(loss, optax.sgd(1.0))}
    step = jaxgen.make_train_step(player)
    way = parallel.choose("pmap")
    state = jaxgen.create_state(jax.random.key(0), {"model": jnp.float32(0.0)}, {}, player)
    batch = {"x": values.reshape(8, 2), "mask": mask.reshape(8, 2)}
    after, _ = jax.pmap(step, axis_name=collectives.AXIS)(way.place(state), batch)
    assert way.to_view(after).params["model"].item() == pytest.approx(-float((values * mask).sum() / mask.sum()), rel=1e-6)


def test_fsdp_holds_an_eighth_on_each_device() -> None:
    way = parallel.choose("jit", fsdp=8)
    state = jaxgen.TrainState(
        jnp.zeros((), jnp.int32),
        jax.random.key(0),
        {"model": {"kernel": jnp.zeros((30, 640)), "bias": jnp.zeros(64), "odd": jnp.zeros((33, 35))}},
        {"model": {"mu": jnp.zeros((640, 30))}},
        {"model": {"mean": jnp.zeros(4096)}},
        {},
    )
    placed = way.place(state)
    held = jax.tree.map(lambda x: x.addressable_shards[0].data.shape, (placed.params, placed.opt, placed.vars))
    assert held == (
        # Small leaves, and those that no dimension of lets itself be cut, are whole; so is what is no parameter.
        {"model": {"kernel": (30, 80), "bias": (64,), "odd": (33, 35)}},
        {"model": {"mu": (80, 30)}},
        {"model": {"mean": (4096,)}},
    )


def test_fsdp_stays_cut_through_training() -> None:
    run = jaxgen.fit(contract.make("vae", steps=3, hidden=(64,), batch_size=8), parallel="jit", fsdp=8, quiet=True)
    kernels = [x for x in jax.tree.leaves((run.state.params, run.state.opt)) if x.size >= parallel.SMALL]
    assert kernels
    assert all(x.addressable_shards[0].data.size * 8 == x.size for x in kernels)


@pytest.mark.parametrize(
    ("size", "options", "accumulate", "sentence"),
    [
        (
            20,
            {"parallel": "jit"},
            1,
            "A batch of 20 cannot be cut over 8 devices .* nearest batch sizes that can are 16 and 24",
        ),
        (20, {"parallel": "pmap"}, 2, "over 8 devices and into 2 micro-batches .* 16 and 32"),
        (6, {"parallel": "jit"}, 1, "that can are 8[.]"),
        (16, {"parallel": "jit", "fsdp": 3}, 1, "--fsdp 3 does not divide the 8 devices"),
        (16, {"parallel": "jit", "fsdp": 0}, 1, "--fsdp 0 does not divide the 8 devices"),
        (16, {"parallel": "pmap", "fsdp": 2}, 1, "use --parallel jit"),
    ],
)
def test_what_cannot_be_cut_is_said(size: int, options: dict[str, Any], accumulate: int, sentence: str) -> None:
    with pytest.raises(jaxgen.UserError, match=sentence):
        games.fit(games.regression(batch_size=size, accumulate=accumulate), **options)


@pytest.mark.parametrize(
    "flags",
    [
        {"processes": 2},
        {"process": 0},
        {"coordinator": "localhost:1"},
        {"coordinator": "localhost:1", "processes": 2, "process": 2},
    ],
)
def test_hosts_need_to_know_where_and_who(flags: dict[str, Any]) -> None:
    with pytest.raises(jaxgen.UserError, match="--coordinator HOST:PORT"):
        hosts.join_hosts(**flags)


SCRIPT = """
import sys
import games, jaxgen
if __name__ == "__main__":
    jaxgen.run_experiment(games.regression, sys.argv[1:])
"""
FLAGS = ["--batch-size", "16", "--log-every", "5", "--evaluate-every", "10", "--save-every", "5"]


def start(folder: Path, *flags: str, process: int | None = None, port: int = 0, devices: int = 1) -> subprocess.Popen[str]:
    script = folder / "regression.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(jaxgen.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    hosts = [] if process is None else ["--coordinator", f"localhost:{port}", "--processes", "2", "--process", str(process)]
    command = [sys.executable, str(script), *FLAGS, *flags, *hosts]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(*running: subprocess.Popen[str], code: int = 0) -> list[str]:
    try:
        said = [process.communicate(timeout=240)[1] for process in running]
    except subprocess.TimeoutExpired:
        for process in running:
            process.kill()
        raise AssertionError("\n".join(process.communicate()[1] or "" for process in running)) from None
    assert [process.returncode for process in running] == [code] * len(running), "\n".join(said)
    return said


def pair(folder: Path, *flags: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [start(folder, *flags, process=i, port=port) for i in range(2)]


def reported(folder: Path) -> dict[tuple[int, str], float]:
    lines = read_jsonl(folder / "metrics.jsonl")
    found = {(line["step"], line["split"]): line["loss"] for line in lines}
    assert len(found) == len(lines), "a line is there twice"
    return found


@pytest.mark.slow
def test_two_processes_are_one_and_resume(tmp_path: Path) -> None:
    way = ("--parallel", "jit", "--fsdp", "2")
    finish(start(tmp_path, "--workdir", "one", "--steps", "20", *way, devices=2))
    finish(*pair(tmp_path, "--workdir", "two", "--steps", "15", *way))
    first, second = finish(*pair(tmp_path, "--workdir", "two", "--steps", "20", *way))
    assert "Resuming two at step 15" in first
    assert "Resuming" not in second
    one, two = reported(tmp_path / "one"), reported(tmp_path / "two")
    assert two.pop((15, "test"))  # the end of the first part
    assert two == pytest.approx(one, rel=1e-4)
    assert len(list((tmp_path / "two" / "samples").iterdir())) == 3
    # The checkpoint of two devices in two processes can be read on one.
    assert jaxgen.load(tmp_path / "two", experiment=games.regression).position == 20


@pytest.mark.slow
def test_two_processes_under_pmap(tmp_path: Path) -> None:
    flags = ("--parallel", "pmap", "--noise", "0")
    finish(start(tmp_path, "--workdir", "one", "--steps", "20", "--noise", "0"))
    finish(*pair(tmp_path, "--workdir", "two", "--steps", "15", *flags))
    finish(*pair(tmp_path, "--workdir", "two", "--steps", "20", *flags))
    one, two = reported(tmp_path / "one"), reported(tmp_path / "two")
    two.pop((15, "test"))
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_at_a_common_step(tmp_path: Path) -> None:
    running = pair(tmp_path, "--workdir", "two", "--steps", "1000000")
    metrics = tmp_path / "two" / "metrics.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (metrics.exists() and len(read_jsonl(metrics)) > 3):
        time.sleep(0.5)
    running[1].send_signal(signal.SIGTERM)
    said = finish(*running, code=143)
    assert "which is saved" in said[0]
    run = jaxgen.load(tmp_path / "two", experiment=games.regression)
    assert run.position % 5 == 0
    assert f"Stopped at step {run.position:,}" in said[0]
