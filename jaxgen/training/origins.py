"""The origin of the first value that is not finite: a function is interpreted operation by operation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.source_info_util import summarize

from jaxgen.types import PyTree


class Finding(NamedTuple):
    """An operation that made something not finite of what was.

    Fields:
      order: the place of the operation in the order in which they ran.
      kind: the kind of the number: "nan" or "inf".
      operation: JAX's primitive.
      result: the dtype and the shape of the operation's result.
      inputs: the ranges of its inputs.
      place: the line that asked for it, and the module.
      cause: the operation whose infinity it met, if any.
    """

    order: int
    kind: str
    operation: str
    result: str
    inputs: str
    place: str
    cause: "Finding | None"


def origins(function: Callable[..., PyTree], *args: Any) -> list[Finding]:
    """Runs a function operation by operation, and says which made the first value that is not finite of its result.

    What is not finite on the way and does not reach the result is passed over, as is an infinity that was written down, such as
    a mask's.

    Args:
      function: a function that JAX can trace.
      *args: the function's arguments, concrete.

    Returns:
      The operations in their order: the one that made an infinity, if that was the cause, and the one that made the first NaN;
      or the one that made the infinity of the result. Empty where the result is finite.

    >>> [f.operation for f in origins(lambda x: (jnp.log(x) * x).sum(), jnp.array([0.0, 1.0]))]
    ['log', 'mul']
    """
    closed = jax.make_jaxpr(function)(*args)
    walk = _Walk()
    results = walk.run(closed.jaxpr, closed.consts, [_Value(x) for x in jax.tree.leaves(args)])
    found = [value.finding for value in results if value.finding is not None]
    if not found:
        return []
    first = min(found, key=lambda finding: finding.order)
    return [first] if first.cause is None else [first.cause, first]


class _Value(NamedTuple):
    """A value, and what made it not finite."""

    array: Any
    finding: Finding | None = None


class _Walk:
    """Interprets a jaxpr, and goes into what encloses another one: calls, branches and loops."""

    def __init__(self) -> None:
        self._order = 0

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[_Value]) -> list[_Value]:
        last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in _variables(eqn.invars)}
        kept = set(_variables(jaxpr.outvars))
        env: dict[Any, _Value] = dict(zip(jaxpr.constvars, map(_Value, consts), strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))

        def read(v: Any) -> _Value:
            return _Value(v.val) if isinstance(v, core.Literal) else env[v]

        for i, eqn in enumerate(jaxpr.eqns):
            env.update(zip(eqn.outvars, self._equation(eqn, [read(v) for v in eqn.invars]), strict=True))
            for v in {*_variables(eqn.invars), *eqn.outvars} - kept:
                if last.get(v, -1) <= i:
                    env.pop(v, None)  # as large as a step's activations, if all were kept
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, inputs: list[_Value]) -> list[_Value]:
        name, params = eqn.primitive.name, eqn.params
        if name == "scan" and params["length"]:
            return self._scan(params, inputs)
        if name == "while":
            return self._while(params, inputs)
        if name == "cond":
            return self._closed(params["branches"][int(inputs[0].array)], inputs[1:])
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        if inner is not None and name != "scan":
            return self._closed(inner, inputs)
        out = eqn.primitive.bind(*(v.array for v in inputs), **params)
        self._order += 1
        return [self._judged(eqn, inputs, x) for x in (out if eqn.primitive.multiple_results else [out])]

    def _closed(self, jaxpr: Any, inputs: list[_Value]) -> list[_Value]:
        return self.run(jaxpr.jaxpr, jaxpr.consts, inputs) if hasattr(jaxpr, "consts") else self.run(jaxpr, [], inputs)

    def _scan(self, params: Mapping[str, Any], inputs: list[_Value]) -> list[_Value]:
        consts, carry = _parts_of_scan(params)
        fixed, state, xs = inputs[:consts], inputs[consts : consts + carry], inputs[consts + carry :]
        rows: list[list[_Value]] = []
        for i in range(params["length"]):
            at = params["length"] - 1 - i if params["reverse"] else i
            out = self._closed(params["jaxpr"], [*fixed, *state, *(_Value(x.array[at], x.finding) for x in xs)])
            state, row = out[:carry], out[carry:]
            rows.append(row)
        stacked = zip(*(reversed(rows) if params["reverse"] else rows), strict=True)
        return [*state, *(_Value(jnp.stack([v.array for v in column]), _earliest(column)) for column in stacked)]

    def _while(self, params: Mapping[str, Any], inputs: list[_Value]) -> list[_Value]:
        asked, done = params["cond_nconsts"], params["body_nconsts"]
        state = inputs[asked + done :]
        while bool(self._closed(params["cond_jaxpr"], [*inputs[:asked], *state])[0].array):
            state = self._closed(params["body_jaxpr"], [*inputs[asked : asked + done], *state])
        return state

    def _judged(self, eqn: Any, inputs: list[_Value], x: Any) -> _Value:
        kind = _kind(x)
        if kind is None:
            return _Value(x)
        cause = _earliest(inputs)
        # A NaN of an infinity is news; a NaN of a NaN, or an infinity of an infinity, is not.
        if any(_kind(v.array) in ("nan", kind) for v in inputs):
            return _Value(x, cause)
        place = f"{summarize(eqn.source_info)} {eqn.source_info.name_stack}".strip()
        ranges = ", ".join(_range(v.array) for v in inputs)
        return _Value(x, Finding(self._order, kind, eqn.primitive.name, _shape(x), ranges, place, cause))


def _parts_of_scan(params: Mapping[str, Any]) -> tuple[int, int]:
    """The numbers of a scan's inputs that are constants, and that are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # since jax 0.12
    return len(list(consts)), len(list(carry))


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [v for v in atoms if not isinstance(v, core.Literal)]


def _earliest(values: Sequence[_Value]) -> Finding | None:
    return min((v.finding for v in values if v.finding is not None), key=lambda f: f.order, default=None)


def _kind(x: Any) -> str | None:
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return None
    if np.isfinite(x := np.asarray(x)).all():
        return None
    return "nan" if np.isnan(x).any() else "inf"


def _shape(x: Any) -> str:
    return f"{x.dtype}{list(np.shape(x))}"


def _range(x: Any) -> str:
    if not hasattr(x, "dtype") or not (jnp.issubdtype(x.dtype, jnp.inexact) or jnp.issubdtype(x.dtype, jnp.integer)):
        return str(x) if np.ndim(x) == 0 else "..."
    host = np.asarray(x)
    if host.size == 0:
        return f"{_shape(x)}"
    low, high = host.astype(np.float64).min(), host.astype(np.float64).max()
    return f"{low:.6g}" if host.size == 1 else f"{_shape(x)} from {low:.6g} to {high:.6g}"
