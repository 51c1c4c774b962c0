"""Types and ranges of flags: declared in an experiment's signature, and checked wherever the flag comes from.

`latents: Count = 16` is refused below 1 on the command line, in Python, and where a run is built again from its record.
"""

import difflib
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from tyro.constructors import PrimitiveConstructorSpec

from jaxgen.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Range(NamedTuple):
    """The range of a flag: the values of its type that it takes.

    Fields:
      words: the end of a sentence that says what to give instead of a wrong value: "1 or more".
      holds: whether a value is a right one.
    """

    words: str
    holds: Callable[[Any], bool]


Count: TypeAlias = Annotated[int, Range("1 or more", lambda n: n >= 1)]
"""A number of examples, layers, channels or samples: 1, 2, 3 ..."""

Whole: TypeAlias = Annotated[int, Range("0 or more", lambda n: n >= 0)]
"""A number that may be zero: 0, 1, 2 ..."""

Bits: TypeAlias = Annotated[int, Range("a number from 1 to 8", lambda n: 1 <= n <= 8)]
"""Bits of a number of a byte."""

Counts: TypeAlias = Annotated[tuple[Count, ...], Range("one number or more", lambda counts: len(counts) >= 1)]
"""Numbers of channels by level: one level or more, each with 1 or more."""

Positive: TypeAlias = Annotated[float, Range("a number above 0", lambda x: x > 0)]
"""A number above 0: a rate, a width, a bound."""

NonNegative: TypeAlias = Annotated[float, Range("0 or more", lambda x: x >= 0)]
"""A number that is 0 or more: the weight of a term, which 0 leaves out; a budget."""

Share: TypeAlias = Annotated[float, Range("0 or more and less than 1", lambda x: 0 <= x < 1)]
"""A number from 0 to less than 1: a probability to drop, a decay of averages."""

Fraction: TypeAlias = Annotated[float, Range("a number from 0 to 1", lambda x: 0 <= x <= 1)]
"""A number from 0 to 1: how much of one thing there is in a mixture of two."""


class AfterTraining:
    """Marks a flag that training does not depend on."""


Late: TypeAlias = Annotated[T, AfterTraining]
"""A flag of how a trained model is sampled from or measured: `sampling_steps: Late[Count] = 100`.

It may be given anew to `jaxgen sample`, `jaxgen evaluate` and `jaxgen.load`, and changes nothing in the training of a run.
"""

Seed: TypeAlias = Annotated[int, Range("a number from 0 to 4294967295", lambda n: 0 <= n < 2**32)]
"""A seed of 32 bits."""


def place(path: str | Path) -> Path:
    """The path that a user means: `~` is the home folder, and nothing is no path.

    Raises:
      UserError: if it is empty, or names a user who has no home folder.

    >>> place("~/runs") == Path.home() / "runs"
    True
    >>> place("")
    Traceback (most recent call last):
    jaxgen.errors.UserError: A path is empty; name a file or a folder, or `.` for the current folder.
    """
    if not str(path).strip():
        raise UserError("A path is empty; name a file or a folder, or `.` for the current folder.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"There is no home folder for {path}; check the name after the ~.") from None


def _from_words(words: list[str]) -> Path:
    found = place(words[0])
    # Path drops a slash at the end, by which a user says that a folder is meant.
    return Folder(found) if words[0].endswith("/") else found


class Folder(type(Path())):  # type: ignore[misc]
    """A path that was given with a slash at its end."""


Place: TypeAlias = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=_from_words,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A file or a folder that a user names; every flag that is a path has this type."""


def value_of(values: Mapping[str, T], choice: str | T) -> T:
    """The value that a flag names, or the value itself: in Python a flag whose choices name values takes others as well.

    The flag's type says both: `loss: Literal["minimax", "hinge"] | AdversarialLoss = "hinge"`.

    Args:
      values: the values, by the names that the command line knows.
      choice: one of the names, or a value.

    >>> value_of({"tanh": math.tanh}, "tanh")(0.0), value_of({"tanh": math.tanh}, math.cos)(0.0)
    (0.0, 1.0)
    """
    return values[choice] if isinstance(choice, str) else choice


def on_command_line(kind: Any) -> Any:
    """A flag's type without the values that only Python has, as the parser of a command line takes it.

    >>> on_command_line(Literal["tanh", "relu"] | Callable[[float], float] | None)
    typing.Optional[typing.Literal['tanh', 'relu']]
    """
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return Annotated[(on_command_line(inner), *metadata)]
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    kept = tuple(one for one in map(on_command_line, get_args(kind)) if _typed(one))
    return Union[kept] if kept else kind  # noqa: UP007 - of a number of types that is known only here


def _typed(kind: Any) -> bool:
    """Whether words on a command line can be read as this type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Annotated, Literal):
        return True
    if origin is tuple:
        return all(one is Ellipsis or _typed(one) for one in args)
    return kind in (bool, int, float, str, bytes, types.NoneType) or (isinstance(kind, type) and issubclass(kind, Path))


def late(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of the flags that training does not depend on, by name.

    >>> def experiment(*, latents: Count = 16, samples: Late[Count] = 500): ...
    >>> list(late(experiment))
    ['samples']
    """
    hints = get_type_hints(function, include_extras=True)
    return {name: kind for name, kind in hints.items() if AfterTraining in getattr(kind, "__metadata__", ())}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments that are not of their declared types and ranges.

    >>> @checked
    ... def sample(n: Count = 64): ...
    >>> sample(n=0)
    Traceback (most recent call last):
    jaxgen.errors.UserError: --n is 0; give 1 or more.
    """
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **flags: P.kwargs) -> R:
        check(function, {**dict(zip(parameters, args, strict=False)), **flags})
        return function(*args, **flags)

    return call


def check(function: Callable[..., Any], flags: Mapping[str, Any]) -> None:
    """Refuses flags that a function does not have, or that are not of their declared types and ranges.

    Numbers have to be finite in every range. Types that no command line knows are let through.

    Args:
      function: the function whose keyword arguments are flags.
      flags: the values of the flags by name.

    Raises:
      UserError: names the flag, its value, and what to give.

    >>> def experiment(*, latents: Count = 16, ema: Share | None = None): ...
    >>> check(experiment, {"latents": 0})
    Traceback (most recent call last):
    jaxgen.errors.UserError: --latents is 0; give 1 or more.
    >>> check(experiment, {"latent": 4})
    Traceback (most recent call last):
    jaxgen.errors.UserError: There is no --latent here; the nearest is --latents.
    """
    known = inspect.signature(function).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    declared = get_type_hints(function, include_extras=True)
    for name, value in flags.items():
        if name not in known and not open_ended:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"the nearest is {flag_name(near[0])}" if near else f"there are {', '.join(map(flag_name, known))}"
            raise UserError(f"There is no {flag_name(name)} here; {hint}.")
        mend = _mend(declared.get(name, Any), value)
        if mend is not None:
            plain = type(value) is tuple  # and none with named fields
            shown = " ".join(map(str, value)) or "empty" if plain else value
            # A NumPy number looks like the one that is asked for, unless it says what it is.
            shown = shown if type(shown).__module__ == "builtins" else repr(shown)
            if hasattr(value, "shape") and value.shape:  # not all of its numbers
                shown = f"an array {list(value.shape)}"
            raise UserError(f"{flag_name(name)} is {shown}; give {mend}.")


def flag_name(name: str) -> str:
    """The flag of a keyword argument as it is typed.

    >>> flag_name("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def _mend(kind: Any, value: Any) -> str | None:
    """The values to give instead of one that its type does not hold; None where it does."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        ranges = (r for r in args[1:] if isinstance(r, Range))
        return _mend(args[0], value) or next((r.words for r in ranges if not r.holds(value)), None)
    if origin in (Union, types.UnionType):
        mends = [_mend(one, value) for one in args]
        return None if None in mends else ", or ".join(map(str, mends))
    if origin is Literal:
        # By type too: 1 is no True, and a list would not even compare.
        right = any(type(value) is type(one) and value == one for one in args)
        return None if right else f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        kinds = args[:1] * len(value) if args[-1] is Ellipsis and isinstance(value, tuple) else args
        if not isinstance(value, tuple) or len(kinds) != len(value):
            return "a tuple" if args[-1] is Ellipsis else f"a tuple of {len(args)}"
        return next((mend for mend in map(_mend, kinds, value) if mend is not None), None)
    if origin is Callable and not callable(value):
        return "a function"
    a_class = isinstance(kind, type) and kind.__module__ not in ("builtins", "typing") and not issubclass(kind, Path)
    if a_class and not getattr(kind, "_is_protocol", False) and not isinstance(value, kind):
        return f"a value of {kind.__name__}"
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    for types_of, words in (
        ((types.NoneType,), "None"),
        ((bool,), "True or False"),
        ((int,), "a whole number"),
        ((float, int), "a number"),
        ((str,), "a text"),
    ):
        if kind is types_of[0]:
            return None if isinstance(value, types_of) and (kind is bool or not isinstance(value, bool)) else words
    return None
