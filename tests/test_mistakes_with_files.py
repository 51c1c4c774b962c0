"""Mistakes with datasets, folders of images, runs and files of a user's own: each is answered in a sentence."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mistakes import contents, files, refused, run
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen import run as runs
from jaxgen.data.cache import cache_folder

TINY = "--hidden --latents 2 --batch-size 4 --nll-samples 1 --quiet"


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    run("vae", [*shlex.split(TINY), "--steps", "2", "--workdir", str(folder)])
    return folder


@pytest.fixture
def a_run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two steps, `run` in the current folder."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


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


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("vae --workdir run --steps 1 " + TINY, "^The run in run is at step 2 already, so --steps 1 would go back; give more"),
        ("vae --workdir run --steps 3 --clip 2 " + TINY, r"^run holds a run that differs in --clip \(None there, 2.0 here\)"),
        ("vae --workdir run --steps 3 --seed 1 " + TINY, r"^run holds a run that differs in --seed \(0 there, 1 here\); give"),
        ("vae --workdir run --steps 3 --beta 2 " + TINY, r"^run holds a run that differs in --beta \(1.0 there, 2.0 here\)"),
        ("iwae --workdir run --steps 3", r"^run holds a run that differs in the experiment \(experiments.vae there, "),
        ("jaxgen sample run --step 7 --out s.png", "^The run in run has no checkpoint of step 7; it has 2"),
        ("jaxgen sample run --n 0", "^--n is 0"),
        (
            "jaxgen sample run --out s.doc",
            "^--out is s.doc; name a .png",
        ),
        ("jaxgen sample run --out run/run.json/s.png", "cannot be written .*; name a .png or a .npy file in a folder of yours"),
        ("jaxgen evaluate run --json run", "^--json is run, which is no file in a folder that exists; name one"),
        (
            "jaxgen evaluate run --json nowhere/x.json",
            "^--json is nowhere/x.json, which is no file in a folder that exists; name one",
        ),
        ("jaxgen sample run/samples", "^run/samples holds no run"),
        ("jaxgen sample run/run.json", "^run/run.json holds no run"),
        ("jaxgen sample run --experiment mine.py", "^mine.py is no Python file; name the one that holds the experiment"),
        ("jaxgen sample run --experiment run", "^run is no Python file; name the one"),
        ("jaxgen sample run --experiment experiments.vea", "^There is no experiments.vea here.*`jaxgen list` shows"),
        ("jaxgen sample run --experiment experiments.gan", ": There is no --binarization here; there are --dataset"),
        ("jaxgen sample run --experiment other.py", r": There is no --[a-z-]+ here; there are --dataset, --steps"),
        ("jaxgen sample run --experiment broken.py", "^broken.py .*line 1"),
        ("jaxgen sample run --experiment without.py", "^without.py .*`?experiment`?"),
        ("jaxgen sample run --seed -1", "^--seed is -1; give a number from 0"),
        ("jaxgen sample run --seed 99999999999999999999", "^--seed is 9+; give a number from 0"),
    ],
)
def test_with_a_run(line: str, sentence: str, capsys: Any, a_run: Path) -> None:
    Path("broken.py").write_text("def experiment(:\n")
    Path("without.py").write_text("x = 1\n")
    Path("other.py").write_text(
        "import jaxgen\n\n\n@jaxgen.recorded\ndef experiment(*, dataset: str = '', steps: int = 1) -> jaxgen.Experiment: ...\n"
    )
    before = contents(Path())
    command, *args = shlex.split(line)
    told = refused(capsys, lambda: run(command, args))
    assert re.search(sentence, told), told
    assert contents(Path()) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("{", "run.json is damaged: it is not the JSON that a run writes; restore it from a copy"),
        ("", "run.json is damaged"),
        ("[1]", "run.json is damaged"),
        ('"x"', "run.json is damaged"),
        ({"format": None}, "run.json is damaged"),
        ({"format": "1"}, "run.json is damaged"),
        ({"format": -1}, "run.json is damaged"),
        ({"format": 99}, "run was written by a newer jaxgen .*; upgrade jaxgen"),
        ({"flags": None}, "run.json is damaged"),
        ({"flags": []}, "run.json is damaged"),
        ({"seed": "0"}, "run.json is damaged"),
        ({"seed": 1.5}, "run.json is damaged"),
        ({"seed": True}, "run.json is damaged"),
        ({"seed": -1}, "run.json is damaged"),
        ({"data": None}, "run.json is damaged"),
        ({"experiment": 3}, "run.json is damaged"),
        ({"experiment": "experiments.vea"}, "There is no experiments.vea here, which run needs; `jaxgen list` shows"),
        ({"experiment": None}, "run has no flags on record; give load\\(\\) the function that makes its experiment"),
        pytest.param(
            {"experiment": "mine.py", "file": "/x/mine.py"},
            "run was trained by a file of its user.*--experiment /x/mine.py",
        ),
    ],
    ids=str,
)
def test_with_a_changed_record(change: Any, sentence: str, capsys: Any, a_run: Path) -> None:
    record = json.loads((a_run / "run.json").read_text())
    (a_run / "run.json").write_text(change if isinstance(change, str) else json.dumps({**record, **change}))
    assert re.search(sentence, refused(capsys, lambda: run("jaxgen", ["sample", "run", "--out", "s.npy"])))
    assert not Path("s.npy").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"latents": "2"}, ": --latents is 2; give a whole number"),
        ({"latents": 0}, ": --latents is 0; give 1 or more"),
        ({"hidden": 8}, ": --hidden is 8; give a tuple"),
        ({"beta": float("nan")}, ": --beta is nan; give a finite number"),
        ({"latnets": 2}, ": There is no --latnets here; the nearest is --latents"),
        ({"latents": 3}, "does not fit this experiment: .* there and .* here"),
    ],
    ids=str,
)
def test_with_a_changed_flag_on_record(flags: dict[str, Any], sentence: str, capsys: Any, a_run: Path) -> None:
    record = json.loads((a_run / "run.json").read_text())
    record["flags"] |= flags
    (a_run / "run.json").write_text(json.dumps(record))
    assert re.search(sentence, refused(capsys, lambda: run("jaxgen", ["sample", "run", "--out", "s.npy"])))


def test_parameters_of_another_run(a_run: Path) -> None:
    for load in (jaxgen.load_params, jaxgen.load, runs.digest):
        with pytest.raises(jaxgen.UserError, match=r"^nowhere holds no run"):
            load("nowhere")
    with pytest.raises(jaxgen.UserError, match=r"^The run in run has no checkpoint of step 9; it has 2"):
        jaxgen.load_params("run", step=9)
    assert set(jaxgen.load_params(a_run)) == {"model"}
    shutil.rmtree(a_run / "checkpoints")
    with pytest.raises(jaxgen.UserError, match=r"^The run in .* has no checkpoint yet; train it, with a smaller --save-every"):
        jaxgen.load_params(a_run)


@pytest.mark.parametrize("line", ["vae --workdir ''", "jaxgen sample ''", "jaxgen evaluate ''", "jaxgen sample run --out ''"])
def test_an_empty_path(line: str, capsys: Any, a_run: Path) -> None:
    before = contents(Path())
    command, *args = shlex.split(line)
    assert "A path is empty; name a file or a folder" in refused(capsys, lambda: run(command, args))
    assert contents(Path()) == before


@pytest.mark.parametrize("name", ["my run", "run $1", "it's", "~run"])
def test_what_is_printed_to_copy_works_when_pasted(name: str, a_run: Path, monkeypatch: Any) -> None:
    moved = Path(shutil.move(a_run, a_run.with_name(name)))
    printed = jaxgen.workdir.read(moved).arguments
    assert shlex.split(printed) == [str(moved)]
    monkeypatch.setenv("HOME", str(moved.parent))
    run("jaxgen", ["sample", *shlex.split(printed), "--n", "4", "--out", "~/out here.png"])
    assert (moved.parent / "out here.png").is_file()
