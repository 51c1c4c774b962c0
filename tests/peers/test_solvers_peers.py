"""Solvers of few steps against Hugging Face's diffusers: the whole walk, with a network that is a fixed function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen import samplers
from jaxgen.diffusion import EPSILON, VELOCITY, Discrete, denoiser, grids, linear, linear_path, subsequence
from jaxgen.samplers import march, tables

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")

# Theirs hands arrays of torch to numpy in a way that numpy 2 will not know.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

T = 1000
X = normal(2, 3, 4, 4)
KEY = jax.random.key(0)


def exact(theirs: Any, steps: int) -> Any:
    """Their scheduler with its tables in double precision."""
    betas = torch.linspace(theirs.config.beta_start, theirs.config.beta_end, T, dtype=torch.float64)
    theirs.alphas_cumprod = torch.cumprod(1 - betas, 0)
    theirs.set_timesteps(steps)
    return theirs


def chain_of(theirs: Any) -> Discrete:
    """The same steps; theirs count from 0."""
    return subsequence(linear(T), np.unique(theirs.timesteps.numpy().astype(int)) + 1)


def network(x: jax.Array, time: jax.Array) -> jax.Array:
    return jnp.sin(3 * x) * jnp.cos((time - 1) / 100)[:, None, None, None]


def walk(theirs: Any, x: Any, times: Any = None, **options: Any) -> np.ndarray:
    for t in theirs.timesteps if times is None else times:
        given = theirs.scale_model_input(x, t)
        x = theirs.step(torch.sin(3 * given) * torch.cos(t / 100), t, x, **options).prev_sample
    return x.numpy()


def ours(sampler: samplers.Sampler) -> np.ndarray:
    return np.asarray(jax.jit(lambda x: sampler(denoiser(network, EPSILON), x, KEY).x)(X))


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-4) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


COMMON = {"beta_schedule": "linear", "final_sigmas_type": "zero", "timestep_spacing": "leading", "steps_offset": 1}


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver_pp_is_theirs(order: int, steps: int) -> None:
    theirs = exact(diffusers.DPMSolverMultistepScheduler(T, solver_order=order, solver_type="midpoint", **COMMON), steps)
    expected = walk(theirs, torch.from_numpy(np.array(X)))
    close(ours(samplers.dpm_solver_pp(chain_of(theirs), order=order)), expected)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("order", [1, 2])
def test_its_sde_is_theirs(order: int, steps: int) -> None:
    """With a noise of zero; its variance is that of the next test."""
    options = {"solver_order": order, "algorithm_type": "sde-dpmsolver++", "solver_type": "midpoint"}
    theirs = exact(diffusers.DPMSolverMultistepScheduler(T, **options, **COMMON), steps)
    expected = walk(theirs, torch.from_numpy(np.array(X)), variance_noise=torch.zeros(X.shape))
    table = tables.dpm_solver_pp(chain_of(theirs), order=order, stochastic=True)
    close(ours(march(table._replace(variance=np.zeros_like(table.variance)))), expected)


def test_the_noise_of_its_sde_is_theirs() -> None:
    options = {"solver_order": 2, "algorithm_type": "sde-dpmsolver++", "solver_type": "midpoint"}
    theirs = exact(diffusers.DPMSolverMultistepScheduler(T, **options, **COMMON), 8)
    table = tables.dpm_solver_pp(chain_of(theirs), stochastic=True)
    zero = torch.zeros(1, dtype=torch.float64)
    for j, t in enumerate(theirs.timesteps):
        found = theirs.step(zero, t, zero, variance_noise=zero + 1).prev_sample
        # Of zero states and predictions what comes out is the noise; a model that has none predicts zero.
        theirs.model_outputs = [0 * zero, 0 * zero]
        assert float(found[0]) == pytest.approx(np.sqrt(table.variance[j]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("steps", [6, 20])
@pytest.mark.parametrize("kind", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2])
def test_unipc_is_theirs(order: int, kind: str, steps: int) -> None:
    theirs = exact(diffusers.UniPCMultistepScheduler(T, solver_order=order, solver_type=kind, **COMMON), steps)
    predictor, corrector = tables.unipc(chain_of(theirs), order=order, by_steps=kind == "bh1")
    sampler = march(predictor, corrector=corrector)
    # The step to the data is infinitely long, and theirs of bh1 is nan: it is left out there.
    rows = -1 if kind == "bh1" else None
    expected = walk(theirs, torch.from_numpy(np.array(X)), theirs.timesteps[:rows])
    walked = jax.jit(lambda x: sampler(denoiser(network, EPSILON), x, KEY, trajectory=steps + 1).trajectory)(X)
    close(np.asarray(walked[-2 if rows else -1]), expected)


@pytest.mark.parametrize("steps", [5, 20])
def test_heuns_method_in_the_noise_is_theirs(steps: int) -> None:
    """Theirs walks x / alpha."""
    theirs = exact(
        diffusers.HeunDiscreteScheduler(T, beta_schedule="linear", beta_start=1e-4, beta_end=0.02, timestep_spacing="leading"),
        steps,
    )
    chain = chain_of(theirs)
    expected = walk(theirs, torch.from_numpy(np.array(X) / chain.alpha[-1].astype(np.float32)))
    close(ours(samplers.heun_in_noise(chain)), expected, 2e-3)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_eulers_method_along_the_path_is_theirs(shift: float) -> None:
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(T, shift=shift)
    even = grids.even(linear_path(), 11)
    theirs.set_timesteps(sigmas=even[:-1].tolist())
    times = grids.shifted(even, shift)
    np.testing.assert_allclose(theirs.sigmas.numpy(), times, atol=1e-6)
    x = torch.from_numpy(np.array(X))
    for t in theirs.timesteps:
        x = theirs.step(torch.sin(3 * x) * torch.cos(t / 1000), t, x).prev_sample
    denoise = denoiser(lambda x, time: jnp.sin(3 * x) * jnp.cos(time)[:, None, None, None], VELOCITY)
    found = jax.jit(lambda x: samplers.euler(linear_path(), times)(denoise, x, KEY).x)(X)
    close(np.asarray(found), x.numpy())
