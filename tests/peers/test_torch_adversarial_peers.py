"""Adversarial losses and penalties against PyTorch, with the gradients of the penalties in the critic's parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses import adversarial, penalty

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
PARAMS = {
    "first": {"kernel": RNG.normal(size=(5, 8)).astype(np.float32), "bias": RNG.normal(size=8).astype(np.float32)},
    "last": {"kernel": RNG.normal(size=(8, 1)).astype(np.float32), "bias": RNG.normal(size=1).astype(np.float32)},
}


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="last")(nn.tanh(nn.Dense(8, name="first")(x)))[:, 0]


def peer():
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    with torch.no_grad():
        for layer, name in ((net[0], "first"), (net[2], "last")):
            layer.weight.copy_(torch.tensor(PARAMS[name]["kernel"].T))
            layer.bias.copy_(torch.tensor(PARAMS[name]["bias"]))
    return net


def at(net, x):
    x = x.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return slope.flatten(1)


KEY = jax.random.key(3)
PEERS = {
    "gp": (
        penalty.gradient_penalty(10.0),
        lambda net, real, fake, u: 10 * (at(net, u * real + (1 - u) * fake).norm(2, dim=1) - 1) ** 2,
    ),
    "r1": (penalty.r1(4.0), lambda net, real, fake, u: 2 * at(net, real).pow(2).sum(1)),
    "r2": (penalty.r2(4.0), lambda net, real, fake, u: 2 * at(net, fake).pow(2).sum(1)),
}


@pytest.mark.parametrize("name", PEERS)
def test_penalties_and_their_gradients(name: str) -> None:
    ours, theirs = PEERS[name]

    def mean(params):
        values = ours(lambda x: Critic().apply({"params": params}, x), jnp.array(REAL), jnp.array(FAKE), KEY, None)
        return values.mean(), values

    (_, values), grads = jax.value_and_grad(mean, has_aux=True)(jax.tree.map(jnp.array, PARAMS))
    net = peer()
    u = torch.tensor(np.array(jax.random.uniform(KEY, (6, 1))))
    expected = theirs(net, torch.tensor(REAL), torch.tensor(FAKE), u)
    expected.mean().backward()
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=1e-4)
    np.testing.assert_allclose(grads["first"]["kernel"], net[0].weight.grad.T.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(grads["first"]["bias"], net[0].bias.grad.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(grads["last"]["kernel"], net[2].weight.grad.T.numpy(), rtol=1e-3, atol=1e-5)


def test_cross_entropy_and_hinge() -> None:
    real, fake = torch.tensor(REAL[:, 0] * 3), torch.tensor(FAKE[:, 0] * 3)
    ours = [jnp.array(t.numpy()) for t in (real, fake)]
    bce = torch.nn.BCEWithLogitsLoss(reduction="none")

    def entropy(x, y):
        return bce(x, y).numpy()

    expected = entropy(real, torch.ones(6)) + entropy(fake, torch.zeros(6))
    np.testing.assert_allclose(adversarial.non_saturating.discriminator(*ours), expected, rtol=1e-5)
    np.testing.assert_allclose(adversarial.non_saturating.generator(ours[1]), entropy(fake, torch.ones(6)), rtol=1e-5)
    np.testing.assert_allclose(adversarial.minimax.generator(ours[1]), -entropy(fake, torch.zeros(6)), rtol=1e-5)
    hinge = (torch.nn.functional.relu(1 - real) + torch.nn.functional.relu(1 + fake)).numpy()
    np.testing.assert_allclose(adversarial.hinge.discriminator(*ours), hinge, rtol=1e-5)


def test_least_squares_of_maps() -> None:
    real, fake = (torch.tensor(RNG.normal(size=(4, 3, 2, 1)), dtype=torch.float32) for _ in range(2))
    mse = torch.nn.MSELoss()
    loss = adversarial.over_maps(adversarial.least_squares())
    ours = [jnp.array(t.numpy()) for t in (real, fake)]
    expected = mse(real, torch.ones_like(real)) + mse(fake, torch.zeros_like(fake))
    np.testing.assert_allclose(loss.discriminator(*ours).mean(), expected.item(), rtol=1e-5)
    np.testing.assert_allclose(loss.generator(ours[1]).mean(), mse(fake, torch.ones_like(fake)).item(), rtol=1e-5)
