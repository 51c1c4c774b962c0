"""Reflow against the authors' code (github.com/gnobitab/RectifiedFlow), which JAXGEN_RECTIFIED_FLOW names.

JAXGEN_RECTIFIED_FLOW=/path/of/a/checkout pytest -m peers tests/peers/test_rectified_flow_peers.py
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives.test_coupling import KEY, PATH, Known, batch_of, drawn, reflow, state_of
from peers import authors

from jaxgen import diffusion, samplers
from jaxgen.diffusion import grids, laws
from jaxgen.objectives import denoiser_of

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers

losses, sde_lib = authors.rectified_flow()
LEAST = 1e-3
"""Their least time, which ours is brought to here."""


def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Theirs, at 999 times their time: ours with its sign turned, which answers 0.3 - 0.2 x + 0.1 t."""
    ours = 1 - t.reshape(-1, 1, 1, 1) / 999
    return -(0.3 - 0.2 * x + 0.1 * ours)


@pytest.mark.parametrize("distil", [0, 1, 4])
def test_the_loss_is_theirs(distil: int) -> None:
    few = grids.even(PATH, distil + 1)[:-1] if distil else None
    law = (lambda key, n: laws.among(few)(key, n)) if distil else PATH.draw
    # Theirs are drawn from 0.001 on.
    times = diffusion.Drawn(PATH, lambda key, n: law(key, n) * (1 - LEAST))
    state = state_of(a=0.3, b=-0.2, d=0.1)
    make = lambda state, batch, z: 0.5 + 2 * z
    ours = reflow(make, times)(state.params, state, batch_of(64), KEY, train=True)[0].mean()
    t, z = drawn(64, times)
    schedule: Any = {0: "uniform", 1: "t0"}.get(distil, distil)
    sde = sde_lib.RectifiedFlow(reflow_flag=True, reflow_t_schedule=schedule)
    z0 = torch.tensor(z, dtype=torch.float32)
    share = torch.tensor((1 - t - LEAST) / (1 - LEAST), dtype=torch.float32)
    whole = torch.tensor(np.round(np.asarray(share) * max(distil, 1)), dtype=torch.int64)
    with mock.patch.object(torch, "rand", return_value=share), mock.patch.object(torch, "randint", return_value=whole):
        theirs = losses.get_rectified_flow_loss_fn(sde, train=True)(velocity, (z0, 0.5 + 2 * z0))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_pairs_are_theirs() -> None:
    """`euler_ode` with 20 steps, of a velocity that is the same at all times."""
    z = np.random.default_rng(0).normal(size=(8, 2, 2, 1)).astype(np.float32)
    theirs = sde_lib.RectifiedFlow().euler_ode(torch.tensor(z), lambda x, t: -(0.3 - 0.2 * x), N=20)
    denoise = denoiser_of(Known(), state_of(a=0.3, b=-0.2).params, {}, diffusion.VELOCITY)
    ours = samplers.euler(PATH, grids.even(PATH, 21))(denoise, jnp.asarray(z), jax.random.key(0)).x
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-6)
