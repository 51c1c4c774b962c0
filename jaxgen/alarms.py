"""Alarms: an evaluated value that falls says that a run goes wrong, in one sentence, while the run goes on."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxgen.best import evaluated


class Alarm(NamedTuple):
    """An evaluated value that must not fall, and the sentence that a run says when it does.

    The alarm rings at a step whose value is below `share` times the largest value of the steps before, or below the floor
    `below`. It rings once a fall: not again while the value stays there, and again when it has risen and falls anew. What is
    not finite, or was not found, is no value: it neither rings nor ends a fall. A run that resumes goes by what
    it reported before.

    Fields:
      value: the name of the value, `split/name`, as in `Experiment.best`.
      sentence: the words that follow the numbers: what the fall means, and which flags of the experiment may help.
      share: the share of the largest value so far; 0 compares with none.
      below: the floor; minus infinity is none.
      after: the step from which on the floor counts: before it a network has not begun to learn.
    """

    value: str
    sentence: str
    share: float = 0.0
    below: float = -math.inf
    after: int = 0


def rung(alarm: Alarm, history: Iterable[Mapping[str, Any]], step: int) -> str | None:
    """The sentence that an alarm says at a step.

    Args:
      alarm: the alarm.
      history: the reported lines, as in `metrics.jsonl`.
      step: the step.

    Returns:
      The sentence; None if the value did not fall at this step.

    >>> lines = [{"step": s, "split": "test", "diversity": d} for s, d in ((1, 0.5), (2, 0.8), (3, 0.1), (4, 0.2))]
    >>> alarm = Alarm("test/diversity", "samples are alike.", share=0.5)
    >>> rung(alarm, lines, 3)
    'Alarm: test/diversity is 0.1 at step 3, after 0.8 at step 2: samples are alike.'
    >>> rung(alarm, lines, 2), rung(alarm, lines, 4)
    (None, None)
    """
    fallen, best = False, (0, -math.inf)
    for at, value in sorted(evaluated(history, alarm.value).items()):
        before, fallen = fallen, value < _limit(alarm, at, best[1])
        if at == step and fallen and not before:
            than = f", after {best[1]:.3g} at step {best[0]:,}" if best[1] > value else ""
            return f"Alarm: {alarm.value} is {value:.3g} at step {at:,}{than}: {alarm.sentence}"
        if value > best[1]:
            best = at, value
    return None


def _limit(alarm: Alarm, step: int, best: float) -> float:
    """The least that the value may be; of a best value that is negative no share means anything."""
    share = alarm.share * best if alarm.share and best > 0 else -math.inf
    return max(share, alarm.below if step >= alarm.after else -math.inf)
