"""The straightness of a flow's paths, and how far it carries the noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import diffusion
from jaxgen.samplers.ode import drift
from jaxgen.types import Array


class Paths(NamedTuple):
    """Figures of the paths of a flow, one number an example `[B]`, in a mean over the numbers of an example.

    Fields:
      straightness: the mean squared distance of the velocity from the path's own chord; 0 of straight paths.
      cost: the squared distance from the noise to the data.
    """

    straightness: Array
    cost: Array


def straightness(schedule: diffusion.Continuous, denoise: diffusion.Denoise, z: Array, steps: int) -> Paths:
    r"""The straightness $\int_0^1 \|(z_1 - z_0) - v(z_t, t)\|^2 dt$ of the ODE's paths from noise, and $\|z_1 - z_0\|^2$.

    The integral is the mean over Euler's steps. The chord is the mean of Euler's velocities, so that one step is always
    straight.

    Args:
      schedule: alpha and sigma, on times from 0 to 1.
      denoise: the model, whose ODE is solved.
      z: noise `[B, ...]` at time 1.
      steps: steps of Euler's method.

    Returns:
      Both figures of each path, over the numbers of an example.

    Source: Liu et al. 2023, section 2.2, the straightness S(Z).
    """
    slope = drift(schedule, denoise)

    def step(carry: tuple[Array, Array, Array], t: Array) -> tuple[tuple[Array, Array, Array], None]:
        x, total, squares = carry
        v = slope(x, t)
        return (x - v / steps, total + v, squares + v**2), None

    times = 1 - jnp.arange(steps, dtype=jnp.float32) / steps
    (_, total, squares), _ = jax.lax.scan(step, (z, jnp.zeros_like(z), jnp.zeros_like(z)), times)
    chord = total / steps
    event = tuple(range(1, z.ndim))
    return Paths((squares / steps - chord**2).mean(event), (chord**2).mean(event))
