"""What `experiments.pix2pix` is wired to, held against Isola et al. 2017, section 3 and appendix 6, and the authors' code
(github.com/phillipi/pix2pix: models.lua, train.lua; the learning rate as in junyanz/pytorch-CycleGAN-and-pix2pix)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.pix2pix
import jaxgen
from jaxgen import data

RNG = np.random.default_rng(0)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
DIRECTIONS = {"photo_to_labels": ("image", "label_rgb"), "labels_to_photo": ("label_rgb", "image")}


def pairs(n: int = 12, side: int = 8, seed: int = 0, **given: np.ndarray) -> data.Source:
    """Photos of noise, and classes 0 to 3 in colours of their own."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, (n, side, side, 1)).astype(np.uint8)
    photo = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return data.from_arrays(
        {"image": photo, "segmentation": classes, "label_rgb": COLOURS[classes[..., 0]], **given}, name="pairs"
    )


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("pix2pix", **{"dataset": (pairs(), pairs(5, seed=1)), "downs": 1, "width": 1, "layers": 0, **flags})


def batch_of(n: int = 4, **images: Any) -> Any:
    """Scaled pairs with their classes."""
    rows = pairs(n).gather(np.arange(n))
    scaled = {name: jnp.asarray(2 * (rows[name] / 255) - 1, jnp.float32) for name in ("image", "label_rgb")}
    return {
        **scaled,
        "segmentation": jnp.asarray(rows["segmentation"]),
        "slot": jnp.arange(n),
        "index": jnp.arange(n),
        **images,
    }


CONSTANT = {"generator/up0/bias": np.array([0.7, -0.3, 0.1]), "discriminator/head/bias": 0.4}
"""A generator whose pixels are the tanh of these, and a discriminator that always says the same."""
MADE = np.tanh(CONSTANT["generator/up0/bias"])


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"loss": "non_saturating", "l1": 100.0, "gan": 1.0, "batch_size": 1, "learning_rate": 2e-4}
    facts |= {"dropout": 0.5, "layers": 3, "decay_steps": None, "noise": True, "statistics": "own", "void": None, "flip": False}
    assert {name: defaults(experiments.pix2pix.experiment)[name] for name in facts} == facts


def test_pixels_of_both_are_in_the_range_of_tanh_and_nothing_else_happens_in_an_evaluation(measured: list) -> None:
    plain()
    example = {name: jnp.asarray([[[0, 255, 0]]], jnp.uint8) for name in ("image", "label_rgb")}
    found = measured[0].transform({**example, "index": 0}, jax.random.key(0))
    for image in found["image"], found["label_rgb"]:
        assert image.ravel().tolist() == [-1, 1, -1]
    assert measured[0].source.length == 5
    assert plain().train.source.length == 12


@pytest.mark.parametrize("flags", [{}, {"jitter": 0}, {"flip": True}, {"jitter": 4, "flip": True}])
def test_pairs_are_cut_and_mirrored_together(flags: Any) -> None:
    """An edge between black and white, at the same place in both: enlarged by the jitter, cut and perhaps mirrored."""
    n, jitter = 300, flags.get("jitter", 4)
    edge = np.zeros((1, 8, 8, 3), np.uint8)
    edge[:, :, 4:] = 255
    one = np.zeros((1, 8, 8, 1), np.uint8)
    source = data.from_arrays({"image": edge, "label_rgb": edge, "segmentation": one}, name="an edge")
    experiment = plain(dataset=(source, source), **flags)
    batch = {name: jnp.tile(rows, (n, 1, 1, 1)) for name, rows in source.gather(np.zeros(1, np.int64)).items()}
    batch = {**batch, "slot": jnp.arange(n), "index": jnp.arange(n)}
    seen = jax.jit(experiment.train.transform)(batch, jax.random.key(0))
    photo, labels = (np.asarray(seen[name])[..., 0] for name in ("image", "label_rgb"))
    assert photo.shape == labels.shape == (n, 8, 8)
    # Labels have their own colours alone, photos are interpolated.
    assert set(np.unique(np.round(labels, 5))) == {-1.0, 1.0}
    white = [(a.mean((1, 2)) + 1) / 2 for a in (photo, labels)]
    np.testing.assert_allclose(*white, atol=0.02)
    # The edge of 12 pixels lies at the 6th, so that 2 to 6 of 8 are on its left.
    shares = set(np.round(8 * white[1]).astype(int))
    assert shares == (set(range(2, 7)) if jitter else {4})
    turned = [a[:, 0, 0] > a[:, 0, -1] for a in (photo, labels)]
    np.testing.assert_array_equal(*turned)
    assert turned[0].mean() == pytest.approx(0.5 if flags.get("flip") else 0.0, abs=0.1)


LOSSES = {
    "non_saturating": (softplus(-0.4) + softplus(0.4), softplus(-0.4)),
    "least_squares": ((0.4 - 1) ** 2 + 0.4**2, (0.4 - 1) ** 2),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_losses_of_both_players(loss: str, direction: str) -> None:
    """Half of the discriminator's; the generator's and 100 times the mean absolute difference to the other image."""
    batch, (_, target) = batch_of(), DIRECTIONS[direction]
    l1 = np.abs(np.asarray(batch[target]) - MADE).mean((1, 2, 3))
    of_discriminator, of_generator = LOSSES[loss]
    for weights in ({}, {"l1": 3.0, "gan": 0.25}):
        experiment = plain(loss=loss, direction=direction, **weights)
        state = state_of(experiment, CONSTANT)
        np.testing.assert_allclose(told(experiment, "discriminator", state, batch)[0], of_discriminator / 2, rtol=1e-4)
        values, metrics = told(experiment, "generator", state, batch)
        np.testing.assert_allclose(metrics["l1"], l1, rtol=1e-4)
        expected = weights.get("gan", 1.0) * of_generator + weights.get("l1", 100.0) * l1
        np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_discriminator_sees_what_is_translated_and_then_what_it_became(direction: str) -> None:
    """One channel of the six, by a network of 1x1 kernels and running statistics: its mean over the map is the logit."""
    experiment = plain(direction=direction, loss="least_squares", statistics="running")
    batch, (source, target) = batch_of(), DIRECTIONS[direction]
    for channel in range(6):
        kernel = np.zeros((1, 1, 6, 1))
        kernel[0, 0, channel] = 1
        values = {
            "discriminator/conv0/kernel": kernel,
            "discriminator/conv0/bias": 2.0,  # above the leak
            "discriminator/conv1/kernel": np.array([1.0, 0.0]).reshape(1, 1, 1, 2),
            "discriminator/norm1/BatchNorm_0/scale": 1.0,
            "discriminator/head/kernel": np.array([1.0, 0.0]).reshape(1, 1, 2, 1),
            "discriminator/head/bias": -2.0,
        }
        state = state_of(experiment, {"generator/up0/bias": CONSTANT["generator/up0/bias"]} | values)
        _, metrics = told(experiment, "discriminator", state, batch)
        real = batch[source if channel < 3 else target][..., channel % 3].mean((1, 2))
        fake = real if channel < 3 else np.full(4, MADE[channel - 3])
        np.testing.assert_allclose(metrics["real_logit"], real, atol=1e-4)
        np.testing.assert_allclose(metrics["fake_logit"], fake, atol=1e-4)


def test_the_discriminator_moves_first_and_both_move_once_a_step() -> None:
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", 1)]


def test_without_its_weight_there_is_no_discriminator() -> None:
    experiment = plain(gan=0.0)
    assert (list(experiment.players), list(experiment.networks)) == (["generator"], ["generator"])
    values, metrics = told(experiment, "generator", state_of(experiment, {"generator/up0/bias": 0.0}), batch_of())
    np.testing.assert_allclose(values, 100 * metrics["l1"], rtol=1e-5)
    with pytest.raises(jaxgen.UserError, match="With --gan 0 and --l1 0 nothing is trained"):
        plain(gan=0.0, l1=0.0)


def test_the_rate_is_constant_and_then_falls_to_zero_along_a_line() -> None:
    for flags, falls in (({}, 50), ({"decay_steps": 20}, 20), ({"decay_steps": 0}, 0), ({"decay_steps": 500}, 100)):
        experiment = plain(steps=100, learning_rate=0.5, **flags)
        rate = np.array([experiment.schedules["learning_rate"](step) for step in range(101)])
        expected = [0.5 if step < 100 - falls else 0.5 * (100 - step) / falls if falls else 0.5 for step in range(101)]
        np.testing.assert_allclose(rate[:100], expected[:100], rtol=1e-5)
        for player in experiment.players.values():
            # Adam's first move is its rate, whatever the size of the gradient.
            assert moves(player.tx, [3.0]) == pytest.approx([-rate[0]], rel=1e-4)


def test_an_image_of_labels_is_scored_by_the_nearest_colour_over_the_whole_split() -> None:
    """A generator of one colour alone: all pixels are of the class whose colour is nearest, here red."""
    test = pairs(5, seed=1)
    classes = test.gather(np.arange(5))["segmentation"]
    for flags, counted in (({}, classes >= 0), ({"void": 2}, classes != 2)):
        experiment = plain(dataset=(pairs(), test), **flags)
        # Tanh of 0.9 in red is 0.86 of 1: nearer to red than to grey.
        state = state_of(experiment, {"generator/up0/bias": np.array([0.9, -2.0, -2.0])})
        found = experiment.evaluators["test"](state, jax.random.key(0), quiet)
        held = classes[counted]
        number = len(np.unique(held))
        share = (held == 0).mean()
        assert found["pixel_accuracy"] == pytest.approx(share)
        assert found["class_accuracy"] == pytest.approx(1 / number)
        assert found["mean_iou"] == pytest.approx(share / number)
        each = np.array([(c[k] == 0).sum() for c, k in zip(classes, counted, strict=True)])
        total = counted.sum((1, 2, 3))
        without = (each.sum() - each) / (total.sum() - total)
        assert found["pixel_accuracy_stderr"] == pytest.approx(np.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum()))
        assert set(found) > {"l1", "l1_stderr", "adversarial", "discriminator_loss", "real_probability", "fake_probability"}
        assert experiment.best is None
        assert set(experiment.protocol) == {"l1", "pixel_accuracy", "class_accuracy", "mean_iou"}
    assert set(plain(direction="labels_to_photo").protocol) == {"l1"}


@pytest.mark.slow
def test_the_void_class_of_camvid(shared: str) -> None:
    """Class 11 of 12 is void: a generator that has its black everywhere is wrong everywhere, in the nearest other colour."""
    experiment = plain(dataset="camvid64", data_dir=shared, cache_budget=0.0)
    state = state_of(experiment, {"generator/up0/bias": -9.0})
    test = data.load("camvid64", "test", data_dir=shared, cache_budget=0.0)
    classes = test.gather(np.arange(test.length))["segmentation"]
    found = experiment.evaluators["test"](state, jax.random.key(0), quiet)
    nearest = 9  # (64, 64, 0)
    assert found["pixel_accuracy"] == pytest.approx((classes[classes != 11] == nearest).mean())
    assert found["class_accuracy"] == pytest.approx(1 / 11)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_samples_are_translations_in_0_1_and_are_measured_against_what_images_become(direction: str) -> None:
    experiment = plain(direction=direction)
    source, target = DIRECTIONS[direction]
    rows = pairs(5, seed=1).gather(np.arange(5))
    given = jaxgen.given(7, experiment.given)
    assert set(given) == {"image", "index"}
    np.testing.assert_array_equal(given["image"][:5], rows[source])
    samples = experiment.sample(state_of(experiment, CONSTANT), jax.random.key(0), given)
    np.testing.assert_allclose(samples, np.broadcast_to((MADE + 1) / 2, (7, 8, 8, 3)), rtol=1e-5)
    np.testing.assert_array_equal(experiment.splits["test"].gather(np.arange(5))["image"], rows[target])
    assert experiment.splits["train"].length == 12


def test_noise_is_the_images_own_and_stays_at_test_and_each_image_is_normalised_by_itself() -> None:
    """Section 3.4: dropout at test, and batch normalisation by the statistics of the test batch, which is one image."""
    made = {
        (noise, statistics): plain(noise=noise, statistics=statistics, downs=2, width=2)
        for noise in (True, False)
        for statistics in ("own", "running")
    }
    base = made[True, "own"]
    state = jaxgen.create_state(jax.random.key(0), *base.initial(jax.random.key(1)), base.players)
    key, given = jax.random.key(5), jaxgen.given(5, base.given)
    drawn = {name: np.asarray(one.sample(state, key, given)) for name, one in made.items()}
    again = {name: np.asarray(one.sample(state, jax.random.key(6), given)) for name, one in made.items()}
    for name, images in drawn.items():
        assert np.array_equal(images, again[name]) != name[0]
    assert np.abs(drawn[False, "own"] - drawn[False, "running"]).max() > 1e-3
    one = {name: a[3:4] for name, a in given.items()}
    for name, images in drawn.items():
        np.testing.assert_allclose(made[name].sample(state, key, one)[0], images[3], atol=1e-5)
    # Without dropout there is no noise.
    silent = plain(dropout=0.0, downs=2, width=2)
    np.testing.assert_array_equal(*(silent.sample(state, jax.random.key(i), given) for i in range(2)))


@pytest.mark.parametrize(("side", "downs"), [(8, 3), (24, 3), (64, 6), (512, 8), (6, 1)])
def test_the_unet_halves_as_often_as_it_can(side: int, downs: int) -> None:
    source = pairs(2, side)
    found = shapes(plain(dataset=(source, source), downs=None, width=2))
    assert [f"generator/down{i}/kernel" in found for i in range(9)] == [True] * downs + [False] * (9 - downs)


def test_flags_of_the_networks() -> None:
    found = shapes(plain(width=5, layers=2, dataset=(pairs(side=32), pairs(side=32)), downs=2))
    assert found["generator/down0/kernel"] == (4, 4, 3, 5)
    assert found["discriminator/conv0/kernel"] == (4, 4, 6, 5)
    assert found["discriminator/head/kernel"] == (4, 4, 20, 1)
    assert plain(batch_size=3).train.batch_size == 3
    experiment = plain(ema=0.5, accumulate=2, steps=7)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (0.5, 2, 7)
    assert {network.module.dtype for network in plain(bf16=True).networks.values()} == {jnp.bfloat16}
    assert plain(dropout=0.25).networks["generator"].module.rate == 0.25


def test_the_picture_shows_what_is_translated_what_it_became_and_what_it_is() -> None:
    experiment = plain(direction="labels_to_photo")
    picture = experiment.pictures["translations"](state_of(experiment, CONSTANT), jax.random.key(5))
    rows = pairs(5, seed=1).gather(np.arange(5))
    shown = np.asarray(picture.images).reshape(-1, 3, 8, 8, 3)
    assert (len(shown), picture.columns) == (8, 12)
    np.testing.assert_allclose(shown[:5, 0], rows["label_rgb"] / 255, atol=1e-6)
    np.testing.assert_allclose(shown[:5, 1], np.broadcast_to((MADE + 1) / 2, (5, 8, 8, 3)), rtol=1e-5)
    np.testing.assert_allclose(shown[:5, 2], rows["image"] / 255, atol=1e-6)
    assert (shown[5:] == 1).all()
