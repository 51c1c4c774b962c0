"""What `experiments.gan` is wired to, held against the paper's code (github.com/goodfeli/adversarial: mnist.yaml, __init__.py,
parzen_ll.py; pylearn2's Momentum, MomentumAdjustor, ExponentialDecay and dropout)."""

import functools
import inspect
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable

import experiments.gan
import jaxgen
from jaxgen import data
from jaxgen.types import Batch

PIXELS = 64
TRAINED = 1437 - 1437 // 6
"""Of the 1,437 training images of digits: all but the last sixth, as 50,000 are of MNIST's 60,000."""


def state_of(experiment: jaxgen.Experiment, **params: Any) -> jaxgen.TrainState:
    made, vars = experiment.initial(jax.random.key(0))
    return jaxgen.create_state(jax.random.key(1), {"game": {**made["game"], **params}}, vars, experiment.players)


def bare(**flags: Any) -> jaxgen.Experiment:
    """Players without hidden layers: a pixel's logit is a code's number, and the discriminator's logit a sum of pixels."""
    return make("gan", latents=PIXELS, hidden=(), units=(), **flags)


def dense(kernel: np.ndarray) -> dict[str, dict[str, jax.Array]]:
    return {"Dense_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(kernel.shape[1])}}


def drawn(experiment: jaxgen.Experiment, n: int) -> np.ndarray:
    """The codes of samples, read off their pixels."""
    state = state_of(experiment, generator=dense(np.eye(PIXELS)))
    pixels = np.asarray(experiment.sample(state, jax.random.key(3), jaxgen.given(n)), np.float64).reshape(n, PIXELS)
    return np.log(pixels / (1 - pixels))


def test_the_papers_command_has_the_papers_numbers() -> None:
    line = next(line for line in experiments.gan.__doc__.splitlines() if "--dataset mnist" in line)
    flags = {name: re.split(" +", rest.strip()) for name, rest in re.findall(r"--([a-z-]+) ([^-#]*)", line)}
    assert flags["hidden"] == ["1200", "1200"]
    assert flags["units"] == ["240", "240"]
    assert flags["dropout"] == ["0.2", "0.5"]
    written = {name: p.default for name, p in inspect.signature(experiments.gan.experiment).parameters.items()}
    facts = {"latents": 100, "batch_size": 100, "learning_rate": 0.1, "rate_decay": 4e-6, "momentum": (0.5, 0.7)}
    facts |= {"momentum_epochs": 250, "max_norm": None, "loss": "non_saturating", "parzen_samples": 10_000, "ema": None}
    assert {name: written[name] for name in facts} == facts


def test_the_players_are_trained_on_all_but_the_last_sixth() -> None:
    source, whole = make("gan").train.source, data.load("digits", "train")
    assert source.length == TRAINED
    np.testing.assert_array_equal(source.gather(np.arange(TRAINED))["image"], whole.gather(np.arange(TRAINED))["image"])


@pytest.mark.parametrize("most", [5, 1000])
def test_the_width_is_chosen_on_held_out_images_and_counted_on_the_test(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.gan, "VALIDATION", most)
    seen: list[np.ndarray] = []

    def fake(*arrays: np.ndarray, track: Any) -> Any:
        seen.extend(arrays)
        return experiments.gan.parzen.LogLikelihood(1.0, 2.0, 3.0)

    monkeypatch.setattr(experiments.gan.parzen, "estimate", fake)
    experiment = make("gan", parzen_samples=30)
    found = experiment.final["test"](state_of(experiment), jax.random.key(0), lambda items, **_: items)
    assert found == {"parzen": 1.0, "parzen_stderr": 2.0, "parzen_sigma": 3.0}
    samples, validation, test = seen
    assert samples.shape == (30, PIXELS)
    held_out = data.load("digits", "train").gather(np.arange(TRAINED, 1437))["image"].reshape(-1, PIXELS)
    np.testing.assert_allclose(validation, held_out[:most] / 255)
    np.testing.assert_allclose(test, data.load("digits", "test").gather(np.arange(360))["image"].reshape(-1, PIXELS) / 255)
    assert {array.dtype for array in seen} == {np.dtype(np.float64)}


def test_pixels_are_in_0_1() -> None:
    bytes_ = jnp.asarray([[[[0]], [[255]]]], jnp.uint8)
    ready = make("gan").train.transform({"image": bytes_, "slot": jnp.arange(1)}, jax.random.key(0))
    assert ready["image"].ravel().tolist() == [0.0, 1.0]


def test_z_is_uniform_with_variance_1() -> None:
    z = drawn(bare(), 400)
    assert np.abs(z).max() <= math.sqrt(3) + 1e-4
    assert np.abs(z).max() > math.sqrt(3) - 0.01
    assert z.var() == pytest.approx(1, abs=0.03)
    # Quarters of the interval hold a quarter each.
    np.testing.assert_allclose(np.histogram(z, 4, (-math.sqrt(3), math.sqrt(3)))[0] / z.size, 0.25, atol=0.01)


def test_both_players_train_on_codes_of_that_law() -> None:
    """The discriminator's logit is the first pixel, whose own logit is the code's first number."""
    experiment = bare(batch_size=400, dropout=(0.0, 0.0))
    one = np.zeros((PIXELS, 1))
    one[0] = 1
    state = state_of(experiment, generator=dense(np.eye(PIXELS)), discriminator=dense(one))
    batch: Batch = {"image": jnp.zeros((400, 8, 8, 1))}
    _, aux = experiment.players["game"].loss(state.params, state, batch, jax.random.key(0), train=True)
    fake, values = (np.asarray(aux.metrics[f"{m}"], np.float64) for m in ("discriminator/fake_probability", "generator/loss"))
    assert fake == pytest.approx(np.exp(-values), rel=1e-4), "both players see the same samples"
    # -log D of the generator's loss, D the sigmoid of the pixel.
    for probability in (fake, np.exp(-values)):
        pixel = np.log(probability / (1 - probability))
        z = np.log(pixel / (1 - pixel))
        assert math.sqrt(3) - 0.05 < np.abs(z).max() < math.sqrt(3) + 0.01
        assert z.var() == pytest.approx(1, abs=0.15)


def test_both_players_move_in_every_step_from_the_parameters_before_it() -> None:
    """Not in turn: the generator's gradient is at the discriminator from before the step, and the other way round."""
    experiment = make("gan", batch_size=20, dropout=(0.0, 0.0), learning_rate=5.0)
    assert [(name, player.every) for name, player in experiment.players.items()] == [("game", 1)]
    state = state_of(experiment)
    images = data.load("digits", "train").gather(np.arange(20))["image"]
    batch: Batch = {"image": jnp.asarray(images / 255, jnp.float32)}
    loss, key = experiment.players["game"].loss, jax.random.fold_in(jax.random.fold_in(state.key, 0), 0)
    before = state.params["game"]

    def of(player: str, own: Any) -> jax.Array:
        params = {"game": {**before, player: own}}
        return loss(params, state, batch, key, train=True)[1].metrics[f"{player}/loss"].mean()

    after, _ = jaxgen.make_train_step(experiment.players)(state, batch)
    for player, rate in {"discriminator": 2.5, "generator": 5.0}.items():
        gradient = jax.grad(functools.partial(of, player))(before[player])
        moved = jax.tree.leaves(jax.tree.map(jnp.subtract, before[player], after.params["game"][player]))
        for ours, theirs in zip(moved, jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(ours, rate * theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("discriminator", 0.5), ("generator", 1.0)])
def test_a_player_moves_by_pylearn2s_rule(name: str, share: float) -> None:
    """v = m v - lr g, w = w + v, with a rate that each step divides and a momentum that each epoch raises.

    The paper's code has the mean of the discriminator's two halves: half of the gradient of their sum, which is ours.
    """
    decay, epochs, batch = 1e-3, 3, TRAINED // 2
    experiment = make("gan", batch_size=batch, rate_decay=decay, momentum=(0.5, 0.7), momentum_epochs=epochs)
    assert experiment.train.epoch_steps == 2
    player, rng = experiment.players["game"], np.random.default_rng(0)
    params = {player: {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)} for player in ("discriminator", "generator")}
    opt = player.tx.init(params)
    speed = dict.fromkeys(("kernel", "bias"), 0.0)
    for step in range(9):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        updates, opt = player.tx.update(grads, opt, params)
        # MomentumAdjustor counts the epoch that begins as its first: start 1, saturate `epochs`.
        momentum = 0.5 + 0.2 * min((step // 2) / (epochs - 1), 1)
        for k in speed:
            speed[k] = momentum * speed[k] - 0.1 / (1 + decay) ** step * share * np.asarray(grads[name][k], np.float64)
            np.testing.assert_allclose(updates[name][k], speed[k], rtol=1e-4, atol=1e-7, err_msg=f"step {step}")


def test_the_rate_holds_its_digits_over_500_epochs() -> None:
    rate = make("gan").schedules["learning_rate"]
    for step in (0, 1, 125_000, 300_000):
        assert float(rate(step)) == pytest.approx(0.1 / 1.000004**step, rel=1e-5)


def test_players_start_as_in_the_papers_code() -> None:
    """Weights uniform in +-0.05 and +-0.005, biases zero but for the output's, which has the mean image's logits."""
    params, _ = make("gan", latents=100, hidden=(40, 30), units=(20, 10)).initial(jax.random.key(0))
    for name, limit in {"generator": 0.05, "discriminator": 0.005}.items():
        leaves = {
            jax.tree_util.keystr(path): np.asarray(v) for path, v in jax.tree_util.tree_leaves_with_path(params["game"][name])
        }
        for path, leaf in leaves.items():
            if "kernel" in path:
                assert 0.9 * limit < np.abs(leaf).max() <= limit, path
                assert leaf.std() == pytest.approx(limit / math.sqrt(3), rel=0.15), path
            elif (name, path) != ("generator", "['Dense_2']['bias']"):
                assert not leaf.any(), path
    images = data.load("digits", "train").gather(np.arange(TRAINED))["image"].reshape(TRAINED, -1)
    mean = np.clip(images.mean(0) / 255, 1e-7, 1 - 1e-7)
    np.testing.assert_allclose(params["game"]["generator"]["Dense_2"]["bias"], np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-5)


def test_dropout_keeps_its_shares_and_their_scale() -> None:
    """Of the pixels 0.8, times 1.25; of the units 0.5, times 2: a logit of pixels of 1 counts those that are kept."""
    experiment = bare(batch_size=200, dropout=(0.2, 0.5))
    state = state_of(experiment, discriminator=dense(np.full((PIXELS, 1), 0.01)))
    batch: Batch = {"image": jnp.ones((200, 8, 8, 1))}
    loss = experiment.players["game"].loss
    trained = np.asarray(
        loss(state.params, state, batch, jax.random.key(0), train=True)[1].metrics["discriminator/real_probability"], np.float64
    )
    kept = np.log(trained / (1 - trained)) / 0.01 / 1.25
    np.testing.assert_allclose(kept, np.round(kept), atol=0.01)
    assert kept.mean() == pytest.approx(0.8 * PIXELS, rel=0.02)
    evaluated = loss(state.params, state, batch, jax.random.key(0), train=False)[1].metrics["discriminator/real_probability"]
    np.testing.assert_allclose(evaluated, 1 / (1 + np.exp(-0.64)), rtol=1e-5)


def test_the_discriminators_loss_is_measured_on_the_test_split_without_dropout(measured: list) -> None:
    experiment = bare(dropout=(0.2, 0.5))
    ((source, measure, transform),) = measured
    rows = np.arange(360)
    assert source.length == len(rows)
    np.testing.assert_array_equal(source.gather(rows)["image"], data.load("digits", "test").gather(rows)["image"])
    assert transform({"image": jnp.asarray([0, 255], jnp.uint8)}, jax.random.key(0))["image"].tolist() == [0, 1]
    state = state_of(experiment, generator=dense(np.eye(PIXELS)), discriminator=dense(np.full((PIXELS, 1), 0.01)))
    found = {name: np.asarray(v) for name, v in measure(state, {"image": jnp.ones((50, 8, 8, 1))}, jax.random.key(0)).items()}
    np.testing.assert_allclose(found["real_probability"], 1 / (1 + np.exp(-0.64)), rtol=1e-5)
    expected = -np.log(found["real_probability"]) - np.log1p(-found["fake_probability"])
    np.testing.assert_allclose(found["discriminator_loss"], expected, rtol=1e-4)


def test_the_generator_has_no_dropout_and_samples_are_of_a_sigmoid() -> None:
    experiment = make("gan", latents=5, hidden=(7,), dropout=(0.2, 0.5))
    state = state_of(experiment)
    x = np.asarray(experiment.sample(state, jax.random.key(0), jaxgen.given(50)))
    assert x.shape == (50, 8, 8, 1)
    assert (x >= 0).all()
    assert (x <= 1).all()
    np.testing.assert_array_equal(x, experiment.sample(state, jax.random.key(0), jaxgen.given(50)))


def test_the_diversity_of_samples_is_evaluated_and_watched(measured: list) -> None:
    experiment = bare()
    readable.assert_watched(experiment, state_of(experiment, generator=dense(np.eye(PIXELS))))
    # The default command's samples lie as near together as 0.04 at step 1,000: it begins at the mean image.
    assert experiment.alarms[0].after == 3000
