"""Sums of largest singular values against numpy's decomposition."""

import jax
import numpy as np
import pytest
from parameters import normal

from jaxgen.losses.spectral import first_vectors, matrices, spectral_norms

KERNELS = {
    "a": normal(3, 3, 2, 8),
    "b": normal(3, 3, 2, 8, seed=1),
    "c": normal(1, 1, 5, 3, seed=2),
    "depthwise": normal(5, 5, 1, 4, seed=3),
}


def flat(kernel: jax.Array) -> np.ndarray:
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def test_the_sum_is_that_of_the_decompositions() -> None:
    found, _ = spectral_norms(KERNELS, first_vectors(KERNELS, jax.random.key(0), iterations=300))
    assert float(found) == pytest.approx(sum(np.linalg.svd(flat(k))[1][0] for k in KERNELS.values()), rel=1e-5)
    assert {shape: stack.shape for shape, stack in matrices(KERNELS).items()} == {
        "8x18": (2, 8, 18),
        "3x5": (1, 3, 5),
        "4x25": (1, 4, 25),
    }


def test_an_iteration_goes_on_from_the_vectors() -> None:
    short = first_vectors(KERNELS, jax.random.key(0), iterations=1)
    exact = spectral_norms(KERNELS, first_vectors(KERNELS, jax.random.key(0), iterations=300))[0]
    errors, vectors = [], short
    for _ in range(6):
        found, vectors = spectral_norms(KERNELS, vectors, iterations=4)
        errors.append(float(exact - found))
    assert errors[-1] < 0.2 * errors[0]
    two = spectral_norms(KERNELS, spectral_norms(KERNELS, short, iterations=2)[1], iterations=2)
    one = spectral_norms(KERNELS, short, iterations=4)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)


def test_the_gradient_is_that_of_the_largest_singular_value() -> None:
    vectors = first_vectors(KERNELS, jax.random.key(0), iterations=300)
    found = jax.grad(lambda kernels: spectral_norms(kernels, vectors)[0])(KERNELS)
    for name, kernel in KERNELS.items():
        left, _, right = np.linalg.svd(flat(kernel))
        np.testing.assert_allclose(flat(found[name]), np.outer(left[:, 0], right[0]), atol=1e-3)
