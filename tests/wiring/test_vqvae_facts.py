"""What `experiments.vqvae` is wired to, held against van den Oord et al. 2017 and the code of its authors
(sonnet/examples/vqvae_example.ipynb).

Networks whose weights are zero, but for two biases, have losses in closed form: the vector of every place is that of the one
bias, and every pixel is the other."""

import functools
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make, slow

import experiments.vqvae
import jaxgen
from jaxgen import data
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA
from jaxgen.types import Batch

TRAIN, TEST = 1437, 360
Z, OUT = (0.3, -0.2), 0.1
BOOK = np.array([[0.0, 0.0], [0.5, -0.1], [-1.0, 1.0], [2.0, 2.0]], np.float32)
"""The second one is nearest to Z."""
NEAREST = ((np.array(Z) - BOOK[1]) ** 2).mean()

quiet = lambda items, **_: items


def bare(**flags: Any) -> jaxgen.Experiment:
    return make("vqvae", **{"features": 2, "codes": 4, "channels": (3,), "blocks": 0, **flags})


def chosen(experiment: jaxgen.Experiment, book: np.ndarray = BOOK) -> jaxgen.TrainState:
    """The state of networks that make Z of every place, and OUT of every code."""
    params, vars = experiment.initial(jax.random.key(0))
    model = jax.tree.map(jnp.zeros_like, params["model"])
    model["head"]["bias"] = jnp.array(Z)
    last = f"up{len([name for name in model['decoder'] if name.startswith('up')]) - 1}"
    model["decoder"][last]["bias"] = model["decoder"][last]["bias"] + OUT
    if "quantiser" in model:
        model["quantiser"]["codebook"] = jnp.array(book)
    else:
        vars["model"]["codebook"]["quantiser"]["vectors"] = jnp.array(book)
    return jaxgen.create_state(jax.random.key(1), {"model": model}, vars, experiment.players)


def images(n: int = 6) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (n, 8, 8, 1)), jnp.float32)


def step(experiment: jaxgen.Experiment, state: jaxgen.TrainState, batch: Batch, times: int = 1) -> jaxgen.TrainState:
    take = jax.jit(jaxgen.make_train_step(experiment.players, accumulate=experiment.accumulate))
    for _ in range(times):
        state, _ = take(state, batch)
    return state


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def applied(module: Any, *inputs: Any, **method: str) -> Any:
    return module.apply(*inputs, **method)


def averages(state: jaxgen.TrainState) -> Any:
    return jax.tree.map(np.asarray, state.vars["model"]["codebook"]["quantiser"])


def test_pixels_are_in_half_a_unit_about_zero_and_the_test_split_is_measured(measured: list) -> None:
    experiment = make("vqvae")
    bytes_ = jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(2)}
    assert experiment.train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [-0.5, 0.5]
    ((source, _, transform),) = measured
    assert transform({"image": bytes_[:, 0]}, jax.random.key(0))["image"].ravel().tolist() == [-0.5, 0.5]
    assert (experiment.train.source.length, source.length) == (TRAIN, TEST)


def test_the_defaults_are_the_authors_where_the_digits_do_not_ask_for_smaller_ones() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.vqvae.experiment).parameters.items()}
    facts = {"quantiser": "ema", "commitment": 0.25, "decay": 0.99, "blocks": 2, "width": 32, "restart": None, "ema": None}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize(("quantiser", "own"), [("ema", 0.0), ("gradient", 1.0)])
@pytest.mark.parametrize("commitment", [0.25, 3.0])
@pytest.mark.parametrize("train", [True, False])
def test_the_loss_in_closed_form(quantiser: Any, own: float, commitment: float, train: bool) -> None:
    experiment = bare(quantiser=quantiser, commitment=commitment)
    state, x = chosen(experiment), images()
    values, aux = experiment.players["model"].loss(state.params, state, {"image": x}, jax.random.key(0), train=train)
    source = data.load("digits", "train")
    variance = (source.gather(np.arange(source.length))["image"] / 255).var()
    mse = ((np.asarray(x, np.float64) - OUT) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(aux.metrics["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["quantisation"], (own + commitment) * NEAREST, rtol=1e-5)
    np.testing.assert_allclose(values, mse / variance + (own + commitment) * NEAREST, rtol=1e-5)
    assert float(aux.metrics["batch_perplexity"]) == pytest.approx(1.0)


def test_the_variance_is_that_of_the_images_that_train() -> None:
    """Without those that are held out for validation."""
    experiment = bare(validation=0.4)
    state, x = chosen(experiment), images()
    _, aux = experiment.players["model"].loss(state.params, state, {"image": x}, jax.random.key(0), train=False)
    source = experiment.train.source
    assert source.length < TRAIN
    own = (source.gather(np.arange(source.length))["image"] / 255).var()
    np.testing.assert_allclose(aux.metrics["normalised_mse"] * own, aux.metrics["mse"], rtol=1e-5)


def test_the_flags_of_the_networks_reach_both() -> None:
    flags = {"features": 5, "codes": 9, "channels": (3, 6), "blocks": 1, "width": 7}
    params, vars = jax.eval_shape(make("vqvae", **flags).initial, jax.random.key(0))
    shapes = {part: kernels(params["model"][part]) for part in ("encoder", "decoder")}
    stack = {"stack/conv3_0": (3, 3, 6, 7), "stack/conv1_0": (1, 1, 7, 6)}
    assert shapes["encoder"] == {"down0": (4, 4, 1, 3), "down1": (4, 4, 3, 6), "last": (3, 3, 6, 6), **stack}
    assert shapes["decoder"] == {"first": (3, 3, 5, 6), "up0": (4, 4, 6, 3), "up1": (4, 4, 3, 1), **stack}
    assert params["model"]["head"]["kernel"].shape == (1, 1, 6, 5)
    assert vars["model"]["codebook"]["quantiser"]["vectors"].shape == (9, 5)
    params, vars = jax.eval_shape(make("vqvae", quantiser="gradient", **flags).initial, jax.random.key(0))
    assert params["model"]["quantiser"]["codebook"].shape == (9, 5)
    assert not vars


def kernels(tree: Any, path: str = "") -> dict[str, tuple[int, ...]]:
    """The shapes of all kernels, by the path of their layer."""
    if "kernel" in tree:
        return {path: tree["kernel"].shape}
    below = (kernels(part, f"{path}/{name}".lstrip("/")) for name, part in tree.items())
    return {name: shape for found in below for name, shape in found.items()}


@pytest.mark.parametrize("decay", [0.99, 0.5])
def test_the_codebook_moves_by_the_decay_and_in_training_only(decay: float) -> None:
    experiment = bare(decay=decay)
    state = chosen(experiment)
    after = averages(step(experiment, state, {"image": images()}))
    # 6 images of 4x4 places.
    np.testing.assert_allclose(after["counts"], (1 - decay) * np.array([0, 96, 0, 0]), rtol=1e-4)
    np.testing.assert_allclose(after["vectors"][1], Z, rtol=1e-4)
    state = chosen(experiment)
    experiment.evaluators["test"](state, jax.random.key(0), quiet)
    np.testing.assert_array_equal(averages(state)["vectors"], BOOK)


@pytest.mark.parametrize("restart", [2, 3])
def test_a_code_that_is_not_chosen_for_as_many_steps_becomes_a_vector_of_the_batch(restart: int) -> None:
    experiment = bare(restart=restart, learning_rate=1e-9)
    for times, restarted in ((restart - 1, False), (restart, True)):
        vectors = averages(step(experiment, chosen(experiment), {"image": images()}, times))["vectors"]
        near = np.abs(vectors - Z).max(1) < 1e-3
        assert near.tolist() == [restarted, True, restarted, restarted]


def test_micro_batches_move_the_codebook_where_the_batch_moves_it() -> None:
    whole, parts = bare(), bare(accumulate=3)
    assert (whole.accumulate, parts.accumulate) == (1, 3)
    assert parts.networks["model"].module.quantiser.micro_batches == 3
    start = whole.initial(jax.random.key(0))
    found = []
    for experiment in (whole, parts):
        params, vars = experiment.initial(jax.random.key(0))
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (params, start[0])), strict=True))
        state = jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)
        found.append(step(experiment, state, {"image": images()}, 2))
    one, other = map(averages, found)
    assert int(other["steps"]) == 2
    for name in ("counts", "sums", "vectors"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-5)


def test_the_evaluated_perplexity_is_counted_over_the_whole_test_split() -> None:
    experiment = make("vqvae", batch_size=50)
    params, vars = experiment.initial(jax.random.key(3))
    state = jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)
    found = experiment.evaluators["test"](state, jax.random.key(0), quiet)
    module = experiment.networks["model"].module
    x = data.load("digits", "test").gather(np.arange(TEST))["image"] / 255 - 0.5
    variables = {"params": params["model"], **vars["model"]}
    codes = np.asarray(applied(module, variables, jnp.asarray(x, jnp.float32), method="encode"))
    counts = np.array([(codes == k).sum() for k in range(8)])
    assert 1 < (counts > 0).sum() < 9
    shares = counts[counts > 0] / (TEST * np.prod(module.grid))
    assert found["perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert found["codes_used"] == (counts > 0).sum()
    decoded = np.asarray(applied(module, variables, jnp.asarray(codes), method="decode"))
    assert found["mse"] == pytest.approx(((x - decoded) ** 2).mean(), rel=1e-4)
    assert experiment.best == "test/mse"
    assert set(found) >= {"loss", "normalised_mse", "quantisation"}
    # One of a batch does not compare with others.
    assert "batch_perplexity" not in found


def test_pictures_show_test_images_beside_their_codes() -> None:
    experiment = bare()
    state, key = chosen(experiment), jax.random.key(0)
    x = data.load("digits", "test").gather(np.arange(16))["image"] / 255
    pictures = {name: np.asarray(draw(state, key).images) for name, draw in experiment.pictures.items()}
    np.testing.assert_allclose(pictures["reconstructions"][:16], x, atol=1e-6)
    np.testing.assert_allclose(pictures["reconstructions"][16:32], OUT + 0.5, atol=1e-6)
    np.testing.assert_allclose(pictures["code_maps"][:16], np.repeat(x, 3, axis=-1), atol=1e-6)
    # One code everywhere: one colour.
    assert np.ptp(pictures["code_maps"][16:32], axis=(0, 1, 2)).max() == 0
    assert len(pictures["codebook"]) == 1
    np.testing.assert_allclose(pictures["codebook"], OUT + 0.5, atol=1e-6)


def test_a_module_of_ones_own_is_the_quantiser() -> None:
    own = VectorQuantiserEMA(5, 3, decay=0.8)
    experiment = make("vqvae", quantiser=own)
    assert experiment.networks["model"].module.quantiser is own
    state = jaxgen.create_state(jax.random.key(1), *experiment.initial(jax.random.key(0)), experiment.players)
    assert 1 <= experiment.evaluators["test"](state, jax.random.key(0), quiet)["perplexity"] <= 5


@pytest.mark.parametrize("quantiser", ["gradient", VectorQuantiser(4, 2)])
def test_a_codebook_without_averages_restarts_no_code(quantiser: Any) -> None:
    with pytest.raises(jaxgen.UserError, match="--restart is of a codebook of running averages; give --quantiser ema"):
        make("vqvae", quantiser=quantiser, restart=3)


@pytest.mark.parametrize("quantiser", ["ema", slow("gradient")])
def test_another_run_takes_the_codes_of_a_trained_one(quantiser: Any, tmp_path: Path) -> None:
    experiment = make("vqvae", quantiser=quantiser, steps=1)._replace(evaluators={}, pictures={}, best=None)
    run = jaxgen.fit(experiment, workdir=str(tmp_path / "run"), quiet=True)
    part = jaxgen.frozen(str(tmp_path / "run"), "model")
    variables = {"params": part.params, **part.vars}
    x = jnp.asarray(data.load("digits", "test").gather(np.arange(9))["image"] / 255 - 0.5, jnp.float32)
    codes = applied(part.module, variables, x, method="encode")
    assert (codes.shape, part.module.quantiser.codes) == ((9, *part.module.grid), 8)
    module, own = run.network("model")
    np.testing.assert_array_equal(codes, applied(module, own, x, method="encode"))
    images = applied(part.module, variables, codes, method="decode")
    np.testing.assert_allclose(images, applied(module, own, x)[0], rtol=1e-4, atol=1e-5)


def test_adam_has_the_rate_and_averages_are_as_asked() -> None:
    experiment = make("vqvae", learning_rate=0.3, ema=0.9)
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(2)}
    np.testing.assert_allclose(tx.update({"w": jnp.ones(2)}, tx.init(w), w)[0]["w"], -0.3, rtol=1e-4)
    assert experiment.ema == 0.9
