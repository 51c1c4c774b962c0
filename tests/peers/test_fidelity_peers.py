"""The metrics of features against torch-fidelity's, on the same features, answers and subsets."""

import fidelity
import numpy as np
import pytest

from jaxgen.metrics import frechet, inception_score, kernel, neighbours

torch_fidelity = fidelity.load()

import torch  # noqa: E402  (skipped above where it is not installed)
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc  # noqa: E402

pytestmark = pytest.mark.peers


def features(n: int, d: int, seed: int) -> np.ndarray:
    """Correlated and non-negative, as after the Inception network's last pooling, with means of about 0.4."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(9).normal(size=(d, d)) / np.sqrt(d)
    return np.abs(rng.normal(size=(n, d)) @ mix * (0.5 + 0.05 * seed)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")  # the formula is compared, not the sample size
@pytest.mark.parametrize(("n", "d"), [(2000, 64), (300, 512)])
def test_frechet_distance(n: int, d: int) -> None:
    """The second with fewer examples than dimensions, so that both covariances are singular."""
    a, b = features(n, d, 0), features(n - 100, d, 1)
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    ours = frechet.distance(frechet.moments(a, rows=700), frechet.moments(b, rows=700))
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")  # the formula is compared, not the sample size
def test_inception_score() -> None:
    logits = np.random.default_rng(0).normal(size=(2003, 1008)).astype(np.float32) * 2  # ten parts of unequal size
    theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=True, rng_seed=2020)
    shuffled = logits[np.random.RandomState(2020).permutation(len(logits))]
    ours = inception_score.score(shuffled)
    assert ours.mean == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-5)
    assert ours.std == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_STD], rel=1e-5)


@pytest.mark.parametrize("d", [64, 2048])
def test_kernel_distance(d: int) -> None:
    a, b = features(1200, d, 0), features(1100, d, 1)
    options = {"kid_subsets": 5, "kid_subset_size": 300, "rng_seed": 2020, "verbose": False}
    # In float64: theirs are matrix products in the features' own precision.
    theirs = metric_kid.kid_features_to_metric(*(torch.from_numpy(x).double() for x in (a, b)), **options)
    rng = np.random.RandomState(2020)
    drawn = [[rng.choice(n, 300, replace=False) for n in (1200, 1100)] for _ in range(5)]
    ours = kernel.distance(a, b, *(np.stack([pair[i] for pair in drawn]) for i in range(2)))
    assert ours.mean == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert ours.std == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_STD], rel=1e-6)


@pytest.mark.parametrize("save_cpu_ram", [False, True])
@pytest.mark.parametrize("d", [64, 2048])
def test_precision_and_recall(d: int, save_cpu_ram: bool) -> None:
    # The samples are narrower, and some are elsewhere: neither share is 0 or 1.
    rng = np.random.default_rng(5)
    real = rng.normal(size=(900, d)).astype(np.float32)
    fake = (rng.normal(size=(700, d)) * 0.97 + (rng.random((700, 1)) < 0.2) * 0.5).astype(np.float32)
    options = {"prc_neighborhood": 3, "prc_batch_size": 250, "save_cpu_ram": save_cpu_ram, "verbose": False}
    theirs = metric_prc.prc_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), **options)
    ours = neighbours.manifolds(real, fake, k=3)
    assert 0.02 < ours.precision < 0.98
    assert 0.02 < ours.recall < 0.98
    assert ours.precision == pytest.approx(theirs[metric_prc.KEY_METRIC_PRECISION], abs=1e-5)
    assert ours.recall == pytest.approx(theirs[metric_prc.KEY_METRIC_RECALL], abs=1e-5)
