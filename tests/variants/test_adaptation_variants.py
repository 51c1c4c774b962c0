"""The stages of domain adaptation, one run after another; and variants of the translation."""

from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data


def grey(n: int, level: int) -> data.Source:
    image = np.random.default_rng(n).integers(level, level + 128, (n, 8, 8, 1)).astype(np.uint8)
    return data.from_arrays({"image": image, "label": np.arange(n) % 3}, name=f"grey {level}", classes=("x", "y", "z"))


SETS: dict[str, Any] = {"dataset": (grey(12, 0), grey(5, 0)), "target": (grey(9, 100), grey(4, 100))}


def trained(made: jaxgen.Experiment, folder: Path) -> str:
    jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}), workdir=folder, quiet=True)
    return str(folder)


@pytest.mark.slow
def test_all_stages_of_cycada(tmp_path: Path) -> None:
    """The translator, the classifier of translations and its adaptation; then the first two runs may go."""
    translator = trained(make("cycada", **SETS, layers=0, width=1, steps=1), tmp_path / "translator")
    classifier = trained(make("lenet", **SETS, translator=translator, steps=1), tmp_path / "classifier")
    experiment = make("adda", **SETS, classifier=classifier, steps=2)
    assert set(experiment.frozen) == {"source", "translator"}
    run = jaxgen.fit(experiment, workdir=tmp_path / "adda", quiet=True)
    assert set(run.evaluate()) == {"test/source", "test/target"}
    for folder in (translator, classifier):
        Path(folder).rename(f"{folder} moved away")
    assert jaxgen.load(tmp_path / "adda").digest() == run.digest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [{"pool": 0, "direction": "b_to_a"}, {"semantic_limit": 0.0, "bf16": True}], ids=contract.titled
)
def test_variants_of_the_translation(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("cycada", {**flags, "layers": 0, "width": 1}, tmp_path)


@pytest.mark.slow
def test_a_classifier_of_two_domains_holds_the_contract(tmp_path: Path) -> None:
    contract.hold("lenet", {"target": "slanted_digits", "side": 16, "subset": 40, "valid": True}, tmp_path)


@pytest.mark.slow
def test_on_prepared_digits_of_two_kinds(shared: str, tmp_path: Path) -> None:
    """MNIST of 28x28 and USPS of 16x16, both at 28x28, in the subsets of Tzeng et al. 2017."""
    sets: dict[str, Any] = {"dataset": "mnist", "target": "usps", "data_dir": shared}
    made = make("lenet", **sets, side=28, subset=2000, valid=True, map_dropout=0.5, steps=1)
    assert {name: source.length for name, source in made.splits.items()} == {"train": 2000, "test": 10_000, "test/target": 2007}
    experiment = make("adda", **sets, classifier=trained(made, tmp_path / "lenet"), subset=(2000, 1800), steps=1)
    assert [experiment.splits[f"train/{d}"].length for d in ("source", "target")] == [2000, 1800]
    assert experiment.splits["train/target"].shape("image") == (28, 28, 1)
