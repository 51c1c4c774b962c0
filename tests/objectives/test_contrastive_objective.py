"""The contrastive objective in the contract's form, and the bound on its scale."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parameters import normal

from jaxgen.game import Player, TrainState, create_state, make_train_step
from jaxgen.losses.contrastive import clip_loss
from jaxgen.objectives import clip_scale, contrastive


class Linear(nn.Module):
    """Linear encoders: of three numbers, and of two tokens."""

    def setup(self) -> None:
        self.image, self.text = nn.Dense(4), nn.Embed(9, 4)
        self.norm = nn.BatchNorm(momentum=0.5)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(20.0)), (), jnp.float32)

    def encode_image(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.norm(self.image(x), use_running_average=not train)

    def encode_text(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        return self.text(tokens).sum(1)

    def scale(self, *, train: bool = False) -> jax.Array:
        return jnp.exp(self.logit_scale)

    def __call__(self, x: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return self.encode_image(x), self.encode_text(tokens), self.scale()


MODEL = Linear()
BATCH = {"image": normal(8, 3), "tokens": jnp.array(np.random.default_rng(1).integers(0, 9, (8, 2)), jnp.int32)}


def start(players: dict, *, t: float = np.log(20.0)) -> TrainState:
    variables = jax.jit(MODEL.init)(jax.random.key(0), BATCH["image"], BATCH["tokens"])
    params = {"model": {**variables.pop("params"), "logit_scale": jnp.float32(t)}}
    return create_state(jax.random.key(1), params, {"model": variables}, players)


def test_objective_is_the_loss_of_the_embeddings_with_the_batchs_statistics() -> None:
    state = start({})
    loss = jax.jit(contrastive(MODEL), static_argnames="train")
    values, aux = loss(state.params, state, BATCH, state.key, train=True)
    x = np.asarray(BATCH["image"]) @ state.params["model"]["image"]["kernel"]
    u = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    v = np.asarray(state.params["model"]["text"]["embedding"])[np.asarray(BATCH["tokens"])].sum(1)
    np.testing.assert_allclose(values, clip_loss(jnp.array(u), jnp.array(v), jnp.float32(20)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(aux.vars["model"]["batch_stats"]["norm"]["mean"], 0.5 * x.mean(0), rtol=1e-4, atol=1e-6)
    cosine = u @ v.T / np.linalg.norm(u, axis=1)[:, None] / np.linalg.norm(v, axis=1)
    np.testing.assert_array_equal(aux.metrics["image_to_text"], cosine.argmax(1) == np.arange(8))
    np.testing.assert_array_equal(aux.metrics["text_to_image"], cosine.argmax(0) == np.arange(8))
    np.testing.assert_allclose(aux.metrics["scale"], 20, rtol=1e-5)
    assert 0 < aux.metrics["image_to_text"].sum() + aux.metrics["text_to_image"].sum() < 16

    evaluated, aux = loss(state.params, state, BATCH, state.key, train=False)
    np.testing.assert_allclose(evaluated, clip_loss(jnp.array(x), jnp.array(v), jnp.float32(20)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(aux.vars["model"]["batch_stats"]["norm"]["mean"], 0)


def test_a_padded_batch_is_valued_as_the_short_one() -> None:
    state = start({})
    short = {feature: a[:5] for feature, a in BATCH.items()}
    padded = {**BATCH, "mask": jnp.array([1.0] * 5 + [0.0] * 3)}
    loss = jax.jit(contrastive(MODEL), static_argnames="train")
    whole, _ = loss(state.params, state, padded, state.key, train=False)
    values, _ = loss(state.params, state, short, state.key, train=False)
    np.testing.assert_allclose(whole[:5], values, rtol=1e-5)


@pytest.mark.trains
def test_training_tells_pairs_apart_and_the_scale_stops_at_its_bound() -> None:
    # Pairs that can be told apart without error want an infinite scale.
    batch = {"image": jnp.eye(3), "tokens": jnp.array([[0, 0], [1, 1], [2, 2]], jnp.int32)}
    tx = optax.chain(optax.adam(0.1, b2=0.9), clip_scale(10.0))
    players = {"model": Player(contrastive(MODEL), tx)}
    step = jax.jit(make_train_step(players))
    state, scales = start(players, t=np.log(5.0)), []
    for _ in range(100):
        state, metrics = step(state, batch)
        scales.append(float(metrics["scale"].value))
    assert metrics["loss"].value < 0.01
    assert metrics["image_to_text"].value == metrics["text_to_image"].value == 1
    assert max(scales) == scales[-1] == pytest.approx(10, rel=1e-5)


def test_bound_is_a_projection_of_that_leaf_alone() -> None:
    tx = clip_scale(100.0)
    params = {"a": {"logit_scale": jnp.float32(4.5)}, "kernel": jnp.float32(4.5), "logit_scale": jnp.float32(6.0)}
    state = tx.init(params)
    updates = jax.tree.map(lambda p: jnp.float32(1.0), params)
    moved = optax.apply_updates(params, tx.update(updates, state, params)[0])
    assert moved["a"]["logit_scale"] == pytest.approx(np.log(100), rel=1e-6)
    assert moved["kernel"] == 5.5
    assert moved["logit_scale"] == pytest.approx(np.log(100), rel=1e-6)
    back = jax.tree.map(lambda p: jnp.float32(-3.0), params)
    moved = optax.apply_updates(params, tx.update(back, state, params)[0])
    assert (moved["a"]["logit_scale"], moved["logit_scale"]) == (1.5, 3.0)
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(updates, state)


def test_at_the_bound_the_gradient_still_leads_back() -> None:
    # Pairs at odds want a small scale. A clip in the forward pass would have no gradient here.
    def at(t: jax.Array) -> jax.Array:
        return clip_loss(jnp.eye(3), jnp.roll(jnp.eye(3), 1, 0), jnp.exp(t)).mean()

    assert jax.grad(at)(jnp.float32(np.log(100))) > 1
    tx = optax.chain(optax.sgd(0.01), clip_scale())
    params = {"logit_scale": jnp.float32(np.log(100))}
    updates, _ = tx.update(jax.grad(lambda p: at(p["logit_scale"]))(params), tx.init(params), params)
    assert updates["logit_scale"] < -0.01
