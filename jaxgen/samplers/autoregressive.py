r"""Sampling from autoregressive models of grids of integers, position by position in one compiled loop.

`temperature`, `top_k` and `top_p` are pure functions from logits to logits, and can be composed in any order; `warp` does it in
the usual one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from jaxgen import keys
from jaxgen.errors import InputError
from jaxgen.network import variables
from jaxgen.types import Key, Params, PyTree, Vars

Warp = Callable[[Array], Array]
"""`warp(logits [..., K]) -> logits [..., K]`; a code with a logit of minus infinity is never drawn."""


class Decoder(NamedTuple):
    """A model as the sampler takes it, with its parameters and the classes of the grids.

    Fields:
      start: a function `start(n, (h, w)) -> cache` for n grids, of which nothing is known.
      step: a function `step(before [n], cache, position) -> (logits [n, K], cache)`. `before` holds the codes of the position
        before; at position 0 it has no effect.
    """

    start: Callable[[int, tuple[int, int]], PyTree]
    step: Callable[[Array, PyTree, Array], tuple[Array, PyTree]]


def decoder_of(
    model: nn.Module,
    params: Params,
    vars: Vars,
    *,
    label: Array | None = None,
    above: Integer[Array, "n h2 w2"] | None = None,
    name: str = "model",
) -> Decoder:
    """A trained model as the sampler takes it.

    Args:
      model: a linen module with the methods `init_cache` and `step` of `jaxgen.models.autoregressive`.
      params: parameters by name.
      vars: variables by name.
      label: the classes `[n]` of the grids that will be drawn, where the model is conditioned on one.
      above: the codes of the grids above, where the model is conditioned on them.
      name: the parameters' name.
    """
    own, told = variables(params, vars, name), () if label is None else (label,)

    def start(n: int, grid: tuple[int, int]) -> PyTree:
        return model.apply(own, n, grid, above, method="init_cache")

    def step(before: Array, cache: PyTree, position: Array) -> tuple[Array, PyTree]:
        found: Any = model.apply(own, before, cache, position, *told, method="step")
        return found

    return Decoder(model.init_cache if above is None else start, step)


def autoregressive(
    decoder: Decoder,
    key: Key,
    shape: tuple[int, int, int],
    *,
    warp: Warp | None = None,
    known: Integer[Array, "n h w"] | None = None,
    mask: Bool[Array, "*n h w"] | None = None,
) -> Int[Array, "n h w"]:
    r"""Draws grids of codes, each position from $p(x_i | x_1 ... x_{i-1})$, or completes grids of which a part is known.

    Known positions keep their codes, and the others are drawn in raster order given all codes before them. So if the known
    positions come first, as the upper rows do, the draw is one of exactly the model's conditional distribution given them.
    Otherwise the codes drawn have the probability $\prod_{i\, \mathrm{drawn}} p(x_i | x_1 ... x_{i-1})$, since no code depends
    on known ones after it. The conditional distribution is proportional to this times
    $\prod_{i\, \mathrm{known}} p(x_i | x_1 ... x_{i-1})$.

    Args:
      decoder: the model, by `decoder_of`.
      key: the key of the draw, or a key for each grid `[n]`. Position i draws with `fold_in(key, i)`.
      shape: the shape `(n, h, w)` of what is drawn.
      warp: a function of the logits, such as `warp(temperature=0.9, top_p=0.95)`; by default they stay as they are.
      known: codes, of which those under the mask are kept.
      mask: a mask that is true where the codes are known, `[n, h, w]`, or `[h, w]` for all grids alike.

    Returns:
      The codes, in int32; -1, which is no code, where the logits are nan, as they are after a known number that is no code.

    Raises:
      InputError: if codes are given without a mask, or a mask without codes.

    >>> fair = Decoder(lambda n, grid: (), lambda before, cache, i: (jnp.zeros((len(before), 5)), cache))
    >>> autoregressive(fair, jax.random.key(0), (2, 3, 3)).shape
    (2, 3, 3)
    """
    if (known is None) != (mask is None):
        raise InputError("A grid is completed from known codes and a mask of their places; give both, or neither.")
    n, h, w = shape
    given = jnp.zeros((n, h * w), jnp.int32) if known is None else known.astype(jnp.int32).reshape(n, h * w)
    kept = jnp.zeros((n, h * w), bool) if mask is None else jnp.broadcast_to(mask, shape).reshape(n, h * w)

    def at(carry: tuple[Array, PyTree], xs: tuple[Array, Array, Array]) -> tuple[tuple[Array, PyTree], Array]:
        (before, cache), (position, codes, keep) = carry, xs
        logits, cache = decoder.step(before, cache, position)
        logits = logits.astype(jnp.float32)
        noise = keys.draw(jax.random.gumbel, keys.fold_in(key, position), logits.shape)
        drawn = ((logits if warp is None else warp(logits)) + noise).argmax(-1).astype(jnp.int32)
        code = jnp.where(keep, codes, jnp.where(jnp.isnan(logits).any(-1), -1, drawn))
        return (code, cache), code

    start = jnp.zeros(n, jnp.int32), decoder.start(n, (h, w))
    _, codes = lax.scan(at, start, (jnp.arange(h * w), given.T, kept.T))
    return codes.T.reshape(shape)


def temperature(logits: Float[Array, "*b k"], t: float) -> Float[Array, "*b k"]:
    r"""Logits over t, so that probabilities become $p_k^{1/t}$ up to their sum. At t = 0 only the likeliest code is left.

    Args:
      logits: logits.
      t: the temperature, 0 or more. Of several likeliest codes, the first is left at 0.

    Raises:
      InputError: if it is negative.

    >>> temperature(jnp.array([1.0, 3.0, 2.0]), 0.0).tolist(), temperature(jnp.array([1.0, 3.0]), 2.0).tolist()
    ([-inf, 0.0, -inf], [0.5, 1.5])
    """
    if not t >= 0:
        raise InputError(f"A temperature of {t} has no meaning; give 0 (the likeliest codes) or more.")
    if t == 0:
        likeliest = jnp.arange(logits.shape[-1]) == logits.argmax(-1, keepdims=True)
        return jnp.where(likeliest, jnp.zeros_like(logits), -jnp.inf)
    return logits / t


def top_k(logits: Float[Array, "*b k"], n: int) -> Float[Array, "*b k"]:
    """The logits of the n likeliest codes; the others are minus infinity.

    Args:
      logits: logits. Of equal ones the first come first, so that never more than n are left.
      n: the number of codes, 1 or more; all are left if there are no more than n.

    Raises:
      InputError: if no code would be left.

    Source: Fan et al. 2018, section 5.4.

    >>> top_k(jnp.array([1.0, 3.0, 1.0, 2.0]), 3).tolist()
    [1.0, 3.0, -inf, 2.0]
    """
    if n < 1:
        raise InputError(f"Of the {n} likeliest codes none can be drawn; give 1 or more.")
    _, likeliest = lax.top_k(logits, min(n, logits.shape[-1]))
    return _only(logits, likeliest, jnp.ones(likeliest.shape, bool))


def top_p(logits: Float[Array, "*b k"], p: float) -> Float[Array, "*b k"]:
    """The logits of the nucleus, the fewest codes that have a probability of p together; the others are minus infinity.

    Args:
      logits: logits. Of equal ones the first come first.
      p: the probability, above 0 and at most 1; 1 leaves all codes.

    Raises:
      InputError: if it is no such probability.

    Source: Holtzman et al. 2020, section 3.1.

    >>> jnp.isfinite(top_p(jnp.log(jnp.array([0.125, 0.5, 0.375])), 0.6)).tolist()
    [False, True, True]
    """
    if not 0 < p <= 1:
        raise InputError(f"A nucleus has a probability above 0 and at most 1, and not {p}.")
    if p == 1:  # which a sum that is rounded may reach before the last code
        return logits
    likeliest_first = jnp.argsort(-logits, axis=-1, stable=True)
    probabilities = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), likeliest_first, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    return _only(logits, likeliest_first, before < p)


def warp(*, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Warp:
    """The temperature, then the likeliest codes, then the nucleus of what is left, in this usual order.

    Args:
      temperature: the temperature, as `temperature` takes it.
      top_k: the number of likeliest codes; None leaves all.
      top_p: the probability of the nucleus; 1 leaves all.

    Returns:
      A function of the logits.

    >>> warp(temperature=0.5, top_k=2)(jnp.array([1.0, 3.0, 2.0])).tolist()
    [-inf, 6.0, 4.0]
    """
    return lambda logits: _warped(logits, temperature, top_k, top_p)


def _warped(logits: Array, t: float, n: int | None, p: float) -> Array:
    logits = temperature(logits, t)
    return top_p(logits if n is None else top_k(logits, n), p)


def _only(logits: Array, codes: Array, keep: Array) -> Array:
    """The logits of those of the codes that are kept; a second sort, to find each code's rank, would take thrice as long."""
    kept = jnp.put_along_axis(jnp.zeros(logits.shape, bool), codes, keep, axis=-1, inplace=False)
    return jnp.where(kept, logits, -jnp.inf)
