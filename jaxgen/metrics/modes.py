"""Modes captured by samples: of a mixture whose modes are known, or of images that combine classes."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen.metrics.inputs import check_labels


class Modes(NamedTuple):
    r"""The result of `modes`.

    Fields:
      captured: modes that are nearest to at least one sample of high quality.
      high_quality: share of the samples within three standard deviations of their nearest mode.
      reverse_kl: the divergence $KL(q \| u)$ in nats, of the samples' shares by nearest mode from equal ones; 0 is perfect.
    """

    captured: Float[Array, ""]
    high_quality: Float[Array, ""]
    reverse_kl: Float[Array, ""]


def modes(samples: Float[Array, "n d"], centres: Float[Array, "m d"], std: float) -> Modes:
    r"""Counts modes as VEEGAN's protocol does, which wants 2,500 samples and the mean of five runs.

    A sample is of high quality if $\|x - \mu\| \le 3 \sigma$ for its nearest mode; a mode is captured if it is the nearest of
    one such sample or more. The reverse KL takes all samples, since there may be none of high quality. A sample that lies
    exactly on the edge is of high quality, though its coordinates are rounded to float32: the edge is as wide as their
    rounding. Of modes that are equally near, the first is the nearest.

    Args:
      samples: points.
      centres: the centres of the modes, which are equally likely.
      std: the standard deviation $\sigma$ of every mode.

    Returns:
      The modes captured, the share of high quality, and the reverse KL; nan if a sample is not finite.

    >>> found = modes(jnp.array([[0.0, 0.1], [0.0, 0.0], [5.0, 5.0]]), jnp.array([[0.0, 0.0], [9.0, 9.0]]), 0.1)
    >>> found.captured.item(), round(found.high_quality.item(), 3)
    (1.0, 0.667)

    Source: Srivastava et al. 2017, section 5.1.
    """
    # Differences and not the binomial formula, whose cancellation a mode of width 0.01 would feel.
    squared = ((samples[:, None] - centres[None]) ** 2).sum(-1)
    nearest = (jnp.arange(centres.shape[0]) == squared.argmin(1)[:, None]).astype(jnp.float32)
    # Samples and centres are each rounded, by half of this at most, and so are their differences.
    rounding = (
        2 * float(jnp.finfo(jnp.float32).eps) * (jnp.abs(samples).max(1) + jnp.abs(centres).max()) * samples.shape[1] ** 0.5
    )
    good = (jnp.sqrt(squared.min(1)) <= 3 * std + rounding).astype(jnp.float32)
    shares = nearest.mean(0)
    # 0 log 0 = 0.
    reverse_kl = (shares * jnp.log(jnp.where(shares > 0, shares, 1.0))).sum() + math.log(centres.shape[0])
    captured = ((nearest * good[:, None]).sum(0) > 0).astype(jnp.float32).sum()
    found = Modes(captured, good.mean(), reverse_kl)
    return jax.tree.map(lambda value: jnp.where(jnp.isfinite(samples).all(), value, jnp.nan), found)


def of_classes(labels: Int[np.ndarray, "n k"], classes: int) -> tuple[int, float]:
    r"""Counts the modes that samples hit where a mode is a combination of classes, as a triple of digits in stacked MNIST.

    Args:
      labels: the k classes of each sample, by a classifier.
      classes: the number of classes; there are $\mathrm{classes}^k$ modes, equally likely.

    Returns:
      The number of modes of one sample or more, and the divergence $KL(q \| u)$ in nats of the samples' shares by mode from
      equal ones. Of n samples of equal shares over m modes it is about (m - 1) / 2n, and not zero.

    Raises:
      InputError: if a label is no class.

    >>> of_classes(np.array([[0, 1], [0, 1], [1, 1], [1, 0]]), 2)
    (3, 0.3465735902799727)

    Source: Srivastava et al. 2017, section 5.2; Lin et al. 2018, section 4.2.
    """
    check_labels(labels.reshape(-1), classes=classes, name="the samples' classes")
    number = labels @ classes ** np.arange(labels.shape[1])[::-1]
    _, counts = np.unique(number, return_counts=True)
    shares = counts / len(labels)
    return len(counts), float((shares * np.log(shares)).sum() + labels.shape[1] * math.log(classes))
