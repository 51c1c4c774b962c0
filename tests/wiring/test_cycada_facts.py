"""What `experiments.cycada` is wired to, held against Hoffman et al. 2018 and their code of the translation
(github.com/jhoffman/pytorch-CycleGAN-and-pix2pix: train_cycada.sh, models/cycle_gan_semantic_model.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.cycada
import jaxgen
from jaxgen import data
from jaxgen.game import merging

CONSTANT = {
    "a_to_b/out/bias": 0.6,
    "b_to_a/out/bias": -0.4,
    "discriminator_a/head/bias": 0.3,
    "discriminator_b/head/bias": -0.2,
    "classifier/out/bias": np.log([0.5, 0.3, 0.2]),
}
"""Translators whose pixels are the tanh of these, discriminators and a classifier that always say the same."""
INTO = {"a": np.tanh(-0.4), "b": np.tanh(0.6)}
JUDGED = {"a": 0.3, "b": -0.2}


def pictures(n: int = 12, seed: int = 0, names: Any = ("x", "y", "z")) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1)).astype(np.uint8)
    return data.from_arrays({"image": image, "label": np.arange(n) % 3}, name=f"pictures {seed}", classes=names)


def plain(**flags: Any) -> jaxgen.Experiment:
    sets = {"dataset": (pictures(), pictures(5, 1)), "target": (pictures(9, 2), pictures(4, 3))}
    return make("cycada", **{**sets, "width": 1, "layers": 0, "channels": (1,), "hidden": (1,), **flags})


def batch_of(n: int = 3) -> Any:
    rows = {d: source.gather(np.arange(n)) for d, source in (("a", pictures(n)), ("b", pictures(n, 2)))}
    return {
        d: {"image": jnp.asarray(2 * (own["image"] / 255) - 1, jnp.float32), "label": jnp.asarray(own["label"])}
        for d, own in rows.items()
    }


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"gan": (2.0, 1.0), "cycle": (1.0, 1.0), "identity": 0.0, "semantic_limit": 1.0, "pool": 50}
    facts |= {"learning_rate": 2e-4, "classifier_rate": 1e-3, "decay_steps": None, "direction": "a_to_b"}
    assert {name: defaults(experiments.cycada.experiment)[name] for name in facts} == facts


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.9, 1.3])
@pytest.mark.parametrize("weights", [{}, {"cycle": (2.0, 3.0), "identity": 0.5, "gan": (0.5, 4.0)}])
def test_the_losses_of_the_three_players(limit: float, weights: Any) -> None:
    """Of the labels x, y, z the classifier's cross-entropy is 1.17 in the mean, and on what it takes for x it is log 2."""
    experiment, batch = plain(semantic_limit=limit, **weights), batch_of()
    state = state_of(experiment, CONSTANT)
    known = -np.log([0.5, 0.3, 0.2])
    values, metrics = told(experiment, "translators", state, batch)
    cycle, identity, gan = weights.get("cycle", (1, 1)), weights.get("identity", 0), weights.get("gan", (2, 1))
    semantic = {"a": known, "b": np.full(3, np.log(2))} if limit > known.mean() else {"a": np.zeros(3), "b": np.zeros(3)}
    expected = 0.0
    for k, (own, other) in enumerate(("ab", "ba")):
        lost = np.abs(np.asarray(batch[own]["image"]) - INTO[own]).mean((1, 2, 3))
        np.testing.assert_allclose(metrics[f"cycle_{own}"], lost, rtol=1e-4)
        np.testing.assert_allclose(metrics[f"semantic_{own}"], semantic[own], rtol=1e-4)
        expected = expected + (1 + identity) * cycle[k] * lost + gan[k] * (JUDGED[other] - 1) ** 2 + semantic[own]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    halves = [((JUDGED[d] - 1) ** 2 + JUDGED[d] ** 2) / 2 for d in "ab"]
    np.testing.assert_allclose(told(experiment, "discriminators", state, batch)[0], sum(halves), rtol=1e-4)
    values, metrics = told(experiment, "classifier", state, batch)
    np.testing.assert_allclose(values, known, rtol=1e-4)
    assert metrics["error"].tolist() == [0, 1, 1]


def test_the_order_of_the_players_and_what_they_own() -> None:
    players = plain().players
    assert [(name, player.owns, player.every, player.when) for name, player in players.items()] == [
        ("translators", ("a_to_b", "b_to_a"), 1, None),
        ("discriminators", ("discriminator_a", "discriminator_b"), 1, None),
        ("classifier", (), 1, None),
    ]
    assert players["discriminators"].merge == {"pools": merging.whole}
    assert not plain(pool=0).players["discriminators"].merge


def test_the_classifier_learns_real_images_of_domain_a_alone() -> None:
    experiment = plain()
    state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), experiment.players)
    batch = batch_of()
    other = {"a": batch["a"], "b": jax.tree.map(jnp.zeros_like, batch["b"])}
    found = [told(experiment, "classifier", state, part)[0] for part in (batch, other)]
    np.testing.assert_array_equal(*found)
    assert {d: one["images"].shape for d, one in state.vars["pools"].items()} == dict.fromkeys("ab", (50, 8, 8, 1))
    assert set(plain(pool=0).initial(jax.random.key(0))[1]) == set()


def test_both_domains_are_measured_by_the_classifier_of_the_first(measured: list[Measured]) -> None:
    experiment = plain()
    assert [one.source.name for one in measured] == [experiment.splits[f"test/{d}"].name for d in "ab"]
    raw = jnp.asarray([[0, 255]], jnp.uint8).reshape(1, 2, 1)
    for one in measured:
        assert one.transform({"image": raw, "index": 0}, jax.random.key(0))["image"].ravel().tolist() == [-1, 1]
    batch = {"image": jnp.full((2, 8, 8, 1), 255, jnp.uint8), "slot": jnp.arange(2)}
    for domain, stream in experiment.train.streams.items():
        assert stream.source.length == experiment.splits[f"train/{domain}"].length
        assert float(stream.transform(batch, jax.random.key(0))["image"].min()) == 1
    assert {stream.batch_size for stream in plain(batch_size=3).train.streams.values()} == {3}


def test_errors_are_of_images_and_of_their_translations() -> None:
    """A classifier that takes bright images for y, and all others for x; translations into a are dark, and into b bright."""
    experiment = plain()
    kernel = np.zeros((5, 5, 1, 1))
    kernel[2, 2] = 1
    bright = {"classifier/convs_0/kernel": kernel, "classifier/denses_0/kernel": np.ones((16, 1))}
    bright |= {"classifier/out/kernel": np.array([[0.0, 1.0, 0.0]]), "classifier/out/bias": np.array([1.0, 0.0, -9.0])}
    state = state_of(experiment, {**{name: v for name, v in CONSTANT.items() if "classifier" not in name}, **bright})
    assert list(experiment.evaluators) == ["test/a", "test/b"]
    for domain, taken_for in (("a", 1), ("b", 0)):
        source = experiment.splits[f"test/{domain}"]
        rows = source.gather(np.arange(source.length))
        found = experiment.evaluators[f"test/{domain}"](state, jax.random.key(0), quiet)
        assert found["error_translated"] == pytest.approx((rows["label"] != taken_for).mean())
        assert found["error"] == pytest.approx((rows["label"] != 1).mean())  # of noise the largest pixels are bright
        x = 2 * (rows["image"] / 255) - 1
        assert found["cycle"] == pytest.approx(np.abs(x - INTO[domain]).mean(), rel=1e-4)
        assert {"adversarial", "real_logit", "fake_logit", "error_stderr"} <= set(found)
    assert experiment.best is None
    assert experiment.protocol == {"cycle": (), "error": (), "error_translated": ()}


@pytest.mark.parametrize(("direction", "own", "other"), [("a_to_b", "a", "b"), ("b_to_a", "b", "a")])
def test_samples_and_pictures(direction: str, own: str, other: str) -> None:
    experiment = plain(direction=direction)
    given = jaxgen.given(6, experiment.given)
    source = experiment.splits[f"test/{own}"]
    np.testing.assert_array_equal(given["image"], source.gather(np.arange(6) % source.length)["image"])
    state = state_of(experiment, CONSTANT)
    np.testing.assert_allclose(experiment.sample(state, jax.random.key(0), given), (INTO[other] + 1) / 2, rtol=1e-5)
    assert experiment.sampling == ("direction",)
    assert set(experiment.pictures) == {"translations", "classes"}
    shown = np.asarray(experiment.pictures["classes"](state, jax.random.key(0)).images).reshape(3, 6, 2, 8, 8, 1)
    test = experiment.splits["test/a"].gather(np.arange(5))
    np.testing.assert_allclose(shown[1, 0, 0], test["image"][1] / 255, atol=1e-6)
    np.testing.assert_allclose(shown[1, 0, 1], (INTO["b"] + 1) / 2, rtol=1e-5)


def test_rates_and_optimizers() -> None:
    for flags, falls in (({}, 50), ({"decay_steps": 20}, 20)):
        experiment = plain(steps=100, learning_rate=0.5, classifier_rate=0.25, **flags)
        rate = [float(experiment.schedules["learning_rate"](step)) for step in range(100)]
        expected = [0.5 if step < 100 - falls else 0.5 * (100 - step) / falls for step in range(100)]
        np.testing.assert_allclose(rate, expected, rtol=1e-5)
        # Adam's first move is its rate, and with beta1 of 0.5 the second of opposite gradients is a third of it, back.
        for name, peak in (("translators", 0.5), ("discriminators", 0.5), ("classifier", 0.25)):
            assert moves(experiment.players[name].tx, [3.0, -3.0]) == pytest.approx([-peak, peak / 3], rel=1e-3)


def test_flags_of_the_networks() -> None:
    found = shapes(plain(width=5, layers=1, blocks=2, side=32, channels=(2, 3), hidden=(7,)))
    assert found["a_to_b/in/kernel"] == found["b_to_a/in/kernel"] == (7, 7, 1, 5)
    assert "b_to_a/block2_conv0/kernel" not in found
    assert found["discriminator_a/conv0/kernel"] == (4, 4, 1, 5)
    assert not [name for name in found if "scale" in name]
    assert found["classifier/convs_1/kernel"] == (5, 5, 2, 3)
    assert found["classifier/out/kernel"] == (7, 3)
    assert {network.module.dtype for network in plain(bf16=True).networks.values()} == {jnp.bfloat16}


def test_other_classes_are_refused() -> None:
    other = pictures(names=("x", "y", "w"))
    with pytest.raises(jaxgen.UserError, match="A label means different things"):
        plain(target=(other, other))
