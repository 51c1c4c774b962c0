"""The encoder and the decoder of style transfer: maps, mirror, sizes, and VGG's weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgen.errors import SizeError, UserError
from jaxgen.models.translation import TO_RELU4_1, TransferDecoder, TransferEncoder
from jaxgen.models.translation.vgg_weights import MEAN, STD, from_torch

STAGES = ((3, 4), (5, 5), (6, 2))
X = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 12, 3)), jnp.float32)


def test_maps_halve_from_stage_to_stage_and_the_decoder_brings_them_back() -> None:
    encoder, decoder = TransferEncoder(STAGES), TransferDecoder(3, STAGES)
    maps, variables = encoder.init_with_output(jax.random.key(0), X)
    assert [m.shape for m in maps] == [(2, 8, 12, 3), (2, 4, 6, 5), (2, 2, 3, 6)]
    kernels = {name: leaf["kernel"].shape[2:] for name, leaf in variables["params"].items()}
    assert kernels == {"conv0_0": (3, 3), "conv0_1": (3, 4), "conv1_0": (4, 5), "conv1_1": (5, 5), "conv2_0": (5, 6)}
    image, variables = decoder.init_with_output(jax.random.key(0), maps[-1])
    assert image.shape == X.shape
    kernels = {name: leaf["kernel"].shape[2:] for name, leaf in variables["params"].items()}
    assert kernels == {"conv2_0": (6, 5), "conv1_0": (5, 5), "conv1_1": (5, 4), "conv0_0": (4, 3), "conv0_1": (3, 3)}
    assert float(image.min()) < 0, "the last layer has no rectifier"


def test_the_papers_networks_have_the_layers_of_vgg_19() -> None:
    """Counted by hand: 3x3 convolutions with biases, of the channels of table 1, E, of Simonyan & Zisserman 2015."""
    ways = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512)]
    there = sum(9 * a * b + b for a, b in ways)
    back = sum(9 * b * a + a for a, b in ways)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    encoder = jax.eval_shape(TransferEncoder(TO_RELU4_1).init, jax.random.key(0), x)
    decoder = jax.eval_shape(TransferDecoder(3).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 512), jnp.float32))
    found = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (encoder, decoder)]
    assert found == [there, back] == [3_505_728, 3_505_219]


@pytest.mark.parametrize("shape", [(6, 8), (8, 6), (4, 4)])
def test_sides_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(SizeError, match=r"cannot be halved 2 times, to two pixels or more; give a --side .* of 4, 8 or"):
        TransferEncoder(STAGES).init(jax.random.key(0), jnp.zeros((1, *shape, 3)))


def torch_weights(prefix: str, *, recoloured: bool) -> dict[str, np.ndarray]:
    """Random weights with PyTorch's names and gaps in their numbers, and one layer more than the encoder has."""
    rng = np.random.default_rng(1)
    ways = [*([(3, 3, 1)] if recoloured else []), (3, 3, 3), (3, 4, 3), (4, 5, 3), (5, 5, 3), (5, 6, 3), (6, 2, 3)]
    found = {}
    for i, (a, b, size) in enumerate(ways):
        found[f"{prefix}{3 * i}.weight"] = rng.normal(size=(b, a, size, size))
        found[f"{prefix}{3 * i}.bias"] = rng.normal(size=b)
    return found


def test_weights_go_to_the_layers_in_their_order() -> None:
    encoder = TransferEncoder(STAGES, recoloured=True)
    weights = torch_weights("", recoloured=True)
    params = from_torch(weights, encoder)
    for i, layer in enumerate(("colours", "conv0_0", "conv0_1", "conv1_0", "conv1_1", "conv2_0")):
        np.testing.assert_allclose(params[layer]["kernel"], weights[f"{3 * i}.weight"].transpose(2, 3, 1, 0), rtol=1e-6)
        np.testing.assert_allclose(params[layer]["bias"], weights[f"{3 * i}.bias"], rtol=1e-6)
    assert set(params) == set(encoder.init(jax.random.key(0), X)["params"])


def test_torchvisions_weights_see_colours_of_mean_zero_and_deviation_one() -> None:
    encoder, plain = TransferEncoder(STAGES, recoloured=True), TransferEncoder(STAGES)
    params = from_torch(torch_weights("features.", recoloured=False), encoder)
    expected = plain.apply(
        {"params": {k: v for k, v in params.items() if k != "colours"}}, (X - jnp.array(MEAN)) / jnp.array(STD)
    )
    for found, wanted in zip(encoder.apply({"params": params}, X), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.max()))


def test_with_zeros_beyond_the_borders_it_is_the_network_of_the_file() -> None:
    """In the middle of an image the borders do not matter, and at the borders they do."""
    weights = torch_weights("features.", recoloured=False)
    plain, reflected = (TransferEncoder(STAGES, reflected=which) for which in (False, True))
    params = from_torch(weights, plain)
    assert set(params) == set(plain.init(jax.random.key(0), X)["params"])
    first = lax.conv_general_dilated(
        X, params["conv0_0"]["kernel"], (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = jnp.maximum(first + params["conv0_0"]["bias"], 0)
    found, other = (encoder.apply({"params": params}, X)[0] for encoder in (plain, reflected))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], other[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(found, other, atol=1e-2)


def test_weights_of_another_network_are_refused() -> None:
    encoder = TransferEncoder(STAGES, recoloured=True)
    weights = torch_weights("", recoloured=True)
    with pytest.raises(UserError, match=r"^f.pth has 1 convolutions with names of VGG, and the encoder has 6; give VGG-19\.$"):
        from_torch({k: v for k, v in weights.items() if k.startswith("0.")}, encoder, name="f.pth")
    with pytest.raises(UserError, match=r"^f.pth has 0 convolutions"):
        from_torch({"head.weight": np.zeros((2, 2))}, encoder, name="f.pth")
    with pytest.raises(UserError, match=r"^f.pth has a convolution of \[3, 3, 3, 9\] where .* has one of \[3, 3, 3, 4\]"):
        from_torch({**weights, "6.weight": np.zeros((9, 3, 3, 3))}, encoder, name="f.pth")
