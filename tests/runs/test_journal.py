"""What a run tells while it goes."""

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from games import fit, regression

from jaxgen import Alarm, progress
from jaxgen.errors import UserError
from jaxgen.pictures import Picture, save, tile


def events(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """The scalars and texts of TensorBoard's event files, read by tensorboardX's own protocol buffers."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, Any]]] = {}
    for file in sorted(folder.glob("events*")):
        raw = file.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            event = Event.FromString(raw[12 : 12 + length])
            raw = raw[16 + length :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
                elif value.metadata.plugin_data.plugin_name == "text":
                    found.setdefault(value.tag, []).append((event.step, value.tensor.string_val[0].decode()))
    return found


def test_tensorboard_shows_what_the_metrics_hold(tmp_path: Path) -> None:
    run = fit(regression(), tmp_path)
    shown = events(tmp_path / "tensorboard")
    for split in ("train", "test"):
        expected = [(line["step"], line["loss"]) for line in run.history if line["split"] == split]
        assert shown[f"{split}/loss"] == [(step, pytest.approx(value)) for step, value in expected]


def alarmed(steps: int = 10) -> Any:
    """A game whose evaluated value falls at step 10."""
    values = iter((1.0, 0.1))
    evaluators = {"test": lambda state, key, track: {"diversity": next(values)}}
    alarm = Alarm("test/diversity", "samples are alike", share=0.5)
    return regression(steps=steps)._replace(evaluators=evaluators, final={}, alarms=(alarm,), best=None)


def test_tensorboard_shows_alarms(tmp_path: Path, capsys: Any) -> None:
    fit(alarmed(), tmp_path, evaluate_every=5)
    ((step, sentence),) = events(tmp_path / "tensorboard")["alarms"]
    assert step == 10
    assert sentence.startswith("Alarm: test/diversity is 0.1 at step 10, after 1")
    assert sentence in capsys.readouterr().err


def test_weights_and_biases_without_the_package_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install \"jaxgen\[wandb\]\""):
        fit(regression(steps=2), tmp_path, wandb="project")


def test_weights_and_biases_gets_every_line(tmp_path: Path, monkeypatch) -> None:
    class Fake:
        logged: list = []  # noqa: RUF012
        alerts: list = []  # noqa: RUF012

        def init(self, **options):
            self.options = options
            return self

        def log(self, values, step):
            self.logged.append((step, values))

        def alert(self, title, text):
            self.alerts.append(text)

        def finish(self):
            self.finished = True

        def Image(self, path):  # noqa: N802 - the library's name
            return path

    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run = fit(regression(steps=10), tmp_path, wandb="project")
    assert fake.options["project"] == "project"
    assert fake.finished
    scalars = [(step, values) for step, values in fake.logged if "noise" not in values]
    assert [step for step, _ in scalars] == [line["step"] for line in run.history]
    assert scalars[-1][1]["test/loss"] == run.history[-1]["loss"]
    first = fake.options["id"]
    fit(regression(steps=20), tmp_path, wandb="project")
    assert fake.options["id"] == first
    fit(alarmed(), tmp_path / "alarmed", evaluate_every=5, wandb="project")
    assert [text.partition(" at step")[0] for text in fake.alerts] == ["Alarm: test/diversity is 0.1"]


def test_the_bar_shows_rate_and_eta(capsys) -> None:
    with progress.Bar(total=10) as bar:
        bar.update(5)
        bar.refresh()
    err = capsys.readouterr().err
    assert "training" in err
    assert "5/10" in err
    assert "step/s" in err


def test_track_yields_everything_and_may_be_quiet(capsys) -> None:
    assert list(progress.track(range(3), description="evaluating", quiet=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_grid_holds_the_images_row_by_row() -> None:
    images = np.arange(3 * 2 * 2).reshape(3, 2, 2, 1) / 12.0
    grid = tile(images, columns=2)
    np.testing.assert_allclose(grid[:2, :2], images[0], atol=1e-7)
    np.testing.assert_allclose(grid[:2, 3:], images[1], atol=1e-7)
    np.testing.assert_allclose(grid[3:, :2], images[2], atol=1e-7)
    assert (grid[2] == 1).all()
    assert (grid[3:, 3:] == 1).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_picture_shows_its_pixels_unsmoothed(tmp_path: Path, channels: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    images = rng.random((8, 8, 8, channels)).astype(np.float32)
    path = save(Picture(images, 4, "Eight squares of noise"), tmp_path / "new" / "grid.png")
    shown = np.asarray(Image.open(path).convert("RGB")).astype(float) / 255
    # The grid is 35 pixels wide, enlarged 34 times, below the caption: the centre of each block has the pixel's value.
    factor = 1200 // 35
    top = shown.shape[0] - 17 * factor
    grid = tile(images, 4)
    centres = shown[top + factor // 2 :: factor, factor // 2 :: factor][:17, :35]
    expected = np.broadcast_to(grid, (17, 35, 3)) if channels == 1 else grid
    np.testing.assert_allclose(centres, expected, atol=2.5 / 255)
