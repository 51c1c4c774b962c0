"""Names, pairs and print-outs of estimates and their standard errors."""

import math
from collections.abc import Mapping

SUFFIX = "_stderr"
"""The ending of a standard error's name: that of `nll` is `nll_stderr`."""


def named(values: Mapping[str, tuple[float, float | None]]) -> dict[str, float]:
    """Values and their standard errors as numbers by name; `paired` takes them apart again.

    >>> named({"nll": (23.5, 0.25), "beta": (1.0, None)})
    {'nll': 23.5, 'nll_stderr': 0.25, 'beta': 1.0}
    """
    flat: dict[str, float] = {}
    for name, (value, error) in values.items():
        flat[name] = value
        if error is not None:
            flat[name + SUFFIX] = error
    return flat


def paired(values: Mapping[str, float]) -> dict[str, tuple[float, float | None]]:
    """Each value by its name, with its standard error, or None where there is none.

    >>> paired({"nll": 23.5, "nll_stderr": 0.25, "beta": 1.0})
    {'nll': (23.5, 0.25), 'beta': (1.0, None)}
    """
    errors = {name for name in values if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in values}
    return {name: (value, values.get(name + SUFFIX)) for name, value in values.items() if name not in errors}


def of_share(share: float, n: int) -> float:
    r"""The standard error of a share of n independent examples, $\sqrt{p (1 - p) / (n - 1)}$; NaN for a single one.

    >>> of_share(0.5, 101)
    0.05
    """
    return math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else math.nan


def told(value: float, error: float | None = None) -> str:
    """A value as it is printed: with two digits of its standard error and to the same place, or with five without one.

    >>> told(23.51234, 0.3141), told(23.51234), told(0.0584, 0.0996), told(12_345.6, 1234.0), told(3.0, 0.0)
    ('23.51 +- 0.31', '23.512', '0.06 +- 0.10', '12300 +- 1200', '3 +- 0')
    """
    if error is None:
        return f"{value:.5g}"
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.5g} +- {error:.2g}"
    # The exponent of the rounded error: 0.0996 is 0.10, to two places.
    places = 1 - int(f"{error:.1e}".partition("e")[2])
    return " +- ".join(f"{round(x, places):.{max(places, 0)}f}" for x in (value, error))
