"""The adversarial game against steps written by hand, its batch statistics, its conditions and its randomness."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import keys, objectives
from jaxgen import nn as layers
from jaxgen.losses import adversarial, penalty
from jaxgen.losses.adaptive_augmentation import Adaptive
from jaxgen.objectives.adversarial import normal_law, uniform_law

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)).astype(np.float32)
Z = RNG.normal(size=(6, 2)).astype(np.float32)


class Generator(nn.Module):
    normalised: bool = False

    @nn.compact
    def __call__(self, z, label=None, *, train=False):
        h = nn.Dense(3)(z)
        if label is not None:
            h = h + nn.Embed(4, 3)(label)
        return layers.BatchNorm()(h, train=train) if self.normalised else h


class Discriminator(nn.Module):
    normalised: bool = False

    @nn.compact
    def __call__(self, x, label=None, *, train=False):
        if self.normalised:
            x = layers.BatchNorm()(x, train=train)
        if label is not None:
            x = x * nn.Embed(4, 3)(label)
        return nn.Dense(1)(x)[:, 0]


@jax.custom_batching.custom_vmap
def row(key):
    return jnp.array(Z[0])


@row.def_vmap
def rows(size, batched, key):
    return jnp.array(Z[:size]), True


def fixed(key, n):
    """Z, whatever the key: the objective draws one z with the key of each example."""
    return row(key)[None]


def game(loss, tx, *, normalised=False, latents: Any = fixed, every=1, **options):
    """State and train step of the two linear players."""
    generator, discriminator = Generator(normalised), Discriminator(normalised)
    inputs = () if "condition" not in options else (jnp.zeros(1, jnp.int32),)
    losses = objectives.adversarial(generator, discriminator, loss, latents=latents, feature="x", **options)
    players = {
        "discriminator": jaxgen.Player(losses[0], tx),
        "generator": jaxgen.Player(losses[1], tx, every=every),
    }
    networks = {
        "generator": jaxgen.Network(generator, jnp.zeros((1, 2)), *inputs),
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, 3)), *inputs),
    }
    params, vars = jaxgen.initialize(networks)(jax.random.key(1))
    return losses, jaxgen.create_state(jax.random.key(2), params, vars, players), jaxgen.make_train_step(players)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("saturating", [True, False])
@pytest.mark.trains
def test_alternating_steps_are_those_written_by_hand(saturating: bool) -> None:
    """Linear players, whose gradients are written out; the generator faces the discriminator that has just moved."""
    loss = adversarial.minimax if saturating else adversarial.non_saturating
    _, state, step = game(loss, optax.sgd(0.1))
    G, D = (jax.tree.map(np.float64, state.params[name]["Dense_0"]) for name in ("generator", "discriminator"))
    for _ in range(3):
        fake = Z @ G["kernel"] + G["bias"]
        on_real, on_fake = (sigmoid((x @ D["kernel"] + D["bias"])[:, 0]) for x in (X, fake))
        # Descent of -log D(x) - log(1 - D(G(z))).
        slope_real, slope_fake = (on_real - 1) / 6, on_fake / 6
        D["kernel"] -= 0.1 * (X.T @ slope_real + fake.T @ slope_fake)[:, None]
        D["bias"] -= 0.1 * (slope_real.sum() + slope_fake.sum())
        on_fake = sigmoid((fake @ D["kernel"] + D["bias"])[:, 0])
        slope = (-on_fake if saturating else on_fake - 1) / 6
        back = slope[:, None] * D["kernel"][:, 0]
        G["kernel"] -= 0.1 * Z.T @ back
        G["bias"] -= 0.1 * back.sum(0)
        state, metrics = step(state, {"x": jnp.array(X)})
    for name, expected in {"generator": G, "discriminator": D}.items():
        found = state.params[name]["Dense_0"]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), dict(found), dict(expected))
    assert {"discriminator/real_probability", "discriminator/fake_probability", "generator/loss"} <= set(metrics)


def test_each_turn_keeps_the_statistics_of_its_own_player() -> None:
    (d_loss, g_loss), state, _ = game(adversarial.hinge, optax.sgd(0.1), normalised=True)
    _, d_aux = d_loss(state.params, state, {"x": jnp.array(X)}, jax.random.key(0), train=True)
    _, g_aux = g_loss(state.params, state, {"x": jnp.array(X)}, jax.random.key(0), train=True)
    assert set(d_aux.vars) == {"discriminator"}
    assert set(g_aux.vars) == {"generator"}

    made = Z @ np.asarray(state.params["generator"]["Dense_0"]["kernel"])
    (means,) = (stats["mean"] for stats in jax.tree.leaves(g_aux.vars, is_leaf=lambda s: isinstance(s, dict) and "mean" in s))
    np.testing.assert_allclose(means, 0.1 * made.mean(0), atol=1e-6)
    # The real batch first, then the samples, as two batches: each by its own mean and not by that of both.
    fake = (made - made.mean(0)) / np.sqrt(made.var(0) + 1e-5)
    (means,) = (stats["mean"] for stats in jax.tree.leaves(d_aux.vars, is_leaf=lambda s: isinstance(s, dict) and "mean" in s))
    np.testing.assert_allclose(means, 0.9 * 0.1 * X.mean(0) + 0.1 * fake.mean(0), atol=1e-6)


def test_real_and_fake_are_normalised_apart() -> None:
    """With batch normalisation, an offset of all data changes nothing that the discriminator sees of a batch of them."""
    (d_loss, _), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), normalised=True)
    values = [
        d_loss(state.params, state, {"x": jnp.array(X + offset)}, jax.random.key(0), train=True)[0] for offset in (0.0, 5.0)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-4)


def test_evaluation_uses_running_statistics_and_changes_none() -> None:
    (d_loss, g_loss), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), normalised=True, latents=2)
    key = jax.random.key(3)
    values, aux = d_loss(state.params, state, {"x": jnp.array(X)}, key, train=False)
    for name, stats in aux.vars.items():
        jax.tree.map(np.testing.assert_array_equal, stats, state.vars[name])
    # One example by itself is judged as it is in its batch.
    real = objectives.apply(Discriminator(True), state.params, state.vars, jnp.array(X[:1]), name="discriminator")[0]
    np.testing.assert_allclose(aux.metrics["real_logit"][0], real[0], rtol=1e-6)
    assert not np.array_equal(values, d_loss(state.params, state, {"x": jnp.array(X)}, jax.random.key(4), train=False)[0])
    assert g_loss(state.params, state, {"x": jnp.array(X)}, key, train=False)[0].shape == (6,)


def test_the_condition_reaches_both_players() -> None:
    (d_loss, g_loss), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), condition="label")
    table = {name: np.asarray(state.params[name]["Embed_0"]["embedding"]) for name in state.params}
    dense = {name: jax.tree.map(np.asarray, state.params[name]["Dense_0"]) for name in state.params}
    label = np.array([0, 1, 2, 3, 3, 0])
    fake = Z @ dense["generator"]["kernel"] + table["generator"][label]
    judged = [((x * table["discriminator"][label]) @ dense["discriminator"]["kernel"])[:, 0] for x in (X, fake)]
    batch = {"x": jnp.array(X), "label": jnp.array(label)}
    values, _ = d_loss(state.params, state, batch, jax.random.key(0), train=True)
    np.testing.assert_allclose(values, judged[1] - judged[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        g_loss(state.params, state, batch, jax.random.key(0), train=True)[0], -judged[1], rtol=1e-4, atol=1e-6
    )


def test_the_penalty_is_added_with_the_step_in_training_and_without_in_evaluation() -> None:
    (d_loss, _), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), penalty=penalty.lazily(penalty.r1(4.0), 2))
    squared = float((state.params["discriminator"]["Dense_0"]["kernel"] ** 2).sum())
    for step, train, factor in [(0, True, 2.0), (1, True, 0.0), (1, False, 1.0)]:
        at = state._replace(step=jnp.int32(step))
        values, aux = d_loss(state.params, at, {"x": jnp.array(X)}, jax.random.key(0), train=train)
        np.testing.assert_allclose(aux.metrics["penalty"], np.full(6, factor * 2 * squared), rtol=1e-5)
        np.testing.assert_allclose(values, -aux.metrics["wasserstein"] + factor * 2 * squared, rtol=1e-5)


def test_the_penalty_is_given_the_critic_the_data_and_the_samples_that_are_judged() -> None:
    def seen(critic: Any, real: Any, fake: Any, key: Any, step: Any) -> Any:
        return critic(real) + 10 * critic(fake) + 100 * (real - fake).sum(1)

    (d_loss, _), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), penalty=seen)
    G, D = (jax.tree.map(np.float64, state.params[name]["Dense_0"]) for name in ("generator", "discriminator"))
    fake = Z @ G["kernel"] + G["bias"]
    on_real, on_fake = ((x @ D["kernel"] + D["bias"])[:, 0] for x in (X, fake))
    _, aux = d_loss(state.params, state, {"x": jnp.array(X)}, jax.random.key(0), train=True)
    expected = on_real + 10 * on_fake + 100 * (X - fake).sum(1)
    np.testing.assert_allclose(aux.metrics["penalty"], expected, rtol=1e-4, atol=1e-4)


def test_a_critic_with_five_steps_to_one() -> None:
    _, state, step = game(adversarial.wasserstein, optax.sgd(0.1), every=5, latents=2)
    moved = []
    for _ in range(10):
        before = state.params
        state, _ = step(state, {"x": jnp.array(X)})
        moved.append([not np.array_equal(before[n]["Dense_0"]["kernel"], state.params[n]["Dense_0"]["kernel"]) for n in before])
    names = list(before)
    assert [m[names.index("discriminator")] for m in moved] == [True] * 10
    assert [i for i, m in enumerate(moved) if m[names.index("generator")]] == [4, 9]


def test_laws_of_z_and_draws_that_differ_between_the_turns() -> None:
    key = jax.random.key(0)
    z = np.asarray(normal_law(3)(key, 4000))
    assert z.mean() == pytest.approx(0, abs=0.05)
    assert z.std() == pytest.approx(1, abs=0.05)
    u = np.asarray(uniform_law(3)(key, 4000))
    assert (np.abs(u) <= 1).all()
    assert u.std() == pytest.approx(np.sqrt(1 / 3), abs=0.02)
    assert np.asarray(uniform_law(3, limit=np.sqrt(3))(key, 4000)).std() == pytest.approx(1, abs=0.02)

    (d_loss, g_loss), state, _ = game(adversarial.wasserstein, optax.sgd(0.1), latents=2)
    step_key, logits = jax.random.fold_in(state.key, 0), []
    for i, loss in enumerate((d_loss, g_loss)):
        values, _ = loss(state.params, state, {"x": jnp.array(0 * X)}, jax.random.fold_in(step_key, i), train=True)
        logits.append(np.abs(values))  # of samples, where the critic's bias is zero, as at the start
    assert np.abs(logits[0] - logits[1]).min() > 1e-6


def test_the_losses_and_penalties_of_maps_are_means_over_them() -> None:
    class OfMaps(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(4, name="Dense_0")(x).reshape(-1, 2, 2, 1)

    generator, discriminator = Generator(), OfMaps()
    d_loss, g_loss = objectives.adversarial(
        generator, discriminator, adversarial.hinge, latents=fixed, feature="x", penalty=penalty.r1(2.0)
    )
    networks = {"generator": jaxgen.Network(generator, jnp.zeros((1, 2))), "discriminator": jaxgen.Network(discriminator, X)}
    params, vars = jaxgen.initialize(networks)(jax.random.key(1))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, vars, {})
    G, D = (jax.tree.map(np.float64, params[name]["Dense_0"]) for name in ("generator", "discriminator"))
    on_real, on_fake = (x @ D["kernel"] + D["bias"] for x in (X, Z @ G["kernel"] + G["bias"]))
    values, aux = d_loss(params, state, {"x": jnp.array(X)}, jax.random.key(0), train=True)
    expected = (np.maximum(1 - on_real, 0) + np.maximum(1 + on_fake, 0)).mean(1)
    slope = D["kernel"].mean(1)
    np.testing.assert_allclose(aux.metrics["penalty"], np.full(6, (slope**2).sum()), rtol=1e-4)
    np.testing.assert_allclose(values, expected + aux.metrics["penalty"], rtol=1e-4)
    values, _ = g_loss(params, state, {"x": jnp.array(X)}, jax.random.key(0), train=True)
    np.testing.assert_allclose(values, -on_fake.mean(1), rtol=1e-4, atol=1e-6)


def test_an_augmentation_is_seen_in_both_turns_and_in_the_penalty_and_not_in_an_evaluation() -> None:
    """A discriminator of the sum, and an augmentation that multiplies by a number of each example and adds 1."""

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return self.param("scale", nn.initializers.ones_init(), ()) * x.sum(-1)

    def augment(key, x):
        return x * keys.draw(jax.random.uniform, key, (len(x), 1)) + 1

    seen = []

    def recorded(critic, real, fake, key, step):
        seen.append(critic(real))
        return penalty.squared_gradient(critic, real)

    game = objectives.adversarial(
        Generator(), Sum(), adversarial.wasserstein, latents=fixed, feature="x", penalty=recorded, augment=augment
    )
    networks = {
        "generator": jaxgen.Network(Generator(), jnp.asarray(Z)),
        "discriminator": jaxgen.Network(Sum(), jnp.asarray(X)),
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(0))
    players = {
        name: jaxgen.Player(loss, optax.sgd(1.0)) for name, loss in zip(("discriminator", "generator"), game, strict=True)
    }
    state = jaxgen.create_state(jax.random.key(0), params, {}, players)
    batch = {"x": jnp.asarray(X)}
    fake = np.asarray(objectives.apply(Generator(), params, {}, jnp.asarray(Z), name="generator")[0])
    for train in (True, False):
        seen.clear()
        _, aux = game[0](params, state, batch, jax.random.key(1), train=train)
        generated, _ = game[1](params, state, batch, jax.random.key(1), train=train)
        real, made = np.asarray(aux.metrics["real_logit"]), np.asarray(aux.metrics["fake_logit"])
        if not train:
            np.testing.assert_allclose(real, X.sum(-1), rtol=1e-5)
            np.testing.assert_allclose(made, fake.sum(-1), rtol=1e-5)
            np.testing.assert_allclose(-generated, made, rtol=1e-5)
            np.testing.assert_allclose(seen[0], real, rtol=1e-5)
            continue
        factors = [(real - 3) / X.sum(-1), (made - 3) / fake.sum(-1), (-np.asarray(generated) - 3) / fake.sum(-1)]
        for factor in factors:
            assert ((factor >= -1e-4) & (factor <= 1.0001)).all()
            assert np.ptp(factor) > 0.1
        assert abs(factors[0] - factors[1]).min() > 1e-4, "data and samples have draws of their own"
        of_penalty = (np.asarray(seen[0]) - 3) / X.sum(-1)
        np.testing.assert_allclose(aux.metrics["penalty"], 3 * of_penalty**2, rtol=1e-3)


def test_an_adaptive_augmentation_has_the_probability_of_the_step_and_keeps_the_signs_of_the_data() -> None:
    """A discriminator of the sum, and a pipe that adds p; of 6 certain examples p grows by 6 of 12, from 0.5 to 1."""

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return self.param("scale", nn.initializers.ones_init(), ()) * x.sum(-1)

    augment = Adaptive(lambda key, x, p: x + p, interval=2, images=12)
    game = objectives.adversarial(Generator(), Sum(), adversarial.wasserstein, latents=fixed, feature="x", augment=augment)
    networks = {
        "generator": jaxgen.Network(Generator(), jnp.asarray(Z)),
        "discriminator": jaxgen.Network(Sum(), jnp.asarray(X)),
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(0))
    before = {"p": jnp.float32(0.5), "signs": jnp.float32(6), "count": jnp.float32(6), "since": jnp.int32(3)}
    state = jaxgen.TrainState(jnp.int32(5), jax.random.key(0), params, {}, {objectives.AUGMENTATION: before}, {})
    fake = np.asarray(objectives.apply(Generator(), params, {}, jnp.asarray(Z), name="generator")[0]).sum(-1)
    mask = jnp.array([1, 1, 1, 1, 1, 0])
    for train in (True, False):
        added = 3.0 if train else 0.0
        _, aux = game[0](params, state, {"x": jnp.asarray(X), "mask": mask}, jax.random.key(1), train=train)
        real = X.sum(-1) + added
        np.testing.assert_allclose(aux.metrics["real_logit"], real, rtol=1e-5)
        np.testing.assert_allclose(aux.metrics["fake_logit"], fake + added, rtol=1e-5)
        np.testing.assert_array_equal(aux.metrics["real_sign"], np.sign(real))
        assert float(aux.metrics["augment_p"]) == 1.0
        kept = jax.tree.map(float, aux.vars[objectives.AUGMENTATION])
        assert kept == {"p": 1.0, "signs": np.sign(real)[:5].sum(), "count": 5.0, "since": 5.0}
        # The generator sees the same p before the discriminator's turn, as in a simultaneous game, and after it.
        for vars in (state.vars, aux.vars):
            values, updates = game[1](params, state._replace(vars=vars), {"x": jnp.asarray(X)}, jax.random.key(1), train=train)
            np.testing.assert_allclose(values, -(fake + added), rtol=1e-5)
            assert not updates.vars
