"""The likelihood of images whose pixels have distributions of their own."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxgen
from jaxgen import objectives
from jaxgen.distributions import Bernoulli

X = jnp.array(np.random.default_rng(0).integers(0, 2, (3, 2, 2, 1)), jnp.float32)


class Coins(nn.Module):
    """The same coin for all pixels, and another one for the second class."""

    @nn.compact
    def __call__(self, x: Any, label: Any = 0, *, train: bool = False) -> Bernoulli:
        logits = self.param("logits", nn.initializers.zeros_init(), (2,))
        drawn = 3.0 * jax.random.bernoulli(self.make_rng("dropout")).astype(jnp.float32) if train else 0.0
        return Bernoulli(jnp.broadcast_to((logits[label] + drawn).reshape(-1, 1, 1, 1), x.shape))


def told(condition: str | None, *, train: bool = False, key: int = 0) -> Any:
    params = {"model": {"logits": jnp.array([math.log(3), -math.log(3)])}}
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    loss = objectives.pixel_likelihood(Coins(), condition=condition)
    return loss(params, state, {"image": X, "label": jnp.array([0, 1, 1])}, jax.random.key(key), train=train)


def test_the_loss_is_the_sum_over_the_pixels_in_nats_and_the_metric_in_bits_a_number() -> None:
    ones = np.asarray(X).sum((1, 2, 3))
    values, aux = told(None)
    np.testing.assert_allclose(values, -ones * math.log(0.75) - (4 - ones) * math.log(0.25), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["bits_per_dim"], values / (4 * math.log(2)), rtol=1e-6)
    share = np.array([0.75, 0.25, 0.25])
    np.testing.assert_allclose(told("label")[0], -ones * np.log(share) - (4 - ones) * np.log(1 - share), rtol=1e-5)


def test_the_model_is_trained_with_dropout() -> None:
    assert len({float(told(None, train=True, key=key)[0][0]) for key in range(8)}) == 2
