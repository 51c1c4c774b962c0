"""The variants of SPADE, what it refuses, and a prepared set."""

from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytest
from contract import make
from segmented import assert_a_run_translates_a_folder, pairs

import jaxgen


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"norm": "instance", "flip": True, "jitter": 4, "accumulate": 2, "loss": "least_squares", "scales": 1, "ema": 0.9},
        {"matching": 0.0, "doublings": 5, "bf16": True, "segmenter_steps": 0},
    ],
    ids=contract.titled,
)
def test_variants(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("spade", flags, tmp_path)


@pytest.mark.slow
def test_samples_with_a_style_are_drawn(tmp_path: Path) -> None:
    made = make("spade", dataset=(pairs(), pairs(3)), classes=3, style=True, width=2, steps=2, doublings=2)
    run = jaxgen.fit(made._replace(pictures={}), workdir=tmp_path, quiet=True)
    assert np.abs(run.sample(3) - run.sample(3, seed=9)).max() > 0
    np.testing.assert_array_equal(run.sample(3), jaxgen.load(tmp_path, experiment=made).sample(3))


@pytest.mark.slow
def test_a_run_translates_a_folder_without_its_data(tmp_path: Path) -> None:
    made = make("spade", dataset=(pairs(), pairs(3)), classes=3, doublings=1, width=1, map_width=1, steps=1)
    assert_a_run_translates_a_folder(made, tmp_path)


@pytest.mark.slow
def test_on_prepared_street_scenes(shared: str) -> None:
    made = make("spade", dataset="camvid64", data_dir=shared, cache_budget=0.0, doublings=4, width=2, steps=1)
    assert made.networks["generator"].inputs[0].shape == (1, 64, 64, 12)
    run = jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}), quiet=True)
    assert np.isfinite(run.sample(2)).all()


@pytest.mark.parametrize(
    ("arrays", "flags", "told"),
    [
        ({}, {}, "It is not known how many classes the segmentation has; give --classes"),
        ({}, {"classes": 2}, "has the class 2, and the classes are 0 to 1; give more --classes, or the number of .* as --void"),
        ({}, {"classes": 1, "void": 2}, "has the class 1, and the classes are 0 to 0, 2; give more --classes"),
        ({}, {"classes": 3, "doublings": 4}, "Images of 8x8 can be halved 3 times, not 4; give 3 --doublings or fewer"),
        ({}, {"classes": 3, "doublings": 8}, "There are 8 doublings; give 1 to 7 --doublings"),
    ],
)
def test_what_it_refuses(arrays: dict[str, Any], flags: dict[str, Any], told: str) -> None:
    with pytest.raises(jaxgen.UserError, match=told):
        jaxgen.fit(make("spade", dataset=(pairs(**arrays), pairs(**arrays)), **flags), quiet=True)


def test_sets_without_maps_are_refused() -> None:
    with pytest.raises(jaxgen.UserError, match="no 'segmentation', only image, label; take a set of images with the class of"):
        make("spade", dataset="digits", classes=3)
