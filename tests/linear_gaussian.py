"""A linear latent variable model, whose evidence and posterior are known (probabilistic PCA, Tipping & Bishop 1999)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxgen.distributions import Normal
from jaxgen.game import LossFn, TrainState

STANDARD = Normal(0.0, 1.0)


class LinearGaussian(nn.Module):
    """p(x | z) = N(W z + mu, sigma^2 I) and q(z | x) = N(V x + c, diag(s^2))."""

    dim: int
    latents: int

    def setup(self) -> None:
        self.weight = self.param("weight", nn.initializers.normal(0.5), (self.dim, self.latents))
        self.mean = self.param("mean", nn.initializers.zeros_init(), (self.dim,))
        self.log_sigma = self.param("log_sigma", nn.initializers.zeros_init(), ())
        self.encoder = self.param("encoder", nn.initializers.normal(0.1), (self.latents, self.dim))
        self.offset = self.param("offset", nn.initializers.zeros_init(), (self.latents,))
        self.log_std = self.param("log_std", nn.initializers.zeros_init(), (self.latents,))

    def encode(self, x: jax.Array, *, train: bool = False) -> Normal:
        mean = x @ self.encoder.T + self.offset
        return Normal(mean, jnp.broadcast_to(jnp.exp(self.log_std), mean.shape))

    def decode(self, z: jax.Array, *, train: bool = False) -> Normal:
        mean = z @ self.weight.T + self.mean
        return Normal(mean, jnp.broadcast_to(jnp.exp(self.log_sigma), mean.shape))

    def __call__(self, x: jax.Array, *, train: bool = False) -> Normal:
        return self.decode(self.encode(x, train=train).mean, train=train)


def exact(dim: int, latents: int, *, prior: Normal = STANDARD, seed: int = 0) -> dict[str, np.ndarray]:
    """Random parameters whose q(z | x) is p(z | x). The columns of W are orthogonal, since q's covariance is diagonal."""
    rng = np.random.default_rng(seed)
    weight = np.linalg.qr(rng.normal(size=(dim, latents)))[0] * np.linspace(0.7, 1.6, latents)
    mean, log_sigma = rng.normal(size=dim), -0.3
    precision = (weight**2).sum(0) / np.exp(2 * log_sigma) + 1 / prior.std**2
    encoder = weight.T / np.exp(2 * log_sigma) / precision[:, None]
    return {
        "weight": weight,
        "mean": mean,
        "log_sigma": np.asarray(log_sigma),
        "encoder": encoder,
        "offset": prior.mean / prior.std**2 / precision - encoder @ mean,
        "log_std": -0.5 * np.log(precision),
    }


def moved(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same model with another q."""
    return {**params, "encoder": 0.8 * params["encoder"], "offset": params["offset"] + 0.2, "log_std": params["log_std"] + 0.2}


def evidence(params: dict[str, np.ndarray], x: np.ndarray, prior: Normal = STANDARD) -> np.ndarray:
    """log N(x; W m + mu, s^2 W W^T + sigma^2 I) for a prior N(m, s^2), `[B]`."""
    w, sigma = np.asarray(params["weight"], np.float64), np.exp(np.float64(params["log_sigma"]))
    mean = w.sum(1) * prior.mean + params["mean"]
    return stats.multivariate_normal.logpdf(x, mean, prior.std**2 * w @ w.T + sigma**2 * np.eye(len(w)))


def gap(params: dict[str, np.ndarray], best: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """KL(q || p(z | x)), `[B]`, where `best` holds the exact posterior."""
    means, widths = ([p["encoder"] @ x.T + p["offset"][:, None], np.exp(p["log_std"])[:, None]] for p in (params, best))
    (m, m_best), (s, s_best) = zip(means, widths, strict=True)
    return (np.log(s_best / s) + (s**2 + (m - m_best) ** 2) / (2 * s_best**2) - 0.5).sum(0)


def draw(params: dict[str, np.ndarray], n: int, *, seed: int = 1) -> np.ndarray:
    """Data of the model under the standard prior, `[n, dim]`."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, params["weight"].shape[1]))
    noise = rng.normal(size=(n, len(params["mean"]))) * np.exp(params["log_sigma"])
    return (z @ params["weight"].T + params["mean"] + noise).astype(np.float32)


def tree(params: dict[str, np.ndarray], **others: Any) -> dict[str, Any]:
    """Parameters as a loss wants them."""
    return {"model": {name: jnp.array(value, jnp.float32) for name, value in params.items()}, **others}


def state(params: Any, *, step: int = 0, vars: Any = None) -> TrainState:
    """A state for a loss to read."""
    return TrainState(jnp.array(step), jax.random.key(0), params, {}, vars or {}, {})


def values(loss: LossFn, params: Any, x: np.ndarray, *, seed: int = 0, step: int = 0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A loss and its metrics on a batch."""
    out, aux = jax.jit(lambda p, x, key: loss(p, state(p, step=step), {"image": x}, key, train=True))(
        params, jnp.array(x), jax.random.key(seed)
    )
    return out, dict(aux.metrics)


def over_keys(function: Callable[[jax.Array], Any], n: int, *, seed: int = 0) -> Any:
    """Mean of a random function over n keys, and the standard error of that mean, in double precision."""
    draws = jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(seed), n))
    draws = jax.tree.map(lambda a: np.asarray(a, np.float64), draws)
    return jax.tree.map(lambda a: a.mean(0), draws), jax.tree.map(lambda a: a.std(0) / np.sqrt(n), draws)
