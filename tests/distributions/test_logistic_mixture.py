"""The mixture of discretised logistics: its probabilities, its samples and the order of a decoder's numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal
from scipy import stats

from jaxgen.distributions import LogisticMixture
from jaxgen.nn import LogisticMixtureLikelihood

FEW = np.linspace(-1, 1, 5, dtype=np.float32)
ALL = np.stack(list(itertools.product(FEW, repeat=3)))


def mixture(seed: int, *, levels: int = 256, colours: int = 3, m: int = 2) -> LogisticMixture:
    rng = np.random.default_rng(seed)
    pairs = colours * (colours - 1) // 2
    shapes = [(m,), (colours, m), (colours, m), (pairs, m)]
    logits, loc, log_scale, coefficients = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    return LogisticMixture(logits, loc, log_scale - 1.5, jnp.tanh(coefficients), levels)


@pytest.mark.parametrize("seed", range(3))
def test_the_probabilities_of_a_pixel_sum_to_one(seed: int) -> None:
    few = jax.vmap(mixture(seed, levels=5).log_prob)(ALL)
    assert float(jnp.exp(few).sum()) == pytest.approx(1, abs=1e-5)
    grey = jax.vmap(mixture(seed, colours=1).log_prob)(jnp.linspace(-1, 1, 256)[:, None])
    assert float(jnp.exp(grey).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_the_probabilities_of_a_colour_sum_to_one_over_its_256_levels(colour: int) -> None:
    """Given the colours before it, whatever those are: the sum over a colour is what the pixel has without it."""
    law = mixture(1)
    seen = [0.2, -0.6, 0.9]
    levels = jnp.linspace(-1, 1, 256)
    x = jnp.stack([jnp.full(256, value) for value in seen], -1).at[:, colour].set(levels)[:, : colour + 1]
    cut = law._replace(loc=law.loc[: colour + 1], log_scale=law.log_scale[: colour + 1])
    total = jax.nn.logsumexp(jax.vmap(cut.log_prob)(x))
    before = law._replace(loc=law.loc[:colour], log_scale=law.log_scale[:colour])
    expected = before.log_prob(jnp.array(seen[:colour])) if colour else 0.0
    assert float(total) == pytest.approx(float(expected), abs=1e-5)


def test_log_prob_by_scipy() -> None:
    law = mixture(2)
    logits, loc, log_scale, a = (np.asarray(part, np.float64) for part in law[:4])
    x = np.array([12, 200, 255]) / 127.5 - 1
    share = np.exp(logits) / np.exp(logits).sum()
    shift = np.stack([0 * a[0], a[0] * x[0], a[1] * x[0] + a[2] * x[1]])
    by_colour = []
    for c in range(3):
        ends = [(x[c] + sign / 255 - loc[c] - shift[c]) / np.exp(log_scale[c]) for sign in (1, -1)]
        by_colour.append((1 if c == 2 else stats.logistic.cdf(ends[0])) - stats.logistic.cdf(ends[1]))  # the last one is white
    expected = np.log((share * np.prod(by_colour, 0)).sum())
    assert float(law.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(expected, rel=1e-4)


def test_samples_follow_the_probabilities() -> None:
    law = mixture(3, levels=5)
    n = 20_000
    many = law._replace(**{name: jnp.broadcast_to(part, (n, *part.shape)) for name, part in list(law._asdict().items())[:4]})
    drawn = np.asarray(jax.jit(lambda law, key: law._replace(levels=5).sample(key))(many, jax.random.key(0)))
    index = np.rint((drawn + 1) * 2).astype(int) @ [25, 5, 1]
    found = np.bincount(index, minlength=125)
    expected = n * np.exp(np.asarray(jax.vmap(law.log_prob)(ALL), np.float64))
    rare = expected < 5
    found, expected = (np.append(values[~rare], values[rare].sum()) for values in (found, expected))
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 0.001
    # With a key for each example, its own draw.
    own = jax.random.split(jax.random.key(1), 6)
    head = many._replace(**{name: part[:6] for name, part in list(many._asdict().items())[:4]})
    part = head._replace(**{name: part[2:4] for name, part in list(head._asdict().items())[:4]})
    np.testing.assert_array_equal(part.sample(own[2:4]), head.sample(own)[2:4])


def test_the_mean_is_that_of_the_samples() -> None:
    law = mixture(4)
    # Within the levels' ends, so that these do not count.
    law = law._replace(loc=0.2 * law.loc, log_scale=law.log_scale - 3)
    many = law._replace(
        **{name: jnp.broadcast_to(part, (20_000, *part.shape)) for name, part in list(law._asdict().items())[:4]}
    )
    drawn = many.sample(jax.random.key(0))
    np.testing.assert_allclose(law.mean, drawn.mean(0), atol=0.01)


def test_the_order_of_a_decoders_numbers() -> None:
    head = LogisticMixtureLikelihood(2)
    assert (head.numbers(1), head.numbers(3)) == (6, 20)
    assert LogisticMixtureLikelihood(10).numbers(3) == 100
    raw = normal(1, 2, 2, 20)
    law = head(raw)
    assert [part.shape for part in law[:4]] == [(1, 2, 2, 2), *[(1, 2, 2, 3, 2)] * 3]
    np.testing.assert_array_equal(law.logits, raw[..., :2])
    np.testing.assert_array_equal(law.loc[..., 1, 0], raw[..., 4])
    np.testing.assert_array_equal(law.log_scale[..., 0, 1], raw[..., 9])
    np.testing.assert_allclose(law.coefficients[..., 2, 1], np.tanh(raw[..., 19]), rtol=1e-6)
    assert float(head(jnp.full((1, 1, 1, 6), -100.0)).log_scale.min()) == -7
    assert head(normal(1, 2, 2, 6)).loc.shape == (1, 2, 2, 1, 2)
    assert law.log_prob(jnp.zeros((1, 2, 2, 3))).shape == (1, 2, 2)
