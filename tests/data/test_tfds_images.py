"""TFDS sets whose images are no bytes: the values of the bytes, or a refusal; and sets with features that nest."""

import importlib
import importlib.util
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxgen import data
from jaxgen.data import tfds_prepare
from jaxgen.errors import UserError

BYTES = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 1), dtype=np.uint8)
TENSOR = "tfds.features.Tensor(shape=(4, 5, 1), dtype=np.{})"
NUMBERS = itertools.count()  # TFDS takes a name once a process
IMAGE = "tfds.features.Image(shape=(4, 5, 1), dtype=np.{})"


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, feature: str, rows: Any, budget: float, more: str = "") -> data.Source:
    """A set with that feature as its image, prepared and read."""
    number = next(NUMBERS)
    name = f"jaxgen_kinds{number}"
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "kinds.py").write_text(f"""
import numpy as np
import tensorflow_datasets as tfds
ROWS = None
class JaxgenKinds{number}(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        features = {{"image": {feature}, **{{{more}}}}}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))
    def _split_generators(self, dl_manager):
        return {{"train": self._generate_examples()}}
    def _generate_examples(self):
        for i, row in enumerate(ROWS):
            yield i, row
""")
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module(f"{name}.kinds")
    module.ROWS = rows
    monkeypatch.setitem(tfds_prepare.OWN, name, getattr(module, f"JaxgenKinds{number}"))
    monkeypatch.setenv("JAXGEN_CACHE", str(folder / "cache"))
    return data.load(name, "train", data_dir=str(folder / "sets"), cache_budget=budget)


def images(array: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"image": image} for image in array]


def png(grey: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    file.seek(0)
    return file


def sorted_rows(array: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in array)


@pytest.mark.parametrize("budget", [0, 4])
@pytest.mark.parametrize(
    ("feature", "stored", "expected"),
    [
        (TENSOR.format("float32"), (BYTES / 255).astype(np.float32), BYTES),
        (TENSOR.format("float64"), BYTES / 255, BYTES),
        (TENSOR.format("bool_"), BYTES > 127, np.where(BYTES > 127, 255, 0).astype(np.uint8)),
        (TENSOR.format("uint8"), BYTES, BYTES),
    ],
)
def test_images_of_other_types_have_the_values_of_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str, stored: np.ndarray, expected: np.ndarray, budget: float
) -> None:
    got = load(tmp_path, monkeypatch, feature, images(stored), budget).gather(np.arange(20))["image"]
    assert got.dtype == np.uint8
    assert sorted_rows(got) == sorted_rows(expected)


def test_pictures_of_sixteen_bits_show_their_upper_eight_or_name_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As files: TFDS encodes arrays with TensorFlow only.
    rows = [{"image": png(image[..., 0].astype(np.uint16) * 256 + 77)} for image in BYTES]
    if importlib.util.find_spec("cv2") is None:
        with pytest.raises(UserError, match=r"cannot be read without another package .*opencv-python-headless`\.$"):
            load(tmp_path, monkeypatch, IMAGE.format("uint16"), rows, 4.0)
    else:
        got = load(tmp_path, monkeypatch, IMAGE.format("uint16"), rows, 4.0).gather(np.arange(20))["image"]
        assert sorted_rows(got) == sorted_rows(BYTES)


@pytest.mark.parametrize(
    ("feature", "stored"),
    [
        (TENSOR.format("int32"), BYTES.astype(np.int32)),
        (TENSOR.format("uint16"), BYTES.astype(np.uint16)),
        (TENSOR.format("float32"), BYTES.astype(np.float32) + 2),
        (TENSOR.format("float32"), (BYTES / -255 - 1).astype(np.float32)),
    ],
)
def test_images_of_unknown_meaning_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str, stored: np.ndarray
) -> None:
    with pytest.raises(UserError, match=r"^The image of jaxgen_kinds[0-9]+/1\.0\.0 train .*; give .*\.$"):
        load(tmp_path, monkeypatch, feature, images(stored), 4.0)


def test_features_that_nest_are_refused_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": image, "box": {"top": 1}} for image in BYTES]
    nested = '"box": tfds.features.FeaturesDict({"top": np.int64})'
    with pytest.raises(
        UserError, match=r"features that nest or vary in length \(box\).*`jaxgen data convert jaxgen_kinds[0-9]+ OUT"
    ):
        load(tmp_path, monkeypatch, TENSOR.format("uint8"), rows, 4.0, nested)
