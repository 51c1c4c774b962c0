"""A first stage whose latents are known: pixels turned by an orthogonal matrix, and a posterior of known standard deviation."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxgen import diffusion, keys
from jaxgen.network import FrozenNetwork
from jaxgen.types import Key

SIDE, CHANNELS = 4, 4
LATENTS = (SIDE, SIDE, CHANNELS)
IMAGE = (8, 8, 1)
TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(64, 64)))[0].astype(np.float32)
"""The matrix Q of z = Q x."""
ROLE = diffusion.FirstStage(LATENTS, (-1.0, 1.0))


class Orthogonal(nn.Module):
    """The latents `factor Q x + std noise`, of 8x8 pixels as maps of 4x4x4, and back."""

    std: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        self._numbers()
        return x

    def _numbers(self) -> tuple[Array, Array]:
        turn = self.param("turn", lambda _: jnp.asarray(TURN))
        return turn, self.param("factor", nn.initializers.ones_init(), ())

    @nn.compact
    def to_latents(self, x: Array, key: Key | None = None, *, train: bool = False) -> Array:
        turn, factor = self._numbers()
        z = (factor * x.reshape(len(x), -1) @ turn.T).reshape(-1, *LATENTS)
        return z if key is None else z + self.std * keys.draw(jax.random.normal, key, z.shape)

    @nn.compact
    def from_latents(self, z: Array, *, train: bool = False) -> Array:
        turn, factor = self._numbers()
        return (z.reshape(len(z), -1) @ turn / factor).reshape(-1, *IMAGE)


def params(factor: float = 1.0) -> dict[str, Any]:
    return {"turn": TURN, "factor": np.float32(factor)}


def part(std: float = 0.0, factor: float = 1.0, role: Any = ROLE) -> FrozenNetwork:
    """The first stage as a frozen part of a run, without another run."""
    whence = ("digest", "runs/mine", Path("/runs/mine"), "autoencoder", "last", 1, Path("/runs/mine"))
    return FrozenNetwork(Orthogonal(std), params(factor), {}, *whence, role, (jnp.zeros((1, *IMAGE)),))


def turned(z: Any) -> np.ndarray:
    """Latents as the pixels that they are of, in double precision."""
    return (np.asarray(z, np.float64).reshape(len(z), -1) @ TURN.astype(np.float64)).reshape(-1, *IMAGE)
