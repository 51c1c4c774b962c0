"""A key belongs to an example: what it draws depends neither on how a batch is cut nor on what else is in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import keys
from jaxgen.devices import collectives, parallel
from jaxgen.distributions import Bernoulli, DiscretizedLogistic, MultivariateNormal, Normal

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def test_the_purposes_of_a_runs_key_and_of_a_steps_key_differ() -> None:
    of_run = (keys.PARAMETERS, keys.STEPS, keys.SAMPLE, keys.EVALUATE, keys.DRAW)
    assert len(set(of_run)) == len(of_run)
    assert keys.DATA > 1000  # beyond the numbers of players
    assert keys.TRANSFORM != keys.NOISE


def test_a_key_is_that_of_the_slot_and_streams_do_not_share_theirs() -> None:
    data = jax.random.key_data
    whole = data(keys.per_example(KEY, {"x": X}))
    part = data(keys.per_example(KEY, {"x": X[4:6], "slot": jnp.array([4, 5])}))
    np.testing.assert_array_equal(part, whole[4:6])
    made = keys.by_example(KEY, {"a": {"x": X}, "b": {"x": X[:5]}})
    assert made["a"]["key"].shape == (16,)
    assert not (data(made["a"]["key"])[:5] == data(made["b"]["key"])).all(1).any()
    # The order of a batch's names is not its own: a compiled function sorts them.
    turned = keys.by_example(KEY, {"b": {"x": X[:5]}, "a": {"x": X}})
    np.testing.assert_array_equal(data(turned["a"]["key"]), data(made["a"]["key"]))
    again = keys.per_example(jax.random.key(9), made["a"])
    np.testing.assert_array_equal(data(again), data(made["a"]["key"]))


DISTRIBUTIONS = {
    "normal": lambda m: Normal(m, jnp.exp(m)),
    "multivariate": lambda m: MultivariateNormal(m, jnp.broadcast_to(jnp.eye(3), (len(m), 3, 3))),
    "bernoulli": lambda m: Bernoulli(m),
    "logistic": lambda m: DiscretizedLogistic(m, 0 * m - 2),
}


@pytest.mark.parametrize("samples", [None, 1, 5])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_sample_with_a_key_for_each_example_belongs_to_the_example(name: str, samples: int | None) -> None:
    if samples is not None and name in ("bernoulli", "logistic"):
        pytest.skip("it draws one sample")
    options = {} if samples is None else {"samples": samples}
    own, make = jax.random.split(KEY, 16), DISTRIBUTIONS[name]
    whole = make(jnp.array(X)).sample(own, **options)
    assert whole.shape == make(jnp.array(X)).sample(KEY, **options).shape
    rows = np.array([9, 2])
    part = make(jnp.array(X)[rows]).sample(own[rows], **options)
    np.testing.assert_array_equal(part, whole[rows] if samples is None else whole[:, rows])
    assert len(np.unique(np.asarray(whole))) > (1 if name == "bernoulli" else 20)


def noisy(p, state, batch, key, *, train):
    noise = keys.draw(jax.random.normal, keys.per_example(key, batch), batch["x"].shape)
    return ((p["model"] * batch["x"] - noise) ** 2).sum(-1), jaxgen.Aux()


def test_a_step_has_the_same_noise_whole_in_micro_batches_and_on_eight_replicas() -> None:
    player = {"model": jaxgen.Player(noisy, optax.sgd(0.1))}
    state = jaxgen.create_state(KEY, {"model": jnp.float32(0.5)}, {}, player)
    batch = {"x": X, "slot": np.arange(16)}
    make = functools.partial(jaxgen.make_train_step, player)
    whole, _ = jax.jit(make())(state, batch)
    for accumulate in (2, 4, 16):
        cut, _ = jax.jit(make(accumulate=accumulate))(state, batch)
        np.testing.assert_allclose(cut.params["model"], whole.params["model"], rtol=1e-5)
    way = parallel.choose("pmap")
    split = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), batch)
    for given in (split, {"x": split["x"]}):  # a batch without slots is counted over the replicas
        for accumulate in (1, 2):
            step = jax.pmap(make(accumulate=accumulate), axis_name=collectives.AXIS)
            eight = way.to_view(step(way.place(state), given)[0])
            np.testing.assert_allclose(eight.params["model"], whole.params["model"], rtol=1e-5)


def test_a_draw_by_batch_differs_between_replicas_and_micro_batches() -> None:
    def by_batch(p, state, batch, key, *, train):
        noise = jax.random.normal(key, batch["x"].shape)
        return p["model"] * noise.sum(-1), jaxgen.Aux({}, {"noise": noise.sum()})

    player = {"model": jaxgen.Player(by_batch, optax.sgd(0.1))}
    state = jaxgen.create_state(KEY, {"model": jnp.float32(0.5)}, {}, player)
    for accumulate in (1, 2):
        one, _ = jax.jit(jaxgen.make_train_step(player, accumulate=accumulate))(state, {"x": X[:2]})
        both, _ = jax.jit(jaxgen.make_train_step(player, accumulate=2 * accumulate))(state, {"x": X[:4]})
        assert float(one.params["model"]) != float(both.params["model"])
