"""What `experiments.made` is wired to, held against Germain et al. 2015 and github.com/mgermain/MADE.

With weights of zero every pixel has the probability of its bias, whatever the order is.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_splits, defaults, moves, shapes, state_of, told

import experiments.made
import jaxgen
from jaxgen.types import Batch


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"binarization": "dynamic", "hidden": (500,), "masks": 8, "agnostic": "both", "raster": False}
    facts |= {"direct": True, "condition": False, "optimizer": "adam", "batch_size": 100, "steps": 8000, "ema": None}
    written = defaults(experiments.made.experiment)
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_pixels_are_binary_in_training_and_evaluation(binarization: Any, measured: list) -> None:
    experiment = make("made", binarization=binarization)
    grey = jnp.full((16, 16, 1), 51, jnp.uint8)
    batch: Batch = {"image": grey[None], "slot": jnp.arange(1), "index": jnp.arange(3, 4)}
    drawn = [[experiment.train.transform(batch, jax.random.key(i))["image"][0] for i in range(2)]]
    drawn += [[one.transform({"image": grey, "index": 3}, jax.random.key(i))["image"] for i in range(2)] for one in measured]
    assert len(drawn) == 2
    for once, again in drawn:
        assert set(np.unique(once)) == {0.0, 1.0}
        assert np.array_equal(once, again) == (binarization == "static")
    assert_splits(experiment, measured[0], "image")


def test_without_weights_the_likelihood_is_that_of_the_biases() -> None:
    experiment = make("made", masks=3)
    rng = np.random.default_rng(0)
    bias, x = rng.normal(size=64), rng.integers(0, 2, (5, 8, 8, 1))
    values, metrics = told(experiment, "model", state_of(experiment, {"model/out/bias": bias}), {"image": jnp.float32(x)})
    nll = (np.logaddexp(0, bias) - x.reshape(5, 64) * bias).sum(1)
    np.testing.assert_allclose(values, nll, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_dim"], nll / (64 * math.log(2)), rtol=1e-5)
    assert experiment.protocol == {"nll": ("binarization", "masks", "agnostic", "raster")}


def test_training_goes_through_as_many_sets_of_masks_as_asked_and_evaluation_has_all(monkeypatch: Any) -> None:
    asked: list[int] = []
    whole = experiments.made.objectives.order_agnostic_likelihood

    def spied(model: Any, *, masks: int) -> Any:
        asked.append(masks)
        return whole(model, masks=masks)

    monkeypatch.setattr(experiments.made.objectives, "order_agnostic_likelihood", spied)
    make("made", masks=7)
    assert asked == [7]


@pytest.mark.parametrize(
    ("agnostic", "differ"), [("both", (True, True)), ("order", (True, False)), ("connectivity", (False, True))]
)
def test_the_flags_of_the_masks_reach_the_model(agnostic: Any, differ: Any) -> None:
    model: Any = make("made", agnostic=agnostic).networks["model"].module
    assert (model.orders, model.connectivities) == differ
    assert not model.raster
    rows: Any = (
        make("made", agnostic="connectivity", raster=True, condition=True, direct=False, bf16=True).networks["model"].module
    )
    assert (rows.raster, rows.condition, rows.direct, rows.dtype) == (True, True, False, jnp.bfloat16)


def test_the_sizes_of_the_layers() -> None:
    found = shapes(make("made", hidden=(7, 5)))
    kernels = {path.removeprefix("model/"): shape for path, shape in found.items() if path.endswith("kernel")}
    assert kernels == {
        "layers_0/kernel": (64, 7),
        "layers_1/kernel": (7, 5),
        "out/kernel": (5, 64),
        "straight/kernel": (64, 64),
    }


def test_adagrad_begins_with_sums_of_zero_as_the_authors_does() -> None:
    tx = make("made", optimizer="adagrad", learning_rate=0.1).players["model"].tx
    first, second = moves(tx, [3e-3, 4e-3])
    assert first == pytest.approx(-0.1 * 3e-3 / math.sqrt(9e-6 + 1e-6), rel=1e-4)
    assert second == pytest.approx(-0.1 * 4e-3 / math.sqrt(25e-6 + 1e-6), rel=1e-4)


def test_the_rate_falls_along_a_cosine_where_asked() -> None:
    rates = [float(make("made", cosine=cosine, steps=10).schedules["learning_rate"](5)) for cosine in (False, True)]
    np.testing.assert_allclose(rates, [1e-3, 5e-4], rtol=1e-5)
    steps = [abs(moves(make("made", cosine=True, steps=2).players["model"].tx, [1.0, 1.0])[i]) for i in range(2)]
    assert steps[1] < 0.7 * steps[0]


def test_a_sample_is_drawn_in_the_order_of_a_set_of_its_own() -> None:
    """The pixel at the second place copies the one at the first: each image tells its set by which two pixels agree."""
    experiment = make("made", masks=4)
    model: Any = experiment.networks["model"].module
    places = np.asarray(model.degrees(jnp.arange(4)).pixels)
    first, second = (places == 0).argmax(1), (places == 1).argmax(1)
    assert len(set(first)) == len(set(second)) == 4
    kernel, bias = np.zeros((64, 64)), np.zeros(64)
    kernel[first, second], bias[second] = 40.0, -20.0
    state = state_of(experiment, {"model/straight/kernel": kernel, "model/out/bias": bias})
    x = np.asarray(experiment.sample(state, jax.random.key(0), jaxgen.given(400))).reshape(400, 64)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert x[:, [p for p in range(64) if p not in second]].mean() == pytest.approx(0.5, abs=0.02)
    # Of the set that was drawn from they agree always. Of another one they do too if its first pixel came first, and the
    # second is black without it.
    agrees = x[:, first] == x[:, second]
    assert agrees.any(1).all()
    assert 0.25 < agrees.mean() < 1
    assert (agrees.mean(0) > 0.4).all()
    # The same images at any size of a draw.
    np.testing.assert_array_equal(experiment.sample(state, jax.random.key(0), jaxgen.given(9)).reshape(9, 64), x[:9])


def test_the_picture_of_the_probabilities_is_of_test_images() -> None:
    experiment = make("made")
    bias = np.full(64, math.log(0.25 / 0.75))
    images = experiment.pictures["conditionals"](state_of(experiment, {"model/out/bias": bias}), jax.random.key(0)).images
    rows = np.asarray(images).reshape(2, 2, 16, 64)
    assert set(np.unique(rows[:, 0])) == {0.0, 1.0}
    np.testing.assert_allclose(rows[:, 1], 0.25, rtol=1e-5)


def test_one_order_of_rows_and_sets_that_differ_in_the_order_contradict() -> None:
    with pytest.raises(jaxgen.UserError, match="--raster is a single order; give --agnostic connectivity"):
        make("made", raster=True)
    assert make("made", raster=True, masks=1)
