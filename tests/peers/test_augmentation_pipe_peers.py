"""The pipe of adaptive augmentation against the authors' code (github.com/NVlabs/stylegan2-ada-pytorch), in given changes.

JAXGEN_STYLEGAN2_ADA=/path/of/a/checkout pytest -m peers tests/peers/test_augmentation_pipe_peers.py
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import authors
from scipy.special import erfinv

from jaxgen.losses.augmentation_pipe import Changes, changed, drawn

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers

AugmentPipe = authors.augment_pipe("JAXGEN_STYLEGAN2_ADA", "github.com/NVlabs/stylegan2-ada-pytorch")
BLIT = {"xflip": 1, "rotate90": 1, "xint": 1}
GEOM = {"scale": 1, "rotate": 1, "aniso": 1, "xfrac": 1}
COLOR = {"brightness": 1, "contrast": 1, "lumaflip": 1, "hue": 1, "saturation": 1}
N = 24


change = jax.jit(jax.vmap(changed, in_axes=(0, None)))


def compare(x: np.ndarray, ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1)[: len(x)], atol=1e-4)


@pytest.mark.parametrize("percentile", [0.03, 0.2, 0.6, 0.99])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("on", [BLIT, GEOM, COLOR, BLIT | GEOM | COLOR], ids=["blit", "geom", "color", "bgc"])
def test_at_their_percentiles(percentile: float, channels: int, on: dict[str, float]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 8, 8, channels)).astype(np.float32)
    theirs = AugmentPipe(**on)(torch.tensor(x.transpose(0, 3, 1, 2)), debug_percentile=percentile)
    coin, even, normal = np.floor(2 * percentile), 2 * percentile - 1, float(erfinv(2 * percentile - 1))
    of = {
        "xflip": {"mirrored": coin},
        "rotate90": {"quarter_turns": np.floor(4 * percentile)},
        "xint": {"whole_shift": (even / 8, even / 8)},
        "scale": {"size": 0.2 * normal},
        "rotate": {"turn_before": np.pi * even},
        "aniso": {"stretch": 0.2 * normal},
        "xfrac": {"shift": (normal / 8, normal / 8)},
        "brightness": {"brightness": 0.2 * normal},
        "contrast": {"contrast": 0.5 * normal},
        "lumaflip": {"luma_flipped": coin},
        "hue": {"hue": np.pi * even},
        "saturation": {"saturation": normal},
    }
    changes = jax.tree.map(jnp.float32, Changes(**{field: value for name in on for field, value in of[name].items()}))
    compare(x, change(jnp.asarray(x), changes), theirs)


@pytest.mark.parametrize("sides", [(8, 8), (7, 12), (32, 32)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_in_our_changes(sides: tuple[int, int], channels: int, p: float) -> None:
    """An image that is moved far away goes with each batch, so that their margin is the largest there can be, as ours is."""
    x = np.random.default_rng(0).normal(size=(N, *sides, channels)).astype(np.float32)
    made = jax.vmap(lambda key: drawn(key, p))(jax.random.split(jax.random.key(3), N))
    far = Changes()._replace(shift=(1e3, 1e3))
    both = jax.tree.map(
        lambda a, b: torch.tensor(np.concatenate([a, np.asarray([b], np.float32)])), made, Changes(*map(np.asarray, far))
    )
    n, column, cell = torch.zeros(N + 1), torch.zeros(N + 1, 1), torch.zeros(N + 1, 1, 1)
    angle = lambda value: (value / np.pi + 1) / 2
    coins = {"place": [both.mirrored / 2, n, both.quarter_turns / 4, n, (8 * both.whole_shift + 1) / 2, column, n]}
    coins["place"] += [angle(both.turn_before), n, n, angle(both.turn_after), n, column]
    coins["colour"] = [n, n, both.luma_flipped.reshape(-1, 1, 1) / 2, cell]
    normal = [both.size / 0.2, both.stretch / 0.2, 8 * both.shift, both.brightness / 0.2, both.contrast / 0.5]
    if channels == 3:
        coins["colour"] += [angle(both.hue), n, cell]
        normal.append(both.saturation.reshape(-1, 1, 1))
    draws = {"rand": mock.Mock(side_effect=coins["place"] + coins["colour"]), "randn": mock.Mock(side_effect=normal)}
    with mock.patch.multiple(torch, **draws):
        theirs = AugmentPipe(**BLIT, **GEOM, **COLOR)(torch.tensor(np.concatenate([x, x[:1]]).transpose(0, 3, 1, 2)))
    compare(x, jax.jit(jax.vmap(changed))(jnp.asarray(x), made), theirs)
