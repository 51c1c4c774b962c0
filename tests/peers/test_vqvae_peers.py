"""The VQ-VAE's networks against the same ones in PyTorch, and its loss with its gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.game import TrainState
from jaxgen.models.vqvae import VQVAE, Decoder, Encoder
from jaxgen.nn import VectorQuantiser
from jaxgen.objectives import vector_quantisation

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.peers

X = 0.5 * normal(3, 16, 16, 3)


class Stack(nn.Module):
    def __init__(self, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        self.conv3 = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for _ in range(blocks))
        self.conv1 = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in range(blocks))

    def forward(self, h):
        for conv3, conv1 in zip(self.conv3, self.conv1, strict=True):
            h = h + conv1(F.relu(conv3(F.relu(h))))
        return F.relu(h)


def encoder(channels: tuple[int, ...], blocks: int, width: int):
    ends = zip((3, *channels[:-1]), channels, strict=True)
    halving = [layer for a, b in ends for layer in (nn.Conv2d(a, b, 4, 2, padding=1), nn.ReLU())]
    return nn.Sequential(
        *halving, nn.Conv2d(channels[-1], channels[-1], 3, padding=1), nn.ReLU(), Stack(channels[-1], blocks, width)
    )


def decoder(channels: tuple[int, ...], blocks: int, width: int, features: int):
    ends = list(zip(channels, (*channels[1:], 3), strict=True))
    doubling = [layer for a, b in ends for layer in (nn.ConvTranspose2d(a, b, 4, 2, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(features, channels[0], 3, padding=1), Stack(channels[0], blocks, width), *doubling[:-1])


def layers(params: Any, names: list[str]) -> list[Any]:
    stack = params["stack"]
    count = len(stack) // 2
    own = {"stack": [*(stack[f"conv3_{i}"] for i in range(count)), *(stack[f"conv1_{i}"] for i in range(count))]}
    return [layer for name in names for layer in own.get(name, [params.get(name)])]


def pairs(params: Any, theirs: Any, names: list[str]) -> list[tuple[Any, Any]]:
    """Our layers beside PyTorch's, in their order."""
    modules = [m for m in theirs.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return list(zip(layers(params, names), modules, strict=True))


def kernel(a: Any, transposed: bool) -> np.ndarray:
    """`[h, w, in, out]` in PyTorch's order, which puts the inputs of a transposed convolution first."""
    return np.asarray(a).transpose(2, 3, 0, 1) if transposed else np.asarray(a).transpose(3, 2, 0, 1)


def copy(found: list[tuple[Any, Any]]) -> None:
    for ours, theirs in found:
        transposed = isinstance(theirs, nn.ConvTranspose2d)
        theirs.weight.data = torch.from_numpy(kernel(ours["kernel"], transposed).copy())
        theirs.bias.data = torch.from_numpy(np.array(ours["bias"]))


def nchw(a: Any):
    return torch.from_numpy(np.array(a).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("channels", [(6,), (4, 6), (4, 6, 8)], ids=str)
def test_images_loss_and_gradients_are_those_of_pytorch(channels: tuple[int, ...]) -> None:
    blocks, width, k, d, variance = 2, 5, 9, 4, 0.06
    model = VQVAE(
        Encoder(channels, blocks, width), Decoder((16, 16, 3), channels[::-1], blocks, width), VectorQuantiser(k, d, 0.25)
    )
    params = filled(model, X)["params"]
    # Vectors that the encoder makes of the images, so that many codes are chosen.
    z = jax.jit(lambda v: model.bind(v).head(model.bind(v).encoder(X)))({"params": params}).reshape(-1, d)
    params = {**params, "quantiser": {"codebook": z[:: len(z) // k][:k]}}
    loss = vector_quantisation(model, data_variance=variance)

    def ours(params: Any) -> Any:
        state = TrainState(jnp.array(0), jax.random.key(0), {"model": params}, {}, {}, {})
        values, aux = loss(state.params, state, {"image": X}, jax.random.key(0), train=True)
        return values.mean(), aux.metrics

    (value, metrics), grads = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    images, quantised = jax.jit(model.apply)({"params": params}, X)

    coder, decoding = encoder(channels, blocks, width), decoder(channels[::-1], blocks, width, d)
    head, book = nn.Conv2d(channels[-1], d, 1), nn.Parameter(torch.from_numpy(np.array(params["quantiser"]["codebook"])))
    down = [*(f"down{i}" for i in range(len(channels))), "last", "stack"]
    up = ["first", "stack", *(f"up{i}" for i in range(len(channels)))]
    copy([*pairs(params["encoder"], coder, down), *pairs(params["decoder"], decoding, up), (params["head"], head)])
    z = head(coder(nchw(X))).permute(0, 2, 3, 1)
    codes = ((z.reshape(-1, 1, d) - book) ** 2).sum(-1).argmin(1).reshape(z.shape[:-1])
    e = book[codes]
    decoded = decoding((z + (e - z).detach()).permute(0, 3, 1, 2))
    theirs = F.mse_loss(decoded, nchw(X)) / variance + F.mse_loss(e, z.detach()) + 0.25 * F.mse_loss(z, e.detach())
    theirs.backward()

    assert len(np.unique(codes)) > 2
    np.testing.assert_array_equal(quantised.codes, codes)
    np.testing.assert_allclose(images, decoded.detach().permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(value, theirs.detach(), rtol=1e-5)
    np.testing.assert_allclose(metrics["normalised_mse"].mean() * variance, F.mse_loss(decoded, nchw(X)).detach(), rtol=1e-5)
    np.testing.assert_allclose(grads["quantiser"]["codebook"], book.grad, rtol=1e-4, atol=1e-6)
    found = [*pairs(grads["encoder"], coder, down), *pairs(grads["decoder"], decoding, up), (grads["head"], head)]
    for own, other in found:
        transposed = isinstance(other, nn.ConvTranspose2d)
        scale = float(other.weight.grad.abs().max())
        np.testing.assert_allclose(kernel(own["kernel"], transposed), other.weight.grad, rtol=1e-3, atol=1e-4 * scale)
        np.testing.assert_allclose(own["bias"], other.bias.grad, rtol=1e-3, atol=1e-4 * scale)


def test_the_default_networks_have_the_number_of_parameters_of_the_notebook() -> None:
    model = VQVAE(Encoder(), Decoder((32, 32, 3)), VectorQuantiser(512, 64))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    theirs = [encoder((64, 128), 2, 32), nn.Conv2d(128, 64, 1), decoder((128, 64), 2, 32, 64)]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 512 * 64 + sum(
        parameter.numel() for module in theirs for parameter in module.parameters()
    )
