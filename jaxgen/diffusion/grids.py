"""Grids: the times at which a sampler looks at a continuous schedule, descending from its end to its start.

`discretised(schedule, karras(schedule, 18))` is the chain through them. Not for use under `jit`: they are numbers of the host.
"""

import numpy as np

from jaxgen.diffusion.continuous import Continuous, on_host
from jaxgen.errors import InputError


def even(schedule: Continuous, n: int) -> np.ndarray:
    """Evenly spaced times.

    Args:
      schedule: a schedule.
      n: the number of times, 2 or more.

    Returns:
      The times `[n]`.

    Source: Song et al. 2021, appendix G.
    """
    return np.linspace(schedule.end, schedule.start, _several(n))


def quadratic(schedule: Continuous, n: int) -> np.ndarray:
    """Times whose square roots are evenly spaced, so that more of them are near the data.

    Args:
      schedule: a schedule.
      n: the number of times, 2 or more.

    Returns:
      The times `[n]`.

    Source: Song et al. 2020 (DDIM), appendix D.2.
    """
    return np.linspace(schedule.end**0.5, schedule.start**0.5, _several(n)) ** 2


def log_snr(schedule: Continuous, n: int) -> np.ndarray:
    """Times at which the logarithm of the signal-to-noise ratio is evenly spaced.

    Args:
      schedule: a schedule with an inverse, and with signal and noise at both ends.
      n: the number of times, 2 or more.

    Returns:
      The times `[n]`.

    Raises:
      InputError: if the schedule has no inverse, or has no signal or no noise at an end.

    Source: Lu et al. 2022, section 3.4.
    """
    low, high = np.log(_noise_of_ends(schedule))
    return _times(schedule, np.exp(np.linspace(high, low, _several(n))))


def karras(schedule: Continuous, n: int, *, rho: float = 7.0) -> np.ndarray:
    r"""Times at which the power $1 / \rho$ of the noise $\sigma / \alpha$ is evenly spaced.

    Args:
      schedule: a schedule with an inverse, and with signal and noise at both ends.
      n: the number of times, 2 or more.
      rho: the power $\rho$; 1 spaces the noise evenly, and the larger it is the more times are near the data.

    Returns:
      The times `[n]`.

    Raises:
      InputError: if the schedule has no inverse, or has no signal or no noise at an end.

    Source: Karras et al. 2022, equation 5.

    >>> from jaxgen.diffusion import time_is_sigma
    >>> karras(time_is_sigma(0.002, 80.0), 3).round(4).tolist()
    [80.0, 2.5152, 0.002]
    """
    low, high = _noise_of_ends(schedule) ** (1 / rho)
    return _times(schedule, np.linspace(high, low, _several(n)) ** rho)


def shifted(times: np.ndarray, shift: float) -> np.ndarray:
    r"""Times of a `linear_path` moved towards its end, $t \leftarrow \frac{a t}{1 + (a - 1) t}$, as large images want them.

    Args:
      times: times in [0, 1].
      shift: the shift a, above 1 for more steps at much noise; 1 leaves them as they are.

    Returns:
      The times.

    Source: Esser et al. 2024, equation 23.
    """
    return shift * times / (1 + (shift - 1) * times)


def _several(n: int) -> int:
    if n < 2:
        raise InputError(f"A grid of {n} has no end and start; give 2 times or more.")
    return n


def _noise_of_ends(schedule: Continuous) -> np.ndarray:
    """The noise relative to the signal, at the start and at the end."""
    ends = np.array([schedule.start, schedule.end])
    alpha, sigma = (on_host(f, ends) for f in (schedule.alpha, schedule.sigma))
    if not (alpha > 0).all() or not (sigma > 0).all():
        raise InputError(
            "This grid is spaced by the ratio of noise to signal, which is zero or infinite at an end of the schedule; "
            "let it begin with a little noise and end with a little signal, or take an even grid."
        )
    return sigma / alpha


def _times(schedule: Continuous, noise: np.ndarray) -> np.ndarray:
    if schedule.time_of is None:
        raise InputError("This grid asks for the time of a noise level; give the schedule its inverse, `time_of`.")
    times = on_host(schedule.time_of, -np.log(noise)).copy()
    # To the last digit what the schedule says, which an inverse gives up to rounding.
    times[0], times[-1] = schedule.end, schedule.start
    return times
