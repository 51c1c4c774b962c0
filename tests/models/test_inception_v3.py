"""InceptionV3's way with pixels, and the shapes of its blocks; the whole of it is held against PyTorch's in `peers`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.cnn import inception_v3
from jaxgen.models.cnn.inception_v3 import BlockA, BlockB, BlockC, BlockD, BlockE, Unit

BYTES = np.random.default_rng(0).integers(0, 256, (2, 7, 5, 3), np.uint8)


def written_out(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Output pixel (i, j) is at (i, j) * in / out of the input, and mixes the four pixels around."""
    (h, w), x = x.shape[1:3], x.astype(np.float64)
    out = np.zeros((len(x), *size, x.shape[-1]))
    for i in range(size[0]):
        for j in range(size[1]):
            (a, s), (b, t) = divmod(i * h / size[0], 1), divmod(j * w / size[1], 1)
            rows, columns = (int(a), min(int(a) + 1, h - 1)), (int(b), min(int(b) + 1, w - 1))
            upper, lower = ((1 - t) * x[:, r, columns[0]] + t * x[:, r, columns[1]] for r in rows)
            out[:, i, j] = (1 - s) * upper + s * lower
    return out


@pytest.mark.parametrize("size", [(14, 15), (3, 4)], ids=str)
def test_resizing_is_its_definition(size: tuple[int, int]) -> None:
    resized = inception_v3.resize(jnp.array(BYTES, jnp.float32), size)
    np.testing.assert_allclose(resized, written_out(BYTES, size), rtol=1e-5, atol=1e-3)


def test_an_image_of_the_size_stays_and_a_constant_one_stays_constant() -> None:
    x = normal(2, 6, 4, 3)
    np.testing.assert_array_equal(inception_v3.resize(x, (6, 4)), x)
    np.testing.assert_array_equal(
        inception_v3.resize(jnp.full((1, 5, 3, 2), 0.3), (11, 2)), np.full((1, 11, 2, 2), np.float32(0.3))
    )


def test_bytes_come_to_the_networks_range_and_grey_to_three_channels() -> None:
    grey = BYTES[..., :1]
    prepared = inception_v3.prepare(jnp.array(grey))
    assert prepared.shape == (2, 299, 299, 3)
    np.testing.assert_array_equal(prepared, inception_v3.prepare(jnp.array(grey.repeat(3, -1))))
    ends = inception_v3.prepare(jnp.array([0, 128, 255], jnp.uint8).reshape(3, 1, 1, 1))
    np.testing.assert_array_equal(ends[:, 9, 9, 0], [-1, 0, 127 / 128])


@pytest.mark.parametrize(
    ("block", "inputs", "outputs"),
    [(BlockA(32), 192, 256), (BlockB(), 288, 768), (BlockC(128), 768, 768), (BlockD(), 768, 1280), (BlockE(), 1280, 2048)],
    ids=lambda value: type(value).__name__,
)
def test_blocks_have_the_papers_widths(block: nn.Module, inputs: int, outputs: int) -> None:
    out, _ = jax.eval_shape(block.init_with_output, jax.random.key(0), jnp.zeros((1, 17, 17, inputs)))
    side = 8 if isinstance(block, BlockB | BlockD) else 17
    assert out.shape == (1, side, side, outputs)


def test_averages_do_not_count_the_border_and_the_last_block_takes_maxima() -> None:
    x = jnp.abs(normal(1, 4, 4, 2)) + 1
    windows = [[np.asarray(x)[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] for j in range(4)] for i in range(4)]
    for block, pool in ((BlockE(), np.mean), (BlockE(maximum=True), np.max)):
        variables = filled(block, x)
        branch = {kind: variables[kind]["branch_pool"] for kind in variables}
        pooled = jnp.array([[[pool(window, axis=(0, 1)) for window in row] for row in windows]])
        expected = Unit(192, (1, 1)).apply(jax.tree.map(jnp.abs, branch), pooled)
        found = block.apply(jax.tree.map(jnp.abs, variables), x)[..., -192:]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_unit_is_normalised_by_running_averages() -> None:
    unit, x = Unit(3, (1, 1)), normal(2, 3, 3, 2)
    variables = jax.tree.map(jnp.abs, filled(unit, x))
    p, s = variables["params"]["bn"]["BatchNorm_0"], variables["batch_stats"]["bn"]["BatchNorm_0"]
    y = np.asarray(x @ variables["params"]["kernel"][0, 0])
    expected = np.maximum((y - s["mean"]) / np.sqrt(s["var"] + 1e-3) * p["scale"] + p["bias"], 0)
    np.testing.assert_allclose(unit.apply(variables, x), expected, rtol=1e-4, atol=1e-6)
    assert Unit(3, (1, 1), dtype=jnp.bfloat16).apply(variables, x).dtype == jnp.bfloat16
