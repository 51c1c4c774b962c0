"""MADE against karpathy/pytorch-made, with its masks and the same weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled
from peers import authors

from jaxgen.models.autoregressive import MADE
from jaxgen.models.autoregressive.made import Degrees

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(("hidden", "raster"), [((20,), False), ((20, 15), False), ((20, 15, 30), True)])
def test_logits_are_theirs_under_their_masks(hidden: tuple[int, ...], raster: bool) -> None:
    made = authors.made()
    theirs: Any = made.MADE(12, list(hidden), 12, num_masks=3, natural_ordering=raster)
    model = MADE((3, 4, 1), hidden, direct=False)
    x = np.random.default_rng(0).integers(0, 2, (5, 12)).astype(np.float32)
    variables = filled(model, jnp.zeros((1, 3, 4, 1)))
    layers = [layer for layer in theirs.net if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, name in zip(layers, [*(f"layers_{i}" for i in range(len(hidden))), "out"], strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(variables["params"][name]["kernel"]).T))
            layer.bias.copy_(torch.from_numpy(np.array(variables["params"][name]["bias"])))
    for _ in range(3):
        degrees = Degrees(jnp.array(theirs.m[-1]), tuple(jnp.array(theirs.m[i]) for i in range(len(hidden))))
        found = model.apply(variables, jnp.array(x), degrees, method="logits_of")
        np.testing.assert_allclose(found, theirs(torch.from_numpy(x)).detach(), rtol=1e-5, atol=1e-5)
        theirs.update_masks()
