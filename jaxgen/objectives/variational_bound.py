"""The variational bound of a diffusion model, whole or estimated, and in its parts."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int

from jaxgen import keys
from jaxgen.diffusion import (
    EPSILON,
    Denoise,
    Discrete,
    Parameterisation,
    Prediction,
    Variance,
    VarianceRange,
    diffuse,
    expand,
    learned_range,
    small_variance,
)
from jaxgen.diffusion.variances import log_factor
from jaxgen.distributions import DiscretizedNormal, Normal, sum_event
from jaxgen.errors import InputError
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.score_matching import denoiser_of
from jaxgen.objectives.told import Told, tell
from jaxgen.types import Array, Batch, Key, Params


@runtime_checkable
class Decoder(Protocol):
    """`decoder(mean, std).log_prob(x)`: p(x_0 | x_1), `DiscretizedNormal` for bytes in [-1, 1] or `Normal` for real data."""

    def __call__(self, mean: Array, std: Array, /) -> DiscretizedNormal | Normal: ...


class Bound(NamedTuple):
    r"""The parts of $-\log p(x_0) \le L_T + \sum_{t=2}^T L_{t-1} + L_0$, in nats, an example each.

    Fields:
      prior: the term L_T, the KL of what is left of the data at the end from the noise that sampling starts from.
      transitions: the sum of the KLs of the steps between.
      decoder: the term L_0, the negative log-likelihood of the data given x_1.
      dimensions: the number of dimensions D.
    """

    prior: Float[Array, " b"]
    transitions: Float[Array, " b"]
    decoder: Float[Array, " b"]
    dimensions: int

    @property
    def total(self) -> Float[Array, " b"]:
        """The bound, in nats."""
        return self.prior + self.transitions + self.decoder

    @property
    def bits(self) -> dict[str, Float[Array, " b"]]:
        """Bits a dimension: of the bound, and of its parts."""
        unit = 1 / (math.log(2) * self.dimensions)
        parts = {"bits_per_dim": self.total, "prior": self.prior, "transitions": self.transitions, "decoder": self.decoder}
        return {name: unit * value for name, value in parts.items()}


def by_information(schedule: Discrete) -> np.ndarray:
    r"""Probabilities of the transitions 2 ... T, `[T - 1]`, by what they would cost if the data were standard normal.

    With the reverse variance $\tilde\beta_t$ a transition costs $\frac 1 2 (\mathrm{SNR}_{t-1} - \mathrm{SNR}_t)\, E\|x_0 -
    \hat x_0\|^2$ nats. The squared error of standard normal data is $1 / (1 + \mathrm{SNR}_t)$ in each dimension, which
    makes about $\frac 1 2 \log \frac{1 + \mathrm{SNR}_{t-1}}{1 + \mathrm{SNR}_t}$. With probabilities in this proportion the
    terms of the estimate are of about one size, whereas an even choice seldom meets the first transitions, which cost the most.
    A tenth of the probability is spread evenly, so that data of another kind cannot make a weight large.

    Args:
      schedule: the chain.

    Returns:
      The probabilities.

    Source: Nichol & Dhariwal 2021, section 3.3, for sampling by cost, there by costs that are measured during training.
    """
    log_snr = schedule.log_snr[1:]
    lost = -np.diff(np.logaddexp(0.0, log_snr))
    return 0.9 * lost / lost.sum() + 0.1 / len(lost)


def variational_bound(
    denoise: Denoise,
    schedule: Discrete,
    x0: Float[Array, "b *event"],
    key: Key,
    *,
    variance: Variance = small_variance,
    decoder: Decoder = DiscretizedNormal,
    prior_std: float = 1.0,
    samples: int | None = None,
    proposal: Callable[[Discrete], np.ndarray] = by_information,
    chunk: int = 1,
) -> Bound:
    r"""The negative variational bound of each example, $L_T + \sum_{t=2}^T L_{t-1} + L_0$.

    $L_{t-1} = E_{x_t} KL(q(x_{t-1} | x_t, x_0) \| N(\tilde\mu_t(x_t, \hat x_0), s_t^2 I))$, with one draw of x_t. It is
    $w_t \|x_0 - \hat x_0\|^2 + \frac D 2 (r_t - 1 - \log r_t)$ with $w_t = \alpha_{t-1}^2 \beta_t^2 / (2 \sigma_t^4 s_t^2)$ and
    $r_t = \tilde\beta_t / s_t^2$. Only the first part depends on the data; the second is summed over all t. Where the network
    chooses the variance (`learned_range`), both parts do, number by number.

    Args:
      denoise: the model.
      schedule: the chain.
      x0: data; for bytes, 256 levels over [-1, 1].
      key: the key of the noise: one key, or a key for each example, `[B]` (`keys.per_example`).
      variance: the variance of the reverse steps: `small_variance`, `large_variance`, or `learned_range` for the network's.
      decoder: the distribution p(x_0 | x_1), around the predicted mean with the reverse variance of step 1.
      prior_std: the standard deviation of the noise that sampling starts from.
      samples: the number of transitions; None evaluates all T - 1. Otherwise this many are drawn from the proposal for each
        example, one from each of as many equally probable strata, and weighted by importance, so that the estimate of the sum
        has no bias.
      proposal: the probabilities of the transitions 2 ... T, `[T - 1]`, all above 0.
      chunk: transitions evaluated at once.

    Returns:
      The parts of the bound.

    Source: Ho et al. 2020, equations 5, 8 and 13.
    """
    b, steps, dimensions = x0.shape[0], schedule.steps, x0[0].size
    reverse, span = _with_span(variance(schedule))
    last = schedule.level(steps)
    prior = sum_event(Normal(last.alpha * x0, jnp.broadcast_to(last.sigma, x0.shape)).kl(Normal(0.0, prior_std)))
    first, middle, offsets = (keys.fold_in(key, i) for i in range(3))

    def predicted(t: Array, key: Key) -> Prediction:
        level = schedule.level(t)
        return denoise(diffuse(x0, keys.draw(jax.random.normal, key, x0.shape), level), level)

    found = predicted(jnp.ones(b, jnp.int32), first)
    std = jnp.full(x0.shape, np.sqrt(reverse[1]), jnp.float32)
    if span is not None:
        std = std * jnp.exp(0.5 * log_factor(_learned(found), float(span[1])))
    decoded = -sum_event(decoder(found.x0, std).log_prob(x0))
    if steps == 1:
        return Bound(prior, jnp.zeros(b), decoded, dimensions)

    # Of the transitions 2 ... T, on the host in double precision.
    ratio = schedule.posterior_variance[2:] / reverse[2:]
    spread = 0.5 * float((ratio - 1 - np.log(ratio)).sum()) * dimensions
    weight = schedule.posterior_x0[2:] ** 2 / (2 * reverse[2:])
    every = samples is None or samples >= steps - 1
    count = steps - 1 if samples is None or every else samples
    chosen = np.full(steps - 1, 1 / count) if every else proposal(schedule)
    bounds = jnp.asarray(np.cumsum(chosen)[:-1], jnp.float32)
    importance = jnp.asarray(weight / (count * chosen), jnp.float32)
    of_variance = None if span is None else [jnp.asarray(a, jnp.float32) for a in (1 / (count * chosen), span[2:])]
    offset = keys.draw(jax.random.uniform, offsets, (b,))

    def term(i: Array) -> Float[Array, " b"]:
        # The i-th of `count` equally probable strata, in which each example has its own place.
        place = (i.astype(jnp.float32) + offset) / count
        at = jnp.broadcast_to(i, (b,)) if every else jnp.searchsorted(bounds, place, side="right")
        found = predicted(at + 2, keys.fold_in(middle, i))
        if of_variance is None:
            return jnp.where(i < count, importance[at] * sum_event((x0 - found.x0) ** 2), 0.0)
        kl = _learned_kl(x0, found, *(expand(a[at], x0) for a in (importance, *of_variance)))
        return jnp.where(i < count, sum_event(kl), 0.0)

    def add(total: Array, indices: Array) -> tuple[Array, None]:
        return total + jax.vmap(term)(indices).sum(0), None

    indices = jnp.arange(-(-count // chunk) * chunk, dtype=jnp.int32).reshape(-1, chunk)
    total, _ = lax.scan(add, jnp.zeros(b), indices)
    return Bound(prior, total + spread, decoded, dimensions)


def bound_term(
    found: Prediction,
    schedule: Discrete,
    x0: Float[Array, "b *event"],
    t: Int[Array, " b"],
    *,
    decoder: Decoder = DiscretizedNormal,
) -> Float[Array, " b"]:
    r"""The term of the bound at one step for each example, $L_{t-1}$, in nats, where the network chooses the variance.

    The mean of T times this over uniform t is the bound without its prior, $\sum_{t=2}^T L_{t-1} + L_0$.

    Args:
      found: the predictions at x_t, with v.
      schedule: the chain.
      x0: data.
      t: the step of each example, from 1 ... T.
      decoder: the distribution p(x_0 | x_1), for the examples with t = 1.

    Returns:
      The decoder's negative log-likelihood where t is 1, and elsewhere the KL from the posterior.

    Raises:
      InputError: if the network predicts no variance.

    Source: Nichol & Dhariwal 2021, equations 4 to 7, and the authors' code (`_vb_terms_bpd`).
    """
    reverse = learned_range(schedule)
    weights = np.append(0.0, schedule.posterior_x0[1:] ** 2 / (2 * reverse.least[1:]))
    least, span, weight = (expand(jnp.asarray(a, jnp.float32)[t], x0) for a in (*reverse, weights))
    std = jnp.sqrt(least) * jnp.exp(0.5 * log_factor(_learned(found), span))
    # Elsewhere a prediction may be so far away that a level's mass has no gradient, not even one to be multiplied by zero.
    first = (t == 1).reshape(-1, *(1,) * (x0.ndim - 1))
    decoded = -decoder(jnp.where(first, found.x0, x0), jnp.where(first, std, 1.0)).log_prob(x0)
    return jnp.where(t == 1, sum_event(decoded), sum_event(_learned_kl(x0, found, weight, 1.0, span)))


def _learned_kl(x0: Array, found: Prediction, weight: Array, share: Array | float, span: Array) -> Float[Array, "b *event"]:
    r"""$w e^{-a} (x_0 - \hat x_0)^2 + \frac c 2 (e^{-a} - 1 + a)$: a KL where the variance is the posterior's times $e^a$."""
    a = log_factor(_learned(found), span)
    return weight * jnp.exp(-a) * (x0 - found.x0) ** 2 + 0.5 * share * (jnp.expm1(-a) + a)


def _with_span(variance: np.ndarray | Array | VarianceRange) -> tuple[np.ndarray, np.ndarray | None]:
    """Variances, or the least of a range and its span."""
    return variance if isinstance(variance, VarianceRange) else (np.asarray(variance), None)


def _learned(found: Prediction) -> Array:
    """The network's v."""
    if found.v is None:
        raise InputError("The network predicts no variance for its bound; take a fixed one, such as the small.")
    return found.v


def variational_diffusion(
    model: nn.Module,
    schedule: Discrete,
    parameterisation: Parameterisation = EPSILON,
    *,
    variance: Variance = small_variance,
    decoder: Decoder = DiscretizedNormal,
    samples: int | None = 1,
    told: Mapping[str, Told] = {},
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    """The bound as a loss: DDPM trained on its likelihood and not on L_simple.

    Args:
      model: a linen module, `(x_t, time, ...) -> output`.
      schedule: the chain.
      parameterisation: the parameterisation, which says what the output means.
      variance: the variance of the reverse steps.
      decoder: the distribution p(x_0 | x_1).
      samples: transitions of each example that are evaluated; None is all.
      told: the features that the model is conditioned on, by keyword.
      name: the parameters' name.
      feature: the batch's feature x_0.

    Returns:
      A loss in nats, with the metrics of `Bound.bits`. It applies the model without dropout.

    Source: Ho et al. 2020, equation 5 (the rows "L" of table 2).
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        denoise = denoiser_of(model, params, state.vars, parameterisation, told=tell(told, batch), name=name)
        x0 = batch[feature].astype(jnp.float32)
        own = keys.per_example(key, batch)
        bound = variational_bound(denoise, schedule, x0, own, variance=variance, decoder=decoder, samples=samples)
        return bound.total, Aux({}, bound.bits)

    return loss
