"""Residual blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import BINOMIAL, BOX, ConditionalResidualBlock, ResidualBlock, doubled, halved


def resized(x: np.ndarray, resize: int) -> np.ndarray:
    if resize == -2:
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
    return np.kron(x, np.ones((1, resize, resize, 1), x.dtype))


@pytest.fixture(scope="module")
def started() -> dict:
    """The initial parameters of a block from 8 to 16 channels; they do not depend on `resize`."""
    return ResidualBlock(16).init(jax.random.key(1), jnp.zeros((1, 4, 4, 8)))


@pytest.fixture(scope="module")
def started_alike() -> dict:
    """The initial parameters of a block from 16 to 16 channels."""
    return ResidualBlock(16).init(jax.random.key(1), jnp.zeros((1, 4, 4, 16)))


@pytest.mark.parametrize("resize", [-2, 1, 2])
def test_block_starts_as_its_resized_input(resize: int, started_alike: dict) -> None:
    x = normal(2, 4, 6, 16)
    block = jax.jit(ResidualBlock(16, resize=resize).apply)
    np.testing.assert_allclose(block(started_alike, x), resized(np.asarray(x), resize), rtol=1e-6, atol=1e-6)
    trained = jax.tree.map(lambda p: p + 0.1, started_alike)
    assert np.abs(block(trained, x) - resized(np.asarray(x), resize)).max() > 0.01


@pytest.mark.parametrize("resize", [-2, 1, 2])
def test_block_of_another_width_starts_as_a_linear_map_of_each_pixel(resize: int, started: dict) -> None:
    x = normal(2, 4, 6, 8)
    (kernel,) = [p for p in jax.tree.leaves(started) if p.shape == (1, 1, 8, 16)]
    expected = np.einsum("nhwc,cd->nhwd", resized(np.asarray(x), resize), kernel[0, 0])
    ours = jax.jit(ResidualBlock(16, resize=resize).apply)(started, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("taps", [BOX, BINOMIAL])
@pytest.mark.parametrize("resize", [-2, 1, 2])
def test_a_conditional_block_starts_as_its_resampled_shortcut_times_its_scale(resize: int, taps) -> None:
    x, condition = normal(2, 4, 6, 8), normal(2, 5, seed=1)
    resample = {-2: lambda x: halved(x, taps), 1: lambda x: x, 2: lambda x: doubled(x, taps)}[resize]
    block = ConditionalResidualBlock(8, resize=resize, taps=taps, scale=0.5)
    started = block.init(jax.random.key(0), x, condition)
    np.testing.assert_allclose(block.apply(started, x, condition), 0.5 * resample(x), rtol=1e-6, atol=1e-6)
    projected = ConditionalResidualBlock(8, resize=resize, taps=taps, project=True)
    started = projected.init(jax.random.key(0), x, condition)
    expected = resample(x) @ started["params"]["Conv_2"]["kernel"][0, 0]
    np.testing.assert_allclose(projected.apply(started, x, condition), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 8, 48])
@pytest.mark.parametrize(("resize", "sides"), [(-2, (3, 4)), (1, (7, 8)), (2, (14, 16))])
def test_sides_and_channels_of_the_output(channels: int, resize: int, sides: tuple[int, int]) -> None:
    block = ResidualBlock(5, resize=resize)
    y, _ = jax.eval_shape(block.init_with_output, jax.random.key(0), jnp.zeros((2, 7, 8, channels)))
    assert y.shape == (2, *sides, 5)


def test_gradients_reach_every_parameter_once_the_last_kernel_is_not_zero(started_alike: dict) -> None:
    x = normal(2, 4, 4, 16)
    gradient = jax.jit(jax.grad(lambda params: (ResidualBlock(16).apply(params, x) ** 2).sum()))
    grads = gradient(started_alike)["params"]
    assert np.abs(grads["Conv_1"]["kernel"]).max() > 0
    assert np.abs(grads["Conv_0"]["kernel"]).max() == 0
    trained = jax.tree.map(lambda p: p + 0.1, started_alike)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient(trained)))


def test_an_example_is_treated_alike_whatever_its_batch() -> None:
    x = normal(4, 4, 4, 8)
    block = ResidualBlock(16)
    variables = filled(block, x)
    assert set(variables) == {"params"}  # no batch statistics
    apply = jax.jit(block.apply)
    np.testing.assert_allclose(apply(variables, x)[:1], apply(variables, x[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resize", [-2, 1, 2])
def test_bfloat16_is_close_to_float32_and_keeps_float32_parameters(resize: int) -> None:
    x = normal(2, 4, 4, 8)
    half = ResidualBlock(16, resize=resize, dtype=jnp.bfloat16)
    params = filled(half, x)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    y, full = jax.jit(half.apply)(params, x), jax.jit(ResidualBlock(16, resize=resize).apply)(params, x)
    assert y.dtype == jnp.bfloat16
    assert 0 < np.abs(y.astype(jnp.float32) - full).max() < 0.03 * np.abs(full).max()
