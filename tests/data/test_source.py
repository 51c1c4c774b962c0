"""Sources: arrays, sequences of examples, mapped examples, folders of images."""

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxgen import data
from jaxgen.errors import UserError

INDICES = st.lists(st.integers(0, 19), min_size=1, max_size=40).map(lambda i: np.array(i))


class Rows:
    """Twenty examples, with a text among them; refuses, as array_record does, an index twice in one read."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return {"image": np.full((2, 3, 1), i, np.uint8), "label": i % 3, "text": b"x" * i}

    def __getitems__(self, indices: list[int]) -> list[Mapping[str, Any]]:
        assert len(set(indices)) == len(indices)
        assert all(type(i) is int for i in indices)
        return [self[i] for i in indices]


def rows() -> data.Source:
    return data.from_examples(Rows(), name="rows", fingerprint="f")


def images(folder: Path, **sizes: tuple[int, int]) -> Path:
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        path = folder / f"{name.replace('_', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return folder


@given(INDICES)
def test_arrays_are_gathered_in_the_order_asked_for(indices: np.ndarray) -> None:
    x = np.arange(40).reshape(20, 2)
    np.testing.assert_array_equal(data.from_arrays({"x": x}).gather(indices)["x"], x[indices])


@pytest.mark.parametrize(
    ("start", "stop", "rest"),
    [(0, 15, range(15)), (0, -5, range(15)), (-5, None, range(15, 20)), (3, 4, [3]), (15, 99, range(15, 20))],
)
def test_a_part_is_what_a_slice_is(start: int, stop: int | None, rest: Any) -> None:
    part = data.part(rows(), start, stop)
    assert part.length == len(rest)
    np.testing.assert_array_equal(part.gather(np.arange(part.length))["image"][:, 0, 0, 0], list(rest))
    assert part.name == f"rows[{rest[0]}:{rest[-1] + 1}]"


def test_two_parts_share_nothing_and_have_two_fingerprints() -> None:
    first, last = data.part(rows(), 0, -5), data.part(rows(), -5)
    seen = [set(part.gather(np.arange(part.length))["image"][:, 0, 0, 0].tolist()) for part in (first, last)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(range(20))
    assert len({rows().fingerprint, first.fingerprint, last.fingerprint}) == 3


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (20, None), (7, 3), (-3, -9)])
def test_a_part_without_examples_is_refused(start: int, stop: int | None) -> None:
    with pytest.raises(UserError, match=r"^rows has 20 examples, so that none is left from \d+ to \d+\.$"):
        data.part(rows(), start, stop)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 99])
def test_the_mean_is_that_of_all_examples(batch_size: int) -> None:
    found = data.mean("image", rows(), batch_size=batch_size)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.full((2, 3, 1), 9.5))


@pytest.mark.parametrize("batch_size", [1, 7, 20, 99])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_variance_is_that_of_all_intensities(kind: Any, batch_size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 3, 2, 3)).astype(np.uint8)
    given = image if kind is np.uint8 else (image / 255).astype(np.float32)
    found = data.variance("image", data.from_arrays({"image": given}), batch_size=batch_size)
    assert type(found) is float
    assert found == pytest.approx((image / 255).var(), rel=1e-13 if kind is np.uint8 else 1e-7)


def test_the_variance_of_numbers_that_hardly_differ_keeps_its_digits() -> None:
    image = np.full((20, 4, 4, 1), 0.5, np.float32)
    image[::2] += np.float32(2**-20)
    assert data.variance("image", data.from_arrays({"image": image}), batch_size=3) == pytest.approx(2.0**-42, rel=1e-12)
    assert data.variance("image", data.from_arrays({"image": image[1::2]})) == 0


@given(INDICES)
def test_examples_are_gathered_in_the_order_asked_for(indices: np.ndarray) -> None:
    batch = rows().gather(indices)
    np.testing.assert_array_equal(batch["image"], np.broadcast_to(indices[:, None, None, None], (len(indices), 2, 3, 1)))
    np.testing.assert_array_equal(batch["label"], indices % 3)
    assert batch["text"].tolist() == [b"x" * i for i in indices]


def test_arrays_of_jax_are_as_good() -> None:
    assert data.from_arrays({"x": jnp.arange(5)}).gather(np.array([3, 3, 0]))["x"].tolist() == [3, 3, 0]


@pytest.mark.parametrize("arrays", [{}, {"x": np.zeros((0, 2))}, {"x": np.zeros(3), "y": np.zeros(4)}])
def test_arrays_of_unequal_length_or_none_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"^mine: arrays need one common length above zero; got .*\.$"):
        data.from_arrays(arrays, name="mine")


def test_the_fingerprint_of_arrays_changes_with_every_bit_and_nothing_else() -> None:
    x = np.arange(12, dtype=np.int32).reshape(6, 2)
    y = x.copy()
    y[5, 1] += 1
    others = [{"x": y}, {"y": x}, {"x": x.astype(np.int64)}, {"x": x.reshape(6, 1, 2)}, {"x": x, "y": x}, {"x": x[:5]}]
    prints = [data.from_arrays(arrays).fingerprint for arrays in [{"x": x}, *others]]
    assert len(set(prints)) == len(prints)
    assert data.from_arrays({"x": np.asfortranarray(x)}, name="other").fingerprint == prints[0]


def test_a_missing_feature_is_named_with_those_there_are() -> None:
    assert rows().shape("image") == (2, 3, 1)
    with pytest.raises(UserError, match=r"^rows has no feature 'pixels'; it has image, label, text\.$"):
        rows().shape("pixels")


def test_a_map_sees_one_example_at_a_time() -> None:
    source = data.map_examples(rows(), lambda e: {"mean": e["image"].mean(), "length": len(e["text"])}, name="mean")
    assert source.gather(np.array([7, 7, 2])).keys() == {"mean", "length"}
    assert source.gather(np.array([7, 7, 2]))["mean"].tolist() == [7.0, 7.0, 2.0]
    assert (source.name, source.length) == ("rows | mean", 20)


def test_another_map_makes_another_fingerprint_even_under_the_same_name() -> None:
    def fingerprint(fn: Any, name: str = "mapped") -> str:
        return data.map_examples(rows(), fn, name=name).fingerprint

    prints = [
        "f",
        fingerprint(lambda e: e),
        fingerprint(lambda e: e, "other"),
        fingerprint(lambda e: {**e, "image": e["image"] + np.uint8(1)}),
        fingerprint(lambda e: {**e, "image": e["image"][:1]}),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(lambda e: e) == prints[1]


def test_a_map_to_different_shapes_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^rows \| cut has examples of different shapes \(image .*resize\(64\)\.$"):
        data.map_examples(rows(), lambda e: {"image": e["image"][: 1 + len(e["text"]) % 2]}, name="cut")


def test_a_folder_is_read_in_sorted_order_with_its_subfolders_as_classes(tmp_path: Path) -> None:
    folder = images(tmp_path, dog_1=(5, 4), cat_2=(5, 4), cat_1=(5, 4), bird_wild_1=(5, 4))
    (folder / "notes.txt").write_text("not an image")
    source = data.from_folder(folder)
    batch = source.gather(np.arange(source.length))
    assert batch["label"].tolist() == [0, 1, 1, 2]
    assert source.classes == {"label": ("bird/wild", "cat", "dog")}
    for pixels, name in zip(batch["image"], ["bird/wild/1", "cat/1", "cat/2", "dog/1"], strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(folder / f"{name}.png")))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    source = data.from_folder(images(tmp_path, a=(5, 4), b=(5, 4)), size=3, grey=True)
    assert source.gather(np.array([1])).keys() == {"image"}
    assert (source.shape("image"), source.classes) == ((3, 3, 1), {})


def test_the_fingerprint_of_a_folder_changes_with_its_files_and_with_what_is_made_of_them(tmp_path: Path) -> None:
    images(tmp_path, a=(5, 5), b=(5, 5))
    prints = [data.from_folder(tmp_path, **how).fingerprint for how in ({}, {"size": 4}, {"size": 4, "grey": True})]
    assert data.from_folder(tmp_path).fingerprint == prints[0]
    images(tmp_path, b=(5, 6))
    prints.append(data.from_folder(tmp_path).fingerprint)
    images(tmp_path, c=(5, 6))
    prints.append(data.from_folder(tmp_path).fingerprint)
    assert len(set(prints)) == len(prints)


def test_a_folder_without_an_image_is_one_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"^No image \(\.png, .*\) lies below .*; check the path\.$"):
            data.from_folder(folder)


def test_many_sizes_still_make_a_short_sentence(tmp_path: Path) -> None:
    source = data.from_folder(images(tmp_path, **{f"i{k}": (5 + k, 5) for k in range(30)}))
    with pytest.raises(UserError) as caught:
        source.gather(np.arange(30))
    assert f"{tmp_path} has examples of different shapes (image (5, 5, 3), (5, 6, 3) ...)" in str(caught.value)
    assert "`example_map`" in str(caught.value)
    assert "data.resize(64)" in str(caught.value)


def torn(kind: str) -> bytes:
    """Bytes on which Pillow fails, with an exception of another type each."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    png, bmp = io.BytesIO(), io.BytesIO()
    picture.save(png, "png")
    picture.save(bmp, "bmp")
    whole, huge = png.getvalue(), struct.pack("<ii", 20_000, 20_000)
    start = whole.index(b"IDAT")
    return {
        "empty": b"",
        "no image": b"<html>404</html>",
        "cut": whole[: len(whole) // 2],
        "a short chunk": whole[: start - 4] + struct.pack(">I", 100) + whole[start:],
        "a short header": whole[:8] + b"\0\0\0\4IHDR\0\0\0\1" + whole[20:],
        "a bomb": bmp.getvalue()[:18] + huge + bmp.getvalue()[26:],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "no image", "cut", "a short chunk", "a short header", "a bomb"])
def test_a_torn_image_is_named(tmp_path: Path, kind: str) -> None:
    images(tmp_path, a=(5, 5))
    (tmp_path / "b.png").write_bytes(torn(kind))
    with pytest.raises(UserError, match=r"^.*/b\.png cannot be read as an image \(.+\); mend or remove it\.$"):
        data.from_folder(tmp_path).gather(np.arange(2))


def test_sets_of_one_name_are_told_apart() -> None:
    small, large = (data.from_arrays({"image": np.zeros((2, side, side, 1), np.uint8)}, name="mine") for side in (4, 8))
    with pytest.raises(UserError, match="mine of 4x4x1, mine of 8x8x1"):
        data.common_shape("image", small, large)
    named = [small._replace(classes={"label": classes}) for classes in (("a", "b"), ("a", "c"))]
    with pytest.raises(UserError, match="mine has a b, mine has a c"):
        data.common_classes("label", *named)


def test_contents_are_the_same_however_they_are_stored() -> None:
    of = {"image": np.stack([np.full((2, 3, 1), i, np.uint8) for i in range(20)]), "label": np.arange(20) % 3}
    texts = np.array([b"x" * i for i in range(20)], object)
    stored = [rows(), *(data.from_arrays({**of, "text": t}, name=n) for n, t in (("a", texts), ("b", texts.astype("S"))))]
    assert len({source.fingerprint for source in stored}) == 3
    (same,) = {data.contents(source) for source in stored}
    others = [
        data.take(rows(), np.arange(19)),
        data.take(rows(), np.arange(20)[::-1]),
        data.from_arrays({**of, "text": texts[::-1]}),
        data.from_arrays({**of, "label": of["label"][::-1], "text": texts}),
        data.from_arrays(of),
    ]
    assert len({same, *map(data.contents, others)}) == 6


def test_contents_of_a_large_set_are_those_of_examples_all_over_it() -> None:
    x = np.arange(5000, dtype=np.int32)
    whole = data.contents(data.from_arrays({"x": x}))
    assert data.contents(data.from_arrays({"x": x}), most=10) != whole
    for changed in (slice(0, 30), slice(2480, 2510), slice(4970, 5000)):
        other = x.copy()
        other[changed] += 1
        assert data.contents(data.from_arrays({"x": other})) != whole
