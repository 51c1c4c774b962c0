"""The mixtures in the plane: their modes, their widths, and that they are the same whenever they are made."""

from pathlib import Path

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data import builders
from jaxgen.data.builders import mixtures

SETS = {"gaussian_ring": (8, 1.0, 0.01), "gaussian_grid": (25, None, 0.05)}


@pytest.mark.parametrize("name", SETS)
def test_points_lie_around_their_modes(name: str) -> None:
    count, radius, std = SETS[name]
    source = data.load(name, "test")
    assert source.length == 10_000
    batch = source.gather(np.arange(source.length))
    points, labels = batch["point"].astype(np.float64), batch["label"]
    assert batch["point"].dtype == np.float32
    assert sorted(set(labels.tolist())) == list(range(count))
    centres = np.stack([points[labels == k].mean(0) for k in range(count)])
    if radius is not None:
        np.testing.assert_allclose(np.hypot(*centres.T), radius, atol=2e-3)
        np.testing.assert_allclose(np.diff(np.unwrap(np.arctan2(*centres.T[::-1]))), 2 * np.pi / count, atol=5e-3)
    else:
        np.testing.assert_allclose(centres, [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)], atol=0.02)
    deviations = points - centres[labels]
    np.testing.assert_allclose(deviations.std(0), std, rtol=0.03)
    assert abs(np.corrcoef(deviations.T)[0, 1]) < 0.05
    np.testing.assert_allclose(np.bincount(labels) / len(labels), 1 / count, rtol=0.25)


def test_the_splits_differ_and_both_are_deterministic(tmp_path: Path) -> None:
    made = [dict(builders.GaussianRing(data_dir=str(tmp_path))._generate_examples(1, 100)) for _ in range(2)]
    points = [np.stack([example["point"] for example in examples.values()]) for examples in made]
    np.testing.assert_array_equal(*points)
    train = data.load("gaussian_ring", "train")
    assert train.length == mixtures.TRAIN == 100_000
    assert not np.array_equal(points[0], train.gather(np.arange(100))["point"])
    assert len(train.classes["label"]) == 8


def test_only_whole_builders_are_listed() -> None:
    names = data.names()
    assert {"gaussian_ring", "gaussian_grid", "digits"} <= set(names)
    import tensorflow_datasets as tfds

    assert [n for n in tfds.list_builders(with_community_datasets=False) if "gaussian" in n] == [
        "gaussian_grid",
        "gaussian_ring",
    ]
