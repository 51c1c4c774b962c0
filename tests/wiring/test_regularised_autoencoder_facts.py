"""What `experiments.regularised_autoencoder` is wired to, held against Vincent et al. 2008, Rifai et al. 2011 and Ng 2011."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make, titled
from wiring.conftest import Measured

import experiments.regularised_autoencoder as module
import jaxgen
from jaxgen import objectives
from jaxgen.errors import UserError
from jaxgen.models.autoencoders import TiedAutoencoder
from jaxgen.runs import run
from jaxgen.types import Batch

NAME, KEY = "regularised_autoencoder", jax.random.key(3)
MODEL = TiedAutoencoder((8, 8, 1), 6)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 8, 8, 1)), jnp.float32)
BATCH: Batch = {"image": X, "slot": jnp.arange(5, dtype=jnp.int32)}


def losses(loss: Any, state: jaxgen.TrainState) -> np.ndarray:
    return np.asarray(loss(state.params, state, BATCH, KEY, train=True)[0])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, objectives.denoising(MODEL, objectives.masking(0.3))),
        ({"corrupted": 0.7}, objectives.denoising(MODEL, objectives.masking(0.7))),
        ({"corruption": "salt_and_pepper"}, objectives.denoising(MODEL, objectives.salt_and_pepper(0.3))),
        ({"corruption": "gaussian", "corrupted": 1.5}, objectives.denoising(MODEL, objectives.gaussian_noise(1.5))),
        ({"method": "contractive"}, objectives.contractive(MODEL, 0.3)),
        ({"method": "contractive", "contraction": 2.0}, objectives.contractive(MODEL, 2.0)),
        ({"method": "sparse"}, objectives.sparse_rate(MODEL, rate=0.1, weight=0.3)),
        ({"method": "sparse", "rate": 0.3, "sparsity": 2.0}, objectives.sparse_rate(MODEL, rate=0.3, weight=2.0)),
        ({"method": "plain"}, objectives.reconstruction(MODEL)),
    ],
    ids=lambda given: titled(given) if isinstance(given, dict) else "",
)
def test_each_method_has_its_loss_and_its_flags(flags: dict[str, Any], expected: Any) -> None:
    experiment = make(NAME, latents=6, **flags)
    state = run.begin(experiment, 0)
    np.testing.assert_allclose(losses(experiment.players["model"].loss, state), losses(expected, state), rtol=1e-6)


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    assert (written["method"], written["corruption"], written["corrupted"]) == ("denoising", "masking", 0.3)
    assert make(NAME).networks["model"].module.latents == 2
    assert make(NAME, bf16=True, accumulate=2, ema=0.9).networks["model"].module.dtype == jnp.bfloat16
    assert [make(NAME, decoder=kind).networks["model"].module.linear for kind in ("sigmoid", "linear")] == [False, True]
    assert (make(NAME, accumulate=2).accumulate, make(NAME, ema=0.9).ema) == (2, 0.9)


def test_data_are_read_where_they_belong(measured: list[Measured]) -> None:
    experiment = make(NAME)
    ((source, _, transform),) = measured
    assert source is experiment.splits["test"]
    assert experiment.train.source is experiment.splits["train"]
    for of in (transform, experiment.train.transform):
        images = {"image": jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1), "slot": jnp.arange(2)}
        assert of(images, KEY)["image"].ravel().tolist() == [0, 1]


def test_the_classifier_reads_clean_units_of_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make(NAME, latents=3, l2=0.5)
    state, seen = run.begin(experiment, 0), []

    def fake(*features: Any, l2: float) -> float:
        assert l2 == 0.5
        seen.extend(features)
        return 0.75

    monkeypatch.setattr(module.probe, "linear", fake)
    found = dict(experiment.final["test"](state, KEY, lambda items, **_: items))
    assert found["linear_error"] == 25.0
    assert [len(rows) for rows in seen] == [1437, 1437, 360, 360]
    for (units, labels), split in zip((seen[:2], seen[2:]), ("train", "test"), strict=True):
        rows = experiment.splits[split].gather(np.arange(20))
        expected = experiment.networks["model"].module.apply(
            {"params": state.params["model"]}, jnp.asarray(rows["image"], jnp.float32) / 255, method="encode"
        )
        np.testing.assert_allclose(units[:20], expected, rtol=1e-5)
        np.testing.assert_array_equal(labels[:20], rows["label"])


@pytest.mark.parametrize(("flags", "corrupted"), [({}, True), ({"method": "plain"}, False)])
def test_the_picture_shows_what_the_method_is_given(flags: dict[str, Any], corrupted: bool) -> None:
    experiment = make(NAME, corrupted=1.0, **flags)
    picture = experiment.pictures["reconstructions"](run.begin(experiment, 0), KEY)
    given = np.asarray(picture.images)[:16]
    assert (given == 0).all() == corrupted


@pytest.mark.parametrize(
    ("flags", "sentence"), [({"rate": 0.0}, "--rate 0 would let no unit"), ({"corrupted": 1.2}, "--corrupted 1.2 is a share")]
)
def test_settings_without_a_meaning_are_refused(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(NAME, **flags)


def test_adam_moves_by_the_rate_that_is_asked_for() -> None:
    for flags, rate in (({}, 3e-3), ({"learning_rate": 0.01}, 0.01)):
        tx = make(NAME, **flags).players["model"].tx
        updates, _ = tx.update({"w": jnp.ones(1)}, tx.init({"w": jnp.zeros(1)}))
        assert float(updates["w"][0]) == pytest.approx(-rate, rel=1e-4)
