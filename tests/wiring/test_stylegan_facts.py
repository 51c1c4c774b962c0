"""What `experiments.stylegan` is wired to, held against Karras et al. 2019 and the authors' code (github.com/NVlabs/stylegan).

`tests/models/test_growing.py` holds the networks, and `tests/game/test_optimizers.py` the optimizers' rules.
"""

import functools
from typing import Any

import genforce_files
import jax
import jax.numpy as jnp
import lpips_files
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import defaults, images, moves, shapes, told

import experiments.stylegan
import jaxgen
from jaxgen import keys
from jaxgen.models.cnn.lpips import LPIPS
from jaxgen.models.gan import growing
from jaxgen.reduction import reduce
from jaxgen.runs import run

SIZES: dict[str, Any] = {"channels": (3, 4), "latents": 4}


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("stylegan", **{**SIZES, **flags})


@functools.cache
def begun() -> jaxgen.TrainState:
    """A state whose parameters are those of the seed, with noise and a centre of w that are not zero."""
    state = run.begin(plain(), 0)

    def leaf(path: Any, x: Any) -> Any:
        return jnp.full(x.shape, 0.3) if path[-1].key in ("weight", "mean") else x

    params, vars = (jax.tree_util.tree_map_with_path(leaf, tree) for tree in (state.params, state.vars))
    return state._replace(params=params, vars=vars)


def at(step: int) -> jaxgen.TrainState:
    return begun()._replace(step=jnp.int32(step))


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"dataset": "digits", "flip": False, "mapping_depth": 8, "mixing": 0.9, "group": 4, "psi": 1.0}
    facts |= {"truncated": 8, "doublings": 0, "accumulate": 1, "bf16": False}
    assert {name: defaults(experiments.stylegan.experiment)[name] for name in facts} == facts


def test_pixels_are_in_minus_1_to_1_in_training_and_in_evaluation(measured: list) -> None:
    readable.assert_pixels_of_tanh(plain(), *measured)


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    readable.assert_splits(experiment, *measured, "image")


def test_images_are_mirrored_where_it_is_asked_for_and_in_training_alone(measured: list) -> None:
    x = {"image": jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8, 1).repeat(40, 0), "slot": jnp.arange(40)}
    for flip, kinds in ((False, 1), (True, 2)):
        found = plain(flip=flip).train.transform(x, jax.random.key(0))["image"]
        assert len({np.asarray(one).tobytes() for one in found}) == kinds
        one = {"image": x["image"][0], "index": 0}
        assert len({np.asarray(measured[-1].transform(one, jax.random.key(i))["image"]).tobytes() for i in range(20)}) == 1


def test_the_discriminator_moves_first_and_both_move_in_each_step() -> None:
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", 1)]
    assert players["discriminator"].ema == ()
    assert players["generator"].ema is None


def test_the_level_of_detail_falls_with_the_steps() -> None:
    for flags, expected in (
        ({"hold": 4, "fade": 2}, [1, 1, 1, 1, 1, 0.5, 0, 0]),
        ({"hold": 2, "fade": 0}, [1, 1, 0, 0, 0, 0, 0, 0]),
        ({"hold": 4, "fade": 2, "doublings": 1}, [0] * 8),
    ):
        lod = plain(**flags).schedules["lod"]
        assert [float(lod(step)) for step in range(8)] == expected


def test_the_optimizers_begin_anew_where_a_level_comes_in_and_where_it_is_whole() -> None:
    """train.py: reset_opt_for_new_lod. Adam's first move is its rate, whatever the gradient."""
    for player in plain(hold=4, fade=2, learning_rate=0.5).players.values():
        found = moves(player.tx, [1.0, 10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
        assert [step for step, move in enumerate(found) if move == pytest.approx(-0.5)] == [0, 5, 6, 7]
        # Without momentum: the last gradient over the root of the mean square of both, weighted by 0.99 and 1.
        assert found[1] == pytest.approx(-0.5 * 10 / np.sqrt((0.99 + 100) / 1.99), rel=1e-4)


@pytest.mark.slow
def test_the_losses_of_both_players_at_a_level_of_detail() -> None:
    """loss.py: softplus(D(G(z))) + softplus(-D(x)) + 10 / 2 |grad D(x)|^2, and softplus(-D(G(z))), of images at a lod."""
    experiment = plain(gamma=3.0, hold=1, fade=2)
    model = experiment.networks["discriminator"].module
    batch = images(8)
    for step, lod in ((0, 1.0), (2, 0.5)):
        state = at(step)
        values, metrics = told(experiment, "discriminator", state, batch)

        @jax.jit
        def judge(x: Any, lod: float = lod) -> Any:
            values, back = jax.vjp(lambda x: model.apply({"params": begun().params["discriminator"]}, x, lod=lod), x)
            return values, back(jnp.ones_like(values))[0]

        real, slope = judge(growing.Growth(1, 1, 2).shown(batch["image"], step))
        np.testing.assert_allclose(metrics["real_probability"], jax.nn.sigmoid(real), rtol=1e-4)
        penalty = 1.5 * np.square(slope).sum((1, 2, 3))
        np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-3)
        fake = metrics["fake_probability"]
        expected = -np.log(metrics["real_probability"]) - np.log1p(-fake) + penalty
        np.testing.assert_allclose(values, expected, rtol=1e-3)
    assert "penalty" not in told(plain(gamma=0.0), "discriminator", at(0), batch)[1]


@pytest.mark.slow
def test_the_samples_of_a_turn_are_made_with_noise_mixed_in_training_and_at_the_level_of_detail() -> None:
    experiment = plain(hold=1, fade=2, mixing=0.99)
    generator, judge = (experiment.networks[name].module for name in ("generator", "discriminator"))
    batch, key = keys.by_example(jax.random.key(7), images(8)), jax.random.key(7)
    own = keys.fold_in(batch["key"], 0)
    z = jnp.stack([jax.random.normal(k, (4,)) for k in keys.fold_in(own, 0)])
    layers = keys.fold_in(own, 1)
    whole = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(begun().key, 2), keys.WHOLE), 1)
    variables = {"params": begun().params["generator"], **begun().vars["generator"]}

    @functools.partial(jax.jit, static_argnames="train")
    def by_hand(train: bool) -> Any:
        made = {"lod": 0.5, "key": layers, "whole": whole}
        x, _ = generator.apply(variables, z, **made, train=train, mutable=["averages"])
        return jax.nn.softplus(-judge.apply({"params": begun().params["discriminator"]}, x, lod=0.5))

    @functools.partial(jax.jit, static_argnames="train")
    def loss(state: Any, train: bool) -> Any:
        values, aux = experiment.players["generator"].loss(state.params, state, batch, key, train=train)
        return values, aux.vars["generator"]["averages"]["average"]["mean"]

    found = {train: loss(at(2), train) for train in (False, True)}
    for train, (values, mean) in found.items():
        np.testing.assert_allclose(values, by_hand(train), rtol=1e-3)
        assert bool((mean != 0.3).any()) == train
    assert np.abs(np.asarray(found[False][0] - found[True][0])).max() > 1e-4


@pytest.mark.slow
def test_what_fills_an_evaluated_batch_up_changes_no_value(measured: list) -> None:
    plain(hold=1, fade=2)
    measure = jax.jit(measured[0].measure)
    batch = images(8)
    mask = jnp.array([1.0] * 6 + [0.0] * 2)
    other = {"image": batch["image"].at[6:].set(0.9)}
    found = []
    for part in (batch, other):
        whole = keys.by_example(jax.random.key(3), {**part, "mask": mask})
        found.append({name: float(reduce(v, mask).value) for name, v in measure(at(2), whole, jax.random.key(2)).items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert set(found[0]) == {"discriminator_loss", "real_probability", "fake_probability", "penalty"}


@pytest.mark.slow
def test_samples_are_truncated_by_psi_in_the_coarse_layers() -> None:
    state, key, given = at(9), jax.random.key(3), jaxgen.given(6)
    z = jax.random.normal(jax.random.fold_in(key, 0), (6, 4))
    variables = {"params": begun().params["generator"], **begun().vars["generator"]}
    for psi, truncated in ((1.0, 8), (0.5, 8), (0.5, 2)):
        experiment = plain(psi=psi, truncated=truncated)
        model = experiment.networks["generator"].module

        @jax.jit
        def by_hand(model: Any = model, psi: float = psi, truncated: int = truncated) -> Any:
            w = model.apply(variables, z, psi=psi, truncated=truncated, method="styles")
            return model.apply(variables, w, key=jax.random.fold_in(key, 1), lod=0.0, method="synthesise")

        samples = experiment.sample(state, key, given)
        np.testing.assert_allclose(samples, np.clip((by_hand() + 1) / 2, 0, 1), rtol=1e-4, atol=1e-5)
    assert experiment.sampling == ("psi", "truncated")
    early = np.asarray(experiment.sample(at(0), key, given))
    np.testing.assert_allclose(early[:, ::2, ::2], early[:, 1::2, 1::2], atol=1e-6)
    picture = experiment.pictures["samples"](state, jax.random.key(5))
    np.testing.assert_allclose(picture.images, experiment.sample(state, jax.random.key(5), jaxgen.given(128)), atol=1e-6)
    assert list(experiment.pictures) == ["samples", "interpolations", "mixing", "truncation"]


def test_the_networks_are_as_the_flags_say() -> None:
    found = shapes(plain(channels=(3, 4, 5), mapping_depth=2, group=0))
    assert found["generator/blocks_0/constant"] == (2, 2, 5)
    assert [found[f"generator/blocks_{i}/conv1/layer/kernel"] for i in range(3)] == [(3, 3, c, c) for c in (5, 4, 3)]
    assert [found[f"discriminator/from_rgb_{i}/conv/layer/kernel"] for i in range(3)] == [(1, 1, 1, c) for c in (5, 4, 3)]
    assert found["discriminator/blocks_0/conv/layer/kernel"] == (3, 3, 5, 5)  # without the deviation's channel
    assert sum("/mapping/" in name and name.endswith("kernel") for name in found) == 2
    assert shapes(plain())["discriminator/blocks_0/conv/layer/kernel"] == (3, 3, 5, 4)
    parts = plain(accumulate=2, mixing=0.5)
    generator = parts.networks["generator"].module
    assert (generator.micro_batches, generator.mixing, parts.accumulate) == (2, 0.5, 2)
    discriminator = parts.networks["discriminator"].module
    assert (discriminator.blur, discriminator.group) == (True, 4)
    assert {m.module.dtype for m in plain(bf16=True).networks.values()} == {jnp.bfloat16}


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=0.5, steps=7, path_samples=0)
    assert (experiment.ema, experiment.steps, experiment.best, experiment.final) == (0.5, 7, None, {})
    assert experiment.protocol == {}
    lengths = {"path_length_pixels_z": ("path_samples",), "path_length_pixels_w": ("path_samples",)}
    assert plain().protocol == lengths


def test_paths_are_measured_in_the_distance_of_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read where paths are measured, and the network is no part of the state."""
    numpy = pytest.importorskip("safetensors.numpy")
    monkeypatch.setattr(experiments.stylegan, "LPIPS", functools.partial(LPIPS, ((2,), (3,))))
    path = tmp_path / "lpips.safetensors"
    experiment = plain(lpips=path, path_samples=20)
    state = begun()
    assert jax.tree.structure(run.begin(experiment, 0)) == jax.tree.structure(state)
    assert experiment.protocol == {f"path_length_lpips_{space}": ("path_samples",) for space in "zw"}
    measure = lambda: experiment.final["test"](state, jax.random.key(0), lambda x, **_: x)
    with pytest.raises(jaxgen.UserError, match=r"There is no file .*lpips\.safetensors"):
        measure()
    held = lpips_files.drawn(((2,), (3,)))
    numpy.save_file(held, path)
    found = measure()
    assert set(found) == {f"path_length_lpips_{space}{end}" for space in "zw" for end in ("", "_stderr")}
    # Twice the weights of the channels are twice the squared distance.
    numpy.save_file({name: (2 if name.startswith("lin") else 1) * tensor for name, tensor in held.items()}, path)
    assert measure()["path_length_lpips_w"] == pytest.approx(2 * found["path_length_lpips_w"], rel=1e-3)


def test_both_networks_begin_with_the_weights_of_a_file(tmp_path: Any) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    held = genforce_files.drawn(genforce_files.styled_generator((4, 3), 4, 1), prefix="generator.")
    held |= genforce_files.drawn(genforce_files.discriminator((4, 3), 1), prefix="discriminator.")
    numpy.save_file(held, tmp_path / "both.safetensors")
    state = run.begin(plain(weights=tmp_path / "both.safetensors", mapping_depth=1), 0)
    colours = state.params["generator"]["to_rgb_1"]["conv"]["layer"]["bias"]
    assert colours.tolist() == held["generator.synthesis.output1.bias"].tolist()
    head = state.params["discriminator"]["blocks_0"]["dense1"]["layer"]["bias"]
    assert head.tolist() == held["discriminator.layer4.bias"].tolist()
    assert state.vars["generator"]["averages"]["average"]["mean"].tolist() == held["generator.truncation.w_avg"].tolist()
    with pytest.raises(jaxgen.UserError, match=r"There is no file .*none\.pth"):
        plain(weights=tmp_path / "none.pth").initial(jax.random.key(0))


def test_the_diversity_of_samples_that_are_not_truncated_is_evaluated_and_watched(measured: list) -> None:
    readable.assert_watched(plain(psi=0.5), begun(), drawn=plain().sample)
