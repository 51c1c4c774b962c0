r"""The exact density of a diffusion model, by its probability-flow ODE.

Along a solution of $dx / dt = h(x, t)$ the logarithm of the density changes by $-\nabla \cdot h$, so that
$\log p_0(x_0) = \log p_T(x_T) + \int_0^T \nabla \cdot h(x_t, t)\, dt$. The law at the end is the one that samplers start from,
$N(0, \sigma(T)^2 I)$, and time runs from the schedule's start: the density is that of data with the noise of that time.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen import keys
from jaxgen.diffusion import Continuous, Denoise
from jaxgen.distributions import Normal, sum_event
from jaxgen.samplers.adaptive import solve
from jaxgen.samplers.ode import drift
from jaxgen.types import Array, Key


def flow_log_prob(
    denoise: Denoise,
    schedule: Continuous,
    x: Float[Array, "b *event"],
    key: Key | None,
    *,
    probes: int = 1,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Float[Array, " b"]:
    r"""The log-density of data under the probability-flow ODE of a model, in nats.

    The divergence is estimated without bias by $v^\top (\partial h / \partial x)\, v$ with random signs v, which belong to the
    example and stay the same along its path. Without a key it is computed exactly, by as many products with the Jacobian as x
    has numbers.

    Args:
      denoise: the model.
      schedule: the schedule; the density is that of noisy data at its start.
      x: data.
      key: the key of the probes: one key, or a key for each example, `[B]`; None computes the divergence exactly.
      probes: the number of vectors v, over which the estimate is averaged.
      rtol: the relative tolerance of the solver.
      atol: the absolute tolerance of the solver.

    Returns:
      The log-density of each example.

    Source: Song et al. 2021, equation 39 and appendix D.2; Grathwohl et al. 2019 for the estimate.

    >>> from jaxgen.diffusion import Prediction, variance_preserving
    >>> normal = lambda x, level: Prediction(level.alpha * x, level.sigma * x)  # the denoiser of N(0, 1)
    >>> found = flow_log_prob(normal, variance_preserving(), jnp.zeros((1, 2)), None)
    >>> bool(jnp.allclose(found, -math.log(2 * math.pi), atol=1e-3))
    True
    """
    slope = drift(schedule, denoise)
    vectors = _basis(x) if key is None else _signs(key, probes, x)

    def with_divergence(state: tuple[Array, Array], t: Array, vectors: Array) -> tuple[Array, Array]:
        rate, pull = jax.vjp(lambda x: slope(x, t), state[0])  # convolutions have no forward mode on a CPU
        products = jax.vmap(lambda v: jnp.sum(v * pull(v[None])[0][0]))(vectors[0])
        return rate, jnp.mean(products)[None]

    times = [schedule.start, schedule.end]
    end, change = solve(with_divergence, (x, jnp.zeros(len(x))), times, vectors, rtol=rtol, atol=atol)
    prior = Normal(0.0, schedule.sigma(jnp.float32(schedule.end)))
    return sum_event(jnp.asarray(prior.log_prob(end[:, -1]))) + change[:, -1]


def _signs(key: Key, probes: int, x: Array) -> Float[Array, "b k *event"]:
    own = key if key.ndim else jax.random.split(key, len(x))
    return keys.draw(lambda key, shape: jax.random.rademacher(key, shape, jnp.float32), own, (len(x), probes, *x.shape[1:]))


def _basis(x: Array) -> Float[Array, "b k *event"]:
    """Unit vectors times the root of their number, so that the mean of the products is the trace."""
    n = x[0].size
    one = math.sqrt(n) * jnp.eye(n).reshape(n, *x.shape[1:])
    return jnp.broadcast_to(one, (len(x), *one.shape))


def bits_of_levels(log_prob: Float[Array, " b"], dimensions: int, *, bits: int, width: float = 1.0) -> Float[Array, " b"]:
    r"""Bits a dimension of images of $2^n$ levels, of the density of dequantised images.

    A level is a cell of the side $w / 2^n$, so that $b = -\frac{\log p(x)}{D \log 2} + n - \log_2 w$. Averaged over uniform
    noise within the cell it is an upper bound of the images' bits. Of bytes in [-1, 1] the last terms are 7.

    Args:
      log_prob: the log-density of dequantised images, in nats.
      dimensions: the number D of numbers in an image.
      bits: the number of bits n that the images were dequantised from.
      width: the distance w of white from black.

    Returns:
      The bits of each image, divided by D.

    Source: Theis et al. 2016, section 3.1; the offset of Song et al. 2021's code.

    >>> bits_of_levels(jnp.zeros(1), 3, bits=8, width=2.0).tolist()
    [7.0]
    """
    return bits - math.log2(width) - log_prob / (dimensions * math.log(2))
