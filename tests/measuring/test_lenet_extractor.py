"""The LeNet extractor: the network's own answers, a version that is its weights, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled

from jaxgen import UserError
from jaxgen.measuring import lenet
from jaxgen.models.cnn import LeNet

MODEL, SHAPE = LeNet(3, (4, 5), (6, 7)), (9, 8, 1)
PARAMS = filled(MODEL, jnp.zeros((1, *SHAPE)))["params"]
BYTES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)


def test_it_says_what_the_network_says_of_the_range_it_was_trained_on() -> None:
    found = lenet.extractor(PARAMS, shape=SHAPE, weights="")
    x = jnp.array(BYTES, jnp.float32) / 255
    outputs = jax.jit(found.apply)(BYTES)
    features, logits = jax.jit(lambda x: [MODEL.apply({"params": PARAMS}, x, method=m) for m in ("embed", "__call__")])(x)
    np.testing.assert_allclose(outputs.features, features, rtol=1e-5)
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-5)
    assert (found.name, found.resizer) == ("lenet", "none")


def test_dropout_and_the_computations_dtype_leave_no_trace() -> None:
    assert lenet.network(PARAMS) == MODEL


def test_version_is_the_code_and_the_weights() -> None:
    assert lenet.extractor(PARAMS, shape=SHAPE, weights="0123abcd").version == f"{lenet.LENET_VERSION}-0123abcd"


def test_other_images_are_refused() -> None:
    found = lenet.extractor(PARAMS, shape=SHAPE, weights="")
    with pytest.raises(UserError, match=r"^The LeNet was trained on images of 9x8x1, and these are of 10x8x1; train one"):
        found.apply(jnp.zeros((2, 10, 8, 1), jnp.uint8))  # of as many features


@pytest.mark.parametrize("params", [{}, {"model": PARAMS}, {"out": 3}, {k: v for k, v in PARAMS.items() if k != "convs_0"}])
def test_other_parameters_are_refused(params: dict) -> None:
    with pytest.raises(UserError, match=r"^These parameters are no"):
        lenet.extractor(params, shape=SHAPE, weights="")


@pytest.mark.parametrize("shape", [(9, 8, 3), (17, 8, 1), (4, 8, 1)])
def test_parameters_of_other_images_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=r"^These parameters are not of a LeNet for images of .*; give the shape"):
        lenet.extractor(PARAMS, shape=shape, weights="")


def test_a_network_without_padding_is_known_by_its_shapes() -> None:
    model, shape = LeNet(3, (4, 5), (6,), padding="VALID"), (14, 13, 1)
    params = filled(model, jnp.zeros((1, *shape)))["params"]
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    found = jax.jit(lenet.extractor(params, shape=shape, weights="").apply)(images)
    np.testing.assert_allclose(
        found.logits, jax.jit(model.apply)({"params": params}, jnp.array(images, jnp.float32) / 255), rtol=1e-4
    )
    with pytest.raises(UserError, match=r"^These parameters are not of a LeNet for images of 8x8x1"):
        lenet.extractor(params, shape=(8, 8, 1), weights="")
