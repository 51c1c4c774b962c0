"""What `experiments.planar_flow` is wired to, held against Rezende & Mohamed 2015.

Steps with parameters of zero move nothing but by what their constraint adds, so the loss of a posterior N(m, s^2) has a closed
form where it has no steps, and the flags of the steps show in their shapes."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_advised, assert_splits, shapes, state_of, told

import experiments.planar_flow
from jaxgen.models import flows, vae
from jaxgen.types import Batch


def test_the_defaults_are_the_papers_but_for_the_size_and_the_optimizer() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.planar_flow.experiment).parameters.items()}
    facts: dict[str, Any] = {"transform": "planar", "flow_steps": 10, "amortised": True, "hidden": (400,), "pieces": 4}
    facts |= {"batch_size": 100, "binarization": "dynamic"}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_pixels_are_binary_in_training_and_evaluation(binarization: Any, measured: list) -> None:
    experiment = make("planar_flow", binarization=binarization)
    grey = jnp.full((16, 16, 1), 51, jnp.uint8)
    batch: Batch = {"image": grey[None], "slot": jnp.arange(1), "index": jnp.arange(3, 4)}
    drawn = [[experiment.train.transform(batch, jax.random.key(i))["image"][0] for i in range(2)]]
    drawn += [[one.transform({"image": grey, "index": 3}, jax.random.key(i))["image"] for i in range(2)] for one in measured]
    assert len(drawn) == 3
    for once, again in drawn:
        assert set(np.unique(once)) == {0.0, 1.0}
        assert np.array_equal(once, again) == (binarization == "static")
    for one in measured:
        assert_splits(experiment, one, "image")


@pytest.mark.parametrize("step", [0, 30, 500])
def test_the_weight_of_the_models_density_rises_from_a_hundredth_to_one(step: int) -> None:
    experiment = make("planar_flow", flow_steps=0, anneal_steps=100, latents=3)
    mean, log_std = 0.4, -0.3
    state: Any = state_of(experiment, {"model/head/bias": np.repeat([mean, log_std], 3)}, step=step)
    x = jnp.ones((400, 8, 8, 1))
    values, metrics = told(experiment, "model", state, {"image": x})
    beta = min(1.0, 0.01 + step / 100)
    # The decoder's logits are zero. E[log q] and E[log p(z)] are those of normal laws.
    log_q = -3 * (0.5 * math.log(2 * math.pi * math.e) + log_std)
    log_p = -3 * (0.5 * math.log(2 * math.pi) + 0.5 * (mean**2 + math.exp(2 * log_std)))
    assert values.mean() == pytest.approx(log_q - beta * (log_p - 64 * math.log(2)), abs=0.25)
    assert metrics["elbo"].mean() == pytest.approx(log_p - 64 * math.log(2) - log_q, abs=0.25)
    assert float(experiment.schedules["beta"](step)) == pytest.approx(beta)


@pytest.mark.parametrize("transform", ["planar", "radial"])
@pytest.mark.parametrize("amortised", [True, False])
def test_the_flags_of_the_steps_reach_them(transform: Any, amortised: bool) -> None:
    experiment = make("planar_flow", transform=transform, amortised=amortised, flow_steps=7, latents=3, hidden=(5,), pieces=2)
    module, found = experiment.networks["model"].module, shapes(experiment)
    assert isinstance(module.flow, {"planar": flows.Planar, "radial": flows.Radial}[transform])
    width = {"planar": 2 * 3 + 1, "radial": 3 + 2}[transform]
    steps = {path: shape for path, shape in found.items() if "/flow/" in path}
    if amortised:
        assert steps == {"model/flow/Dense_0/kernel": (5, 7 * width), "model/flow/Dense_0/bias": (7 * width,)}
    else:
        assert steps == {"model/flow/free": (7, 1, width)}
    assert found["model/encoder/Dense_0/kernel"] == (64, 2 * 5)
    assert found["model/decoder/Dense_1/kernel"] == (5, 64)
    assert found["model/head/kernel"] == (5, 6)


def test_no_steps_are_a_vae() -> None:
    module = make("planar_flow", flow_steps=0).networks["model"].module
    assert type(module) is vae.VAE


def test_a_posterior_that_is_the_prior_rings() -> None:
    experiment = make("planar_flow")
    assert_advised(experiment, "test/kl")
    assert experiment.alarms[0].below == 0.1


def test_units_are_the_largest_of_their_pieces() -> None:
    h = jnp.asarray([[1.0, 5.0, -2.0, -3.0, 0.0, 4.0]])
    assert experiments.planar_flow.maxout(h, pieces=2).tolist() == [[5.0, -2.0, 4.0]]
    module = make("planar_flow", pieces=3).networks["model"].module
    assert module.encoder.activation(h).tolist() == module.decoder.activation(h).tolist() == [[5.0, 4.0]]


@pytest.mark.parametrize("flow_steps", [0, 3])
def test_the_figure_has_as_many_importance_samples_as_it_says(flow_steps: int, measured: list, monkeypatch: Any) -> None:
    asked: list[dict[str, Any]] = []
    whole = experiments.planar_flow.objectives.importance_weighted_nll

    def spied(model: Any, **options: Any) -> Any:
        asked.append(options)
        return whole(model, **options)

    monkeypatch.setattr(experiments.planar_flow.objectives, "importance_weighted_nll", spied)
    experiment = make("planar_flow", nll_samples=6, flow_steps=flow_steps)
    batch: Batch = {"image": jnp.zeros((2, 8, 8, 1))}
    found = measured[1].measure(state_of(experiment, {}), batch, jax.random.key(0))
    assert asked == [{"samples": 6}]
    assert (np.asarray(found["nll"]) > 0).all()
    values = measured[0].measure(state_of(experiment, {}), batch, jax.random.key(0))
    np.testing.assert_allclose(values["negative_elbo"], -np.asarray(values["elbo"]))
    assert experiment.best == "test/negative_elbo"
