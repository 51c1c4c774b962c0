"""Sampling by a consistency model, with the exact map of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import diffusion, samplers
from jaxgen.diffusion import X0, Level, Prediction

C = 0.7


def to_the_end(x: jax.Array, level: Level) -> Prediction:
    """The end of the flow of N(0, C^2) from x = alpha x_0 + sigma eps."""
    x0 = x * C / jnp.sqrt((level.alpha * C) ** 2 + level.sigma**2)
    return Prediction(x0, X0.eps(x0, x, level))


@pytest.mark.parametrize("noises", [(80.0,), (80.0, 0.821), (80.0, 5.0, 0.3)])
@pytest.mark.parametrize("schedule", ["exploding", "preserving"])
def test_every_number_of_steps_draws_from_the_data(noises: tuple[float, ...], schedule: str) -> None:
    of = {
        "exploding": diffusion.discretised(diffusion.time_is_sigma(), noises),
        "preserving": diffusion.subsequence(diffusion.cosine(50), [50, 30, 8][: len(noises)][::-1]),
    }
    chain = of[schedule]
    x = samplers.noise(jax.random.key(0), (20_000, 1), chain.level(chain.steps))
    found = np.asarray(samplers.multistep_consistency(chain)(to_the_end, x, jax.random.key(1)).x)
    assert found.std() == pytest.approx(C, rel=0.02)
    assert found.mean() == pytest.approx(0, abs=0.02)


def test_a_step_keeps_nothing_of_the_state_but_its_prediction() -> None:
    """As in the authors' loop (github.com/locuslab/ect, generator_fn): x = f(x, t), then x + t_next z."""
    seen: list[tuple[float, float]] = []

    def constant(x: jax.Array, level: Level) -> Prediction:
        jax.debug.callback(lambda s, std: seen.append((float(s), float(std))), level.sigma, x.std(), ordered=True)
        return Prediction(0 * x + 3.0, x)

    chain = diffusion.discretised(diffusion.time_is_sigma(), (80.0, 0.821))
    x = samplers.noise(jax.random.key(0), (50_000,), chain.level(2))
    end = samplers.multistep_consistency(chain)(constant, x, jax.random.key(1)).x
    jax.effects_barrier()
    assert [level for level, _ in seen] == pytest.approx([80.0, 0.821])
    assert [std for _, std in seen] == pytest.approx([80.0, 0.821], rel=0.02)
    np.testing.assert_array_equal(end, 3.0)
