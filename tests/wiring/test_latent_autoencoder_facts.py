"""What `experiments.latent_autoencoder` is wired to, held against Rombach et al. 2022 and the authors' code
(github.com/CompVis/latent-diffusion: ldm/modules/losses/contperceptual.py; taming-transformers: vqperceptual.py)."""

import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import lpips_files
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import assert_pixels_of_tanh, assert_splits, defaults, images, shapes, state_of, told

import experiments.latent_autoencoder
import jaxgen
from jaxgen import data, diffusion
from jaxgen.models.cnn import lpips
from jaxgen.models.cnn.lpips import LPIPS

SMALL: dict[str, Any] = {"channels": (2, 2), "blocks": 0, "latents": 1, "layers": 0, "width": 1}
BATCH = images(6)
X = np.asarray(BATCH["image"])

MEAN, LOG_VARIANCE, MADE, JUDGED = 0.5, -1.0, 0.3, 0.4
SHOWN = {"autoencoder/decoder/out/bias": MADE, "autoencoder/decoder/GroupNorm_0/GroupNorm_0/bias": 1.0}
KL = SHOWN | {"autoencoder/before/bias": np.array([MEAN, LOG_VARIANCE]), "discriminator/head/bias": JUDGED}
"""Latents of one law, all reconstructions of one grey, and a discriminator that always says the same."""
DIVERGENCE = 16 * 0.5 * (math.exp(LOG_VARIANCE) + MEAN**2 - 1 - LOG_VARIANCE)
NEAR, FAR = 0.75, -3.0
VQ = SHOWN | {
    "autoencoder/before/bias": MEAN,
    "autoencoder/quantiser/codebook": np.where(np.arange(8) == 5, NEAR, FAR)[:, None],
    "discriminator/head/bias": JUDGED,
}


@functools.cache
def plain(**flags: Any) -> jaxgen.Experiment:
    return make("latent_autoencoder", **{**SMALL, **flags})


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"dataset": "digits", "variant": "kl", "kl": 1e-6, "commitment": 0.25, "loss": "hinge", "gan": None}
    facts |= {"attention_levels": (), "ema": None, "accumulate": 1, "bf16": False}
    found = defaults(experiments.latent_autoencoder.experiment)
    assert {name: found[name] for name in facts} == facts
    # Latents of 4x4x2 for digits, and a discriminator for the second half of the steps.
    assert len(found["channels"]) == found["latents"] == 2
    assert 2 * found["start"] == found["steps"]


def test_pixels_and_splits(measured: list[Measured]) -> None:
    experiment = make("latent_autoencoder", **SMALL)
    assert_pixels_of_tanh(experiment, measured[0])
    assert_splits(experiment, measured[0], "image")
    assert experiments.latent_autoencoder.PIXELS == (-1, 1)


@pytest.mark.parametrize(("flags", "weight"), [({}, 1e-6), ({"kl": 0.2}, 0.2)], ids=str)
def test_kl_has_sums_over_the_pixels_and_a_weak_divergence(flags: Any, weight: float) -> None:
    experiment = plain(gan=0.0, **flags)
    state = state_of(experiment, {k: v for k, v in KL.items() if not k.startswith("disc")})
    values, metrics = told(experiment, "autoencoder", state, BATCH)
    np.testing.assert_allclose(metrics["kl"], DIVERGENCE, rtol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"], np.abs(X - MADE).sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(metrics["mse"], np.square(X - MADE).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values, metrics["reconstruction"] + weight * DIVERGENCE, rtol=1e-6)


@pytest.mark.parametrize(("flags", "beta"), [({}, 0.25), ({"commitment": 3.0}, 3.0)], ids=str)
def test_vq_has_means_over_the_pixels_and_the_whole_loss_of_its_codebook(flags: Any, beta: float) -> None:
    experiment = plain(variant="vq", gan=0.0, **flags)
    state = state_of(experiment, {k: v for k, v in VQ.items() if not k.startswith("disc")})
    values, metrics = told(experiment, "autoencoder", state, BATCH)
    np.testing.assert_allclose(metrics["quantisation"], (1 + beta) * (NEAR - MEAN) ** 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"], np.abs(X - MADE).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values, metrics["reconstruction"] + metrics["quantisation"], rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "weight"),
    [({}, 0.5), ({"gan": 0.2}, 0.2), ({"variant": "vq"}, 0.75), ({"variant": "vq", "gan": 2.0}, 2.0)],
    ids=str,
)
def test_the_weight_of_the_adversarial_part_and_the_step_that_it_begins_at(flags: Any, weight: float) -> None:
    experiment = plain(start=7, **flags)
    for step in (6, 7):
        state = state_of(experiment, VQ if "variant" in flags else KL, step=step)
        values, metrics = told(experiment, "autoencoder", state, BATCH, train=True)
        cost = metrics["quantisation"] if "variant" in flags else 1e-6 * metrics["kl"]
        np.testing.assert_allclose(metrics["adversarial"], -JUDGED, rtol=1e-5)
        # The gradient of a discriminator that always says the same is zero, that of the reconstruction is not.
        assert metrics["adaptive_weight"] > 100
        added = weight * metrics["adaptive_weight"] * metrics["adversarial"] if step == 7 else 0.0
        np.testing.assert_allclose(values, metrics["reconstruction"] + cost + added, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("hinge", (1 - JUDGED + 1 + JUDGED) / 2),
        ("non_saturating", (np.logaddexp(0, -JUDGED) + np.logaddexp(0, JUDGED)) / 2),
    ],
    ids=["hinge", "non_saturating"],
)
def test_the_discriminator_descends_half_of_its_loss(loss: str, expected: float) -> None:
    experiment = plain(loss=loss)
    np.testing.assert_allclose(told(experiment, "discriminator", state_of(experiment, KL), BATCH)[0], expected, rtol=1e-5)


@pytest.mark.slow
def test_the_autoencoder_moves_first_and_the_discriminator_is_still_before_its_start() -> None:
    experiment = plain(start=2, gan=0.5)
    players = experiment.players
    assert list(players) == ["autoencoder", "discriminator"]
    assert [player.every for player in players.values()] == [1, 1]
    step = jax.jit(jaxgen.make_train_step(players))
    state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), players)
    parts = lambda s: jax.tree.leaves((s.params["discriminator"], s.opt["discriminator"], s.vars["discriminator"]))
    same = lambda a, b: [np.array_equal(x, y) for x, y in zip(a, b, strict=True)]
    for number in range(4):
        new, metrics = step(state, BATCH)
        moved = same(parts(state), parts(new))
        assert all(moved) if number < 2 else not all(moved)
        assert (metrics["discriminator/loss"].weight > 0) == (number >= 2)
        assert not all(same(jax.tree.leaves(state.params["autoencoder"]), jax.tree.leaves(new.params["autoencoder"])))
        state = new


def test_without_its_weight_there_is_no_discriminator() -> None:
    for variant in ("kl", "vq"):
        experiment = plain(variant=variant, gan=0.0)
        assert list(experiment.players) == list(experiment.networks) == ["autoencoder"]


@pytest.mark.parametrize(("flags", "weight"), [({}, 16), ({"perceptual": 0.5}, 8), ({"variant": "vq"}, 1)], ids=str)
def test_lpips_counts_for_every_value_in_kl_and_once_in_vq(
    flags: Any, weight: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authors add it to the difference of each value, of which kl takes the sum and vq the mean."""
    numpy = pytest.importorskip("safetensors.numpy")
    monkeypatch.setattr(experiments.latent_autoencoder, "LPIPS", functools.partial(LPIPS, ((2,),)))
    numpy.save_file(lpips_files.drawn(((2,),)), tmp_path / "lpips.safetensors")
    source = data.from_arrays({"image": np.zeros((8, 4, 4, 1), np.uint8)})
    told_of = {"dataset": (source, source), "lpips": tmp_path / "lpips.safetensors", "gan": 0.0}
    experiment = make("latent_autoencoder", **SMALL, **told_of, **flags)
    assert list(experiment.players) == ["autoencoder"]
    assert "lpips" in experiment.protocol
    state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), experiment.players)
    held = lpips.from_torch(lpips_files.drawn(((2,),)), ((2,),))
    jax.tree.map(np.testing.assert_array_equal, state.params["lpips"], held)
    batch = {"image": jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (6, 4, 4, 1)), jnp.float32)}
    values, metrics = told(experiment, "autoencoder", state, batch)
    assert metrics["lpips"].min() > 0
    cost = metrics["quantisation"] if "variant" in flags else 1e-6 * metrics["kl"]
    np.testing.assert_allclose(values, metrics["reconstruction"] + weight * metrics["lpips"] + cost, rtol=1e-5)


def test_without_its_file_lpips_has_no_part() -> None:
    assert "lpips" not in {**plain().networks, **plain().protocol}


def test_both_players_have_the_rate_and_the_discriminator_no_averages() -> None:
    experiment = plain(ema=0.5, accumulate=2, steps=7, batch_size=6, learning_rate=0.25)
    assert (experiment.ema, experiment.accumulate, experiment.steps, experiment.train.batch_size) == (0.5, 2, 7, 6)
    assert {name: player.ema for name, player in experiment.players.items()} == {"autoencoder": None, "discriminator": ()}
    for player in experiment.players.values():
        update, _ = player.tx.update(jnp.array([3.0]), player.tx.init(jnp.zeros(1)))
        np.testing.assert_allclose(update, [-0.25], rtol=1e-5)


def test_the_role_says_what_a_model_of_the_latents_needs() -> None:
    for flags, shape in (({}, (4, 4, 1)), ({"channels": (2, 2, 4), "latents": 3}, (2, 2, 3)), ({"variant": "vq"}, (4, 4, 1))):
        network = plain(**flags).networks["autoencoder"]
        assert network.role == diffusion.FirstStage(shape, (-1.0, 1.0))
        found = jax.eval_shape(lambda x, n=network: n.module.init_with_output(jax.random.key(0), x, method="to_latents"), X)
        assert found[0].shape[1:] == shape


def test_flags_of_the_networks() -> None:
    found = shapes(plain(channels=(3, 6), blocks=2, latents=5, layers=1, width=7, attention_levels=(0,)))
    assert found["autoencoder/encoder/Conv_0/kernel"] == (3, 3, 1, 3)
    assert found["autoencoder/encoder/out/kernel"] == (3, 3, 6, 10)
    assert found["autoencoder/after/kernel"] == (1, 1, 5, 5)
    assert found["autoencoder/encoder/SelfAttention_0/GroupNorm_0/GroupNorm_0/scale"] == (3,)
    count = lambda half: len({path.split("/")[2] for path in found if path.startswith(f"autoencoder/{half}/ResidualBlock")})
    assert (count("encoder"), count("decoder")) == (2 * 2 + 2, 2 * 3 + 2)
    assert found["discriminator/conv0/kernel"] == (4, 4, 1, 7)
    assert found["discriminator/head/kernel"] == (4, 4, 14, 1)
    assert shapes(plain(variant="vq", codes=9, latents=4))["autoencoder/quantiser/codebook"] == (9, 4)
    half = plain(bf16=True).networks
    assert {half["autoencoder"].module.dtype, half["discriminator"].module.dtype} == {jnp.bfloat16}
    assert {part.dtype for part in (half["autoencoder"].module.encoder, half["autoencoder"].module.decoder)} == {jnp.bfloat16}


def test_what_is_evaluated_of_kl() -> None:
    """The error of the means, its decibels for pixels of a range of two, and the spread of draws."""
    experiment = plain()
    found = experiment.evaluators["test"](state_of(experiment, KL), jax.random.key(0), quiet)
    x = 2 * (experiment.splits["test"].gather(np.arange(360))["image"] / 255.0) - 1
    mse = np.square(x - MADE).mean((1, 2, 3))
    assert found["mse"] == pytest.approx(mse.mean(), rel=1e-4)
    assert found["psnr"] == pytest.approx((10 * np.log10(4 / mse)).mean(), rel=1e-4)
    assert found["psnr_stderr"] == pytest.approx((10 * np.log10(4 / mse)).std(ddof=1) / math.sqrt(360), rel=1e-2)
    assert found["reconstruction"] == pytest.approx(np.abs(x - MADE).sum((1, 2, 3)).mean(), rel=1e-4)
    assert found["kl"] == pytest.approx(DIVERGENCE, rel=1e-4)
    assert found["latent_std"] == pytest.approx(math.exp(LOG_VARIANCE / 2), rel=0.05)
    assert experiment.best is None
    assert set(experiment.protocol) == {"mse", "psnr", "latent_std", "kl"}


def test_what_is_evaluated_of_vq() -> None:
    """Latents are all the same, and so are their codes."""
    experiment = plain(variant="vq")
    found = experiment.evaluators["test"](state_of(experiment, VQ), jax.random.key(0), quiet)
    assert found["latent_std"] == pytest.approx(0.0, abs=1e-3)
    assert (found["perplexity"], found["codes_used"]) == (1.0, 1.0)
    assert set(experiment.protocol) == {"mse", "psnr", "latent_std", "perplexity"}
    # Two codes: latents that are the first pixel of the two by two.
    kernel = np.zeros((3, 3, 2, 1))
    kernel[1, 1, 0] = 1
    book = {"autoencoder/quantiser/codebook": np.where(np.arange(8) < 4, -0.6, 0.6)[:, None]}
    started = {"autoencoder/encoder/out/kernel": kernel, "autoencoder/encoder/GroupNorm_0/GroupNorm_0/scale": 1.0}
    started |= {"autoencoder/encoder/Conv_0/kernel": one(2), "autoencoder/encoder/Conv_1/kernel": one(2, 2)}
    started |= {"autoencoder/before/kernel": 1.0, "autoencoder/before/bias": -0.4}
    found = experiment.evaluators["test"](state_of(experiment, SHOWN | book | started), jax.random.key(0), quiet)
    assert found["codes_used"] == 2.0
    assert 1.2 < found["perplexity"] <= 2.0
    assert found["latent_std"] > 0.2


def one(outputs: int, inputs: int = 1) -> np.ndarray:
    """A kernel that passes the first channel on to the first."""
    kernel = np.zeros((3, 3, inputs, outputs))
    kernel[1, 1, 0, 0] = 1
    return kernel


@pytest.mark.parametrize("variant", ["kl", "vq"])
def test_pictures_show_test_images_and_what_the_decoder_makes_of_them(variant: str) -> None:
    experiment = plain(variant=variant)
    assert set(experiment.pictures) == {"reconstructions", "latents", "interpolations"}
    picture = experiment.pictures["reconstructions"](state_of(experiment, VQ if variant == "vq" else KL), jax.random.key(0))
    shown = np.asarray(picture.images).reshape(4, 16, 8, 8, 1)
    x = experiment.splits["test"].gather(np.arange(16))["image"] / 255.0
    np.testing.assert_allclose(shown[0], x, atol=1e-6)
    np.testing.assert_allclose(shown[1], (MADE + 1) / 2, rtol=1e-5)


def test_a_picture_of_vq_is_of_quantised_latents() -> None:
    experiment = plain(variant="vq", gan=0.0)
    params, vars = experiment.initial(jax.random.key(0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(1), params, {}, vars, {})
    x = jnp.asarray(2 * (experiment.splits["test"].gather(np.arange(16))["image"] / 255.0) - 1, jnp.float32)

    @jax.jit
    def through(x: Any) -> Any:
        call = functools.partial(experiment.networks["autoencoder"].module.apply, {"params": params["autoencoder"]})
        z = call(x, method="to_latents")
        return [jnp.clip((call(z, method=method) + 1) / 2, 0, 1) for method in ("from_latents", "decode")]

    quantised, unquantised = through(x)
    picture = experiment.pictures["reconstructions"](state, jax.random.key(0))
    shown = np.asarray(picture.images).reshape(4, 16, 8, 8, 1)[1]
    np.testing.assert_allclose(shown, quantised, atol=1e-5)
    assert np.abs(shown - unquantised).max() > 1e-3


def test_sides_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(
        jaxgen.UserError, match=r"^Images of 8x8 cannot be halved 4 times; give --channels fewer numbers than 5"
    ):
        make("latent_autoencoder", channels=(1, 1, 1, 1, 1))
