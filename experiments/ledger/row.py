"""A row of the ledger: a system, a command, a paper's figure with its source, and the origin of the settings."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Chosen(StrEnum):
    """The origin of a hyper-parameter."""

    PAPER = "given by the paper"
    CODE = "taken from the authors' code"
    RERUN = "taken from the code of the rerun"
    VALIDATION = "chosen on images that are held out from the training set"
    OWN = "this project's own, not compared with others"
    TEST = "chosen while the test figure was known"


class Figure(NamedTuple):
    """A published value.

    Fields:
      value: the value as it was published.
      error: the error that was published with it; None where there is none.
      source: the publication, and the place in it.
      read_in: the place where it was read: the publication's text, or a repository and a file; empty if it was read nowhere.
    """

    value: float
    error: float | None
    source: str
    read_in: str


class Row(NamedTuple):
    """A figure to reproduce.

    Fields:
      system: the system that is trained.
      dataset: the dataset that it is trained on.
      figure: the figure that is measured, with its unit and the way of measuring it.
      unit: the unit of a distance from the paper's value.
      command: the command to type; D stands for the folder of prepared sets. A system of several stages has a command for each,
        joined by &&, and in the later ones RUN1 stands for the folder of the first one's run, RUN2 for that of the second.
      value: the name of the value, `split/name` in the run's `metrics.jsonl`, at its last step.
      paper: the paper's figure; None for a baseline, which is compared with nothing.
      rerun: the figure of a named rerun of the paper's system, by its authors or by others.
      chosen: the origin of each hyper-parameter.
      other_system: a text that says what is different if the system is not the paper's; empty if it is.
      reduced: a text that says what the protocol leaves out for lack of time; empty if nothing.
      differs: a text that says what else is different from the paper's protocol; empty if nothing.
      also: other values that are shown with it.
      seeds: the number of seeds: the row runs with the seeds 0 to this minus 1.
      remark: a text that says what else a reader should know; if the figure is missed, why.
    """

    system: str
    dataset: str
    figure: str
    unit: str
    command: str
    value: str
    paper: Figure | None
    rerun: Figure | None = None
    chosen: Mapping[str, Chosen] = {}
    other_system: str = ""
    reduced: str = ""
    differs: str = ""
    also: tuple[str, ...] = ()
    seeds: int = 1
    remark: str = ""
