"""The experiments that come with this package, found by their folder's place and never by the name `experiments`.

The folder `experiments/` lies next to the folder `jaxgen/`, in a clone as in an installed package. A user may well have a
folder of that name too, which Python then finds first. So this module makes the folder a part of the package:
`jaxgen.experiments.vae` is the file `experiments/vae.py`, even if something else is called `experiments`.

>>> from jaxgen.experiments import names
>>> "vae" in names()
True
"""

import ast
import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
"""The folder of the experiments."""

__path__ = [str(FOLDER)]  # what makes a module a package, whose submodules are the files there

PREFIX = "experiments."
"""The beginning of the name that a run records of an experiment from `FOLDER`: `experiments.vae`."""


def names() -> list[str]:
    """The experiments' names, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def summary(name: str) -> str:
    """The first line of an experiment's description, read without running its file: listing needs no JAX."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def recorded_name(file: Path) -> str | None:
    """The name by which a run records the experiment in a file, `experiments.vae`; None for a file of the user's."""
    if not file.is_relative_to(FOLDER):
        return None
    return PREFIX + ".".join(file.relative_to(FOLDER).with_suffix("").parts)


def find(name: str) -> Callable[..., Any]:
    """The function of an experiment.

    Args:
      name: the experiment's name: `vae`, or `experiments.vae` as a run records it.

    Raises:
      UserError: if there is no such experiment; it names the nearest.
    """
    short = name.removeprefix(PREFIX)
    if short not in names():
        raise UserError(f"There is no experiment {short!r}; {nearest(short, names())} (`jaxgen list` shows them).")
    return importlib.import_module(f"{__name__}.{short}").experiment


def nearest(name: str, known: list[str]) -> str:
    """The names that somebody who typed a wrong name may have meant, as a part of a sentence.

    >>> nearest("vea", ["dcgan", "vae", "wgan"])
    'perhaps you meant vae'
    >>> nearest("what", ["list", "sample"])
    'there are list, sample'
    """
    near = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
    return f"perhaps you meant {' or '.join(near)}" if near else f"there are {', '.join(known)}"
