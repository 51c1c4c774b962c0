"""Mistakes with datasets, folders of images, files of arrays and caches: each is answered in a sentence."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mistakes import files, refused, run
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen.data.cache import cache_folder


def picture(path: Path, side: int | tuple[int, int] = 8, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (side, side) if isinstance(side, int) else side
    Image.new(mode, size, 7).save(path)
    return path


def split(root: Path, name: str, classes: str = "", side: int | tuple[int, int] = 8) -> None:
    for i in range(4):
        for label in classes.split() or [""]:
            picture(root / name / label / f"{i}.png", side)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A good dataset of a user's own, without classes."""
    for name in ("train", "test"):
        split(tmp_path / "photos", name)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("vae --dataset mnst", "^There is no dataset 'mnst'.* The nearest names are .*mnist"),
        ("vae --dataset ./photos", "^There is no folder ./photos; check the path"),
        ("vae --dataset ~nobody-of-that-name/x", "^There is no home folder for ~nobody-of-that-name/x; check the name"),
        (
            "vae --dataset file.png",
            "^file.png is no dataset: it is a file; give a folder with the subfolders train and test, or",
        ),
        ("vae --dataset ./file.png", "^./file.png is no dataset: it is a file; give a folder"),
        ("vae --dataset ./x.npz", "^There is no file ./x.npz; check the path"),
        ("vae --dataset x.npy", "^There is no file x.npy; check the path"),
        ("vae --dataset ''", "^The dataset has an empty name; name a set"),
        ("jaxgen data convert ' ' x.npz", "^The dataset has an empty name; name a set"),
        ("jaxgen data convert photos x.npz", "^There is no dataset 'photos'"),
        ("jaxgen data convert digits x.zip", "^x.zip is no .npz file by its name; call it x.zip.npz"),
        ("jaxgen data convert digits no/x.npz", r"^Writing no/x.npz failed \(no such file or directory\): name a file in"),
        ("jaxgen data convert digits x.npz --train tarin", "^The dataset 'digits' has no split 'tarin'; it has test"),
        ("jaxgen data convert digits x.npz --split 1", "--split"),
        ("jaxgen data convert gaussian_ring x.npz", "^The set has no feature 'image', only label, point; take one that has"),
        ("vae --dataset digits:9.9.9", "^The dataset 'digits:9.9.9' cannot be opened .*9.9.9, only: 1.0.0"),
        (
            "vae --dataset digits/large",
            "^The dataset 'digits/large' cannot be opened .*; check its name, its version",
        ),
        ("vae --dataset mnist/", "^The dataset 'mnist/' cannot be opened .*; check its name"),
        ("vae --dataset mnist", r"^The dataset 'mnist' is not prepared in .*; |pip install .jaxgen\[tf\]"),
        ("vae --dataset gaussian_ring", "^gaussian_ring/1.0.0 train has no feature 'image'; it has label, point"),
        ("clip --dataset digits", "^digits/1.0.0 train has no text 'caption', only image, label; take a set whose"),
        ("vae --data-dir file.png", "^Preparing 'digits' in file.png failed .*; check the network, and the .* permissions"),
        ("jaxgen data list --data-dir file.png", "^There is no folder file.png; check --data-dir"),
        ("vae --workdir file.png", "^Writing to the workdir file.png failed .*choose another --workdir"),
        ("vae --workdir file.png/run", "^Writing to the workdir file.png/run failed .*choose another --workdir"),
    ],
)
def test_of_a_dataset_or_folder(line: str, sentence: str, capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "file.png")
    command, *args = shlex.split(line)
    told = refused(capsys, lambda: run(command, [*args, "--quiet"] if command != "jaxgen" else args))
    assert re.search(sentence, told), told
    assert files(tmp_path) == ["file.png"]


def no_test(root: Path) -> None:
    shutil.rmtree(root / "test")


def empty(root: Path) -> None:
    no_test(root)
    (root / "test").mkdir()


def only_text(root: Path) -> None:
    empty(root)
    (root / "test" / "notes.txt").write_text("no picture")


def text_named_png(root: Path) -> None:
    (root / "train" / "1.png").write_text("no picture")


def torn(root: Path) -> None:
    path = root / "train" / "2.png"
    path.write_bytes(path.read_bytes()[:40])


def nothing_in_it(root: Path) -> None:
    (root / "train" / "2.png").write_bytes(b"")


def dangling(root: Path) -> None:
    (root / "train" / "9.png").symlink_to("nowhere.png")


def sizes(root: Path) -> None:
    picture(root / "train" / "3.png", 16)


def sizes_of_splits(root: Path) -> None:
    no_test(root)
    split(root, "test", side=16)


def thin(root: Path) -> None:
    shutil.rmtree(root)
    for name in ("train", "test"):
        split(root, name, side=(1, 8))


def classes_of_splits(root: Path) -> None:
    shutil.rmtree(root)
    split(root, "train", "cat dog")
    split(root, "test", "dog eel")


def odd(root: Path) -> None:
    shutil.rmtree(root)
    for name in ("train", "test"):
        split(root, name, "cat dog", side=7)


@pytest.mark.parametrize(
    ("spoil", "line", "sentence"),
    [
        (no_test, "vae", "^The folder photos has no subfolder 'test' to take that split from; it has train"),
        (empty, "vae", "^No image .* lies below photos/test; check the path"),
        (only_text, "vae", "^No image .*lies below photos/test"),
        (text_named_png, "vae", "^photos/train/1.png cannot be read as an image .*; mend or remove it"),
        (torn, "vae", "^photos/train/2.png cannot be read as an image .*; mend or remove it"),
        (torn, "vae --cache-budget 0", "^photos/train/2.png cannot be read as an image .*; mend or remove it"),
        (nothing_in_it, "vae", "^photos/train/2.png cannot be read as an image .*; mend or remove it"),
        (dangling, "vae", "^photos/train/9.png cannot be read .*; mend or remove it"),
        (sizes, "vae", r"^photos/train has examples of different shapes \(image \(8, 8, 3\), \(16, 16, 3\)\)"),
        (sizes, "vae --cache-budget 0", "^photos/train has examples of different shapes"),
        (sizes_of_splits, "vae", "^One model cannot take every image: photos/train of 8x8x3, photos/test of 16x16x3; bring"),
        (sizes_of_splits, "ddpm", "^One model cannot take every image"),
        (lambda root: None, "conditional_gan", "^photos/train has no classes of a feature 'label'; take a set that has"),
        (lambda root: None, "ddpm --labels", "^photos/train has no classes of a feature 'label'"),
        (lambda root: None, "clip", "^photos/train has no text 'caption', only image"),
        (
            classes_of_splits,
            "conditional_gan",
            "^A label means different things: photos/train has cat dog, photos/test has dog eel",
        ),
        (odd, "dcgan", "^Images of 7x7 can be halved 0 times, not 2; resize them to even sides"),
        (odd, "conditional_gan", "^Images of 7x7 can be halved 0 times"),
        (thin, "vae --network residual --channels 4 4 4", "^A kernel of 3x3 does not fit into images of 0x|^A kernel"),
    ],
)
def test_of_a_folder_of_images(
    spoil: Callable[[Path], None], line: str, sentence: str, images: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(images.parent)
    spoil(images)
    before = files(images.parent)
    command, *args = shlex.split(line)
    told = refused(capsys, lambda: run(command, ["--dataset", "photos", "--batch-size", "4", "--quiet", *args]))
    assert re.search(sentence, told), told
    assert files(images.parent) == before


def test_a_folder_that_is_called_like_a_picture_is_a_class(tmp_path: Path) -> None:
    split(tmp_path, "train", "cat.png dog")
    source = data.load(str(tmp_path), "train")
    assert source.classes == {"label": ("cat.png", "dog")}
    assert source.length == 8


def test_a_cache_that_is_a_file(capsys: Any, images: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(picture(images.parent / "file.png")))
    told = refused(capsys, lambda: run("vae", ["--dataset", str(images)]))
    assert re.search("^The cache folder .*file.png cannot be written .*set JAXGEN_CACHE .*or pass --cache-budget 0", told)


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(p.read_bytes()[:150]), lambda p: p.write_bytes(b""), Path.unlink])
def test_a_damaged_cache(spoil: Callable[[Path], None], capsys: Any, images: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(images.parent / "cache"))
    data.load(str(images), "train")
    spoil(next(cache_folder().glob("*/image.npy")))
    told = refused(capsys, lambda: run("vae", ["--dataset", str(images)]))
    assert re.search("^The cache .* is damaged .*; delete it, and it is made again", told)


@pytest.mark.parametrize(
    ("name", "spoil", "sentence"),
    [
        ("*array_record*", Path.unlink, "^The dataset digits/1.0.0 in .* cannot be read .*; restore its files, or delete them"),
        ("*array_record*", lambda p: p.write_bytes(p.read_bytes()[:99_000]), "^The dataset digits/1.0.0 in .* cannot be read"),
        ("dataset_info.json", lambda p: p.write_bytes(b"\xff"), "^The dataset 'digits' cannot be opened .* its files"),
        ("dataset_info.json", lambda p: p.write_text("{"), "^The dataset 'digits' cannot be opened .* its files"),
    ],
)
def test_a_damaged_prepared_set(name: str, spoil: Callable[[Path], None], sentence: str, capsys: Any, tmp_path: Path) -> None:
    data.load("digits", "test", data_dir=str(tmp_path), cache_budget=0.0)
    for file in tmp_path.rglob(name):
        spoil(file)
    told = refused(capsys, lambda: run("vae", ["--data-dir", str(tmp_path), "--cache-budget", "0", "--quiet"]))
    assert re.search(sentence, told), told


def test_arrays_of_different_lengths_and_of_none() -> None:
    with pytest.raises(jaxgen.UserError, match=r"arrays need one common length above zero; got .'x': 3, 'y': 2"):
        data.from_arrays({"x": np.zeros(3), "y": np.zeros(2)})
    with pytest.raises(jaxgen.UserError, match="got no arrays"):
        data.from_arrays({})
    with pytest.raises(jaxgen.UserError, match="A batch size of -1 holds no example; give 1 or more"):
        data.shuffled(data.from_arrays({"x": np.zeros(3)}), -1)
