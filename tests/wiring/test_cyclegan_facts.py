"""What `experiments.cyclegan` is wired to, held against Zhu et al. 2017, sections 3 to 5 and appendix 7, and the authors' code
(github.com/junyanz/pytorch-CycleGAN-and-pix2pix: models/cycle_gan_model.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.cyclegan
import jaxgen
from jaxgen import data
from jaxgen.game import merging
from jaxgen.metrics import classification_accuracy

CONSTANT = {
    "a_to_b/out/bias": 0.6,
    "b_to_a/out/bias": -0.4,
    "discriminator_a/head/bias": 0.3,
    "discriminator_b/head/bias": -0.2,
}
"""Translators whose pixels are the tanh of these, and discriminators that always say the same."""
INTO = {"a": np.tanh(-0.4), "b": np.tanh(0.6)}
"""What all translations into each domain are."""
JUDGED = {"a": 0.3, "b": -0.2}


def pictures(n: int = 12, side: int = 8, channels: int = 1, seed: int = 0, names: Any = ("x", "y", "z")) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, side, side, channels)).astype(np.uint8)
    return data.from_arrays({"image": image, "label": np.arange(n) % 3}, name=f"pictures {seed}", classes=names)


def domains(**of: Any) -> dict[str, Any]:
    return {
        "dataset": (pictures(**of), pictures(5, seed=1, **of)),
        "target": (pictures(9, seed=2, **of), pictures(4, seed=3, **of)),
    }


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("cyclegan", **{**domains(), "width": 1, "layers": 0, **flags})


def batch_of(n: int = 3) -> Any:
    """Scaled images of both domains."""
    rows = {"a": pictures(n), "b": pictures(n, seed=2)}
    image = {d: 2 * (source.gather(np.arange(n))["image"] / 255) - 1 for d, source in rows.items()}
    return {d: {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(n), "index": jnp.arange(n)} for d, x in image.items()}


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"loss": "least_squares", "gan": 1.0, "cycle": (10.0, 10.0), "identity": 0.5, "pool": 50}
    facts |= {"learning_rate": 2e-4, "decay_steps": None, "direction": "a_to_b", "ema": None, "jitter": 0, "flip": False}
    assert {name: defaults(experiments.cyclegan.experiment)[name] for name in facts} == facts


def test_pixels_are_in_the_range_of_tanh_in_both_domains(measured: list[Measured]) -> None:
    experiment = plain()
    assert [one.source.name for one in measured] == [experiment.splits[f"test/{d}"].name for d in "ab"]
    raw = jnp.asarray([[0, 255]], jnp.uint8).reshape(1, 2, 1)
    for one in measured:
        assert one.transform({"image": raw, "index": 0}, jax.random.key(0))["image"].ravel().tolist() == [-1, 1]
    rows = {d: {k: jnp.asarray(v) for k, v in s.read(0, seed=0).items()} for d, s in experiment.train.streams.items()}
    batch = {d: {k: v[0] for k, v in part.items()} for d, part in rows.items()}
    found = experiment.train.transform(batch, jax.random.key(0))
    for domain in "ab":
        np.testing.assert_allclose(found[domain]["image"], 2 * (batch[domain]["image"] / 255.0) - 1, atol=1e-6)
        assert experiment.train.streams[domain].source.length == experiment.splits[f"train/{domain}"].length
    assert {split: source.length for split, source in experiment.splits.items()} == {
        "train/a": 12,
        "test/a": 5,
        "train/b": 9,
        "test/b": 4,
    }


@pytest.mark.parametrize("flags", [{"jitter": 4}, {"flip": True}, {"jitter": 4, "flip": True}])
def test_images_of_each_domain_are_cut_and_mirrored_by_themselves(flags: Any) -> None:
    """An edge between black and white: enlarged by the jitter it lies at the 6th of 12 pixels."""
    n = 300
    edge = np.zeros((1, 8, 8, 1), np.uint8)
    edge[:, :, 4:] = 255
    source = data.from_arrays({"image": edge}, name="an edge")
    experiment = plain(dataset=(source, source), target=(source, source), **flags)
    one = {"image": jnp.tile(jnp.asarray(edge), (n, 1, 1, 1)), "slot": jnp.arange(n), "index": jnp.arange(n)}
    seen = jax.jit(experiment.train.transform)({"a": one, "b": one}, jax.random.key(0))
    white = {d: np.asarray(seen[d]["image"] > 0).mean((1, 2, 3)) for d in "ab"}
    turned = {d: np.asarray(seen[d]["image"][:, 0, 0, 0] > seen[d]["image"][:, 0, -1, 0]) for d in "ab"}
    for domain in "ab":
        assert set(np.round(8 * white[domain]).astype(int)) == (set(range(2, 7)) if "jitter" in flags else {4})
        assert turned[domain].mean() == pytest.approx(0.5 if flags.get("flip") else 0.0, abs=0.12)
    if "jitter" in flags:
        assert abs(np.corrcoef(white["a"], white["b"])[0, 1]) < 0.2


LOSSES = {
    "least_squares": (lambda real, fake: (real - 1) ** 2 + fake**2, lambda fake: (fake - 1) ** 2),
    "non_saturating": (lambda r, f: np.logaddexp(0, -r) + np.logaddexp(0, f), lambda fake: np.logaddexp(0, -fake)),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weights", [{}, {"cycle": (2.0, 3.0), "identity": 0.25, "gan": 0.5}])
def test_the_losses_of_both_players(loss: str, weights: Any) -> None:
    """10 times the cycle, 5 times the identity, and half of the discriminators' losses."""
    experiment, batch = plain(loss=loss, **weights), batch_of()
    state = state_of(experiment, CONSTANT)
    of_discriminator, of_generator = LOSSES[loss]
    values, metrics = told(experiment, "translators", state, batch)
    cycle, identity, gan = weights.get("cycle", (10, 10)), weights.get("identity", 0.5), weights.get("gan", 1)
    expected = 0.0
    for weight, own, other in zip(cycle, "ab", "ba", strict=True):
        # There and back is what is constant in this domain, as is what the translator into it makes of its own images.
        lost = np.abs(np.asarray(batch[own]["image"]) - INTO[own]).mean((1, 2, 3))
        np.testing.assert_allclose(metrics[f"cycle_{own}"], lost, rtol=1e-4)
        np.testing.assert_allclose(metrics[f"identity_{own}"], lost, rtol=1e-4)
        expected = expected + weight * lost + identity * weight * lost + gan * of_generator(JUDGED[other])
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    halves = [of_discriminator(JUDGED[d], JUDGED[d]) / 2 for d in "ab"]
    np.testing.assert_allclose(told(experiment, "discriminators", state, batch)[0], sum(halves), rtol=1e-4)


def test_the_translators_move_first_each_player_has_both_networks_and_the_pools_are_whole() -> None:
    players = plain().players
    assert [(name, player.every, player.owns) for name, player in players.items()] == [
        ("translators", 1, ("a_to_b", "b_to_a")),
        ("discriminators", 1, ("discriminator_a", "discriminator_b")),
    ]
    assert players["discriminators"].merge == {"pools": merging.whole}
    assert players["discriminators"].ema == ()
    assert players["translators"].ema is None


@pytest.mark.parametrize("pool", [pytest.param(50, marks=pytest.mark.slow), 3, 0])
def test_each_domain_has_a_pool_of_its_translations(pool: int) -> None:
    experiment = plain(pool=pool)
    _, vars = experiment.initial(jax.random.key(0))
    assert set(vars) == ({"pools"} if pool else set())
    if pool:
        assert {d: one["images"].shape for d, one in vars["pools"].items()} == dict.fromkeys("ab", (pool, 8, 8, 1))
        state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), experiment.players)
        state, _ = jax.jit(jaxgen.make_train_step(experiment.players))(state, batch_of())
        assert {d: int(one["count"]) for d, one in state.vars["pools"].items()} == {"a": 3, "b": 3}


def test_without_its_weight_there_are_no_discriminators() -> None:
    experiment = plain(gan=0.0)
    assert (list(experiment.players), list(experiment.networks)) == (["translators"], ["a_to_b", "b_to_a"])
    assert not experiment.initial(jax.random.key(0))[1]
    with pytest.raises(jaxgen.UserError, match="With --gan 0 and --cycle 0 0 nothing is trained"):
        plain(gan=0.0, cycle=(0.0, 0.0))


def test_the_rate_is_constant_and_then_falls_to_zero_along_a_line() -> None:
    for flags, falls in (({}, 50), ({"decay_steps": 20}, 20), ({"decay_steps": 0}, 0)):
        experiment = plain(steps=100, learning_rate=0.5, **flags)
        rate = [float(experiment.schedules["learning_rate"](step)) for step in range(100)]
        expected = [0.5 if step < 100 - falls else 0.5 * (100 - step) / falls for step in range(100)]
        np.testing.assert_allclose(rate, expected, rtol=1e-5)
        for player in experiment.players.values():
            # Adam's first move is its rate, and with beta1 of 0.5 the second of opposite gradients is a third of it, back.
            assert moves(player.tx, [3.0, -3.0]) == pytest.approx([-0.5, 0.5 / 3], rel=1e-3)


@pytest.mark.parametrize(("direction", "own", "other"), [("a_to_b", "a", "b"), ("b_to_a", "b", "a")])
def test_samples_are_translations_in_0_1_of_test_images_of_a_domain(direction: str, own: str, other: str) -> None:
    experiment = plain(direction=direction)
    given = jaxgen.given(6, experiment.given)
    rows = experiment.splits[f"test/{own}"].gather(np.arange(6) % experiment.splits[f"test/{own}"].length)
    assert set(given) == {"image", "index"}
    np.testing.assert_array_equal(given["image"], rows["image"])
    samples = experiment.sample(state_of(experiment, CONSTANT), jax.random.key(0), given)
    np.testing.assert_allclose(samples, np.full((6, 8, 8, 1), (INTO[other] + 1) / 2), rtol=1e-5)
    assert experiment.sampling == ("direction",)


def test_the_translator_of_samples_sees_pixels_as_in_training() -> None:
    """By a network of chance: what training calls the adversarial term is the discriminator's word on the samples."""
    experiment = plain(layers=1, width=2, blocks=1)
    state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), experiment.players)
    samples = experiment.sample(state, jax.random.key(0), jaxgen.given(5, experiment.given))
    module, variables = experiment.networks["discriminator_b"].module, {"params": state.params["discriminator_b"]}
    expected = ((module.apply(variables, 2 * samples - 1) - 1) ** 2).mean()
    found = experiment.evaluators["test/a"](state, jax.random.key(0), quiet)
    assert found["adversarial"] == pytest.approx(float(expected), rel=1e-4)


def test_what_is_evaluated_in_each_domain() -> None:
    experiment = plain()
    state = state_of(experiment, CONSTANT)
    assert list(experiment.evaluators) == list(experiment.final) == ["test/a", "test/b"]
    for own, other in ("ab", "ba"):
        source = experiment.splits[f"test/{own}"]
        x = 2 * (source.gather(np.arange(source.length))["image"] / 255) - 1
        found = experiment.evaluators[f"test/{own}"](state, jax.random.key(0), quiet)
        assert found["cycle"] == pytest.approx(np.abs(x - INTO[own]).mean(), rel=1e-4)
        assert found["real_logit"] == pytest.approx(JUDGED[own], rel=1e-4)
        assert found["fake_logit"] == pytest.approx(JUDGED[other], rel=1e-4)
        assert {"identity", "adversarial", "cycle_stderr"} <= set(found)
    assert experiment.best is None
    assert experiment.protocol == {"cycle": (), "accuracy_translated": ("classifier_steps",)}


def test_translations_of_labelled_images_are_classified_by_what_was_trained_on_the_other_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stand-in for the classifier, which says how bright its test set is, and of which set and how long it was trained."""
    seen = []

    def classifier(train: data.Source, *, classes: int, recipe: Any, track: Any) -> Any:
        seen.append((train.name, classes, recipe.steps))
        return lambda test: float(data.in_bytes(test).gather(np.arange(test.length))["image"].mean() / 255)

    monkeypatch.setattr(classification_accuracy, "classifier", classifier)
    experiment = plain(classifier_steps=7)
    state = state_of(experiment, CONSTANT)
    for own, other in ("ab", "ba"):
        found = experiment.final[f"test/{own}"](state, jax.random.key(0), quiet)
        means = {d: experiment.splits[f"test/{d}"].gather(np.arange(4 + (d == "a")))["image"].mean() / 255 for d in "ab"}
        assert found["accuracy_translated"] == pytest.approx((INTO[other] + 1) / 2, abs=0.003)
        assert found["accuracy_untranslated"] == pytest.approx(means[own])
        assert found["accuracy_of_target"] == pytest.approx(means[other])
        n, share = experiment.splits[f"test/{own}"].length, found["accuracy_translated"]
        assert found["accuracy_translated_stderr"] == pytest.approx(np.sqrt(share * (1 - share) / (n - 1)), rel=1e-5)
    assert seen == [(experiment.splits[f"train/{d}"].name, 3, 7) for d in "ba"]


@pytest.mark.parametrize("flags", [{"classifier_steps": 0}, {"target": (pictures(names=("x", "y", "w")),) * 2}])
def test_without_common_classes_nothing_is_classified(flags: Any) -> None:
    experiment = plain(**flags)
    assert not experiment.final
    assert set(experiment.protocol) == {"cycle"}


def test_images_are_brought_to_one_side_and_grey_ones_to_colour_beside_coloured_ones() -> None:
    both = {"dataset": (pictures(side=12), pictures(side=12)), "target": (pictures(channels=3), pictures(channels=3))}
    experiment = plain(side=16, **both)
    assert {source.shape("image") for source in experiment.splits.values()} == {(16, 16, 3)}
    grey = experiment.splits["train/a"].gather(np.arange(12))["image"]
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert plain(side=16, **domains()).splits["test/b"].shape("image") == (16, 16, 1)


def test_flags_of_the_networks_and_of_training() -> None:
    found = shapes(plain(width=5, layers=2, blocks=2, side=32))
    assert found["a_to_b/in/kernel"] == found["b_to_a/in/kernel"] == (7, 7, 1, 5)
    assert found["b_to_a/block1_conv1/kernel"] == (3, 3, 20, 20)
    assert "b_to_a/block2_conv0/kernel" not in found
    assert found["discriminator_a/conv0/kernel"] == (4, 4, 1, 5)
    assert found["discriminator_b/head/kernel"] == (4, 4, 20, 1)
    assert not [name for name in found if "scale" in name]
    assert {stream.batch_size for stream in plain(batch_size=3).train.streams.values()} == {3}
    experiment = plain(ema=0.5, steps=7)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (0.5, 1, 7)
    assert {network.module.dtype for network in plain(bf16=True).networks.values()} == {jnp.bfloat16}


def test_the_picture_shows_each_image_its_translation_and_the_way_back() -> None:
    experiment = plain()
    picture = experiment.pictures["translations"](state_of(experiment, CONSTANT), jax.random.key(5))
    shown = np.asarray(picture.images).reshape(-1, 3, 8, 8, 1)
    # Five images of domain a in rows of four, then four of domain b.
    assert (len(shown), picture.columns) == (12, 12)
    for own, other, rows in (("a", "b", slice(0, 5)), ("b", "a", slice(8, 12))):
        images = experiment.splits[f"test/{own}"].gather(np.arange(rows.stop - rows.start))["image"] / 255
        np.testing.assert_allclose(shown[rows, 0], images, atol=1e-6)
        for column, domain in ((1, other), (2, own)):
            np.testing.assert_allclose(shown[rows, column], np.full(images.shape, (INTO[domain] + 1) / 2), rtol=1e-5)
    assert (shown[5:8] == 1).all()
