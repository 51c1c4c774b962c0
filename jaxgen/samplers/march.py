"""The loop that all samplers of one evaluation a step run in: it applies a table's rows."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Denoise, Level
from jaxgen.diffusion.variances import log_factor
from jaxgen.errors import InputError
from jaxgen.samplers.sampler import Sampler, Samples, iterate
from jaxgen.samplers.tables import Table

Before: TypeAlias = Callable[[Denoise, Array, Level, Array, PRNGKeyArray], Array]
"""`before(denoise, x, level, j, key) -> x`: the state that step j begins from, of the same level; `key` is the sampler's."""


def march(table: Table, *, corrector: Table | None = None, before: Before | None = None) -> Sampler:
    r"""Applies a table: $x \leftarrow A x + \sum_k B_k \hat x_0^{(k)} + C z$.

    Args:
      table: the table of the steps.
      corrector: a table that replaces the state at which a step begins, once the network has been evaluated there: A is the
        factor of the corrected state at which the step before began. The first step begins where it is.
      before: a function that changes the state before each step, without a change of its level. The steps draw from
        `fold_in(key, j)` with j below their number.

    Returns:
      The sampler. It draws nothing where the table has no variance. Where the table has a range of variances, C is the
      network's, a number for each number of an example.

    Raises:
      InputError: when it samples, if variances are to be the network's, which predicts none.
    """
    predictions = max(t.data.shape[1] for t in (table, corrector) if t is not None)
    random = not isinstance(table.variance, np.ndarray) or table.variance.any()

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        moves, corrections = jax.tree.map(lambda a: jnp.asarray(a, x_start.dtype), (table, corrector))
        std = jnp.sqrt(moves.variance)

        def row(of: Table, j: Array, x: Array, known: list[Array]) -> Array:
            # A sum of products and no product of matrices, which accelerators compute with few digits.
            terms = (of.data[j, k] * x0 for k, x0 in enumerate(known[: of.data.shape[1]]))
            return sum(terms, start=of.x[j] * x)

        def widened(v: Array | None, span: Array) -> Array:
            if v is None:
                raise InputError("The network predicts no variance to sample with; take a fixed one, such as the small.")
            return jnp.exp(0.5 * log_factor(v, span))

        def step(j: Array, carry: tuple[Array, list[Array], list[Array]]) -> tuple[Array, list[Array], list[Array]]:
            x, began, former = carry
            level = Level(*(of[j] for of in moves.level))
            if before is not None:
                x = before(denoise, x, level, j, key)
            found = denoise(x, level)
            known = [found.x0, *former]
            if corrections is not None:
                x = jnp.where(j == 0, x, row(corrections, j, began[0], known))
                began = [x]
            x = row(moves, j, x, known)
            if random:
                z = jax.random.normal(jax.random.fold_in(key, j), x.shape, x.dtype)
                x = x + (std[j] if moves.span is None else std[j] * widened(found.v, moves.span[j])) * z
            return x, began, known[: len(former)]

        began = [] if corrector is None else [x_start]
        former = [jnp.zeros_like(x_start) for _ in range(predictions - 1)]
        return iterate(step, (x_start, began, former), len(table.x), trajectory, view=lambda carry: carry[0])

    return sampler
