"""The losses, the bound, the samples and the resampler of improved DDPM next to its authors' code.

JAXGEN_IMPROVED_DIFFUSION=/path/of/openai/improved-diffusion pytest -m peers tests/peers/test_improved_diffusion_peers.py
"""

from typing import Any

import authors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import keys, objectives, samplers
from jaxgen.diffusion import EPSILON, cosine, denoiser, learned_range, linear, spaced
from jaxgen.objectives import SecondMoment

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
gd = authors.improved_diffusion("gaussian_diffusion")
respace = authors.improved_diffusion("respace")

pytestmark = pytest.mark.peers

KEY = jax.random.key(0)
MAKERS = {"cosine": cosine, "linear": linear}


def theirs(name: str, steps: int, kind: str = "RESCALED_MSE", count: int | None = None) -> Any:
    return respace.SpacedDiffusion(
        use_timesteps=respace.space_timesteps(steps, [count or steps]),
        betas=gd.get_named_beta_schedule(name, steps),
        model_mean_type=gd.ModelMeanType.EPSILON,
        model_var_type=gd.ModelVarType.LEARNED_RANGE,
        loss_type=getattr(gd.LossType, kind),
        rescale_timesteps=True,
    )


def waves(xp: Any, x: Any, time: Any, axis: int) -> Any:
    """A network: the time is theirs, t 1000 / T from t = 0."""
    time = time.reshape(-1, 1, 1, 1)
    parts = xp.sin(x) + 0.2 * xp.cos(0.01 * time), 0.7 * xp.cos(2 * x) + 0.001 * time
    return torch.cat(parts, axis) if xp is torch else xp.concatenate(parts, axis)


def network(x: Any, time: Any) -> Any:
    return waves(torch, x, time, 1)


class Waves(nn.Module):
    """The same network for steps from 1."""

    scale: float

    @nn.compact
    def __call__(self, x: Any, time: Any, *, train: bool = False) -> Any:
        return waves(jnp, x, (jnp.asarray(time) - 1) * self.scale, -1)


def images(n: int) -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3))
    levels[0], levels[1] = 0, 255
    return (levels / 127.5 - 1).astype(np.float32)


def first(x: Any) -> Any:
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


STATE = jaxgen.TrainState(jnp.int32(0), KEY, {"model": {}}, {}, {}, {}, {})


@pytest.mark.parametrize(("steps", "name"), [(8, "cosine"), (40, "linear"), (1000, "cosine"), (4000, "cosine")])
@pytest.mark.parametrize(("kind", "make"), [("RESCALED_MSE", objectives.hybrid), ("RESCALED_KL", objectives.vlb)])
def test_the_losses_are_theirs(kind: str, make: Any, name: str, steps: int) -> None:
    schedule, x = MAKERS[name](steps), images(128)
    found, aux = make(Waves(1000 / steps), schedule)(STATE.params, STATE, {"image": jnp.asarray(x)}, KEY, train=True)
    own = keys.per_example(KEY, {"image": x})
    t = np.array(schedule.draw(keys.fold_in(own, 0), 128))
    noise = keys.draw(jax.random.normal, keys.fold_in(own, 1), x.shape)
    terms = theirs(name, steps, kind).training_losses(network, first(x), torch.from_numpy(t - 1).long(), noise=first(noise))
    # At the first step they cut probabilities at 1e-12 and take tanh for the distribution function.
    inside = t > 1
    np.testing.assert_allclose(np.asarray(found)[inside], terms["loss"].numpy()[inside], rtol=2e-3)
    if kind == "RESCALED_MSE":
        np.testing.assert_allclose(aux.metrics["noise_error"], terms["mse"].numpy(), rtol=2e-3)


@pytest.mark.parametrize("name", MAKERS)
def test_the_bound_is_theirs(name: str) -> None:
    """With a network that finds the noise of x_0 = 0.1, so that no noise is left in the terms."""
    steps, x = 40, np.full((3, 4, 4, 3), np.round(127.5 * 1.1) / 127.5 - 1, np.float32)
    process, schedule = theirs(name, steps), MAKERS[name](steps)
    alpha, sigma = (torch.from_numpy(np.float32(a[1:])) for a in (schedule.alpha, schedule.sigma))

    def model(xt: Any, time: Any) -> Any:
        at = torch.round(time * steps / 1000).long()
        eps = (xt - alpha[at].reshape(-1, 1, 1, 1) * 0.1) / sigma[at].reshape(-1, 1, 1, 1)
        return torch.cat([eps, 0.3 + 0 * xt], 1)

    def ours(xt: Any, level: Any) -> Any:
        return denoiser(
            lambda xt, time: jnp.concatenate(
                [(xt - level.alpha[:, None, None, None] * 0.1) / level.sigma[:, None, None, None], 0.3 + 0 * xt], -1
            ),
            EPSILON,
            clip=(-1.0, 1.0),
        )(xt, level)

    loop = process.calc_bpd_loop(model, first(x), clip_denoised=True)
    found = objectives.variational_bound(ours, schedule, jnp.asarray(x), KEY, variance=learned_range).bits
    np.testing.assert_allclose(found["prior"], loop["prior_bpd"].numpy(), rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(found["transitions"], loop["vb"].numpy()[:, :-1].sum(1), rtol=2e-3)
    np.testing.assert_allclose(found["decoder"], loop["vb"].numpy()[:, -1], rtol=5e-3)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("steps", "count", "name"), [(12, 12, "cosine"), (1000, 25, "cosine"), (1000, 50, "linear")])
def test_samples_of_a_shorter_chain_are_theirs(name: str, steps: int, count: int, clip: bool, monkeypatch: Any) -> None:
    shape = (2, 4, 4, 3)
    start = jax.random.normal(jax.random.key(1), shape)
    noises = iter([first(jax.random.normal(jax.random.fold_in(KEY, j), shape)) for j in range(count)])
    monkeypatch.setattr(torch, "randn_like", lambda x: next(noises))
    process = theirs(name, steps, count=count)
    expected = process.p_sample_loop(network, (2, 3, 4, 4), noise=first(start), clip_denoised=clip, device="cpu")
    draw = samplers.ancestral(spaced(MAKERS[name](steps), count, first=True), variance=learned_range)
    net = lambda x, time: waves(jnp, x, (time - 1) * (1000 / steps), -1)
    found = jax.jit(lambda x: draw(denoiser(net, EPSILON, clip=(-1.0, 1.0) if clip else None), x, KEY).x)(start)
    reference = expected.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, reference, rtol=2e-3, atol=2e-4 * np.abs(reference).max())


def test_the_law_of_the_steps_is_theirs(monkeypatch: Any) -> None:
    monkeypatch.setattr(np, "int", int, raising=False)  # numpy's own name for it, then
    resample = authors.improved_diffusion("resample")
    sampler = resample.LossSecondMomentResampler(theirs("cosine", 6))
    law, rng = SecondMoment(6), np.random.default_rng(0)
    history = law.empty()
    for _ in range(30):
        t, losses = rng.integers(0, 6, 25), rng.gamma(1.0, size=25).astype(np.float32)
        sampler.update_with_all_losses(t.tolist(), losses.tolist())
        history = law.noted(history, jnp.asarray(t + 1), jnp.asarray(losses))
        weights = sampler.weights()
        np.testing.assert_allclose(law.probabilities(history), weights / weights.sum(), rtol=1e-5)
