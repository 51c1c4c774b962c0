"""Errors of memory as sentences that name the flags to lower: where possible before the system ends the process."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen import disk
from jaxgen.errors import UserError
from jaxgen.types import PyTree

SAVING: Mapping[str, str] = {
    "batch_size": "a smaller --batch-size",
    "accumulate": "a larger --accumulate",
    "remat": "--remat",
    "bf16": "--bf16",
}
"""Advice that saves memory, by the flag that an experiment has to have."""


def exhausted(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that memory did not suffice, on the host or on a device."""
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError | ValueError)
            and ("RESOURCE_EXHAUSTED" in text or "Out of memory" in text)
            and disk.refusal(error) is None
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def explained(what: str, flags: Mapping[str, Any] | None = None, *, mend: str | None = None) -> Iterator[None]:
    """Turns an error of memory into one sentence.

    Args:
      what: the beginning of the sentence, which says what needs the memory: "Training".
      flags: the flags of the experiment; those of them that save memory are named.
      mend: a sentence that says what helps, in place of the flags.

    Raises:
      UserError: in place of the error.
    """
    try:
        yield
    except UserError:
        raise
    except (MemoryError, RuntimeError, ValueError) as error:
        if not exhausted(error):
            raise
        raise UserError(f"{what} takes more memory than there is; {mend or f'give {advice(flags)}'}.") from error


def advice(flags: Mapping[str, Any] | None) -> str:
    """Advice on how to use less memory: the flags of an experiment that save some, or a smaller network.

    >>> advice({"batch_size": 64, "bf16": False, "beta": 1.0})
    'a smaller --batch-size (now 64), --bf16, or a smaller network'
    """
    flags = flags or {}
    found = []
    for flag, words in SAVING.items():
        if flag in flags and flags[flag] is not True and not (flag == "batch_size" and flags[flag] == 1):
            found.append(words if isinstance(flags[flag], bool) else f"{words} (now {flags[flag]})")
    return f"{', '.join(found)}, or a smaller network" if found else "a smaller network, or smaller batches"


def size(spec: PyTree) -> int:
    """Bytes of the arrays with these shapes and dtypes."""
    # Random keys are a few bytes; the product is in Python's numbers, which do not overflow.
    return sum(math.prod(x.shape) * (8 if _is_key(x) else np.dtype(x.dtype).itemsize) for x in jax.tree.leaves(spec))


def available() -> int | None:
    """Free bytes of the memory in which arrays lie by default: the first device's, or the host's; None if unknown."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return host()
    stats = device.memory_stats() or {}
    return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= stats.keys() else None


def host() -> int | None:
    """Free bytes of the host's memory, within the limit of a container if there is one; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        stat = (group / "memory.stat").read_text(encoding="ascii")
        told = (line.split() for line in stat.splitlines())
        cached = [count for name, count in told if name == "inactive_file"]
        found.append(int(limit) - int(used) + sum(map(int, cached)))
    return min(found, default=None)


def check(spec: PyTree, flags: Mapping[str, Any] | None, *, parts: int = 1) -> None:
    """Refuses a state that cannot be held, before it is made: the system would end the process without a message.

    Args:
      spec: shapes and dtypes of the state.
      flags: the flags of the experiment.
      parts: the number of devices that the batch is cut over.

    Raises:
      UserError: if there is less memory than the state takes.
    """
    need, free = size(spec) // parts, available()
    if free is not None and need > free:
        raise UserError(
            f"Parameters, optimizers and averages take {_told(need)} of memory, and {_told(free)} are free; give a smaller "
            f"network{_largest(flags)}."
        )


def _largest(flags: Mapping[str, Any] | None) -> str:
    """The flag with the largest number, which is likely to blame, as the end of a sentence."""

    def greatest(value: Any) -> int:
        numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if type(n) is int]
        return max(numbers, default=0)

    others = ("steps", "batch_size", "nll_samples")  # of which the state does not depend
    sizes = {flag: greatest(value) for flag, value in (flags or {}).items() if flag not in others}
    flag = max(sizes, key=sizes.__getitem__, default=None)
    if flag is None or flags is None or sizes[flag] < 1000:
        return ""
    shown = " ".join(map(str, flags[flag])) if isinstance(flags[flag], tuple) else flags[flag]
    return f" (--{flag.replace('_', '-')} is {shown})"


def _told(n: int) -> str:
    return f"{n / 2**30:,.1f} GiB" if n >= 2**30 else f"{n / 2**20:,.1f} MiB"


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
