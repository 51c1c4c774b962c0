"""The version of this package, and the versions of the packages that it needs.

`setup.py` reads this file before anything is installed, so it imports the standard library alone.
"""

import platform
from importlib import metadata

__version__ = "0.1.0"

PACKAGES = ("jaxgen", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
"""The packages whose versions a run records."""


def installed() -> dict[str, str | None]:
    """The version of each of `PACKAGES`; None where it is not known."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            # This package's is that of the code that runs, which need not be installed.
            found[name] = __version__ if name == "jaxgen" else metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def told() -> str:
    """All of these versions and Python's in one line, which belongs at the head of a report of a fault.

    >>> told().startswith("jaxgen ")
    True
    """
    return ", ".join([*(f"{name} {number}" for name, number in installed().items()), f"Python {platform.python_version()}"])
