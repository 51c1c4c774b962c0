"""The variants of pix2pix, what it refuses, and a prepared set."""

from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytest
from contract import make
from segmented import assert_a_run_translates_a_folder, pairs

import jaxgen
from jaxgen.runs.run import begin


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {
            "direction": "labels_to_photo",
            "loss": "least_squares",
            "layers": 0,
            "bf16": True,
            "statistics": "running",
            "ema": 0.9,
        },
        {"gan": 0.0, "flip": True, "jitter": 0, "accumulate": 2},
    ],
    ids=contract.titled,
)
def test_variants(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("pix2pix", flags, tmp_path)


def test_a_run_translates_a_folder_without_its_data(tmp_path: Path) -> None:
    made = make("pix2pix", dataset=(pairs(), pairs(3)), downs=1, layers=0, width=1, direction="labels_to_photo", steps=1)
    assert_a_run_translates_a_folder(made, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["photo_to_labels", "labels_to_photo"])
def test_on_prepared_street_scenes(direction: str, shared: str) -> None:
    made = make("pix2pix", dataset="camvid64", data_dir=shared, cache_budget=0.0, direction=direction, layers=3, steps=2)
    run = jaxgen.fit(made._replace(evaluators={}, pictures={}), quiet=True)
    assert np.isfinite(run.sample(2)).all()


@pytest.mark.parametrize(
    ("arrays", "flags", "told"),
    [
        ({}, {"downs": 4}, "Images of 8x8 can be halved 3 times, not 4; give 3 --downs or fewer"),
        ({}, {"layers": 3}, "Images of 8x8 are too small for a discriminator of 3 layers; give fewer --layers"),
        ({}, {"gan": 0.0, "l1": 0.0}, "nothing is trained; give one of them a weight"),
    ],
)
def test_what_it_refuses(arrays: dict[str, Any], flags: dict[str, Any], told: str) -> None:
    with pytest.raises(jaxgen.UserError, match=told):
        jaxgen.fit(make("pix2pix", dataset=(pairs(**arrays), pairs(**arrays)), **flags), quiet=True)


def test_sets_without_a_segmentation_or_with_two_colours_for_a_class_are_refused() -> None:
    with pytest.raises(jaxgen.UserError, match="no 'segmentation', only image, label; take a set of images with the class of"):
        make("pix2pix", dataset="digits")
    odd = pairs(label_rgb=np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3)))
    made = make("pix2pix", dataset=(odd, odd), downs=1, layers=0, width=1)
    state = begin(made, 0)
    with pytest.raises(jaxgen.UserError, match=r"shows class 0 of its segmentation as .* and as"):
        made.evaluators["test"](state, state.key, lambda batches, **_: batches)
