"""What `experiments.pixelcnn_pp` is wired to, held against Salimans et al. 2017 and github.com/openai/pixel-cnn.

With weights of zero every pixel has the law of the last layer's biases, whatever the pixels before it are.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.readable import assert_splits, defaults, shapes, state_of, told

import experiments.pixelcnn_pp
import jaxgen
from jaxgen.types import Batch

TINY: dict[str, Any] = {"blocks": 0, "scales": 1, "width": 2, "components": 1}


def law(bits: int, loc: float, log_scale: float) -> np.ndarray:
    """The probabilities of the levels under one logistic."""
    levels = 2**bits
    edges = (2 * np.arange(levels - 1) + 1) / (levels - 1) - 1
    return np.diff(np.concatenate([[0], stats.logistic.cdf((edges - loc) / math.exp(log_scale)), [1]]))


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"bits": 4, "flip": False, "labels": False, "width": 16, "blocks": 1, "scales": 2, "components": 5}
    facts |= {"dropout": 0.5, "learning_rate": 1e-3, "rate_decay": 0.999, "ema": 0.99, "keep_rows": 0.0, "batch_size": 32}
    written = defaults(experiments.pixelcnn_pp.experiment)
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("bits", [8, 4])
def test_pixels_are_levels_in_training_and_evaluation(bits: int, measured: list) -> None:
    experiment = make("pixelcnn_pp", bits=bits, **TINY)
    bytes_ = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(1), "index": jnp.arange(1)}
    expected = 2 * (np.arange(256) // 2 ** (8 - bits)) / (2**bits - 1) - 1
    found = experiment.train.transform(batch, jax.random.key(0))["image"]
    np.testing.assert_allclose(np.ravel(found), expected, atol=1e-6)
    found = measured[0].transform({"image": bytes_[0], "index": 0}, jax.random.key(0))["image"]
    np.testing.assert_allclose(np.ravel(found), expected, atol=1e-6)
    assert_splits(experiment, measured[0], "image", "label")


def test_mirror_images_are_trained_on_where_asked() -> None:
    row = jnp.arange(0, 256, 32, dtype=jnp.uint8).reshape(1, 1, 8, 1)
    batch: Batch = {"image": jnp.tile(row, (64, 1, 1, 1)), "slot": jnp.arange(64)}
    for flip in (False, True):
        made = make("pixelcnn_pp", flip=flip, **TINY)
        x = np.asarray(made.train.transform(batch, jax.random.key(0))["image"])[:, 0, :, 0]
        mirrored = (np.diff(x, axis=1) < 0).all(1)
        assert mirrored.any() == flip
        assert not mirrored.all()


@pytest.mark.parametrize("bits", [8, 2])
def test_without_weights_the_likelihood_is_that_of_the_last_biases(bits: int) -> None:
    experiment = make("pixelcnn_pp", bits=bits, **TINY)
    state = state_of(experiment, {"model/out/layer/bias": np.array([0.0, 0.2, -1.0])})
    level = np.random.default_rng(0).integers(0, 2**bits, (3, 8, 8, 1))
    x = 2 * level / (2**bits - 1) - 1
    values, metrics = told(experiment, "model", state, {"image": jnp.asarray(x, jnp.float32)})
    nll = -np.log(law(bits, 0.2, -1.0))[level].sum((1, 2, 3))
    np.testing.assert_allclose(values, nll, rtol=1e-4)
    np.testing.assert_allclose(metrics["bits_per_dim"], nll / (64 * math.log(2)), rtol=1e-4)


def test_samples_are_levels_of_the_model_in_zero_to_one() -> None:
    experiment = make("pixelcnn_pp", bits=2, **TINY)
    state = state_of(experiment, {"model/out/layer/bias": np.array([0.0, 0.2, -1.0])})
    x = np.asarray(experiment.sample(state, jax.random.key(0), jaxgen.given(100)))
    assert x.shape == (100, 8, 8, 1)
    counts = np.bincount(np.round(3 * x).astype(int).ravel(), minlength=4)
    np.testing.assert_allclose(x * 3, np.round(x * 3), atol=1e-5)
    assert stats.chisquare(counts, law(2, 0.2, -1.0) * x.size).pvalue > 1e-3


def test_the_flags_of_the_network_reach_it() -> None:
    flags: dict[str, Any] = {"width": 3, "blocks": 1, "scales": 3, "components": 4, "dropout": 0.3, "bf16": True, "bits": 5}
    model: Any = make("pixelcnn_pp", **flags).networks["model"].module
    assert (model.width, model.blocks, model.scales, model.dropout, model.dtype) == (3, 1, 3, 0.3, jnp.bfloat16)
    assert (model.head.components, model.head.levels, model.classes) == (4, 32, 0)


def test_classes_condition_the_loss_and_are_sampled_in_turn() -> None:
    flags = {**TINY, "blocks": 1}
    experiment = make("pixelcnn_pp", labels=True, **flags)
    assert experiment.networks["model"].module.classes == 10
    assert experiment.given is not None
    assert jaxgen.given(12, experiment.given)["label"].tolist() == [*range(10), 0, 1]
    assert make("pixelcnn_pp", **TINY).given is None
    found = shapes(experiment)
    assert found["model/in0_0_left/condition/layer/kernel"] == (1, 1, 10, 4)


def test_the_rate_falls_by_the_same_factor_every_step() -> None:
    rate = make("pixelcnn_pp", rate_decay=0.9, learning_rate=0.01, **TINY).schedules["learning_rate"]
    np.testing.assert_allclose([float(rate(step)) for step in (0, 1, 10)], [0.01, 0.009, 0.01 * 0.9**10], rtol=1e-5)


def test_the_rows_that_are_kept_are_those_of_the_given_images() -> None:
    experiment = make("pixelcnn_pp", keep_rows=0.5, bits=2, **TINY)
    assert experiment.given is not None
    given = jaxgen.given(6, experiment.given)
    x = np.asarray(experiment.sample(state_of(experiment, {}), jax.random.key(0), given))
    kept = np.asarray(given["image"]) // 64 / 3
    np.testing.assert_allclose(x[:, :4], kept[:, :4], atol=1e-6)
    assert not np.allclose(x[:, 4:], kept[:, 4:])
    shown = make("pixelcnn_pp", bits=2, **TINY).pictures["completions"](state_of(experiment, {}), jax.random.key(0)).images
    rows = np.asarray(shown).reshape(2, 2, 16, 8, 8)
    np.testing.assert_allclose(rows[:, 1, :, :4], rows[:, 0, :, :4] * 255 // 64 / 3, atol=1e-5)


@pytest.mark.parametrize("scales", [5])
def test_sides_that_do_not_halve_are_refused(scales: int) -> None:
    with pytest.raises(jaxgen.UserError, match="Sides of 8x8 are not halved evenly by 5 scales"):
        make("pixelcnn_pp", scales=scales).initial(jax.random.key(0))
