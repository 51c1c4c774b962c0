"""Style transfer against the code by naoto0804 (github.com/naoto0804/pytorch-AdaIN), whose random weights ours take.

JAXGEN_ADAIN=/path/of/a/checkout pytest -m peers tests/peers/test_adain_peers.py

Theirs divides variances by n - 1, and the authors' own code by n, as ours does: here theirs divides by n too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import authors

import jaxgen
from jaxgen import objectives
from jaxgen.models.translation import TransferDecoder, TransferEncoder
from jaxgen.models.translation.vgg_weights import from_torch

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers

net, function = authors.adain()
RNG = np.random.default_rng(0)
CONTENT, STYLE = (RNG.uniform(size=(2, 32, 48, 3)).astype(np.float32) for _ in range(2))
MIRROR = ("conv3_0", *(f"conv2_{j}" for j in range(4)), "conv1_0", "conv1_1", "conv0_0", "conv0_1")


def biased(maps: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    return maps.mean((2, 3), keepdim=True), (maps.var((2, 3), keepdim=True, unbiased=False) + eps).sqrt()


@pytest.fixture(scope="module")
def both() -> tuple[Any, dict[str, Any]]:
    """Their network, and the parameters of ours."""
    torch.manual_seed(0)
    net.calc_mean_std = function.calc_mean_std = biased
    theirs = net.Net(torch.nn.Sequential(*list(net.vgg.children())[:31]), net.decoder)
    tensors = {key: value.numpy() for key, value in net.vgg.state_dict().items()}
    layers = [layer for layer in net.decoder if isinstance(layer, torch.nn.Conv2d)]
    decoder = {
        name: {"kernel": layer.weight.detach().numpy().transpose(2, 3, 1, 0), "bias": layer.bias.detach().numpy()}
        for name, layer in zip(MIRROR, layers, strict=True)
    }
    return theirs, {
        "encoder": from_torch(tensors, TransferEncoder(recoloured=True)),
        "decoder": jax.tree.map(jnp.asarray, decoder),
    }


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def losses() -> objectives.StyleLosses:
    return objectives.style_transfer(TransferEncoder(recoloured=True), TransferDecoder())


def test_maps(both: Any) -> None:
    theirs, params = both
    ours = TransferEncoder(recoloured=True).apply({"params": params["encoder"]}, jnp.asarray(CONTENT))
    for a, b in zip(ours, theirs.encode_with_intermediate(tensor(CONTENT)), strict=True):
        expected = b.detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(a, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_images(both: Any, alpha: float) -> None:
    theirs, params = both
    c, s = theirs.encode(tensor(CONTENT)), theirs.encode(tensor(STYLE))
    expected = theirs.decoder(alpha * function.adaptive_instance_normalization(c, s) + (1 - alpha) * c)
    expected = expected.detach().numpy().transpose(0, 2, 3, 1)
    ours = losses().transfer(params, jnp.asarray(CONTENT), jnp.asarray(STYLE), alpha)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_losses_and_the_gradient_of_the_decoder(both: Any) -> None:
    theirs, params = both
    theirs.zero_grad()
    content, style = theirs(tensor(CONTENT), tensor(STYLE))
    (content + 10 * style).backward()
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    batch = {"a": {"image": jnp.asarray(CONTENT)}, "b": {"image": jnp.asarray(STYLE)}}

    def loss(decoder: Any) -> Any:
        values, aux = losses().decoder({**params, "decoder": decoder}, state, batch, jax.random.key(0), train=True)
        return values.mean(), dict(aux.metrics)

    (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params["decoder"])
    assert float(metrics["content"].mean()) == pytest.approx(content.item(), rel=1e-4)
    assert float(metrics["style"].mean()) == pytest.approx(style.item(), rel=1e-4)
    for name, layer in zip(MIRROR, (m for m in theirs.decoder if isinstance(m, torch.nn.Conv2d)), strict=True):
        expected = layer.weight.grad.numpy().transpose(2, 3, 1, 0)
        np.testing.assert_allclose(gradient[name]["kernel"], expected, atol=1e-3 * np.abs(expected).max())
