"""Power-function averages and autoguidance against the authors' code (github.com/NVlabs/edm2), which JAXGEN_EDM2 names.

JAXGEN_EDM2=/path/of/a/checkout/of/NVlabs/edm2 pytest -m peers tests/peers/test_edm2_peers.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from peers import authors

from jaxgen import diffusion, samplers
from jaxgen.diffusion import grids
from jaxgen.game import PowerFunction
from jaxgen.game.power_averages import coefficients, exponent, inner_products, relative_width

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers

phema, generate = authors.edm2("training/phema"), authors.edm2("generate_images")
WIDTHS = np.array([0.02, 0.05, 0.1, 0.15, 0.25])


def test_widths_and_exponents() -> None:
    gammas = np.array([exponent(w) for w in WIDTHS])
    np.testing.assert_allclose(gammas, phema.std_to_exp(WIDTHS), rtol=1e-9)
    np.testing.assert_allclose([relative_width(g) for g in gammas], phema.exp_to_std(gammas), rtol=1e-9)


@pytest.mark.parametrize("width", [0.05, 0.1])
@pytest.mark.parametrize("t", [1, 2, 100, 10_000])
def test_decays(width: float, t: int) -> None:
    found = float(PowerFunction(width)(jnp.int32(t - 1)))
    assert found == pytest.approx(float(phema.power_function_beta(width, t, 1)), abs=1e-6)


def test_inner_products() -> None:
    steps = np.array([10.0, 40.0, 40.0, 70.0, 100.0])
    gammas = np.array([exponent(w) for w in WIDTHS])
    theirs = phema.power_function_correlation(steps[:, None], WIDTHS[:, None], steps[None], WIDTHS[None])
    np.testing.assert_allclose(inner_products(steps, gammas, steps, gammas), theirs, rtol=1e-9)


@pytest.mark.parametrize("width", [0.05, 0.075, 0.15, 0.25])
@pytest.mark.parametrize("step", [100, 85])
def test_coefficients(width: float, step: int) -> None:
    steps, widths = np.repeat(np.arange(10, 101, 10), 2), np.tile([0.05, 0.1], 10)
    ours, _ = coefficients(steps, widths, step, width)
    theirs = phema.solve_posthoc_coefficients(steps.astype(float), widths, float(step), width)[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [1, 2.1])
def test_guided_samples(weight: float) -> None:
    """`edm_sampler` with a network and a guiding network, which are exact denoisers of two mixtures."""
    strong, weak = Mixture((-0.5, 0.2, 0.6), 0.1), Mixture((-0.5, 0.2, 0.6), 0.3)
    z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    noise = diffusion.time_is_sigma(0.002, 80.0)
    chain = diffusion.discretised(noise, grids.karras(noise, 18))
    denoise = diffusion.autoguided(strong.denoise, weak.denoise, weight)
    ours = samplers.heun_in_noise(chain)(denoise, 80 * jnp.asarray(z), jax.random.key(0)).x

    def network(law: Mixture) -> Any:
        def x0(x: torch.Tensor, t: torch.Tensor, labels: None) -> torch.Tensor:
            x = x.double()
            variance = law.std**2 + t.double() ** 2
            away = x[..., None] - torch.tensor(law.means, dtype=torch.float64)
            shares = torch.softmax(-(away**2) / (2 * variance), -1)
            return (x - (shares * away).sum(-1) * t**2 / variance).float()

        return x0

    theirs = generate.edm_sampler(network(strong), torch.tensor(z), gnet=network(weak), num_steps=18, guidance=weight)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
