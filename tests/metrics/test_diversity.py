"""Diversity against closed forms, against the mean over all pairs, and at the edge."""

import numpy as np
import pytest

from jaxgen.errors import InputError
from jaxgen.metrics import diversity as module
from jaxgen.metrics.diversity import diversity, spread

RNG = np.random.default_rng(0)


def over_pairs(x: np.ndarray) -> float:
    """The mean squared distance over all pairs of different examples, one pair after another."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    return float(np.mean([((flat[i] - flat[j]) ** 2).sum() for i, j in pairs]))


@pytest.mark.parametrize("shape", [(2, 1), (7, 3), (5, 4, 4, 2)])
def test_it_is_the_mean_over_all_pairs(shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=shape).astype(np.float32)
    assert spread(x).distance == pytest.approx(over_pairs(x), rel=1e-6)


def test_of_gaussians_it_is_twice_the_trace_and_their_ratio_is_known() -> None:
    wide, narrow = np.array([3.0, 1.0, 0.5]), np.array([1.0, 1.0, 0.1])
    data, samples = (spread(RNG.normal(size=(20_000, 3)) * std + 5) for std in (wide, narrow))
    for found, std in ((data, wide), (samples, narrow)):
        assert abs(found.distance - 2 * (std**2).sum()) < 4 * found.stderr
    value, error = diversity(samples, data)
    assert abs(value - (narrow**2).sum() / (wide**2).sum()) < 4 * error < 0.02


@pytest.mark.parametrize("n", [2, 5, 40])
def test_it_does_not_depend_on_the_number_in_expectation(n: int) -> None:
    found = np.array([spread(RNG.normal(size=(n, 2))).distance for _ in range(4000)])
    assert abs(found.mean() - 4) < 4 * found.std() / np.sqrt(len(found))


def test_the_error_is_that_of_repeated_draws() -> None:
    def drawn(scale: float) -> module.Spread:
        return spread(scale * RNG.exponential(size=(200, 3)) ** 0.7)

    for found in (
        np.array([drawn(1.0) for _ in range(500)]),
        np.array([diversity(drawn(1.0), drawn(2.0)) for _ in range(500)]),
    ):
        assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.12)


def test_equal_samples_have_none_and_the_data_have_one() -> None:
    data = RNG.random((50, 8, 8, 1)).astype(np.float32)
    for value in (0.1, 1e6):
        assert spread(np.full((30, 8, 8, 1), value, np.float32)) == (0.0, 0.0)
    assert diversity(spread(np.repeat(data[:1], 20, axis=0)), spread(data)) == (0.0, 0.0)
    assert diversity(spread(data), spread(data))[0] == 1.0
    ratios = []
    for _ in range(300):
        mixed = RNG.permutation(data)
        ratios.append(diversity(spread(mixed[:25]), spread(mixed[25:]))[0])
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / 300**0.5 + 0.01)


def test_modes_that_are_left_out_are_missing_from_it() -> None:
    """Of eight narrow modes on a circle, one alone: next to nothing; two neighbours: sin^2(pi / 8) of the whole."""
    angles = 2 * np.pi * np.arange(8) / 8
    centres = np.stack([np.cos(angles), np.sin(angles)], 1)
    data = spread(np.repeat(centres, 500, axis=0))
    assert data.distance == pytest.approx(2, rel=1e-3)
    two = spread(np.repeat(centres[:2], 500, axis=0))
    assert diversity(two, data)[0] == pytest.approx(np.sin(np.pi / 8) ** 2, rel=2e-3)


def test_neither_the_origin_nor_the_unit_matters() -> None:
    x, y = RNG.random((30, 5)), RNG.random((40, 5)) ** 2
    truth = diversity(spread(x), spread(y))
    assert diversity(spread(255 * x - 3), spread(255 * y + 1000)) == pytest.approx(truth, rel=1e-9)
    whole = np.arange(24, dtype=np.uint8).reshape(6, 4)  # bytes are numbers: no difference wraps
    assert spread(whole[::-1]).distance == spread(whole.astype(np.float64)).distance


def test_large_examples_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(23, 6))
    truth = spread(x)
    for largest in (1, 13, 60):
        monkeypatch.setattr(module, "LARGEST", largest)
        assert spread(x) == pytest.approx(truth, rel=1e-12)


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(InputError, match=r"^A distance takes two examples, and the data are 1; give two or more\.$"):
        spread(np.zeros((1, 3)), "the data")
    with pytest.raises(InputError, match="Row 2 of the data holds nan"):
        spread(np.array([0.0, 1.0, np.nan, np.nan])[:, None], "the data")
    with pytest.raises(InputError, match="Row 0 of samples holds inf"):
        spread(np.array([[np.inf], [0.0]]))
    with pytest.raises(InputError, match="All examples of the data are equal"):
        diversity(spread(np.eye(3)), spread(np.ones((4, 3))))
