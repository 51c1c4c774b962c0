"""Datasets by name and by folder, and the sentences where there is none."""

import importlib
import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen import data
from jaxgen.data import tfds_prepare
from jaxgen.errors import UserError

SETS = [
    ("mnist", {"train": 60_000, "test": 10_000}, (28, 28, 1)),
    ("cifar10", {"train": 50_000, "test": 10_000}, (32, 32, 3)),
    ("usps", {"train": 7_291, "test": 2_007}, (16, 16, 1)),
    ("emoji", {"train": 3_223, "test": 320}, (64, 64, 3)),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder `SPLIT/CLASS/*.png` of 6x5 pixels."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(["train/dog/1", "train/dog/2", "train/cat/1", "train/cat/2", "test/dog/1", "test/cat/1"]):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8) // (i + 1)).save(path)
    return tmp_path / "images"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without TensorFlow, on which no connection is tried."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorflow" else find(name, *rest))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    tried: list[Any] = []

    def refuse(*arguments: Any, **kwargs: Any) -> Any:
        tried.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert tried == []


def refused(dataset: str | Path, split: str = "train", **how: Any) -> str:
    """The sentence."""

    def read() -> None:
        source = data.load(str(dataset), split, **how)
        source.gather(np.arange(source.length))

    with pytest.raises(UserError) as caught:
        read()
    text = str(caught.value)
    assert "\n" not in text
    assert text[0].isupper() or text.startswith(str(dataset))
    assert text.endswith((".", "?"))
    return text


@pytest.mark.parametrize(("dataset", "lengths", "shape"), SETS)
def test_a_prepared_set_is_what_tfds_reads(shared: str, dataset: str, lengths: dict[str, int], shape: tuple[int, ...]) -> None:
    for split, length in lengths.items():
        source = data.load(dataset, split, data_dir=shared, cache_budget=0)
        original = tfds.data_source(dataset, split=split, data_dir=shared)
        assert source.length == len(original) == length
        assert source.shape("image") == shape
        indices = [0, length // 2, length - 1, 0]
        batch = source.gather(np.array(indices))
        assert batch.keys() == original[0].keys()
        for feature, values in batch.items():
            assert [v.tolist() for v in values] == [np.asarray(original[i][feature]).tolist() for i in indices]


@pytest.mark.parametrize(("dataset", "split"), [("usps", "test"), ("emoji", "test"), ("cifar10", "train[100:300]")])
def test_cached_and_streamed_batches_are_the_same(shared: str, dataset: str, split: str) -> None:
    streamed, stored = (data.load(dataset, split, data_dir=shared, cache_budget=budget) for budget in (0, 4))
    assert (streamed.name, streamed.fingerprint, streamed.classes) == (stored.name, stored.fingerprint, stored.classes)
    indices = np.random.default_rng(0).integers(streamed.length, size=300)
    a, b = streamed.gather(indices), stored.gather(indices)
    assert a.keys() == b.keys()
    for feature in a:
        np.testing.assert_array_equal(a[feature], b[feature])


def test_a_split_that_does_not_fit_the_budget_is_streamed(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path))
    size = 2007 * (256 + 8) / 2**30
    data.load("usps", "test", data_dir=shared, cache_budget=0.99 * size)
    assert list(tmp_path.iterdir()) == []
    data.load("usps", "test", data_dir=shared, cache_budget=1.01 * size)
    assert [p.name[:16] for p in tmp_path.iterdir()] == ["usps_1.0.0_test-"]


def test_splits_are_sliced_added_and_told_apart(shared: str) -> None:
    def load(split: str) -> data.Source:
        return data.load("usps", split, data_dir=shared)

    both, part = load("train[:10]+test[:5]"), load("train[5:10]")
    assert (both.length, part.length) == (15, 5)
    np.testing.assert_array_equal(both.gather(np.arange(5, 10))["image"], part.gather(np.arange(5))["image"])
    assert len({load(split).fingerprint for split in ("train", "test", "train[:10]", "train[5:10]")}) == 4


def test_labels_have_their_names(shared: str) -> None:
    assert data.load("cifar10", "test", data_dir=shared, cache_budget=0).classes["label"][:3] == (
        "airplane",
        "automobile",
        "bird",
    )


def test_a_misspelled_name_is_answered_with_the_nearest(shared: str, bare: None) -> None:
    text = refused("mnits", data_dir=shared)
    assert text.startswith("There is no dataset 'mnits': it is no folder, it is not prepared in")
    assert "The nearest names are mnist," in text
    assert "The nearest names are emoji." in refused("emojy", data_dir=shared)
    assert "nearest" not in refused("xqzw", data_dir=shared)


def test_a_wrong_split_is_answered_with_those_there_are(shared: str) -> None:
    text = refused("mnist", "validation", data_dir=shared)
    assert text == "The dataset 'mnist' has no split 'validation'; it has test of 10,000 examples, train of 60,000 examples."
    text = refused("digits", "train[:x]")
    assert text == "The dataset 'digits' has no split 'train[:x]'; it has test of 360 examples, train of 1,437 examples."


def test_a_wrong_version_is_answered_with_those_there_are(shared: str) -> None:
    text = refused("mnist:9.0.0", data_dir=shared)
    assert text.startswith("The dataset 'mnist:9.0.0' cannot be opened (Dataset mnist cannot be loaded at version 9.0.0, only")


def test_an_unprepared_set_names_the_extra_and_tries_no_network(tmp_path: Path, bare: None) -> None:
    text = refused("mnist", data_dir=str(tmp_path))
    assert text.startswith(f"The dataset 'mnist' is not prepared in {tmp_path}, and preparing it needs TensorFlow:")
    assert 'pip install "jaxgen[tf]"' in text
    assert "jaxgen data prepare mnist" in text
    assert list(tmp_path.iterdir()) == []


def test_a_set_whose_builder_needs_tensorflow_names_it(tmp_path: Path, bare: None) -> None:
    text = refused("coco", data_dir=str(tmp_path))
    assert text.startswith("The dataset 'coco' cannot be opened without another package (")
    assert 'pip install "jaxgen[tf]"' in text


def test_a_missing_data_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = f"The dataset 'mnist' is not prepared in {tmp_path}/absent, which does not exist,"
    assert refused("mnist", data_dir=f"{tmp_path}/absent").startswith(absent)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refused("mnist", data_dir="~/absent").startswith(absent)


def test_a_set_prepared_anew_is_not_read_from_the_old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "jaxgen_toy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "toy.py").write_text("""
import numpy as np
import tensorflow_datasets as tfds
VALUE = 1
class JaxgenToy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        features = {"x": tfds.features.Tensor(shape=(8,), dtype=np.uint8)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}
    def _generate_examples(self):
        for i in range(100):
            yield i, {"x": np.full(8, VALUE, np.uint8)}
""")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("jaxgen_toy.toy")
    monkeypatch.setitem(tfds_prepare.OWN, "jaxgen_toy", module.JaxgenToy)  # it needs no TensorFlow either
    for value in (1, 2):
        module.VALUE = value
        folder = tmp_path / str(value) / "data"
        folder.mkdir(parents=True)
        assert set(data.load("jaxgen_toy", "train", data_dir=str(folder)).gather(np.arange(100))["x"].ravel()) == {value}


def test_names_are_our_own_and_what_lies_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mnist/3.0.1", "diffusion/small/1.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").touch()
    own = set(tfds_prepare.OWN)
    assert own >= {"digits", "captioned_digits"}
    assert data.names(str(tmp_path)) == sorted({"diffusion/small", "mnist"} | own)
    with pytest.raises(UserError, match=r"There is no folder .*absent; check --data-dir"):
        data.names(str(tmp_path / "absent"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "absent"))
    assert data.names() == sorted(own)


def test_a_folder_of_images_is_a_dataset(images: Path) -> None:
    train, test = (data.load(str(images), split) for split in ("train", "test"))
    assert (train.length, test.length, train.shape("image")) == (4, 2, (5, 6, 3))
    assert train.classes == {"label": ("cat", "dog")}
    batch = train.gather(np.array([3, 0]))
    assert batch["label"].tolist() == [1, 0]
    np.testing.assert_array_equal(batch["image"][0], np.asarray(Image.open(images / "train" / "dog" / "2.png")))


def test_a_missing_split_of_a_folder_names_those_there_are(images: Path) -> None:
    assert refused(images, "valid").endswith("has no subfolder 'valid' to take that split from; it has test, train.")
    mend = f"; `jaxgen data convert {images}/train/dog OUT.npz --split 0.9` cuts its pictures in two."
    assert refused(images / "train" / "dog").endswith(f"it has none{mend}")
    assert refused(images / "absent") == f"There is no folder {images}/absent; check the path."
    assert refused("images/absent").startswith("There is no dataset 'images/absent': it is no folder,")


def test_images_of_different_sizes_are_mended_by_resize(images: Path) -> None:
    Image.new("RGB", (9, 7)).save(images / "train" / "cat" / "2.png")
    text = refused(images)
    assert "has examples of different shapes (image (5, 6, 3), (7, 9, 3))" in text
    assert "`example_map`" in text
    assert "data.resize(64)" in text
    for size in (4, 8):  # the second is not read from the cache of the first
        source = data.load(str(images), "train", example_map=data.resize(size))
        assert source.gather(np.arange(4))["image"].shape == (4, size, size, 3)
    assert source.gather(np.arange(4))["label"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("budget", [0, 4])
def test_a_torn_image_is_named(images: Path, budget: float) -> None:
    torn = images / "train" / "cat" / "2.png"
    torn.write_bytes(torn.read_bytes()[:50])
    text = refused(images, cache_budget=budget)
    assert text.startswith(f"{torn} cannot be read as an image (")
    assert text.endswith("mend or remove it.")


def test_a_folder_that_is_called_as_a_dataset_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert data.load("digits", "test").length == 360
    assert refused("./digits", "test").startswith("The folder ./digits has no subfolder 'test'")


def test_an_empty_slice_is_refused() -> None:
    assert refused("digits", split="train[:0]").startswith("The dataset 'digits' has no split 'train[:0]'; it has test of 360")
