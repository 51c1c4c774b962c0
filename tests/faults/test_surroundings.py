"""What else can go wrong around a run: another process, the data, the cache, the clock."""

import itertools
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from games import ARRAYS
from processes import STEPS, Truths, Zygote, committed, finished, goes_on, sentence


def test_two_processes_on_one_workdir(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    first = zygote.start(tmp_path, faults=[{"at": "evaluate", "nth": 5, "do": "wait"}])
    first.until(lambda: committed(tmp_path, truth()) == 10)
    second = zygote.run(tmp_path)
    assert f"run is in use by process {first.pid} on " in sentence(second)
    assert zygote.run(tmp_path, "digest", "run").out.strip() == truth().digests[10]
    first.send(signal.SIGKILL)
    first.wait()
    goes_on(zygote, tmp_path, truth())


def test_the_data_cannot_be_read(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    got = zygote.run(tmp_path, cache_budget=0, faults=[{"at": "read", "nth": 150, "do": "EIO"}])
    expected = "Reading noise failed (Input/output error): restore the dataset, and give the same command again."
    assert sentence(got) == expected
    goes_on(zygote, tmp_path, truth(), cache_budget=0)


@pytest.mark.slow
@pytest.mark.parametrize("at", ["read", "gather"])
def test_a_mistake_in_the_users_reader_keeps_its_traceback(zygote: Zygote, truth: Truths, tmp_path: Path, at: str) -> None:
    got = zygote.run(tmp_path, cache_budget=0, faults=[{"at": at, "nth": 15, "do": "mistake"}])
    assert got.code == 1
    assert "\nValueError: a mistake of the user's own\n" in got.err
    assert got.err.count("Traceback") == 1
    goes_on(zygote, tmp_path, truth(), cache_budget=0)


@pytest.mark.slow
def test_the_cache_is_cut_short_under_the_run(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    env = {"JAXGEN_CACHE": str(tmp_path / "cache")}
    got = zygote.run(tmp_path, env=env, faults=[{"at": "gather", "nth": 12, "do": "truncate the cache"}])
    assert "was changed while it was in use; delete it, and it is made again." in sentence(got)
    assert "is damaged" in sentence(zygote.run(tmp_path, env=env))
    shutil.rmtree(tmp_path / "cache")
    goes_on(zygote, tmp_path, truth(), env=env)


@pytest.mark.slow
def test_the_cache_is_deleted_under_the_run(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    env = {"JAXGEN_CACHE": str(tmp_path / "cache")}
    got = zygote.run(tmp_path, env=env, faults=[{"at": "gather", "nth": 12, "do": "delete the cache"}])
    assert got.code == 0, got
    finished(tmp_path, truth())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The images of the run as a folder."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i, image in enumerate(ARRAYS["image"]):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / f"{i:02}.png")
    return tmp_path / "images"


def test_a_dataset_that_changed_under_a_run_that_was_stopped(
    zygote: Zygote, truth: Truths, pictures: Path, tmp_path: Path
) -> None:
    flags = {"source": str(pictures), "cache_budget": 0}
    stopped = zygote.run(tmp_path, faults=[{"at": "gather", "nth": 12, "do": "terminate"}], **flags)
    assert stopped.code == 143, stopped
    altered = pictures / "07.png"
    whole, times = altered.read_bytes(), altered.stat()
    altered.write_bytes((pictures / "08.png").read_bytes())
    refused = sentence(zygote.run(tmp_path, **flags))
    assert refused == (
        f"The data changed since the run in run began ({pictures}); "
        "restore the dataset that it was trained on, or start anew in another --workdir."
    )
    altered.write_bytes(whole)
    os.utime(altered, ns=(times.st_atime_ns, times.st_mtime_ns))
    goes_on(zygote, tmp_path, truth(), **flags)


@pytest.mark.slow
def test_an_image_is_lost_under_the_run(zygote: Zygote, truth: Truths, pictures: Path, tmp_path: Path) -> None:
    flags = {"source": str(pictures), "cache_budget": 0}
    child = zygote.start(tmp_path, faults=[{"at": "evaluate", "nth": 3, "do": "wait a second"}], **flags)
    child.until(lambda: committed(tmp_path, truth()) == 10)
    lost = shutil.move(pictures / "33.png", tmp_path)
    assert "33.png cannot be read as an image" in sentence(child.wait())
    shutil.move(lost, pictures)
    goes_on(zygote, tmp_path, truth(), **flags)


@pytest.mark.parametrize("jumps", [("back a day", "forward a year")])
def test_the_clock_jumps(zygote: Zygote, truth: Truths, tmp_path: Path, jumps: tuple[str, ...]) -> None:
    for do in jumps:
        faults = [
            {"at": "fsync", "match": "metrics", "nth": 2, "do": do},
            {"at": "fsync", "match": "metrics", "nth": 4, "do": "kill"},
        ]
        before = committed(tmp_path, truth())
        assert zygote.run(tmp_path, faults=faults).code == -signal.SIGKILL
        assert committed(tmp_path, truth()) > before
    goes_on(zygote, tmp_path, truth())
    assert zygote.run(tmp_path, "digest", "run").out.strip() == truth().digests[STEPS]
    events = [p.stat().st_mtime_ns for p in sorted((tmp_path / "run/tensorboard").iterdir())]
    assert events == sorted(events)
    assert len(events) == 3


@pytest.mark.slow
def test_reading_beside_a_run_that_deletes(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    """`jaxgen digest` while checkpoints come and go: always that of one of them."""
    steps = 150
    known = set(truth(steps).digests.values())
    child = zygote.start(tmp_path, steps=steps, keep=1)
    child.until(lambda: (tmp_path / "run/checkpoints/5").exists())
    read = Counter[str]()
    for _ in itertools.takewhile(lambda _: child.running(), itertools.count()):
        got = zygote.run(tmp_path, "digest", "run")
        if got.code:
            assert "was deleted while it was read, as the run goes on; give the same command again." in sentence(got)
        read[got.out.strip()] += 1
    print(len(read), "digests in", read.total(), "readings,", read[""], "too late")
    assert read.keys() <= {*known, ""}
    assert len(read) > 2
    assert child.wait().code == 0
