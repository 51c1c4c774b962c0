"""What `experiments.vqvae2` is wired to, held against Razavi et al. 2019 and rosinality/vq-vae-2-pytorch.

Networks whose weights are zero, but for three biases, have losses in closed form: the vector of every place of a level is
that of one bias, and every pixel is the third."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import experiments.vqvae2
import jaxgen
from jaxgen import data

TRAIN, TEST = 1437, 360
Z, OUT = {"top": (0.3, -0.2), "bottom": (-0.9, 1.2)}, 0.1
BOOK = np.array([[0.0, 0.0], [0.5, -0.1], [-1.0, 1.0], [2.0, 2.0]], np.float32)
"""The second one is nearest to the top's vectors, the third one to the bottom's."""
NEAREST = {"top": 1, "bottom": 2}
LEVELS = {"top": ("top_quantiser", "top_head", 4), "bottom": ("quantiser", "head", 16)}
"""By level: the names of its codebook and of the convolution before it, and the codes of an image."""
SQUARED = {level: float(((np.array(Z[level]) - BOOK[code]) ** 2).mean()) for level, code in NEAREST.items()}

quiet = lambda items, **_: items


def bare(**flags: Any) -> jaxgen.Experiment:
    return make("vqvae2", **{"features": 2, "codes": 4, "channels": (3,), "blocks": 0, **flags})


def chosen(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    """The state of networks that make Z of every place of each level, and OUT of every code."""
    params, vars = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(experiment.initial, jax.random.key(0)))
    model = params["model"]
    model["decoder"]["up0"]["bias"] += OUT
    for level, (book, head, _) in LEVELS.items():
        model[head]["bias"] = jnp.array(Z[level])
        if book in model:
            model[book]["codebook"] = jnp.array(BOOK)
        else:
            vars["model"]["codebook"][book]["vectors"] = jnp.array(BOOK)
    return jaxgen.create_state(jax.random.key(1), {"model": model}, vars, experiment.players)


def images(n: int = 6) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (n, 8, 8, 1)), jnp.float32)


def stepped(experiment: jaxgen.Experiment, state: jaxgen.TrainState, times: int = 1) -> Any:
    """The averages of both codebooks after as many steps."""
    take = jax.jit(jaxgen.make_train_step(experiment.players, accumulate=experiment.accumulate))
    for _ in range(times):
        state, _ = take(state, {"image": images()})
    return jax.tree.map(np.asarray, state.vars["model"]["codebook"])


def test_pixels_are_in_half_a_unit_about_zero_and_the_test_split_is_measured(measured: list) -> None:
    experiment = bare()
    bytes_ = jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1)
    assert experiment.train.transform({"image": bytes_, "slot": jnp.arange(2)}, jax.random.key(0))[
        "image"
    ].ravel().tolist() == [
        -0.5,
        0.5,
    ]
    ((source, _, transform),) = measured
    assert transform({"image": bytes_[:, 0]}, jax.random.key(0))["image"].ravel().tolist() == [-0.5, 0.5]
    assert (experiment.train.source.length, source.length) == (TRAIN, TEST)


def test_the_defaults_are_the_authors_where_the_digits_do_not_ask_for_smaller_ones() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.vqvae2.experiment).parameters.items()}
    facts = {"quantiser": "ema", "commitment": 0.25, "decay": 0.99, "blocks": 2, "width": 32, "restart": None, "ema": None}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.slow
@pytest.mark.parametrize(("quantiser", "own"), [("ema", 0.0), ("gradient", 1.0)])
@pytest.mark.parametrize("commitment", [0.25, 3.0])
def test_the_loss_in_closed_form(quantiser: Any, own: float, commitment: float) -> None:
    experiment = bare(quantiser=quantiser, commitment=commitment, validation=0.4)
    state, x = chosen(experiment), images()
    values, aux = experiment.players["model"].loss(state.params, state, {"image": x}, jax.random.key(0), train=True)
    source = experiment.train.source
    assert source.length < TRAIN
    variance = (source.gather(np.arange(source.length))["image"] / 255).var()
    mse = ((np.asarray(x, np.float64) - OUT) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(aux.metrics["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(values, mse / variance + (own + commitment) * sum(SQUARED.values()), rtol=1e-5)
    assert float(aux.metrics["top_batch_perplexity"]) == pytest.approx(1.0)


def test_the_flags_of_the_networks_reach_all_of_them() -> None:
    flags = {"features": 5, "codes": 9, "channels": (4, 6), "blocks": 1, "width": 7}
    params, vars = jax.eval_shape(make("vqvae2", **flags).initial, jax.random.key(0))
    own = {
        part: {name: layer["kernel"].shape for name, layer in params["model"][part].items() if name != "stack"}
        for part in ("encoder", "top_encoder", "top_decoder", "decoder")
    }
    assert own == {
        "encoder": {"down0": (4, 4, 1, 4), "down1": (4, 4, 4, 6), "last": (3, 3, 6, 6)},
        "top_encoder": {"down0": (4, 4, 6, 3), "last": (3, 3, 3, 6)},
        "top_decoder": {"first": (3, 3, 5, 6), "up0": (4, 4, 6, 5)},
        "decoder": {"first": (3, 3, 10, 6), "up0": (4, 4, 6, 4), "up1": (4, 4, 4, 1)},
    }
    for part in own:
        assert {k: v["kernel"].shape for k, v in params["model"][part]["stack"].items()} == {
            "conv3_0": (3, 3, 6, 7),
            "conv1_0": (1, 1, 7, 6),
        }
    assert params["model"]["head"]["kernel"].shape == (1, 1, 11, 5)
    assert {name: book["vectors"].shape for name, book in vars["model"]["codebook"].items()} == {
        "top_quantiser": (9, 5),
        "quantiser": (9, 5),
    }
    module = make("vqvae2", bf16=True).networks["model"].module
    assert {part.dtype for part in (module, module.encoder, module.top_encoder, module.top_decoder, module.decoder)} == {
        jnp.bfloat16
    }


@pytest.mark.parametrize(("decay", "restart", "times"), [(0.5, None, 1), (0.99, 2, 2)])
def test_both_codebooks_move_by_the_decay_and_restart_their_codes(decay: float, restart: int | None, times: int) -> None:
    experiment = bare(decay=decay, restart=restart, learning_rate=1e-9)
    after = stepped(experiment, chosen(experiment), times)
    for level, (name, _, places) in LEVELS.items():
        kept = decay**times
        counts = after[name]["counts"]
        np.testing.assert_allclose(counts[NEAREST[level]], (1 - kept) * 6 * places, rtol=1e-4)
        near = np.abs(after[name]["vectors"] - Z[level]).max(1) < 1e-3
        assert near.tolist() == ([True] * 4 if restart else [code == NEAREST[level] for code in range(4)])


def test_micro_batches_move_the_codebooks_where_the_batch_moves_them() -> None:
    whole, parts = (stepped(e, chosen(e)) for e in (bare(), bare(accumulate=3)))
    for name in ("top_quantiser", "quantiser"):
        assert int(parts[name]["steps"]) == 1
        for value in ("counts", "vectors"):
            np.testing.assert_allclose(parts[name][value], whole[name][value], rtol=1e-4, atol=1e-6)


def test_what_is_evaluated_is_counted_over_the_whole_test_split() -> None:
    experiment = make("vqvae2", batch_size=50)
    params, vars = experiment.initial(jax.random.key(3))
    state = jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)
    found = experiment.evaluators["test"](state, jax.random.key(0), quiet)
    module = experiment.networks["model"].module
    x = jnp.asarray(data.load("digits", "test").gather(np.arange(TEST))["image"] / 255 - 0.5, jnp.float32)
    codes, decoded = jax.jit(lambda v: (module.apply(v, x, method="encode"), module.apply(v, x, method="reconstruct")))(
        {"params": params["model"], **vars["model"]}
    )
    for level in ("top", "bottom"):
        counts = np.bincount(np.asarray(getattr(codes, level)).ravel(), minlength=8)
        shares = counts[counts > 0] / counts.sum()
        assert found[f"{level}_perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
        assert found[f"{level}_codes_used"] == (counts > 0).sum()
    assert found["mse"] == pytest.approx(float(((x - decoded) ** 2).mean()), rel=1e-4)
    assert experiment.best == "test/mse"
    assert not any("batch_perplexity" in name for name in found)


def test_pictures_show_the_top_alone_with_the_mean_of_the_bottom_and_both() -> None:
    experiment = bare()
    state = chosen(experiment)
    x = data.load("digits", "test").gather(np.arange(16))["image"] / 255
    pictures = {name: np.asarray(draw(state, jax.random.key(0)).images) for name, draw in experiment.pictures.items()}
    rows = pictures["reconstructions"].reshape(2, 3, 16, 8, 8, 1)
    np.testing.assert_allclose(rows[0, 0], x, atol=1e-6)
    np.testing.assert_allclose(rows[0, 1:], OUT + 0.5, atol=1e-6)
    coloured = pictures["code_maps"].reshape(2, 3, 16, 8, 8, 3)
    assert np.ptp(coloured[:, 1], axis=(0, 1, 2, 3)).max() == 0
    assert np.abs(coloured[0, 1] - coloured[0, 2]).max() > 0.1


def test_a_codebook_without_averages_restarts_no_code_and_adam_has_the_rate() -> None:
    with pytest.raises(jaxgen.UserError, match="--restart is of codebooks of running averages; give --quantiser ema"):
        make("vqvae2", quantiser="gradient", restart=3)
    experiment = bare(learning_rate=0.3, ema=0.9)
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(2)}
    np.testing.assert_allclose(tx.update({"w": jnp.ones(2)}, tx.init(w), w)[0]["w"], -0.3, rtol=1e-4)
    assert experiment.ema == 0.9
