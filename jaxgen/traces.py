"""The programs in a traced function: its own, and those of the calls, branches and loops within it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax


def programs(traced: Any) -> Iterator[tuple[Any, Sequence[Any]]]:
    """A jaxpr and all jaxprs within its equations, each with its constants.

    Args:
      traced: a jaxpr, closed or not.

    Yields:
      Pairs of an open jaxpr and its constants, which are none where it is not closed.

    >>> loop = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c * 2.0, x))(1.0)
    >>> sum(equation.primitive.name == "mul" for jaxpr, _ in programs(loop) for equation in jaxpr.eqns)
    1
    """
    jaxpr = getattr(traced, "jaxpr", traced)
    yield jaxpr, getattr(traced, "consts", ())
    for equation in jaxpr.eqns:
        for program in inner(equation):
            yield from programs(program)


def inner(equation: Any) -> list[Any]:
    """The jaxprs that an equation of a jaxpr holds: a loop's body, a condition's branches, a function that is called."""
    values = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
    return [value for value in values if _is_program(value)]


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")
