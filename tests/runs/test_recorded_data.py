"""What a run records of its data: every split, by absolute place and by contents, whatever set it is and wherever it lies."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen.data import tfds_source
from jaxgen.errors import UserError
from jaxgen.runs import workdir


@jaxgen.recorded
def brightness(*, dataset: str = "digits", data_dir: str | None = None, steps: int = 1) -> jaxgen.Experiment:
    """One number that learns how bright the pictures are."""
    train, test = (data.load(dataset, split, data_dir=data_dir) for split in ("train", "test"))

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return (batch["image"].mean((1, 2, 3)) - params["model"]) ** 2, jaxgen.Aux()

    player = jaxgen.Player(loss, optax.sgd(0.1))
    return jaxgen.Experiment(
        train=data.shuffled(train, 2, data.scale()),
        init=lambda key: ({"model": np.float32(0)}, {}),
        players={"model": player},
        steps=steps,
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=2, transform=data.scale())},
    )


def fit(dataset: str | Path, steps: int, folder: Path, **how: Any) -> jaxgen.Run:
    return jaxgen.fit(brightness(dataset=str(dataset), steps=steps, **how), workdir=folder, quiet=True)


def value(folder: Path) -> float:
    return jaxgen.load(folder, experiment=brightness).evaluate(track=lambda x, **_: x)["test"]["loss"]


def put(root: Path, shift: int = 0) -> Path:
    for i, name in enumerate(["train/a/0", "train/a/1", "train/b/0", "test/a/0", "test/b/0"]):
        path = root / f"{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (20 * i + shift,) * 3).save(path)
        os.utime(path, ns=(0, 0))
    return root


def put_arrays(root: Path, shift: int = 0) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((6, 4, 4, 1), 20 + shift, np.uint8)
    np.savez(root, train_image=image[:4], test_image=image[4:])
    return root


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))
    return put(tmp_path / "photos")


def replace(path: Path) -> Callable[[Path], None]:
    """Another picture of the same size and time."""

    def change(root: Path) -> None:
        Image.new("RGB", (4, 4), (201, 201, 201)).save(root / path)
        os.utime(root / path, ns=(0, 0))

    return change


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_run_is_refused_where_any_split_changed(pictures: Path, tmp_path: Path, split: str) -> None:
    fit(pictures, 1, tmp_path / "run")
    replace(Path(split) / "a" / "0.bmp")(pictures)
    with pytest.raises(UserError, match=rf"^The data changed since the run in .* began \(.*photos/{split}\); restore"):
        fit(pictures, 2, tmp_path / "run")
    with pytest.raises(UserError, match=rf"^The data changed since the run in .* was trained \(.*photos/{split}\)\. Say where"):
        value(tmp_path / "run")
    assert jaxgen.load(tmp_path / "run", experiment=brightness).position == 1


def touch(root: Path) -> Path:
    for path in root.rglob("*.bmp"):
        os.utime(path)
    return root


def copy(root: Path) -> Path:
    return Path(shutil.copytree(root, root.parent / "elsewhere" / "copy", copy_function=shutil.copyfile))


def move(root: Path) -> Path:
    return Path(shutil.move(root, root.parent / "moved"))


def link(root: Path) -> Path:
    (root.parent / "link").symlink_to(root)
    return root.parent / "link"


@pytest.mark.parametrize("change", [touch, copy, move, link])
def test_a_run_goes_on_where_the_same_bytes_lie_elsewhere(
    pictures: Path, tmp_path: Path, change: Callable[[Path], Path]
) -> None:
    fit(pictures, 1, tmp_path / "run")
    place = change(pictures)
    assert fit(place, 2, tmp_path / "run").position == 2
    assert json.loads((tmp_path / "run" / "run.json").read_text())["flags"]["dataset"] == str(place)
    assert value(tmp_path / "run") > 0


def test_a_relative_place_is_found_from_another_folder(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset in ("photos", "./photos", "x.npz"):
        put_arrays(tmp_path / "x.npz")
        run = tmp_path / "runs" / dataset.strip("./")
        monkeypatch.chdir(tmp_path)
        fit(dataset, 1, run)
        before = value(run)
        other = tmp_path / "other"
        put(other / "photos", 100)
        put_arrays(other / "x.npz", 100)
        monkeypatch.chdir(other)
        assert value(run) == before
        with pytest.raises(UserError, match=r"differs in --dataset \(.*/.* there, .*other/.* here\)"):
            fit(dataset, 2, run)


def test_a_file_of_arrays_is_told_by_its_arrays(tmp_path: Path) -> None:
    path = put_arrays(tmp_path / "x.npz")
    fit(path, 1, tmp_path / "run")
    put_arrays(path)  # written anew, the same
    assert fit(shutil.copy(path, tmp_path / "y.npz"), 2, tmp_path / "run").position == 2
    image = np.full((6, 4, 4, 1), 20, np.uint8)
    np.savez(tmp_path / "y.npz", train_image=image[:4], test_image=image[4:] + 1)
    with pytest.raises(UserError, match=r"^The data changed since .*y\.npz test"):
        fit(tmp_path / "y.npz", 3, tmp_path / "run")


def test_a_set_prepared_once_more_is_the_same_by_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit("digits", 1, tmp_path / "run", data_dir=str(tmp_path / "one"))
    # Other bytes in the files, as another order of a record's fields would be.
    monkeypatch.setattr(tfds_source, "_fingerprint", lambda mark, paths: "f" * 16)
    assert fit("digits", 2, tmp_path / "run", data_dir=str(tmp_path / "two")).position == 2


def test_a_record_of_an_earlier_version_goes_on(pictures: Path, tmp_path: Path, capsys: Any) -> None:
    fit(pictures, 1, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    del record["data"]["sources"]
    record["data"]["fingerprint"] = "0123456789abcdef"
    file.write_text(json.dumps(record))
    experiment = brightness(dataset=str(pictures), steps=2)
    _, notes = workdir.matching_run(tmp_path / "run", experiment, 0)
    assert [note for note in notes if "an earlier version began this run" in note]
    assert fit(pictures, 2, tmp_path / "run").position == 2
    replace(Path("test/a/0.bmp"))(pictures)
    with pytest.raises(UserError, match="The data changed"):
        fit(pictures, 3, tmp_path / "run")


def test_what_is_opened_is_on_record_once_for_each_split(pictures: Path) -> None:
    assert [one.source.name for one in brightness(dataset=str(pictures)).config.opened] == [
        f"{pictures}/{split}" for split in ("train", "test")
    ]
