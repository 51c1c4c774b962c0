"""Sampling grids of integers against the exact law of a small model, all of whose grids are enumerated."""

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parameters import filled
from scipy.special import log_softmax, softmax
from scipy.stats import chisquare

from jaxgen import samplers
from jaxgen.errors import InputError
from jaxgen.models.autoregressive import GatedPixelCNN, TransformerPrior

K, DRAWS = 3, 8000
GRIDS = jnp.array(list(itertools.product(range(K), repeat=4)), jnp.int32).reshape(81, 2, 2)
PIXELCNN = GatedPixelCNN(K, 4, dilations=(1,), first_kernel=3, embedding=4)
TRANSFORMER = TransformerPrior(K, (2, 2), width=8, depth=1, heads=2)
MODELS = pytest.mark.parametrize("model", [PIXELCNN, TRANSFORMER], ids=["pixelcnn", "transformer"])


@functools.cache
def trained(model: nn.Module, classes: int = 0) -> tuple[nn.Module, Any, np.ndarray]:
    """A model whose logits depend much on codes and classes and less on biases, and the logits of all grids by class."""
    model = model.clone(classes=classes)
    told = [jnp.full(81, c) for c in range(classes)]
    variables = filled(model, GRIDS, *told[:1])
    scales = {"embedding": 4.0, "kernel": 2.0, "bias": 0.2}
    variables = jax.tree_util.tree_map_with_path(lambda path, p: scales.get(path[-1].key, 1.0) * p, variables)
    logits = [jax.jit(model.apply)(variables, GRIDS, *label) for label in ([(c,) for c in told] or [()])]
    return model, {"model": variables["params"]}, np.stack(logits).astype(np.float64).reshape(-1, 81, 4, K)


def log_law(logits: np.ndarray) -> np.ndarray:
    """The terms log p(x_i | x_1 ... x_{i-1}) of every grid, `[81, 4]`."""
    return np.take_along_axis(log_softmax(logits, -1), np.asarray(GRIDS).reshape(81, 4, 1), -1)[..., 0]


@functools.partial(jax.jit, static_argnames=("model", "warp"))
def draw(model: nn.Module, params: Any, key: jax.Array, known: Any, mask: Any, label: Any, warp: Any) -> jax.Array:
    decoder = samplers.decoder_of(model, params, {}, label=label)
    return samplers.autoregressive(decoder, key, (DRAWS, 2, 2), known=known, mask=mask, warp=warp)


def drawn(
    model: nn.Module, params: Any, *, known: Any = None, mask: Any = None, label: Any = None, warp: Any = None
) -> np.ndarray:
    return np.asarray(draw(model, params, jax.random.key(0), known, mask, label, warp))


def assert_drawn_from(law: np.ndarray, codes: np.ndarray) -> None:
    """A chi-square test of the grids' frequencies; grids that are expected less than five times are taken together."""
    numbers = codes.reshape(len(codes), 4) @ K ** np.arange(4)[::-1]
    counts, expected = np.bincount(numbers, minlength=81), len(codes) * law
    assert np.isclose(law.sum(), 1, atol=1e-6)
    assert not counts[law == 0].any()
    rare = expected < 5
    counts, expected = (np.append(a[~rare], a[rare].sum()) for a in (counts, expected))
    if expected[-1] == 0:
        counts, expected = counts[:-1], expected[:-1]
    if len(expected) > 1:
        assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


@MODELS
def test_the_probabilities_of_all_grids_add_up_to_one_and_are_the_frequencies(model: nn.Module) -> None:
    model, params, logits = trained(model)
    law = np.exp(log_law(logits[0]).sum(1))
    assert law.sum() == pytest.approx(1, abs=1e-5)
    assert law.max() > 5 * np.median(law)
    assert_drawn_from(law, drawn(model, params))


@MODELS
def test_grids_of_a_class_are_drawn_from_the_law_of_the_class(model: nn.Module) -> None:
    model, params, logits = trained(model, 2)
    codes = drawn(model, params, label=jnp.arange(DRAWS) % 2)
    laws = [np.exp(log_law(own).sum(1)) for own in logits]
    assert np.abs(laws[0] - laws[1]).sum() > 0.3
    for c, law in enumerate(laws):
        assert_drawn_from(law, codes[c::2])


def consistent(known: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return ((np.asarray(GRIDS) == known) | ~mask).all((1, 2))


@MODELS
def test_a_known_beginning_is_completed_from_the_exact_conditional_law(model: nn.Module) -> None:
    model, params, logits = trained(model)
    law = np.exp(log_law(logits[0]).sum(1))
    for mask in (np.array([[True, False], [False, False]]), np.array([[True, True], [True, False]])):
        known = np.array([[2, 0], [1, 2]])
        conditional = np.where(consistent(known, mask), law, 0)
        codes = drawn(model, params, known=jnp.broadcast_to(known, (DRAWS, 2, 2)), mask=jnp.array(mask))
        assert_drawn_from(conditional / conditional.sum(), codes)


def test_where_known_codes_come_after_unknown_ones_only_those_before_a_code_count() -> None:
    model, params, logits = trained(TRANSFORMER)
    terms, known, mask = log_law(logits[0]), np.array([[2, 0], [1, 2]]), np.array([[False, True], [False, True]])
    there = consistent(known, mask)
    law = np.where(there, np.exp(terms[:, ~mask.ravel()].sum(1)), 0)
    codes = drawn(model, params, known=jnp.broadcast_to(known, (DRAWS, 2, 2)), mask=jnp.array(mask))
    assert_drawn_from(law, codes)
    # Weighed by the known codes' probabilities it would be the conditional law, which it is not.
    weighed, conditional = law * np.exp(terms[:, mask.ravel()].sum(1)), np.where(there, np.exp(terms.sum(1)), 0)
    np.testing.assert_allclose(weighed / weighed.sum(), conditional / conditional.sum())
    assert np.abs(law - conditional / conditional.sum()).sum() > 0.1


def test_each_grid_may_have_a_mask_of_its_own_and_a_grid_that_is_known_stays_as_it_is() -> None:
    model, params, _ = trained(TRANSFORMER)
    known = jnp.asarray(np.random.default_rng(0).integers(0, K, (DRAWS, 2, 2)), jnp.uint8)
    mask = jnp.asarray(np.random.default_rng(1).random((DRAWS, 2, 2)) < 0.5)
    codes = drawn(model, params, known=known, mask=mask)
    np.testing.assert_array_equal(codes[mask], known[mask])
    assert (codes[~mask] != np.asarray(known)[~mask]).any()
    np.testing.assert_array_equal(drawn(model, params, known=known, mask=jnp.ones((2, 2), bool)), known)
    decoder = samplers.decoder_of(model, params, {})
    for part in ({"known": known}, {"mask": mask}):
        with pytest.raises(InputError, match="give both, or neither"):
            samplers.autoregressive(decoder, jax.random.key(0), (DRAWS, 2, 2), **part)


def test_after_a_known_number_that_is_no_code_nothing_is_made_up() -> None:
    model, params, _ = trained(PIXELCNN)
    known = jnp.array([[0, K], [0, 0]])
    codes = drawn(model, params, known=jnp.broadcast_to(known, (DRAWS, 2, 2)), mask=known == K)
    assert set(np.unique(codes[:, 0, 0])) == set(range(K))
    assert (codes[:, 1] == -1).all()


WARPS = {
    "temperature": (samplers.warp(temperature=0.5), lambda p: p**2),
    "hot": (samplers.warp(temperature=4.0), lambda p: p**0.25),
    "top_k": (samplers.warp(top_k=2), lambda p: np.where(p == p.min(-1, keepdims=True), 0, p)),
    "top_p": (samplers.warp(top_p=1e-6), lambda p: np.where(p == p.max(-1, keepdims=True), p, 0)),
    "greedy": (samplers.warp(temperature=0.0), lambda p: np.where(p == p.max(-1, keepdims=True), p, 0)),
    "both": (samplers.warp(temperature=0.5, top_k=2), lambda p: np.where(p == p.min(-1, keepdims=True), 0, p**2)),
}


@pytest.mark.parametrize("name", WARPS)
def test_grids_are_drawn_from_the_law_of_the_changed_probabilities(name: str) -> None:
    ours, by_hand = WARPS[name]
    model, params, logits = trained(TRANSFORMER)
    p = by_hand(softmax(logits[0], -1))
    p = p / p.sum(-1, keepdims=True)
    law = np.take_along_axis(p, np.asarray(GRIDS).reshape(81, 4, 1), -1)[..., 0].prod(1)
    assert_drawn_from(law, drawn(model, params, warp=ours))


def test_a_grid_that_has_a_key_of_its_own_does_not_depend_on_the_others() -> None:
    model, params, _ = trained(PIXELCNN)
    own = jax.random.split(jax.random.key(1), 6)
    decoder = samplers.decoder_of(model, params, {})
    run = jax.jit(lambda keys: samplers.autoregressive(decoder, keys, (len(keys), 2, 2)))
    together = run(own)
    np.testing.assert_array_equal(together, jnp.concatenate([run(own[i : i + 2]) for i in (0, 2, 4)]))
    assert (together != run(own[::-1])).any()


@MODELS
def test_the_program_is_one_loop_whatever_the_number_of_positions(model: nn.Module) -> None:
    def products(h: int) -> int:
        own = model if isinstance(model, GatedPixelCNN) else model.clone(grid=(h, 3))
        shapes = jax.eval_shape(own.init, jax.random.key(0), jnp.zeros((1, h, 3), jnp.int32))

        def run(params: Any, key: jax.Array) -> jax.Array:
            return samplers.autoregressive(samplers.decoder_of(own, {"model": params}, {}), key, (2, h, 3))

        text = jax.jit(run).lower(shapes["params"], jax.random.key(0)).as_text()
        return text.count("stablehlo.dot_general") + text.count("stablehlo.convolution")

    assert products(2) == products(7) > 0


VALUES = st.floats(-8, 8, width=32) | st.integers(-4, 4).map(float)  # the integers are often equal
LOGITS = st.sampled_from([1, 4, 9]).flatmap(lambda n: st.lists(VALUES, min_size=n, max_size=n))  # each length is compiled


@settings(max_examples=60)
@given(values=LOGITS, p=st.floats(0.01, 1))
def test_the_nucleus_is_the_smallest_set_of_the_likeliest_codes_with_so_much_mass(values: list[float], p: float) -> None:
    logits = np.array(values, np.float32)
    found = np.asarray(samplers.top_p(jnp.array(logits), p))
    kept, mass = np.isfinite(found), softmax(np.float64(logits))
    np.testing.assert_array_equal(found[kept], logits[kept])
    assert (found[~kept] == -np.inf).all()
    assert mass[kept].sum() >= p - 1e-6
    if p < 1:
        assert mass[kept].sum() - mass[kept].min() < p + 1e-6  # without the least likely it is too little
        assert (kept.sum() == 1) or mass[kept].min() >= mass[~kept].max(initial=0)
    else:
        assert kept.all()


@settings(max_examples=60)
@given(values=LOGITS, n=st.integers(1, 10))
def test_the_likeliest_codes_are_left_and_never_more(values: list[float], n: int) -> None:
    logits = np.array(values, np.float32)
    found = np.asarray(samplers.top_k(jnp.array(logits), n))
    kept = np.isfinite(found)
    assert kept.sum() == min(n, len(logits))
    np.testing.assert_array_equal(found[kept], logits[kept])
    assert logits[kept].min() >= logits[~kept].max(initial=-np.inf)


@settings(max_examples=60)
@given(values=LOGITS, t=st.floats(0.1, 10))
def test_a_temperature_is_a_power_of_the_probabilities(values: list[float], t: float) -> None:
    p = softmax(np.float64(values)) ** (1 / t)
    found = softmax(np.float64(samplers.temperature(jnp.array(values, jnp.float32), t)))
    np.testing.assert_allclose(found, p / p.sum(), rtol=1e-4, atol=1e-6)


def test_rows_of_logits_are_changed_each_by_itself() -> None:
    logits = jnp.array(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    for change in (samplers.warp(temperature=0.0), samplers.warp(temperature=2.0, top_k=3, top_p=0.7)):
        rows = jnp.stack([change(row) for row in logits.reshape(6, 5)]).reshape(2, 3, 5)
        np.testing.assert_array_equal(change(logits), rows)
    np.testing.assert_array_equal(samplers.warp()(logits), logits)
    # The least temperatures tend to the likeliest code.
    cold = softmax(np.float64(samplers.temperature(logits, 1e-3)), -1)
    np.testing.assert_allclose(cold, softmax(np.float64(samplers.temperature(logits, 0.0)), -1), atol=1e-6)


def test_what_leaves_no_code_is_refused() -> None:
    for change, value in ((samplers.temperature, -0.1), (samplers.top_k, 0), (samplers.top_p, 0.0), (samplers.top_p, 1.1)):
        with pytest.raises(InputError, match=r"give|at most"):
            change(jnp.zeros(3), value)
    with pytest.raises(InputError, match="temperature of nan"):
        samplers.temperature(jnp.zeros(3), float("nan"))
