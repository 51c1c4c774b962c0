"""The confusion matrix of images."""

import numpy as np

from jaxgen.analysis.confusion import confusions


def test_cells_hold_the_surest_mistake_and_the_least_sure_right_answer() -> None:
    # Image n is all n / 10.
    images = np.broadcast_to(np.arange(7, dtype=np.float32)[:, None, None, None] / 10, (7, 2, 3, 1))
    label = np.array([0, 0, 0, 0, 1, 1, 2])
    p = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.3, 0.7, 0], [0, 0.8, 0.2], [0.9, 0.1, 0], [0, 0.5, 0.5]])
    cells = confusions(images, label, p, classes=3)
    assert cells.shape == (9, 2, 3, 1)
    np.testing.assert_allclose(cells[:, 0, 0, 0].reshape(3, 3), [[0.1, 0.2, 1], [0.5, 0.4, 1], [1, 0.6, 1]], rtol=1e-6)
    np.testing.assert_array_equal(cells, np.broadcast_to(cells[:, :1, :1], cells.shape))
    np.testing.assert_array_equal(confusions(images, label, p, classes=2), cells[[0, 1, 3, 4]])
