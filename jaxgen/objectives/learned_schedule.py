r"""Variational diffusion: the bound in continuous time, and the schedule of its noise, which is learned with the network.

A schedule is $\gamma(t) = -\log \mathrm{SNR}(t)$ over [0, 1]. In continuous time the bound depends on its ends alone, so its
interior is free to make the estimate of the bound vary less.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.diffusion import EPSILON, Denoise, Parameterisation, denoiser, diffuse, from_gamma
from jaxgen.distributions import Normal, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.network import variables
from jaxgen.objectives.apply import apply
from jaxgen.objectives.told import Told, tell
from jaxgen.objectives.variational_bound import Bound
from jaxgen.types import Array, Batch, Key, Params, Vars

Gamma = Callable[[Array], Array]
"""`gamma(t) -> -log SNR(t)`, element-wise."""


def level_log_prob(
    z: Float[Array, "*shape"], x: Float[Array, "*shape"], std: Float[Array, ""] | float, levels: int = 256
) -> Float[Array, "*shape"]:
    r"""$\log p(x | z)$ of a number x on one of K levels: the normal density around z at that level over its sum at all levels.

    The levels are the middles of K equal parts of [-1, 1], $2 (k + \frac 1 2) / K - 1$.

    Args:
      z: the data with noise.
      x: the data, each number on a level.
      std: the standard deviation of the noise.
      levels: the number K of levels.

    Returns:
      The logarithm of each number's probability.

    Source: Kingma et al. 2021, equation 9 and the authors' code (`EncDec`).

    >>> x = 2 * (jnp.arange(4) + 0.5) / 4 - 1
    >>> round(jnp.exp(level_log_prob(jnp.full(4, 0.3), x, 0.5, 4)).sum().item(), 5)
    1.0
    """
    places = 2 * (jnp.arange(levels, dtype=jnp.float32) + 0.5) / levels - 1
    every = -0.5 * ((z[..., None] - places) / std) ** 2
    return -0.5 * ((z - x) / std) ** 2 - jax.nn.logsumexp(every, axis=-1)


def nearest_level(z: Float[Array, "*shape"], levels: int = 256) -> Float[Array, "*shape"]:
    """The most probable level of `level_log_prob`: the nearest one.

    >>> nearest_level(jnp.array([-3.0, 0.1, 0.4]), 4).tolist()
    [-0.75, 0.25, 0.25]
    """
    return 2 * (jnp.clip(jnp.floor((z + 1) / 2 * levels), 0, levels - 1) + 0.5) / levels - 1


def vdm_bound(
    denoise: Denoise,
    gamma: Gamma,
    x0: Float[Array, "b *event"],
    key: Key,
    t: Float[Array, " b"],
    *,
    steps: int | None = None,
    levels: int = 256,
) -> Bound:
    r"""An estimate of $-\log p(x_0)$'s bound from one time for each example.

    In continuous time the diffusion term is $\frac 1 2 \gamma'(t)\, \|\epsilon - \hat\epsilon\|^2$, and in T steps
    $\frac T 2 (e^{\gamma(t) - \gamma(s)} - 1)\, \|\epsilon - \hat\epsilon\|^2$ with s = t - 1/T. The decoder reads
    $z_0 / \alpha_0$ (`level_log_prob`).

    Args:
      denoise: the model, whose predictions are not clipped.
      gamma: the schedule.
      x0: data, each number on a level.
      key: the key of the noise: one key, or a key for each example, `[B]`.
      t: times in [0, 1), uniform. In T steps, each is moved to the end of its step.
      steps: the number T of steps; None is continuous time, their limit.
      levels: the number of levels of the data.

    Returns:
      The parts of the bound, in nats; `transitions` is the diffusion term.

    Source: Kingma et al. 2021, equations 11, 13 and 17, and the authors' code (`VDM.__call__`).
    """
    return _bound(denoise, gamma, x0, key, t, steps, levels, None)


def vdm_bits(
    denoise: Denoise,
    gamma: Gamma,
    x0: Float[Array, "b *event"],
    key: Key,
    *,
    samples: int,
    steps: int | None = None,
    levels: int = 256,
) -> dict[str, Float[Array, " b"]]:
    r"""Bits per dimension from several times for each example, one in each of as many equal parts of [0, 1].

    Args:
      denoise: the model.
      gamma: the schedule.
      x0: data, each number on a level.
      key: the key of the noise: one key, or a key for each example, `[B]`.
      samples: the number of times.
      steps: the number T of steps; None is continuous time.
      levels: the number of levels of the data.

    Returns:
      `Bound.bits`, and `variance`: that of the diffusion term over time and noise, in squared bits per dimension, of a single
      uniform time. The interior of a schedule changes the variance and, in continuous time, not the bits.
    """
    b, own = x0.shape[0], keys.fold_in(key, 2)
    offset = keys.draw(jax.random.uniform, own, (b,))

    def one(i: Array) -> dict[str, Array]:
        t = (i.astype(jnp.float32) + offset) / samples
        return vdm_bound(denoise, gamma, x0, keys.fold_in(own, i), t, steps=steps, levels=levels).bits

    every = lax.map(one, jnp.arange(samples))
    found = {name: values.mean(0) for name, values in every.items()}
    return {**found, "variance": (every["transitions"] ** 2).mean(0) - found["transitions"] ** 2}


def vdm(
    model: nn.Module,
    schedule: nn.Module,
    parameterisation: Parameterisation = EPSILON,
    *,
    steps: int | None = None,
    levels: int = 256,
    told: Mapping[str, Told] = {},
    name: str = "model",
    schedule_name: str = "schedule",
    feature: str = "image",
) -> LossFn:
    r"""The bound in bits per dimension as a loss of a network and of its schedule, to be trained by one player.

    In continuous time the ends of the schedule descend the bound, and its interior descends the expected square
    $E\, L(t)^2$ of the diffusion term: its mean does not depend on the interior, so this is its variance. In T steps the bound
    depends on all of the schedule, which then descends the bound.

    The square costs no second pass: $\nabla L^2 = 2 L \nabla L$, so the gradient that comes back to $\gamma(t)$ and
    $\gamma'(t)$ is multiplied by 2 L for the interior.

    Times are spread evenly over the global batch: $t = u + r$ modulo 1, with one u for the batch and the radical inverse r of
    an example's slot in base 2. Of a batch whose size is a power of two these are the authors' evenly spaced times in another
    order, on any number of replicas and in any micro-batches. In an evaluation each example draws its own.

    Args:
      model: a linen module, `(x_t, time, ...) -> output`. It has no variables that change in training.
      schedule: a linen module of `models.diffusion.gamma`.
      parameterisation: the parameterisation, which says what the output means.
      steps: the number T of steps; None is continuous time.
      levels: the number of levels of the data.
      told: the features that the model is conditioned on, by keyword.
      name: the name of the network's parameters.
      schedule_name: the name of the schedule's parameters.
      feature: the batch's feature x_0, each number on a level.

    Returns:
      A loss in bits per dimension, with the metrics of `Bound.bits`, `gamma_0` and `gamma_1`.

    Source: Kingma et al. 2021, sections 3 to 5 and appendix I.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x0 = batch[feature].astype(jnp.float32)
        own = keys.per_example(key, batch)
        times, noise, drop = (keys.fold_in(own, i) for i in range(3))
        t = (
            spread_times(state.key, state.step, _slots(batch, x0))
            if train
            else keys.draw(jax.random.uniform, times, x0.shape[:1])
        )
        conditions = tell(told, batch, drop if train else None)

        def network(xt: Array, time: Array) -> Array:
            return apply(model, params, state.vars, xt, time, key=key, name=name, train=train, told=conditions)[0]

        def gamma(**reached: bool) -> Gamma:
            return gamma_of(schedule, params, state.vars, name=schedule_name, **reached)

        denoise = denoiser(network, parameterisation)
        if steps is None:
            bound = _bound(denoise, gamma(interior=False), x0, noise, t, None, levels, gamma(ends=False))
        else:
            bound = _bound(denoise, gamma(), x0, noise, t, steps, levels, None)
        ends = {f"gamma_{end}": gamma()(jnp.float32(end)) for end in (0, 1)}
        return bound.bits["bits_per_dim"], Aux({}, {**bound.bits, **ends})

    return loss


def gamma_of(schedule: nn.Module, params: Params, vars: Vars, *, name: str = "schedule", **reached: bool) -> Gamma:
    """A trained schedule as bounds and samplers take it.

    Args:
      schedule: a linen module of `models.diffusion.gamma`.
      params: parameters by name.
      vars: variables by name.
      name: the name of the schedule's parameters.
      **reached: whether a gradient reaches the `ends` and the `interior`; by default both.

    Returns:
      `gamma(t)`.
    """
    options: dict[str, Any] = dict(reached)

    def gamma(t: Array) -> Array:
        found: Any = schedule.apply(variables(params, vars, name), t, **options)
        return found

    return gamma


def radical_inverse(n: Int[Array, "..."]) -> Float[Array, "..."]:
    """The binary digits of n behind the point in reverse order: 0, 1/2, 1/4, 3/4, 1/8 ...

    The first $2^k$ are the multiples of $2^{-k}$, in another order. Source: van der Corput 1935.

    >>> radical_inverse(jnp.arange(5)).tolist()
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    digits = n.astype(jnp.uint32)
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        digits = ((digits >> shift) & jnp.uint32(mask)) | ((digits & jnp.uint32(mask)) << shift)
    return (digits >> 8).astype(jnp.float32) * 2.0**-24


def spread_times(key: Key, step: Array | int, slots: Int[Array, " b"]) -> Float[Array, " b"]:
    """Times in [0, 1) that lie evenly over the global batch of a step, each of them uniform.

    Args:
      key: the state's key, which is the same on all replicas and in all micro-batches.
      step: the number of the step.
      slots: the examples' places in the global batch.

    Returns:
      One offset plus `radical_inverse` of the slots, modulo 1.

    >>> times = spread_times(jax.random.key(0), 3, jnp.arange(8))
    >>> jnp.diff(jnp.sort(times)).tolist()
    [0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125]
    """
    whole = jax.random.fold_in(jax.random.fold_in(key, step), keys.WHOLE)
    return (jax.random.uniform(whole) + radical_inverse(slots)) % 1.0


def _slots(batch: Batch, x0: Array) -> Array:
    return batch["slot"] if "slot" in batch else collectives.offset(x0) + jnp.arange(len(x0))


def _bound(
    denoise: Denoise,
    gamma: Gamma,
    x0: Array,
    key: Key,
    t: Array,
    steps: int | None,
    levels: int,
    interior: Gamma | None,
) -> Bound:
    """`vdm_bound`; `interior` has the values of gamma, and what its gradient reaches descends the square."""
    dimensions = x0[0].size
    first, rest = (keys.draw(jax.random.normal, keys.fold_in(key, i), x0.shape) for i in range(2))
    schedule = from_gamma(gamma)

    std = jnp.exp(0.5 * gamma(jnp.float32(0.0)))
    decoded = -sum_event(level_log_prob(x0 + std * first, x0, std, levels))
    last = schedule.level(jnp.float32(1.0))
    prior = sum_event(Normal(last.alpha * x0, jnp.broadcast_to(last.sigma, x0.shape)).kl(Normal(0.0, 1.0)))

    if steps is not None:
        t = (jnp.minimum(jnp.floor(t * steps), steps - 1) + 1) / steps
        at = gamma(t)
        weight = 0.5 * steps * jnp.expm1(at - gamma(t - 1 / steps))
    else:
        at, slope = _with_slope(gamma, t)
        if interior is not None:
            (at, slope), probe = _joined((at, slope), _with_slope(interior, t), jnp.zeros_like(t))
        weight = 0.5 * slope
    level = from_gamma(lambda t: at).level(t)
    lost = weight * sum_event((rest - denoise(diffuse(x0, rest, level), level).eps) ** 2)
    if steps is None and interior is not None:
        unit = 1 / (math.log(2) * dimensions)
        lost = _squared_for(lost * unit, probe) / unit
    return Bound(prior, lost, decoded, dimensions)


def _with_slope(gamma: Gamma, t: Array) -> tuple[Array, Array]:
    return jax.jvp(gamma, (t,), (jnp.ones_like(t),))


# Two functions that change no value. What flows back through the second, 2 L, reaches the first by way of the probe, where it
# multiplies the gradient of L.


@jax.custom_vjp
def _joined(plain: Any, squared: Any, probe: Array) -> tuple[Any, Array]:
    """The values of `plain`; `squared`, which has the same values, gets the gradient of the square."""
    return plain, probe


def _joined_forward(plain: Any, squared: Any, probe: Array) -> tuple[tuple[Any, Array], None]:
    return (plain, probe), None


def _joined_backward(_: None, gradients: tuple[Any, Array]) -> tuple[Any, Any, Array]:
    of_plain, factor = gradients
    return of_plain, jax.tree.map(lambda g: factor * g, of_plain), jnp.zeros_like(factor)


_joined.defvjp(_joined_forward, _joined_backward)


@jax.custom_vjp
def _squared_for(loss: Array, probe: Array) -> Array:
    """The loss."""
    return loss


def _squared_forward(loss: Array, probe: Array) -> tuple[Array, Array]:
    return loss, loss


def _squared_backward(loss: Array, gradient: Array) -> tuple[Array, Array]:
    return gradient, 2 * loss


_squared_for.defvjp(_squared_forward, _squared_backward)
