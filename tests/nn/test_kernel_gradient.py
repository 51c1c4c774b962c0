"""The formulations of a kernel's gradient against XLA's, in double precision."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgen.nn import kernel_gradient

FORMULATIONS = [kernel_gradient.by_position, kernel_gradient.of_patches, kernel_gradient.winograd, kernel_gradient.best]
Gradient = Callable[[jax.Array, jax.Array], jax.Array]


def xla(x: jax.Array, dy: jax.Array, dilation: tuple[int, int] = (1, 1)) -> jax.Array:
    size = ((n - m) // d + 1 for n, m, d in zip(x.shape[1:3], dy.shape[1:3], dilation, strict=True))
    kernel = jnp.zeros((*size, x.shape[-1], dy.shape[-1]), x.dtype)

    def convolution(kernel: jax.Array) -> jax.Array:
        axes = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", rhs_dilation=dilation, dimension_numbers=axes)

    return jax.vjp(convolution, kernel)[1](dy)[0]


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("shape", [(2, 6, 8, 3, 5), (1, 5, 7, 4, 2), (3, 1, 2, 2, 2), (2, 4, 4, 64, 64)])
def test_in_a_kernel_of_3x3(formulation: Gradient, shape: tuple[int, ...]) -> None:
    b, h, w, c, o = shape
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, dy = jnp.asarray(random.normal(size=(b, h + 2, w + 2, c))), jnp.asarray(random.normal(size=(b, h, w, o)))
        np.testing.assert_allclose(jax.jit(formulation)(x, dy), xla(x, dy), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 3), (1, 5)])
def test_in_other_kernels(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for c in (2, 40):  # few numbers under a window, and many
        x, dy = random.normal(size=(2, 6, 7, c)), random.normal(size=(2, 7 - size[0], 8 - size[1], 3))
        with jax.enable_x64(True):
            x, dy = jnp.asarray(x), jnp.asarray(dy)
            np.testing.assert_allclose(jax.jit(kernel_gradient.best)(x, dy), xla(x, dy), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dilation", [(2, 2), (1, 3)])
def test_in_dilated_kernels(dilation: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for c in (2, 64):  # few numbers under a window, and many
        x, dy = random.normal(size=(2, 9, 10, c)), random.normal(size=(2, 9 - 2 * dilation[0], 10 - 2 * dilation[1], 64))
        with jax.enable_x64(True):
            x, dy = jnp.asarray(x), jnp.asarray(dy)
            found = jax.jit(lambda x, dy: kernel_gradient.best(x, dy, dilation))(x, dy)
            expected = xla(x, dy, dilation)
            assert found.shape == expected.shape == (3, 3, c, 64)
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_fewer_multiplications_round_no_worse() -> None:
    random = np.random.default_rng(0)
    x, dy = random.normal(size=(4, 18, 18, 64)), random.normal(size=(4, 16, 16, 64))
    with jax.enable_x64(True):
        exact = np.asarray(xla(jnp.asarray(x), jnp.asarray(dy)))
    single = jnp.asarray(x, jnp.float32), jnp.asarray(dy, jnp.float32)
    error = {f.__name__: np.abs(np.asarray(jax.jit(f)(*single)) - exact).max() / np.abs(exact).max() for f in FORMULATIONS}
    assert max(error.values()) < 2e-6, error


def test_half_precision_is_summed_by_position() -> None:
    x, dy = jnp.ones((1, 6, 6, 64), jnp.bfloat16), jnp.ones((1, 4, 4, 64), jnp.bfloat16)
    text = jax.jit(kernel_gradient.best).lower(x, dy).as_text()
    assert text.count("stablehlo.dot_general") == 9
    assert (
        jax.jit(kernel_gradient.best).lower(x.astype(jnp.float32), dy.astype(jnp.float32)).as_text().count("dot_general") == 16
    )
