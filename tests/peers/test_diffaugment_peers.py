"""Augmentations against the authors' code (github.com/mit-han-lab/data-efficient-gans), which is given our draws.

JAXGEN_DIFFAUGMENT=/path/of/a/checkout pytest -m peers tests/peers/test_diffaugment_peers.py
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import authors

from jaxgen import keys
from jaxgen.losses import augmentation

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")]

theirs = authors.diffaugment()
N = 64
KEYS = jax.random.split(jax.random.key(0), N)


def compare(ours: augmentation.Augmentation, function: Any, x: np.ndarray, **draws: list[np.ndarray]) -> None:
    """Ours of images `[N, H, W, C]` against theirs of the same images, whose draws are ours, in their order."""
    with mock.patch.multiple(
        torch, **{name: mock.Mock(side_effect=[torch.tensor(d) for d in values]) for name, values in draws.items()}
    ):
        found = function(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours(KEYS, jnp.asarray(x)), found, atol=1e-6)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, *shape, 3)).astype(np.float32)


def uniform() -> np.ndarray:
    return np.asarray(keys.draw(jax.random.uniform, KEYS, (N, 1, 1, 1)))


@pytest.mark.parametrize("name", ["brightness", "saturation", "contrast"])
def test_color(name: str) -> None:
    compare(getattr(augmentation, name), getattr(theirs, f"rand_{name}"), images(7, 8), rand=[uniform()])


def integers(axis: int, low: int, high: int) -> np.ndarray:
    draw = lambda key, shape: jax.random.randint(key, shape, low, high)
    return np.asarray(keys.draw(draw, keys.fold_in(KEYS, axis), (N,)), np.int64)[:, None, None]


@pytest.mark.parametrize("sides", [(8, 8), (7, 12), (33, 20)])
def test_translation(sides: tuple[int, int]) -> None:
    shifts = [integers(axis, -int(side * 0.125 + 0.5), int(side * 0.125 + 0.5) + 1) for axis, side in enumerate(sides)]
    compare(augmentation.translation(), theirs.rand_translation, images(*sides), randint=shifts)


@pytest.mark.parametrize("sides", [(8, 8), (7, 12), (33, 21)])
def test_cutout(sides: tuple[int, int]) -> None:
    offsets = [integers(axis, 0, side + 1 - int(side * 0.5 + 0.5) % 2) for axis, side in enumerate(sides)]
    compare(augmentation.cutout(), theirs.rand_cutout, images(*sides), randint=offsets)
