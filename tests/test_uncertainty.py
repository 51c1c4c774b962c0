"""Standard errors: of a mean over a split by exact formulas, printed by their digits, and told apart from values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import data, keys, reduction
from jaxgen.evaluate import LARGEST
from jaxgen.measuring.protocol import Measurement, Protocol, error_of_difference
from jaxgen.uncertainty import named, of_share, paired, told

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
@pytest.mark.parametrize("sizes", [[10], [1, 9], [3, 3, 4], [1] * 10, [5, 0, 5]])
def test_moments_of_parts_are_those_of_the_whole(sizes: list[int], offset: float) -> None:
    values = (offset + RNG.normal(size=sum(sizes))).astype(np.float32)
    total = None
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        # Padding, and what it holds, is left out.
        padded, mask = np.append(part, np.nan).astype(np.float32), np.append(np.ones(len(part)), 0)
        own = reduction.moments(jnp.array(padded), jnp.array(mask))
        total = own if total is None else reduction.together(total, own)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(total.mean, exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(total.stderr, exact.std(ddof=1) / np.sqrt(10), rtol=1e-5 if offset == 0 else 0.05)


def test_a_scalar_of_a_batch_and_a_single_example_have_no_error() -> None:
    scalar = reduction.together(reduction.moments(jnp.array(2.0)), reduction.moments(jnp.array(4.0)))
    assert (scalar.mean, scalar.stderr) == (3.0, None)
    assert reduction.moments(jnp.array([2.0])).stderr is None


@pytest.mark.parametrize("size", [1, 7, 50, 64])
def test_an_evaluation_gives_the_standard_error_of_each_mean(size: int) -> None:
    x = RNG.normal(3, 2, size=(50, 4)).astype(np.float32)
    source = data.from_arrays({"x": x})

    def measure(state, batch, key):
        noise = keys.draw(jax.random.normal, keys.per_example(key, batch), (len(batch["x"]),))
        return {"mean": batch["x"].mean(-1), "noisy": batch["x"].mean(-1) + noise, "batch": batch["x"].sum() * 0 + 1.0}

    state = jaxgen.create_state(jax.random.key(1), {"p": jnp.zeros(())}, {}, {})
    found = jaxgen.mean_over(source, measure, batch_size=size)(state, jax.random.key(0), lambda it, **_: it)
    assert set(found) == {"mean", "mean_stderr", "noisy", "noisy_stderr", "batch"}
    exact = x.mean(-1).astype(np.float64)
    assert found["mean"] == pytest.approx(exact.mean(), rel=1e-6)
    assert found["mean_stderr"] == pytest.approx(exact.std(ddof=1) / np.sqrt(50), rel=1e-5)
    assert found["batch"] == 1.0
    # The noise's own part is in the error: the variances add up.
    assert found["noisy_stderr"] == pytest.approx(np.sqrt((exact.var() + 1) / 50), rel=0.3)
    same = jaxgen.mean_over(source, measure, batch_size=13)(state, jax.random.key(0), lambda it, **_: it)
    assert found == pytest.approx(same, rel=1e-5)


@pytest.mark.parametrize(("samples", "size"), [(1, 16), (LARGEST // 4, 4), (10 * LARGEST, 1)])
def test_an_evaluation_with_many_samples_takes_fewer_examples_at_once(samples: int, size: int) -> None:
    """So that a call ends within seconds, and a signal is heard."""
    seen = []

    def measure(state, batch, key):
        seen.append(len(batch["x"]))
        return {"mean": batch["x"]}

    source = data.from_arrays({"x": np.arange(8, dtype=np.float32)})
    evaluator = jaxgen.mean_over(source, measure, batch_size=16, samples=samples)
    state = jaxgen.create_state(jax.random.key(1), {"p": jnp.zeros(())}, {}, {})
    assert evaluator(state, jax.random.key(0), lambda it, **_: it)["mean"] == 3.5
    assert set(seen) == {size}


@pytest.mark.parametrize("error", [2.04, 0.0996, 1.0, 0.00012, 3.7e-7, 950.0, 12345.0, 0.995, 9.96])
def test_a_value_is_told_with_two_digits_of_its_error(error: float) -> None:
    value, shown = told(1234.56789, error).split(" +- ")
    assert float(shown) == pytest.approx(float(f"{error:.1e}"), rel=1e-9)
    place = 10.0 ** (np.floor(np.log10(float(f"{error:.1e}"))) - 1)
    assert abs(float(value) - 1234.56789) <= place / 2 * (1 + 1e-6)
    decimals = [len(text.partition(".")[2]) for text in (value, shown)]
    assert decimals[0] == decimals[1] == max(0, round(-np.log10(place)))


@pytest.mark.parametrize("pair", [(np.nan, 0.1), (1.0, np.nan), (np.inf, np.inf), (1.0, 0.0)])
def test_what_is_not_finite_is_told_as_it_is(pair: tuple[float, float]) -> None:
    assert told(*pair) == f"{pair[0]:.5g} +- {pair[1]:.2g}"


def test_pairs_and_names_are_inverse_and_a_name_alone_is_a_value() -> None:
    pairs = {"nll": (2.0, 0.5), "beta": (1.0, None), "x_stderr": (3.0, None)}
    assert paired(named(pairs)) == pairs
    assert paired({"nll": 1.0}) == {"nll": (1.0, None)}  # a line from before there were errors


@pytest.mark.parametrize(("right", "n"), [(3, 10), (50, 51), (0, 7)])
def test_the_error_of_a_share_is_that_of_zeros_and_ones(right: int, n: int) -> None:
    values = np.arange(n) < right
    assert of_share(right / n, n) == pytest.approx(values.std(ddof=1) / np.sqrt(n))
    assert np.isnan(of_share(1.0, 1))


def test_a_measurement_says_what_its_error_is_of() -> None:
    protocol = Protocol("test/nll", "", "none", "digits", 360, 0, 0, "last")
    assert "90.12 +- 0.35" in str(Measurement(90.1234, protocol, stderr=0.351))
    assert "(no standard error)" in str(Measurement(90.1234, protocol))
    assert "standard deviation 0.5 over the parts" in str(Measurement(90.1, protocol, std=0.5))
    assert error_of_difference(Measurement(1.0, protocol, stderr=0.1), Measurement(2.0, protocol)) is None
