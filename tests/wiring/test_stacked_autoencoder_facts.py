"""What `experiments.stacked_autoencoder` is wired to, held against Vincent et al. 2008 and the deep learning tutorials' SdA."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured

import experiments.stacked_autoencoder as module
import jaxgen
from jaxgen import keys, objectives
from jaxgen.errors import UserError
from jaxgen.game import make_train_step
from jaxgen.models.autoencoders import StackedAutoencoder
from jaxgen.runs import run
from jaxgen.types import Batch

NAME, KEY = "stacked_autoencoder", jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 8, 8, 1)), jnp.float32)
BATCH: Batch = {"image": X, "label": jnp.arange(5), "slot": jnp.arange(5, dtype=jnp.int32)}
MODEL = StackedAutoencoder((8, 8, 1), (5, 4, 3))


def stack(**flags: Any) -> jaxgen.Experiment:
    three = {"hidden": (5, 4, 3), "corruption_levels": (0.1, 0.2, 0.3), "pretraining_steps": 2, "steps": 8}
    return make(NAME, **{**three, **flags})


def values(loss: Any, state: jaxgen.TrainState, *, train: bool = True) -> np.ndarray:
    return np.asarray(loss(state.params, state, BATCH, KEY, train=train)[0])


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    # The tutorials' kind of noise and its levels, batches of the sheet of dA.py.
    assert (written["corruption"], written["corruption_levels"], written["batch_size"]) == ("masking", (0.1, 0.2, 0.3), 20)
    assert len(written["hidden"]) == 3
    assert stack(bf16=True).networks["model"].module.dtype == jnp.bfloat16
    assert [stack(decoder=kind).networks["model"].module.linear for kind in ("sigmoid", "linear")] == [False, True]
    assert (stack(accumulate=2).accumulate, stack(ema=0.9).ema) == (2, 0.9)
    assert stack().best == "test/error"
    assert stack(validation=0.2).best == "validation/error"


@pytest.mark.parametrize(
    ("flags", "noise"),
    [
        ({}, objectives.masking),
        ({"corruption": "salt_and_pepper"}, objectives.salt_and_pepper),
        ({"corruption": "gaussian", "corruption_levels": (0.5, 1.0, 1.5)}, objectives.gaussian_noise),
        ({"corruption": objectives.gaussian_noise, "corruption_levels": (0.5, 1.0, 1.5)}, objectives.gaussian_noise),
    ],
    ids=["masking", "salt and pepper", "gaussian", "the user's"],
)
def test_each_layer_has_its_own_noise_of_its_own_level(flags: dict[str, Any], noise: Any) -> None:
    made = stack(**flags)
    state = run.begin(made, 0)
    for i, level in enumerate(flags.get("corruption_levels", (0.1, 0.2, 0.3))):
        expected = objectives.layer_denoising(MODEL, i, noise(level))
        np.testing.assert_allclose(
            values(made.players[f"layer{i + 1}"].loss, state), values(expected, state), rtol=1e-6, err_msg=str(i)
        )


def test_layers_move_one_after_another_and_then_all_with_the_softmax() -> None:
    made = stack(pretraining_steps=1, pretraining_rate=0.05, learning_rate=0.3)
    state = run.begin(made, 0)
    # A softmax of zero would stop the gradient of the first step of the layers below it.
    kernel = 0.1 * jnp.cos(jnp.arange(30.0)).reshape(3, 10)
    state.params["model"]["softmax"]["kernel"] = kernel
    step = jax.jit(make_train_step(made.players))
    owners = list(made.players)
    assert owners == ["layer1", "layer2", "layer3", "classifier"]
    for i, owner in enumerate([*owners, "classifier"]):
        batch = keys.by_example(jax.random.fold_in(jax.random.fold_in(state.key, i), owners.index(owner)), BATCH)
        mean = lambda p, owner=owner, batch=batch, state=state: (
            made.players[owner].loss({"model": p}, state, batch, KEY, train=True)[0].mean()
        )
        grads = jax.jit(jax.grad(mean))(state.params["model"])
        rate = 0.3 if owner == "classifier" else 0.05
        expected = jax.tree.map(lambda p, g, rate=rate: p - rate * g, state.params["model"], grads)
        after, metrics = step(state, BATCH)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params["model"], expected)
        same = jax.tree.map(np.array_equal, state.params["model"], after.params["model"])
        moved = {part for part, own in same.items() if not own["kernel"]}
        assert moved == ({f"layers_{i}"} if i < 3 else {"layers_0", "layers_1", "layers_2", "softmax"})
        assert {name for name in owners if metrics[f"{name}/loss"].weight > 0} == {owner}
        state = after


def test_without_pretraining_the_same_network_begins_the_same_and_the_classifier_moves_at_once() -> None:
    plain, whole = stack(pretraining_steps=0), stack()
    assert list(plain.players) == ["classifier"]
    assert plain.players["classifier"].when is None
    jax.tree.map(np.testing.assert_array_equal, *(run.begin(made, 0).params for made in (plain, whole)))
    assert set(plain.pictures) == {"filters"}
    assert set(whole.pictures) == {"filters", "reconstructions"}


def test_the_classifier_is_measured_and_the_layers_without_noise(measured: list[Measured]) -> None:
    made = stack()
    state = run.begin(made, 0)
    ((source, measure, transform),) = measured
    assert source is made.splits["test"]
    assert made.train.source is made.splits["train"]
    for of in (transform, made.train.transform):
        images = {"image": jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1), "slot": jnp.arange(2)}
        assert of(images, KEY)["image"].ravel().tolist() == [0, 1]
    found = measure(state, BATCH, KEY)
    assert set(found) == {"loss", "error", "layer1_loss", "layer2_loss", "layer3_loss"}
    np.testing.assert_allclose(found["loss"], np.log(10), rtol=1e-6)  # the softmax begins at zero
    assert found["error"].tolist() == [0, 1, 1, 1, 1]
    for i in range(3):
        expected = values(objectives.layer_denoising(MODEL, i, objectives.masking(0.0)), state, train=False)
        np.testing.assert_allclose(found[f"layer{i + 1}_loss"], expected, rtol=1e-6)


def test_the_pictures_are_of_the_first_layers_weights_and_of_every_depth() -> None:
    made = stack()
    state = run.begin(made, 0)
    picture = made.pictures["reconstructions"](state, KEY)
    rows = np.asarray(picture.images).reshape(4, 16, 8, 8, 1)
    x = jnp.asarray(made.splits["test"].gather(np.arange(16))["image"], jnp.float32) / 255
    np.testing.assert_allclose(rows[0], x, rtol=1e-6)
    for depth in (1, 2, 3):
        z = MODEL.apply({"params": state.params["model"]}, x, depth, method="encode")
        expected = MODEL.apply({"params": state.params["model"]}, z, depth=depth, method="decode").mean
        np.testing.assert_allclose(rows[depth], expected, rtol=1e-4)
    weights = np.asarray(state.params["model"]["layers_0"]["kernel"]).T
    found = np.asarray(made.pictures["filters"](state, KEY).images).reshape(5, 64)
    scaled = 0.5 + 0.5 * weights / np.abs(weights).max(1, keepdims=True)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(scaled, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"corruption_levels": (0.1, 0.2)}, "--corruption-levels 0.1 0.2 are not one for each of the 3 layers of --hidden"),
        ({"corruption_levels": (0.1, 1.2, 0.3)}, "--corruption-levels 1.2 is a share"),
        ({"steps": 5}, "--steps 5 end before the 3 layers .* --pretraining-steps 2 each; give more than 6 steps, or 6"),
    ],
)
def test_settings_without_a_meaning_are_refused(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        stack(**flags)


def test_pretraining_alone_is_allowed() -> None:
    assert stack(steps=6).steps == 6
    assert stack(steps=0).steps == 0
