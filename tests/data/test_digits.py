"""The builder of the digits against scikit-learn's own copy."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.errors import UserError


def test_the_splits_are_the_first_1437_and_the_last_360_examples() -> None:
    original = load_digits()
    scaled = np.round(original.images * (255 / 16)).astype(np.uint8)[..., None]
    for split, expected in (("train", slice(0, 1437)), ("test", slice(1437, None))):
        source = data.load("digits", split)
        rows = source.gather(np.arange(source.length))
        assert source.length == {"train": 1437, "test": 360}[split]
        assert (rows["image"].dtype, rows["image"].shape[1:]) == (np.uint8, (8, 8, 1))
        # TFDS shuffles by a hash of the example's number: the same examples, in an order of its own.
        assert _sorted(rows["image"], rows["label"]) == _sorted(scaled[expected], original.target[expected])


def test_seventeen_grey_levels_are_spread_over_the_bytes() -> None:
    pixels = data.load("digits", "train").gather(np.arange(1437))["image"]
    np.testing.assert_array_equal(np.unique(pixels), np.round(np.arange(17) * 255 / 16))


def test_labels_have_names() -> None:
    assert data.load("digits", "test").classes == {"label": tuple("0123456789")}


def test_preparing_twice_gives_the_same_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    once, again = (
        data.load("digits", "test", data_dir=str(tmp_path_factory.mktemp("d")), cache_budget=0).gather(np.arange(360))
        for _ in range(2)
    )
    np.testing.assert_array_equal(once["image"], again["image"])
    np.testing.assert_array_equal(once["label"], again["label"])


def test_the_data_folder_is_made_on_first_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not" / "there"
    assert data.load("digits:1.0.0", "test", data_dir=str(folder), cache_budget=0).length == 360
    assert capsys.readouterr().err.count("Preparing digits") == 1
    data.load("digits", "test", data_dir=str(folder), cache_budget=0)
    assert "".join(capsys.readouterr()) == ""
    assert caplog.messages == []  # TFDS warns of a folder without a dataset


@pytest.mark.parametrize("written", ["tfrecord", "riegeli"])
def test_a_set_in_a_format_without_random_access_is_told_by_its_format(written: str, tmp_path: Path) -> None:
    """TFDS's own default is one."""
    data.prepare("digits", data_dir=str(tmp_path))
    info = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": written}))
    with pytest.raises(UserError, match=rf"prepared as {written}, which cannot be read by index; `jaxgen data prepare digits"):
        data.load("digits", "test", data_dir=str(tmp_path))


def test_two_processes_prepare_at_once_and_without_tensorflow(tmp_path: Path) -> None:
    # Each waits for the other's half-written folder before it makes its own final.
    code = """
import os, pathlib, sys, time
from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.data.builders import digits
generate = digits.Digits._generate_examples
def together(self, start, stop):
    (pathlib.Path(sys.argv[1]) / f"here{os.getpid()}").touch()
    until = time.time() + 60
    while len(list(pathlib.Path(sys.argv[1]).glob("here*"))) < 2 and time.time() < until:
        time.sleep(0.01)
    return generate(self, start, stop)
digits.Digits._generate_examples = together
source = data.load("digits", "test", data_dir=sys.argv[1], cache_budget=0)
print(source.length, source.fingerprint, "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    assert outs[0][0].split()[::2] == ["360", "False"]
    assert [p.name for p in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def _sorted(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
