"""The game of SPADE against losses written by hand: its sizes, its maps, its styles and its variables."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

import jaxgen
from jaxgen import nn as layers
from jaxgen import objectives
from jaxgen.distributions import Normal
from jaxgen.losses import adversarial

M, X = np.asarray(normal(5, 4, 3, 2)), np.asarray(normal(5, 4, 3, 1, seed=1))
BATCH = {"segmentation": jnp.array(M), "image": jnp.array(X)}


class Generator(nn.Module):
    """A matrix at every pixel, and a number of the style for each example."""

    @nn.compact
    def __call__(self, m: Any, z: Any = None, *, train: bool = False) -> Any:
        h = layers.BatchNorm()(nn.Dense(1, name="matrix")(m), train=train)
        return h if z is None else h + z[:, None, None, :1]


class Discriminator(nn.Module):
    """Two sizes of two layers each."""

    @nn.compact
    def maps(self, x: Any, *, train: bool = False) -> Any:
        x = layers.BatchNorm()(x, train=train)
        sizes = []
        for i in range(2):
            h = nn.Dense(2, name=f"first{i}")(x[:, :: i + 1])
            sizes.append((h, nn.Dense(3, name=f"second{i}")(h), nn.Dense(1, name=f"logits{i}")(h)))
        return tuple(sizes)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Normal:
        h = layers.BatchNorm()(x.reshape(len(x), -1), train=train)
        mean, std = nn.Dense(2, name="mean")(h), nn.Dense(2, name="std")(h)
        return Normal(mean, jnp.exp(std))


def game(*, style: bool = False, loss: Any = adversarial.hinge, **options: Any) -> Any:
    modules = {"generator": Generator(), "discriminator": Discriminator(), "encoder": Encoder()}
    losses = objectives.semantic_synthesis(
        modules["generator"], modules["discriminator"], loss, encoder=modules["encoder"] if style else None, **options
    )
    inputs = {"generator": (BATCH["segmentation"], *([jnp.ones((5, 2))] * style)), "encoder": (BATCH["image"],)}
    inputs["discriminator"] = (jnp.zeros((5, 4, 3, 3)),)
    method = {"discriminator": "maps"}
    made = {n: m.init(jax.random.key(i), *inputs[n], method=method.get(n)) for i, (n, m) in enumerate(modules.items())}
    params = {n: dict(v["params"]) for n, v in made.items()}
    vars = {n: {"batch_stats": v["batch_stats"]} for n, v in made.items()}
    return losses, jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, vars, {})


def dense(state: Any, network: str, layer: str, x: Any) -> np.ndarray:
    own = state.params[network][layer]
    return np.asarray(x) @ np.asarray(own["kernel"]) + np.asarray(own["bias"])


def maps(state: Any, m: Any, x: Any) -> list[list[np.ndarray]]:
    pair, found = np.concatenate([m, x], -1) / np.sqrt(1 + 1e-5), []
    for i in range(2):
        h = dense(state, "discriminator", f"first{i}", pair[:, :: i + 1])
        found.append([h, *(dense(state, "discriminator", f"{n}{i}", h) for n in ("second", "logits"))])
    return found


def mean(a: Any) -> np.ndarray:
    return np.asarray(a).mean((1, 2, 3))


@pytest.mark.parametrize("weights", [{}, {"matching": 3.0}])
def test_the_losses_of_both_players(weights: Any) -> None:
    """Means over two sizes; maps of all layers but the logits; the whole loss of the discriminator."""
    (g_loss, d_loss), state = game(**weights)
    fake = dense(state, "generator", "matrix", M) / np.sqrt(1 + 1e-5)
    on_fake, on_real = maps(state, M, fake), maps(state, M, X)
    adversarially = sum(-mean(size[-1]) for size in on_fake) / 2
    matched = (
        sum(mean(abs(a - b)) for f, r in zip(on_fake, on_real, strict=True) for a, b in zip(f[:-1], r[:-1], strict=True)) / 2
    )
    values, aux = g_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(aux.metrics["adversarial"], adversarially, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(aux.metrics["matching"], matched, rtol=1e-4)
    np.testing.assert_allclose(values, adversarially + weights.get("matching", 10.0) * matched, rtol=1e-4)
    relu = lambda a: np.maximum(a, 0)
    expected = sum(mean(relu(1 - r[-1])) + mean(relu(1 + f[-1])) for r, f in zip(on_real, on_fake, strict=True)) / 2
    values, aux = d_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["real_logit"], sum(mean(r[-1]) for r in on_real) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(aux.metrics["fake_logit"], -adversarially, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_style_is_drawn_of_the_image_that_is_made() -> None:
    (g_loss, _), state = game(style=True, kl=2.0, matching=0.0)
    flat = X.reshape(5, -1) / np.sqrt(1 + 1e-5)
    centre, spread = dense(state, "encoder", "mean", flat), dense(state, "encoder", "std", flat)
    divergence = (np.exp(2 * spread) + centre**2 - 1 - 2 * spread).sum(-1) / 2
    values, aux = g_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(aux.metrics["kl"], divergence, rtol=1e-4)
    np.testing.assert_allclose(values - aux.metrics["adversarial"], 2 * divergence, rtol=1e-4)
    # Each example draws with its own key, and differently with another.
    part = {**{name: a[1:3] for name, a in BATCH.items()}, "slot": jnp.arange(1, 3)}
    whole = g_loss(state.params, state, {**BATCH, "slot": jnp.arange(5)}, jax.random.key(0), train=False)[0]
    np.testing.assert_allclose(g_loss(state.params, state, part, jax.random.key(0), train=False)[0], whole[1:3], rtol=1e-4)
    other = g_loss(state.params, state, {**BATCH, "slot": jnp.arange(5)}, jax.random.key(9), train=False)[0]
    assert np.abs(other - whole).max() > 1e-3
    gradient = jax.grad(lambda p: g_loss(p, state, BATCH, jax.random.key(0), train=True)[0].mean())(state.params)
    assert np.abs(gradient["encoder"]["mean"]["kernel"]).max() > 0


def test_each_turn_keeps_the_variables_of_its_own_player() -> None:
    for style, owned in ((False, {"generator"}), (True, {"generator", "encoder"})):
        losses, state = game(style=style)
        for loss, names in zip(losses, (owned, {"discriminator"}), strict=True):
            updates = loss(state.params, state, BATCH, jax.random.key(0), train=True)[1].vars
            changed = {n for n in updates if not all(map(np.array_equal, *map(jax.tree.leaves, (updates[n], state.vars[n]))))}
            assert changed == names
            assert set(updates) - names <= {"encoder"}


def test_no_gradient_goes_to_the_maps_of_real_images() -> None:
    """Where only maps are compared, the discriminator's kernel is moved by the made images' maps alone."""
    (g_loss, _), state = game(matching=1.0)
    weight = lambda real: real * jnp.ones((5, 4, 3, 1))

    def loss(x: Any) -> Any:
        return g_loss(state.params, state, {**BATCH, "image": x}, jax.random.key(0), train=False)[1].metrics["matching"].sum()

    assert not np.asarray(jax.grad(loss)(weight(2.0))).any()


class Powers(nn.Module):
    """Two maps: images by a parameter, and their squares."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return [self.param("factor", nn.initializers.ones, ()) * x / 3, x**2]


def test_a_network_that_images_are_compared_by() -> None:
    network = objectives.Perceptual(Powers(), (0.5, 2.0), 3.0, "powers")
    (g_loss, _), state = game(perceptual=network, matching=0.0)
    state = state._replace(params={**state.params, "powers": {"factor": jnp.float32(3.0)}})
    fake = dense(state, "generator", "matrix", M) / np.sqrt(1 + 1e-5)
    expected = 0.5 * mean(abs(fake - X)) + 2 * mean(abs(fake**2 - X**2))
    values, aux = g_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(aux.metrics["perceptual"], expected, rtol=1e-4)
    np.testing.assert_allclose(values - aux.metrics["adversarial"], 3 * expected, rtol=1e-4)
