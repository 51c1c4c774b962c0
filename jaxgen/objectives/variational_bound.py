"""The variational bound of a diffusion model, whole or estimated, and in its parts."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, PRNGKeyArray

from jaxgen.diffusion import (
    EPSILON,
    Denoise,
    Discrete,
    Parameterisation,
    diffuse,
    expand,
    posterior,
    small_variance,
)
from jaxgen.distributions import DiscretizedNormal, Normal, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.score_matching import denoiser_of
from jaxgen.types import Array, Batch, Key, Params


@runtime_checkable
class Decoder(Protocol):
    """`decoder(mean, std).log_prob(x)`: p(x_0 | x_1), `DiscretizedNormal` for bytes in [-1, 1] or `Normal` for real data."""

    def __call__(self, mean: Array, std: Array, /) -> DiscretizedNormal | Normal: ...


class Bound(NamedTuple):
    r"""The parts of $-\log p(x_0) \le L_T + \sum_{t=2}^T L_{t-1} + L_0$, in nats, an example each.

    Fields:
      prior: L_T, the KL of what is left of the data at the end from the noise that sampling starts from.
      transitions: the sum of the KLs of the steps between.
      decoder: L_0, the negative log-likelihood of the data given x_1.
      dimensions: D.
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


def variational_bound(
    denoise: Denoise,
    schedule: Discrete,
    x0: Float[Array, "b *event"],
    key: PRNGKeyArray,
    *,
    variance: Callable[[Discrete], np.ndarray] = small_variance,
    decoder: Decoder = DiscretizedNormal,
    prior_std: float = 1.0,
    samples: int | None = None,
    chunk: int = 1,
) -> Bound:
    r"""The negative variational bound of each example, $L_T + \sum_{t=2}^T L_{t-1} + L_0$.

    $L_{t-1} = E_{x_t} KL(q(x_{t-1} | x_t, x_0) \| N(\tilde\mu_t(x_t, \hat x_0), s_t^2 I))$, with one draw of x_t.

    Args:
      denoise: the model.
      schedule: the chain.
      x0: data; for bytes, 256 levels over [-1, 1].
      key: for the noise.
      variance: of the reverse steps, `small_variance` or `large_variance`.
      decoder: p(x_0 | x_1), around the predicted mean with the reverse variance of step 1.
      prior_std: of the noise that sampling starts from.
      samples: None evaluates all T - 1 transitions. Otherwise as many of them, evenly spaced with a random offset of each
        example, weighted to estimate the sum without bias.
      chunk: transitions evaluated at once.

    Returns:
      The parts of the bound.

    Source: Ho et al. 2020, equations 5, 8 and 13.
    """
    b, steps = x0.shape[0], schedule.steps
    reverse = jnp.asarray(np.sqrt(variance(schedule)), jnp.float32)
    last = schedule.level(steps)
    prior = sum_event(Normal(last.alpha * x0, jnp.broadcast_to(last.sigma, x0.shape)).kl(Normal(0.0, prior_std)))

    def noisy(t: Array, key: Key) -> tuple[Array, Array]:
        level = schedule.level(t)
        xt = diffuse(x0, jax.random.normal(key, x0.shape), level)
        return xt, denoise(xt, level).x0

    def transition(t: Array, key: Key) -> Float[Array, " b"]:
        xt, predicted = noisy(t, key)
        (mean, _), (guess, _) = posterior(schedule, t, x0, xt), posterior(schedule, t, predicted, xt)
        true_std = jnp.sqrt(jnp.asarray(schedule.posterior_variance, jnp.float32))[t]
        return sum_event(Normal(mean, expand(true_std, mean)).kl(Normal(guess, expand(reverse[t], guess))))

    first, middle, offsets = (jax.random.fold_in(key, i) for i in range(3))
    one = jnp.ones(b, jnp.int32)
    _, predicted = noisy(one, first)
    decoded = -sum_event(decoder(predicted, jnp.broadcast_to(reverse[1], x0.shape)).log_prob(x0))

    count = steps - 1 if samples is None else min(samples, steps - 1)
    if count == 0:
        return Bound(prior, jnp.zeros(b), decoded, x0[0].size)
    offset = jnp.zeros(b) if samples is None else jax.random.uniform(offsets, (b,))

    def term(i: Array) -> Float[Array, " b"]:
        # The i-th of `count` equal shares of 2 ... T, for each example at its own place in it.
        t = 2 + jnp.floor((i.astype(jnp.float32) + offset) * ((steps - 1) / count)).astype(jnp.int32)
        value = transition(jnp.minimum(t, steps), jax.random.fold_in(middle, i))
        return jnp.where(i < count, value, 0.0)

    def add(total: Array, indices: Array) -> tuple[Array, None]:
        return total + jax.vmap(term)(indices).sum(0), None

    indices = jnp.arange(-(-count // chunk) * chunk, dtype=jnp.int32).reshape(-1, chunk)
    total, _ = lax.scan(add, jnp.zeros(b), indices)
    return Bound(prior, total * ((steps - 1) / count), decoded, x0[0].size)


def variational_diffusion(
    model: nn.Module,
    schedule: Discrete,
    parameterisation: Parameterisation = EPSILON,
    *,
    variance: Callable[[Discrete], np.ndarray] = small_variance,
    decoder: Decoder = DiscretizedNormal,
    samples: int | None = 1,
    condition: str | None = None,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    """The bound as a loss: DDPM trained on its likelihood and not on L_simple.

    Args:
      model: a linen module, `(x_t, time, ...) -> output`.
      schedule: the chain.
      parameterisation: what the output means.
      variance: of the reverse steps.
      decoder: p(x_0 | x_1).
      samples: transitions of each example that are evaluated; None is all.
      condition: the batch's feature that the model is told.
      name: the parameters' name.
      feature: the batch's feature x_0.

    Returns:
      A loss in nats, with the metrics of `Bound.bits`. It applies the model without dropout.

    Source: Ho et al. 2020, equation 5 (the rows "L" of table 2).
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        label = None if condition is None else batch[condition]
        denoise = denoiser_of(model, params, state.vars, parameterisation, label=label, name=name)
        x0 = batch[feature].astype(jnp.float32)
        bound = variational_bound(denoise, schedule, x0, key, variance=variance, decoder=decoder, samples=samples)
        return bound.total, Aux({}, bound.bits)

    return loss
