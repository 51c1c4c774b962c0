"""Splits are values, and may be of several domains: two sets in one game, evaluated, measured, held out and moved."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from contract import make
from folders import picture

import jaxgen
from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.experiment import of_split

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
QUIET = {"track": lambda x, **_: x}


def given(name: str, first: int) -> tuple[data.Source, data.Source]:
    parts = IMAGES[first : first + 20], IMAGES[first + 20 : first + 30]
    train, test = (
        data.from_arrays({"image": x}, name=f"{name} {split}") for split, x in zip(("train", "test"), parts, strict=True)
    )
    return train, test


PHOTOS, PAINTINGS = given("photos", 0), given("paintings", 30)


@jaxgen.recorded
def translation(*, photos: str | data.Given, paintings: str | data.Given, steps: int = 4) -> jaxgen.Experiment:
    """Two numbers that learn how bright the pictures of two domains are."""
    domains = {"photos": photos, "paintings": paintings}
    splits = {}
    for name, dataset in domains.items():
        splits[f"train/{name}"], splits[f"test/{name}"] = data.train_and_test(dataset, cache_budget=0)

    def brightness(params: Any, name: str, image: Any) -> Any:
        return (image.mean((1, 2, 3)) - params["model"][name]) ** 2

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return sum(brightness(params, name, batch[name]["image"]) for name in domains), jaxgen.Aux()

    def over(name: str) -> jaxgen.Evaluator:
        measure = lambda state, batch, key: {"loss": brightness(state.params, name, batch["image"])}
        return jaxgen.mean_over(splits[f"test/{name}"], measure, batch_size=5, transform=data.scale())

    return jaxgen.Experiment(
        train=data.join(**{name: data.shuffled(splits[f"train/{name}"], 5, data.scale()) for name in domains}),
        init=lambda key: ({"model": dict.fromkeys(domains, np.float32(0))}, {}),
        players={"model": jaxgen.Player(loss, optax.sgd(0.2))},
        steps=steps,
        splits=splits,
        evaluators={f"test/{name}": over(name) for name in domains},
        sample=lambda state, key, given: jax.random.uniform(key, (len(given["index"]), 4, 4, 1)),
        best="test/photos/loss",
        protocol={"loss": ()},
    )


def fit(folder: Path, steps: int = 4, photos: Any = PHOTOS, paintings: Any = PAINTINGS, **flags: Any) -> jaxgen.Run:
    made = translation(photos=photos, paintings=paintings, steps=steps, **flags)
    return jaxgen.fit(made, workdir=folder, evaluate_every=2, quiet=True)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_figures_and_measurements_are_of_one_domain(tmp_path: Path) -> None:
    run = fit(tmp_path / "run")
    values = run.evaluate(**QUIET)
    assert set(values) == {"test/photos", "test/paintings"} == set(run.evaluate(split="test", **QUIET))
    assert set(run.evaluate(split="test/photos", **QUIET)) == {"test/photos"}
    with pytest.raises(UserError, match="nothing on the split 'photos', only on test/paintings, test/photos"):
        run.evaluate(split="photos")
    figures = run.figures(values)
    assert {name: figure.protocol.real.split()[0] for name, figure in figures.items()} == {
        "test/photos/loss": "photos",
        "test/paintings/loss": "paintings",
    }
    for split, other in (("test/photos", "photos train"), ("train/paintings", "paintings test")):
        (found,) = run.measure(["frechet"], n=8, split=split, **QUIET).values()
        domain = split.partition("/")[2]
        assert found.protocol.real.startswith(domain)
        assert found.floor is not None, other
    with pytest.raises(UserError, match="no split 'test'; it has train/photos, test/photos, train/paintings, test/paintings"):
        run.measure(["frechet"], n=8)


def test_the_best_checkpoint_is_that_of_one_domain(tmp_path: Path) -> None:
    run = fit(tmp_path / "run")
    losses = {line["step"]: line["loss"] for line in run.history if line["split"] == "test/photos"}
    assert jaxgen.load(tmp_path / "run", experiment=translation, best=True).position == min(losses, key=losses.__getitem__)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_each_domain_has_its_validation_split(tmp_path: Path) -> None:
    run = fit(tmp_path / "run", validation=0.25)
    made = run.experiment
    assert set(made.evaluators) == {"validation/photos", "validation/paintings"}
    assert set(made.final) == {"test/photos", "test/paintings"}
    assert made.best == "validation/photos/loss"
    lengths = {split: source.length for split, source in of_split(made.splits, "train").items()}
    assert lengths == {"train/photos": 15, "train/paintings": 15}
    assert {made.splits[f"validation/{name}"].length for name in ("photos", "paintings")} == {5}
    assert made.splits["test/photos"].name == "photos test"
    assert set(run.evaluate(split="validation", **QUIET)) == {"validation/photos", "validation/paintings"}
    assert run.measure(["frechet"], n=5, split="validation/photos", **QUIET)


def test_two_sets_that_were_given_are_given_again_by_their_flags(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    values = fit(folder, 2).evaluate(**QUIET)
    assert fit(folder, 2).position == 2
    with pytest.raises(UserError, match=r"The data changed since the run in .* \(photos train"):
        fit(folder, 3, photos=PAINTINGS)
    with pytest.raises(UserError, match=r"dataset=\{'photos': \.\.\., 'paintings': \.\.\.\}"):
        jaxgen.load(folder, experiment=translation).evaluate()
    sources = {"photos": PHOTOS, "paintings": PAINTINGS}
    assert jaxgen.load(folder, experiment=translation, dataset=sources).evaluate(**QUIET) == values
    with pytest.raises(UserError, match=r"The experiment of .* has no --dataset; leave it out"):
        jaxgen.load(folder, experiment=translation, dataset=PHOTOS)


def test_two_folders_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("photos", "paintings")):
        for j in range(18):
            picture(tmp_path / name / ("train" if j < 12 else "test") / f"{j}.png", 100 * i + 5 * j)
    values = fit(tmp_path / "run", 2, photos="./photos", paintings="./paintings").evaluate(**QUIET)
    monkeypatch.chdir("/")
    assert jaxgen.load(tmp_path / "run", experiment=translation).evaluate(**QUIET) == values
    shutil.move(tmp_path / "paintings", tmp_path / "pictures")
    with pytest.raises(UserError, match=r"There is no folder .*paintings"):
        jaxgen.load(tmp_path / "run", experiment=translation).evaluate()
    moved = {"paintings": str(tmp_path / "pictures")}
    assert jaxgen.load(tmp_path / "run", experiment=translation, dataset=moved).evaluate(**QUIET) == values
    # Another place of the same pictures is no other run.
    assert fit(tmp_path / "run", 3, photos=str(tmp_path / "photos"), paintings=moved["paintings"]).position == 3


def test_an_experiment_without_splits_has_no_figures() -> None:
    bare = make("vae", steps=0)._replace(splits={})
    run = jaxgen.fit(bare, quiet=True)
    assert not run.figures({"test": {"nll": 1.0}})
    with pytest.raises(UserError, match="names no splits"):
        run.measure(["frechet"], n=8)
