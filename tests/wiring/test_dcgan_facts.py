"""What `experiments.dcgan` is wired to, held against Radford et al. 2015, section 4, and the authors' code
(github.com/Newmu/dcgan_code: faces/train_uncond_dcgan.py); the hinge as in Miyato et al. 2018, equations 16 and 17, and R1 as
in Mescheder et al. 2018, equation 9, applied lazily as in Karras et al. 2020."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import UNITS, Readable, defaults, first_pixel, images, moves, numbers, shapes, state_of, told

import experiments.dcgan
import jaxgen
from jaxgen import data
from jaxgen.game import merging
from jaxgen.metrics.support_vectors import few_labels
from jaxgen.runs.run import begin

NETWORKS = Readable()


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("dcgan", **{"channels": (1,), "latents": UNITS, **flags})


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"latents": 100, "batch_size": 128, "learning_rate": 2e-4, "loss": "non_saturating"}
    facts |= {
        "norm": "batch",
        "gamma": 0.0,
        "gamma_every": 16,
        "augment": (),
        "ada_target": None,
        "ada_images": 500_000,
        "svm_labels": 1000,
        "svm_draws": 5,
        "ema": None,
        "accumulate": 1,
        "bf16": False,
    }
    assert {name: defaults(experiments.dcgan.experiment)[name] for name in facts} == facts


def test_pixels_are_in_the_range_of_tanh_in_training_and_in_evaluation(measured: list) -> None:
    experiment = plain()
    readable.assert_pixels_of_tanh(experiment, *measured)


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    readable.assert_splits(experiment, *measured, "image")


def test_samples_are_in_0_1_of_normal_codes_by_the_running_statistics() -> None:
    """The codes are N(0, I): the paper's are uniform, which the docstring says."""
    experiment = plain()
    state = state_of(experiment, NETWORKS.made(mean=0.5, variance=4.0))
    samples = experiment.sample(state, jax.random.key(3), jaxgen.given(300))
    assert samples.shape == (300, 8, 8, 1)
    # The tanh of zero, between the black of 0 and the white of 1.
    np.testing.assert_array_equal(samples[:, 1::2], 0.5)
    z = 2 * numbers(samples) + 0.5
    readable.assert_normal(z)
    # Numbers of one code and codes of one draw are independent.
    assert np.abs(np.corrcoef(z.T) - np.eye(UNITS)).max() < 0.25
    np.testing.assert_array_equal(samples, experiment.sample(state, jax.random.key(3), jaxgen.given(300)))


def test_both_players_train_and_are_evaluated_on_codes_of_that_law(measured: list) -> None:
    experiment = plain()
    state = state_of(experiment, NETWORKS.made(mean=0.5, variance=4.0) | NETWORKS.judged())
    readable.assert_codes_of_both_players(experiment, *measured, state, images(3000))


LOSSES = {
    "non_saturating": (lambda real, fake: softplus(-real) + softplus(fake), lambda fake: softplus(-fake)),
    "minimax": (lambda real, fake: softplus(-real) + softplus(fake), lambda fake: -softplus(fake)),
    "hinge": (lambda real, fake: np.maximum(1 - real, 0) + np.maximum(1 + fake, 0), lambda fake: -fake),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_losses_of_both_players(loss: str) -> None:
    """Goodfellow et al. 2014, algorithm 1 and section 3. Of a generator with a constant first pixel, tanh(0.7)."""
    experiment = plain(loss=loss)
    made = NETWORKS.made() | {"generator/Dense_0/kernel": 0.0}
    state, batch = state_of(experiment, made | NETWORKS.judged(3.0)), images(5)
    real, fake = 3 * first_pixel(batch), np.full(5, 3 * np.tanh(0.7))
    discriminator, generator = LOSSES[loss]
    values, metrics = told(experiment, "discriminator", state, batch)
    np.testing.assert_allclose(values, discriminator(real, fake), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told(experiment, "generator", state, batch)[0], generator(fake), rtol=1e-4)
    shown = {"real_logit": real, "fake_logit": fake}
    if loss != "hinge":
        shown = {"real_probability": sigmoid(real), "fake_probability": sigmoid(fake)}
    assert set(metrics) == set(shown)
    for name, value in shown.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5)


def test_the_discriminator_moves_first_and_both_move_once_a_step() -> None:
    """Algorithm 1 with k = 1. The authors' code moves one player at a time, each on a batch of its own: as often."""
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", 1)]


def test_the_learning_rate_is_that_of_both_players() -> None:
    for player in plain(learning_rate=0.25).players.values():
        # Adam's first move is the rate, whatever the size of the gradient.
        assert moves(player.tx, [3.0]) == pytest.approx([-0.25], rel=1e-4)


def test_what_is_evaluated(measured: list) -> None:
    experiment = plain()
    state = state_of(experiment, NETWORKS.made() | NETWORKS.judged(3.0))
    batch = images(4)
    found = {name: np.asarray(v) for name, v in jax.jit(measured[0].measure)(state, batch, jax.random.key(2)).items()}
    assert set(found) == {"discriminator_loss", "real_probability", "fake_probability"}
    np.testing.assert_allclose(found["real_probability"], sigmoid(3 * first_pixel(batch)), rtol=1e-4)
    expected = -np.log(found["real_probability"]) - np.log1p(-found["fake_probability"])
    np.testing.assert_allclose(found["discriminator_loss"], expected, rtol=1e-4)
    assert experiment.best is None
    assert experiment.protocol == dict.fromkeys(("svm_error", "svm_error_pixels"), ("svm_draws", "svm_labels"))
    assert sorted(experiment.final) == ["test"]


@pytest.mark.parametrize("channels", [(4, 8), (3, 5, 7)])
def test_the_generator_mirrors_the_discriminator(channels: tuple[int, ...]) -> None:
    found = shapes(plain(channels=channels))
    ups = [found[f"generator/ConvTranspose_{i}/kernel"] for i in range(len(channels))]
    downs = [found[f"discriminator/down{i}/kernel"] for i in range(len(channels))]
    assert downs == [(4, 4, before, after) for before, after in zip((1, *channels), channels, strict=False)]
    assert ups == [(*size, after, before) for *size, before, after in downs[::-1]]
    side = 8 // 2 ** len(channels)
    assert found["generator/Dense_0/kernel"] == (UNITS, side * side * channels[-1])


def test_the_norms_of_the_discriminator() -> None:
    """Batch normalisation in all layers but the first (section 3), or spectral normalisation of every kernel."""
    batch = {name for name in shapes(plain(channels=(2, 3), norm="batch")) if name.startswith("discriminator/")}
    assert {name.split("/")[1] for name in batch} == {"down0", "down1", "norm1", "head", "batch_stats"}
    assert not any("spectral" in name for name in batch)
    spectral = shapes(plain(channels=(2, 3), norm="spectral"))
    assert not any("norm1" in name for name in spectral)
    kernels = [name for name in spectral if name.startswith("discriminator/") and name.endswith("/kernel")]
    assert sum(name.endswith("/sigma") for name in spectral) == len(kernels) == 3


def test_r1_is_half_gamma_times_the_squared_gradient_at_the_data_in_every_nth_step() -> None:
    experiment = plain(norm="spectral", gamma=6.0, gamma_every=3)
    # Without an offset the rectifier's slope is that of the pixel's sign, and samples have a pixel above zero.
    values = NETWORKS.made() | NETWORKS.judged(0.5) | {"discriminator/down0/bias": 0.0}
    batch = images(8)
    slope = np.where(first_pixel(batch) > 0, 1.0, 0.2)
    assert np.unique(slope).size == 2
    evaluated, metrics = told(experiment, "discriminator", state_of(experiment, values), batch)
    # Kernels are divided by their spectral norms, which makes the gain one.
    np.testing.assert_allclose(metrics["penalty"], 6 / 2 * slope**2, rtol=1e-5)
    cross_entropy = -np.log(metrics["real_probability"]) - np.log1p(-metrics["fake_probability"])
    np.testing.assert_allclose(evaluated, cross_entropy + metrics["penalty"], rtol=1e-5)
    loss = jax.jit(functools.partial(experiment.players["discriminator"].loss, train=True))
    trained = []
    for step in range(4):
        state = state_of(experiment, values, step=step)
        trained.append(loss(state.params, state, batch, jax.random.key(0))[1].metrics["penalty"])
    np.testing.assert_allclose(trained, np.outer([3, 0, 0, 3], 6 / 2 * slope**2), rtol=1e-4)
    assert "penalty" not in told(plain(), "discriminator", state_of(plain(), {}), batch)[1]


@pytest.mark.slow
@pytest.mark.parametrize("names", [("cutout",), ("translation", "cutout"), ("color", "cutout")])
def test_augmented_images_are_judged_in_training_alone_and_of_both_players(names: tuple[str, ...]) -> None:
    """Zhao et al. 2020, equations 5 to 7. The first pixel is cut out of some images, and moved or changed before."""
    experiment = plain(augment=names)
    made = NETWORKS.made() | {"generator/Dense_0/kernel": 0.0}
    state, batch = state_of(experiment, made | NETWORKS.judged(3.0)), images(200)
    first, fake = 3 * first_pixel(batch), 3 * np.tanh(0.7)
    evaluated = told(experiment, "discriminator", state, batch)[1]
    np.testing.assert_allclose(evaluated["real_probability"], sigmoid(first), rtol=1e-4)
    np.testing.assert_allclose(evaluated["fake_probability"], sigmoid(fake), rtol=1e-4)
    d_loss, g_loss = (functools.partial(player.loss, train=True) for player in experiment.players.values())
    metrics = jax.jit(lambda state: dict(d_loss(state.params, state, batch, jax.random.key(0))[1].metrics))(state)
    real, made_up = (
        np.log(p / (1 - p)) for p in (np.asarray(metrics[f"{name}_probability"], np.float64) for name in ("real", "fake"))
    )
    descended = jax.jit(lambda state: g_loss(state.params, state, batch, jax.random.key(0))[0])(state)
    generator = -np.log(np.expm1(np.asarray(descended, np.float64)))
    for logits, before in ((real, first), (made_up, np.full(200, fake)), (generator, np.full(200, fake))):
        cut = abs(logits) < 1e-3
        assert 0.03 < cut.mean() < 0.97  # a ninth of a corner, and what moves in
        kept = abs(logits - before) < 1e-3
        if names == ("cutout",):
            assert (cut | kept).all()
        elif logits is real:  # the other pixels of a sample are 0 already
            assert not (cut | kept).all()


@pytest.mark.parametrize(("target", "p"), [(0.45, 0.3 + 20 / 80), (0.55, 0.3 - 20 / 80)])
def test_the_probability_of_the_adaptive_augmentation_follows_the_target_and_the_images(target: float, p: float) -> None:
    """Of 20 images, half of them certainly real, since four steps."""
    experiment = plain(ada_target=target, ada_images=80)
    seen = {"augmentation/p": 0.3, "augmentation/signs": 10.0, "augmentation/count": 20.0, "augmentation/since": 3.0}
    values = NETWORKS.made() | NETWORKS.judged(3.0)
    state, batch = state_of(experiment, values | seen, step=7), images(60)
    first = 3 * first_pixel(batch)
    for train in (True, False):
        metrics = told(experiment, "discriminator", state, batch, train=train)[1]
        assert metrics["augment_p"] == pytest.approx(p, abs=1e-6)
        real = np.asarray(metrics["real_probability"], np.float64)
        same = np.isclose(np.log(real / (1 - real)), first, atol=1e-3)
        # Where p is 0.55, one in 2000 images stays as it is; where it is 0.05, every second one.
        assert same.all() if not train else 0 <= same.mean() < (0.3 if p > 0.5 else 0.95)
    assert experiment.players["discriminator"].merge == {"augmentation": merging.same}
    begun = experiment.initial(jax.random.key(0))[1]["augmentation"]
    assert jax.tree.map(float, begun) == dict.fromkeys(("p", "signs", "count", "since"), 0.0)
    assert "augmentation" not in experiment.initial(jax.random.key(0))[1].get("generator", {})
    assert "augmentation" not in jax.eval_shape(plain().initial, jax.random.key(0))[1]
    assert plain().players["discriminator"].merge == {}


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=0.5, accumulate=2, steps=7)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (0.5, 2, 7)
    assert (plain().ema, plain().accumulate) == (None, 1)


def test_half_precision_reaches_both_players() -> None:
    whole, half = plain(), plain(bf16=True)
    state, batch = state_of(whole, NETWORKS.made() | NETWORKS.judged()), images(4)
    probability = told(half, "discriminator", state, batch)[1]["real_probability"].astype(np.float64)
    assert 1e-4 < np.abs(np.log(probability / (1 - probability)) - first_pixel(batch)).max() < 0.1
    made = [experiment.sample(state, jax.random.key(0), jaxgen.given(20)) for experiment in (whole, half)]
    assert 1e-4 < np.abs(made[0] - made[1]).max() < 0.1


def test_the_pictures_are_of_the_same_samples() -> None:
    experiment = plain()
    state = state_of(experiment, NETWORKS.made())
    picture = experiment.pictures["samples"](state, jax.random.key(5))
    np.testing.assert_allclose(picture.images, experiment.sample(state, jax.random.key(5), jaxgen.given(128)), atol=1e-6)
    assert list(experiment.pictures) == ["samples", "interpolations", "arithmetic"]


def test_the_support_vector_machine_sees_the_maps_of_the_discriminator_by_its_running_statistics() -> None:
    """Section 5: maps of every convolution, each as the largest values of 4x4 cells; labelled images of the training split."""
    experiment = make("dcgan", channels=(2, 3), latents=4, svm_labels=100, svm_draws=2)
    state = begin(experiment, 0)
    params = state.params["discriminator"]
    mean, var = np.array([0.3, -0.2, 0.1]), np.array([2.0, 0.5, 1.5])
    statistics = jax.tree_util.tree_map_with_path(
        lambda path, a: jnp.asarray(var if path[-1].key == "var" else mean, a.dtype), state.vars["discriminator"]
    )
    state = state._replace(vars={**state.vars, "discriminator": statistics})

    def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.asarray(jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))

    def features(source: Any) -> tuple[np.ndarray, np.ndarray]:
        examples = source.gather(np.arange(source.length))
        x = examples["image"].astype(np.float32) / 127.5 - 1
        first = convolved(x, params["down0"]["kernel"]) + params["down0"]["bias"]
        first = np.where(first > 0, first, 0.2 * first)  # 4x4: as many cells
        second = (convolved(first, params["down1"]["kernel"]) - mean) / np.sqrt(var + 1e-5)
        second = second * params["norm1"]["BatchNorm_0"]["scale"] + params["norm1"]["BatchNorm_0"]["bias"]
        second = np.where(second > 0, second, 0.2 * second)
        maps = [np.asarray(a).reshape(len(x), -1) for a in (first, second)]
        return np.concatenate(maps, axis=1), x.reshape(len(x), -1), examples["label"]

    key = jax.random.key(5)
    found = experiment.final["test"](state, key, lambda items, **_: items)
    train, test = (features(experiment.splits[split]) for split in ("train", "test"))
    for i, name in enumerate(("svm_error", "svm_error_pixels")):
        by_hand = few_labels(train[i], train[2], test[i], test[2], labels=100, draws=2, seed=int(jax.random.bits(key)))
        assert found[name] == pytest.approx(100 * by_hand.error, abs=0.6)  # an image or two on the border
        assert found[f"{name}_stderr"] == pytest.approx(100 * by_hand.stderr, abs=0.5)
    assert experiment.protocol == dict.fromkeys(("svm_error", "svm_error_pixels"), ("svm_draws", "svm_labels"))


def test_without_labels_there_is_no_support_vector_machine() -> None:
    assert make("dcgan", svm_labels=0).final == make("dcgan", svm_labels=0).protocol == {}
    unlabelled = data.from_arrays({"image": np.zeros((20, 8, 8, 1), np.uint8)}, name="mine")
    assert make("dcgan", dataset=(unlabelled, unlabelled)).final == {}
    withheld = data.from_arrays(
        {"image": np.zeros((20, 8, 8, 1), np.uint8), "label": np.full(20, -1)}, name="mine", classes=("cat", "dog")
    )
    experiment = make("dcgan", dataset=(withheld, withheld))
    assert all(of(begin(experiment, 0), jax.random.key(0), lambda items, **_: items) == {} for of in experiment.final.values())


def test_the_diversity_of_samples_is_evaluated_and_watched(measured: list) -> None:
    experiment = plain()
    readable.assert_watched(experiment, state_of(experiment, NETWORKS.made()))
