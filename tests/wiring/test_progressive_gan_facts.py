"""What `experiments.progressive_gan` is wired to, held against Karras et al. 2018 and the authors' code
(github.com/tkarras/progressive_growing_of_gans: train.py, loss.py, networks.py).

`tests/models/test_growing.py` holds the networks, `tests/game/test_optimizers.py` the optimizers' rules, and
`test_stylegan_facts.py` what both experiments share.
"""

import functools
from typing import Any

import genforce_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import defaults, images, moves, shapes, told

import experiments.progressive_gan
import jaxgen
from jaxgen import keys
from jaxgen.models.gan import growing
from jaxgen.reduction import reduce
from jaxgen.runs import run

SIZES: dict[str, Any] = {"channels": (3, 4), "latents": 4, "hold": 1, "fade": 2}
"""In steps 0 to 3 the level of detail is 1, 1, 0.5 and 0."""


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("progressive_gan", **{**SIZES, **flags})


@functools.cache
def begun() -> jaxgen.TrainState:
    return run.begin(plain(), 0)


def at(step: int) -> jaxgen.TrainState:
    return begun()._replace(step=jnp.int32(step))


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"dataset": "digits", "flip": False, "weight": 10.0, "drift": 1e-3, "group": 4, "doublings": 0}
    assert {name: defaults(experiments.progressive_gan.experiment)[name] for name in facts} == facts


def test_pixels_are_in_minus_1_to_1_in_training_and_in_evaluation(measured: list) -> None:
    readable.assert_pixels_of_tanh(plain(), *measured)


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    readable.assert_splits(experiment, *measured, "image")


def test_images_are_mirrored_where_it_is_asked_for() -> None:
    x = {"image": jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8, 1).repeat(40, 0), "slot": jnp.arange(40)}
    for flip, kinds in ((False, 1), (True, 2)):
        found = plain(flip=flip).train.transform(x, jax.random.key(0))["image"]
        assert len({np.asarray(one).tobytes() for one in found}) == kinds


def test_the_discriminator_moves_first_and_both_move_in_each_step() -> None:
    """train.py: D_repeats = 1."""
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", 1)]
    assert players["discriminator"].ema == ()
    assert players["generator"].ema is None


def test_the_level_of_detail_falls_with_the_steps() -> None:
    for flags, expected in (({}, [1, 1, 0.5, 0]), ({"hold": 2, "fade": 0}, [1, 1, 0, 0]), ({"doublings": 1}, [0] * 4)):
        assert [float(plain(**flags).schedules["lod"](step)) for step in range(4)] == expected


def test_the_optimizers_begin_anew_where_a_level_comes_in_and_where_it_is_whole() -> None:
    """train.py: reset_opt_for_new_lod. Adam's first move is its rate, whatever the gradient."""
    for player in plain(hold=4, learning_rate=0.5).players.values():
        found = moves(player.tx, [1.0, 10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
        assert [step for step, move in enumerate(found) if move == pytest.approx(-0.5)] == [0, 5, 6, 7]
        # Without momentum: the last gradient over the root of the mean square of both, weighted by 0.99 and 1.
        assert found[1] == pytest.approx(-0.5 * 10 / np.sqrt((0.99 + 100) / 1.99), rel=1e-4)


@pytest.mark.slow
def test_the_losses_of_both_players_at_a_level_of_detail() -> None:
    """loss.py: D(G(z)) - D(x) + 10 (|grad D| - 1)^2 + 0.001 D(x)^2, and -D(G(z)), of images at a lod."""
    experiment = plain(weight=3.0, drift=0.5)
    judge, generator = (experiment.networks[name].module for name in ("discriminator", "generator"))
    batch, key = keys.by_example(jax.random.key(7), images(8)), jax.random.key(7)
    params = begun().params
    own = jax.vmap(lambda key: jnp.stack([jax.random.fold_in(key, i) for i in range(5)]), out_axes=1)(batch["key"])

    def judged(x: Any, lod: float) -> Any:
        return judge.apply({"params": params["discriminator"]}, x, lod=lod)

    def made(key: Any, lod: float) -> Any:
        z = jnp.stack([jax.random.normal(k, (4,)) for k in keys.fold_in(key, 0)])
        return generator.apply({"params": params["generator"]}, z, lod=lod)

    @functools.partial(jax.jit, static_argnames="lod")
    def by_hand(lod: float, step: int) -> Any:
        x = growing.Growth(1, 1, 2).shown(batch["image"], step)
        fake = made(own[0], lod)
        u = jnp.stack([jax.random.uniform(k, (1, 1, 1)) for k in own[3]])
        slope = jax.grad(lambda x: judged(x, lod).sum())(u * x + (1 - u) * fake)
        penalty = 3 * (jnp.sqrt(jnp.square(slope).sum((1, 2, 3))) - 1) ** 2
        real = judged(x, lod)
        values = judged(fake, lod) - real + penalty + 0.5 * real**2
        return values, penalty, -judged(made(own[0], lod), lod)

    for step, lod in ((0, 1.0), (2, 0.5)):
        values, penalty, theirs = by_hand(lod, step)
        loss = experiment.players["discriminator"].loss
        found, aux = jax.jit(lambda state, loss=loss: loss(state.params, state, batch, key, train=False))(at(step))
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(aux.metrics["penalty"], penalty, rtol=1e-3, atol=1e-4)
        loss = experiment.players["generator"].loss
        found = jax.jit(lambda state, loss=loss: loss(state.params, state, batch, key, train=False)[0])(at(step))
        np.testing.assert_allclose(found, theirs, rtol=1e-3, atol=1e-4)
    assert "penalty" not in told(plain(weight=0.0), "discriminator", at(0), images(8))[1]


@pytest.mark.slow
def test_what_fills_an_evaluated_batch_up_changes_no_value(measured: list) -> None:
    plain()
    measure = jax.jit(measured[0].measure)
    batch = images(8)
    mask = jnp.array([1.0] * 6 + [0.0] * 2)
    found = []
    for part in (batch, {"image": batch["image"].at[6:].set(0.9)}):
        whole = keys.by_example(jax.random.key(3), {**part, "mask": mask})
        found.append({name: float(reduce(v, mask).value) for name, v in measure(at(2), whole, jax.random.key(2)).items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert set(found[0]) == {"discriminator_loss", "wasserstein", "real_logit", "fake_logit", "penalty"}


def test_samples_are_those_of_the_level_of_detail_of_their_step() -> None:
    experiment = plain()
    key, given = jax.random.key(3), jaxgen.given(6)
    found = {step: np.asarray(experiment.sample(at(step), key, given)) for step in (0, 2, 3)}
    generator = experiment.networks["generator"].module
    z, params = jax.random.normal(key, (6, 4)), begun().params["generator"]
    images = jax.jit(lambda lod: generator.apply({"params": params}, z, lod=lod))
    for step, lod in ((0, 1.0), (2, 0.5), (3, 0.0)):
        np.testing.assert_allclose(found[step], np.clip((images(lod) + 1) / 2, 0, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0][:, ::2, ::2], found[0][:, 1::2, 1::2], atol=1e-6)
    assert np.abs(found[3][:, ::2, ::2] - found[3][:, 1::2, 1::2]).max() > 1e-3
    assert list(experiment.pictures) == ["samples", "interpolations", "arithmetic"]


def test_the_networks_are_as_the_flags_say() -> None:
    found = shapes(plain(channels=(3, 4, 5), group=0))
    assert [found[f"generator/blocks_{i}/conv1/layer/kernel"] for i in range(3)] == [(3, 3, c, c) for c in (5, 4, 3)]
    assert [found[f"discriminator/from_rgb_{i}/conv/layer/kernel"] for i in range(3)] == [(1, 1, 1, c) for c in (5, 4, 3)]
    assert found["discriminator/blocks_0/conv/layer/kernel"] == (3, 3, 5, 5)  # without the deviation's channel
    assert shapes(plain())["discriminator/blocks_0/conv/layer/kernel"] == (3, 3, 5, 4)
    discriminator = plain().networks["discriminator"].module
    assert (discriminator.blur, discriminator.group) == (False, 4)
    assert {m.module.dtype for m in plain(bf16=True).networks.values()} == {jnp.bfloat16}


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=0.5, steps=7)
    assert (experiment.ema, experiment.steps, experiment.best) == (0.5, 7, None)


def test_both_networks_begin_with_the_weights_of_a_file(tmp_path: Any) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    held = genforce_files.drawn(genforce_files.generator((4, 3), 4, 1), prefix="generator.")
    held |= genforce_files.drawn(genforce_files.discriminator((4, 3), 1), prefix="discriminator.")
    numpy.save_file(held, tmp_path / "both.safetensors")
    state = run.begin(plain(weights=tmp_path / "both.safetensors"), 0)
    colours = state.params["generator"]["to_rgb_1"]["conv"]["layer"]["bias"]
    assert colours.tolist() == held["generator.output1.bias"].tolist()
    head = state.params["discriminator"]["blocks_0"]["dense1"]["layer"]["bias"]
    assert head.tolist() == held["discriminator.layer4.bias"].tolist()
    with pytest.raises(jaxgen.UserError, match=r"There is no file .*none\.pth"):
        plain(weights=tmp_path / "none.pth").initial(jax.random.key(0))


def test_the_diversity_of_samples_is_evaluated_and_watched(measured: list) -> None:
    readable.assert_watched(plain(), begun())
