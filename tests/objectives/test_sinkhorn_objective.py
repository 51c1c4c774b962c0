"""The objective of a generator without a critic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import data, keys, objectives
from jaxgen.losses.sinkhorn import sinkhorn_divergence
from jaxgen.models.gan import mlp

KEY = jax.random.key(0)
GENERATOR = mlp.Generator((2,), (8,), output=lambda x: x)
LOSS = objectives.sinkhorn(GENERATOR, latents=3, epsilon=0.5, feature="point")


def started() -> jaxgen.TrainState:
    player = {"generator": jaxgen.Player(LOSS, optax.sgd(0.1))}
    init = jaxgen.initialize({"generator": jaxgen.Network(GENERATOR, jnp.zeros((1, 3)))})
    return jaxgen.create_state(KEY, *init(KEY), player)


def batch_of(n: int) -> dict[str, jax.Array]:
    points = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32) + 2
    return {"point": jnp.asarray(points), "slot": jnp.arange(n, dtype=jnp.int32)}


def test_every_example_has_the_divergence_of_the_batch() -> None:
    state, batch = started(), batch_of(20)
    values, aux = LOSS(state.params, state, batch, KEY, train=True)
    z = keys.draw(jax.random.normal, keys.per_example(KEY, batch), (20, 3))
    fake = GENERATOR.apply({"params": state.params["generator"]}, z)
    expected, error = sinkhorn_divergence(fake, batch["point"], epsilon=0.5)
    np.testing.assert_allclose(values, np.full(20, expected), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["marginal_error"], np.full(20, error), atol=1e-6)


def test_padding_takes_no_part() -> None:
    state, batch = started(), batch_of(20)
    mask = jnp.arange(20) < 12
    cut = {name: value[:12] for name, value in batch.items()}
    values, _ = LOSS(state.params, state, {**batch, "mask": mask}, KEY, train=False)
    expected, _ = LOSS(state.params, state, cut, KEY, train=False)
    np.testing.assert_allclose(values[0], expected[0], rtol=1e-4)


@pytest.mark.trains
def test_replicas_descend_the_divergence_of_the_global_batch() -> None:
    player = {"generator": jaxgen.Player(LOSS, optax.sgd(0.1))}
    source = data.from_arrays({name: np.asarray(value) for name, value in batch_of(16).items() if name == "point"})
    experiment = jaxgen.Experiment(
        train=data.shuffled(source, 16),
        players=player,
        steps=2,
        networks={"generator": jaxgen.Network(GENERATOR, jnp.zeros((1, 3)))},
    )
    runs = [jaxgen.fit(experiment, quiet=True, parallel=how) for how in ("jit", "pmap")]
    for one, other in zip(*(jax.tree.leaves(run.state.params) for run in runs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.trains
def test_a_generator_learns_where_the_data_are() -> None:
    source = data.from_arrays({"point": np.asarray(batch_of(256)["point"])})
    experiment = jaxgen.Experiment(
        train=data.shuffled(source, 64),
        players={"generator": jaxgen.Player(LOSS, optax.adam(1e-2))},
        steps=150,
        networks={"generator": jaxgen.Network(GENERATOR, jnp.zeros((1, 3)))},
    )
    run = jaxgen.fit(experiment, quiet=True)
    z = jax.random.normal(KEY, (2000, 3))
    made = np.asarray(GENERATOR.apply({"params": run.state.params["generator"]}, z))
    np.testing.assert_allclose(made.mean(0), [2, 2], atol=0.2)
    np.testing.assert_allclose(made.std(0), [1, 1], atol=0.25)
