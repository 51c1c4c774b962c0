"""The Inception score against its closed forms and the sums that are written out."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from jaxgen.metrics import inception

LOGITS = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32) * 2


def test_it_is_the_mean_divergence_from_the_marginal() -> None:
    p = softmax(LOGITS.astype(np.float64), axis=1)
    parts = np.split(p, 3)
    expected = [np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in parts]
    ours = inception.score([inception.of(part) for part in np.split(LOGITS, 3)])
    assert ours.mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert ours.std == pytest.approx(np.std(expected), rel=1e-8)


def test_batches_do_not_matter() -> None:
    whole = inception.score([inception.of(LOGITS)])
    total = inception.of(LOGITS[:1])
    for part in (LOGITS[1:20], LOGITS[20:21], LOGITS[21:]):
        total = inception.merge(total, inception.of(part))
    assert inception.score([total]).mean == pytest.approx(whole.mean, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_it_lies_between_one_and_the_number_of_classes(classes: int) -> None:
    sure, one = 1e4 * np.eye(classes), 1e4 * np.eye(classes)[:1]
    assert inception.score([inception.of(sure)]).mean == pytest.approx(classes)
    assert inception.score([inception.of(np.repeat(one, 5, axis=0))]).mean == pytest.approx(1)
    assert inception.score([inception.of(np.zeros((5, classes)))]).mean == pytest.approx(1)
