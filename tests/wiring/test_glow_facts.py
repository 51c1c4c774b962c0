"""What `experiments.glow` is wired to, held against Kingma & Dhariwal 2018 and its authors' code (openai/glow).

With parameters of zero every coupling multiplies half of the numbers by the sigmoid of 2, and nothing else happens but
permutations."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_splits, shapes, state_of, told

import experiments.glow
import jaxgen
from jaxgen import data
from jaxgen.models import flows
from jaxgen.types import Batch

N = 1437


def test_the_defaults_are_the_papers_but_for_the_size() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.glow.experiment).parameters.items()}
    facts: dict[str, Any] = {"mixing": "convolution", "additive": False, "batch_size": 64, "learning_rate": 1e-3}
    facts |= {"warmup_epochs": 10.0, "clip": None, "temperature": 0.7, "ema": None, "flip": False}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("bits", [8, 3])
def test_pixels_are_levels_with_noise_in_training_and_evaluation(bits: int, measured: list) -> None:
    experiment = make("glow", bits=bits)
    bytes_ = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(1), "index": jnp.arange(1)}
    often, last = measured
    draws = [
        experiment.train.transform(batch, jax.random.key(0))["image"][0],
        often.transform({"image": bytes_[0], "index": 0}, jax.random.key(3))["image"],
    ]
    for x in map(np.asarray, draws):
        np.testing.assert_array_equal(np.floor(x * 2**bits), np.asarray(bytes_[0]) // 2 ** (8 - bits))
    assert last.transform({"image": bytes_[0]}, jax.random.key(0))["image"].dtype == jnp.uint8
    assert_splits(experiment, often, "image", "label")
    assert last.source is often.source


@pytest.mark.parametrize(("levels", "depth", "additive"), [(1, 1, False), (2, 3, False), (2, 2, True)])
def test_without_networks_the_likelihood_counts_the_couplings(levels: int, depth: int, additive: bool) -> None:
    """A black image stays black: its latents are zero, and half of what is left on a level is scaled K times."""
    experiment = make("glow", levels=levels, depth=depth, additive=additive, bits=4)
    zeros: Any = state_of(experiment, {})
    permutations = jax.tree.map(lambda x: jnp.arange(len(x)), zeros.vars)
    values, metrics = told(experiment, "model", zeros._replace(vars=permutations), {"image": jnp.zeros((2, 8, 8, 1))})
    scaled = 0 if additive else sum(depth * 32 / 2**level for level in range(levels))
    log_prob = -32 * math.log(2 * math.pi) - scaled * math.log1p(math.exp(-2))
    np.testing.assert_allclose(values, 64 * 4 * math.log(2) - log_prob, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_dim"], values / (64 * math.log(2)), rtol=1e-5)


def test_the_networks_begin_with_the_first_training_images() -> None:
    experiment = make("glow", bits=4, depth=1, levels=1)
    (batch,) = experiment.networks["model"].inputs
    whole = data.load("digits", "train").gather(np.arange(256))["image"]
    np.testing.assert_array_equal(np.floor(np.asarray(batch) * 16), whole // 16)
    params, _ = experiment.initial(jax.random.key(0))
    first = params["model"]["flows_0"]["flow"]["flows_0"]
    # After the squeeze every channel is a quarter of the pixels.
    quarters = [np.asarray(batch)[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(first["bias"], [-q.mean() for q in quarters], rtol=1e-4)
    np.testing.assert_allclose(3 * first["log_scale"], [-math.log(q.std()) for q in quarters], rtol=1e-3)


@pytest.mark.parametrize("mixing", ["convolution", "shuffle", "reverse"])
def test_the_flags_of_the_networks_reach_all_levels(mixing: Any) -> None:
    experiment = make("glow", levels=2, depth=3, width=5, mixing=mixing)
    found = shapes(experiment)
    kernels = [path for path in found if path.endswith("kernel")]
    # Three in each of six networks, one of the prior of what leaves, and one of the last prior.
    assert len(kernels) == 3 * 6 + 2
    assert {shape[-1] for path, shape in found.items() if "network/Conv_" in path and path.endswith("kernel")} == {5}
    assert sum(path.endswith("/lu") for path in found) == (6 if mixing == "convolution" else 0)
    assert sum(path.endswith("/order") for path in found) == (0 if mixing == "reverse" else 6)
    kind = {"convolution": flows.InvertibleConv, "shuffle": flows.Shuffle, "reverse": flows.Reverse}[mixing]
    assert isinstance(experiment.networks["model"].module.flows[0].flow.flows[1], kind)


@pytest.mark.parametrize("batch_size", [64, 100])
def test_the_average_has_the_decay_of_an_epoch_and_the_rate_rises_over_ten(batch_size: int) -> None:
    experiment = make("glow", batch_size=batch_size)
    assert experiment.ema == pytest.approx(1 - batch_size / N)
    rate, warm = experiment.schedules["learning_rate"], round(10 * N / batch_size)
    assert [float(rate(s)) for s in (0, warm // 2, warm, 10 * warm)] == pytest.approx(
        [0, 1e-3 * (warm // 2) / warm, 1e-3, 1e-3]
    )
    assert make("glow", ema=0.5).ema == 0.5


@pytest.mark.parametrize("clip", [None, 2.0])
def test_the_gradient_is_clipped_where_asked(clip: float | None) -> None:
    tx, w = make("glow", clip=clip, warmup_epochs=0).players["model"].tx, {"w": jnp.zeros(1)}
    opt = tx.init(w)
    for g in (1.0, 8.0):
        update, opt = tx.update({"w": jnp.full(1, g)}, opt, w)
    second = 8.0 if clip is None else clip
    assert float(update["w"][0]) == pytest.approx(-1e-3 * ((0.09 + 0.1 * second) / 0.19) / second, rel=1e-4)


def test_the_tighter_bound_is_of_as_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(experiments.glow.objectives, "tighter_bits_per_dim", lambda _, **options: asked.append(options))
    make("glow", noise_samples=7, bits=5)
    assert asked == [{"samples": 7, "bits": 5}]


@pytest.mark.parametrize("temperature", [0.7, 0.1])
def test_samples_are_of_the_temperature(temperature: float) -> None:
    """With one scaled half and a shift of a half, x = z / c + 1/2 or z + 1/2."""
    experiment = make("glow", levels=1, depth=1, temperature=temperature, additive=True)
    zeros: Any = state_of(experiment, {"model/flows_0/flow/flows_0/bias": -0.5})
    state = zeros._replace(vars=jax.tree.map(lambda x: jnp.arange(len(x)), zeros.vars))
    x = np.asarray(experiment.sample(state, jax.random.key(0), jaxgen.given(300))) - 0.5
    assert x.shape == (300, 8, 8, 1)
    assert np.quantile(x, 0.6) == pytest.approx(0.2533 * temperature, rel=0.03)
    assert experiment.sampling == ("temperature",)
