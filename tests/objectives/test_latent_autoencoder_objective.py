"""The autoencoder's game against formulas written by hand: its terms, and the weight by brute-force differentiation."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import slow
from parameters import filled
from ways import stepper

import jaxgen
from jaxgen import nn as layers
from jaxgen import objectives
from jaxgen.losses import adversarial

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3, 2, 1)).astype(np.float32)
BATCH = {"image": jnp.array(X)}
LAST = ("decoder", "out", "kernel")


class Decoder(nn.Module):
    """A hidden layer, and a last one."""

    @nn.compact
    def __call__(self, z: Any) -> Any:
        return nn.Dense(1, name="out")(jnp.tanh(nn.Dense(4, name="hidden")(z)))


class Autoencoder(nn.Module):
    """A matrix at every pixel; with a key a number of noise for each example. The cost is the sum of squares."""

    def setup(self) -> None:
        self.encoder, self.decoder = nn.Dense(2), Decoder()

    def __call__(self, x: Any) -> Any:
        return self.decode(self.bottleneck(x)[0])

    def bottleneck(self, x: Any, key: Any = None, mask: Any = None, *, train: bool = False) -> Any:
        z = self.encoder(x)
        cost = (z**2).sum((1, 2, 3))
        return z if key is None else z + jax.vmap(jax.random.normal)(key)[:, None, None, None], cost

    def decode(self, z: Any, *, train: bool = False) -> Any:
        return self.decoder(z)


class Discriminator(nn.Module):
    normalised: bool = False

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        h = jnp.tanh(nn.Dense(3)(x))
        if self.normalised:
            h = layers.BatchNorm()(h, train=train)
        return nn.Dense(1, name="head")(h)


MODEL = Autoencoder()


@functools.cache
def begun(normalised: bool) -> Any:
    inputs = jnp.zeros((1, 3, 2, 1))
    made = {"autoencoder": filled(MODEL, inputs), "discriminator": filled(Discriminator(normalised), inputs)}
    params = {name: own["params"] for name, own in made.items()}
    vars = {name: {k: v for k, v in own.items() if k != "params"} for name, own in made.items() if len(own) > 1}
    return jaxgen.TrainState(jnp.int32(5), jax.random.key(2), params, {}, vars, {})


def game(*, normalised: bool = False, **options: Any) -> Any:
    losses = objectives.latent_autoencoder(MODEL, Discriminator(normalised), adversarial.hinge, **options)
    return losses, begun(normalised)


def pieces(params: Any, x: Any, key: Any) -> dict[str, Any]:
    """The terms of each image in training, of a discriminator without normalisation."""
    own = jax.vmap(lambda slot: jax.random.fold_in(jax.random.fold_in(key, slot), 0))(jnp.arange(len(x)))
    own_params = {"params": params["autoencoder"]}
    z, cost = MODEL.apply(own_params, x, own, method="bottleneck")
    made = MODEL.apply(own_params, z, method="decode")
    judge = lambda y: Discriminator().apply({"params": params["discriminator"]}, y)
    return {"made": made, "off": jnp.abs(x - made), "cost": cost, "real": judge(x), "fake": judge(made)}


KEY = jax.random.key(7)


class Vectors(nn.Module):
    """A matrix at every pixel, for a distance that is not of single pixels."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return jnp.sin(nn.Dense(3)(x)).reshape(len(x), -1)


def distance(vectors: Any, x: Any, y: Any) -> Any:
    a, b = (Vectors().apply(vectors, image) for image in (x, y))
    return ((a - b) ** 2).sum(-1)


def by_hand(state: Any, x: Any = BATCH["image"], *, mean: bool = False, vectors: Any = None, weight: float = 0.0) -> float:
    """The weight, by gradients of the two mean losses in all parameters, of which that of the last kernel counts."""

    def of_reconstruction(params: Any) -> Any:
        found = pieces(params, x, KEY)
        seen = 0.0 if vectors is None else weight * distance(vectors, x, found["made"]).mean()
        return seen + (found["off"].mean() if mean else found["off"].sum() / len(x))

    def of_adversary(params: Any) -> Any:
        return -pieces(params, x, KEY)["fake"].mean()

    norms = []
    for function in (of_reconstruction, of_adversary):
        found = jax.grad(function)(state.params)["autoencoder"]
        for name in LAST:
            found = found[name]
        norms.append(float(np.sqrt((np.asarray(found, np.float64) ** 2).sum())))
    return min(norms[0] / (norms[1] + 1e-4), 1e4)


@pytest.mark.parametrize("mean", [False, slow(True)])
def test_the_weight_is_that_of_brute_force(mean: bool) -> None:
    options = {"difference": objectives.mean_difference} if mean else {}
    (loss, _), state = game(**options)
    _, aux = loss(state.params, state, BATCH, KEY, train=True)
    assert aux.metrics["adaptive_weight"].shape == ()
    np.testing.assert_allclose(aux.metrics["adaptive_weight"], by_hand(state, mean=mean), rtol=1e-5)


@pytest.mark.parametrize("start", [slow(0), 5, 6])
def test_the_loss_of_the_autoencoder(start: int) -> None:
    """At step 5: the difference and the cost from the first step on, the adversarial part from step `start` on."""
    (loss, _), state = game(penalty=("cost", 0.3), gan=0.7, start=start)
    values, aux = loss(state.params, state, BATCH, KEY, train=True)
    found, weight = pieces(state.params, BATCH["image"], KEY), by_hand(state)
    off, adversary = found["off"].sum((1, 2, 3)), -found["fake"].mean((1, 2, 3))
    expected = off + 0.3 * found["cost"] + (0.7 * weight * adversary if start <= 5 else 0.0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["reconstruction"], off, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["cost"], found["cost"], rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["mse"], ((BATCH["image"] - found["made"]) ** 2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["adversarial"], adversary, rtol=1e-5)


def test_a_network_compares_images_and_the_adaptive_weight_follows_it_too() -> None:
    vectors = filled(Vectors(), jnp.zeros((1, 3, 2, 1)))
    (loss, _), state = game(penalty=("cost", 0.3), gan=0.7, perceptual=(Vectors(), 5.0))
    state = state._replace(params={**state.params, "lpips": vectors["params"]})
    values, aux = loss(state.params, state, BATCH, KEY, train=True)
    found, weight = pieces(state.params, BATCH["image"], KEY), by_hand(state, vectors=vectors, weight=5.0)
    seen = distance(vectors, BATCH["image"], found["made"])
    np.testing.assert_allclose(aux.metrics["lpips"], seen, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["adaptive_weight"], weight, rtol=1e-5)
    assert not np.allclose(weight, by_hand(state), rtol=1e-2)
    off, adversary = found["off"].sum((1, 2, 3)), -found["fake"].mean((1, 2, 3))
    np.testing.assert_allclose(aux.metrics["reconstruction"], off, rtol=1e-5)
    np.testing.assert_allclose(values, off + 5 * seen + 0.3 * found["cost"] + 0.7 * weight * adversary, rtol=1e-5)


def test_the_weight_is_a_constant_of_the_gradient() -> None:
    (loss, _), state = game(penalty=("cost", 0.3), gan=0.7)
    weight = by_hand(state)

    def expected(params: Any) -> Any:
        found = pieces(params, BATCH["image"], KEY)
        return found["off"].sum() / 8 + 0.3 * found["cost"].mean() - 0.7 * weight * found["fake"].mean()

    whole = jax.grad(lambda params: loss(params, state, BATCH, KEY, train=True)[0].mean())(state.params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, whole["autoencoder"], jax.grad(expected)(state.params)["autoencoder"])


def test_going_back_for_the_weight_takes_the_last_layer_alone() -> None:
    """The hidden layer has a gradient that raises: the loss itself does not need it."""

    @jax.custom_vjp
    def dead_end(x: Any) -> Any:
        return x

    def refuse(_: Any, g: Any) -> Any:
        raise AssertionError("the whole decoder is differentiated")

    dead_end.defvjp(lambda x: (x, None), refuse)

    class Guarded(Autoencoder):
        def decode(self, z: Any, *, train: bool = False) -> Any:
            return self.decoder(dead_end(z))

    (loss, _) = objectives.latent_autoencoder(Guarded(), Discriminator(), adversarial.hinge)
    _, state = game()
    loss(state.params, state, BATCH, KEY, train=True)
    with pytest.raises(AssertionError, match="whole decoder"):
        jax.grad(lambda params: loss(params, state, BATCH, KEY, train=True)[0].mean())(state.params)


@pytest.mark.parametrize("scale", [0.0, slow(1e-9)])
def test_the_weight_is_at_most_ten_thousand(scale: float) -> None:
    (loss, _), state = game()
    flat = jax.tree.map(lambda x: scale * x, state.params["discriminator"])
    params = {**state.params, "discriminator": flat}
    # A hundred times the pixels, so that the gradient of the reconstruction is more than one.
    values, aux = loss(params, state, {"image": 100 * BATCH["image"]}, KEY, train=True)
    assert aux.metrics["adaptive_weight"] == 1e4
    assert np.isfinite(values).all()
    assert objectives.adaptive_weight(jnp.zeros(3), jnp.zeros(3)) == 0


def test_examples_that_fill_the_batch_up_have_no_part_in_the_weight() -> None:
    (loss, _), state = game()
    five = BATCH["image"][:5]
    filled = {"image": jnp.concatenate([five, jnp.full((3, 3, 2, 1), 50.0)]), "mask": jnp.array([1] * 5 + [0] * 3)}
    _, aux = loss(state.params, state, filled, KEY, train=True)
    np.testing.assert_allclose(aux.metrics["adaptive_weight"], by_hand(state, five), rtol=1e-5)


def test_an_evaluation_takes_the_means_and_has_no_adversarial_part() -> None:
    (loss, _), state = game(penalty=("cost", 0.3))
    values, aux = loss(state.params, state, BATCH, KEY, train=False)
    own = {"params": state.params["autoencoder"]}
    z, cost = MODEL.apply(own, BATCH["image"], method="bottleneck")
    off = jnp.abs(BATCH["image"] - MODEL.apply(own, z, method="decode")).sum((1, 2, 3))
    np.testing.assert_allclose(values, off + 0.3 * cost, rtol=1e-5)
    assert set(aux.metrics) == {"reconstruction", "cost", "mse"}


def test_without_an_adversarial_weight_the_autoencoder_does_not_see_the_discriminator() -> None:
    (loss, _), state = game(gan=0.0)
    alone = {"autoencoder": state.params["autoencoder"]}
    _, aux = loss(alone, state._replace(params=alone, vars={}), BATCH, KEY, train=True)
    assert set(aux.metrics) == {"reconstruction", "kl", "mse"}


@pytest.mark.parametrize("train", [True, False])
def test_the_discriminator_descends_half_of_the_hinge_loss(train: bool) -> None:
    (_, loss), state = game()
    values, aux = loss(state.params, state, BATCH, KEY, train=train)
    if train:
        found = pieces(state.params, BATCH["image"], KEY)
    else:
        made = MODEL.apply({"params": state.params["autoencoder"]}, BATCH["image"])
        judge = lambda y: Discriminator().apply({"params": state.params["discriminator"]}, y)
        found = {"real": judge(BATCH["image"]), "fake": judge(made)}
    real, fake = np.asarray(found["real"]), np.asarray(found["fake"])
    expected = (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake)).mean((1, 2, 3)) / 2
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["real_logit"], real.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(aux.metrics["fake_logit"], fake.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_each_turn_keeps_the_statistics_of_its_own_player() -> None:
    (first, second), state = game(normalised=True)
    assert not first(state.params, state, BATCH, KEY, train=True)[1].vars
    assert set(second(state.params, state, BATCH, KEY, train=True)[1].vars) == {"discriminator"}


def test_the_noise_belongs_to_the_examples() -> None:
    (loss, _), state = game(gan=0.0)
    whole = loss(state.params, state, {**BATCH, "slot": jnp.arange(8)}, KEY, train=True)[0]
    part = loss(state.params, state, {"image": BATCH["image"][2:5], "slot": jnp.arange(2, 5)}, KEY, train=True)[0]
    np.testing.assert_allclose(part, whole[2:5], rtol=1e-5)
    assert np.abs(whole - loss(state.params, state, BATCH, KEY, train=False)[0]).max() > 0.01


@pytest.mark.parametrize("way", [slow("mesh"), "pmap"])
def test_the_weight_is_that_of_the_global_batch(way: str) -> None:
    losses, state = game()
    players = {
        name: jaxgen.Player(loss, optax.sgd(0.1)) for name, loss in zip(("autoencoder", "discriminator"), losses, strict=True)
    }
    one, other = (stepper(players, w, BATCH, params=state.params)(BATCH)[:2] for w in ("one", way))
    assert one[1]["autoencoder/adaptive_weight"] > 0.1
    for name, value in one[1].items():
        np.testing.assert_allclose(other[1][name], value, rtol=1e-4)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, other[0].params, one[0].params)
