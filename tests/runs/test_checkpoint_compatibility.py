"""Checkpoints of another experiment or version: the difference is told, and none of them is taken for damaged."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from checkpoints import data_files, resume, rewritten
from games import fit, regression
from mistakes import contents

import jaxgen
from jaxgen.errors import DamagedError, UserError
from jaxgen.runs import load, run, workdir


def test_a_checkpoint_of_another_experiment_is_no_damaged_one(run_folder: Path) -> None:
    with pytest.raises(UserError, match="does not fit this experiment: ema/") as caught:
        jaxgen.load(run_folder, experiment=lambda **flags: regression(**flags)._replace(ema=None))
    assert not isinstance(caught.value, DamagedError)


def changed(leaf: str, change: Any) -> Any:
    """The experiment, whose first state has one leaf changed, removed or added: as another version of its code would."""

    def experiment(**flags: Any) -> jaxgen.Experiment:
        made = regression(**flags)

        def init(key: jax.Array) -> Any:
            params, vars = jax.tree.map(lambda x: x, made.initial(key))
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
    folder = workdir.read(run_folder)
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


def test_a_newer_format_is_told_and_nothing_is_moved(run_folder: Path) -> None:
    rewritten(run_folder, 20, format=99)
    before = contents(run_folder / "checkpoints")
    with pytest.raises(UserError, match=r"step 20 in .* was written by a newer jaxgen \(format 99, .*upgrade jaxgen") as caught:
        resume(run_folder)
    assert not isinstance(caught.value, DamagedError)
    assert contents(run_folder / "checkpoints") == before


@pytest.mark.parametrize("change", [{"run": {"versions": {"jax": "0.3.0", "flax": "99.0"}}}, {"storage": "0.0.1"}])
def test_other_versions_on_record_are_no_damage(change: dict[str, Any], run_folder: Path) -> None:
    truth = load.digest(run_folder)
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
