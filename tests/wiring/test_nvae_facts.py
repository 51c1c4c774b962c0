"""What `experiments.nvae` is wired to, held against Vahdat & Kautz 2020 and their code."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_advised, assert_splits, defaults, moves, shapes, state_of, told

import experiments.nvae
import jaxgen
from jaxgen.game import merging
from jaxgen.nn import BernoulliLikelihood, LogisticMixtureLikelihood
from jaxgen.objectives import SPECTRAL
from jaxgen.types import Batch

SMALL: dict[str, Any] = {"groups": (1, 1), "width": 2, "latents": 1}
PLAIN: dict[str, Any] = {**SMALL, "spectral": 0.0}
MEAN, LOG = 0.7, 5 * math.atanh(math.log(0.99) / 5)
"""Of the first posterior: a mean before it is clamped, and a log deviation by which sigma is 1."""


def first_posterior(mean: float = MEAN) -> dict[str, Any]:
    return {"model/posteriors_0/conv/bias": np.array([mean, LOG])}


def test_the_defaults_are_the_codes_but_for_the_sizes() -> None:
    facts: dict[str, Any] = {"binarization": "dynamic", "residual": True, "squeeze_excite": True, "balanced": True}
    facts |= {"spectral": 1e-2, "spectral_start": None, "weight_decay": 3e-4, "final_learning_rate": 1e-4, "flows": 0}
    facts |= {"temperature": 1.0, "readjust": 0, "components": None, "padding": 0}
    written = defaults(experiments.nvae.experiment)
    assert {name: written[name] for name in facts} == facts
    assert written["beta_warmup"] == 0.3 * written["steps"]
    assert written["warmup"] + written["decay_steps"] == written["steps"]


@pytest.mark.parametrize("binarization", ["dynamic", "static", "none"])
def test_pixels_in_training_and_evaluation(binarization: Any, measured: list) -> None:
    experiment = make("nvae", binarization=binarization, **PLAIN)
    grey = jnp.full((8, 8, 1), 51, jnp.uint8)
    batch: Batch = {"image": grey[None], "slot": jnp.arange(1), "index": jnp.arange(3, 4)}
    drawn = [[experiment.train.transform(batch, jax.random.key(i))["image"][0] for i in range(2)]]
    drawn += [[one.transform({"image": grey, "index": 3}, jax.random.key(i))["image"] for i in range(2)] for one in measured]
    assert len(drawn) == 3
    for once, again in drawn:
        if binarization == "none":
            np.testing.assert_allclose(once, 2 * 51 / 255 - 1, atol=1e-6)
        else:
            assert set(np.unique(once)) == {0.0, 1.0}
        assert np.array_equal(once, again) == (binarization != "dynamic")
    for one in measured:
        assert_splits(experiment, one, "image")
    wanted = ({"nll", "bits_per_dim"} if binarization == "none" else {"nll"}, ("binarization", "nll_samples"))
    assert (set(experiment.protocol), experiment.protocol["nll"]) == wanted


@pytest.mark.parametrize("step", [0, 30, 60, 500])
def test_the_weights_of_the_kls_and_of_the_spectrum_by_the_step(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    whole = experiments.nvae.objectives.spectrally_regularised

    def spied(*args: Any, **options: Any) -> Any:
        asked.append(options["weight"])
        return whole(*args, **options)

    monkeypatch.setattr(experiments.nvae.objectives, "spectrally_regularised", spied)
    beta = make("nvae", beta_warmup=60, **SMALL).schedules["beta"]
    expected = min(max((step - 1e-4 * 200) / 60, 1e-4), 1)
    assert float(beta(jnp.int32(step))) == pytest.approx(expected, rel=1e-4)
    assert float(make("nvae", beta_warmup=0, **PLAIN).schedules["beta"](step)) == 1
    assert float(asked[0](jnp.int32(step))) == pytest.approx(1e-2, rel=1e-5)
    make("nvae", beta_warmup=60, spectral=1e-2, spectral_start=10.0, **SMALL)
    assert float(asked[1](jnp.int32(step))) == pytest.approx(
        math.exp((1 - expected) * math.log(10) + expected * math.log(0.01)), rel=1e-3
    )


@pytest.mark.slow
def test_the_kls_and_the_likelihood_of_chosen_numbers() -> None:
    """All is zero but the bias of the first posterior: the second group is at its prior, and every logit is zero."""
    experiment = make("nvae", beta_warmup=100, **PLAIN)
    state: Any = state_of(experiment, first_posterior(), step=50)
    batch = {"image": jnp.ones((4, 8, 8, 1))}
    values, metrics = told(experiment, "model", state, batch)
    kl = 16 * 0.5 * ((5 * math.tanh(MEAN / 5) / 1.01) ** 2 + (1 / 1.01) ** 2 - 1) + 16 * math.log(1.01)
    np.testing.assert_allclose(metrics["kl_1"], kl, rtol=1e-3)
    np.testing.assert_allclose(metrics["kl_2"], 0, atol=1e-4)
    np.testing.assert_allclose(metrics["log_likelihood"], -64 * math.log(2), rtol=1e-5)
    beta = (50 - 100 / 3000) / 100
    np.testing.assert_allclose(values, beta * kl + 64 * math.log(2), rtol=1e-4)
    # Balanced in training: shares of |KL| + 0.01, by the sizes 1 and 4.
    trained, _ = told(experiment, "model", state, batch, train=True)
    share = 2 * (kl + 0.01) / (kl + 0.01 + 0.01 / 4)
    np.testing.assert_allclose(trained, beta * share * kl + 64 * math.log(2), rtol=1e-4)
    apart, _ = told(make("nvae", beta_warmup=100, balanced=False, **PLAIN), "model", state, batch, train=True)
    np.testing.assert_allclose(apart, values, rtol=1e-4)


def test_the_flags_of_the_network_reach_it() -> None:
    flags: dict[str, Any] = {"groups": (2, 1), "width": 3, "latents": 5, "cells": 2, "blocks": 1, "block_cells": 4, "flows": 1}
    flags |= {"residual": False, "squeeze_excite": False, "padding": 4, "bf16": True}
    module = make("nvae", **flags).networks["model"].module
    fields = {"channels" if name == "width" else name: value for name, value in flags.items() if name != "bf16"}
    assert {name: getattr(module, name) for name in fields} == fields
    assert (module.dtype, module.shape, module.outputs) == (jnp.bfloat16, (8, 8, 1), 1)
    assert isinstance(module.likelihood, BernoulliLikelihood)
    grey = make("nvae", binarization="none", components=4, **PLAIN).networks["model"].module
    assert (grey.likelihood, grey.outputs) == (LogisticMixtureLikelihood(4), 12)
    assert make("nvae", binarization="none", **PLAIN).networks["model"].module.outputs == 30


@pytest.mark.slow
def test_the_vectors_of_the_spectrum_are_variables_of_the_state() -> None:
    experiment = make("nvae", **SMALL)
    found = shapes(experiment)
    assert any(path.startswith(f"{SPECTRAL}/after/") for path in found)
    assert experiment.players["model"].merge == {SPECTRAL: merging.same}
    # Kernels that are one number for each output have known singular values; here all but one kernel are zero.
    state: Any = state_of(experiment, {"model/stem/conv/kernel": 1.0, f"{SPECTRAL}/after/2x9": 1.0})
    _, metrics = told(experiment, "model", state, {"image": jnp.ones((2, 8, 8, 1))}, train=True)
    # e^0 v / (|v| + 1e-5) of nine ones each: two rows of length one that are parallel.
    assert float(metrics["spectral_norms"]) == pytest.approx(math.sqrt(2), rel=1e-3)
    assert not [path for path in shapes(make("nvae", **PLAIN)) if path.startswith(SPECTRAL)]


def test_the_optimizer_is_adamax_with_decay_in_the_gradient() -> None:
    tx = make("nvae", learning_rate=1.0, warmup=0, decay_steps=0, weight_decay=0.5, **PLAIN).players["model"].tx
    first, second = moves(tx, [2.0, -1.0])
    assert first == pytest.approx(-2 / 2.001, rel=1e-4)
    gradient = -1 + 0.5 * first
    m = (0.9 * 0.1 * 2 + 0.1 * gradient) / (1 - 0.81)
    assert second == pytest.approx(-m / max(0.999 * 2.001, abs(gradient) + 1e-3), rel=1e-4)


def test_the_rate_rises_and_falls_along_a_cosine() -> None:
    rate = make("nvae", learning_rate=1e-2, warmup=10, decay_steps=20, **PLAIN).schedules["learning_rate"]
    found = [float(rate(step)) for step in (0, 5, 10, 20, 30, 90)]
    np.testing.assert_allclose(found, [0, 5e-3, 1e-2, (1e-2 + 1e-4) / 2, 1e-4, 1e-4], rtol=1e-4)
    flat = make("nvae", learning_rate=1e-2, warmup=10, decay_steps=0, **PLAIN).schedules["learning_rate"]
    assert float(flat(90)) == pytest.approx(1e-2)


@pytest.mark.slow
@pytest.mark.slow  # to compile
def test_active_channels_are_counted_over_the_test_set(measured: list) -> None:
    """A channel's KL is a sum over its map: of 16 pixels with m^2 / 2 each."""
    for mean, active in ((0.2, 1), (0.05, 0)):
        experiment = make("nvae", **PLAIN)
        state = state_of(experiment, first_posterior(mean))
        found = experiment.evaluators["test"](state, jax.random.key(0), lambda it, **_: it)
        assert found == {"active_1": active, "active_2": 0, "active": active}
    assert experiment.best == "test/negative_elbo"
    values = measured[-2].measure(state, {"image": jnp.ones((2, 8, 8, 1))}, jax.random.key(0))
    np.testing.assert_allclose(values["negative_elbo"], -values["elbo"])


def test_a_collapse_of_all_groups_is_told_by_the_active_channels(counted: list) -> None:
    experiment = make("nvae", **PLAIN)
    assert_advised(experiment, "test/active")
    assert counted == [experiment.splits["test"]]
    assert [(alarm.below, alarm.share, alarm.after) for alarm in experiment.alarms] == [(1, 0, 1000)]


def test_the_figure_has_as_many_importance_samples_as_it_says(measured: list, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def spied(model: Any, **options: Any) -> Any:
        asked.append(options["samples"])
        return lambda state, batch, key: {"nll": jnp.full(2, 64 * math.log(2))}

    monkeypatch.setattr(experiments.nvae.objectives, "hierarchical_nll", spied)
    made = make("nvae", nll_samples=6, binarization="none", **PLAIN)
    found = measured[1].measure(state_of(made, {}), {"image": jnp.zeros((2, 8, 8, 1))}, jax.random.key(0))
    assert asked == [6]
    np.testing.assert_allclose(found["bits_per_dim"], 1.0, rtol=1e-6)


def test_samples_have_the_temperature_and_the_statistics_of_the_passes() -> None:
    """The decoder shows the first latent: one joined kernel and the last one are the only numbers that are not zero."""
    shown = np.zeros((1, 1, 3, 2))
    shown[0, 0, 2] = 1.0
    last = np.zeros((3, 3, 2, 1))
    last[1, 1, 0] = 1.0
    values = {"model/joined_0/conv/kernel": shown, "model/image/conv/kernel": last}
    drawn = {}
    for temperature in (1.0, 0.5):
        for readjust in (0, 2):
            one = make("nvae", groups=(1,), width=2, latents=1, spectral=0.0, temperature=temperature, readjust=readjust)
            state = state_of(one, values)
            drawn[temperature, readjust] = np.asarray(one.sample(state, jax.random.key(0), jaxgen.given(3)), np.float64)
    logits = {which: np.log(x / (1 - x)) for which, x in drawn.items()}
    assert one.sampling == ("temperature", "readjust")
    # Rows of ELU: positive latents are shown as they are, scaled by the temperature.
    positive = logits[1.0, 0] > 0.1
    np.testing.assert_allclose(logits[0.5, 0][positive], 0.5 * logits[1.0, 0][positive], rtol=1e-2)
    # No normalisation lies on this way, so passes change nothing here; that they reach the state is below.
    np.testing.assert_allclose(drawn[1.0, 2], drawn[1.0, 0], rtol=1e-5)


def test_passes_reach_the_statistics_that_samples_are_drawn_with(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    whole = experiments.nvae.readjusted

    def spied(state: Any, forward: Any, *, passes: int) -> Any:
        asked.append(passes)
        return whole(state, forward, passes=passes)

    monkeypatch.setattr(experiments.nvae, "readjusted", spied)
    one = make("nvae", readjust=3, **PLAIN)
    values = {
        "model/down_0/BatchNorm_3/BatchNorm_0/bias": 2.0,
        "model/joined_1/conv/kernel": 1.0,
        "model/image/conv/kernel": 1.0,
    }
    one.sample(state_of(one, values), jax.random.key(0), jaxgen.given(2))
    assert asked == [3]


@pytest.mark.slow
@pytest.mark.slow  # to compile
def test_the_picture_of_the_groups_keeps_the_first_ones() -> None:
    one = make("nvae", **PLAIN)
    picture = one.pictures["groups"](state_of(one, {}), jax.random.key(0))
    images = np.asarray(picture.images)
    assert images.shape == (3 * 16, 8, 8, 1)
    # With all groups kept, a row is one image.
    np.testing.assert_array_equal(images[32:], np.broadcast_to(images[32], (16, 8, 8, 1)))
    assert "first 0, 1, 2 of 2 groups" in picture.caption


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"components": 3}, "--components is of the mixture of bytes"),
        ({"spectral": 0.0, "spectral_start": 1.0}, "--spectral-start is where --spectral falls from"),
        ({"groups": (1,) * 5}, "do not halve sides of 8x8 evenly"),
    ],
)
def test_flags_that_contradict(flags: Any, sentence: str) -> None:
    with pytest.raises(jaxgen.UserError, match=sentence):
        make("nvae", **flags)
