"""Processes that are killed or asked to stop: nothing is lost, and every end is a sentence.

After each fault the same command goes on, and the run that it finishes is bit for bit the one that nothing disturbed: its
digest, every checkpoint on the way, and every line of its metrics.
"""

import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import STEPS, Truth, Truths, Zygote, committed, digests, goes_on, silent, where

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


def test_what_is_kept_for_good_outlives_kills(zygote: Zygote, truth: Truths, tmp_path: Path) -> None:
    """Also one that strikes while a checkpoint is deleted, and a last command without the flag."""
    last, places = 0, Counter[str]()
    moments = [
        {"at": "rename", "match": r"checkpoints/10$"},
        {"at": "remove", "match": r"^(?!run)", "nth": 3},
        {"at": "rename", "match": r"checkpoints/25$"},
    ]
    for moment in moments:
        last = killed(zygote, tmp_path, last, truth(), places, faults=[{**moment, "do": "kill"}], keep=1, keep_every=10)
    assert places.total() == 3, "a fault did not strike"
    assert zygote.run(tmp_path, keep=1).code == 0
    assert committed(tmp_path, truth()) == STEPS
    assert {10, 20, 30} <= digests(tmp_path / "run").keys() <= {10, 15, 20, 30}  # 15 may be the best


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
