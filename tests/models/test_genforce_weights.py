"""Weights in the layout of genforce: `tests/peers/test_genforce_peers.py` holds the networks against its classes."""

from typing import Any

import genforce_files
import jax
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models.gan import genforce_weights, progressive, stylegan

CHANNELS, LATENTS, SHAPE = (6, 5), 4, (8, 8, 3)
"""Two levels, 4x4 and 8x8."""
NETWORKS: dict[str, tuple[genforce_files.Shapes, Any]] = {
    "progressive": (
        genforce_files.generator(CHANNELS, LATENTS),
        lambda held: genforce_weights.progressive_generator(held, progressive.Generator(SHAPE, CHANNELS), LATENTS),
    ),
    "stylegan": (
        genforce_files.styled_generator(CHANNELS, LATENTS),
        lambda held: genforce_weights.stylegan_generator(held, stylegan.Generator(SHAPE, CHANNELS, LATENTS, mapping_depth=1)),
    ),
    "discriminator": (
        genforce_files.discriminator(CHANNELS),
        lambda held: genforce_weights.discriminator(held, progressive.Discriminator(CHANNELS), SHAPE),
    ),
}


def file(network: str, **named: Any) -> dict[str, np.ndarray]:
    return genforce_files.drawn(NETWORKS[network][0], **named)


def numbers(tree: Any) -> np.ndarray:
    return np.sort(np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)]))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_number_of_the_file_is_in_the_network_once(network: str) -> None:
    held = file(network)
    np.testing.assert_array_equal(numbers(NETWORKS[network][1](held)), numbers(held))


def test_kernels_are_turned_as_each_layer_sees_them() -> None:
    """By single numbers: [out, in, h, w] becomes [h, w, in, out], and where a transposed convolution sees it, turned round."""
    held = file("progressive")
    params = NETWORKS["progressive"][1](held)
    first = np.asarray(params["blocks_0"]["dense"]["layer"]["kernel"]).reshape(LATENTS, 4, 4, 6)
    assert first[2, 0, 1, 5] == held["layer0.weight"][5, 2, 3, 2]
    assert params["blocks_1"]["conv0"]["layer"]["kernel"][0, 2, 4, 3] == held["layer2.weight"][3, 4, 0, 2]

    held = file("discriminator")
    params = NETWORKS["discriminator"][1](held)
    flat = np.asarray(params["blocks_0"]["dense0"]["layer"]["kernel"]).reshape(4, 4, 6, 6)
    assert flat[1, 2, 3, 5] == held["layer3.weight"][5, 3 * 16 + 1 * 4 + 2]
    assert params["from_rgb_0"]["conv"]["layer"]["kernel"][0, 0, 2, 1] == held["input1.weight"][1, 2, 0, 0]

    held, module = file("stylegan"), stylegan.Generator(SHAPE, CHANNELS, LATENTS, mapping_depth=1)
    for fused, turned in ((16, False), (8, True), (0, True)):
        params, averages = genforce_weights.stylegan_generator(held, module, fused=fused)
        kernel = params["blocks_1"]["conv0"]["layer"]["kernel"]
        expected = held["synthesis.layer2.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(kernel, expected[::-1, ::-1] if turned else expected)
        np.testing.assert_array_equal(
            params["blocks_1"]["conv1"]["layer"]["kernel"], held["synthesis.layer3.weight"].transpose(2, 3, 1, 0)
        )
    assert params["blocks_0"]["constant"][1, 2, 3] == held["synthesis.layer0.const"][0, 3, 1, 2]
    assert params["blocks_1"]["layer0"]["style"]["layer"]["kernel"][3, 1] == held["synthesis.layer2.style.weight"][1, 3]
    np.testing.assert_array_equal(averages["averages"]["average"]["mean"], held["truncation.w_avg"])


@pytest.mark.parametrize("network", ["progressive", "stylegan"])
def test_the_averaged_generator_is_taken_where_the_file_has_one(network: str) -> None:
    average, raw = file(network, prefix="generator_smooth."), file(network, prefix="generator.", seed=1)
    for held, taken in (({**raw, **average, "discriminator.x": np.zeros(3)}, average), (raw, raw)):
        np.testing.assert_array_equal(numbers(NETWORKS[network][1](held)), numbers(taken))


@pytest.mark.parametrize("network", NETWORKS)
def test_another_network_is_refused(network: str) -> None:
    held = file(network)
    for name, value in held.items():
        with pytest.raises(UserError, match=rf"^the file has no {name}; give a file of genforce's of this network"):
            NETWORKS[network][1]({other: v for other, v in held.items() if other != name})
        if value.ndim == 4:
            with pytest.raises(UserError, match=r"and the network .*; give the network the sides, channels and latents"):
                NETWORKS[network][1]({**held, name: np.concatenate([value, value], axis=int("const" in name))})
