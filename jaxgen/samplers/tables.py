r"""Sampling with one network evaluation a step, as tables of coefficients in double precision.

Every such step from x_r to a state of less noise x_s is $x_s = A\, x_r + \sum_k B_k\, \hat x_0^{(k)} + C z$, where
$\hat x_0^{(0)}$ is predicted at x_r and the others at the steps before. In $x / \alpha$ and $\sigma / \alpha$ the
probability-flow ODE of any schedule is $dy / ds = \hat\epsilon$, so no solver knows a schedule.

Each function makes the table of one method for a chain, from its last step to the data. Below, $a = \alpha_r / \alpha_s$ and
$\beta = \sigma_r^2 - a^2 \sigma_s^2$ is the noise that the forward process adds from s to r.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Float

from jaxgen.diffusion import Continuous, Discrete, Variance, VarianceRange, discretised, small_variance
from jaxgen.diffusion.continuous import on_host
from jaxgen.errors import InputError

Column: TypeAlias = np.ndarray | Float[Array, " n"]


class Levels(NamedTuple):
    """Levels of noise on the host, in the order in which a sampler meets them.

    Fields:
      time: the times that a network is given, `[N]`.
      alpha: the scales of the data, `[N]`.
      sigma: the standard deviations of the noise, `[N]`.
    """

    time: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray


def starts(chain: Discrete) -> Levels:
    """The levels at which a chain's steps begin, from T to 1."""
    return Levels(*(of[:0:-1] for of in chain))


def ends(chain: Discrete) -> Levels:
    """The levels at which they end, from T - 1 to the data."""
    return Levels(*(of[-2::-1] for of in chain))


class Table(NamedTuple):
    """Coefficients of N steps, in the order in which they are made.

    Fields:
      level: the levels at which the network is evaluated, `[N]`.
      x: the factors A of the state, `[N]`.
      data: the factors B of the predicted data, `[N, K]`, the newest prediction first.
      variance: the variances C^2 of the new noise, `[N]`; where they are learned, the least.
      span: the logarithms of the ratios of the largest variances to the least, `[N]` (`diffusion.learned_range`); None where
        they are not learned.
    """

    level: Levels
    x: np.ndarray
    data: np.ndarray
    variance: Column
    span: np.ndarray | None = None


def ancestral(chain: Discrete, variance: Variance = small_variance) -> Table:
    r"""$x_s \sim N(\tilde\mu(x_r, \hat x_0), s^2 I)$; the last step adds no noise.

    Args:
      chain: the chain.
      variance: the variance of the reverse steps, a function of the chain; `learned_range` takes the network's.

    Returns:
      The table.

    Source: Ho et al. 2020, algorithm 2. With the large variance it is the ancestral sampler of Song et al. 2021, appendix F.
    """
    noisy = np.append(np.ones(chain.steps - 1), 0.0)
    reverse = variance(chain)
    least, span = reverse if isinstance(reverse, VarianceRange) else (reverse, None)
    return Table(
        starts(chain),
        chain.posterior_xt[:0:-1],
        chain.posterior_x0[:0:-1, None],
        least[:0:-1] * noisy,
        None if span is None else span[:0:-1],
    )


def ddim(chain: Discrete, eta: float = 0.0) -> Table:
    r"""$x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - C^2}\, \hat\epsilon + C z$ with $C^2 = \eta^2 \tilde\beta$.

    Args:
      chain: the chain.
      eta: the share of the posterior's standard deviation; 0 is Euler's method in $\sigma / \alpha$.

    Returns:
      The table.

    Source: Song et al. 2020 (DDIM), equations 12 and 16.
    """
    r, s = starts(chain), ends(chain)
    variance = eta**2 * chain.posterior_variance[:0:-1]
    kept = np.sqrt(np.maximum(s.sigma**2 - variance, 0.0)) / r.sigma
    return Table(r, kept, (s.alpha - kept * r.alpha)[:, None], variance)


def renoised(chain: Discrete) -> Table:
    r"""The predicted data with new noise, $x_s = \alpha_s \hat x_0 + \sigma_s z$: nothing is kept of the state.

    Args:
      chain: the chain.

    Returns:
      The table.

    Source: Song et al. 2023, algorithm 1.
    """
    r, s = starts(chain), ends(chain)
    return Table(r, np.zeros(chain.steps), s.alpha[:, None], s.sigma**2)


def reverse_diffusion(chain: Discrete) -> Table:
    r"""The forward step, reversed as it stands: $x_s = (2 - a)\, x_r + \beta \nabla \log q(x_r) + \sqrt\beta z$.

    Args:
      chain: the chain.

    Returns:
      The table; the last step adds no noise.

    Source: Song et al. 2021, equation 46.
    """
    r, a, beta = starts(chain), chain.scale[:0:-1], chain.beta[:0:-1]
    share = beta / r.sigma**2
    return Table(r, 2 - a - share, (share * r.alpha)[:, None], _but_the_last(beta))


def euler_maruyama(schedule: Continuous, times: np.ndarray) -> Table:
    r"""The reverse-time SDE by steps of h: $x_s = x_r - h\, (f x_r - g^2 \nabla \log q(x_r)) + \sqrt h g z$.

    Args:
      schedule: the schedule, of which f and g follow.
      times: times that descend to the last state, as a grid has them. There a network evaluation more gives the data.

    Returns:
      The table; the last of these steps, and that to the data, add no noise.

    Raises:
      InputError: if nothing is left of the data at a time, where f is infinite.

    Source: Song et al. 2021, equation 6 and appendix G.
    """
    chain = discretised(schedule, times)
    level = starts(chain)
    t, alpha, sigma = level
    if not (alpha > 0).all():
        raise InputError(
            "The drift is infinite at a time at which nothing is left of the data; let the times begin a little below."
        )
    h = -np.diff(t)
    f, g2 = (on_host(of, t)[:-1] for of in (schedule.drift, schedule.squared_diffusion))
    share = h * g2 / sigma[:-1] ** 2
    return Table(
        level,
        np.append(1 - h * f - share, 0.0),
        np.append(share * alpha[:-1], 1.0)[:, None],
        np.append(_but_the_last(h * g2), 0.0),
    )


def dpm_solver_pp(chain: Discrete, *, order: int = 2, stochastic: bool = False) -> Table:
    r"""DPM-Solver++ in several steps (2M): the predicted data is extrapolated along a line in $\lambda = \log \alpha / \sigma$.

    With $h = \lambda_s - \lambda_r$, $q = h_\mathrm{before} / h$ and $m = \alpha_s (1 - e^{-h})$ it is $x_s =
    \frac{\sigma_s}{\sigma_r} x_r + m\, (1 + \frac{1}{2 q})\, \hat x_0 - \frac{m}{2 q}\, \hat x_0^{(1)}$. Of the SDE, $m =
    \alpha_s (1 - e^{-2h})$, the state has the factor $\frac{\sigma_s}{\sigma_r} e^{-h}$ and the noise the variance
    $\sigma_s^2 (1 - e^{-2h})$.

    Args:
      chain: the chain.
      order: the order, 1 or 2; 1 is DDIM, or ancestral sampling. The first step and the last, to the data, are of order 1.
      stochastic: whether to solve the SDE and not the ODE.

    Returns:
      The table.

    Raises:
      InputError: if the order is another.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2 and equation 18.
    """
    if order not in (1, 2):
        raise InputError(f"DPM-Solver++ in several steps is of order 1 or 2 here, and not {order}.")
    r, s = starts(chain), ends(chain)
    h = _log_steps(chain)
    twice = 2 * h if stochastic else h
    m = -s.alpha * np.expm1(-twice)
    half = np.zeros_like(h)
    if order == 2:
        # The step to the data is infinitely long in lambda, and so is one from where nothing is left of them.
        usable = np.isfinite(h[1:]) & np.isfinite(h[:-1])
        half[1:][usable] = h[1:][usable] / (2 * h[:-1][usable])
    data = np.stack([m * (1 + half), -m * half], axis=1)
    x = s.sigma / r.sigma * (np.exp(-h) if stochastic else 1.0)
    variance = -(s.sigma**2) * np.expm1(-2 * h) if stochastic else np.zeros_like(h)
    return Table(r, x, data if order == 2 else data[:, :1], variance)


def unipc(chain: Discrete, *, order: int = 2, by_steps: bool = False) -> tuple[Table, Table]:
    r"""UniPC: a predictor of several steps, and a corrector that uses the evaluation at the predicted state a second time.

    Both fit the predictions at p points exactly as polynomials in $\lambda$, by weights that solve a system of p equations.

    Args:
      chain: the chain.
      order: the order p, from 1 to 3; the predictor alone has this order, and both together one more. It is lower in the first
        steps and in the last, to the data.
      by_steps: whether B(h) is h (bh1) and not $e^h - 1$ (bh2).

    Returns:
      The tables of the predictor and of the corrector.

    Raises:
      InputError: if the order is another.

    Source: Zhao et al. 2023, equations 3 and 9 and algorithms 5 and 6; the weight of order 2, and of the corrector of order 1,
    is 1/2 as in the authors' code.
    """
    if order not in (1, 2, 3):
        raise InputError(f"UniPC is of order 1, 2 or 3 here, and not {order}.")
    r, s = starts(chain), ends(chain)
    h, steps = _log_steps(chain), chain.steps
    with np.errstate(divide="ignore"):
        at = np.log(chain.alpha[::-1]) - np.log(chain.sigma[::-1])  # lambda at the start, after a step, ...
    predicted, corrected = np.zeros((steps, order)), np.zeros((steps, order + 1))
    state, before = s.sigma / r.sigma, np.ones(steps)
    for j in range(steps):
        exp = np.expm1(-h[j])
        predicted[j, 0] = -s.alpha[j] * exp
        if not np.isfinite(h[j]):
            if j + 1 < steps:  # from where nothing is left of the data; the corrector leaves what was predicted
                before[j + 1], corrected[j + 1, 1] = state[j], predicted[j, 0]
            continue
        known = [at[j - k] for k in range(min(order, j + 1)) if np.isfinite(at[j - k])]
        p, b_h = len(known), -h[j] if by_steps else exp
        ratios = np.array([(known[k] - known[0]) / h[j] for k in range(1, p)] + [1.0])
        powers, wanted = ratios ** np.arange(p)[:, None], _moments(-h[j], b_h, p)
        weights = np.array([0.5]) if p == 2 else np.linalg.solve(powers[:-1, :-1], wanted[:-1])
        differences = -s.alpha[j] * b_h * weights / ratios[:-1]
        predicted[j, 1:p] += differences
        predicted[j, 0] -= differences.sum()
        if j + 1 < steps:
            # For the state after this step, once the network has been evaluated there: its prediction is the newest.
            weights = np.array([0.5]) if p == 1 else np.linalg.solve(powers, wanted)
            differences = -s.alpha[j] * b_h * weights / ratios
            before[j + 1] = state[j]
            corrected[j + 1, 0] = differences[-1]
            corrected[j + 1, 1] = -s.alpha[j] * exp - differences.sum()
            corrected[j + 1, 2 : p + 1] = differences[:-1]
    none = np.zeros(steps)
    return Table(r, state, predicted, none), Table(r, before, corrected, none)


def _moments(h: float, b_h: float, p: int) -> np.ndarray:
    r"""$k!\, \varphi_{k + 1}(h)\, h / B$ for k = 1 ... p: what a polynomial's weights have to give."""
    found, phi = [], math.expm1(h) / h - 1
    for k in range(1, p + 1):
        found.append(phi * math.factorial(k) / b_h)
        phi = phi / h - 1 / math.factorial(k + 1)
    return np.array(found)


def with_covariance(table: Table, covariance: Column) -> Table:
    r"""The table with the variance $C^2 + B^2\, \mathrm{Cov}(x_0 | x_r)$, the best for a step that has this mean.

    Args:
      table: a table of one prediction.
      covariance: the part of the data that is not known, at the chain's steps 0 ... T (`diffusion.data_covariance`).

    Returns:
      The table; the last step adds no noise.

    Raises:
      InputError: if its steps use former predictions too.

    Source: Bao et al. 2022, theorem 1 and equation 12: of DDPM, DDIM and all between.
    """
    if table.data.shape[1] > 1:
        raise InputError("A step that uses former predictions has no analytic variance; take ancestral sampling or DDIM.")
    added = _but_the_last(table.data[:, 0] ** 2) * covariance[:0:-1]
    return table._replace(variance=table.variance + added)


def capped(table: Table, largest: float) -> Table:
    r"""The table whose last noisy step adds noise of a standard deviation that is bounded.

    Noise of the last steps stays visible, because few steps are left to take it off: the analytic variance is right for a
    network's mean error, but not for each image.

    Args:
      table: the table.
      largest: the bound.

    Returns:
      The table.

    Source: Bao et al. 2022, and the authors' code (`clip_pixel`).
    """
    bound = np.where(np.arange(len(table.x)) == len(table.x) - 2, largest**2, np.inf)
    return table._replace(variance=table.variance.clip(0.0, bound))


def _log_steps(chain: Discrete) -> np.ndarray:
    """The steps in log alpha / sigma, infinite where a step begins without data or ends without noise."""
    return np.diff(chain.log_snr[::-1] / 2)


def _but_the_last(variance: np.ndarray) -> np.ndarray:
    return np.append(variance[:-1], 0.0)
