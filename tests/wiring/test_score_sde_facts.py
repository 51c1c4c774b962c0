"""What `experiments.score_sde` is wired to, held against Song et al. 2021 and the authors' code
(github.com/yang-song/score_sde: sde_lib.py, losses.py, sampling.py, likelihood.py, models/utils.py, configs/).

An affine network stands in for DDPM++ and NCSN++."""

import functools
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.affine import Affine, Loss, state_of
from wiring.conftest import Measured

import experiments.score_sde
import jaxgen
from jaxgen import data, nn
from jaxgen.models.diffusion import ResidualPyramid
from jaxgen.types import Batch

KEY = jax.random.key(2)
NAME = "score_sde"
SDES = experiments.score_sde.SDES
BLACK = np.zeros((4000, 1, 1, 1))
"""Images of one pixel, whose noise can be told; their pixels are already those of the model."""


def affine(channels: int, multipliers: Any, blocks: int, levels: Any, **fields: Any) -> Affine:
    return Affine(tuple(round(channels * m) for m in multipliers), blocks, attention_levels=levels, **fields)


def small(sde: str, **flags: Any) -> jaxgen.Experiment:
    """The experiment with an affine network."""
    return make(NAME, sde=SDES[sde]._replace(network=affine), **flags)


@functools.cache
def loss_of(sde: str, **flags: Any) -> Loss:
    return Loss(small(sde, **flags))


def alpha_sigma(sde: str, t: Any) -> tuple[Any, Any]:
    """sde_lib.py, `marginal_prob`; VE's for pixels in [-1, 1], which are twice those in [0, 1]."""
    if sde == "ve":
        return np.ones_like(t), 2 * 0.01 * (50 / 0.01) ** t
    log_mean = -0.25 * t**2 * (20 - 0.1) - 0.5 * t * 0.1
    return np.exp(log_mean), (1 - np.exp(2 * log_mean)) ** (0.5 if sde == "vp" else 1.0)


def squared_diffusion(sde: str, t: Any) -> Any:
    """sde_lib.py, `sde`."""
    if sde == "ve":
        return alpha_sigma(sde, t)[1] ** 2 * 2 * math.log(50 / 0.01)
    beta = 0.1 + t * (20 - 0.1)
    return beta * (1.0 if sde == "vp" else 1 - np.exp(-2 * 0.1 * t - (20 - 0.1) * t**2))


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.score_sde.experiment).parameters.items()}
    facts: dict[str, Any] = {"sde": "vp", "weighting": "uniform", "sampler": "predictor_corrector", "corrector_steps": 1}
    facts |= {"predictor": "reverse_diffusion", "snr": 0.16, "dropout": 0.1}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("sde", SDES)
def test_the_network_is_the_papers(sde: str) -> None:
    flags = {"channels": (8, 4, 4), "blocks": 3, "dropout": 0.3, "remat": True}
    module = make(NAME, sde=sde, **flags, attention=(8, 2), bf16=True).networks["model"].module
    assert {name: getattr(module, name) for name in flags} == flags
    assert module.dtype == jnp.bfloat16
    assert module.attention_levels == (0, 2)
    assert module.skip_scale == math.sqrt(0.5)
    if sde == "ve":
        assert module.pyramid is ResidualPyramid
        assert module.taps == nn.BINOMIAL
        assert isinstance(module.time, nn.RandomFourier)
        assert module.time.scale == 16
    else:
        assert (module.pyramid, module.time, module.taps) == (None, None, nn.BOX)


@pytest.mark.parametrize("weighting", ["uniform", "likelihood"])
@pytest.mark.parametrize("sde", SDES)
def test_the_loss_is_the_authors(sde: str, weighting: Any) -> None:
    """losses.py: (score sigma + z)^2, or (score + z / sigma)^2 g^2; the answer is 0.3 - 0.2 of x_t + 0.01 of the time."""
    sign = -1 if sde == "ve" else 1  # of what the network predicts
    plain = loss_of(sde)
    nothing, one = plain(BLACK), plain(BLACK, constant=1.0)
    eps = sign * (1 + nothing - one) / 2
    sure = np.abs(eps) > 0.05
    time = np.sqrt(plain(BLACK, of_time=1.0))
    if sde == "ve":  # the answer x_t errs by (sigma + 1)^2 eps^2
        t = np.log((np.sqrt(plain(BLACK, of_x=1.0) / nothing) - 1).clip(0.02) / 0.02) / math.log(5000)
    else:  # the answer 999 t errs by (999 t - eps)^2
        t = (eps + time) / 999
        t = np.where(t < 1 + 1e-3, t, (eps - time) / 999)
    assert t[sure].mean() == pytest.approx(0.5, abs=0.03)
    assert t[sure].std() == pytest.approx(np.sqrt(1 / 12), abs=0.03)
    assert eps.std() == pytest.approx(1, abs=0.05)
    t = np.clip(t, 1e-5, 1)
    keep = sure & (t > 0.05)
    alpha, sigma = (of[keep] for of in alpha_sigma(sde, t))
    heard = np.log(sigma / 2) if sde == "ve" else 999 * t[keep]
    z = eps[keep]
    for x in (0.0, 0.7):
        answer = 0.3 - 0.2 * (alpha * x + sigma * z) + 0.01 * heard
        score = (sign * -1) * answer / sigma
        weight = squared_diffusion(sde, t[keep]) if weighting == "likelihood" else sigma**2
        expected = weight * (score + z / sigma) ** 2
        found = loss_of(sde, weighting=weighting)(BLACK + x, constant=0.3, of_x=-0.2, of_time=0.01)[keep]
        np.testing.assert_allclose(found, expected, rtol=0.03, atol=0.02 * np.median(expected))
    assert plain(np.zeros((50, 8, 8, 1))).mean() == pytest.approx(1, abs=0.05), "a mean over pixels"


def deviation(sde: str, of_x: float, kind: str, n: int, steps: int = 0, snr: float = 0.0) -> float:
    """Of one pixel, where the network answers `of_x` x_t: the deviation of the samples, a recursion of variances in numpy."""
    sign = -1 if sde == "ve" else 1
    last = 1e-5 if sde == "ve" else 1e-3
    times = np.append(np.linspace(1.0, last, n), np.nan)
    variance = alpha_sigma(sde, 1.0)[1] ** 2
    for j in range(n):
        (a, s), to_data = alpha_sigma(sde, times[j]), j == n - 1
        b, r = (1.0, 0.0) if to_data else alpha_sigma(sde, times[j + 1])
        slope = -sign * of_x / s  # the score is slope x
        ratio = a / b
        beta = s**2 - (ratio * r) ** 2
        if kind == "reverse_diffusion":
            variance = (2 - ratio + beta * slope) ** 2 * variance + (0 if to_data else beta)
        elif kind == "ancestral":
            added = beta if sde == "vp" else beta * r**2 / s**2
            variance = ((1 + beta / 1.0 * slope) / ratio) ** 2 * variance + (0 if to_data else added)
        elif to_data:
            variance = ((1 + s**2 * slope) / a) ** 2 * variance
        else:
            h, g2 = times[j] - times[j + 1], squared_diffusion(sde, times[j])
            f = 0.0 if sde == "ve" else -0.5 * (0.1 + times[j] * 19.9)
            variance = (1 - h * f + h * g2 * slope) ** 2 * variance + (0 if j == n - 2 else h * g2)
    return float(np.sqrt(variance))


CASES = [("vp", 0.9), ("sub_vp", 0.8), ("ve", -0.9 / 90)]
"""The answers of a network for which samples neither vanish nor leave the range of the pixels."""


def spread(experiment: jaxgen.Experiment, n: int = 3000, **numbers: float) -> float:
    """The deviation of samples whose pixels are clipped to [-1, 1], by the share of those that are not."""
    x = np.asarray(experiment.sample(state_of(**numbers), KEY, jaxgen.given(n)), np.float64) * 2 - 1
    edge = min(np.quantile(np.abs(x), 0.7), 0.999)
    return float(edge / stats.norm.ppf(0.5 + (np.abs(x) < edge).mean() / 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reverse_diffusion", "euler_maruyama", "ancestral"])
@pytest.mark.parametrize(("sde", "of_x"), CASES)
def test_samples_have_the_spread_of_the_authors_predictors(sde: str, of_x: float, kind: Any) -> None:
    if (sde, kind) == ("sub_vp", "ancestral"):
        pytest.skip("theirs has none")
    expected, error = deviation(sde, of_x, kind, 6), 0.06 if sde == "ve" else 0.02
    options: Any = {"sampling_steps": 6, "sampler": "predictor_corrector", "predictor": kind, "corrector_steps": 0}
    assert spread(small(sde, **options), of_x=of_x) == pytest.approx(expected, rel=error)
    if kind != "ancestral":
        assert spread(small(sde, sampling_steps=6, sampler=kind), of_x=of_x) == pytest.approx(expected, rel=error)


@pytest.mark.parametrize("flags", [{"corrector_steps": 1}, {"corrector_steps": 3}, {"snr": 0.4}], ids=str)
def test_the_flags_of_the_corrector_reach_it(flags: dict[str, Any]) -> None:
    draw = lambda **own: np.asarray(small("vp", sampling_steps=3, **own).sample(state_of(of_x=0.9), KEY, jaxgen.given(4)))
    base = {"corrector_steps": 2, "snr": 0.16}
    assert np.abs(draw(**base) - draw(**base | flags)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ode", "ddim", "unipc"])
@pytest.mark.parametrize(("sde", "of_x"), [("vp", 1.0), ("sub_vp", 0.8), ("ve", -0.03)])
def test_the_flow_is_solved(sde: str, of_x: float, sampler: Any) -> None:
    """In y = x / alpha and s = sigma / alpha it is dy / ds = eps, here c alpha y; the last state is denoised."""
    t = np.linspace(1e-5 if sde == "ve" else 1e-3, 1.0, 200_001)
    (alpha, sigma), c = alpha_sigma(sde, t), abs(of_x)
    s = sigma / alpha
    expected = s[-1] * np.exp(-np.trapezoid(c * alpha, s)) * (1 - c * sigma[0])
    options: Any = {"tolerance": 1e-5} if sampler == "ode" else {"sampling_steps": 400}
    assert spread(small(sde, sampler=sampler, **options), 1000, of_x=of_x) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("sde", SDES)
def test_bits_are_those_of_the_authors_flow(sde: str, measured: list[Measured]) -> None:
    """likelihood.py with the drift of sde_lib.py in numpy, where the network predicts no noise: x_1 = x / alpha_0 alpha_1."""
    small(sde, bits=3, tolerance=1e-6)
    _, final = measured
    images = np.random.default_rng(0).uniform(-1, 1, size=(4, 2, 2, 1)).astype(np.float32)
    batch: Batch = {"image": jnp.asarray(images), "slot": jnp.arange(4)}
    found = jax.jit(final.measure)(state_of(), batch, KEY)["bits_per_dim"]
    (a0, _), (a1, s1) = alpha_sigma(sde, 1e-5), alpha_sigma(sde, 1.0)
    end = images.astype(np.float64).reshape(4, 4) * a1 / a0
    log_prob = stats.norm.logpdf(end, 0, s1).sum(1) + 4 * np.log(a1 / a0)
    np.testing.assert_allclose(found, -log_prob / (4 * math.log(2)) + 3 - 1, rtol=1e-3)


def test_probes_and_tolerance_reach_the_likelihood(monkeypatch: pytest.MonkeyPatch, measured: list[Measured]) -> None:
    seen: dict[str, Any] = {}

    def flow_log_prob(denoise: Any, schedule: Any, x: Any, key: Any, **options: Any) -> Any:
        seen.update(options, start=schedule.start, keys=key.shape)
        return jnp.zeros(len(x))

    monkeypatch.setattr(jaxgen.objectives, "flow_log_prob", flow_log_prob)
    small("vp", nll_samples=7, tolerance=0.02)
    measured[1].measure(state_of(), {"image": jnp.zeros((3, 1, 1, 1)), "slot": jnp.arange(3)}, KEY)
    assert seen == {"probes": 7, "rtol": 0.02, "atol": 0.02, "start": 1e-5, "keys": (3,)}


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = small("vp")
    assert loss_of("vp")(BLACK, in_training=10.0).mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    assert jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)["loss"].mean() < 5
    samples = [np.asarray(experiment.sample(state_of(in_training=t), KEY, jaxgen.given(4))) for t in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_are_dequantised_into_minus_1_to_1_and_training_images_alone_mirrored(flip: bool, measured: Any) -> None:
    experiment = small("vp", flip=flip, bits=2)
    image = jnp.asarray([[[0], [70], [255]]], jnp.uint8)
    low = np.array([-1.0, -0.5, 0.5])
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    straight = ((seen >= low) & (seen <= low + 0.5)).all(1)
    mirrored = ((seen >= low[::-1]) & (seen <= low[::-1] + 0.5)).all(1)
    assert (straight | mirrored).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    assert seen[:, 1].std() == pytest.approx(0.5 / np.sqrt(12), abs=0.02)
    assert len(measured) == 2
    for _, _, transform in measured:
        found = np.asarray(transform({"image": image, "index": 3}, jax.random.key(3))["image"]).ravel()
        assert ((found >= low) & (found <= low + 0.5)).all()


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = small("vp", bits=8)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1 / 200)


def test_the_gradient_is_clipped_and_parameters_are_averaged() -> None:
    experiment = small("vp", learning_rate=0.1, clip=1e-3, ema=0.9, warmup=2)
    assert experiment.ema == 0.9
    tx = experiment.players["model"].tx
    params = {"x": jnp.zeros(2)}
    first, state = tx.update({"x": jnp.array([300.0, 400.0])}, tx.init(params), params)
    second, _ = tx.update({"x": jnp.array([3e-4, 4e-4])}, state, params)
    assert float(jnp.abs(first["x"]).max()) == 0, "the warm-up begins at zero"
    np.testing.assert_allclose(second["x"], -0.05, rtol=0.1)


@pytest.mark.parametrize(("sde", "last"), [("vp", 1e-3), ("sub_vp", 1e-3), ("ve", 1e-5)])
def test_sampling_ends_before_the_first_time_of_training(sde: Any, last: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' `eps` of sampling, 1e-3 or 1e-5 by the process; training has 1e-5 for all."""
    starts: list[float] = []
    even = experiments.score_sde.grids.even
    monkeypatch.setattr(
        experiments.score_sde.grids, "even", lambda schedule, n: starts.append(schedule.start) or even(schedule, n)
    )
    make("score_sde", sde=sde)
    assert set(starts) == {last}
