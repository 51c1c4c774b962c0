"""The formulas of github.com/openai/improved-diffusion (gaussian_diffusion.py and resample.py), written in numpy.

Steps count from 1, where the authors' code counts from 0; images have their channels last.
"""

import numpy as np
from scipy import stats


class Chain:
    """`GaussianDiffusion` of a model that predicts the noise and learns its variance (`LEARNED_RANGE`)."""

    def __init__(self, betas: np.ndarray) -> None:
        self.betas, self.steps = np.append(0.0, betas), len(betas)
        self.bar = np.cumprod(1 - self.betas)
        before = np.append(1.0, self.bar[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.posterior_variance = self.betas * (1 - before) / (1 - self.bar)
            self.coefficient_x0 = self.betas * np.sqrt(before) / (1 - self.bar)
            self.coefficient_xt = (1 - before) * np.sqrt(1 - self.betas) / (1 - self.bar)
        self.clipped = self.posterior_variance.copy()
        self.clipped[1] = self.posterior_variance[2]

    def of(self, a: np.ndarray, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """`_extract_into_tensor`."""
        return a[t].reshape(-1, *(1,) * (x.ndim - 1))

    def q_sample(self, x0: np.ndarray, t: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.sqrt(self.of(self.bar, t, x0)) * x0 + np.sqrt(1 - self.of(self.bar, t, x0)) * noise

    def p_mean_variance(
        self, out: np.ndarray, xt: np.ndarray, t: np.ndarray, *, clip: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean, the logarithm of the variance, and the predicted x_0."""
        eps, v = np.split(out, 2, axis=-1)
        share = (v + 1) / 2
        log_variance = share * np.log(self.of(self.betas, t, xt)) + (1 - share) * np.log(self.of(self.clipped, t, xt))
        bar = self.of(self.bar, t, xt)
        x0 = (xt - np.sqrt(1 - bar) * eps) / np.sqrt(bar)
        x0 = np.clip(x0, -1, 1) if clip else x0
        return self.posterior_mean(x0, xt, t), log_variance, x0

    def posterior_mean(self, x0: np.ndarray, xt: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.of(self.coefficient_x0, t, xt) * x0 + self.of(self.coefficient_xt, t, xt) * xt

    def vb_terms_bpd(
        self, out: np.ndarray, x0: np.ndarray, xt: np.ndarray, t: np.ndarray, *, clip: bool, tanh: bool = False
    ) -> np.ndarray:
        """One term of the bound per example, in bits a dimension; the normal's distribution function exact or by tanh."""
        mean, log_variance, _ = self.p_mean_variance(out, xt, t, clip=clip)
        true, true_log = self.posterior_mean(x0, xt, t), np.log(self.of(self.clipped, t, xt))
        squared = (true - mean) ** 2 * np.exp(-log_variance)
        kl = 0.5 * (-1 + log_variance - true_log + np.exp(true_log - log_variance) + squared)
        cdf = approximate_cdf if tanh else stats.norm.cdf
        upper, lower = (cdf((x0 - mean + side / 255) * np.exp(-0.5 * log_variance)) for side in (1, -1))
        upper, lower = np.where(x0 > 0.999, 1, upper), np.where(x0 < -0.999, 0, lower)
        decoder = -np.log(np.maximum(upper - lower, 1e-12))
        terms = np.where(self.of(np.arange(self.steps + 1), t, x0) == 1, decoder, kl)
        return terms.reshape(len(x0), -1).mean(1) / np.log(2)

    def training_losses(self, out: np.ndarray, x0: np.ndarray, t: np.ndarray, noise: np.ndarray, kind: str) -> np.ndarray:
        """`RESCALED_MSE` with a learned variance ("hybrid"), or `RESCALED_KL` ("vlb")."""
        terms = self.vb_terms_bpd(out, x0, self.q_sample(x0, t, noise), t, clip=False)
        if kind == "vlb":
            return self.steps * terms
        error = ((noise - np.split(out, 2, axis=-1)[0]) ** 2).reshape(len(x0), -1).mean(1)
        return error + self.steps / 1000 * terms


def approximate_cdf(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def space_timesteps(steps: int, count: int) -> np.ndarray:
    """The kept steps of one section, from 1."""
    return 1 + np.round(np.arange(count) * (steps - 1) / (count - 1)).astype(int)


def spaced(chain: Chain, kept: np.ndarray) -> Chain:
    """`SpacedDiffusion`: the chain with new betas, from the kept products."""
    bar = np.append(1.0, chain.bar[kept])
    return Chain(1 - bar[1:] / bar[:-1])


class Resampler:
    """`LossSecondMomentResampler`."""

    def __init__(self, steps: int, history: int = 10, uniform: float = 0.001) -> None:
        self.history, self.uniform = np.zeros((steps, history)), uniform
        self.counts = np.zeros(steps, int)

    def probabilities(self) -> np.ndarray:
        steps, size = self.history.shape
        if (self.counts < size).any():
            return np.full(steps, 1 / steps)
        weights = np.sqrt((self.history**2).mean(1))
        return (1 - self.uniform) * weights / weights.sum() + self.uniform / steps

    def update(self, ts: np.ndarray, losses: np.ndarray) -> None:
        for t, loss in zip(ts - 1, losses, strict=True):
            if self.counts[t] == self.history.shape[1]:
                self.history[t, :-1] = self.history[t, 1:]
                self.history[t, -1] = loss
            else:
                self.history[t, self.counts[t]] = loss
                self.counts[t] += 1
