"""What `experiments.realnvp` is wired to, held against Dinh et al. 2017 and its authors' code (tensorflow/models,
research/real_nvp).

With parameters of zero no coupling changes anything, and the density is that of the logits, in closed form."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.readable import assert_splits, shapes, state_of, told

import experiments.realnvp
import jaxgen
from jaxgen.types import Batch


def logits(x: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The logits of intensities, and the logarithms of their slopes."""
    p = alpha + (1 - 2 * alpha) * x
    return np.log(p / (1 - p)), np.log((1 - 2 * alpha) / (p * (1 - p)))


def test_the_defaults_are_the_papers_but_for_the_size() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.realnvp.experiment).parameters.items()}
    facts: dict[str, Any] = {"alpha": 0.05, "scales": 2, "batch_size": 64, "learning_rate": 1e-3, "clip": 100.0, "l2": 5e-5}
    facts |= {"flip": False, "temperature": 1.0, "ema": None}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("bits", [8, 4])
def test_pixels_are_levels_with_noise_in_training_and_evaluation(bits: int, measured: list) -> None:
    experiment = make("realnvp", bits=bits)
    bytes_ = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(1), "index": jnp.arange(1)}
    draws = [experiment.train.transform(batch, jax.random.key(i))["image"][0] for i in range(2)]
    (often, last) = measured
    draws.append(often.transform({"image": bytes_[0], "index": 0}, jax.random.key(3))["image"])
    for x in map(np.asarray, draws):
        np.testing.assert_array_equal(np.floor(x * 2**bits), np.asarray(bytes_[0]) // 2 ** (8 - bits))
    assert np.abs(np.asarray(draws[0] - draws[1])).min() > 0
    # The final bound draws the noise itself.
    assert last.transform({"image": bytes_[0]}, jax.random.key(0))["image"].dtype == jnp.uint8
    assert_splits(experiment, often, "image", "label")
    assert last.source is often.source


def test_mirror_images_are_trained_on_where_asked() -> None:
    row = jnp.arange(0, 256, 32, dtype=jnp.uint8).reshape(1, 1, 8, 1)
    batch: Batch = {"image": jnp.tile(row, (64, 1, 1, 1)), "slot": jnp.arange(64)}
    for flip in (False, True):
        x = np.asarray(make("realnvp", flip=flip).train.transform(batch, jax.random.key(0))["image"])[:, 0, :, 0]
        mirrored = (np.diff(x, axis=1) < 0).all(1)
        assert mirrored.any() == flip
        assert not mirrored.all()


@pytest.mark.parametrize(("bits", "alpha"), [(4, 0.05), (8, 0.1)])
def test_without_couplings_the_likelihood_is_that_of_normal_logits(bits: int, alpha: float) -> None:
    experiment = make("realnvp", bits=bits, alpha=alpha)
    x = np.random.default_rng(0).uniform(0.01, 0.99, (3, 8, 8, 1))
    values, metrics = told(experiment, "model", state_of(experiment, {}), {"image": jnp.asarray(x, jnp.float32)})
    z, slopes = logits(x, alpha)
    nll = 64 * bits * math.log(2) - (stats.norm.logpdf(z) + slopes).sum((1, 2, 3))
    np.testing.assert_allclose(values, nll, rtol=1e-4)
    np.testing.assert_allclose(metrics["bits_per_dim"], nll / (64 * math.log(2)), rtol=1e-4)


def test_the_tighter_bound_is_of_as_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(experiments.realnvp.objectives, "tighter_bits_per_dim", lambda _, **options: asked.append(options))
    make("realnvp", noise_samples=7, bits=5)
    assert asked == [{"samples": 7, "bits": 5}]


def test_the_flags_of_the_networks_reach_all_scales() -> None:
    found = shapes(make("realnvp", scales=2, width=6, blocks=2))
    kernels = {path: shape for path, shape in found.items() if path.endswith("kernel")}
    # Four checkerboards on the last scale, three on the first, and three of channels; 1 + 1 + 3 x 2 + 1 kernels in each.
    assert len(kernels) == 10 * 9
    # The image and its negative, and the mask; of four channels half, and its negative; of two the image.
    inputs = sorted(shape[2:] for shape in kernels.values() if shape[:2] == (3, 3) and shape[2] < 6)
    assert inputs == [(3, 6)] * 3 + [(4, 12)] * 3 + [(5, 12)] * 4
    assert len([path for path in shapes(make("realnvp", scales=1, width=6, blocks=0)) if path.endswith("kernel")]) == 4 * 3


def test_lengths_and_factors_alone_have_the_penalty() -> None:
    tree = {"a": {"kernel": 1, "scale": 2, "bias": 3}, "scale": 4}
    marked = experiments.realnvp.lengths_and_factors(tree)
    assert marked == {"a": {"kernel": False, "scale": True, "bias": False}, "scale": True}


def test_gradients_of_a_larger_norm_are_shortened() -> None:
    """Two steps of Adam see the sizes of both gradients."""
    moves = []
    for clip in (100.0, None):
        tx, w = make("realnvp", clip=clip).players["model"].tx, {"kernel": jnp.zeros(1)}
        opt = tx.init(w)
        for g in (1.0, 1e4):
            update, opt = tx.update({"kernel": jnp.full(1, g)}, opt, w)
        moves.append(float(update["kernel"][0]))
    for move, g in zip(moves, (100.0, 1e4), strict=True):
        m, v = 0.9 * 0.1 * 1 + 0.1 * g, 0.999 * 0.001 + 0.001 * g**2
        assert move == pytest.approx(-1e-3 * (m / (1 - 0.81)) / math.sqrt(v / (1 - 0.999**2)), rel=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_samples_are_of_the_temperature(temperature: float) -> None:
    experiment = make("realnvp", temperature=temperature)
    x = np.asarray(experiment.sample(state_of(experiment, {}), jax.random.key(0), jaxgen.given(200)), np.float64)
    inside = (x > 0) & (x < 1)
    z, _ = logits(x[inside], 0.05)
    assert x.shape == (200, 8, 8, 1)
    # Of all that lies within [0, 1]: logits up to log 19.
    expected = stats.truncnorm(-math.log(19) / temperature, math.log(19) / temperature, scale=temperature)
    assert z.std() == pytest.approx(expected.std(), rel=0.03)
    assert experiment.sampling == ("temperature",)


def test_sides_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(jaxgen.UserError, match="take fewer levels or scales"):
        make("realnvp", scales=5).initial(jax.random.key(0))
