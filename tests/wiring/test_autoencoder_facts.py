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


FROM_CLASSIFICATION = ("vgg", "resnet", "inception")


def test_the_networks_from_classification_have_the_channels_by_stage() -> None:
    shapes = {}
    for network in FROM_CLASSIFICATION:
        params, _ = jax.eval_shape(make("autoencoder", network=network, channels=(8, 16, 24)).initial, jax.random.key(0))
        shapes[network] = jax.tree.map(lambda x: x.shape, params["model"]["encoder"]["trunk"])
        assert params["model"]["head"]["kernel"].shape[0] == {"vgg": 1, "resnet": 4, "inception": 4}[network] * 24
    vgg = shapes["vgg"]
    # Two convolutions in the first two stages and three in the third, each with a norm.
    names = [f"{i}_{j}" for i, n in enumerate((2, 2, 3)) for j in range(n)]
    assert set(vgg) == {f"{kind}{name}" for kind in ("conv", "norm") for name in names}
    assert [vgg[f"conv{i}_0"]["kernel"][-1] for i in range(3)] == [8, 16, 24]
    resnet = shapes["resnet"]
    assert set(resnet) == {"stem", "stem_norm", *(f"stage{i}_{j}" for i in range(3) for j in range(2))}
    assert [resnet[f"stage{i}_1"]["conv1"]["kernel"][-2:] for i in range(3)] == [(8, 8), (16, 16), (24, 24)]
    inception = shapes["inception"]
    assert set(inception) == {"stem0", "block0_0", "block1_0", "block2_0"}
    branches = ("one", "three", "five", "pooled")
    widths = [sum(inception[f"block{i}_0"][name]["conv"]["kernel"][-1] for name in branches) for i in range(3)]
    assert widths == [8, 16, 24]
    assert inception["block0_0"]["five"]["conv"]["kernel"][:2] == (5, 5)


def test_vgg_of_five_stages_is_vgg_16_with_batch_normalisation() -> None:
    encoder = make("autoencoder", network="vgg", dataset=_pictures(32), channels=(64, 128, 256, 512, 512))
    params, vars = jax.eval_shape(encoder.initial, jax.random.key(0))
    assert sum(name.startswith("conv") for name in params["model"]["encoder"]["trunk"]) == 13
    assert len(vars["model"]["batch_stats"]["encoder"]["trunk"]) == 13


def _pictures(side: int) -> tuple[data.Source, data.Source]:
    images = np.random.default_rng(0).integers(0, 256, (12, side, side, 1)).astype(np.uint8)
    return (data.from_arrays({"image": images}, name="noise"),) * 2


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_pyramid_is_trained_at_all_sizes_and_its_finest_image_is_measured(weight: float) -> None:
    experiment = make("autoencoder", decoder="pyramid", likelihood="gaussian", hidden=(), scale_weight=weight)
    values = {("decoder", "image0", "bias"): 0.4, ("decoder", "image1", "bias"): 0.1}
    state = state_of(experiment, values)
    levels = [state.params["model"]["decoder"][f"level{i}"]["kernel"].shape[-1] for i in range(2)]
    assert levels == [8, 4], "of tiny runs, whose channels are 4 and 8, the largest map first"
    x = np.random.default_rng(0).uniform(size=(3, 8, 8, 1))
    batch: Batch = {"image": jnp.asarray(x, jnp.float32)}
    found, aux = experiment.players["model"].loss(state.params, state, batch, jax.random.key(0), train=True)
    small = x.reshape(3, 4, 2, 4, 2, 1).mean((2, 4))
    normal = math.log(2 * math.pi) / 2
    fine = ((x - 0.5) ** 2 / 2 + normal).sum((1, 2, 3))
    coarse = ((small - 0.4) ** 2 / 2 + normal).sum((1, 2, 3))
    np.testing.assert_allclose(found, fine + weight * 4 * coarse, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["squared_error"], ((x - 0.5) ** 2).sum((1, 2, 3)), rtol=1e-4)
    evaluated = experiment.evaluators["test"](state, jax.random.key(0), lambda items, **_: items)
    assert "code_squared_error" not in evaluated
    test = data.load("digits", "test").gather(np.arange(TEST))["image"] / 255
    assert evaluated["squared_error"] == pytest.approx(((test - 0.5) ** 2).sum((1, 2, 3)).mean(), rel=1e-4)
    picture = experiment.pictures["scales"](state, jax.random.key(0))
    images = np.asarray(picture.images).reshape(4, 16, 8, 8)
    np.testing.assert_allclose(images[2], test[:16, ..., 0], atol=1e-6)
    np.testing.assert_allclose(images[3], 0.5, atol=1e-6)
    np.testing.assert_allclose(images[1], 0.4, atol=1e-6)
    np.testing.assert_allclose(images[0, :, ::2, ::2], test[:16, ..., 0].reshape(16, 4, 2, 4, 2).mean((2, 4)), atol=1e-6)


@pytest.mark.slow
def test_the_log_shows_what_skips_leave_to_the_code() -> None:
    """Skips that hand on the pixels' brightness, and a code that is zero."""
    flags: dict[str, Any] = {"network": "resnet", "decoder": "skips", "likelihood": "gaussian", "channels": (4, 4)}
    experiment = make("autoencoder", **flags, skip_channels=3)
    params, _ = jax.eval_shape(experiment.initial, jax.random.key(0))
    assert params["model"]["decoder"]["skip1"]["kernel"].shape == (1, 1, 4, 3)
    ones = np.ones
    values = {
        ("decoder", "skip1", "bias"): 1.0,
        ("decoder", "level1", "kernel"): ones((3, 3, 7, 4)) / 4,
        ("decoder", "image1", "kernel"): ones((1, 1, 4, 1)),
    }
    state = state_of(experiment, values)
    found = experiment.evaluators["test"](state, jax.random.key(0), lambda items, **_: items)
    test = data.load("digits", "test").gather(np.arange(TEST))["image"][..., 0] / 255.0
    # Each pixel is as many times three, as it has neighbours, and itself, within the image.
    inside = np.pad(ones((8, 8)), 1)
    drawn = 3 * sum(inside[i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    assert found["squared_error"] == pytest.approx(((test - drawn) ** 2).sum((1, 2)).mean(), rel=1e-4)
    assert found["code_squared_error"] == pytest.approx((test**2).sum((1, 2)).mean(), rel=1e-4)
    assert set(experiment.pictures) == {"interpolations", "scales", "code_alone"}
    picture = experiment.pictures["code_alone"](state, jax.random.key(0))
    np.testing.assert_allclose(np.asarray(picture.images)[16:32], 0, atol=1e-6)
    assert "what its code alone gives" in picture.caption
    codes = experiment.final["test"](state, jax.random.key(0), lambda items, **_: items)
    assert codes["linear_error"] > 80, "zeros have no class"


def test_the_classifier_of_codes_is_trained_on_training_images_and_counted_on_test_images() -> None:
    """Codes that are the pixels: the error is that of a linear classifier of the pixels."""
    from jaxgen.metrics import probe

    experiment = make("autoencoder", hidden=(), latents=PIXELS)
    state = state_of(experiment, {("head", "kernel"): np.eye(PIXELS)})
    found = experiment.final["test"](state, jax.random.key(0), lambda items, **_: items)
    batches = [data.load("digits", split).gather(np.arange(n)) for split, n in (("train", TRAIN), ("test", TEST))]
    (x, y), (a, b) = ((batch["image"].reshape(-1, PIXELS) / 255.0, batch["label"]) for batch in batches)
    error = 100 * (1 - probe.linear(x, y, a, b))
    assert found["linear_error"] == pytest.approx(error, abs=0.3)
    assert found["linear_error_stderr"] == pytest.approx(100 * math.sqrt(error * (100 - error) / (TEST - 1)) / 100, rel=0.1)
    assert set(experiment.protocol) == {"linear_error"}
    unlabelled = make("autoencoder", dataset=_pictures(8))
    assert (unlabelled.final, unlabelled.protocol) == ({}, {})


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"decoder": "skips"}, "--decoder skips takes the maps of an encoder, and --network mlp shows none"),
        ({"decoder": "skips", "network": "residual"}, "--network residual shows none"),
        ({"decoder": "pyramid", "channels": (4,) * 5}, "Images of 8x8 cannot be halved 4 times without a rest"),
        ({"network": "vgg", "channels": (4,) * 4}, "Images of 8x8 cannot be halved 4 times"),
    ],
)
def test_networks_and_decoders_that_do_not_go_together_are_refused(flags: Any, match: str) -> None:
    with pytest.raises(jaxgen.UserError, match=match):
        jax.eval_shape(make("autoencoder", **flags).initial, jax.random.key(0))
