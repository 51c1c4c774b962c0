"""Benchmarks compare like with like: both contenders' networks have the same number of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.peers import clip, dcgan, unet, vae

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers


def size(model: Any, *inputs: Any) -> int:
    keys = {"params": jax.random.key(0), "sample": jax.random.key(1)}
    shapes = jax.eval_shape(lambda: model.init(keys, *inputs))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def peer_size(*models: Any) -> int:
    return sum(parameter.numel() for model in models for parameter in model.parameters())


def test_vae() -> None:
    pytest.importorskip("pythae", reason="pythae is not installed (the extra `benchmarks`)")
    assert size(vae.network(), jnp.zeros((1, 28, 28, 1))) == peer_size(vae.peer_network())


def test_unet() -> None:
    pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")
    ours = size(unet.network(), jnp.zeros((1, 32, 32, 3)), jnp.zeros(1))
    assert ours == pytest.approx(peer_size(unet.peer_network()), rel=1e-3)


def test_dcgan() -> None:
    generator, discriminator = dcgan.networks()
    ours = size(generator, jnp.zeros((1, dcgan.LATENTS))) + size(discriminator, jnp.zeros((1, 32, 32, 3)))
    assert ours == pytest.approx(peer_size(*dcgan.peer_networks()), rel=1e-3)


@pytest.mark.parametrize("case", clip.SIZES, ids=lambda case: case.name)
def test_clip(case: clip.Size) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (the extra `benchmarks`)")
    images, tokens = jnp.zeros((1, case.side, case.side, 3)), jnp.zeros((1, case.length), jnp.int32)
    assert size(clip.network(case), images, tokens) == pytest.approx(peer_size(clip.peer_network(case)), rel=1e-3)
