"""Inputs at the edge, over all metrics: not finite, withheld, constant, alone, far from zero, too few."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import UserError, data
from jaxgen.errors import FewExamplesWarning
from jaxgen.measuring import images, measure
from jaxgen.measuring.features import Extractor, Outputs
from jaxgen.metrics import (
    calibration,
    disentanglement,
    frechet,
    inception_score,
    inputs,
    kernel,
    ms_ssim,
    parzen,
    probe,
    retrieval,
    sliced_wasserstein,
    transport,
    zero_shot,
)
from jaxgen.metrics.diversity import spread
from jaxgen.metrics.modes import modes

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 4)) + 0.3
LABELS = np.arange(60) % 3
FACTORS = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], 1)
P = RNG.dirichlet(np.ones(3), 60)
ROWS = np.arange(60)
quiet = lambda x, **_: x

OF_NUMBERS: dict[str, Callable[[np.ndarray], Any]] = {
    "frechet": frechet.moments,
    "kernel, first": lambda x: kernel.distance(x, Y, ROWS[None, :30], ROWS[None, :30]),
    "kernel, second": lambda x: kernel.distance(Y, x, ROWS[None, :30], ROWS[None, :30]),
    "score": lambda x: inception_score.score(x, splits=2),
    "wasserstein": lambda x: transport.wasserstein(x, Y),
    "sinkhorn": lambda x: transport.sinkhorn_divergence(Y, x, epsilon=1.0),
    "sliced": lambda x: sliced_wasserstein.sliced(Y, x, projections=3, seed=0),
    "parzen, points": lambda x: parzen.log_density(x, Y, 0.5),
    "parzen, samples": lambda x: parzen.log_density(Y, x, 0.5),
    "linear": lambda x: probe.linear(x, LABELS, Y, LABELS),
    "nearest": lambda x: probe.nearest(Y, LABELS, x, LABELS, k=3),
    "beta_vae": lambda x: disentanglement.beta_vae(x, FACTORS, seed=0, train=50, test=50, pairs=4),
    "mig": lambda x: disentanglement.mutual_information_gap(x, FACTORS),
    "dci": lambda x: disentanglement.dci(x, FACTORS, seed=0, trees=3),
    "calibration": lambda x: calibration.reliability(x[:, :3], LABELS),
    "diversity": spread,
}


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused(name: str, bad: float) -> None:
    x = X.copy()
    x[17, 2] = bad
    with pytest.raises((UserError, ValueError), match=r"probabilities; mend|Row 17 of .* holds (nan|inf)"):
        OF_NUMBERS[name](x)


def test_floats_of_images_that_are_not_finite_are_refused() -> None:
    pictures = RNG.random((4, 32, 32, 1)).astype(np.float32)
    pictures[2, 3, 3] = np.nan
    with pytest.raises(UserError, match="The image of mine has values that are not finite, first in example 2"):
        images.of_arrays(pictures, name="mine")


def test_traced_metrics_of_what_is_not_finite_are_nan() -> None:
    x = jnp.asarray(X).at[3, 1].set(jnp.nan)
    assert np.isnan(np.array(modes(x, jnp.zeros((2, 4)), 1.0))).all()
    assert np.isnan(retrieval.recall(x @ x.T, jnp.eye(60, dtype=bool), 1)[3])
    assert np.isnan(zero_shot.correct(x, jnp.eye(4)[:3], jnp.asarray(LABELS))[3])


@pytest.mark.parametrize("metrics", [["frechet"], ["precision_recall"], ["two_sample"], ["wasserstein"]])
@pytest.mark.parametrize("broken", ["real", "fake"])
def test_an_extractor_that_gives_nan_is_told_with_set_and_example(metrics: list[str], broken: str) -> None:
    def apply(x: Any) -> Outputs:
        out = x.reshape(len(x), -1)[:, :3].astype(jnp.float32)
        out = jnp.where(out == 255, jnp.nan, out)
        return Outputs(out, out)

    sets = {name: RNG.integers(0, 200, (30, 2, 2, 1)).astype(np.uint8) for name in ("real", "fake")}
    sets[broken][21, 0, 1] = 255
    real, fake = (images.of_arrays(sets[name], name=f"set {name}") for name in ("real", "fake"))
    role = {"real": "the real images, set real,", "fake": "the samples, set fake,"}[broken]
    with pytest.raises(UserError, match=f"Example 21 of {role} has features"):
        measure.measure(real, fake, metrics, extractor=Extractor("odd", "1", "none", apply), track=quiet)


OF_LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "calibration": lambda y: calibration.reliability(P, y),
    "linear, training": lambda y: probe.linear(X, y, X, LABELS),
    "linear, test": lambda y: probe.linear(X, LABELS, X, y),
    "nearest": lambda y: probe.nearest(X, LABELS, X, y, k=3),
    "factors": lambda y: disentanglement.mutual_information_gap(X, np.stack([y, LABELS], 1)),
    "classification_accuracy": lambda y: measure.measure(
        images.of_arrays(np.zeros((60, 8, 8, 1), np.uint8), LABELS),
        images.of_arrays(np.zeros((60, 8, 8, 1), np.uint8), y),
        ["classification_accuracy"],
        settings={"steps": 1},
        track=quiet,
    ),
}


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_withheld_label_is_refused(name: str) -> None:
    with pytest.raises((UserError, ValueError), match="are withheld"):
        OF_LABELS[name](np.where(ROWS == 5, -1, LABELS))


def test_a_set_without_public_labels_is_refused_where_labels_are_used() -> None:
    def of(label: np.ndarray) -> data.Source:
        made = data.from_arrays({"image": np.zeros((60, 2, 2, 1), np.uint8), "label": label}, name="hidden test")
        return made._replace(classes={"label": ("a", "b", "c")})

    assert data.common_classes("label", of(LABELS)) == ("a", "b", "c")
    for label, sentence in (
        (np.full(60, -1), "labels of hidden test are withheld: 60 of 60"),
        (LABELS + 1, "hidden test has the label 3, and its classes are 0 to 2"),
        (LABELS / 2, "is float64"),
        (np.eye(3, dtype=int)[LABELS], "not one whole number"),
    ):
        with pytest.raises(UserError, match=sentence):
            data.common_classes("label", of(LABELS), of(label))


def test_constant_codes_tell_nothing() -> None:
    constant = np.full((60, 3), 0.1)
    found = disentanglement.dci(constant, FACTORS, seed=0, trees=3)
    assert found[:2] == (0, 0)
    assert not found.importance.any()
    assert disentanglement.mutual_information_gap(constant, FACTORS, bins=5) == 0
    assert 0.2 < disentanglement.beta_vae(constant, FACTORS, seed=0, train=100, test=100, pairs=4) < 0.8
    with pytest.raises(ValueError, match="factor 0 has"):
        disentanglement.dci(X, FACTORS * [0, 1], seed=0)


def test_constant_sets_have_the_distances_of_their_definition() -> None:
    one, two = np.full((9, 2), 0.1), np.full((9, 2), 0.4)
    assert frechet.distance(frechet.moments(one), frechet.moments(two)) == pytest.approx(0.18)
    assert kernel.mmd(one, one, np.arange(9), np.arange(9)) == pytest.approx(0, abs=1e-12)
    assert transport.wasserstein(one, two) == pytest.approx(np.sqrt(0.18))
    assert sliced_wasserstein.sliced(one, one, projections=3, seed=0) == 0
    grey = np.full((3, 32, 32, 1), 77, np.uint8)
    np.testing.assert_allclose(ms_ssim.ms_ssim(grey, grey, scales=2), 1, atol=1e-5)
    table = calibration.reliability(np.ones((40, 1)), np.zeros(40, int))
    assert calibration.expected_error(table) == 0


def test_one_example_is_refused_where_two_are_needed() -> None:
    one = X[:1]
    with pytest.raises(ValueError, match="needs two examples"):
        frechet.distance(frechet.moments(one), frechet.moments(X))
    with pytest.raises(ValueError, match="two examples of each set"):
        kernel.mmd(one, X, np.arange(1), np.arange(60))
    with pytest.raises(ValueError, match="none"):
        parzen.log_density(X, X[:0], 1.0)
    with pytest.raises(ValueError, match="one point or more"):
        transport.wasserstein(X[:0], X)


def test_the_score_of_sure_and_of_impossible_answers() -> None:
    with np.errstate(divide="ignore"):
        logits = np.log(np.eye(3)[LABELS])
    assert inception_score.score(logits, splits=2).mean == pytest.approx(3)
    with pytest.raises(ValueError, match="give no probabilities"):
        inception_score.score(np.full((10, 3), -np.inf), splits=1)


def test_numbers_far_from_zero_are_as_those_near_it() -> None:
    """1e6 and noise in float32, against float64 about zero of the same numbers."""
    a, b = ((x + 1e6).astype(np.float32) for x in (X, Y))
    near = [x.astype(np.float64) - 1e6 for x in (a, b)]
    assert frechet.distance(frechet.moments(a), frechet.moments(b)) == pytest.approx(
        frechet.distance(*(frechet.moments(x) for x in near)), rel=1e-6
    )
    assert transport.wasserstein(a, b) == pytest.approx(transport.wasserstein(*near), rel=1e-6)
    assert sliced_wasserstein.sliced(a, b, projections=20, seed=0) == pytest.approx(
        sliced_wasserstein.sliced(*near, projections=20, seed=0), rel=1e-4
    )
    far, close = parzen.log_density(a, b, 0.5), parzen.log_density(*near, 0.5)
    np.testing.assert_allclose(far, close, atol=0.02)


FEW: dict[str, tuple[Callable[[], Any], str]] = {
    "frechet": (lambda: frechet.distance(frechet.moments(X[:4]), frechet.moments(X)), "of 4 examples in 4 dimensions"),
    "kernel": (lambda: kernel.distance(X, X, *[np.stack([ROWS, ROWS])] * 2), "every subset of 60 is the whole set"),
    "score": (lambda: inception_score.score(np.zeros((20, 5)), splits=10), "parts of 2 samples .* 5 classes"),
    "calibration": (lambda: calibration.expected_error(calibration.reliability(P[:4], LABELS[:4])), "answers in . bins"),
    "mig": (lambda: disentanglement.mutual_information_gap(X[:8], FACTORS[:8]), "8 examples for 20 bins times 2"),
    "dci": (lambda: disentanglement.dci(X[:5], np.stack([np.arange(5), FACTORS[:5, 0]], 1), seed=0, trees=2), "factor 0"),
    "ms_ssim": (
        lambda: ms_ssim.diversity(RNG.integers(0, 256, (3, 16, 16, 1)).astype(np.uint8), pairs=9, seed=0, scales=1),
        "9 pairs are drawn of 3 images, which have 3",
    ),
    "parzen": (lambda: parzen.estimate(X, Y, Y, sigmas=(0.01, 0.02)), "at the edge, 0.02"),
    "sliced": (
        lambda: sliced_wasserstein.of_patches(*[{16: RNG.normal(size=(20, 7, 7, 1))}] * 2, seed=0),
        "20 patches of 49 numbers",
    ),
}


@pytest.mark.parametrize("name", FEW)
def test_too_few_examples_are_told(name: str) -> None:
    metric, sentence = FEW[name]
    with pytest.warns(FewExamplesWarning, match=sentence):
        metric()


def test_a_measurement_carries_its_caution_and_the_warning_comes_before() -> None:
    real, fake = (images.of_arrays(RNG.integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)) for _ in range(2))
    with pytest.warns(FewExamplesWarning, match="12 examples in 16 dimensions") as told:
        found = measure.measure(real, fake, ["frechet", "two_sample"], track=quiet)
    assert len(told) == 1
    assert "12 examples in 16 dimensions" in found["frechet_pixels"].caution
    assert "few examples: the Fréchet distance of 12" in str(found["frechet_pixels"])
    assert found["two_sample_pixels"].caution == ""
    with pytest.warns(FewExamplesWarning):
        measure.check(measure.Plan(real, 12, False, measure.pixels()), ["frechet"])


def test_pixels_are_compared_as_the_bytes_that_they_are() -> None:
    """Bytes over 255 round, so that equal distances would not be equal."""
    a, b = (17 * RNG.integers(0, 3, (80, 3, 3, 1)) for _ in range(2))
    found = measure.measure(*(images.of_arrays(x.astype(np.uint8)) for x in (a, b)), ["precision_recall"], track=quiet)
    u, v = (x.reshape(80, -1).astype(np.int64) for x in (a, b))
    d = lambda a, b: np.stack([((b - x) ** 2).sum(1) for x in a])
    across = d(u, v)
    assert found["precision_pixels"].value == (across <= np.sort(d(u, u), 1)[:, 3][:, None]).any(0).mean()
    assert found["recall_pixels"].value == (across <= np.sort(d(v, v), 1)[:, 3]).any(1).mean()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_samples_exactly_on_the_edge_of_a_mode_are_of_high_quality(k: int) -> None:
    for std in (0.1, 0.05, 0.3):
        centres = jnp.array([[0.7, 0.1], [100.0, 100.0]])
        edge = centres[:1] + jnp.array([[3 * std, 0.0], [0.0, 3 * std], [0.0, -3 * std], [-3 * std, 0.0]]) * k / 3
        assert modes(edge, centres, std * k / 3).high_quality == 1
        assert modes(edge, centres, 0.999 * std * k / 3).high_quality == 0


def test_perfect_vectors_recall_all_whatever_the_duplicates() -> None:
    captions = ["A dog", "a  DOG", "a dog ", "A cat", "a cat", "a bird", "A cat"]
    picture = retrieval.groups(np.array([0, 1, 2, 3, 3, 4, 0])[:, None])
    text = retrieval.groups(captions)
    assert text.tolist() == [2, 2, 2, 1, 1, 0, 1]
    by_text, by_picture = retrieval.relevant(picture, text), retrieval.relevant(text, picture)
    np.testing.assert_array_equal(by_text, by_picture.T)
    by_hand = [[any(picture[i] == picture[m] and text[m] == text[j] for m in range(7)) for j in range(7)] for i in range(7)]
    np.testing.assert_array_equal(by_text, by_hand)
    for query, _, right in ((picture, text, by_text), (text, picture, by_picture)):
        told = np.array([[right[(query == q).argmax(), j] for j in range(7)] for q in query])
        oracle = jnp.asarray(told, jnp.float32)
        np.testing.assert_array_equal(retrieval.recall(oracle, jnp.asarray(right), 1), 1)


def test_similarities_that_rounding_parts_are_ties() -> None:
    near = jnp.array([[0.7, 0.7 + 6e-8, 0.7 - 6e-8, 0.2]])
    right = jnp.array([[True, False, False, False]])
    assert retrieval.recall(near, right, 1)[0] == pytest.approx(1 / 3, abs=1e-6)


def test_neighbours_on_a_level_share_the_vote() -> None:
    train, labels = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]]), np.array([0, 1, 1, 1, 0])
    x = np.array([[2.0, 0.0]])
    assert probe.nearest(train, labels, x, np.array([1]), k=1) == 1
    assert probe.nearest(train, labels, x, np.array([0]), k=2) == 0
    assert probe.nearest(train[:2], labels[:2], x, np.array([0]), k=1) == 0.5


def test_finite_checks_see_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "ROWS", 7)
    for row in (0, 6, 7, 59):
        x = X.copy()
        x[row, 0] = -np.inf
        assert inputs.first_not_finite(x) == row
    assert inputs.first_not_finite(X) is None
    assert inputs.first_not_finite(LABELS) is None


def test_the_command_line_says_it_in_a_line_and_beside_the_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jaxgen.commands.main import main

    for name in ("real", "fake"):
        np.save(tmp_path / f"{name}.npy", RNG.integers(0, 256, (12, 4, 4, 1)).astype(np.uint8))
    out = tmp_path / "out.json"
    main(["measure", str(tmp_path / "real.npy"), str(tmp_path / "fake.npy"), "--metrics", "frechet", "--json", str(out)])
    printed = capsys.readouterr()
    assert printed.err.count("Warning: Few examples: the Fréchet distance of 12 examples in 16 dimensions") == 1
    assert "[few examples: the Fréchet distance of 12" in printed.out
    assert "12 examples in 16 dimensions" in json.loads(out.read_text())["measurements"]["frechet_pixels"]["caution"]
