"""Files of arrays and forms of labels; images of other types than bytes, wherever they come in; sets made of other sets."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen import data
from jaxgen.data import labels, pixels
from jaxgen.data.convert import convert
from jaxgen.errors import UserError
from jaxgen.measuring import images

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
KEY = jax.random.key(0)
NAMES = np.array(["cat", "dog", "eel"])

FORMS: dict[str, Any] = {
    "int64": lambda y: y,
    "uint8": lambda y: y.astype(np.uint8),
    "floats that are whole": lambda y: y.astype(np.float32),
    "a column": lambda y: y[:, None],
    "objects": lambda y: y.astype(object),
    "one-hot": lambda y: np.eye(3)[y],
    "one-hot integers": lambda y: np.eye(3, dtype=np.uint8)[y],
    "one-hot truth values": lambda y: np.eye(3, dtype=bool)[y],
    "text": lambda y: NAMES[y],
    "bytes": lambda y: NAMES[y].astype("S"),
    "text objects": lambda y: NAMES[y].astype(object),
    "a column of text": lambda y: NAMES[y][:, None],
}


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.sampled_from(sorted(FORMS)))
def test_labels_in_any_form_are_the_same_classes(classes: list[int], form: str) -> None:
    y = np.array([0, 1, 2, *classes])
    numbers, names = labels.numbered(FORMS[form](y), "x")
    assert numbers.tolist() == y.tolist()
    assert names == (("cat", "dog", "eel") if "text" in form or form == "bytes" else ())
    source = images.of_arrays(np.zeros((len(y), 2, 2), np.uint8), FORMS[form](y))
    assert source.gather(np.arange(len(y)))["label"].tolist() == y.tolist()


@pytest.mark.parametrize(
    "label",
    [np.array([0.5, 1]), np.array([np.nan, 1]), np.ones((2, 3)), np.array([[0.2, 0.8], [1, 0]]), np.zeros((2, 2, 2))],
)
def test_labels_that_name_no_class_are_one_sentence(label: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"^x has labels float64 of shape .*, which name no class each; give .*\.$"):
        labels.numbered(label, "x")


def test_numbers_as_text_are_in_their_order() -> None:
    assert labels.numbered(np.array(["10", "9", "1"]), "x")[1] == ("1", "9", "10")


def test_names_of_classes_bound_the_labels() -> None:
    assert labels.numbered(np.array(["b", "a"]), "x", names=("b", "a"))[0].tolist() == [0, 1]
    with pytest.raises(UserError, match=r"^x has a label 'c', which is none of its classes b a; add it\.$"):
        labels.numbered(np.array(["b", "c"]), "x", names=("b", "a"))
    with pytest.raises(UserError, match=r"^x has labels from 0 to 2, and 2 names of classes"):
        labels.numbered(np.array([0, 2]), "x", names=("b", "a"))


ARRAYS = {"train_image": IMAGES[:8], "train_label": LABELS[:8], "test_image": IMAGES[8:], "test_label": LABELS[8:]}


def renamed(kind: str) -> dict[str, np.ndarray]:
    if kind == "keras":
        names = {"train_image": "x_train", "train_label": "y_train", "test_image": "x_test", "test_label": "y_test"}
        return {names[key]: a for key, a in ARRAYS.items()}
    return {f"{key}s" if kind == "plural" else key: a for key, a in ARRAYS.items()}


@pytest.mark.parametrize("kind", ["own", "plural", "keras"])
@pytest.mark.parametrize("budget", [0, 4])
def test_a_file_of_arrays_is_a_dataset(tmp_path: Path, kind: str, budget: float) -> None:
    np.savez(tmp_path / "x.npz", **renamed(kind))
    for split, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        source = data.load(str(tmp_path / "x.npz"), split, cache_budget=budget)
        batch = source.gather(np.arange(source.length))
        np.testing.assert_array_equal(batch["image"], IMAGES[rows])
        np.testing.assert_array_equal(batch["label"], LABELS[rows])


def test_the_splits_of_a_file_have_the_names_of_their_classes_in_common(tmp_path: Path) -> None:
    text = {"train_label": NAMES[[0, 2] * 4], "test_label": NAMES[[1, 1, 2, 2]]}
    np.savez(tmp_path / "x.npz", **{**ARRAYS, **text})
    train, test = (data.load(str(tmp_path / "x.npz"), split) for split in ("train", "test"))
    assert data.common_classes("label", train, test) == ("cat", "dog", "eel")
    assert test.gather(np.arange(4))["label"].tolist() == [1, 1, 2, 2]
    np.savez(tmp_path / "y.npz", **ARRAYS, classes=NAMES)
    assert data.load(str(tmp_path / "y.npz"), "test").classes == {"label": ("cat", "dog", "eel")}


def refused(call: Any) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_dataset_say_what_can_be_typed(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", image=IMAGES, label=LABELS)
    np.save(tmp_path / "one.npy", IMAGES)
    (tmp_path / "file.png").write_bytes(b"")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    for name in ("one.npz", "one.npy"):
        told = refused(lambda name=name: data.load(str(tmp_path / name), "train"))
        assert f"`jaxgen data convert {tmp_path / name} OUT.npz --split 0.9` cuts it in two" in told
    assert (
        refused(lambda: data.load(str(tmp_path / "no.npz"), "train")) == f"There is no file {tmp_path}/no.npz; check the path."
    )
    assert "no dataset: it is a file" in refused(lambda: data.load(str(tmp_path / "file.png"), "train"))
    assert "cannot be read as an array" in refused(lambda: data.load(str(tmp_path / "torn.npz"), "train"))
    assert "has no array `image`, only a" in refused(
        lambda: (np.savez(tmp_path / "a.npz", a=1), data.from_file(tmp_path / "a.npz"))
    )


# Images of other types: the values of the bytes, or a refusal, at every way in.

UNIT = IMAGES / np.float32(255)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_have_the_values_of_the_bytes(tmp_path: Path, dtype: Any) -> None:
    floats = UNIT.astype(dtype)
    for source in (images.of_arrays(floats), data.in_bytes(data.from_arrays({"image": floats}))):
        np.testing.assert_array_equal(source.gather(np.arange(12))["image"], IMAGES)
    np.savez(tmp_path / "x.npz", train_image=floats)
    np.testing.assert_array_equal(data.load(str(tmp_path / "x.npz"), "train").gather(np.arange(12))["image"], IMAGES)


def test_truth_values_are_black_and_white() -> None:
    x = np.array([[[[False], [True]]]])
    assert data.from_arrays({"image": x}).gather(np.arange(1))["image"].ravel().tolist() == [0, 255]


@pytest.mark.parametrize(
    "image", [IMAGES.astype(np.int64), IMAGES.astype(np.uint16), -UNIT, 2 * UNIT, UNIT * np.nan, 255 * UNIT]
)
def test_other_numbers_are_refused_at_every_way_in(tmp_path: Path, image: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", train_image=image)
    ways: list[Any] = [
        lambda: data.from_arrays({"image": image}),
        lambda: images.of_arrays(image),
        lambda: data.load(str(tmp_path / "x.npz"), "train"),
        lambda: pixels.as_bytes(image, "x"),
    ]
    for way in ways:
        assert "floats from 0 to 1" in refused(way)


def test_a_value_just_beyond_one_is_shown() -> None:
    assert "to 1.0000001;" in refused(lambda: images.of_arrays(np.linspace(0, 1 + 1e-7, 64).reshape(1, 8, 8)))
    assert "to 1.0000001;" in refused(lambda: images.of_arrays(np.full((1, 8, 8), 1 + 1e-7, np.float32)))


def test_scale_and_binarize_go_by_the_type() -> None:
    def through(transform: data.Transform, x: Any) -> np.ndarray:
        return np.asarray(transform({"image": jnp.asarray(x)}, KEY)["image"])

    floats = np.asarray(UNIT[0])
    np.testing.assert_array_equal(through(data.scale(), floats), floats)
    np.testing.assert_allclose(through(data.scale(-1, 1), floats), through(data.scale(-1, 1), IMAGES[0]), atol=1e-6)
    np.testing.assert_array_equal(through(data.binarize(), floats), through(data.binarize(), IMAGES[0]))
    for kind in (np.int32, np.uint16, np.int8, bool):
        for transform in (data.scale(), data.binarize()):
            assert f"The image is {np.dtype(kind)}" in refused(lambda t=transform, k=kind: through(t, IMAGES[0].astype(k)))
    for x in (floats, IMAGES[0].astype(np.int32)):
        assert "dequantize() is of bytes" in refused(lambda x=x: through(data.dequantize(), x))


# Labels of two sets


def named(*names: str, k: int = 3) -> data.Source:
    classes = {"label": names} if names else {}
    return data.from_arrays(
        {"image": IMAGES, "label": LABELS % k}, classes=classes, name=f"set of {' '.join(names) or 'numbers'}"
    )


def test_labels_are_compared_only_where_they_are_known_to_mean_the_same() -> None:
    for a, b in ((named(), named()), (named("0", "1", "2"), named()), (named("a", "b", "c"), named("a", "b", "c"))):
        data.same_classes("label", a, b)
        data.same_classes("label", b, a)
    for a, b, told in (
        (named("a", "b", "c"), named(), "what the numbers of set of numbers mean is not known"),
        (named("1", "2", "3"), named(), "what the numbers of set of numbers mean is not known"),
        (named("a", "b", "c"), named("a", "c", "b"), "means different things"),
        (named("a", "b"), named("a", "b", "c"), "means different things"),
    ):
        for pair in ((a, b), (b, a)):
            assert told in refused(lambda pair=pair: data.same_classes("label", *pair))


def test_many_classes_are_told_apart_by_what_differs() -> None:
    one, other = (tuple(f"c{i}" for i in range(20) if i != gap) for gap in (7, 13))
    sets = [named()._replace(name=name, classes={"label": classes}) for name, classes in (("A", one), ("B", other))]
    told = refused(lambda: data.common_classes("label", *sets))
    assert "(only A has c13, only B has c7)" in told


# Sets made of other sets


def test_a_folder_is_cut_in_two_resized_and_read(tmp_path: Path) -> None:
    for i in range(20):
        path = tmp_path / "pets" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6 + i, 9), (i, i, i)).save(path)
    told = refused(lambda: data.load(str(tmp_path / "pets"), "train"))
    assert f"`jaxgen data convert {tmp_path}/pets OUT.npz --split 0.9` cuts its pictures in two" in told
    out = tmp_path / "x.npz"
    assert convert(str(tmp_path / "pets"), out, split=0.9, size=4) == {"train": 18, "test": 2}
    sources = [data.load(str(out), split) for split in ("train", "test")]
    assert data.common_classes("label", *sources) == ("a", "b")
    both = [source.gather(np.arange(source.length)) for source in sources]
    assert sorted(int(v) for batch in both for v in batch["image"][:, 0, 0, 0]) == list(range(20))
    assert all((batch["image"][:, 0, 0, 0] % 2 == batch["label"]).all() for batch in both)
    assert both[1]["label"].tolist() == [0, 1]
    again = tmp_path / "y.npz"
    convert(str(tmp_path / "pets"), again, split=0.9, size=4)
    assert [data.load(str(again), split).fingerprint for split in ("train", "test")] == [s.fingerprint for s in sources]


def test_a_set_with_other_splits_says_how_to_name_them(tmp_path: Path, shared: str) -> None:
    told = refused(lambda: data.load("omniglot_small", "train", data_dir=shared))
    assert "`jaxgen data convert omniglot_small OUT.npz --train small1 --test small2` makes a set of both" in told
    out = tmp_path / "x.npz"
    made = convert("omniglot_small", out, train="small1[:30]", test="small2[:20]", size=28, data_dir=shared)
    assert made == {"train": 30, "test": 20}
    assert data.load(str(out), "test").shape("image")[:2] == (28, 28)


def test_arrays_are_cut_in_two(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", image=UNIT, label=NAMES[LABELS])
    assert convert(str(tmp_path / "one.npz"), tmp_path / "two.npz", split=0.75) == {"train": 9, "test": 3}
    test = data.load(str(tmp_path / "two.npz"), "test")
    assert sorted(test.gather(np.arange(3))["label"].tolist()) == [0, 1, 2]
    assert test.classes == {"label": ("cat", "dog", "eel")}


def test_what_cannot_be_converted_is_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", image=IMAGES, label=np.arange(12))
    assert "has one example; add some" in refused(lambda: convert(str(tmp_path / "one.npz"), tmp_path / "o.npz", split=0.5))
    assert "call it o.zip.npz" in refused(lambda: convert("digits", tmp_path / "o.zip"))
    assert "--split cuts" in refused(lambda: convert("digits", tmp_path / "o.npz", split=0.5, test="test"))
    assert "Writing" in refused(lambda: convert("digits", tmp_path / "no" / "o.npz"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz"]


@pytest.mark.parametrize("deep", ["usps", "usps/1.0.0", ".."])
def test_a_data_folder_one_level_off_names_the_right_one(shared: str, deep: str, tmp_path: Path) -> None:
    where = str(Path(shared) / deep) if deep != ".." else str(tmp_path)
    (tmp_path / "sets").symlink_to(shared)
    right = str(tmp_path / "sets") if deep == ".." else shared
    told = refused(lambda: data.load("usps", "train", data_dir=where))
    assert told.endswith(f"it lies in {right}: give --data-dir {right}.")
