"""Augmentation of EDM and its label against the authors' code (github.com/NVlabs/edm), which is given our draws.

JAXGEN_EDM=/path/of/a/checkout pytest -m peers tests/peers/test_edm_augmentation_peers.py
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import authors

from jaxgen import data

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers

AugmentPipe = authors.augment_pipe("JAXGEN_EDM", "github.com/NVlabs/edm")
N = 24
KEYS = jax.random.split(jax.random.key(5), N)


def draws() -> dict[str, list[Any]]:
    """What ours draws with the keys of the examples, in the order in which theirs asks for it."""
    own = [jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(KEYS) for i in range(13)]
    uniform = lambda i: torch.tensor(np.asarray(jax.vmap(jax.random.uniform)(own[i])))
    normal = lambda i: torch.tensor(np.asarray(jax.vmap(jax.random.normal)(own[i])))
    coin = lambda i: torch.tensor(np.asarray(jax.vmap(jax.random.bernoulli)(own[i]), np.int64)).reshape(N, 1, 1, 1)
    pair = torch.tensor(np.asarray(jax.vmap(lambda key: jax.random.normal(key, (2,)))(own[12]))).T
    pixel = lambda i: uniform(i).reshape(N, 1, 1, 1)
    return {
        "randint": [coin(0), coin(2)],
        "rand": [pixel(0), pixel(1), uniform(3), uniform(6), uniform(5), uniform(10), uniform(7), uniform(9), uniform(11)],
        "randn": [normal(4), normal(8), pair],
    }


@pytest.mark.parametrize("p", [0.12, 0.5, 1.0])
@pytest.mark.parametrize("sides", [(8, 8), (7, 12), (32, 32)])
def test_images_and_labels_are_theirs(p: float, sides: tuple[int, int]) -> None:
    """An example that is moved far away goes with each batch, so that their margin is the largest there can be, as ours is."""
    x = np.random.default_rng(0).normal(size=(N, *sides, 3)).astype(np.float32)
    far = {"randint": [0, 0], "rand": [0, 1, 1, 0, 1, 0, 1, 1, 0], "randn": [0, 0, 100]}
    given = {name: [beside(one, value) for one, value in zip(draws()[name], far[name], strict=True)] for name in far}
    pipe = AugmentPipe(p=p, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
    with mock.patch.multiple(torch, **{name: mock.Mock(side_effect=values) for name, values in given.items()}):
        images, labels = pipe(torch.tensor(np.concatenate([x, x[:1]]).transpose(0, 3, 1, 2)))
    ours = jax.vmap(data.augment_edm(p))({"image": jnp.asarray(x)}, KEYS)
    np.testing.assert_allclose(ours["augment"], labels.numpy()[:N], atol=1e-5)
    np.testing.assert_allclose(ours["image"], images.numpy().transpose(0, 2, 3, 1)[:N], atol=1e-4)


def beside(drawn: Any, value: float) -> Any:
    """The draws of the examples, and one more; the examples lie along the last axis, or along the first of four."""
    axis = 0 if drawn.ndim == 4 else drawn.ndim - 1
    more = drawn.narrow(axis, 0, 1)
    return torch.cat([drawn, torch.full_like(more, value)], axis)
