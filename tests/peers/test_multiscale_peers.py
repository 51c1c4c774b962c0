"""The decoder of several resolutions and its loss next to a network that is written out in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import objectives
from jaxgen.models import autoencoders
from jaxgen.nn import likelihoods

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch
from torch.nn import functional

pytestmark = pytest.mark.peers

SHAPE, CHANNELS, SKIP = (16, 24, 3), (10, 8, 6), 2


class Decoder(torch.nn.Module):
    """A dense layer; at each level nearest enlargement, a skip, 3x3, rectification and 1x1; images are sums."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(5, 4 * 6 * CHANNELS[0])
        ins = [CHANNELS[0], *CHANNELS[:-1]]
        self.skips = torch.nn.ModuleList(torch.nn.Conv2d(7, SKIP, 1) for _ in CHANNELS)
        self.levels = torch.nn.ModuleList(
            torch.nn.Conv2d(a + SKIP, b, 3, padding=1) for a, b in zip(ins, CHANNELS, strict=True)
        )
        self.images = torch.nn.ModuleList(torch.nn.Conv2d(c, 3, 1) for c in CHANNELS)

    def forward(self, z: torch.Tensor, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        h = functional.relu(self.first(z)).reshape(-1, 4, 6, CHANNELS[0]).permute(0, 3, 1, 2)
        found: list[torch.Tensor] = []
        for i, own in enumerate(maps):
            h = h if i == 0 else functional.interpolate(h, scale_factor=2, mode="nearest")
            h = functional.relu(self.levels[i](torch.cat([h, self.skips[i](own)], 1)))
            image = self.images[i](h)
            found.append(image if i == 0 else functional.interpolate(found[-1], scale_factor=2, mode="nearest") + image)
        return found


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def taken(theirs: Decoder) -> dict:
    array = lambda x: jnp.asarray(x.detach().numpy())
    params = {"first": {"kernel": array(theirs.first.weight).T, "bias": array(theirs.first.bias)}}
    for name, layers in (("skip", theirs.skips), ("level", theirs.levels), ("image", theirs.images)):
        for i, layer in enumerate(layers):
            params[f"{name}{i}"] = {"kernel": array(layer.weight).transpose(2, 3, 1, 0), "bias": array(layer.bias)}
    return params


def test_the_images_of_all_sizes() -> None:
    torch.manual_seed(0)
    theirs, rng = Decoder(), np.random.default_rng(0)
    z = rng.normal(size=(4, 5)).astype(np.float32)
    maps = [rng.normal(size=(4, 4 * 2**i, 6 * 2**i, 7)).astype(np.float32) for i in range(3)]
    ours = autoencoders.PyramidDecoder(SHAPE, CHANNELS, SKIP)
    found = ours.apply({"params": taken(theirs)}, jnp.asarray(z), [jnp.asarray(m) for m in maps])
    with torch.no_grad():
        expected = theirs(torch.from_numpy(z), [channels_first(m) for m in maps])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_the_loss_is_that_of_means_by_avg_pool2d() -> None:
    decoder = autoencoders.PyramidDecoder(SHAPE, CHANNELS)
    model = autoencoders.MultiscaleAutoencoder(
        autoencoders.mlp.Encoder((6,)), decoder, likelihoods.GaussianLikelihood(std=1.0), 5
    )
    x = np.random.default_rng(0).uniform(size=(3, *SHAPE)).astype(np.float32)
    own = {"model": model.init(jax.random.key(0), jnp.asarray(x))["params"]}
    loss = objectives.multiscale_reconstruction(model, weight=0.7)
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), own, {}, {}, {}, {})
    values, _ = loss(own, state, {"image": jnp.asarray(x)}, jax.random.key(0), train=True)
    images = [
        torch.from_numpy(np.array(p.mean)) for p in model.apply({"params": own["model"]}, jnp.asarray(x), method="scales")
    ]
    expected = 0.0
    for times, image in enumerate(reversed(images)):
        target = channels_first(x) if times == 0 else functional.avg_pool2d(channels_first(x), 2**times)
        half_square = (image.permute(0, 3, 1, 2) - target) ** 2 / 2 + np.log(2 * np.pi) / 2
        expected = expected + (0.7 if times else 1.0) * x[0].size * half_square.mean((1, 2, 3))
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-5)
