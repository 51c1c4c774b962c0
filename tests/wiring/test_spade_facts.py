"""What `experiments.spade` is wired to, held against Park et al. 2019, sections 3 and 4, and the authors' code
(github.com/NVlabs/SPADE: models/pix2pix_model.py, options/train_options.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.spade
import jaxgen
from jaxgen import data
from jaxgen.losses.perceptual import feature_distance
from jaxgen.models.translation.vgg_weights import from_torch

K = 4


def pairs(n: int = 12, side: int = 8, seed: int = 0) -> data.Source:
    """Images of noise, and classes 0 to 3 for their pixels."""
    rng = np.random.default_rng(seed)
    rows = {"segmentation": rng.integers(0, K, (n, side, side, 1)), "image": rng.integers(0, 256, (n, side, side, 3))}
    return data.from_arrays({name: a.astype(np.uint8) for name, a in rows.items()}, name="pairs")


def plain(**flags: Any) -> jaxgen.Experiment:
    tiny = {"classes": K, "doublings": 1, "width": 1, "map_width": 1, "layers": 1, "discriminator_width": 1}
    return make("spade", **{"dataset": (pairs(), pairs(5, seed=1)), **tiny, **flags})


def batch_of(n: int = 4) -> Any:
    rows = pairs(n).gather(np.arange(n))
    scaled = jnp.asarray(2 * (rows["image"] / 255) - 1, jnp.float32)
    m = jax.nn.one_hot(jnp.asarray(rows["segmentation"][..., 0]), K)
    return {"image": scaled, "segmentation": m, "slot": jnp.arange(n), "index": jnp.arange(n)}


def readable(scales: int = 2, **more: Any) -> dict[str, Any]:
    """A generator whose pixels are the tanh of three numbers, and discriminators with constant logits.

    The first one's first map is the red of every second pixel.
    """
    kernel = np.zeros((4, 4, K + 3, 1))
    kernel[2, 2, K, 0] = 1
    values = {"generator/image/bias": np.array([0.7, -0.3, 0.1]), "discriminator/scale0/conv0/kernel": kernel}
    values |= {"discriminator/scale0/conv0/bias": 2.0}  # above the leak
    return values | {f"discriminator/scale{i}/head/bias": (0.4, -1.5)[i] for i in range(scales)} | more


MADE = np.tanh([0.7, -0.3, 0.1])


def torchvisions(stages: Any) -> dict[str, np.ndarray]:
    """Random weights of a trunk, by torchvision's names."""
    rng, found, number, below = np.random.default_rng(0), {}, 0, 3
    for channels in (c for stage in stages for c in stage):
        found[f"features.{number}.weight"] = rng.normal(size=(channels, below, 3, 3)).astype(np.float32)
        found[f"features.{number}.bias"] = rng.normal(size=channels).astype(np.float32)
        number, below = number + 2, channels
    return found


def test_vgg_compares_images_by_a_file_and_is_no_players(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    stages = ((2, 2), (3,), (2,), (2,), (2,))
    monkeypatch.setattr(experiments.spade, "TO_RELU5_1", stages)
    numpy.save_file(torchvisions(stages), tmp_path / "vgg.safetensors")
    sets = (pairs(side=32), pairs(5, side=32, seed=1))
    experiment = plain(dataset=sets, vgg=tmp_path / "vgg.safetensors", perceptual=7.0, matching=0.0)
    assert experiment.networks["vgg"].module.reflected is False
    assert all("vgg" not in player.owns for player in experiment.players.values())
    state = state_of(experiment, {})
    rows = pairs(4, side=32).gather(np.arange(4))
    x = jnp.asarray(2 * (rows["image"] / 255) - 1, jnp.float32)
    batch = {"image": x, "segmentation": jax.nn.one_hot(jnp.asarray(rows["segmentation"][..., 0]), K)}
    batch |= {"slot": jnp.arange(4), "index": jnp.arange(4)}
    held = from_torch(torchvisions(stages), experiment.networks["vgg"].module)
    jax.tree.map(np.testing.assert_array_equal, experiment.initial(jax.random.key(0))[0]["vgg"], held)
    state = state._replace(params={**state.params, "vgg": held})
    values, metrics = told(experiment, "generator", state, batch)
    see = lambda images: experiment.networks["vgg"].module.apply({"params": held}, images)
    made = experiment.networks["generator"].module.apply(
        {"params": state.params["generator"], **state.vars["generator"]}, batch["segmentation"], train=False
    )
    expected = feature_distance(see(made), see(x), (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0))
    np.testing.assert_allclose(metrics["perceptual"], expected, rtol=1e-4)
    np.testing.assert_allclose(values, metrics["adversarial"] + 7 * metrics["perceptual"], rtol=1e-5)
    with pytest.raises(jaxgen.UserError, match=r"^There is no file .*none\.pth; give one of a network's weights"):
        plain(dataset=sets, vgg=tmp_path / "none.pth").initial(jax.random.key(0))
    grey = data.from_arrays({name: a[..., :1] for name, a in rows.items()}, name="grey")
    with pytest.raises(jaxgen.UserError, match=r"^--vgg compares images in colour, and these have 1 channels; leave --vgg out"):
        plain(dataset=(grey, grey), vgg=tmp_path / "vgg.safetensors")


def test_the_defaults() -> None:
    facts = {"loss": "hinge", "matching": 10.0, "kl": 0.05, "learning_rate": 4e-4, "discriminator_rate": 4e-4, "scales": 2}
    facts |= {"norm": "batch", "style": False, "decay_steps": None, "ema": None, "flip": False, "void": None}
    assert {name: defaults(experiments.spade.experiment)[name] for name in facts} == facts


def test_pixels_are_in_the_range_of_tanh_and_maps_have_a_channel_for_each_class(measured: list[Measured]) -> None:
    experiment = plain(classes=3, void=3)
    raw = {"image": jnp.asarray([[[0, 255, 0]]], jnp.uint8), "segmentation": jnp.asarray([[[3]]], jnp.uint8), "index": 0}
    found = measured[0].transform(raw, jax.random.key(0))
    assert found["image"].ravel().tolist() == [-1, 1, -1]
    assert found["segmentation"].ravel().tolist() == [0, 0, 0, 1]
    assert (measured[0].source.length, experiment.train.source.length) == (5, 12)
    assert experiment.networks["generator"].inputs[0].shape == (1, 8, 8, 4)


@pytest.mark.parametrize("flags", [{}, {"jitter": 4}, {"flip": True}, {"jitter": 4, "flip": True}])
def test_pairs_are_cut_and_mirrored_together(flags: Any) -> None:
    n, jitter = 200, flags.get("jitter", 0)
    edge = np.zeros((1, 8, 8, 3), np.uint8)
    edge[:, :, 4:] = 255
    source = data.from_arrays({"image": edge, "segmentation": (edge[..., :1] > 0).astype(np.uint8)}, name="an edge")
    experiment = plain(dataset=(source, source), **flags)
    batch = {name: jnp.tile(rows, (n, 1, 1, 1)) for name, rows in source.gather(np.zeros(1, np.int64)).items()}
    batch = {**batch, "slot": jnp.arange(n), "index": jnp.arange(n)}
    seen = jax.jit(experiment.train.transform)(batch, jax.random.key(0))
    photo, right = (np.asarray(seen[name])[..., i] for name, i in (("image", 0), ("segmentation", 1)))
    assert photo.shape == right.shape == (n, 8, 8)
    assert set(np.unique(np.asarray(seen["segmentation"]))) == {0, 1}
    np.testing.assert_allclose((photo.mean((1, 2)) + 1) / 2, right.mean((1, 2)), atol=0.02)
    shares = set(np.round(8 * right.mean((1, 2))).astype(int))
    assert shares == (set(range(2, 7)) if jitter else {4})
    turned = right[:, 0, 0] > right[:, 0, -1]
    np.testing.assert_array_equal(turned, photo[:, 0, 0] > photo[:, 0, -1])
    assert turned.mean() == pytest.approx(0.5 if flags.get("flip") else 0.0, abs=0.1)


relu = lambda x: np.maximum(x, 0.0)
LOSSES = {
    "hinge": (lambda r: relu(1 - r) + relu(1 + r), lambda r: -r),
    "least_squares": (lambda r: (r - 1) ** 2 + r**2, lambda r: (r - 1) ** 2),
    "non_saturating": (lambda r: np.logaddexp(0, r) + np.logaddexp(0, -r), lambda r: np.logaddexp(0, -r)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "flags"), [("hinge", {}), ("least_squares", {"matching": 3.0}), ("non_saturating", {"scales": 1})]
)
def test_the_losses_of_both_players(loss: str, flags: Any) -> None:
    """Means over the sizes; ten times the difference of the first size's first map, which is the red of some pixels."""
    experiment, batch, scales = plain(loss=loss, **flags), batch_of(), flags.get("scales", 2)
    state = state_of(experiment, readable(scales))
    red = np.asarray(batch["image"])[:, ::2, ::2, 0]
    matched = np.abs(red - MADE[0]).sum((1, 2)) / 25 / scales
    of_discriminator, of_generator = (np.mean([f(r) for r in (0.4, -1.5)[:scales]]) for f in LOSSES[loss])
    np.testing.assert_allclose(told(experiment, "discriminator", state, batch)[0], of_discriminator, rtol=1e-4)
    values, metrics = told(experiment, "generator", state, batch)
    np.testing.assert_allclose(metrics["matching"], matched, rtol=1e-4)
    np.testing.assert_allclose(values, of_generator + flags.get("matching", 10.0) * matched, rtol=1e-4)


def test_a_style_belongs_to_the_generators_player() -> None:
    experiment, batch = plain(style=True, latents=2, kl=0.5), batch_of()
    assert experiment.players["generator"].owns == ("generator", "encoder")
    mean, log_var = np.array([0.3, -1.0]), np.array([0.2, -0.4])
    state = state_of(experiment, readable(**{"encoder/mean/bias": mean, "encoder/log_var/bias": log_var}))
    values, metrics = told(experiment, "generator", state, batch)
    expected = (np.exp(log_var) + mean**2 - 1 - log_var).sum() / 2
    np.testing.assert_allclose(metrics["kl"], expected, rtol=1e-4)
    np.testing.assert_allclose(values, metrics["adversarial"] + 10 * metrics["matching"] + 0.5 * expected, rtol=1e-4)
    assert plain().players["generator"].owns == ()


def test_the_generator_moves_first_and_each_by_its_own_rate() -> None:
    experiment = plain(steps=10, decay_steps=4, learning_rate=3e-4, discriminator_rate=5e-4)
    assert list(experiment.players) == ["generator", "discriminator"]
    assert all(player.every == 1 for player in experiment.players.values())
    for name, peak in (("generator", 3e-4), ("discriminator", 5e-4)):
        found = moves(experiment.players[name].tx, [2.0] * 10)
        np.testing.assert_allclose(found[:7], -peak, rtol=1e-4)
        np.testing.assert_allclose(found[7:], -peak * np.array([0.75, 0.5, 0.25]), rtol=1e-4)
    halves = plain(steps=10, learning_rate=1e-4)
    np.testing.assert_allclose(moves(halves.players["generator"].tx, [2.0] * 10)[5:7], [-1e-4, -0.8e-4], rtol=1e-4)
    # Without momentum a gradient of zero moves nothing; the second beta of 0.9 forgets a large one soon.
    large, none, small = moves(plain(steps=100, learning_rate=1e-4).players["generator"].tx, [2.0, 0.0, 1.0])
    assert (large, none) == (pytest.approx(-1e-4, rel=1e-4), 0.0)
    assert small == pytest.approx(-1e-4 / np.sqrt((0.1 * 4 * 0.81 + 0.1) / (1 - 0.9**3)), rel=1e-3)


@pytest.mark.slow
def test_samples_are_made_of_pictures_in_vocs_colours() -> None:
    """In [0, 1], by the nearest colour, and the same as those of the test maps."""
    from jaxgen.runs.run import begin

    experiment = plain(width=2, map_width=2)
    assert (np.asarray(experiment.given.examples.gather(np.arange(5))["image"])[..., :3] == colours_of(pairs(5, seed=1))).all()
    state = begin(experiment, 0)
    params = jax.tree.map(lambda p: 30 * p, state.params)
    state = state._replace(params={**params, "generator": {**params["generator"], "image": readable_image()}})
    given = {"image": jnp.asarray(colours_of(pairs(5, seed=1))), "index": jnp.arange(5)}
    made = experiment.sample(state, jax.random.key(0), given)
    assert made.shape == (5, 8, 8, 3)
    assert 0 <= float(made.min()) < 0.45 < 0.55 < float(made.max()) <= 1
    near = {**given, "image": given["image"] + jnp.where(given["image"] > 0, -20, 20).astype(jnp.uint8)}
    np.testing.assert_allclose(experiment.sample(state, jax.random.key(0), near), made, atol=1e-6)
    turned = {**given, "image": given["image"][:, ::-1]}
    assert np.abs(experiment.sample(state, jax.random.key(0), turned) - made).max() > 1e-3


def readable_image() -> Any:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 3))
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(3)}


def colours_of(source: data.Source) -> np.ndarray:
    return data.voc_colours()[source.gather(np.arange(source.length))["segmentation"][..., 0]]


def test_what_is_made_is_segmented_and_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a network of the training pairs, whose scores on the test images stand beside."""
    seen = []

    def stub(train: data.Source, *, classes: int, void: Any, recipe: Any, track: Any) -> Any:
        seen.append((train.length, classes, void, recipe.steps))
        return lambda images: (images[..., 0] > 127).astype(int)

    monkeypatch.setattr(experiments.spade, "segmenter", stub)
    experiment = plain(segmenter_steps=7, void=2)
    found = experiment.final["test"](state_of(experiment, readable()), jax.random.key(0), lambda batches, **_: batches)
    assert seen == [(12, K, 2, 7)]
    rows = pairs(5, seed=1).gather(np.arange(5))
    label = rows["segmentation"][..., 0]
    known = label != 2
    assert found["pixel_accuracy"] == pytest.approx((label == 1)[known].mean())  # tanh of 0.7 is bright
    assert found["pixel_accuracy_real"] == pytest.approx((label == (rows["image"][..., 0] > 127))[known].mean())
    assert {"mean_iou", "mean_iou_real", "mean_iou_stderr", "mean_iou_real_stderr"} <= set(found)
    assert set(experiment.protocol) == {"pixel_accuracy", "class_accuracy", "mean_iou"}
    assert (plain(segmenter_steps=0).final, plain(segmenter_steps=0).protocol) == ({}, {})


def test_flags_of_the_networks() -> None:
    found = shapes(plain(width=2, map_width=5, discriminator_width=3, layers=2, doublings=2))
    assert found["generator/block6/norm0/shared/kernel"] == (3, 3, K, 5)
    assert found["generator/image/kernel"] == (3, 3, 2, 3)
    assert found["discriminator/scale1/conv0/kernel"] == (4, 4, K + 3, 3)
    assert found["discriminator/scale0/head/kernel"] == (4, 4, 12, 1)
    assert "generator/batch_stats/block0/norm0/BatchNorm_0/BatchNorm_0/mean" in found
    assert not any("BatchNorm" in name for name in shapes(plain(norm="instance")))
    experiment = plain(ema=0.5, accumulate=2, steps=7, batch_size=6, doublings=3)
    assert (experiment.ema, experiment.accumulate, experiment.steps, experiment.train.batch_size) == (0.5, 2, 7, 6)
    assert experiment.networks["generator"].module.doublings == 3
    assert experiment.best is None
    assert experiment.networks["generator"].module.dtype == jnp.float32
    assert plain(bf16=True).networks["generator"].module.dtype == jnp.bfloat16


def test_the_picture_shows_maps_what_is_made_and_real_images() -> None:
    experiment = plain()
    picture = experiment.pictures["synthesised"](state_of(experiment, readable()), jax.random.key(5))
    source = pairs(5, seed=1)
    shown = np.asarray(picture.images).reshape(-1, 3, 8, 8, 3)
    assert (len(shown), picture.columns) == (8, 12)
    np.testing.assert_allclose(shown[:5, 0], colours_of(source) / 255, atol=1e-6)
    np.testing.assert_allclose(shown[:5, 1], np.broadcast_to((MADE + 1) / 2, (5, 8, 8, 3)), rtol=1e-5)
    np.testing.assert_allclose(shown[:5, 2], source.gather(np.arange(5))["image"] / 255, atol=1e-6)
    assert (shown[5:] == 1).all()
