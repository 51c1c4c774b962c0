"""Steps of predictors and of the corrector against Hugging Face's diffusers, which ported the authors' code."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.diffusion import Prediction, discretised, variance_exploding, variance_preserving
from jaxgen.samplers import predictor_corrector, tables

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

KEY = jax.random.key(4)
X = normal(1, 3, 4, 4)
"""One example: theirs takes the mean of the norms over a batch, and ours takes the example's own."""


def eps(x: Any) -> Any:
    return (jnp if isinstance(x, jax.Array) else torch).sin(3 * x)


def drawn(*keys: jax.Array) -> Any:
    """Torch's generator in place of which JAX's numbers come."""
    numbers = iter(torch.from_numpy(np.array(jax.random.normal(key, X.shape))) for key in keys)
    return lambda *args, **options: next(numbers)


@pytest.mark.parametrize("snr", [0.05, 0.16])
def test_a_corrected_walk_of_ve_is_theirs(snr: float, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 5
    theirs = diffusers.ScoreSdeVeScheduler(n, snr=snr, sigma_min=0.01, sigma_max=3.0, sampling_eps=0.0)
    theirs.set_timesteps(n)
    theirs.set_sigmas(n)
    fold = jax.random.fold_in
    order = [key for j in range(n) for key in (fold(KEY, n + j), fold(KEY, j))]
    monkeypatch.setattr(diffusers.schedulers.scheduling_sde_ve, "randn_tensor", drawn(*order))
    x = torch.from_numpy(np.array(X))
    for t in theirs.timesteps:
        sigma = theirs.discrete_sigmas[(t * (n - 1)).round().long()]
        x = theirs.step_correct(-eps(x) / sigma, x).prev_sample
        # Their index rounds down what single precision has a little below a whole number.
        out = theirs.step_pred(-eps(x) / sigma, float(t) + 1e-6, x)
        x = out.prev_sample
    chain = discretised(variance_exploding(0.01, 3.0), np.linspace(0.0, 1.0, n))
    denoise = lambda x, level: Prediction(x - level.sigma * eps(x), eps(x))
    found = predictor_corrector(tables.reverse_diffusion(chain), snr=snr)(denoise, X, KEY).x
    np.testing.assert_allclose(found, out.prev_sample_mean.numpy(), rtol=1e-3, atol=1e-3)


def test_steps_of_euler_maruyama_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.schedulers.deprecated import scheduling_sde_vp as vp

    n = 20
    theirs = vp.ScoreSdeVpScheduler(num_train_timesteps=n)
    theirs.set_timesteps(n)
    noise = jax.random.normal(KEY, X.shape)
    monkeypatch.setattr(vp, "randn_tensor", drawn(*[KEY] * n))
    for t in (1.0, 0.6, 0.3):
        table = tables.euler_maruyama(variance_preserving(), np.array([t, t - 1 / n, t - 2 / n]))
        x0 = (X - table.level.sigma[0] * eps(X)) / table.level.alpha[0]
        mean = table.x[0] * X + table.data[0, 0] * x0
        x, center = theirs.step_pred(eps(torch.from_numpy(np.array(X))), torch.from_numpy(np.array(X)), torch.tensor([t]))
        np.testing.assert_allclose(mean, center.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean + np.sqrt(table.variance[0]) * noise, x.numpy(), rtol=1e-4, atol=1e-5)
