"""Metrics of nearest neighbours in a feature space: precision and recall, density and coverage, a two-sample test."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from jaxgen.metrics import distances
from jaxgen.metrics.inputs import is_finite, warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show


class Manifolds(NamedTuple):
    r"""The result of `manifolds`, for samples against real examples.

    Fields:
      precision: share of the samples that lie in the real manifold.
      recall: share of the real examples that lie in the samples' manifold.
      density: the density $\frac{1}{k m} \sum_j \#\{i : y_j \in B_k(x_i)\}$, which an outlier's large ball raises less than
        precision; may be above 1.
      coverage: share of the real examples whose ball holds a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(real: Num[np.ndarray, "n d"], fake: Num[np.ndarray, "m d"], *, k: int, track: Track = show) -> Manifolds:
    r"""Precision and recall, density and coverage, with balls $B_k$ to the k-th nearest neighbour in the own set.

    A ball is closed: what is exactly as far from its centre as the k-th neighbour lies inside, for all four. Precision and
    recall are so in their authors' code (`<=`). The code of density and coverage has `<`, with which a set would not cover its
    own copy where more than k of its examples are equal. Distances are compared exactly (`jaxgen.metrics.distances`), so
    that ties and duplicates count as such.

    Args:
      real: features of real examples; may be memory-mapped, since one block of them is read at a time.
      fake: features of samples.
      k: the convention is 3 for precision and recall, 5 for density and coverage.
      track: a function that shows the progress.

    Returns:
      All four; nan if a feature is not finite.

    Raises:
      ValueError: if a set has no k-th neighbour.

    Warns:
      FewExamplesWarning: if a set has fewer than 4 k examples.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, equations 1 and 2.
    """
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(f"a {k}-th neighbour needs {k + 1} examples; got {len(real)} and {len(fake)}")
    if not (is_finite(real) and is_finite(fake)):
        return Manifolds(np.nan, np.nan, np.nan, np.nan)
    warn_few(caution(min(len(real), len(fake)), k))
    space = distances.space(real, fake)
    real_radius, fake_radius = (distances.kth(x, x, k, space, description="radii of balls", track=track) for x in (real, fake))
    of_fake, covered, recalled = distances.within(
        real, fake, real_radius, fake_radius, space, description="balls that hold samples", track=track
    )
    return Manifolds(
        float((of_fake > 0).mean()),
        float(recalled.mean()),
        float(of_fake.sum() / (k * len(fake))),
        float(covered.mean()),
    )


def caution(n: int, k: int) -> str | None:
    """The warning about balls to the k-th neighbour among n examples, if they are few; else None."""
    if n >= 4 * k:
        return None
    return f"balls to the {k}-th of {n:,} examples hold more than a quarter of them: precision, recall and coverage are high"


def two_sample(real: Num[np.ndarray, "n d"], fake: Num[np.ndarray, "m d"], *, track: Track = show) -> tuple[float, float]:
    """Leave-one-out accuracy of the nearest neighbour as a classifier of samples and real examples: 1/2 is chance.

    Where the nearest other example of the own set and the nearest of the other set are equally far, the answer is a guess and
    counts 1/2.

    Args:
      real: features of real examples.
      fake: features of as many samples.
      track: a function that shows the progress.

    Returns:
      The accuracy on the real ones and on the samples: low on the real ones alone says that modes are copied, low on both
      that the samples are the data. Both are nan if a feature is not finite.

    Raises:
      ValueError: if their numbers differ, with which chance would not be 1/2, or there are fewer than two of each.

    Source: Lopez-Paz & Oquab 2017; Xu et al. 2018, section 2.
    """
    if len(real) != len(fake):
        raise ValueError(f"as many samples as real examples are wanted; got {len(fake)} and {len(real)}")
    if len(real) < 2:
        raise ValueError(f"a nearest other example needs two of each set; got {len(real)}")
    if not (is_finite(real) and is_finite(fake)):
        return np.nan, np.nan
    space = distances.space(real, fake)

    def accuracy(own: np.ndarray, other: np.ndarray) -> float:
        to_own, to_other = (
            distances.kth(own, y, k, space, description="nearest neighbours", track=track) for y, k in ((own, 1), (other, 0))
        )
        return float(np.where(to_own == to_other, 0.5, to_own < to_other).mean())

    return accuracy(real, fake), accuracy(fake, real)
