"""Values of flags that only Python can give, and no command line: a source, a loss, an activation.

A record holds the name of such a value and a fingerprint, which distinguishes it from others. A folder's record never makes
code run, so the value itself has to be given once more where a run is loaded.
"""

import hashlib
import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen.data import Source

PACKAGES = ("jaxgen", "jax", "jaxlib", "flax", "optax", "numpy")
"""Packages whose functions are identified by their own code, without the code that they call: the version covers that."""


def plain(value: Any) -> bool:
    """Whether a value is written into a record as it is: a number, a text, None, or several of these.

    >>> plain((400, 400)), plain(len)
    (True, False)
    """
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and plain(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def described(value: Any) -> Any:
    """The entry of a flag's value in a record, as JSON; a file or a folder is its absolute place.

    >>> described((400, 400)), described(Path("/data/vgg.pth"))
    ((400, 400), '/data/vgg.pth')
    """
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    return value if plain(value) else {"value": shown(value), "fingerprint": fingerprint(value)}


def is_described(recorded: Any) -> bool:
    """Whether a record holds a name and a fingerprint in a value's place."""
    return isinstance(recorded, dict) and recorded.keys() == {"value", "fingerprint"}


def shown(value: Any) -> str:
    """A value as messages show it.

    >>> shown((400, 400)), shown(np.mean)
    ('400 400', 'mean')
    """
    if is_described(value):
        return f"{value['value']} ({value['fingerprint'][:8]})"
    if isinstance(value, Source):
        return value.name
    if type(value) in (tuple, list):
        return " ".join(map(shown, value))
    if plain(value) or isinstance(value, Path):
        return str(value)
    return getattr(value, "__name__", None) or type(value).__name__


def fingerprint(value: Any) -> str:
    """A hash of a value, 16 hexadecimal digits: of a source's examples, of arrays, and of functions with what they close over.

    A function is identified by its compiled code and by the functions, classes and constants of its own file that it names. So
    an edit of a comment changes nothing; another version of Python may.

    >>> def power(n):
    ...     return lambda x: x**n
    >>> fingerprint(power(2)) == fingerprint(power(2)), fingerprint(power(2)) == fingerprint(power(3))
    (True, False)
    """
    digest = hashlib.sha256()
    for part in _parts(value, {}):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _parts(x: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    """The bytes that identify a value."""
    if x is None or isinstance(x, bool | int | float | complex | str | bytes):
        yield f"{type(x).__name__} {x!r}".encode()
        return
    if id(x) in seen:  # a function may name itself
        yield f"again {list(seen).index(id(x))}".encode()
        return
    seen[id(x)] = x  # held, so that no other value gets its number
    if isinstance(x, Source):
        yield f"source {x.fingerprint}".encode()
    elif isinstance(x, np.ndarray | np.generic | jax.Array):
        keys = isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(jax.numpy.asarray(x)) if keys else x)
        yield f"array {array.dtype} {array.shape}".encode()
        yield array.tobytes()
    elif isinstance(x, Mapping):
        yield b"mapping"
        for key in sorted(x, key=repr):
            yield from _parts(key, seen)
            yield from _parts(x[key], seen)
    elif isinstance(x, set | frozenset):
        yield b"set"
        for one in sorted(x, key=repr):
            yield from _parts(one, seen)
    elif isinstance(x, tuple | list):
        yield f"{type(x).__qualname__} {len(x)}".encode()
        for one in x:
            yield from _parts(one, seen)
    elif isinstance(x, types.ModuleType):
        yield f"module {x.__name__}".encode()
    elif isinstance(x, types.CodeType):
        yield from _code(x, seen)
    elif hasattr(x, "__wrapped__"):
        yield from _parts(inspect.unwrap(x), seen)
    elif isinstance(x, types.FunctionType):
        yield from _function(x, seen)
    elif isinstance(x, types.MethodType):
        yield from _parts((x.__func__, x.__self__), seen)
    elif isinstance(x, type):
        yield from _class(x, seen)
    elif hasattr(x, "func") and hasattr(x, "keywords"):  # functools.partial
        yield from _parts(("partial", x.func, x.args, x.keywords), seen)
    else:
        yield from _class(type(x), seen)
        fields = getattr(x, "__dict__", None)
        if fields:
            # What linen and caches keep for themselves begins with an underscore.
            yield from _parts({name: value for name, value in fields.items() if not name.startswith("_")}, seen)
        else:
            yield re.sub(r" at 0x[0-9a-f]+", "", repr(x)).encode()


def _function(x: types.FunctionType, seen: dict[int, Any]) -> Iterator[bytes]:
    yield f"function {x.__qualname__}".encode()
    yield from _code(x.__code__, seen, doc=x.__doc__)
    yield from _parts((x.__defaults__, x.__kwdefaults__), seen)
    for cell in x.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen)
        except ValueError:  # not filled yet
            yield b"empty"
    if (x.__module__ or "").split(".")[0] not in PACKAGES:
        for name in sorted(_names(x.__code__)):
            if name in x.__globals__ and _of_file(x.__globals__[name], x.__module__):
                yield name.encode()
                yield from _parts(x.__globals__[name], seen)


def _code(code: types.CodeType, seen: dict[int, Any], doc: str | None = None) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_freevars)).encode()
    for constant in code.co_consts:
        if doc is None or constant != doc:
            yield from _parts(constant, seen)


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


def _of_file(value: Any, module: str | None) -> bool:
    """Whether a global value is a part of the file that names it: a function or a class from there, or a constant."""
    if isinstance(value, types.FunctionType | type) or hasattr(value, "__wrapped__"):
        return getattr(value, "__module__", None) == module
    return plain(value) or isinstance(value, np.ndarray | jax.Array)


def _class(kind: type, seen: dict[int, Any]) -> Iterator[bytes]:
    yield f"class {kind.__module__}.{kind.__qualname__}".encode()
    if (kind.__module__ or "").split(".")[0] in (*PACKAGES, "builtins", "functools"):
        return
    for name, member in sorted(vars(kind).items()):
        if isinstance(inspect.unwrap(member) if callable(member) else member, types.FunctionType):
            yield name.encode()
            yield from _parts(member, seen)
        elif not name.startswith("_") and plain(member):
            yield json.dumps([name, member]).encode()
