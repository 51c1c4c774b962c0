"""The Inception score against its closed forms and the sums that are written out."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from jaxgen.errors import FewExamplesWarning
from jaxgen.metrics import inception_score

LOGITS = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32) * 2


@pytest.mark.parametrize("splits", [1, 3])
def test_it_is_the_mean_divergence_from_the_marginal(splits: int) -> None:
    p = softmax(LOGITS.astype(np.float64), axis=1)
    expected = [np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in np.split(p, splits)]
    ours = inception_score.score(LOGITS, splits=splits)
    assert ours.mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert ours.std == pytest.approx(np.std(expected), rel=1e-8)


@pytest.mark.parametrize("splits", [4, 7, 8, 11])
def test_unequal_parts_begin_where_the_references_do(splits: int) -> None:
    """openai/improved-gan, inception_score/model.py: `preds[i * n // splits : (i + 1) * n // splits]`."""
    n = 58
    p = softmax(LOGITS[:n].astype(np.float64), axis=1)
    parts = [p[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    expected = [np.exp(np.mean([entropy(row, part.mean(0)) for row in part])) for part in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewExamplesWarning)
        ours = inception_score.score(LOGITS[:n], splits=splits)
    assert ours == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-8)


@pytest.mark.parametrize("rows", [1, 7, 19])
def test_how_many_are_read_at_a_time_does_not_matter(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inception_score.score(LOGITS, splits=2)
    monkeypatch.setattr(inception_score, "ROWS", rows)
    assert inception_score.score(LOGITS, splits=2) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_it_lies_between_one_and_the_number_of_classes(classes: int) -> None:
    sure, one = 1e4 * np.eye(classes), 1e4 * np.eye(classes)[:1]
    assert inception_score.score(sure, splits=1).mean == pytest.approx(classes)
    assert inception_score.score(np.repeat(one, 10, axis=0), splits=1).mean == pytest.approx(1)
    assert inception_score.score(np.zeros((10, classes)), splits=1).mean == pytest.approx(1)


def test_more_parts_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="61 parts need as many samples; got 60"):
        inception_score.score(LOGITS, splits=61)
