"""The measured power of the predicted noise, against that of the exact model of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gaussian_mixtures import Mixture

import jaxgen
from jaxgen import objectives
from jaxgen.diffusion import from_betas
from jaxgen.game import merging
from jaxgen.models.diffusion import NoisePower

CHAIN = from_betas(np.linspace(0.01, 0.3, 7))
C2 = 0.37
EXACT = CHAIN.sigma[1:] ** 2 / (CHAIN.alpha[1:] ** 2 * C2 + CHAIN.sigma[1:] ** 2)
BATCH = 50


def started(accumulate: int = 1) -> tuple[jaxgen.TrainState, object]:
    statistics = NoisePower(CHAIN.steps)
    loss = objectives.noise_power(lambda state: Mixture((0.0,), float(np.sqrt(C2))).denoise, CHAIN, statistics, BATCH)
    players = {"power": jaxgen.Player(loss, optax.identity(), merge={"power": merging.total})}
    init = jaxgen.initialize({"power": jaxgen.Network(statistics, jnp.ones(1, jnp.int32), jnp.ones(1))})
    state = jaxgen.create_state(jax.random.key(0), *init(jax.random.key(0)), players)
    return state, jax.jit(jaxgen.make_train_step(players, accumulate=accumulate))


@pytest.mark.parametrize("accumulate", [1, 5])
def test_it_is_the_mean_over_the_examples_of_a_step(accumulate: int) -> None:
    state, step = started(accumulate)
    rng = np.random.default_rng(0)
    for _ in range(70):
        images = np.sqrt(C2) * rng.normal(size=(BATCH, 20, 5))
        state, _ = step(state, {"image": jnp.float32(images), "slot": jnp.arange(BATCH, dtype=jnp.int32)})
    power = state.vars["power"]["power"]
    np.testing.assert_array_equal(power["count"], [0] + [500] * 7)
    found = objectives.apply(NoisePower(7), state.params, state.vars, jnp.arange(8), jnp.ones(8), name="power")[0]
    np.testing.assert_allclose(found, np.append(1.0, EXACT), rtol=0.03)
