"""Normal distributions as ellipses."""

import numpy as np
import pytest

from jaxgen.analysis.ellipses import CONFIDENCE, ellipses, project


def random_covariances(n: int, d: int) -> np.ndarray:
    a = np.random.default_rng(0).normal(size=(n, d, d))
    return a @ a.swapaxes(1, 2)


def test_an_ellipse_holds_95_percent_of_its_distribution() -> None:
    cov = np.array([[2.0, 0.8], [0.8, 0.5]])
    x = np.random.default_rng(0).multivariate_normal([0, 0], cov, 100_000)
    inside = np.einsum("ni,ij,nj->n", x, np.linalg.inv(cov), x) < CONFIDENCE**2
    assert abs(inside.mean() - 0.95) < 0.004


def test_two_dimensions_are_left_alone() -> None:
    means, cov = np.random.default_rng(1).normal(size=(5, 2)), random_covariances(5, 2)
    for ours, theirs in zip(project(means, cov), (means, cov), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_projections_are_those_of_samples() -> None:
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    # The means lie in a plane: its axes are the principal ones.
    coordinates = rng.normal(size=(30, 2)) * [3, 1]
    means, cov = 0.7 + coordinates @ basis[:2], random_covariances(30, 4)
    flat, flat_cov = project(means, cov)
    # Distances in the plane are kept, and what is seen of a covariance is its restriction to the plane.
    distances = np.linalg.norm(means[:, None] - means[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat[None], axis=-1), distances, atol=1e-9)
    within = basis[:2] @ cov @ basis[:2].T
    np.testing.assert_allclose(np.linalg.eigvalsh(flat_cov), np.linalg.eigvalsh(within), rtol=1e-8)
    # And the direction that spreads the means most is the first.
    assert flat[:, 0].var() > flat[:, 1].var()


@pytest.mark.parametrize("tilt", [0.0, 0.6, -0.6])
def test_an_ellipse_is_drawn_where_its_distribution_is(tilt: float) -> None:
    cov = np.array([[1.0, tilt], [tilt, 0.6]])
    image = ellipses(np.zeros((1, 2)), cov[None], np.array([3]), 40, size=400)  # of 40 classes there is no legend
    assert image.shape == (400, 400, 3)
    assert image.min() >= 0
    assert image.max() <= 1
    seen = np.argwhere(image[::-1].min(-1) < 0.99)[:, ::-1]  # (x, y), y upwards
    # The square is 1.1 times as wide as the ellipse, which has an area of pi r^2 sqrt(det).
    pixels = 400 / (2.2 * CONFIDENCE * np.sqrt(np.diag(cov)).max())
    assert len(seen) / pixels**2 == pytest.approx(np.pi * CONFIDENCE**2 * np.sqrt(np.linalg.det(cov)), rel=0.03)
    # A uniform ellipse of radius r sigma has the covariance r^2 / 4 Sigma.
    np.testing.assert_allclose(np.cov(seen.T) / pixels**2 * 4 / CONFIDENCE**2, cov, atol=0.05)


def test_classes_have_their_colours() -> None:
    means, cov = np.array([[-4.0, 0.0], [4.0, 0.0]]), np.array([np.eye(2)] * 2)
    image = ellipses(means, cov, np.array([0, 1]), 2)
    left, right = image[300:, :300], image[300:, 340:]
    # The first colour is a blue, the second an orange, inside and around.
    assert (left[..., 2] - left[..., 0]).max() > 0.3
    assert (right[..., 0] - right[..., 2]).max() > 0.3
    assert (left[..., 0] - left[..., 2]).max() < 0.02
    assert (right[..., 2] - right[..., 0]).max() < 0.02


def test_what_lies_behind_is_drawn_upright() -> None:
    means, cov = np.array([[-1.0, -1.0], [1.0, 1.0]]), np.array([np.eye(2) * 1e-4] * 2)
    image = ellipses(means, cov, np.array([0, 1]), 2, shade=lambda z: (z[:, 1] > 0).astype(np.float32))
    # Dark is large, and large is above.
    assert image[100:250, 50:300].mean() < image[400:550, 50:300].mean() - 0.2


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_any_number_of_classes_and_a_degenerate_distribution(classes: int) -> None:
    image = ellipses(np.zeros((3, 2)), np.zeros((3, 2, 2)), np.array([0, 1, classes - 1]), classes)
    assert np.isfinite(image).all()
