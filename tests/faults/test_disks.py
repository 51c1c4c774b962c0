"""Disks that are full, and one that turns read-only: nothing is lost, and the same command goes on when there is room."""

import re
from pathlib import Path
from typing import Any

import pytest
from processes import HERE, Truths, Zygote, goes_on, lines, sentence, silent

FULL = r"(the disk is full)"
SAVING = (
    r"Saving( step \d+)? in .*/run failed \(the disk is full\): free space, or mend what is said, and give the same command"
)
WRITING = r"Writing run/{} failed \(the disk is full\): free space, or mend what is said, and give the same command again"
FULL_DISKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "at the arrays": ({"at": "mkdir", "match": "20.orbax.*state"}, {}, SAVING),
    "at a checkpoint": ({"at": "mkdir", "match": "20.orbax-checkpoint-tmp$"}, {}, SAVING),
    "at one that is kept for good": ({"at": "mkdir", "match": "15.orbax-checkpoint-tmp$"}, {"keep_every": 15}, SAVING),
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
