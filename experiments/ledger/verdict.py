"""Verdicts on the rows of the ledger: a pure function of a row and its record.

A figure is *reproduced* by the same system, with the paper's protocol, if the value is within the paper's own error. Where the
paper gives none, it has to be within two standard errors of ours about the paper's value, or within two standard errors (of the
rerun or of ours, whichever is larger) about the value of a named rerun. Every bound has two sides: too good is as far off as
too bad.
"""

import math
import statistics
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from .row import Chosen, Row


class Status(StrEnum):
    """The status of a row."""

    NOT_RUN = "not run"
    BASELINE = "baseline"
    OTHER_SYSTEM = "other system"
    MISSED = "missed"
    NEAR = "near"
    REPRODUCED = "reproduced"


class Estimate(NamedTuple):
    """The measured value of a row.

    Fields:
      value: the value of the run, or the mean over the seeds.
      error: the standard error: with several seeds that of their mean, with one that of its evaluation; None if not on record.
      deviation: the standard deviation over the seeds; None for one.
      seeds: the number of seeds.
    """

    value: float
    error: float | None
    deviation: float | None
    seeds: int


class Bound(NamedTuple):
    """An interval, and why it is this one.

    Fields:
      centre: the middle of the interval.
      half: half of its width.
      reason: the origin of both.
    """

    centre: float
    half: float
    reason: str

    def holds(self, value: float, *, times: float = 1.0) -> bool:
        """Whether a value is inside of the interval, or of one so many times as wide; the ends belong to it."""
        distance, half = abs(value - self.centre), times * self.half
        # The ends are sums of decimal fractions, which floats only approximate.
        return distance <= half or math.isclose(distance, half, rel_tol=1e-9)


class Verdict(NamedTuple):
    """The verdict on a row: its status and the reasons.

    Fields:
      status: the status in one word.
      distance: the value minus the paper's; None where they are not compared.
      bounds: the bounds within which the value would count as the paper's; empty if no error is known to derive one from.
      short_of: the reasons why the figure cannot count as reproduced at any value.
    """

    status: Status
    distance: float | None = None
    bounds: tuple[Bound, ...] = ()
    short_of: tuple[str, ...] = ()


def estimate(record: Mapping[str, Any]) -> Estimate | None:
    """The value of a record over its seeds; None for a record without runs.

    >>> estimate({"runs": [{"value": 1.0}, {"value": 3.0}]})
    Estimate(value=2.0, error=1.0, deviation=1.4142135623730951, seeds=2)
    >>> estimate({"runs": [{"value": 90.5, "error": 0.25}]})
    Estimate(value=90.5, error=0.25, deviation=None, seeds=1)
    """
    values = [run["value"] for run in record["runs"]]
    if not values:
        return None
    if len(values) == 1:
        return Estimate(values[0], record["runs"][0].get("error"), None, 1)
    deviation = statistics.stdev(values)
    return Estimate(statistics.fmean(values), deviation / math.sqrt(len(values)), deviation, len(values))


def bounds(row: Row, ours: Estimate) -> tuple[Bound, ...]:
    """The intervals within which a value counts as the paper's; none if no error is known to derive one from."""
    paper, rerun = row.paper, row.rerun
    if paper is None:
        return ()
    if paper.error is not None:
        return (Bound(paper.value, paper.error, "the paper's own error"),)
    found = []
    if ours.error is not None:
        found.append(Bound(paper.value, 2 * ours.error, "two standard errors of ours"))
    if rerun is not None and (errors := [e for e in (rerun.error, ours.error) if e is not None]):
        whose = "the rerun" if max(errors) == rerun.error else "ours"
        found.append(Bound(rerun.value, 2 * max(errors), f"two standard errors of {whose}, about the rerun"))
    return tuple(found)


def short_of(row: Row, ours: Estimate, bounds: tuple[Bound, ...]) -> tuple[str, ...]:
    """Why a row does not count as reproduced, however close its value is."""
    reasons = []
    if row.paper is not None and not row.paper.read_in:
        reasons.append("the paper's figure was read nowhere")
    if row.reduced:
        reasons.append("the protocol is reduced")
    if row.differs:
        reasons.append("the protocol differs")
    if known := [what for what, chosen in row.chosen.items() if chosen is Chosen.TEST]:
        reasons.append(f"{Chosen.TEST}: {', '.join(known)}")
    if ours.seeds < row.seeds:
        reasons.append(f"{ours.seeds} of {row.seeds} seeds")
    if unknown(row, ours) and not any(bound.holds(ours.value) for bound in bounds):
        reasons.append("no error on record")
    return tuple(reasons)


def unknown(row: Row, ours: Estimate) -> bool:
    """Whether neither the paper nor the record has an error, so that nobody can say how much a distance means."""
    return ours.error is None and row.paper is not None and row.paper.error is None


def verdict(row: Row, record: Mapping[str, Any] | None) -> Verdict:
    """Judges a row by its record.

    - `baseline` and `other system` are compared with nothing, since there is nothing that they should equal.
    - `reproduced`: inside a bound, and the row falls short of nothing.
    - `near`: inside a bound, where the row falls short of something; within twice the bound's width; by a protocol that is
      reduced and says so; or where neither side has an error, so that only the distance is known.
    - `missed`: everything else. Nobody can come near to a figure that was not read: there, only a value inside the bound is
      `near`.

    Args:
      row: the row that was to be reproduced.
      record: the record of the values that its command measured; None if there is none.

    Returns:
      The verdict.
    """
    ours = None if record is None else estimate(record)
    if ours is None:
        return Verdict(Status.NOT_RUN)
    if row.paper is None:
        return Verdict(Status.BASELINE)
    distance = ours.value - row.paper.value
    if row.other_system:
        return Verdict(Status.OTHER_SYSTEM, distance)
    found = bounds(row, ours)
    lacking = short_of(row, ours, found)
    inside = any(bound.holds(ours.value) for bound in found)
    close = any(bound.holds(ours.value, times=2) for bound in found) or bool(row.reduced) or unknown(row, ours)
    if inside and not lacking:
        status = Status.REPRODUCED
    elif inside or (close and row.paper.read_in):
        status = Status.NEAR
    else:
        status = Status.MISSED
    return Verdict(status, distance, found, lacking)
