"""Faults of the world outside, in processes of their own: nothing is lost, and every end is a sentence.

After each fault the same command goes on, and the run that it finishes is bit for bit the one that nothing disturbed: its
digest, every checkpoint on the way, and every line of its metrics.
"""

import functools
import itertools
import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faults import HERE, Broken, Zygote, digests, lines, where
from games import ARRAYS

from jaxgen.logs import read_jsonl

STEPS = 30
FULL = r"(the disk is full)"


class Truth(NamedTuple):
    """What a run is that nothing disturbed."""

    digests: Mapping[int, str]
    lines: list[dict[str, Any]]


Truths = Callable[..., Truth]


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def truth(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Truths:
    @functools.cache
    def truth(steps: int = STEPS) -> Truth:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert zygote.run(folder, steps=steps, keep=1000).code == 0
        return Truth(digests(folder / "run"), lines(folder / "run"))

    return truth


@pytest.fixture
def disk(zygote: Zygote, tmp_path: Path) -> Path:
    """A disk of 8 MiB, as the processes name it; `zygote.seen(disk)` reads it from here."""
    if not zygote.may_mount:
        pytest.skip("no mount namespace is permitted here (unshare -rm)")
    return zygote.disk(tmp_path, "8m")


def silent(broken: Broken) -> None:
    """Nothing that a user would have to scroll past."""
    assert "Traceback" not in broken.err, broken.err
    assert len([line for line in broken.err.splitlines() if line.strip()]) < 20, broken.err


def sentence(broken: Broken, code: int = 2) -> str:
    """The last line, of a process that stopped by one."""
    silent(broken)
    assert broken.code == code, broken
    last = broken.err.splitlines()[-1]
    assert last.endswith((".", "`")), last
    assert len(last) < 400, last
    return last


def committed(folder: Path, truth: Truth) -> int:
    """The last step on disk, after every checkpoint was seen to be that of the undisturbed run, and its lines to be there."""
    found = digests(folder / "run")
    # A signal saves at any step, between those of the plan: of these, the planned ones that follow tell.
    assert {step: digest for step, digest in found.items() if truth.digests.get(step, digest) != digest} == {}
    last = max(found, default=0)
    until = [line for line in truth.lines if line["step"] < last]
    there = [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_jsonl(folder / "run/metrics.jsonl")]
    assert there[: len(until)] == until
    return last


def goes_on(zygote: Zygote, folder: Path, truth: Truth, **options: Any) -> Broken:
    """The same command finishes the run, which is then the undisturbed one."""
    before = committed(zygote.seen(folder), truth)
    got = zygote.run(folder, **options)
    assert got.code == 0, got.err
    silent(got)
    if before:
        assert before == max(truth.digests) or f"Resuming run at step {before:,} of" in got.err
    finished(zygote.seen(folder), truth)
    return got


def finished(folder: Path, truth: Truth) -> None:
    assert committed(folder, truth) == max(truth.digests)
    assert lines(folder / "run") == truth.lines
    kept = sorted(digests(folder / "run"))
    assert [step for step in kept if step in truth.digests][-3:] == sorted(truth.digests)[-3:]
    assert len(kept) <= 4  # the best may be an older one
    assert not {p.name for p in (folder / "run").rglob("*") if "tmp" in p.name or p.name == ".deleted"}


KILLS = [
    {"at": "fsync", "match": r"run\.json\.tmp", "do": "kill"},
    {"at": "rename", "match": r"checkpoints/20$", "do": "kill"},
    {"at": "rename", "match": r"metrics\.jsonl$", "do": "kill"},
    {"at": "remove", "match": r"^(?!run)", "nth": 3, "do": "kill"},  # in the middle of deleting an old checkpoint
]


def killed(zygote: Zygote, folder: Path, last: int, truth: Truth, places: Counter[str], **options: Any) -> int:
    """A process that is killed has not taken a step back."""
    got = zygote.run(folder, **options)
    assert got.code in (0, -signal.SIGKILL), got
    if got.code:
        places[where(folder / "run")] += 1
    silent(got)
    now = committed(folder, truth)
    assert now >= last
    return now


def test_killed_at_a_chosen_moment(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    last, places = 0, Counter[str]()
    for fault in KILLS:
        last = killed(zygote, tmp_path, last, truth(), places, faults=[fault])
    assert places.total() == 4, "a fault did not strike"
    goes_on(zygote, tmp_path, truth())


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 41, 81])
def test_killed_at_every_change_of_the_disk(zygote: Zygote, truth: Truths, tmp_path: Path, first: int) -> None:
    """The n-th process is killed at the n-th file that it opens, renames, removes or syncs."""
    steps, last, places = 400, 0, Counter[str]()
    for n in range(first, first + 40):
        fault = {"match": r"^(?!gather$|evaluate$|read$)", "nth": n, "do": "kill"}
        last = killed(zygote, tmp_path, last, truth(steps), places, faults=[fault], steps=steps)
    print(places.total(), dict(places), last)
    assert places.total() == 40
    goes_on(zygote, tmp_path, truth(steps), steps=steps)


def newest(folder: Path) -> int:
    """The last committed step, by the names alone."""
    return max((int(p.name) for p in folder.glob("run/checkpoints/*") if p.name.isdigit()), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_at_random(zygote: Zygote, truth: Truths, tmp_path: Path, seed: int) -> None:
    """Whatever it does: also in what no audit event tells of, such as tensorstore's own files."""
    steps, last, places = 400, 0, Counter[str]()
    draw = random.Random(seed)
    while places.total() < 40:
        child = zygote.start(tmp_path, steps=steps)
        until = last + 5 * draw.choice((0, 1, 2, 3))
        child.until(lambda child=child, until=until: newest(tmp_path) >= until and "training" in child.said())
        zygote.ask(wait=child.pid, seconds=draw.uniform(0, 0.6))
        child.send(signal.SIGKILL)
        got = child.wait()
        silent(got)
        if got.code == 0:
            break
        places[where(tmp_path / "run")] += 1
        now = committed(tmp_path, truth(steps))
        assert now >= last
        last = now
    print(places.total(), dict(places), last)
    goes_on(zygote, tmp_path, truth(steps), steps=steps)


@pytest.mark.slow
def test_killed_between_the_lines_of_the_last_evaluation(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    """No line of it comes twice: the last of them is cut off, as if the process had been killed before it."""
    assert zygote.run(tmp_path).code == 0
    metrics = tmp_path / "run/metrics.jsonl"
    for cut in (1, 2, 3, 4):
        kept = metrics.read_text().splitlines(keepends=True)[:-cut]
        metrics.write_text("".join(kept) + '{"step": 30, "spl')
        goes_on(zygote, tmp_path, truth())


STOPS = {
    "SIGTERM in training": ("gather", "terminate", 143),
    "SIGTERM in an evaluation": ("evaluate", "terminate", 143),
    "SIGTERM twice": ("evaluate", "terminate twice", 143),
    "SIGTERM, then SIGKILL": ("gather", "terminate, kill", -9),
    "Ctrl-C": ("gather", "interrupt", 130),
    "Ctrl-C in an evaluation": ("evaluate", "interrupt", 130),
    "Ctrl-C twice": ("evaluate", "interrupt twice", 130),
    "the terminal is closed": ("gather", "hang up", 129),
}
FAST = {"SIGTERM in an evaluation", "Ctrl-C twice"}


@pytest.mark.parametrize("stop", [pytest.param(s, marks=[] if s in FAST else pytest.mark.slow) for s in STOPS])
def test_stopped(zygote: Zygote, truth: Truths, tmp_path: Path, stop: str) -> None:
    at, do, code = STOPS[stop]
    got = zygote.run(tmp_path, faults=[{"at": at, "nth": 12, "do": do}])
    assert got.code == code, got
    silent(got)
    if do not in ("interrupt twice", "terminate, kill"):
        assert "which is saved; the same command goes on from there." in got.err
    goes_on(zygote, tmp_path, truth())


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_at_random_and_again(zygote: Zygote, truth: Truths, tmp_path: Path, signum: int) -> None:
    steps, draw, codes, last = 400, random.Random(signum), Counter[int](), 0
    for i in range(15):
        log = tmp_path / f"log{i}"
        child = zygote.start(tmp_path, steps=steps, log=log)
        child.until(lambda log=log: log.exists() and log.stat().st_size)
        for span in (3.0, 0.3):
            zygote.ask(wait=child.pid, seconds=draw.uniform(0, span))
            child.send(signum)
        got = child.wait()
        silent(got)
        codes[got.code] += 1
        now = committed(tmp_path, truth(steps))
        assert now >= last
        last = now
    print(dict(codes), last)
    assert codes.keys() <= {0, -signum, 130 if signum == signal.SIGINT else 143}
    goes_on(zygote, tmp_path, truth(steps), steps=steps)


def test_nobody_reads_what_it_says_any_more(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    """`2>&1 | tee log` and Ctrl-C, which ends `tee` as well."""
    os.mkfifo(tmp_path / "pipe")
    child = zygote.start(tmp_path, err=tmp_path / "pipe", faults=[{"at": "gather", "nth": 25, "do": "interrupt"}])
    with (tmp_path / "pipe").open() as pipe:
        assert pipe.readline()
    child.wait()
    assert committed(tmp_path, truth()) not in (0, *range(0, STEPS, 5)[:3])
    goes_on(zygote, tmp_path, truth())


SAVING = (
    r"Saving( step \d+)? in .*/run failed \(the disk is full\): free space, or mend what is said, and give the same command"
)
WRITING = r"Writing run/{} failed \(the disk is full\): free space, or mend what is said, and give the same command again"
FULL_DISKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "at the arrays": ({"at": "mkdir", "match": "20.orbax.*state"}, {}, SAVING),
    "at a checkpoint": ({"at": "mkdir", "match": "20.orbax-checkpoint-tmp$"}, {}, SAVING),
    "at its commit": ({"at": "open", "match": "20.orbax.*/_METADATA"}, {}, SAVING),
    "at deleting": ({"at": "rename", "match": "deleted"}, {}, SAVING),
    "at the last checkpoint": ({"at": "mkdir", "match": "30.orbax-checkpoint-tmp$"}, {}, SAVING),
    "nearly, at a checkpoint": ({"at": "mkdir", "match": "20.orbax-checkpoint-tmp$", "do": "nearly fill"}, {}, SAVING),
    "at a picture": ({"at": "open", "match": "png"}, {}, WRITING.format(r"samples/noise_00000015.png")),
    "at a line": ({"at": "gather", "nth": 20}, {}, WRITING.format("(metrics|tensorboard|samples).*") + "|" + SAVING),
    "at the record": ({"at": "open", "match": "run.json"}, {}, r"Writing to the workdir run failed \(the disk is full\)"),
    "at the workdir": ({"at": "mkdir", "match": "run$"}, {}, r"Writing to the workdir run failed \(the disk is full\)"),
    "at the lines": ({"at": "open", "match": "metrics"}, {}, WRITING.format("(metrics|tensorboard).*") + "|" + SAVING),
    "at the events": ({"at": "open", "match": "tfevents"}, {}, WRITING.format("tensorboard.*")),
}


@pytest.mark.parametrize("at", [pytest.param(a, marks=[] if a == "at the arrays" else pytest.mark.slow) for a in FULL_DISKS])
def test_the_disk_is_full(zygote: Zygote, truth: Truths, disk: Path, at: str) -> None:
    fault, flags, expected = FULL_DISKS[at]
    got = zygote.run(disk, faults=[{"do": "fill", **fault}], **flags)
    last = sentence(got)
    assert re.match(expected, last), last
    again = zygote.run(disk, **flags)
    # What the first process had begun is swept away by the second, and may leave room for a last checkpoint.
    assert again.code == 0 or FULL in sentence(again)
    zygote.shell(f"rm {disk}/ballast")
    goes_on(zygote, disk, truth(), **flags)


@pytest.mark.slow
def test_the_disk_is_full_of_lines(zygote: Zygote, disk: Path) -> None:
    """The lines and TensorBoard's events fill it themselves."""
    often = {"log_every": 1, "save_every": 10**6, "evaluate_every": 10**6, "steps": 3000}
    got = zygote.run(disk, faults=[{"at": "gather", "nth": 20, "do": "nearly fill"}], **often)
    assert f"failed {FULL}: free space" in sentence(got)
    zygote.shell(f"rm {disk}/ballast")
    assert zygote.run(disk, **often).code == 0
    assert [line["step"] for line in lines(zygote.seen(disk) / "run") if line["split"] == "train"] == [*range(1, 3001)]


@pytest.mark.slow
@pytest.mark.parametrize("match", ["cache$", "npy"])
def test_the_disk_of_the_cache_is_full(zygote: Zygote, disk: Path, match: str) -> None:
    flags = {"rows": 2000, "steps": 5}
    env = {"JAXGEN_CACHE": str(disk / "cache")}
    got = zygote.run(disk, faults=[{"match": match, "do": "fill"}], env=env, **flags)
    assert "free space, set JAXGEN_CACHE to a folder on another disk, or pass --cache-budget 0 to stream." in sentence(got)
    zygote.shell(f"rm {disk}/ballast")
    assert zygote.run(disk, env=env, **flags).code == 0


def test_a_read_only_workdir(zygote: Zygote, truth: Truths, disk: Path) -> None:
    """It turns read-only under the run; then from the start, where it can still be read."""
    child = zygote.start(disk, faults=[{"at": "mkdir", "match": "20.orbax-checkpoint-tmp$", "do": "turn read-only"}])
    assert "failed (read-only file system): free space, or mend what is said" in sentence(child.wait())
    assert sentence(zygote.run(disk)).startswith("Writing to the workdir run failed (read-only file system): choose another")
    digest = zygote.run(disk, "digest", "run")
    assert digest.out.strip() == truth().digests[15]
    silent(digest)
    known = ("--experiment", str(HERE / "breakable.py"))
    out = zygote.seen(disk) / "samples.png"  # on another disk
    for command in (("evaluate", "run"), ("sample", "run", "--n", "4", "--out", str(out))):
        got = zygote.run(disk, *command, *known)
        assert got.code == 0, got.err
        silent(got)
    assert out.exists()
    zygote.shell(f"umount {disk}/run")
    goes_on(zygote, disk, truth())


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
