"""A validation split: a part of the training examples by seed, evaluated in training; the test split waits for the end."""

import json
from pathlib import Path
from typing import Any

import contract
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.experiments import names
from jaxgen.measuring import figures
from jaxgen.measuring.protocol import difference

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1)).astype(np.uint8)


@pytest.mark.parametrize(("n", "share", "seed"), [(10, 0.1, 0), (37, 0.5, 1), (3, 0.01, 2), (1000, 0.99, 3)])
def test_the_parts_are_disjoint_and_cover_the_set(n: int, share: float, seed: int) -> None:
    source = data.from_arrays({"label": np.arange(n)})
    parts = data.HeldOut(share, seed).cut(source)
    kept, held_out = (part.gather(np.arange(part.length))["label"].tolist() for part in parts)
    assert sorted([*kept, *held_out]) == list(range(n))
    assert len(held_out) == max(round(share * n), 1)
    again = data.HeldOut(share, seed).cut(source)
    assert [part.fingerprint for part in again] == [part.fingerprint for part in parts]
    assert parts[0].fingerprint != parts[1].fingerprint != source.fingerprint


def test_another_seed_holds_out_others_and_too_large_a_share_is_refused() -> None:
    source = data.from_arrays({"label": np.arange(100)}, name="mine")
    chosen = [data.HeldOut(0.1, seed).cut(source)[1].gather(np.arange(10))["label"].tolist() for seed in range(3)]
    assert len({tuple(one) for one in chosen}) == 3
    with pytest.raises(UserError, match=r"mine has 1 examples, of which a share of 0.5 leaves none"):
        data.HeldOut(0.5).cut(data.from_arrays({"label": np.arange(1)}, name="mine"))


@jaxgen.recorded
def brightness(*, dataset: str | data.Given = "digits", steps: int = 4, touched: Any = None) -> jaxgen.Experiment:
    """One number that learns how bright the pictures are; `touched` gathers what is evaluated, and on which examples."""
    train, test = (data.load(dataset, split) for split in ("train", "test"))

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return (batch["image"].mean((1, 2, 3)) - params["model"]) ** 2, jaxgen.Aux()

    player = jaxgen.Player(loss, optax.sgd(0.1))
    of_test = jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=5, transform=data.scale())

    def evaluate(state: Any, key: Any, track: Any) -> Any:
        touched.append(test.name)
        return of_test(state, key, track)

    return jaxgen.Experiment(
        train=data.shuffled(train, 5, data.scale()),
        init=lambda key: ({"model": np.float32(0)}, {}),
        players={"model": player},
        steps=steps,
        splits={"train": train, "test": test},
        evaluators={"test": evaluate},
        final={"test": lambda state, key, track: {"slow": 1.0}},
        protocol={"loss": ()},
    )


SETS = (data.from_arrays({"image": IMAGE}, name="mine"), data.from_arrays({"image": IMAGE[:7]}, name="mine test"))


def test_the_test_split_is_evaluated_once_at_the_end(tmp_path: Path) -> None:
    touched: list[str] = []
    experiment = brightness(dataset=SETS, validation=0.2, validation_seed=3, touched=touched)
    assert experiment.train.epoch_steps == 8.0  # of the 40 examples that stay
    run = jaxgen.fit(experiment, log_every=4, evaluate_every=2, quiet=True)
    assert touched == ["mine[validation 0.2, seed 3]"] * 2 + ["mine test"]
    reports = [(line["step"], line["split"]) for line in run.history if line["split"] != "train"]
    assert reports == [(2, "validation"), (4, "validation"), (4, "validation"), (4, "test")]
    assert experiment.best == "validation/loss"
    assert run.history[-1].keys() >= {"loss", "slow"}


def test_evaluations_name_the_split_its_share_and_its_seed(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        run = jaxgen.fit(brightness(dataset=SETS, validation=0.2, validation_seed=seed, touched=[]), quiet=True)
        quiet = {"track": lambda x, **_: x}
        assert set(run.evaluate(**quiet)) == {"validation", "test"}
        values = run.evaluate(split="validation", **quiet)
        assert set(values) == {"validation"}
        found.append(run.figures(values)["validation/loss"])
        assert f"mine[validation 0.2, seed {seed}] " in found[-1].protocol.real
        assert set(run.figures(run.evaluate(split="test", **quiet))) == {"test/loss"}
    with pytest.raises(UserError, match=r"real is mine.*seed 0.* and mine.*seed 1"):
        difference(*found)
    plain = jaxgen.fit(brightness(dataset=SETS, touched=[]), quiet=True)
    with pytest.raises(UserError, match="evaluates nothing on the split 'validation', only on test; a run that is trained"):
        plain.evaluate(split="validation")
    with pytest.raises(UserError, match="no validation split"):
        figures.source(plain.experiment, "validation")
    assert figures.source(run.experiment, "train").length == 40


def test_a_run_goes_on_with_the_same_split_alone(tmp_path: Path) -> None:
    vae = lambda steps, **flags: contract.make("vae", dataset=SETS, steps=steps, **flags)
    folder = tmp_path / "run"
    jaxgen.fit(vae(1, validation=0.2), workdir=folder, quiet=True)
    assert json.loads((folder / "run.json").read_text())["flags"]["validation"] == 0.2
    assert jaxgen.fit(vae(2, validation=0.2), workdir=folder, quiet=True).position == 2
    for other in ({"validation": 0.3}, {"validation": 0.2, "validation_seed": 1}, {}):
        with pytest.raises(UserError, match="differs in --validation"):
            jaxgen.fit(vae(3, **other), workdir=folder, quiet=True)
    loaded = jaxgen.load(folder, dataset=SETS)
    assert set(loaded.evaluate(track=lambda x, **_: x)) == {"validation", "test"}
    assert jaxgen.load(folder).sample(2).shape == (2, 4, 4, 1)
    # Without a validation split the record is what it always was: runs of earlier versions go on.
    assert "validation" not in contract.make("vae", dataset=SETS).config.flags


@pytest.mark.parametrize("name", contract.one_a_family(names(), long=("clip",)))
def test_every_experiment_has_a_validation_split(name: str) -> None:
    plain, made = contract.make(name), contract.make(name, validation=0.25)
    held_out = {split: split.replace("test", "validation") for split in {**plain.evaluators, **plain.final}}  # by domain too
    assert set(made.evaluators) == {held_out[split] for split in plain.evaluators}
    assert {*held_out, *(held_out[split] for split in plain.final)} == set(made.final)
    assert made.best == (plain.best and plain.best.replace("test/", "validation/"))
    assert made.train.epoch_steps == pytest.approx(0.75 * plain.train.epoch_steps, rel=0.01)
    assert "validation" in (made.config.changed())


def test_what_cannot_be_is_refused() -> None:
    @jaxgen.recorded
    def parts(*, dataset: Any = SETS[0]) -> jaxgen.Experiment:
        data.load(dataset, "train[:20]")
        raise AssertionError

    @jaxgen.recorded
    def loads_nothing(*, steps: int = 1) -> jaxgen.Experiment:
        return brightness(dataset=SETS, touched=[])._replace(train=data.shuffled(SETS[0], 5))

    with pytest.raises(UserError, match=r"--validation cuts the split train, and this experiment reads train\[:20\]"):
        parts(validation=0.1)
    with pytest.raises(UserError, match=r"--validation is 1.0; give 0 or more and less than 1"):
        brightness(dataset=SETS, validation=1.0)
    with pytest.raises(UserError, match="--validation-seed goes with --validation"):
        brightness(dataset=SETS, validation_seed=1)
