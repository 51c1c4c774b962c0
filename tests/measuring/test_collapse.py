"""The diversity of samples as an evaluator: which samples and which data, how many, and what there is nothing to find of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import data
from jaxgen.errors import InputError
from jaxgen.measuring import collapse
from jaxgen.metrics.diversity import diversity, spread

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
KEY = jax.random.key(5)


def quiet(items: Any, **_: Any) -> Any:
    return items


def images(x: np.ndarray = IMAGES, **more: np.ndarray) -> data.Source:
    return data.from_arrays({"image": x, **more}, name="mine")


def noise(scale: float, shape: tuple[int, ...] = (4, 4, 1)) -> Any:
    """A sampler whose state is an offset."""
    return lambda state, key, given: state + scale * jax.random.normal(key, (len(given["index"]), *shape))


def found(evaluator: jaxgen.Evaluator, state: Any = 0.0) -> Any:
    return evaluator(state, KEY, quiet)


def test_it_compares_samples_with_data_in_0_1() -> None:
    """Of N(m, s^2) in 16 pixels the distance is 32 s^2, whatever m is, and that of the data twice their variance."""
    real = 2 * np.var(IMAGES.reshape(40, -1) / 255, axis=0, ddof=1).sum()
    for offset in (0.0, 3.0):
        values = found(collapse.evaluator(noise(0.1), images()), offset)
        assert set(values) == {"diversity", "diversity_stderr"}
        assert all(type(value) is float for value in values.values())
        assert values["diversity"] == pytest.approx(32 * 0.1**2 / real, rel=0.05)
    assert found(collapse.evaluator(noise(0.0), images()), 0.7)["diversity"] == 0
    # Bytes and floats in [0, 1] are the same data, and points are as they are.
    as_floats = found(collapse.evaluator(noise(0.1), images(IMAGES / np.float32(255))))
    assert as_floats == pytest.approx(found(collapse.evaluator(noise(0.1), images())), rel=1e-5)
    points = RNG.normal(size=(500, 2)).astype(np.float32)
    source = data.from_arrays({"point": points}, name="points")
    value = found(collapse.evaluator(noise(0.5, (2,)), source, feature="point"))
    assert abs(value["diversity"] - 0.25) < 4 * value["diversity_stderr"] < 0.2


def test_the_samples_are_drawn_in_chunks_with_keys_and_conditions_of_their_own() -> None:
    asked: list[Any] = []

    def sample(state: Any, key: Any, given: Any) -> Any:
        asked.append((given["index"].tolist(), given["label"].tolist()))
        return jax.random.uniform(key, (len(given["index"]), 4, 4, 1)) * given["label"][:, None, None, None]

    conditions = jaxgen.Conditions.of_classes(("a", "b", "c"))
    value = found(collapse.evaluator(sample, images(), conditions=conditions))
    index = [i for rows, _ in asked for i in rows]
    assert index == list(range(256))
    assert [label for _, labels in asked for label in labels] == [i % 3 for i in index]
    drawn = [
        np.asarray(sample(None, jax.random.fold_in(KEY, start), jaxgen.given(64, conditions, start=start)))
        for start in (0, 64, 128, 192)
    ]
    assert len(np.unique(np.concatenate(drawn)[..., 0, 0].round(6))) > 150  # one draw again and again would have 43
    expected = diversity(spread(np.concatenate(drawn)), spread(IMAGES / np.float32(255)))
    assert (value["diversity"], value["diversity_stderr"]) == pytest.approx(expected, rel=1e-6)


def test_the_value_does_not_depend_on_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    many = images(RNG.integers(0, 256, (2000, 4, 4, 1)).astype(np.uint8))
    values = []
    for n in (64, 100, 1000):
        monkeypatch.setattr(collapse, "SAMPLES", n)
        values.append(found(collapse.evaluator(noise(0.2), many)))
    for value in values[:2]:
        assert abs(value["diversity"] - values[2]["diversity"]) < 4 * value["diversity_stderr"]
    assert values[0]["diversity_stderr"] > 2 * values[2]["diversity_stderr"]


def test_there_are_fewer_of_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "LARGEST", 160)
    assert collapse.count(images()) == 10
    drawn = np.asarray(noise(0.2)(0.0, jax.random.fold_in(KEY, 0), jaxgen.given(64)))[:10]
    real = IMAGES[np.linspace(0, 39, 10).astype(int)] / np.float32(255)
    value = found(collapse.evaluator(noise(0.2), images()))["diversity"]
    assert value == pytest.approx(diversity(spread(drawn), spread(real))[0], rel=1e-6)
    monkeypatch.setattr(collapse, "LARGEST", 1)
    assert collapse.count(images()) == 2


def test_the_data_are_read_once_and_evenly_over_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is ordered by class must not be taken for its first class."""
    read: list[Any] = []

    def gather(rows: np.ndarray) -> Any:
        if len(rows) > 1:  # one row tells the shape
            read.append(rows.tolist())
        return whole.gather(rows)

    whole = images(np.repeat(np.arange(4), 10).astype(np.uint8).reshape(40, 1, 1, 1))
    evaluator = collapse.evaluator(noise(0.1, (1, 1, 1)), whole._replace(gather=gather))
    assert read == []
    monkeypatch.setattr(collapse, "SAMPLES", 5)
    assert found(evaluator) == found(evaluator)
    assert read == [[0, 9, 19, 29, 39]]


@pytest.mark.parametrize("rows", [IMAGES[:1], np.repeat(IMAGES[:1], 5, axis=0)], ids=["one", "equal"])
def test_data_without_a_distance_have_no_value(rows: np.ndarray) -> None:
    assert found(collapse.evaluator(noise(0.1), images(rows))) == {}
    assert collapse.against_data(images(rows))(np.zeros((3, 4, 4, 1))) == {}


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="Row 0 of samples holds nan"):
        found(collapse.evaluator(noise(0.1), images()), jnp.nan)


def test_the_alarm_of_a_posterior_has_a_floor_alone() -> None:
    alarm = collapse.of_posterior("test/active", "a longer --warmup")
    assert alarm == jaxgen.Alarm(
        "test/active",
        "the posterior has collapsed to the prior, these latents say nothing of the image; give a longer --warmup.",
        below=1,
        after=1000,
    )
    other = collapse.of_posterior("test/kl", "a lower --beta", below=0.1, after=5)
    assert (other.value, other.below, other.after, other.share) == ("test/kl", 0.1, 5, 0)


def test_the_alarm_rings_below_a_third_of_the_best_and_near_zero() -> None:
    alarm = collapse.of_samples("a lower --learning-rate")
    assert collapse.of_samples("nothing", after=7).after == 7
    assert (alarm.value, alarm.share, alarm.below, alarm.after) == ("test/diversity", 0.3, 0.05, 1000)
    assert alarm.sentence == (
        "the generator has collapsed, its samples are much alike; give a lower --learning-rate; or --keep-every for "
        "checkpoints from before."
    )
