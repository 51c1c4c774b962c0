"""Schedules, parameterisations, guidance and solvers know nothing of one another: their whole product draws from the law.

The network is exact: of a labelled mixture, in terms of what each parameterisation gives a network and wants of it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, wasserstein
from scipy import stats

from jaxgen import samplers
from jaxgen.diffusion import (
    EPSILON,
    SCORE,
    VE,
    VELOCITY,
    X0,
    Continuous,
    Denoise,
    Level,
    Parameterisation,
    V,
    classifier_free,
    clipped,
    denoiser,
    discretised,
    edm,
    grids,
    large_variance,
    linear_path,
    sub_variance_preserving,
    time_is_sigma,
    variance_exploding,
    variance_preserving,
    variance_preserving_cosine,
)
from jaxgen.samplers import march, tables

MEANS, STD, STEPS = (-1.0, 0.4, 1.5), 0.25, 80
LAW, OWN = Mixture(MEANS, STD), Mixture(MEANS[2:], STD)
SCHEDULES = {
    "vp": variance_preserving(),
    "sub-vp": sub_variance_preserving(start=2e-2),
    "cosine": variance_preserving_cosine(start=2e-3, end=2e-3),
    "ve": variance_exploding(0.01, 50.0),
    "sigma": time_is_sigma(),
    "flow": linear_path(start=2e-3, end=0.998),
}
MEANINGS = (EPSILON, X0, V, SCORE, VELOCITY, edm(0.5), VE)


def exact(meaning: Parameterisation, law: Mixture) -> Denoise:
    """A denoiser by way of a network: of its input and its time there is nothing else to be known."""

    def denoise(xt: Any, level: Level) -> Any:
        def network(given: Any, time: Any) -> Any:
            return meaning.target(*law.denoise(given / meaning.input(level), level)[:2], level)

        return denoiser(network, meaning)(xt, level)

    return denoise


# Each with the law that its samples have.
GUIDANCE = {
    "none": (lambda c, u: u, LAW),
    "not told": (lambda c, u: classifier_free(c, u, 0.0), LAW),
    "told": (lambda c, u: classifier_free(c, u, 1.0), OWN),
    "outside of the interval": (lambda c, u: classifier_free(c, u, 5.0, interval=(1e7, 1e8)), OWN),
    "clipped beyond the data": (lambda c, u: clipped(u, -3.0, 3.5), LAW),
}
COMBINED = [(meaning, guide) for guide in GUIDANCE for meaning in MEANINGS]


def denoise_all(xs: Any, level: Level) -> Any:
    """Every parameterisation with every guidance, one beside the other, `[35, n]`."""
    found = [GUIDANCE[guide][0](exact(m, OWN), exact(m, LAW))(xs[i], level) for i, (m, guide) in enumerate(COMBINED)]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


@functools.cache
def walk(corrected: bool) -> Any:
    """One program for all tables of a shape."""

    def run(table: Any, corrector: Any, x: Any) -> Any:
        return march(table, corrector=corrector if corrected else None)(denoise_all, x, jax.random.key(1)).x

    return jax.jit(run)


SOLVERS = {
    "ancestral": lambda s, c, t: (tables.ancestral(c), None),
    "ancestral, large": lambda s, c, t: (tables.ancestral(c, large_variance), None),
    "ddim": lambda s, c, t: (tables.ddim(c), None),
    "ddim, 0.5": lambda s, c, t: (tables.ddim(c, 0.5), None),
    "reverse diffusion": lambda s, c, t: (tables.reverse_diffusion(c), None),
    "euler-maruyama": lambda s, c, t: (tables.euler_maruyama(s, t), None),
    "dpm++": lambda s, c, t: (tables.dpm_solver_pp(c), None),
    "dpm++ sde": lambda s, c, t: (tables.dpm_solver_pp(c, stochastic=True), None),
    "unipc": lambda s, c, t: tables.unipc(c, order=2),
}
BOUNDS = {"dpm++": 0.015, "unipc": 0.015, "ddim": 0.04, "reverse diffusion": 0.15}
"""Of the mean distance of quantiles, in units of the data; 0.1 of the others, most of which is that of 1,000 draws."""


def quantiles_of_noise(schedule: Continuous) -> Any:
    """The same evenly spread start for all, so that what is left is the solvers' error."""
    p = (np.arange(1000) + 0.5) / 1000
    x = float(schedule.sigma(jnp.float32(schedule.end))) * stats.norm.ppf(np.random.default_rng(0).permutation(p))
    return jnp.broadcast_to(jnp.asarray(x, jnp.float32), (len(COMBINED), 1000))


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_combination_draws_from_the_law(name: str, solver: str) -> None:
    schedule = SCHEDULES[name]
    times = grids.log_snr(schedule, STEPS)
    table, corrector = SOLVERS[solver](schedule, discretised(schedule, times), times)
    found = np.asarray(walk(corrector is not None)(table, corrector, quantiles_of_noise(schedule)))
    assert np.isfinite(found).all()
    for (_, guide), x in zip(COMBINED, found, strict=True):
        assert wasserstein(x, GUIDANCE[guide][1]) < BOUNDS.get(solver, 0.1), guide
    if not table.variance.any():  # each draws for itself
        # Nor does it matter which parameterisation it is, within what single precision leaves of each.
        each = found.reshape(len(GUIDANCE), len(MEANINGS), -1)
        assert np.abs(each - each[:, :1]).mean() < 2e-3


def test_solvers_without_noise_agree_on_a_guided_flow() -> None:
    """With s = 3 no law is known, but the flow is one under any schedule: in x / alpha and sigma / alpha it is the same ODE."""
    guided = classifier_free(OWN.denoise, LAW.denoise, 3.0)
    start = np.linspace(-2, 2, 50)
    ends = []
    for schedule in (time_is_sigma(0.01, 30.0), linear_path(start=1 / 101, end=30 / 31)):
        chain = discretised(schedule, grids.log_snr(schedule, 150))
        x = jnp.asarray(start * 30 * float(schedule.alpha(jnp.float32(schedule.end))), jnp.float32)
        for make in (samplers.dpm_solver_pp, samplers.unipc, samplers.heun_in_noise):
            sampler = make(chain)
            ends.append(np.asarray(sampler(guided, x, jax.random.key(0)).x))
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=5e-3)
    assert ends[0].mean() > MEANS[2] - 0.1, "guided to the class"
