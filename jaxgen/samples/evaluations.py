"""The number of times that a sample passes through a network: the price of a sampler, whatever it calls a step."""

from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from jaxgen.samples.conditions import Conditions, given
from jaxgen.samples.draws import Sample
from jaxgen.traces import inner

MARK = "network evaluation"
ROWS = 1_013
"""Samples that are traced. What else passes through a network, such as a grid of times, rarely has a multiple of this prime."""


def network_evaluations(sample: Sample, state: Any, conditions: Conditions | None = None) -> float | None:
    """Counts the evaluations of networks that one sample takes, in the traced sampler; nothing is computed.

    A call of a network on twice as many rows as there are samples, as guidance makes, counts as two. All networks count that
    the samples pass through: a decoder of latents as well as the denoiser, and not a network of the time alone. Where the
    branches of a condition differ, the dearest one counts, so that Heun's last step, which has no correction, counts as two.

    Args:
      sample: the sampler.
      state: the state of the model.
      conditions: the conditions of the samples; None for a model without conditions.

    Returns:
      The evaluations of a sample; None if the data decide them, as in an adaptive solver.

    >>> class Halve(nn.Module):
    ...     def __call__(self, x):
    ...         return x / 2
    >>> def three(state, key, given):
    ...     x = jax.random.normal(key, (len(given["index"]), 2))
    ...     return jax.lax.fori_loop(0, 3, lambda i, x: Halve().apply({}, x), x)
    >>> network_evaluations(three, None)
    3.0
    """
    inside = False

    def marked(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal inside
        if inside or context.module.path or context.method_name in ("setup", "init"):
            return call(*args, **kwargs)
        inside = True
        try:
            leaves, tree = jax.tree.flatten(call(*args, **kwargs))
        finally:
            inside = False
        arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array) and leaf.ndim]
        if arrays:
            leaves[arrays[0]] = checkpoint_name(leaves[arrays[0]], MARK)
        return jax.tree.unflatten(tree, leaves)

    def traced() -> float | None:
        with nn.intercept_methods(marked):
            return _count(jax.make_jaxpr(lambda *of: sample(*of))(state, jax.random.key(0), batch))

    one = given(1, conditions)
    batch = {feature: jax.ShapeDtypeStruct((ROWS, *x.shape[1:]), x.dtype) for feature, x in one.items()}
    rows = traced()
    if rows == 0:
        # The sampler was compiled for as many samples before, and is not traced again as long as JAX remembers it.
        jax.clear_caches()
        rows = traced()
    return None if rows is None else rows / ROWS


def _count(traced: Any) -> float | None:
    """The rows that pass through networks in a program; None if a loop of unknown length has networks."""
    total = 0.0
    for equation in getattr(traced, "jaxpr", traced).eqns:
        if equation.primitive.name == "name" and equation.params["name"] == MARK:
            passed = equation.outvars[0].aval.shape[0]
            total += passed if passed % ROWS == 0 else 0  # other networks see no samples, but the time or the like
            continue
        counts = [_count(program) for program in inner(equation)]
        if any(count is None for count in counts):
            return None
        known = [count for count in counts if count]
        if not known:
            continue
        if equation.primitive.name == "while":
            return None
        if equation.primitive.name == "cond":
            total += max(known)
        else:
            total += sum(known) * equation.params.get("length", 1) if equation.primitive.name == "scan" else sum(known)
    return total
