"""An adversarial game whose modules are told what the state and the batch say, against its formulas."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

import jaxgen
from jaxgen import keys, objectives
from jaxgen.losses import adversarial
from jaxgen.losses.penalty import r1


class Scaled(nn.Module):
    """z times what it is told, and a number of the turn."""

    def __call__(self, z: Any, *, factor: Any, own: Any, whole: Any, train: bool = False) -> Any:
        noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(own)
        return factor * z + noise + jax.random.normal(whole)


class Compared(nn.Module):
    """Each example's square next to the mean of the batch, without the examples that fill it up."""

    def __call__(self, x: Any, *, mask: Any, train: bool = False) -> Any:
        counted = jnp.ones(len(x)) if mask is None else mask
        mean = (counted[:, None] * x).sum(0) / counted.sum()
        return jnp.square(x - mean).sum(-1)


def tell(state: Any, batch: Any, own: Any, whole: Any) -> Any:
    return {"factor": state.step.astype(jnp.float32), "own": own, "whole": whole}, {"mask": batch.get("mask")}


STATE = jaxgen.TrainState(jnp.int32(3), jax.random.key(5), {"generator": {}, "discriminator": {}}, {}, {}, {})
GAME = objectives.adversarial(
    Scaled(),
    Compared(),
    adversarial.wasserstein,
    latents=2,
    penalty=r1(2.0),
    feature="x",
    tell=tell,
    shown=lambda s, x: x + s.step.astype(jnp.float32),
)
X = normal(6, 2)


def play(turn: int, batch: Any) -> Any:
    @jax.jit
    def values(batch: Any) -> Any:
        found, aux = GAME[turn](STATE.params, STATE, batch, jax.random.key(7), train=True)
        return found, dict(aux.metrics)

    return values(batch)


@pytest.mark.parametrize("turn", [0, 1])
def test_the_generator_has_the_keys_of_its_examples_and_one_of_the_turn(turn: int) -> None:
    batch = keys.by_example(jax.random.key(7), {"x": X})
    values, metrics = play(turn, batch)
    fake = metrics["fake_logit"] if turn == 0 else -values
    own = keys.fold_in(batch["key"], 0)
    whole = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(STATE.key, 3), keys.WHOLE), turn)
    z, noise = (jax.vmap(lambda k: jax.random.normal(k, (2,)))(keys.fold_in(own, i)) for i in range(2))
    x = 3.0 * z + noise + jax.random.normal(whole)
    np.testing.assert_allclose(fake, jnp.square(x - x.mean(0)).sum(-1), rtol=1e-4)


def test_data_are_shown_as_the_state_says_and_what_fills_a_batch_up_moves_no_example() -> None:
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])
    found = []
    for filled in (X, X.at[4:].set(9.0)):
        batch = keys.by_example(jax.random.key(7), {"x": filled, "mask": mask})
        _, metrics = play(0, batch)
        real = np.asarray(X)[:4] + 3
        np.testing.assert_allclose(metrics["real_logit"][:4], np.square(real - real.mean(0)).sum(-1), rtol=1e-4)
        # The gradient of the sum over the real examples, through their mean too, which adds nothing.
        expected = np.square(2 * (real - real.mean(0))).sum(-1)
        np.testing.assert_allclose(metrics["penalty"][:4], expected, rtol=1e-4)
        found.append(metrics["penalty"][:4])
    np.testing.assert_array_equal(*found)
