"""The Parzen-window estimate against sums that are written out, and on MNIST against what the literature found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gaussian_kde, multivariate_normal, norm

from jaxgen import data
from jaxgen.metrics import parzen

RNG = np.random.default_rng(0)
POINTS, SAMPLES = RNG.normal(size=(23, 3)), RNG.normal(size=(31, 3)) * 2


@pytest.mark.parametrize("sigma", [0.1, 1.0])
@pytest.mark.parametrize(("rows", "columns"), [(10, 7), (256, 4096)])
def test_it_is_the_mixtures_density(sigma: float, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parzen, "ROWS", rows)
    monkeypatch.setattr(parzen, "COLUMNS", columns)
    density = np.mean([multivariate_normal(y, sigma**2).pdf(POINTS) for y in SAMPLES], axis=0)
    assert (density > 0).all()
    np.testing.assert_allclose(parzen.log_density(POINTS, SAMPLES, sigma), np.log(density), rtol=1e-8)


def test_on_a_line_it_is_scipys_kernel_density() -> None:
    x, y = POINTS[:, 0], SAMPLES[:, 0]
    theirs = gaussian_kde(y, bw_method=0.3 / y.std(ddof=1)).logpdf(x)
    np.testing.assert_allclose(parzen.log_density(x[:, None], y[:, None], 0.3), theirs, rtol=1e-8)


@given(sigma=st.floats(0.01, 10), d=st.sampled_from([1, 784]), seed=st.integers(0, 100))
@settings(max_examples=20)
def test_one_sample_is_one_gaussian_however_far(sigma: float, d: int, seed: int) -> None:
    """Where the density itself underflows: thousands of standard deviations off."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4, d)) * 10, rng.normal(size=(1, d))
    np.testing.assert_allclose(parzen.log_density(x, y, sigma), norm.logpdf(x, y, sigma).sum(1), rtol=1e-9)
    np.testing.assert_allclose(parzen.log_density(x, np.repeat(y, 4, 0), sigma), norm.logpdf(x, y, sigma).sum(1), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_the_width_is_chosen_on_the_validation_set_and_counted_on_the_test() -> None:
    validation, test = RNG.normal(size=(40, 3)) * 2, RNG.normal(size=(40, 3))
    found = parzen.estimate(SAMPLES, validation, test)
    means = [parzen.log_density(validation, SAMPLES, s).mean() for s in np.logspace(-1, 0, 10)]
    assert found.sigma == pytest.approx(np.logspace(-1, 0, 10)[int(np.argmax(means))])
    values = parzen.log_density(test, SAMPLES, found.sigma)
    assert found.mean == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(40))
    only = parzen.estimate(SAMPLES, validation, test, sigmas=[0.5])
    assert only.sigma == 0.5
    assert only.mean != found.mean


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_the_widest_choice_is_best_for_few_samples_and_the_narrowest_for_copies() -> None:
    assert parzen.estimate(SAMPLES[:1], POINTS, POINTS).sigma == 1
    assert parzen.estimate(POINTS, POINTS, POINTS).sigma == pytest.approx(0.1)
    assert parzen.estimate(POINTS, POINTS, 5 * SAMPLES).sigma == pytest.approx(0.1)  # the test set chooses nothing


def test_what_has_no_density_is_refused_and_one_point_has_no_error() -> None:
    with pytest.raises(ValueError, match="above 0; got 0"):
        parzen.log_density(POINTS, SAMPLES, 0.0)
    assert parzen.estimate(SAMPLES, POINTS, POINTS[:1], sigmas=[0.5]).error is None


@pytest.mark.slow
def test_on_mnist_the_centres_of_k_means_are_preferred_to_the_data(shared: str) -> None:
    """Theis et al. 2016, table 1: 243 for the data and 313 for the centres, which is why the estimate ranks no models.

    10,000 of the first 50,000 training images, and the 10,000 centres of these; the width is chosen on 1,000 of the rest.
    """
    from sklearn.cluster import MiniBatchKMeans

    train, test = (data.load("mnist", split, data_dir=shared) for split in ("train", "test"))
    pixels = lambda source, indices: source.gather(indices)["image"].reshape(len(indices), -1).astype(np.float32) / 255
    order = np.random.default_rng(0).permutation(train.length)
    known, validation = pixels(train, order[:50_000]), pixels(train, order[50_000:51_000])
    points = pixels(test, np.arange(test.length))
    of_data = parzen.estimate(known[:10_000], validation, points)
    k_means = MiniBatchKMeans(10_000, init="random", batch_size=10_000, max_iter=10, n_init=1, random_state=0).fit(known)
    of_centres = parzen.estimate(k_means.cluster_centers_, validation, points)
    print(f"data {of_data}, k-means {of_centres}")
    assert of_data.mean == pytest.approx(243, abs=10)
    assert of_centres.mean > of_data.mean + 30
