"""Annealed Langevin dynamics."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Denoise, Discrete, expand
from jaxgen.samplers.sampler import Sampler, Samples, iterate


def annealed_langevin(schedule: Discrete, *, steps: int = 100, step_size: float = 2e-5, denoise_last: bool = True) -> Sampler:
    r"""Langevin dynamics at each noise level in turn.

    $x \leftarrow x + \frac{a_i}{2} \nabla \log q_{\sigma_i}(x) + \sqrt{a_i} z$. The step size $a_i = \epsilon
    \sigma_i^2 / \sigma_{\min}^2$ keeps the ratio of drift to noise the same at all levels.

    Args:
      schedule: the levels, walked from the last to the first.
      steps: the number of steps of the dynamics at a level.
      step_size: epsilon, that of the least noise.
      denoise_last: whether to finish with the mean of the data given the last state, which takes the last level's noise off.

    Returns:
      The sampler, of `steps` times as many steps as there are levels.

    Source: Song & Ermon 2019, algorithm 1; the last step: Jolicoeur-Martineau et al. 2020.
    """
    size = step_size * (schedule.sigma / schedule.sigma[1]) ** 2

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        sizes = jnp.asarray(size, jnp.float32)

        def step(j: Array, x: Array) -> Array:
            i = schedule.steps - j // steps
            level = schedule.level(i)
            score = -denoise(x, level).eps / expand(level.sigma, x)
            return x + 0.5 * sizes[i] * score + jnp.sqrt(sizes[i]) * jax.random.normal(jax.random.fold_in(key, j), x.shape)

        samples = iterate(step, x_start, schedule.steps * steps, trajectory)
        if not denoise_last:
            return samples
        x = denoise(samples.x, schedule.level(1)).x0
        states = samples.trajectory
        return Samples(x, None if states is None else states.at[-1].set(x))

    return sampler
