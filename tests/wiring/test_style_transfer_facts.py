"""What `experiments.style_transfer` is wired to, held against Huang & Belongie 2017, section 5, and the code by naoto0804
(github.com/naoto0804/pytorch-AdaIN: train.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes

import experiments.style_transfer
import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis.style_optimisation import optimised
from jaxgen.models.translation import TransferDecoder, TransferEncoder
from jaxgen.runs.run import begin


def pictures(n: int, seed: int) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return data.from_arrays({"image": image}, name=f"pictures {seed}")


CONTENT, STYLE = (pictures(12, 0), pictures(5, 1)), (pictures(9, 2), pictures(4, 3))


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("style_transfer", **{"dataset": CONTENT, "target": STYLE, "channels": (2, 3), **flags})


def losses_of(**weights: float) -> objectives.StyleLosses:
    stages = ((2, 2), (3, 3))
    return objectives.style_transfer(TransferEncoder(stages), TransferDecoder(3, stages), TransferDecoder(3, stages), **weights)


def images(source: data.Source, n: int) -> jax.Array:
    return jnp.asarray(source.gather(np.arange(n))["image"], jnp.float32) / 255


def test_the_defaults() -> None:
    facts = {"content": 10.0, "style_weight": 10.0, "batch_size": 8, "decay": 5e-5, "alpha": 1.0, "jitter": 0}
    facts |= {"weights": None, "style": None, "learning_rate": 1e-3, "ema": None, "accumulate": 1, "bf16": False}
    assert {name: defaults(experiments.style_transfer.experiment)[name] for name in facts} == facts


def test_the_encoder_learns_first_and_then_stands_still_while_the_decoder_moves() -> None:
    experiment = plain(encoder_steps=2)
    assert list(experiment.players) == ["autoencoder", "decoder"]
    state = begin(experiment, 0)
    step = jax.jit(jaxgen.make_train_step(experiment.players))
    batch = {d: {"image": images(s[0], 3), "slot": jnp.arange(3)} for d, s in (("a", CONTENT), ("b", STYLE))}
    moved = []
    for _ in range(4):
        after, _ = step(state, batch)
        moved.append({n: not np.array_equal(*(jax.tree.leaves(s.params[n])[0] for s in (state, after))) for n in state.params})
        state = after
    early, late = {"encoder": True, "reconstructor": True, "decoder": False}, dict.fromkeys(("encoder", "reconstructor"), False)
    assert moved == [early, early, {**late, "decoder": True}, {**late, "decoder": True}]


def test_the_weights_of_the_terms_reach_the_loss() -> None:
    experiment = plain(content=3.0, style_weight=0.5)
    state = begin(experiment, 0)
    batch = {"a": {"image": images(CONTENT[0], 4)}, "b": {"image": images(STYLE[0], 4)}}
    values = experiment.players["decoder"].loss(state.params, state, batch, jax.random.key(0), train=True)[0]
    expected = losses_of(content=3.0, style=0.5).decoder(state.params, state, batch, jax.random.key(0), train=True)[0]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_the_learning_rate_falls_as_one_over_the_step() -> None:
    tx = plain(learning_rate=0.25, decay=0.5).players["decoder"].tx
    # Adam's moves are the rate under a constant gradient.
    assert moves(tx, [3.0, 3.0, 3.0]) == pytest.approx([-0.25, -0.25 / 1.5, -0.25 / 2], rel=1e-3)
    assert moves(plain(learning_rate=0.25).players["autoencoder"].tx, [3.0, 3.0]) == pytest.approx([-0.25, -0.25], rel=1e-3)


def test_pixels_are_between_0_and_1_and_splits_are_those_of_their_sets(measured: list[Measured]) -> None:
    experiment = plain()
    for domain, sources in (("a", CONTENT), ("b", STYLE)):
        image = jnp.array([0, 51, 255, 0, 0, 0, 0, 0], jnp.uint8).reshape(1, 1, 8, 1).repeat(8, 1).repeat(3, 3)
        batch = {"image": image, "slot": jnp.arange(1), "index": jnp.arange(1)}
        shown = experiment.train.streams[domain].transform(batch, jax.random.key(0))["image"]
        np.testing.assert_allclose(shown[0, 0, :3, 0], [0.0, 0.2, 1.0], atol=1e-6)
        lengths = [experiment.splits[f"{split}/{domain}"].length for split in ("train", "test")]
        assert lengths == [source.length for source in sources]
    (only,) = measured
    assert only.source.length == CONTENT[1].length
    assert only.transform({"image": jnp.array([51], jnp.uint8)}, jax.random.key(0))["image"] == pytest.approx(0.2)


def test_what_is_measured_is_of_styles_that_each_test_image_draws(measured: list[Measured]) -> None:
    experiment = plain(content=3.0, style_weight=0.5)
    state, x = begin(experiment, 0), images(CONTENT[1], 5)
    found = measured[0].measure(state, {"image": x, "index": jnp.arange(5)}, jax.random.key(3))
    losses, bank = losses_of(), images(STYLE[1], 4)
    pairs = [
        {k: np.asarray(v) for k, v in losses.towards(state.params, x, s)(losses.transfer(state.params, x, s)).items()}
        for s in (jnp.broadcast_to(one, x.shape) for one in bank)
    ]
    numbers = set()
    for i in range(5):
        near = [abs(found["style"][i] - pair["style"][i]) + abs(found["content"][i] - pair["content"][i]) for pair in pairs]
        assert min(near) < 1e-5
        numbers.add(int(np.argmin(near)))
        before = losses.towards(state.params, x[i : i + 1], bank[np.argmin(near)][None])(x[i : i + 1])
        assert found["style_before"][i] == pytest.approx(float(before["style"][0]), rel=1e-4)
    assert len(numbers) > 1
    np.testing.assert_allclose(found["loss"], 3 * found["content"] + 0.5 * found["style"], rtol=1e-5)


def test_samples_take_the_styles_that_are_given() -> None:
    experiment = plain()
    state, losses = begin(experiment, 0), losses_of()
    given = jaxgen.given(3, experiment.given)
    x, s = images(CONTENT[1], 3), images(STYLE[1], 3)
    np.testing.assert_array_equal(given["style"], STYLE[1].gather(np.arange(3))["image"])
    sample = lambda made: np.asarray(made.sample(state, jax.random.key(0), given))
    np.testing.assert_allclose(sample(experiment), losses.transfer(state.params, x, s).clip(0, 1), atol=1e-5)
    np.testing.assert_allclose(sample(plain(alpha=0.25)), losses.transfer(state.params, x, s, 0.25).clip(0, 1), atol=1e-5)
    one = jnp.broadcast_to(images(STYLE[1], 3)[2], x.shape)
    np.testing.assert_allclose(sample(plain(style=2)), losses.transfer(state.params, x, one).clip(0, 1), atol=1e-5)


def test_the_comparison_is_with_images_that_descend_the_same_loss() -> None:
    experiment = plain(content=3.0, style_weight=0.5, optimised_steps=7)
    state, losses, x, s = begin(experiment, 0), losses_of(), images(CONTENT[1], 4), images(STYLE[1], 4)
    found = experiment.final["test/a"](state, jax.random.key(0), lambda it, **_: it)
    loss = lambda y: sum(w * losses.towards(state.params, x, s)(y)[term] for term, w in (("content", 3.0), ("style", 0.5)))
    for which, y in (("first", losses.transfer(state.params, x, s)), ("optimised", optimised(loss, x, steps=7))):
        for term, value in losses.towards(state.params, x, s)(y).items():
            assert found[f"{term}_{which}"] == pytest.approx(float(value.mean()), rel=1e-3)
            assert found[f"{term}_{which}_stderr"] == pytest.approx(float(value.std(ddof=1)) / 2, rel=1e-3)
    assert plain(optimised_steps=0).final == {}


def test_a_file_of_weights_makes_the_papers_encoder_which_never_moves(tmp_path: Any) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    ways = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512)]
    tensors = {}
    for i, (a, b) in enumerate(ways):
        tensors[f"features.{i}.weight"] = (rng.normal(size=(b, a, 3, 3)) / np.sqrt(9 * a)).astype(np.float32)
        tensors[f"features.{i}.bias"] = np.zeros(b, np.float32)
    numpy.save_file(tensors, tmp_path / "vgg.safetensors")
    experiment = plain(weights=tmp_path / "vgg.safetensors", side=16)
    assert list(experiment.players) == ["decoder"]
    found = shapes(experiment)
    assert found["encoder/conv3_0/kernel"] == (3, 3, 256, 512)
    params, _ = experiment.initial(jax.random.key(0))
    np.testing.assert_allclose(params["encoder"]["conv3_0"]["kernel"], tensors["features.8.weight"].transpose(2, 3, 1, 0))
    assert experiment.players["decoder"].when(begin(plain(), 0), {})


def test_mistakes() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--encoder-steps 7 leave none of --steps 7 for the decoder; give more"):
        plain(encoder_steps=7, steps=7)
    with pytest.raises(jaxgen.UserError, match=r"^--style is 4, and there are 4 test images of styles; count from 0\.$"):
        plain(style=4)
    with pytest.raises(jaxgen.UserError, match=r"There is no file nowhere\.pth"):
        plain(weights="nowhere.pth", side=16).initial(jax.random.key(0))
