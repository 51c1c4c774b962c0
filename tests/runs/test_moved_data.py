"""A run and its data: sampled without them, evaluated with the same examples elsewhere, refused where the examples differ."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import make
from PIL import Image

import jaxgen
from jaxgen import data


def write(root: Path) -> Path:
    draw = np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 5)):
        (root / split).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / split / f"{i}.png")
    return root


def alter(root: Path, split: str) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / split / "1.png")


@pytest.mark.parametrize("name", ["vae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("iwae", "gan"))])
def test_a_run_and_its_data(name: str, tmp_path: Path) -> None:
    there, elsewhere = write(tmp_path / "photos"), tmp_path / "moved photos"
    run = jaxgen.fit(make(name, dataset=str(there), steps=1), workdir=tmp_path / "run", quiet=True)
    drawn, values = run.sample(10), jaxgen.load(tmp_path / "run").evaluate()

    shutil.move(there, elsewhere)
    alone = jaxgen.load(tmp_path / "run")
    np.testing.assert_array_equal(alone.sample(10), drawn)
    assert alone.digest() == run.digest()
    for look in (alone.evaluate, alone.pictures):
        with pytest.raises(jaxgen.UserError, match=r"There is no folder .*photos.* by --data-dir or --dataset\."):
            look()
    assert jaxgen.load(tmp_path / "run", dataset=str(elsewhere)).evaluate() == values

    alter(elsewhere, "test")
    other = jaxgen.load(tmp_path / "run", dataset=str(elsewhere))
    np.testing.assert_array_equal(other.sample(10), drawn)
    with pytest.raises(jaxgen.UserError, match=r"The data changed since the run in .* was trained \(.*test\)"):
        other.evaluate()


def test_a_sampler_that_depends_on_examples_needs_them(tmp_path: Path) -> None:
    there = write(tmp_path / "photos")

    @jaxgen.recorded
    def experiment(*, dataset: str = "", steps: int = 0) -> jaxgen.Experiment:
        made = make("vae", dataset=dataset, steps=steps)
        mean = data.load(dataset, "train").gather(np.arange(12))["image"].mean(0) / 255

        def sample(state: Any, key: Any, given: Any) -> Any:
            return made.sample(state, key, given) + mean

        return made._replace(sample=sample)

    jaxgen.fit(experiment(dataset=str(there), steps=1), workdir=tmp_path / "run", quiet=True).sample(3)
    shutil.rmtree(there)
    with pytest.raises(jaxgen.UserError, match="There is no folder"):
        jaxgen.load(tmp_path / "run", experiment=experiment).sample(3)
