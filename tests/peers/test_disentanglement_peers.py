"""The metrics of disentanglement against disentanglement_lib, a checkout of which JAXGEN_DISENTANGLEMENT_LIB names.

JAXGEN_DISENTANGLEMENT_LIB=/path/of/a/checkout pytest -m peers tests/peers/test_disentanglement_peers.py

Its DCI takes the importances of boosted trees and ours those of a forest; what is computed from them is compared.
"""

import functools
from typing import Any

import authors
import numpy as np
import pytest

from jaxgen.metrics.disentanglement import beta_vae, dci, mutual_information_gap, normalised_information

pytestmark = pytest.mark.peers

SIZES = (4, 5, 3)
FACTORS = np.stack(np.meshgrid(*map(np.arange, SIZES), np.arange(20), indexing="ij"), -1).reshape(-1, 4)[:, :3]


def code(factors: np.ndarray, kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    own = (factors - (np.array(SIZES) - 1) / 2) / np.sqrt((np.array(SIZES) ** 2 - 1) / 12)
    mix = {"own": np.eye(3), "rotated": np.linalg.qr(rng.normal(size=(3, 3)))[0], "two of three": np.eye(3)[:, :2]}[kind]
    return np.concatenate([own @ mix, rng.normal(size=(len(factors), 1))], 1)


KINDS = ("own", "rotated", "two of three")


@pytest.mark.parametrize("kind", KINDS)
def test_the_gap(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mig = authors.disentanglement_lib("mig")
    by_histogram = functools.partial(mig.utils._histogram_discretize, num_bins=20)
    monkeypatch.setattr(mig.utils, "make_discretizer", by_histogram)
    codes = code(FACTORS, kind)
    theirs = mig._compute_mig(codes.T, FACTORS.T)["discrete_mig"]
    assert mutual_information_gap(codes, FACTORS) == pytest.approx(theirs, abs=1e-9)
    information = mig.utils.discrete_mutual_info(by_histogram(codes.T), FACTORS.T)
    shares = information / mig.utils.discrete_entropy(FACTORS.T)
    np.testing.assert_allclose(normalised_information(codes, FACTORS), shares, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_disentanglement_and_completeness_of_importances(kind: str) -> None:
    theirs = authors.disentanglement_lib("dci")
    found = dci(code(FACTORS, kind), FACTORS, seed=0, trees=8)
    assert found.disentanglement == pytest.approx(theirs.disentanglement(found.importance), abs=1e-8)
    assert found.completeness == pytest.approx(theirs.completeness(found.importance), abs=1e-8)
    np.testing.assert_allclose(found.completeness_of, theirs.completeness_per_factor(found.importance), atol=1e-8)


class Lattice:
    """Factors as the library draws them: a combination is its own observation."""

    num_factors = 3

    def sample_factors(self, count: int, rng: Any) -> np.ndarray:
        return np.stack([rng.randint(size, size=count) for size in SIZES], 1)

    def sample_observations_from_factors(self, factors: np.ndarray, rng: Any) -> np.ndarray:
        return factors


@pytest.mark.parametrize("kind", KINDS)
def test_the_beta_vae_metric(kind: str) -> None:
    """Of other draws and another regularisation: within the errors of 2,000 answers and what the classifiers differ by."""
    theirs = authors.disentanglement_lib("beta_vae").compute_beta_vae_sklearn(
        Lattice(), lambda x: code(x, kind), np.random.RandomState(0), batch_size=24, num_train=2000, num_eval=2000
    )["eval_accuracy"]
    ours = beta_vae(code(FACTORS, kind), FACTORS, seed=0, train=2000, test=2000, pairs=24)
    assert ours == pytest.approx(theirs, abs=0.04)
