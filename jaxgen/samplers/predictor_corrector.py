r"""Predictor-corrector samplers: Langevin dynamics at the level of every step, before the step is made.

A predictor is a table of one evaluation a step (`tables.reverse_diffusion`, `tables.euler_maruyama`, `tables.ancestral`). It
changes the level of noise, and its errors add up. The corrector leaves the level as it is, and takes the state closer to the
law that noisy data have there.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgen.diffusion import Denoise, Level, expand
from jaxgen.errors import InputError
from jaxgen.samplers.march import Before, march
from jaxgen.samplers.sampler import Sampler
from jaxgen.samplers.tables import Table


def predictor_corrector(predictor: Table, *, snr: float = 0.16, steps: int = 1) -> Sampler:
    """At each level some steps of Langevin dynamics, then the predictor's step to the next level.

    As in the authors' code, the corrector comes first, and the last step is the predictor's, without noise.

    Args:
      predictor: the table of the predictor's N steps.
      snr: the signal-to-noise ratio of the corrector, as in `langevin_corrector`.
      steps: the number of steps of the corrector at a level; 0 leaves the predictor alone.

    Returns:
      The sampler, with N (steps + 1) network evaluations.

    Raises:
      InputError: if the predictor uses former predictions, which a corrector would make useless.

    Source: Song et al. 2021, algorithms 2 and 3.
    """
    if predictor.data.shape[1] > 1:
        raise InputError("A predictor that uses former predictions cannot be corrected in between; take one of one prediction.")
    return march(predictor, before=langevin_corrector(predictor, snr=snr, steps=steps))


def langevin_corrector(table: Table, *, snr: float, steps: int) -> Before:
    r"""Steps of Langevin dynamics, $x \leftarrow x + \epsilon s + \sqrt{2 \epsilon}\, z$ with the score s.

    Their size is $\epsilon = 2 a\, (r \|z\| / \|s\|)^2$ with the signal-to-noise ratio r and the norms of the example itself,
    so that no sample depends on the others of its batch. The authors' code takes the means of both norms over the batch.
    $a = (\alpha_r / \alpha_s)^2$ is $1 - \beta_i$ of a variance-preserving chain and 1 where alpha is 1.

    Args:
      table: the table of the steps that are corrected.
      snr: the ratio r.
      steps: the number of steps at each level.

    Returns:
      The function that is run before each step. The corrector's step m before step j of N draws from
      `fold_in(key, N (m + 1) + j)`.

    Source: Song et al. 2021, algorithms 4 and 5; a as in the authors' code, where algorithm 5 has $\alpha_i$.
    """
    count = len(table.x)
    ratio = (table.level.alpha / np.append(table.level.alpha[1:], 1.0)) ** 2

    def before(denoise: Denoise, x: Array, level: Level, j: Array, key: PRNGKeyArray) -> Array:
        a = jnp.asarray(ratio, x.dtype)[j]

        def correct(m: Array, x: Array) -> Array:
            z = jax.random.normal(jax.random.fold_in(key, count * (m + 1) + j), x.shape, x.dtype)
            score = -denoise(x, level).eps / expand(level.sigma, x)
            noise, signal = _norm(z), _norm(score)
            # Where the score is zero, as of a network that has not been trained, the size would be infinite.
            size = jnp.where(signal > 0, 2 * a * (snr * noise / jnp.where(signal > 0, signal, 1.0)) ** 2, 0.0)
            return x + expand(size, x) * score + expand(jnp.sqrt(2 * size), x) * z

        return jax.lax.fori_loop(0, steps, correct, x)

    return before


def _norm(x: Float[Array, "b *event"]) -> Float[Array, " b"]:
    return jnp.sqrt(jnp.sum(x.reshape(len(x), -1) ** 2, axis=1))
