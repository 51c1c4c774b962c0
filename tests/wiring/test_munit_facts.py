"""What `experiments.munit` is wired to, held against Huang et al. 2018, sections 3 and 5, and the authors' code
(github.com/NVlabs/MUNIT: trainer.py, train.py and configs/edges2shoes_folder.yaml)."""

import functools
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from PIL import Image
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.munit
import jaxgen
from jaxgen import data, keys
from jaxgen.analysis import content_and_style
from jaxgen.metrics import classification_accuracy
from jaxgen.models.cnn.vgg import DeepMaps

CONSTANT = {
    "autoencoder_a/decoder/out/bias": -0.4,
    "autoencoder_b/decoder/out/bias": 0.6,
    "autoencoder_a/style/style/bias": 0.1,
    "autoencoder_b/style/style/bias": -0.2,
    **{f"discriminator_a/scale{i}/head/bias": v for i, v in enumerate((0.3, 0.5))},
    **{f"discriminator_b/scale{i}/head/bias": v for i, v in enumerate((-0.2, 0.9))},
}
"""Decoders whose pixels are the tanh of these, style encoders and discriminators that always say the same."""
INTO = {"a": np.tanh(-0.4), "b": np.tanh(0.6)}
READ = {"a": 0.1, "b": -0.2}
JUDGED = {"a": (0.3, 0.5), "b": (-0.2, 0.9)}


def pictures(n: int = 12, side: int = 8, channels: int = 1, seed: int = 0, names: Any = ("x", "y", "z")) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, side, side, channels)).astype(np.uint8)
    return data.from_arrays({"image": image, "label": np.arange(n) % 3}, name=f"pictures {seed}", classes=names)


def domains(**of: Any) -> dict[str, Any]:
    return {
        "dataset": (pictures(**of), pictures(5, seed=1, **of)),
        "target": (pictures(9, seed=2, **of), pictures(4, seed=3, **of)),
    }


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("munit", **{**domains(), "width": 1, "discriminator_width": 1, "halvings": 1, "mlp_width": 1, **flags})


def batch_of(n: int = 3, **of: Any) -> Any:
    """Scaled images of both domains."""
    rows = {"a": pictures(n, **of), "b": pictures(n, seed=2, **of)}
    image = {d: 2 * (source.gather(np.arange(n))["image"] / 255) - 1 for d, source in rows.items()}
    return {d: {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(n), "index": jnp.arange(n)} for d, x in image.items()}


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"loss": "least_squares", "gan": 1.0, "reconstruction": 10.0, "style_weight": 1.0, "content": 1.0}
    facts |= {"cycle": 0.0, "vgg": None, "perceptual": 1.0, "weight_decay": 1e-4, "latents": 8, "direction": "a_to_b"}
    facts |= {"example": None, "styles": 20, "ema": None, "jitter": 0, "flip": False, "accumulate": 1, "bf16": False}
    assert {name: defaults(experiments.munit.experiment)[name] for name in facts} == facts


def test_pixels_are_in_the_range_of_tanh_in_both_domains(measured: list[Measured]) -> None:
    experiment = plain()
    assert [one.source.name for one in measured] == [experiment.splits[f"test/{d}"].name for d in "ab"]
    raw = jnp.asarray([[0, 255]], jnp.uint8).reshape(1, 2, 1)
    for one in measured:
        assert one.transform({"image": raw, "index": 0}, jax.random.key(0))["image"].ravel().tolist() == [-1, 1]
    rows = {d: {k: jnp.asarray(v) for k, v in s.read(0, seed=0).items()} for d, s in experiment.train.streams.items()}
    batch = {d: {k: v[0] for k, v in part.items()} for d, part in rows.items()}
    found = experiment.train.transform(batch, jax.random.key(0))
    for domain, length in (("a", 12), ("b", 9)):
        np.testing.assert_allclose(found[domain]["image"], 2 * (batch[domain]["image"] / 255.0) - 1, atol=1e-6)
        assert experiment.train.streams[domain].source.length == experiment.splits[f"train/{domain}"].length == length


@pytest.mark.parametrize("flags", [{"jitter": 4}, {"flip": True}])
def test_images_are_cut_and_mirrored(flags: Any) -> None:
    """An edge between black and white: enlarged by the jitter it lies at the 6th of 12 pixels."""
    n, edge = 200, np.zeros((1, 8, 8, 1), np.uint8)
    edge[:, :, 4:] = 255
    source = data.from_arrays({"image": edge}, name="an edge")
    experiment = plain(dataset=(source, source), target=(source, source), **flags)
    one = {"image": jnp.tile(jnp.asarray(edge), (n, 1, 1, 1)), "slot": jnp.arange(n), "index": jnp.arange(n)}
    seen = jax.jit(experiment.train.transform)({"a": one, "b": one}, jax.random.key(0))["b"]["image"]
    white = set(np.round(8 * np.asarray(seen > 0).mean((1, 2, 3))).astype(int))
    turned = np.asarray(seen[:, 0, 0, 0] > seen[:, 0, -1, 0]).mean()
    assert white == (set(range(2, 7)) if "jitter" in flags else {4})
    assert turned == pytest.approx(0.5 if flags.get("flip") else 0.0, abs=0.12)


def test_the_losses_of_both_players() -> None:
    """10 times the images, 1 times styles and contents, and the adversarial losses summed over the sizes."""
    experiment, batch = plain(), batch_of()
    state = state_of(experiment, CONSTANT)
    values, metrics = told(experiment, "autoencoders", state, batch)
    expected = 0.0
    for own, other in ("ab", "ba"):
        lost = np.abs(np.asarray(batch[own]["image"]) - INTO[own]).mean((1, 2, 3))
        drawn = jnp.stack([jax.random.normal(key, (2,)) for key in keys.per_example(jax.random.key(7), batch[own])])
        style = np.abs(drawn - READ[other]).mean(1)
        adversarial = sum((judged - 1) ** 2 for judged in JUDGED[other])
        np.testing.assert_allclose(metrics[f"reconstruction_{own}"], lost, rtol=1e-4)
        np.testing.assert_allclose(metrics[f"style_{own}"], style, rtol=1e-4)
        np.testing.assert_allclose(metrics[f"content_{own}"], np.zeros(3), atol=1e-6)
        np.testing.assert_allclose(metrics[f"adversarial_{own}"], np.full(3, adversarial), rtol=1e-4)
        expected = expected + 10 * lost + style + adversarial
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    judged = sum((v - 1) ** 2 + v**2 for d in "ab" for v in JUDGED[d])
    np.testing.assert_allclose(told(experiment, "discriminators", state, batch)[0], judged, rtol=1e-4)
    assert "cycle_a" not in metrics


def test_the_weights_of_the_terms_and_the_loss_reach_both_players() -> None:
    """By networks of chance, of which no term is nothing."""
    weights = {"reconstruction": 2.0, "style_weight": 3.0, "content": 0.3, "cycle": 4.0}
    experiment, batch = plain(loss="non_saturating", gan=0.5, **weights), batch_of()
    state = by_chance(experiment)
    values, metrics = told(experiment, "autoencoders", state, batch)
    terms = {"reconstruction": 2.0, "style": 3.0, "content": 0.3, "cycle": 4.0, "adversarial": 0.5}
    assert all(metrics[f"{name}_{d}"].min() > 0.01 for name in terms for d in "ab")
    expected = sum(weight * metrics[f"{name}_{d}"] for name, weight in terms.items() for d in "ab")
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    constant = state_of(experiment, CONSTANT)
    judged = sum(np.logaddexp(0, -v) + np.logaddexp(0, v) for d in "ab" for v in JUDGED[d])
    np.testing.assert_allclose(told(experiment, "discriminators", constant, batch)[0], 0.5 * judged, rtol=1e-4)


def test_translations_are_compared_with_their_images_by_a_file_of_vgg_which_no_player_moves(tmp_path: Path) -> None:
    """By a VGG-16 of one channel a layer; its size is not looked at, since a real one is too large for a test."""
    numpy = pytest.importorskip("safetensors.numpy")
    stages = ((1, 1), (1,), (1,), (2,))
    rng, below, held = np.random.default_rng(0), 3, {}
    for number, channels in enumerate(c for stage in stages for c in stage):
        held[f"features.{number}.weight"] = rng.normal(size=(channels, below, 3, 3)).astype(np.float32)
        held[f"features.{number}.bias"] = np.ones(channels, np.float32)
        below = channels
    numpy.save_file(held, tmp_path / "vgg.safetensors")
    flags = {**domains(side=16), "side": 16, "vgg": tmp_path / "vgg.safetensors"}
    with mock.patch.object(experiments.munit, "DeepMaps", functools.partial(DeepMaps, stages)):
        experiment = plain(**flags, perceptual=7.0)
    assert all("vgg" not in player.owns for player in experiment.players.values())
    module = experiment.networks["vgg"].module
    params = experiment.initial(jax.random.key(0))[0]["vgg"]
    np.testing.assert_array_equal(params["trunk"]["conv3_0"]["kernel"], held["features.4.weight"].transpose(2, 3, 1, 0))
    state = state_of(experiment, CONSTANT)
    state = state._replace(params={**state.params, "vgg": params})
    batch = batch_of(side=16)
    values, metrics = told(experiment, "autoencoders", state, batch)
    normalised = lambda m: (m - m.mean((1, 2), keepdims=True)) / np.sqrt(m.var((1, 2), keepdims=True) + 1e-5)
    see = lambda x: normalised(np.asarray(module.apply({"params": params}, x)))
    plainly = told(plain(**{**flags, "vgg": None}), "autoencoders", state, batch)[0]
    compared = 0.0
    for own, other in ("ab", "ba"):
        x = batch[own]["image"]
        expected = np.square(see(jnp.full_like(x, INTO[other])) - see(x)).mean((1, 2, 3))
        np.testing.assert_allclose(metrics[f"perceptual_{own}"], expected, rtol=2e-3)
        compared = compared + metrics[f"perceptual_{own}"]
    np.testing.assert_allclose(values, plainly + 7 * compared, rtol=1e-4)
    with pytest.raises(jaxgen.UserError, match=r"vgg\.safetensors has 5 convolutions .* has 13; give VGG-16"):
        plain(**flags).initial(jax.random.key(0))
    with pytest.raises(jaxgen.UserError, match=r"^Images of 8x8 are too small to be compared by VGG"):
        plain(vgg=tmp_path / "vgg.safetensors").initial(jax.random.key(0))


def test_the_discriminators_move_first_and_each_player_has_both_networks() -> None:
    """As in the authors' train.py: dis_update, then gen_update."""
    players = plain().players
    assert [(name, player.every, player.owns, player.ema) for name, player in players.items()] == [
        ("discriminators", 1, ("discriminator_a", "discriminator_b"), ()),
        ("autoencoders", 1, ("autoencoder_a", "autoencoder_b"), None),
    ]
    assert all(player.when is None for player in players.values())


def test_the_rate_is_halved_again_and_again_and_the_decay_is_part_of_the_gradient() -> None:
    experiment = plain(learning_rate=0.5, halve_every=20, weight_decay=0.0)
    rate = [float(experiment.schedules["learning_rate"](step)) for step in (0, 19, 20, 39, 40, 100)]
    np.testing.assert_allclose(rate, [0.5, 0.5, 0.25, 0.25, 0.125, 0.5**6], rtol=1e-5)
    decayed = plain(learning_rate=0.5, weight_decay=6.0)
    for name, player in experiment.players.items():
        # Adam's first move is its rate, and with beta1 of 0.5 the second of opposite gradients is a third of it, back.
        assert moves(player.tx, [3.0, -3.0]) == pytest.approx([-0.5, 0.5 / 3], rel=1e-3)
        # After it the weight is -0.5, and the decay takes the whole gradient of 3 away: what Adam has of the first is left.
        mean, square = 0.5 * 0.5 * 3 / (1 - 0.5**2), 0.999 * 0.001 * 9 / (1 - 0.999**2)
        expected = [-0.5, -0.5 * mean / np.sqrt(square)]
        assert moves(decayed.players[name].tx, [3.0, 3.0]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("direction", "own", "other"), [pytest.param("a_to_b", "a", "b", marks=pytest.mark.slow), ("b_to_a", "b", "a")]
)
def test_samples_are_translations_in_0_1_of_test_images_of_a_domain(direction: str, own: str, other: str) -> None:
    experiment = plain(direction=direction)
    given = jaxgen.given(6, experiment.given)
    rows = experiment.splits[f"test/{own}"].gather(np.arange(6) % experiment.splits[f"test/{own}"].length)
    assert set(given) == {"image", "index"}
    np.testing.assert_array_equal(given["image"], rows["image"])
    samples = experiment.sample(state_of(experiment, CONSTANT), jax.random.key(0), given)
    np.testing.assert_allclose(samples, np.full((6, 8, 8, 1), (INTO[other] + 1) / 2), rtol=1e-5)
    assert experiment.sampling == ("direction", "example")


def by_chance(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    """A state of networks of chance, in which styles matter."""
    rng = np.random.default_rng(3)
    shape = jax.eval_shape(experiment.initial, jax.random.key(0))[0]
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shape)
    return jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})


def test_samples_have_styles_of_their_own_or_that_of_an_example(tmp_path: Path) -> None:
    """Of three samples of one image; the example is a picture of another size."""
    experiment = plain()
    state, domain_b = by_chance(experiment), experiment.splits["test/b"]
    image = jnp.asarray(experiment.splits["test/a"].gather(np.array([0, 0, 0]))["image"])
    given = {"image": image, "index": jnp.arange(3)}
    module = experiment.networks["autoencoder_a"].module
    scaled = lambda x: 2 * (jnp.asarray(x, jnp.float32) / 255) - 1
    apply = jax.jit(module.apply, static_argnames="method")
    content = apply({"params": state.params["autoencoder_a"]}, scaled(image), method="encode")[0]

    def expected(style: Any) -> Any:
        made = apply({"params": state.params["autoencoder_b"]}, content, style, method="decode")
        return (made + 1) / 2

    key = jax.random.key(5)
    styles = [jax.random.normal(jax.random.fold_in(key, i), (1, 2))[0] for i in range(3)]
    found = experiment.sample(state, key, given)
    np.testing.assert_allclose(found, expected(jnp.stack(styles)), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    pixels = domain_b.gather(np.array([2]))["image"]
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / "example.png")
    style = apply({"params": state.params["autoencoder_b"]}, scaled(pixels), method="encode")[1]
    guided = plain(example=tmp_path / "example.png").sample(state, key, given)
    np.testing.assert_allclose(guided, expected(jnp.broadcast_to(style, (3, 2))), atol=1e-5)
    with pytest.raises(jaxgen.UserError, match=r"nothing\.png cannot be read as an image"):
        plain(example=tmp_path / "nothing.png")


@pytest.mark.parametrize(("own", "other"), [pytest.param("a", "b", marks=pytest.mark.slow), ("b", "a")])
def test_what_is_evaluated_in_each_domain(own: str, other: str) -> None:
    experiment = plain()
    state = state_of(experiment, CONSTANT)
    assert list(experiment.evaluators) == list(experiment.final) == ["test/a", "test/b"]
    source = experiment.splits[f"test/{own}"]
    x = 2 * (source.gather(np.arange(source.length))["image"] / 255) - 1
    found = experiment.evaluators[f"test/{own}"](state, jax.random.key(0), quiet)
    assert found["reconstruction"] == pytest.approx(np.abs(x - INTO[own]).mean(), rel=1e-4)
    assert found["real_logit"] == pytest.approx(np.mean(JUDGED[own]), rel=1e-4)
    assert found["fake_logit"] == pytest.approx(np.mean(JUDGED[other]), rel=1e-4)
    assert {"style", "content", "adversarial", "reconstruction_stderr"} <= set(found)


def test_figures_to_compare() -> None:
    experiment = plain()
    assert experiment.best is None
    figures = {"reconstruction": (), "distance_of_styles": ("styles",), "accuracy_translated": ("classifier_steps",)}
    assert experiment.protocol == figures
    coloured = plain(**domains(channels=3), styles=0, classifier_steps=0)
    assert (coloured.protocol, coloured.final) == ({"reconstruction": ()}, {})
    assert plain(**domains(channels=3)).protocol == {**figures, "hue_entropy": ("styles",)}


def test_variety_and_accuracy_are_those_of_translations_into_the_other_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the classifier, which says how bright its test set is, and of which set and how long it was trained."""
    trained, measured = [], []

    def classifier(train: data.Source, *, classes: int, recipe: Any, track: Any) -> Any:
        trained.append((train.name, classes, recipe.steps))
        return lambda test: float(data.in_bytes(test).gather(np.arange(test.length))["image"].mean() / 255)

    monkeypatch.setattr(classification_accuracy, "classifier", classifier)
    variety = content_and_style.variety

    def noted(way: Any, *args: Any, number: int) -> Any:
        measured.append((way.own.name, way.target.name, number))
        return variety(way, *args, number=number)

    monkeypatch.setattr(content_and_style, "variety", noted)
    experiment = plain(classifier_steps=7, styles=3)
    state = state_of(experiment, CONSTANT)
    for own, other in ("ab", "ba"):
        found = experiment.final[f"test/{own}"](state, jax.random.key(0), quiet)
        means = {d: experiment.splits[f"test/{d}"].gather(np.arange(4 + (d == "a")))["image"].mean() / 255 for d in "ab"}
        assert found["accuracy_translated"] == pytest.approx((INTO[other] + 1) / 2, abs=0.003)
        assert found["accuracy_untranslated"] == pytest.approx(means[own])
        assert found["accuracy_of_target"] == pytest.approx(means[other])
        assert found["distance_of_styles"] == pytest.approx(0, abs=1e-6)
    name = lambda split: experiment.splits[split].name
    assert trained == [(name("train/b"), 3, 7), (name("train/a"), 3, 7)]
    assert measured == [(name("test/a"), name("test/b"), 3), (name("test/b"), name("test/a"), 3)]


@pytest.mark.parametrize("flags", [{"classifier_steps": 0}, {"target": (pictures(names=("x", "y", "w")),) * 2}])
def test_without_common_classes_nothing_is_classified(flags: Any) -> None:
    assert set(plain(**flags).protocol) == {"reconstruction", "distance_of_styles"}


def test_images_are_brought_to_one_side_and_grey_ones_to_colour_beside_coloured_ones() -> None:
    both = {"dataset": (pictures(side=12), pictures(side=12)), "target": (pictures(channels=3), pictures(channels=3))}
    experiment = plain(side=16, **both)
    assert {source.shape("image") for source in experiment.splits.values()} == {(16, 16, 3)}
    assert plain(side=16, **domains()).splits["test/b"].shape("image") == (16, 16, 1)


def test_flags_of_the_networks_and_of_training() -> None:
    flags = {
        "width": 3,
        "halvings": 2,
        "style_halvings": 3,
        "residuals": 2,
        "mlp_width": 7,
        "latents": 5,
        "layers": 2,
        "scales": 3,
    }
    found = shapes(plain(**flags, discriminator_width=4, side=16))
    for d in "ab":
        assert found[f"autoencoder_{d}/content/down1/kernel"] == (4, 4, 6, 12)
        assert found[f"autoencoder_{d}/content/block1_conv1/kernel"] == (3, 3, 12, 12)
        assert found[f"autoencoder_{d}/style/down2/kernel"] == (4, 4, 12, 12)
        assert found[f"autoencoder_{d}/style/style/kernel"] == (12, 5)
        assert found[f"autoencoder_{d}/decoder/mlp2/kernel"] == (7, 4 * 2 * 12)
        assert found[f"autoencoder_{d}/decoder/out/kernel"] == (7, 7, 3, 1)
        assert found[f"discriminator_{d}/scale2/conv1/kernel"] == (4, 4, 4, 8)
    absent = ("down2", "block2", "scale3", "conv2/")
    assert not [name for name in found if any(part in name for part in absent) and "style/down2" not in name]
    assert {stream.batch_size for stream in plain(batch_size=3).train.streams.values()} == {3}
    experiment = plain(ema=0.5, steps=7, accumulate=2)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (0.5, 2, 7)
    assert plain(bf16=True).networks["autoencoder_a"].module.dtype == jnp.bfloat16
    assert plain(bf16=True).networks["discriminator_a"].module.patch().dtype == jnp.bfloat16


def test_mistakes() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--styles 1 shows no variety; give 2 or more, or 0 to leave"):
        plain(styles=1)


def test_the_pictures_are_of_both_ways_and_of_the_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(content_and_style, "many_styles", lambda ways, state, key: seen.update(ways))
    monkeypatch.setattr(content_and_style, "guided", lambda way, state, key: seen.update(guided=way))
    experiment = plain(direction="b_to_a")
    for draw in experiment.pictures.values():
        draw(state_of(experiment, CONSTANT), jax.random.key(0))
    assert [seen[name].own.name for name in ("a_to_b", "b_to_a", "guided")] == [
        experiment.splits[f"test/{d}"].name for d in ("a", "b", "b")
    ]
    x = np.zeros((1, 8, 8, 1), np.uint8)
    state = state_of(experiment, CONSTANT)
    for name, own, other in (("a_to_b", "a", "b"), ("b_to_a", "b", "a")):
        np.testing.assert_allclose(seen[name].reconstruct(state, x), np.full((1, 8, 8, 1), (INTO[own] + 1) / 2), rtol=1e-5)
        np.testing.assert_allclose(seen[name].style_of(state, x), np.full((1, 2), READ[other]), rtol=1e-5)
