"""Flows that mix the channels of each pixel: the invertible 1x1 convolution, and the permutations that it generalises."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu, solve_triangular
from jaxtyping import Array, Float, Int, Key

PERMUTATION = "permutation"
"""The collection of permutations, which are drawn once and never learned."""


def _rotation(key: Key[Array, ""], channels: int) -> Float[Array, "c c"]:
    """The factors of a random rotation but for a permutation of its rows: L below the diagonal, log s on it, U above.

    Columns are multiplied by -1 where that makes the diagonal of U positive; the matrix stays orthogonal.
    """
    rotation = nn.initializers.orthogonal()(key, (channels, channels), jnp.float32)
    _, lower, upper = lu(rotation)
    diagonal = jnp.diagonal(upper)
    return jnp.tril(lower, -1) + jnp.triu(upper * jnp.sign(diagonal), 1) + jnp.diag(jnp.log(jnp.abs(diagonal)))


class InvertibleConv(nn.Module):
    r"""A 1x1 convolution with an invertible matrix, $z = x W$ for each pixel, $W = P L (U + \mathrm{diag}(s))$, s > 0.

    P is a permutation that stays as it was drawn, L has ones on its diagonal and U zeros, and log s is learned. So W is
    invertible whatever the parameters, $\log |\det| = h w \sum_i \log s_i$, and the inverse is two triangular solves. In the
    paper s may be negative, with a fixed sign; here all signs are positive, which is the same up to fixed signs of the outputs.
    W is a rotation at first.

    Source: Kingma & Dhariwal 2018, section 3.2, equations 10 and 11.
    """

    @nn.compact
    def _factors(self, channels: int, dtype: jnp.dtype) -> tuple[Int[Array, " c"], Float[Array, "c c"], Float[Array, "c c"]]:
        """The permutation, L, and U with s on its diagonal."""
        order = _permutation(self, channels)
        factors = self.param("lu", _rotation, channels).astype(dtype)
        lower = jnp.tril(factors, -1) + jnp.eye(channels, dtype=dtype)
        return order, lower, jnp.triu(factors, 1) + jnp.diag(jnp.exp(jnp.diagonal(factors)))

    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Mixes the channels of each pixel."""
        order, lower, upper = self._factors(x.shape[-1], x.dtype)
        # In full precision: an accelerator's short cut for products would be an error of the inverse.
        matrix = jnp.matmul(lower, upper, precision="highest")[order]
        log_det = math.prod(x.shape[1:-1]) * jnp.log(jnp.diagonal(upper)).sum()
        return jnp.matmul(x, matrix, precision="highest"), jnp.broadcast_to(log_det, x.shape[:1])

    def inverse(self, z: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Separates them."""
        order, lower, upper = self._factors(z.shape[-1], z.dtype)
        right = solve_triangular(upper, z.reshape(-1, z.shape[-1]).T, trans=1)
        columns = solve_triangular(lower, right, trans=1, lower=True, unit_diagonal=True)
        return columns.T.reshape(z.shape)[..., order]


class Shuffle(nn.Module):
    """A permutation of the channels that is drawn once."""

    @nn.compact
    def _order(self, channels: int) -> Int[Array, " c"]:
        return _permutation(self, channels)

    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Permutes the channels."""
        return x[..., self._order(x.shape[-1])], jnp.zeros(x.shape[0], x.dtype)

    def inverse(self, z: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Brings them back into order."""
        return z[..., jnp.argsort(self._order(z.shape[-1]))]


class Reverse(nn.Module):
    """The channels in the opposite order. Source: Dinh et al. 2015."""

    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Reverses the channels."""
        return x[..., ::-1], jnp.zeros(x.shape[0], x.dtype)

    def inverse(self, z: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Reverses them once more."""
        return z[..., ::-1]


def _permutation(module: nn.Module, channels: int) -> Int[Array, " c"]:
    """A variable of the module: whole numbers, which no average over steps or replicas changes."""

    def draw() -> Array:
        return jax.random.permutation(module.make_rng("params"), channels).astype(jnp.int32)

    return module.variable(PERMUTATION, "order", draw).value
