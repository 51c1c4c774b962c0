"""The largest singular values of many kernels at once, by power iteration."""

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.types import Key

Vectors: TypeAlias = Mapping[str, Float[Array, "n o"]]
"""Left singular vectors, by the shape of the matrices that they belong to."""

LEAST_LENGTH = 1e-3
"""The length below which a vector is not normalised, as in NVAE's code."""


def matrices(kernels: Mapping[str, Array]) -> dict[str, Float[Array, "n o i"]]:
    """Kernels as matrices, those of one shape together, so that hundreds of layers take a few products.

    Args:
      kernels: kernels `[..., inputs, outputs]`, by name.

    Returns:
      Stacks of matrices with a row for each output, by their shape, "8x72"; in a stack they are in the order of the names.

    >>> {shape: stack.shape for shape, stack in matrices({"a": jnp.ones((3, 3, 2, 4)), "b": jnp.ones((18, 4))}).items()}
    {'4x18': (2, 4, 18)}
    """
    by_shape: dict[str, list[Array]] = {}
    for name in sorted(kernels):
        kernel = kernels[name].reshape(-1, kernels[name].shape[-1]).T
        by_shape.setdefault(f"{kernel.shape[0]}x{kernel.shape[1]}", []).append(kernel.astype(jnp.float32))
    return {shape: jnp.stack(stack) for shape, stack in by_shape.items()}


def first_vectors(kernels: Mapping[str, Array], key: Key, *, iterations: int = 40) -> dict[str, Array]:
    """Left singular vectors to begin with, of random vectors.

    Args:
      kernels: kernels by name.
      key: the key of the random vectors.
      iterations: the power iterations from there; NVAE's code has 40 at its first step.

    Returns:
      The vectors.
    """
    stacks = matrices(kernels)
    drawn = {
        shape: _normalised(jax.random.normal(jax.random.fold_in(key, i), stack.shape[:2]))
        for i, (shape, stack) in enumerate(sorted(stacks.items()))
    }
    return spectral_norms(kernels, drawn, iterations=iterations)[1]


def spectral_norms(
    kernels: Mapping[str, Array], vectors: Vectors, *, iterations: int = 4
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The sum of the largest singular values, $\sum_k u_k^T W_k v_k$, after power iterations from given vectors.

    $v \leftarrow W^T u / \|W^T u\|$ and $u \leftarrow W v / \|W v\|$. The gradient flows through W alone, which is that of the
    singular value where u and v are its vectors.

    Args:
      kernels: kernels `[..., inputs, outputs]`, by name.
      vectors: left singular vectors, as far as they are known.
      iterations: the number of iterations.

    Returns:
      The sum, and the new vectors.

    Source: Yoshida & Miyato 2017; Vahdat & Kautz 2020, section 3.2; the latter's code, model.py (`spectral_norm_parallel`).

    >>> kernels = {"a": jnp.diag(jnp.array([3.0, 1.0])), "b": jnp.diag(jnp.array([0.5, 2.0]))}
    >>> spectral_norms(kernels, first_vectors(kernels, jax.random.key(0)))[0].round(4).item()
    5.0
    """
    total, moved = jnp.zeros(()), {}
    for shape, stack in matrices(kernels).items():
        fixed = lax.stop_gradient(stack)

        def iterate(pair: tuple[Array, Array], _: None, fixed: Array = fixed) -> tuple[tuple[Array, Array], None]:
            v = _normalised(jnp.einsum("noi,no->ni", fixed, pair[0], precision="highest"))
            return (_normalised(jnp.einsum("noi,ni->no", fixed, v, precision="highest")), v), None

        # A loop, which is compiled once.
        start = (vectors[shape], jnp.zeros((stack.shape[0], stack.shape[2])))
        (u, v), _ = lax.scan(iterate, start, None, iterations)
        total = total + jnp.einsum("no,noi,ni->", u, stack, v, precision="highest")
        moved[shape] = u
    return total, moved


def _normalised(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), LEAST_LENGTH)
