"""The two losses of VEEGAN against PyTorch-like sums in numpy, the density of scipy, and the ratio that a best D estimates."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxgen
from jaxgen import keys, objectives

L, E, D, N = 3, 2, 2, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
BATCH = {"point": jnp.array(X), "slot": jnp.arange(N)}
SIZES = {"generator": (L, D), "reconstructor": (D + E, L), "discriminator": (L + D, 1)}


class Linear(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        y = nn.Dense(self.outputs)(x)
        return y[:, 0] if self.outputs == 1 else y


def game() -> Any:
    modules = {name: Linear(n) for name, (_, n) in SIZES.items()}
    losses = objectives.veegan(*modules.values(), latents=L, noise=E, feature="point")
    networks = {name: jaxgen.Network(modules[name], jnp.zeros((1, n))) for name, (n, _) in SIZES.items()}
    params, _ = jaxgen.initialize(networks)(jax.random.key(1))
    return losses, jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, {}, {})


def by(state: Any, name: str, *parts: np.ndarray) -> np.ndarray:
    own = state.params[name]["Dense_0"]
    return np.concatenate(parts, -1).astype(np.float64) @ np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"])


def drawn(key: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, the noise of F, and that of its sample."""
    own = keys.per_example(key, BATCH)
    return tuple(
        np.array([jax.random.normal(jax.random.fold_in(k, i), (n,)) for k in own]) for i, n in ((0, L), (1, E), (2, L))
    )


@pytest.mark.parametrize("train", [True, False])
def test_both_losses(train: bool) -> None:
    """D: a generated pair counts as true. G and F: the logit as it is, and the density of z under N(F(G(z)), I)."""
    (d_loss, g_loss), state = game()
    key = jax.random.key(5)
    z, noise, sampled = drawn(key)
    made = by(state, "generator", z)
    on_made = by(state, "discriminator", z, made)[:, 0]
    on_data = by(state, "discriminator", by(state, "reconstructor", X, noise) + sampled, X)[:, 0]
    values, aux = d_loss(state.params, state, BATCH, key, train=train)
    np.testing.assert_allclose(values, -np.log(1 / (1 + np.exp(-on_made))) - np.log(1 - 1 / (1 + np.exp(-on_data))), rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["generated_probability"], 1 / (1 + np.exp(-on_made)), rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["reconstructed_probability"], 1 / (1 + np.exp(-on_data)), rtol=1e-4)
    mean = by(state, "reconstructor", made, noise)
    density = np.array([stats.multivariate_normal(m).logpdf(one) for m, one in zip(mean, z, strict=True)])
    values, aux = g_loss(state.params, state, BATCH, key, train=train)
    np.testing.assert_allclose(aux.metrics["reconstruction"], -density, rtol=1e-4)
    np.testing.assert_allclose(values, on_made - density, rtol=1e-4)


def test_noise_is_normal_and_belongs_to_the_examples() -> None:
    (d_loss, g_loss), state = game()
    z = np.concatenate([np.concatenate(drawn(jax.random.key(i)), -1).ravel() for i in range(60)])
    assert stats.kstest(z, "norm").pvalue > 0.01
    part = {name: a[2:4] for name, a in BATCH.items()}
    for loss in (d_loss, g_loss):
        whole, some = (loss(state.params, state, b, jax.random.key(4), train=True)[0] for b in (BATCH, part))
        np.testing.assert_allclose(some, whole[2:4], rtol=1e-5)


def test_players_that_move_at_once_move_by_the_gradients_of_their_own_losses() -> None:
    """F moves by the reconstruction alone: what D says of the data's pairs moves D and nothing else."""
    (d_loss, g_loss), state = game()
    joint = objectives.simultaneous(
        {"discriminator": d_loss, "generator": g_loss}, owns={"generator": ("generator", "reconstructor")}
    )
    player = jaxgen.Player(joint, optax.sgd(0.1))
    start = jaxgen.create_state(jax.random.key(0), {"game": state.params}, {}, {"game": player})
    after, _ = jax.jit(jaxgen.make_train_step({"game": player}))(start, BATCH)
    key = jax.random.fold_in(jax.random.fold_in(start.key, 0), 0)
    for name, loss in (("discriminator", d_loss), ("generator", g_loss), ("reconstructor", g_loss)):
        mean = lambda own, loss=loss, name=name: loss({**state.params, name: own}, state, BATCH, key, train=True)[0].mean()
        gradient = jax.grad(mean)(state.params[name])
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params[name], gradient)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params["game"][name], expected)


def test_a_best_discriminator_estimates_the_ratio_of_the_two_laws() -> None:
    """For a fixed G of z + 1 and F of x in one dimension: log of N(z; 0, 1) [x = z + 1] against N(z; x, 1) p(x), by its slope.

    With p(x) = N(1, 2) a pair of the data is (x + n, x), so in the variable u = x - z the laws are a point and N(0, 1). Noise
    of 0.5 on G's output makes both normal, and their log ratio is a square that a model with features (1, u^2, u) can have.
    """

    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, z: Any, *, train: bool = False) -> Any:
            return z[:, :1] + 1 + 0.5 * z[:, 1:]

    class Inverse(nn.Module):
        @nn.compact
        def __call__(self, x: Any, *, train: bool = False) -> Any:
            return jnp.concatenate([x[:, :1], 0 * x[:, :1]], axis=-1)

    class Quadratic(nn.Module):
        @nn.compact
        def __call__(self, pair: Any, *, train: bool = False) -> Any:
            u = pair[:, 2:] - pair[:, :1]
            return nn.Dense(1)(jnp.concatenate([u, u**2], axis=-1))[:, 0]

    d_loss, _ = objectives.veegan(Noisy(), Inverse(), Quadratic(), latents=2, noise=1, feature="point")
    n = 60_000
    x = 1 + np.sqrt(2) * np.random.default_rng(0).normal(size=(n, 1))
    batch = {"point": jnp.asarray(x, jnp.float32), "slot": jnp.arange(n)}
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {}, {}, {}, {})

    @jax.jit
    def loss(flat: Any) -> Any:
        dense = {"Dense_0": {"kernel": flat[:2, None], "bias": flat[2:]}}
        params = {"generator": {}, "reconstructor": {}, "discriminator": dense}
        return d_loss(params, state, batch, jax.random.key(1), train=True)[0].mean()

    flat = jnp.zeros(3)
    for _ in range(12):  # Newton's steps
        flat = flat - jnp.linalg.solve(jax.hessian(loss)(flat), jax.grad(loss)(flat))
    generated, data = stats.norm(1, 0.5), stats.norm(0, 1)
    u = np.array([0.0, 0.5, 1.5])
    expected = generated.logpdf(u) - data.logpdf(u)
    np.testing.assert_allclose(np.stack([u, u**2, np.ones(3)], -1) @ np.asarray(flat, np.float64), expected, atol=0.06)
