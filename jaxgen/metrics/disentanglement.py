"""Disentanglement: whether each coordinate of a code follows one factor of variation, of data whose factors are known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgen.metrics import probe
from jaxgen.metrics.inputs import check_finite, check_labels, warn_few


class DCI(NamedTuple):
    """The result of `dci`.

    Fields:
      disentanglement: the degree to which a coordinate depends on one factor alone: 1 if it does, 0 if on all factors alike. A
        coordinate that depends on none does not count, and a code of such coordinates, a constant one for instance, has 0.
      completeness: the degree to which one coordinate alone gives a factor, from 0 to 1; 0 for a factor that none gives.
      informativeness: share of the held-out examples whose factor is predicted, averaged over the factors. An empty code has
        the share of guessing, which is not 0.
      importance: the importance of each coordinate for each factor, `[d, k]`, columns that sum to 1, or are 0 where none has
        any.
      completeness_of: the completeness of each factor, `[k]`.
      accuracy_of: share of the held-out examples whose factor is predicted, for each factor, `[k]`.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray
    completeness_of: np.ndarray
    accuracy_of: np.ndarray


class BetaVAE(NamedTuple):
    """The result of `beta_vae_by_factor`.

    Fields:
      accuracy: share of the points whose factor is recognised.
      accuracy_of: the same for the points of each factor, `[k]`; nan for a factor without a point.
    """

    accuracy: float
    accuracy_of: np.ndarray


def beta_vae(
    codes: Float[np.ndarray, "n d"],
    factors: Int[np.ndarray, "n k"],
    *,
    seed: int,
    train: int = 10_000,
    test: int = 5_000,
    pairs: int = 64,
) -> float:
    r"""The beta-VAE metric: accuracy of a classifier that says from the codes which factor pairs of examples share.

    A point is $\frac 1 L \sum_l |z_l - z'_l|$ over L pairs of examples that have one factor j in common, and its label is j:
    the coordinates of that factor differ little. A linear classifier is fitted to such points and asked about others.

    Args:
      codes: the codes of the examples: the means of an encoder.
      factors: the values of the examples' factors, as integers. The examples should cover all combinations evenly.
      seed: the seed of the draws.
      train: points that the classifier is fitted to.
      test: points that it is asked about.
      pairs: the number of pairs L.

    Returns:
      The accuracy in [0, 1]; 1 / k is chance.

    Raises:
      ValueError: if there are fewer than two factors, or one has one value alone or a negative one (withheld), or a code is
        not finite.

    Source: Higgins et al. 2017, section 3 and algorithm 1.
    """
    return beta_vae_by_factor(codes, factors, seed=seed, train=train, test=test, pairs=pairs).accuracy


def beta_vae_by_factor(
    codes: Float[np.ndarray, "n d"],
    factors: Int[np.ndarray, "n k"],
    *,
    seed: int,
    train: int = 10_000,
    test: int = 5_000,
    pairs: int = 64,
) -> BetaVAE:
    """The beta-VAE metric with the accuracy for each factor; arguments and errors are those of `beta_vae`.

    A code of some factors alone can have a high mean: a factor that is in no coordinate is recognised because no other is.
    """
    _check(codes, factors)
    warn_few(_lonely(factors))
    rng = np.random.default_rng(seed)
    # The examples of each value of each factor, one value after another.
    orders = [np.argsort(column, kind="stable") for column in factors.T]
    groups = [np.unique(column, return_inverse=True, return_counts=True)[1:] for column in factors.T]

    def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
        shared = rng.integers(factors.shape[1], size=number)
        points = np.empty((number, codes.shape[1]))
        for j, (order, (value, count)) in enumerate(zip(orders, groups, strict=True)):
            for at in np.flatnonzero(shared == j):
                one = rng.integers(len(codes), size=pairs)
                start = np.cumsum(count) - count
                other = order[start[value[one]] + rng.integers(count[value[one]])]
                points[at] = np.abs(codes[one] - codes[other]).mean(0)
        return points, shared

    known, (points, shared) = draw(train), draw(test)
    right = probe.classes_of(*known, points) == shared
    counts = np.bincount(shared, minlength=factors.shape[1])
    with np.errstate(invalid="ignore"):
        return BetaVAE(float(right.mean()), np.bincount(shared, right, factors.shape[1]) / counts)


def mutual_information_gap(codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], *, bins: int = 20) -> float:
    r"""MIG, $\frac 1 K \sum_k \frac 1 {H(v_k)} (I(z_{j(k)}; v_k) - \max_{j \ne j(k)} I(z_j; v_k))$, j(k) being the best.

    The codes are cut into bins of equal width between the smallest and the largest; the informations are those of the counts,
    which are biased upward by about bins times values over 2 n.

    Args:
      codes: the codes of the examples: the means of an encoder.
      factors: the values of the examples' factors, as integers.
      bins: the number of bins for each coordinate; 20 by convention.

    Returns:
      The gap in [0, 1]: 0 if two coordinates are equally informative of each factor, or none is informative.

    Raises:
      ValueError: if there are fewer than two factors, or one has one value alone or a negative one (withheld), or a code is
        not finite.

    Warns:
      FewExamplesWarning: if there are fewer examples than bins times values of a factor.

    >>> v = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (10, 1))
    >>> mutual_information_gap(v.astype(float), v), mutual_information_gap(v[:, [0, 0]].astype(float), v)
    (1.0, 0.0)

    Source: Chen et al. 2018, equation 6; the bins are those of Locatello et al. 2019.
    """
    return float(np.mean(information_gaps(normalised_information(codes, factors, bins=bins))))


def information_gaps(information: Float[np.ndarray, "d k"]) -> Float[np.ndarray, " k"]:
    """The gap of each factor: the largest of its column less the second largest, or less 0 where there is one row alone.

    Args:
      information: the information of each coordinate about each factor, as a share of the factor's entropy.

    >>> information_gaps(np.array([[0.9, 0.1], [0.3, 0.1]])).round(2).tolist()
    [0.6, 0.0]
    """
    padded = np.concatenate([information, np.zeros((1, information.shape[1]))])
    second, first = np.sort(padded, axis=0)[-2:]
    return first - second


def normalised_information(
    codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], *, bins: int = 20
) -> Float[np.ndarray, "d k"]:
    r"""The information $I(z_i; v_j) / H(v_j)$ of each coordinate about each factor, as `mutual_information_gap` computes it.

    Arguments, errors and warnings are those of `mutual_information_gap`.

    >>> v = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (10, 1))
    >>> normalised_information(v.astype(float), v).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _check(codes, factors)
    values = max(len(np.unique(column)) for column in factors.T)
    if len(codes) < bins * values:
        warn_few(f"{len(codes):,} examples for {bins} bins times {values} values of a factor, too few for a mutual information")
    low, width = codes.min(0), np.ptp(codes, axis=0)
    cut = np.clip(((codes - low) / np.where(width > 0, width, 1.0) * bins).astype(np.int64), 0, bins - 1)
    own = [_entropy(np.bincount(z)) for z in cut.T]
    columns = []
    for column in factors.T:
        value = np.unique(column, return_inverse=True)[1]
        entropy = _entropy(np.bincount(value))
        # I(z; v) = H(z) + H(v) - H(z, v).
        joint = [_entropy(np.bincount(z * (value.max() + 1) + value)) for z in cut.T]
        columns.append([(h + entropy - both) / entropy for h, both in zip(own, joint, strict=True)])
    return np.array(columns).T


def dci(
    codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], *, seed: int, trees: int = 50, held_out: float = 0.25
) -> DCI:
    r"""Disentanglement, completeness and informativeness, by what decision trees make of the code.

    Of the importances $R_{ij}$ of coordinate i for factor j, with $P_{ij} = R_{ij} / \sum_j R_{ij}$ and
    $\tilde P_{ij} = R_{ij} / \sum_i R_{ij}$: $D = \sum_i \rho_i (1 - H_K(P_{i \cdot}))$ with $\rho_i \propto \sum_j R_{ij}$,
    and $C = \frac 1 K \sum_j (1 - H_D(\tilde P_{\cdot j}))$, the logarithms being to the base of the number of terms.

    Args:
      codes: the codes of the examples: the means of an encoder.
      factors: the values of the examples' factors, as integers.
      seed: the seed of the split and of the trees.
      trees: the number of trees of a random forest for each factor, each split of which looks at all coordinates: a forest that
        is shown a few at a time finds importance in coordinates that have none.
      held_out: share of the examples that informativeness is counted on.

    Returns:
      All three; they depend on the trees and on n: say both.

    Raises:
      ValueError: if there are fewer than two factors, or one has one value alone or a negative one (withheld), or a code is
        not finite.

    Source: Eastwood & Williams 2018, section 2.
    """
    from sklearn.ensemble import RandomForestClassifier

    _check(codes, factors)
    warn_few(_lonely(factors))
    order = np.random.default_rng(seed).permutation(len(codes))
    test, train = np.split(order, [max(1, round(held_out * len(codes)))])
    importance, accuracy = [], []
    for column in factors.T:
        forest = RandomForestClassifier(trees, max_features=None, random_state=seed).fit(codes[train], column[train])
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(codes[test], column[test]))
    matrix = np.stack(importance, 1)
    weight = matrix.sum(1) / (matrix.sum() or 1.0)
    disentanglement = float(weight @ [_unevenness(row) for row in matrix])
    completeness = np.array([_unevenness(column) for column in matrix.T])
    right = np.array(accuracy)
    return DCI(disentanglement, float(completeness.mean()), float(right.mean()), matrix, completeness, right)


def report(
    codes: Float[np.ndarray, "n d"],
    factors: Int[np.ndarray, "n k"],
    names: Sequence[str],
    *,
    seed: int,
    most: int = 10_000,
) -> dict[str, float]:
    """All three metrics with their conventional settings, and those of each factor.

    Args:
      codes: the codes of the examples: the means of an encoder.
      factors: the values of the examples' factors, as integers.
      names: the names of the factors.
      seed: the seed of the draws.
      most: the largest number of examples that MIG and DCI are computed of, chosen by the seed; 10,000 in Locatello et al.
        2019.

    Returns:
      `beta_vae`, `mig`, `disentanglement`, `completeness` and `informativeness`; and `beta_vae_shape`, `mig_shape` and
      `informativeness_shape` of a factor `shape`, the accuracies and the gap of this factor alone.

    >>> v = np.array([[i, j] for i in range(2) for j in range(3)] * 40)
    >>> found = report(v + 0.0, v, ("one", "two"), seed=0)
    >>> found["mig"] > 0.99, found["informativeness_two"]
    (True, 1.0)
    """
    votes = beta_vae_by_factor(codes, factors, seed=seed)
    some = np.random.default_rng(seed).permutation(len(codes))[:most]
    gaps = information_gaps(normalised_information(codes[some], factors[some]))
    trees = dci(codes[some], factors[some], seed=seed)
    found = {"beta_vae": votes.accuracy, "mig": float(gaps.mean()), "disentanglement": trees.disentanglement}
    found |= {"completeness": trees.completeness, "informativeness": trees.informativeness}
    for name, *values in zip(names, votes.accuracy_of, gaps, trees.accuracy_of, strict=True):
        found |= {f"{kind}_{name}": float(x) for kind, x in zip(("beta_vae", "mig", "informativeness"), values, strict=True)}
    return found


def _check(codes: np.ndarray, factors: np.ndarray) -> None:
    check_finite(codes=codes)
    if len(codes) != len(factors):
        raise ValueError(f"each example has a code and factors; got {len(codes)} codes and {len(factors)} rows of factors")
    for j, column in enumerate(factors.T):
        check_labels(column, name=f"the values of factor {j}")
    if factors.shape[1] < 2:
        raise ValueError(f"factors are told apart from two on; got {factors.shape[1]}")
    for j, column in enumerate(factors.T):
        if (column == column[0]).all():
            raise ValueError(f"factor {j} has the value {column[0]} alone, of which no code can tell; leave it out")


def _lonely(factors: np.ndarray) -> str | None:
    """The warning about a value of a factor that has one example alone; None if there is none."""
    for j, column in enumerate(factors.T):
        values, count = np.unique(column, return_counts=True)
        if count.min() < 2:
            return f"of factor {j} the value {values[count.argmin()]} has one example alone, which nothing can be told from"
    return None


def _entropy(counts: np.ndarray) -> float:
    """The entropy, in nats, of shares that are in proportion to the counts."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _unevenness(importance: np.ndarray) -> float:
    """The unevenness of importances: 1 if one term has all, 0 if all have the same, or none has any."""
    if not importance.sum() > 0:
        return 0.0
    return 1 - _entropy(importance) / np.log(len(importance)) if len(importance) > 1 else 1.0
