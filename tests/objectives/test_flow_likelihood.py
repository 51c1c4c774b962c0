"""The likelihood of a flow in closed form: pixels with a normal law of their logits, whose levels have exact masses."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from scipy import stats

from jaxgen.game import TrainState
from jaxgen.models.flows import ActNorm, Chain, Logit, realnvp
from jaxgen.objectives import dequantised_bound, flow_likelihood, tighter_bits_per_dim

ALPHA, MEAN, LOG_SCALE = 0.05, 0.4, 0.3
FLOW = Chain((Logit(ALPHA), ActNorm()))
PARAMS = {"model": {"flows_1": {"bias": jnp.full(1, -MEAN), "log_scale": jnp.full(1, LOG_SCALE / 3)}}}


def white(x: Any) -> np.ndarray:
    p = ALPHA + (1 - 2 * ALPHA) * np.asarray(x, np.float64)
    return (np.log(p / (1 - p)) - MEAN) * math.exp(LOG_SCALE)


@pytest.mark.parametrize("bits", [8, 3, 0])
@pytest.mark.parametrize("train", [True, False])
def test_the_loss_is_the_density_and_the_width_of_a_level(bits: int, train: bool) -> None:
    x = np.random.default_rng(0).uniform(0.01, 0.99, (7, 2, 3, 1))
    loss = flow_likelihood(FLOW, bits=bits)
    values, aux = loss(PARAMS, lg.state(PARAMS), {"image": jnp.float32(x)}, jax.random.key(0), train=train)
    h = 1e-6
    slope = (white(x + h) - white(x - h)) / (2 * h)
    density = (stats.norm.logpdf(white(x)) + np.log(slope)).sum((1, 2, 3))
    np.testing.assert_allclose(values, 6 * bits * math.log(2) - density, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(aux.metrics["bits_per_dim"], np.asarray(values) / (6 * math.log(2)), rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 2])
def test_many_draws_of_the_noise_give_the_mass_of_a_level(bits: int) -> None:
    bytes_ = jnp.asarray([0, 60, 127, 200, 255], jnp.uint8).reshape(5, 1, 1, 1)
    level = np.asarray(bytes_, np.float64).ravel() // 2 ** (8 - bits) / 2**bits
    mass = stats.norm.cdf(white(level + 2.0**-bits)) - stats.norm.cdf(white(level))
    bounds = {
        samples: np.asarray(
            jax.vmap(lambda k, samples=samples: dequantised_bound(FLOW, PARAMS, {}, bytes_, k, samples=samples, bits=bits))(
                jax.random.split(jax.random.key(1), repeats)
            )
        )
        for samples, repeats in ((1, 4000), (8, 500), (4000, 1))
    }
    np.testing.assert_allclose(bounds[4000][0], np.log(mass), atol=0.02)
    one, eight = bounds[1].mean(0), bounds[8].mean(0)
    slack = 4 * bounds[1].std(0) / math.sqrt(4000)
    assert (one <= np.log(mass) + slack).all()
    if bits == 2:  # with narrow levels the bounds are nearly tight
        assert (one < np.log(mass) - slack).any()
        assert (np.abs(eight - np.log(mass)) < np.abs(one - np.log(mass)) + slack).all()


def test_the_noise_belongs_to_the_examples() -> None:
    bytes_ = jnp.asarray([10, 60, 200], jnp.uint8).reshape(3, 1, 1, 1)
    own = jax.random.split(jax.random.key(1), 3)
    whole = dequantised_bound(FLOW, PARAMS, {}, bytes_, own, samples=3)
    part = dequantised_bound(FLOW, PARAMS, {}, bytes_[1:], own[1:], samples=3)
    np.testing.assert_allclose(part, whole[1:], rtol=1e-6)


@pytest.mark.parametrize("bits", [8, 2])
def test_the_tighter_bound_in_bits_is_the_mass_of_an_images_levels(bits: int) -> None:
    """An image of six pixels has the product of its levels' masses, and the bits are those of one pixel."""
    bytes_ = jnp.asarray([[0, 60, 127, 200, 255, 90], [3, 3, 3, 250, 250, 250]], jnp.uint8).reshape(2, 2, 3, 1)
    level = np.asarray(bytes_, np.float64) // 2 ** (8 - bits) / 2**bits
    mass = stats.norm.cdf(white(level + 2.0**-bits)) - stats.norm.cdf(white(level))
    measure = tighter_bits_per_dim(FLOW, samples=20_000, bits=bits)
    found = measure(lg.state(PARAMS), {"image": bytes_, "index": jnp.arange(2)}, jax.random.key(0))
    assert set(found) == {"tighter_bits_per_dim"}
    np.testing.assert_allclose(found["tighter_bits_per_dim"], -np.log2(mass).mean((1, 2, 3)), rtol=0.01)


def test_the_statistics_of_a_networks_batches_move_in_training_only() -> None:
    flow, x = realnvp(scales=1, width=2, blocks=0), jnp.full((4, 2, 2, 1), 0.3) + 0.1 * jnp.arange(4.0).reshape(4, 1, 1, 1)
    variables = dict(jax.jit(flow.init)(jax.random.key(0), x))
    params, vars = {"model": variables.pop("params")}, {"model": variables}
    state = TrainState(jnp.array(0), jax.random.key(0), params, {}, vars, {})
    loss = jax.jit(flow_likelihood(flow), static_argnames="train")
    for train in (True, False):
        _, aux = loss(params, state, {"image": x}, jax.random.key(0), train=train)
        pairs = zip(jax.tree.leaves(aux.vars), jax.tree.leaves(vars), strict=True)
        assert any(not np.array_equal(a, b) for a, b in pairs) == train
