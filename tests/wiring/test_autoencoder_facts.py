"""What `experiments.autoencoder` is wired to, held against Hinton & Salakhutdinov 2006: a linear code, a decoder that mirrors
the encoder, and the cross-entropy of pixels in [0, 1] or the squared error. Adam trains all layers at once; the paper trains
them one after another as Boltzmann machines first."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data
from jaxgen.types import Batch

TRAIN, TEST = 1437, 360
PIXELS = 64


def state_of(experiment: jaxgen.Experiment, values: Mapping[tuple[str, ...], Any]) -> jaxgen.TrainState:
    """The state of a network of zeros but for these values, by their paths."""
    params, vars = experiment.initial(jax.random.key(0))
    params = jax.tree.map(jnp.zeros_like, params)
    for (*path, leaf), value in values.items():
        where = params["model"]
        for part in path:
            where = where[part]
        where[leaf] = where[leaf] + value
    return jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)


def test_pixels_are_in_0_1_and_the_test_split_is_measured(measured: list) -> None:
    experiment = make("autoencoder")
    bytes_ = jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(2)}
    assert experiment.train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [0.0, 1.0]
    ((source, _, transform),) = measured
    assert transform({"image": bytes_[:, 0]}, jax.random.key(0))["image"].ravel().tolist() == [0.0, 1.0]
    assert (experiment.train.source.length, source.length) == (TRAIN, TEST)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("train", [True, False])
def test_the_loss_is_the_cross_entropy_or_half_the_squared_error_summed_over_pixels(likelihood: Any, train: bool) -> None:
    experiment = make("autoencoder", likelihood=likelihood, hidden=())
    state = state_of(experiment, {("decoder", "Dense_0", "bias"): 0.4})
    x = np.random.default_rng(0).uniform(size=(3, 8, 8, 1))
    batch: Batch = {"image": jnp.asarray(x, jnp.float32)}
    values, aux = experiment.players["model"].loss(state.params, state, batch, jax.random.key(0), train=train)
    if likelihood == "bernoulli":
        mean = 1 / (1 + math.exp(-0.4))
        expected = -(x * math.log(mean) + (1 - x) * math.log(1 - mean))
    else:
        mean = 0.4
        expected = (x - mean) ** 2 / 2 + math.log(2 * math.pi) / 2
    np.testing.assert_allclose(values, expected.reshape(3, -1).sum(1), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["squared_error"], ((x - mean) ** 2).reshape(3, -1).sum(1), rtol=1e-4)


def test_the_decoder_mirrors_the_encoder_and_the_code_is_linear() -> None:
    params, _ = jax.eval_shape(make("autoencoder", hidden=(7, 5), latents=2).initial, jax.random.key(0))
    shapes = {
        part: [leaf["kernel"].shape for _, leaf in sorted(params["model"][part].items())] for part in ("encoder", "decoder")
    }
    assert shapes == {"encoder": [(64, 7), (7, 5)], "decoder": [(2, 5), (5, 7), (7, 64)]}
    assert params["model"]["head"]["kernel"].shape == (5, 2)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_reconstructions_are_of_test_images_and_in_0_1(likelihood: Any) -> None:
    """A network that hands on twice each pixel, less 0.2: the code is not squashed, and pictures are."""
    experiment = make("autoencoder", likelihood=likelihood, hidden=(), latents=PIXELS)
    eye = np.eye(PIXELS)
    state = state_of(experiment, {("head", "kernel"): 2 * eye, ("head", "bias"): -0.2, ("decoder", "Dense_0", "kernel"): eye})
    images = np.asarray(experiment.pictures["reconstructions"](state, jax.random.key(0)).images)
    x = data.load("digits", "test").gather(np.arange(16))["image"] / 255
    np.testing.assert_allclose(images[:16], x, rtol=1e-5)
    out = 2 * x - 0.2
    np.testing.assert_allclose(
        images[16:32], 1 / (1 + np.exp(-out)) if likelihood == "bernoulli" else out.clip(0, 1), atol=1e-5
    )
    assert set(experiment.pictures) == {"reconstructions", "interpolations"}


def test_the_rate_and_the_averages_are_as_asked() -> None:
    experiment = make("autoencoder", learning_rate=0.3, ema=0.9)
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(2)}
    np.testing.assert_allclose(tx.update({"w": jnp.ones(2)}, tx.init(w), w)[0]["w"], -0.3, rtol=1e-4)
    assert experiment.ema == 0.9
