"""Networks of another run as parts that never change: kept once by the run that takes them, whatever becomes of the other."""

import json
import shutil
from pathlib import Path
from typing import Any

import contract
import games
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import coder, fit, latent
from ways import there_are

import jaxgen
from jaxgen import commands
from jaxgen.commands import runs
from jaxgen.errors import DamagedError, UserError
from jaxgen.runs import load, parts, workdir

X = jnp.asarray(np.random.default_rng(1).uniform(size=(5, 16)), jnp.float32)
QUIET = {"track": lambda x, **_: x}
OWN = {"experiment": latent}

WAYS: dict[str, dict[str, Any]] = {
    "one device": {},
    "mesh": {"parallel": "jit"},
    "fsdp": {"fsdp": 8},
    "pmap": {"parallel": "pmap"},
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first stage, with averages."""
    folder = tmp_path_factory.mktemp("first") / "run"
    fit(coder(ema=0.5), folder)
    return folder


@pytest.fixture
def parent(first: Path, tmp_path: Path) -> Path:
    """A copy of it to delete."""
    return Path(shutil.copytree(first, tmp_path / "parent"))


def same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_frozen_network_is_what_the_other_run_hands_out(first: Path) -> None:
    part = jaxgen.frozen(first, experiment=coder)
    module, variables = jaxgen.load(first, experiment=coder).network()
    same({"params": part.params, **part.vars}, variables)
    assert set(part.vars) == {"batch_stats", "codebook"}
    assert np.abs(part.vars["codebook"]["centre"]).max() > 0
    np.testing.assert_array_equal(part.module.apply({"params": part.params, **part.vars}, X), module.apply(variables, X))
    assert part.digest == jaxgen.frozen(first, experiment=coder).digest != jaxgen.frozen(first, step=5, experiment=coder).digest


@pytest.mark.parametrize(
    "way", [pytest.param(way, id=name, marks=[pytest.mark.slow] * (name in ("fsdp", "pmap"))) for name, way in WAYS.items()]
)
def test_a_run_outlives_the_one_that_it_took_a_network_from(way: dict[str, Any], parent: Path, tmp_path: Path) -> None:
    whole = fit(latent(run=str(parent), ema=0.9), tmp_path / "whole", save_every=2, **way)
    folder = tmp_path / "part"
    made = latent(run=str(parent), steps=4, ema=0.9)
    fit(made, folder, save_every=2, **way)
    digest = made.frozen["coder"].digest

    assert [path.name for path in (folder / "frozen").iterdir()] == [digest]
    assert json.loads((folder / "run.json").read_text())["frozen"]["coder"]["digest"] == digest
    checkpoints = workdir.read(folder).checkpoints()
    assert checkpoints.meta(4)["run"]["frozen"]["coder"]["digest"] == digest
    tree = checkpoints.tree(4)
    checkpoints.close()
    assert (set(tree["params"]), set(tree["vars"])) == ({"model"}, set())

    shutil.rmtree(parent)
    with parts.kept_in(folder):  # as the command line makes it
        resumed = fit(latent(run=str(parent), ema=0.9), folder, save_every=2, **way)
    assert resumed.position == 8
    assert resumed.digest() == whole.digest() == load.digest(folder)
    loaded = jaxgen.load(folder, **OWN)
    assert loaded.digest() == whole.digest()
    same(loaded.network("coder")[1], whole.network("coder")[1])
    np.testing.assert_allclose(loaded.sample(3, **QUIET), whole.sample(3, **QUIET), rtol=1e-6, atol=1e-6)
    assert loaded.evaluate(**QUIET)["test"] == pytest.approx(whole.evaluate(**QUIET)["test"], rel=1e-5)
    assert fit(jaxgen.load(folder, **OWN).experiment._replace(steps=9), folder, **way).position == 9


@pytest.mark.parametrize(("before", "after"), [((8, "jit"), (1, "jit")), ((1, "jit"), (4, "pmap")), ((2, "pmap"), (8, "jit"))])
def test_a_run_goes_on_with_another_number_of_devices(before: Any, after: Any, parent: Path, tmp_path: Path) -> None:
    whole = fit(latent(run=str(parent)))
    with there_are(before[0]):
        fit(latent(run=str(parent), steps=4), tmp_path / "run", parallel=before[1])
    shutil.rmtree(parent)
    with there_are(after[0]), parts.kept_in(tmp_path / "run"):
        resumed = fit(latent(run=str(parent)), tmp_path / "run", parallel=after[1])
    same(resumed.network("coder")[1], whole.network("coder")[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), resumed.state.params, whole.state.params)


@pytest.mark.parametrize(("devices", "kind"), [(1, "jit"), (8, "jit"), (3, "pmap")])
def test_the_variables_of_a_frozen_network_stay_as_they_are(devices: int, kind: Any, first: Path) -> None:
    made = latent(run=str(first), trained=True)
    made = made._replace(train=jaxgen.data.shuffled(jaxgen.data.from_arrays(games.ARRAYS), 24, jaxgen.data.scale()))
    with there_are(devices):
        state = fit(made, parallel=kind).state
    same(state.vars["coder"], dict(made.frozen["coder"].vars))
    same(state.params["coder"], made.frozen["coder"].params)


def test_what_is_kept_goes_before_what_the_other_run_has_become(parent: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    digest = latent(run=str(parent)).frozen["coder"].digest
    fit(latent(run=str(parent), steps=4), folder)
    fit(coder(steps=9, ema=0.5), parent)
    with pytest.raises(
        UserError, match=rf"frozen part 'coder' \({digest[:8]} of .*parent at step 6 there, .* at step 9 here\)"
    ):
        fit(latent(run=str(parent)), folder)
    with parts.kept_in(folder):
        made = latent(run=str(parent))
    assert (made.frozen["coder"].digest, made.frozen["coder"].step) == (digest, 6)
    assert fit(made, folder).position == 8
    # The same network elsewhere is no other run.
    shutil.copytree(folder / "frozen" / digest, tmp_path / "elsewhere")
    fit(coder(ema=0.5), tmp_path / "again")
    assert fit(latent(run=str(tmp_path / "again"), steps=9), folder).position == 9


def test_a_network_is_handed_on_from_run_to_run(parent: Path, tmp_path: Path) -> None:
    second, third = tmp_path / "second", tmp_path / "third"
    child = fit(latent(run=str(parent)), second)

    @jaxgen.recorded
    def last(*, of: str, steps: int = 2) -> jaxgen.Experiment:
        made = games.regression(steps=steps)
        taken = {name: jaxgen.frozen(of, name, experiment=latent) for name in ("model", "coder")}
        return made._replace(frozen={f"old {name}": part for name, part in taken.items()})

    fit(last(of=str(second)), third)
    shutil.rmtree(parent)
    shutil.rmtree(second)
    loaded = jaxgen.load(third, experiment=last)
    for name in ("model", "coder"):
        same(loaded.network(f"old {name}")[1], child.network(name)[1])


def test_the_data_of_the_other_run_are_neither_needed_nor_recorded(tmp_path: Path) -> None:
    arrays = {"image": np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)}
    np.savez(tmp_path / "set.npz", **{f"{split}_image": x for split in ("train", "test") for x in arrays.values()})
    made = contract.make("autoencoder", dataset=str(tmp_path / "set.npz"), steps=1)._replace(pictures={})
    network = jaxgen.fit(made, workdir=tmp_path / "first", quiet=True).network()
    (tmp_path / "set.npz").unlink()

    @jaxgen.recorded
    def second(*, of: str, dataset: str = "digits", steps: int = 1) -> jaxgen.Experiment:
        return contract.make("lenet", dataset=dataset, steps=steps)._replace(frozen={"old": jaxgen.frozen(of)})

    child = second(of=str(tmp_path / "first"), validation=0.5)
    assert {source.source.name.split("/")[0] for source in child.config.opened} == {"digits"}
    same({"params": child.frozen["old"].params}, network[1])


def test_the_digest_names_the_other_run(parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(latent(run=str(parent)), tmp_path / "run")
    capsys.readouterr()
    runs.digest(tmp_path / "run")
    digest, told = capsys.readouterr().out.splitlines()
    assert digest == load.digest(tmp_path / "run")
    assert told.startswith("frozen coder: ")
    assert told.endswith(f"the network 'model' of {parent} at step 6")
    runs.digest(parent)
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert commands


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_what_cannot_be_taken_is_refused_in_a_sentence(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nowhere holds no run to take the network 'model' from; train that run first, or check the path"
    ):
        jaxgen.frozen(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"The run in .*parent has no network 'decoder'; it has model\."):
        jaxgen.frozen(parent, "decoder", experiment=coder)
    with pytest.raises(UserError, match=r"was trained by a file of its user's; name it"):
        jaxgen.frozen(parent)
    with pytest.raises(
        UserError, match=r"is not the one that its flags make here: batch_stats/.*mean is float32\[3\] there and absent here"
    ):
        jaxgen.frozen(parent, experiment=wider)
    with pytest.raises(ValueError, match="'model' is frozen, and a player"):
        fit(coder()._replace(frozen={"model": jaxgen.frozen(parent, experiment=coder)}))

    record = json.loads((parent / "run.json").read_text())
    (parent / "run.json").write_text(json.dumps({**record, "versions": {"jaxgen": "9.9"}, "flags": {"unheard_of": 1}}))
    with pytest.raises(UserError, match=r"does not take \(it was written by jaxgen 9.9, this is .*unheard-of"):
        jaxgen.frozen(parent, experiment=coder)
    (parent / "run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: it is not the JSON that a run writes"):
        jaxgen.frozen(parent, experiment=coder)


@jaxgen.recorded
def wider(*, steps: int = 6, ema: float | None = None, learning_rate: float = 0.03) -> jaxgen.Experiment:
    """The first stage as another version might have it."""
    return coder()._replace(networks={"model": jaxgen.Network(games.Net(16), jnp.zeros((1, 16)))})


def test_damage_is_noticed_in_the_other_run_and_in_what_is_kept(parent: Path, tmp_path: Path) -> None:
    fit(latent(run=str(parent), steps=4), tmp_path / "run")
    for file in sorted((parent / "checkpoints" / "6" / "state").rglob("*")):
        if file.is_file() and file.parent.name == "d":
            damage(file)
    with pytest.raises(DamagedError, match=r"The checkpoint of step 6 in .*parent.* is damaged"):
        jaxgen.frozen(parent, experiment=coder)
    (kept,) = (tmp_path / "run" / "frozen").iterdir()
    damage(kept / "network.msgpack")
    with pytest.raises(DamagedError, match=r"The frozen network in .* is damaged: it is not what was written"):
        jaxgen.load(tmp_path / "run", **OWN)


def test_two_checkpoints_of_one_network_are_told_apart(parent: Path, tmp_path: Path) -> None:
    """In the run's own folder too, when the other run is gone: the one of step 5, and the last."""
    early, last = (jaxgen.frozen(parent, step=step, experiment=coder) for step in (5, None))
    made = latent(run=str(parent), steps=2)
    fit(made._replace(frozen={**made.frozen, "early": early}), tmp_path / "run")
    shutil.rmtree(parent)
    with parts.kept_in(tmp_path / "run"):
        again = [jaxgen.frozen(parent, step=step, experiment=coder) for step in (5, None)]
    assert [part.digest for part in again] == [early.digest, last.digest]
    assert early.digest != last.digest
