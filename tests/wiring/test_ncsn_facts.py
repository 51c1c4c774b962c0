"""What `experiments.ncsn` is wired to, held against Song & Ermon 2019 (equations 2, 5 and 6, section 5, algorithm 1) and the
authors' code (github.com/ermongroup/ncsn: configs/anneal.yml, losses/dsm.py and runners/anneal_runner.py).

An affine network stands in for the U-Net. The paper counts levels from the most noise, sigma_1, and this package from the
least. Where the experiment differs from the paper its docstring says so."""

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
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.ncsn
import jaxgen
from jaxgen import data, nn
from jaxgen.types import Batch

KEY = jax.random.key(2)
SIGMAS = np.exp(np.linspace(np.log(1.0), np.log(0.01), 10))
"""Of `sigma_begin`, `sigma_end` and `num_classes`, as the authors' runner makes them."""


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(experiments.ncsn, "UNet", recording(made))
    return made


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.ncsn.experiment).parameters.items()}
    facts: dict[str, Any] = {"levels": 10, "smallest": 0.01, "langevin_steps": 100, "step_size": 2e-5, "learning_rate": 1e-3}
    facts |= {"modulation": "instance", "dropout": 0.0, "flip": False}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize(
    "difference",
    [
        "RefineNet",
        "--largest 1",
        "--batch-size 128",
        "without clipping and averages",
        "dequantises",
        "uniform noise",
        "twice this step",
        "leaves it",
    ],
)
def test_what_is_otherwise_than_in_the_paper_is_said(difference: str) -> None:
    assert difference in " ".join((experiments.ncsn.__doc__ or "").split())


def test_the_flags_of_the_network_reach_it(networks: list[Affine]) -> None:
    flags = {"channels": (8, 4), "blocks": 3, "attention": (2, 4), "dropout": 0.3, "remat": True}
    make("ncsn", **flags, bf16=True)
    for modulation in ("additive", "adaptive"):
        make("ncsn", modulation=modulation)
    one, *others = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert (one.classes, one.dtype, one.norm) == (0, jnp.bfloat16, nn.ConditionalInstanceNorm)
    assert isinstance(one.time, nn.RandomFourier)
    assert (one.time.features, one.time.scale) == (16, 1.0)
    assert [(other.dtype, other.norm) for other in others] == [
        (jnp.float32, nn.AdditiveGroupNorm),
        (jnp.float32, nn.AdaptiveGroupNorm),
    ]


@functools.cache
def loss_of(**flags: Any) -> Loss:
    """The loss with the paper's levels, compiled once for all tests."""
    return Loss(make("ncsn", **{"largest": 1.0, **flags}))


BLACK = np.zeros((4000, 1, 1, 1))
"""Images of one pixel, whose noise can be told."""


def drawn(loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """The noise of each example, and its sigma: the answers 0, 1 and -x_t err by eps^2, (1 - eps)^2 and (sigma + 1)^2 eps^2."""
    nothing, one, minus = loss(BLACK), loss(BLACK, constant=1.0), loss(BLACK, of_x=-1.0)
    return (1 + nothing - one) / 2, np.sqrt(minus / nothing) - 1


@pytest.mark.parametrize(("levels", "smallest", "largest"), [(10, 0.01, 1.0), (2, 0.1, 0.5), (4, 0.02, 3.0)])
def test_levels_are_geometric_and_drawn_evenly_and_the_network_hears_their_logarithm(
    levels: int, smallest: float, largest: float
) -> None:
    loss = loss_of() if levels == 10 else Loss(make("ncsn", levels=levels, smallest=smallest, largest=largest))
    eps, sigma = drawn(loss)
    ladder = SIGMAS if levels == 10 else np.geomspace(largest, smallest, levels)
    nearest = np.abs(np.log(np.maximum(sigma, 1e-9))[:, None] - np.log(ladder)).argmin(1)
    np.testing.assert_allclose(sigma, ladder[nearest], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.bincount(nearest, minlength=levels) / len(eps), 1 / levels, atol=0.03)
    assert eps.mean() == pytest.approx(0, abs=0.05)
    assert eps.std() == pytest.approx(1, abs=0.05)
    heard = 1000 * np.log(ladder[nearest])
    np.testing.assert_allclose(loss(BLACK, of_time=1000.0), (heard - eps) ** 2, rtol=1e-3, atol=1e-2)


def test_the_loss_is_equation_6_with_the_weight_sigma_squared_but_for_a_factor() -> None:
    """`anneal_dsm_score_estimation`: sums over pixels, halved; here their mean. The score is minus the answer over sigma."""
    eps, sigma = drawn(loss_of())
    perturbed = sigma * eps
    target = -1 / sigma**2 * perturbed
    scores = -(0.3 - 0.2 * perturbed) / sigma
    papers = 1 / 2 * (scores - target) ** 2 * sigma**2
    np.testing.assert_allclose(loss_of()(BLACK, constant=0.3, of_x=-0.2), 2 * papers, rtol=1e-2, atol=1e-3)
    assert loss_of()(np.zeros((50, 8, 8, 1))).mean() == pytest.approx(1, abs=0.05), "a mean over pixels"
    # The data are not scaled: alpha is 1.
    np.testing.assert_allclose(loss_of()(BLACK + 1e4, of_x=1.0), 1e8, rtol=1e-2)
    np.testing.assert_allclose(loss_of().noise_error, 1e8, rtol=1e-2)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = make("ncsn", levels=2, langevin_steps=1)
    assert loss_of()(BLACK, in_training=10.0).mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    found = jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)
    np.testing.assert_allclose(found["loss"].mean(), 1, atol=0.3)
    samples = [np.asarray(experiment.sample(state_of(in_training=t), KEY, jaxgen.given(4))) for t in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_0_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    """`ToTensor`, and `RandomHorizontalFlip` among the transforms of training alone."""
    experiment = make("ncsn", flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    scaled = [0.0, 0.2, 1.0]
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    trained = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(trained, scaled[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(trained, scaled, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    ((_, _, transform),) = measured
    for i in range(8):
        found = transform({"image": image, "index": i}, jax.random.key(i))["image"].ravel()
        np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make("ncsn", levels=3, largest=1.0)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360]
    picture = experiment.pictures["forward"](state_of(), KEY)
    columns = np.asarray(picture.images).reshape(8, picture.columns, 8, 8)
    test = data.load("digits", "test").gather(np.arange(8))["image"][..., 0] / 255
    assert picture.columns == 4, "the images, and the same at three levels"
    np.testing.assert_allclose(columns[:, 0], test, atol=1e-6)
    for column, sigma in ((1, 0.01), (2, 0.1), (3, 1.0)):
        grey = (test > 0.3) & (test < 0.7)
        assert (columns[:, column] >= test)[grey].mean() == pytest.approx(0.5, abs=0.15)
        out = (columns[:, column] == 1)[grey].mean()
        assert out == pytest.approx(stats.norm.sf((1 - test[grey]) / sigma).mean(), abs=0.1)


def langevin(levels: int, smallest: float, largest: float, steps: int, step_size: float, answer: Any) -> tuple[float, float]:
    """Algorithm 1 for a score that is affine in x, from N(0, sigma_1^2): mean and standard deviation of the samples."""
    sigmas = np.exp(np.linspace(np.log(largest), np.log(smallest), levels))
    mean, variance = 0.0, largest**2
    for sigma in sigmas:
        constant, slope = answer(sigma)
        alpha = step_size * sigma**2 / sigmas[-1] ** 2
        for _ in range(steps):
            mean += alpha / 2 * -(constant + slope * mean) / sigma
            variance = (1 - alpha / 2 * slope / sigma) ** 2 * variance + alpha
    # The noise that is left is taken off: x + sigma_L^2 times the score.
    constant, slope = answer(sigmas[-1])
    return mean - sigmas[-1] * (constant + slope * mean), abs(1 - sigmas[-1] * slope) * math.sqrt(variance)


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        ({"levels": 2, "smallest": 0.5, "largest": 1.0, "langevin_steps": 3, "step_size": 0.05}, {}),
        (
            {"levels": 3, "smallest": 0.1, "largest": 0.4, "langevin_steps": 5, "step_size": 1e-3},
            {"of_x": 1.5, "constant": -0.5},
        ),
        ({"levels": 2, "smallest": 0.2, "largest": 2.0, "langevin_steps": 4, "step_size": 1e-3}, {"of_time": 0.3, "of_x": 0.2}),
        ({"levels": 4, "smallest": 0.3, "largest": 0.6, "langevin_steps": 2, "step_size": 2e-2}, {"constant": -1.0}),
    ],
)
def test_samples_have_the_law_of_algorithm_1(flags: dict[str, Any], numbers: dict[str, float]) -> None:
    experiment = make("ncsn", **flags)
    x = np.asarray(experiment.sample(state_of(**numbers), KEY, jaxgen.given(1000)), np.float64)
    constant, slope, time = (numbers.get(name, 0.0) for name in ("constant", "of_x", "of_time"))
    mean, std = langevin(
        flags["levels"],
        flags["smallest"],
        flags["largest"],
        flags["langevin_steps"],
        flags["step_size"],
        lambda sigma: (constant + time * math.log(sigma), slope),
    )
    assert x.min() >= 0
    assert x.max() <= 1
    law = stats.norm(mean, std)
    for at in (0.0, 0.3, 0.7):
        assert (x <= at).mean() == pytest.approx(law.cdf(at), abs=0.008)
    assert (x == 1).mean() == pytest.approx(law.sf(1), abs=0.008)


def test_the_last_step_takes_all_noise_off() -> None:
    """The data are one grey, 0.5: the noise is (x - 0.5) / sigma, at the one sigma that both levels have."""
    experiment = make("ncsn", levels=2, smallest=0.0999, largest=0.1, langevin_steps=100, step_size=1e-3)
    x = np.asarray(experiment.sample(state_of(constant=-5.0, of_x=10.0), KEY, jaxgen.given(200)), np.float64)
    assert x.mean() == pytest.approx(0.5, abs=1e-3)
    assert x.std() < 1e-3


def test_sampling_starts_at_the_most_noise() -> None:
    """In the first column of the picture: N(0, sigma_1^2) in the paper's count."""
    for largest in (0.5, 3.0):
        experiment = make("ncsn", levels=2, largest=largest)
        pictures = [experiment.pictures["reverse"](state_of(), jax.random.key(i)) for i in range(4)]
        first = np.concatenate([np.asarray(p.images).reshape(8, 16, -1)[:, 0].ravel() for p in pictures])
        assert (first == 0).mean() == pytest.approx(0.5, abs=0.04)
        assert (first == 1).mean() == pytest.approx(stats.norm.sf(1 / largest), abs=0.04)
        assert pictures[0].columns == 16


def test_the_caption_tells_the_levels_and_the_steps() -> None:
    picture = make("ncsn", levels=3, langevin_steps=2).pictures["samples"](state_of(), KEY)
    assert picture.caption.startswith("Samples, 3 levels of 2 Langevin steps;")
    assert len(picture.images) == 64


@pytest.mark.parametrize("clip", [1.0, 5.0])
def test_the_gradients_global_norm_is_bounded_before_adam(clip: float) -> None:
    """`get_optimizer`: Adam with betas 0.9 and 0.999 and PyTorch's 1e-8, and no decay of weights."""
    tx, w = make("ncsn", clip=clip, learning_rate=2e-3).players["model"].tx, {"w": jnp.full(3, 7.0)}
    opt, m, v = tx.init(w), 0.0, 0.0
    for step, g in enumerate([[0.06, 0.08, 0.0], [30.0, 0.0, 40.0], [0.0, 3.0, 0.0]], start=1):
        updates, opt = tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        clipped = np.array(g) * min(1.0, clip / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        expected = -2e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-3, atol=1e-9)


def test_the_averages_are_evaluated_and_sampled_from() -> None:
    experiment = make("ncsn", levels=2, largest=0.1, ema=0.9, accumulate=2, batch_size=360)
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    own, other = (state_of(constant=c) for c in (5.0, -500.0))
    run = jaxgen.Run(experiment, own._replace(ema=other.params), 0, 0)
    np.testing.assert_array_equal(run.sample(3), 1)
    assert run.evaluate()["test"]["loss"] == pytest.approx(500**2, rel=0.01)
    assert not experiment.protocol, "a loss is no figure to compare"
