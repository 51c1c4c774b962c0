"""What `experiments.hierarchical_code_prior` is wired to, held against Razavi et al. 2019, section 3.2."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import a_run, make, slow

import experiments.hierarchical_code_prior as module
import jaxgen
from jaxgen import data, objectives
from jaxgen.runs import run

KEY = jax.random.key(3)
SMALL = {"width": 8}
LEVELS = ("top", "bottom")

quiet = lambda items, **_: items


def prior(**flags: Any) -> jaxgen.Experiment:
    return make("hierarchical_code_prior", **SMALL, **flags)


@functools.cache
def begun(labels: bool = False) -> tuple[jaxgen.Experiment, jaxgen.TrainState]:
    experiment = prior(labels=labels)
    return experiment, run.begin(experiment, 0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the sampler is given and what it draws, by name, as arrays."""
    calls: list[dict[str, Any]] = []
    sampler = module.samplers.autoregressive

    def recorded(decoder: Any, key: Any, shape: Any, **options: Any) -> Any:
        codes = sampler(decoder, key, shape, **options)
        arrays = {name: value for name, value in options.items() if name in ("known", "mask")}
        seen = {"codes": codes, "keys": jax.random.key_data(key), **arrays}
        jax.debug.callback(lambda **found: calls.append(jax.tree.map(np.asarray, found)), ordered=True, **seen)
        return codes

    monkeypatch.setattr(module.samplers, "autoregressive", recorded)
    return calls


def book_of(experiment: jaxgen.Experiment) -> tuple[Any, Any]:
    book = experiment.frozen["autoencoder"]
    return book.module, jax.tree.map(jnp.asarray, {"params": book.params, **book.vars})


def encoded(experiment: jaxgen.Experiment, x: Any) -> dict[str, Any]:
    book, variables = book_of(experiment)
    return book.apply(variables, x, method="encode")._asdict()


@pytest.mark.slow
@pytest.mark.slow  # to compile
@pytest.mark.parametrize("labels", [False, slow(True)])
def test_each_player_has_the_likelihood_of_its_level_and_the_bottom_is_given_the_top(labels: bool) -> None:
    experiment, state = begun(labels)
    batch = jax.tree.map(jnp.asarray, data.examples(experiment.splits["test"], 5, data.scale(-0.5, 0.5)))
    codes, label = encoded(experiment, batch["image"]), batch["label"] if labels else None
    total = 0.0
    for level in LEVELS:
        values, aux = experiment.players[level].loss(state.params, state, batch, KEY, train=False)
        model, above = experiment.networks[level].module, codes["top"] if level == "bottom" else None
        expected = -objectives.log_prob(model, state.params, state.vars, codes[level], label, above, name=level)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        np.testing.assert_allclose(aux.metrics["bits_per_code"], expected / math.log(2) / codes[level][0].size, rtol=1e-5)
        total += np.asarray(expected)
    # The two likelihoods together are that of all codes.
    assert total.shape == (5,)
    assert set(experiment.players) == set(LEVELS)
    assert set(state.params) == {"top", "bottom", "autoencoder"}
    assert set(state.ema) == set(LEVELS)


@pytest.mark.slow
def test_the_networks_get_their_flags() -> None:
    flags = {"depth": 3, "residuals": 2, "kernel": 5, "heads": 1, "dropout": 0.3, "bf16": True, "labels": True}
    top, bottom = (prior(**flags).networks[level].module for level in LEVELS)
    for model in (top, bottom):
        assert (model.codes, model.channels, model.width, model.kernel) == (8, 8, 8, 5)
        assert (model.blocks, model.residuals, model.classes, model.dropout) == (3, 2, 10, 0.3)
        assert model.dtype == jnp.bfloat16
    assert (top.attention, top.heads, top.above) == (True, 1, 0)
    assert (bottom.attention, bottom.above, bottom.residuals_above) == (False, 8, 2)


def test_flags_of_sampling_reach_the_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    warp = module.samplers.warp
    monkeypatch.setattr(module.samplers, "warp", lambda **flags: seen.append(flags) or warp(**flags))
    prior(temperature=0.7, top_k=3, top_p=0.9)
    assert seen == [{"temperature": 0.7, "top_k": 3, "top_p": 0.9}]


@pytest.mark.slow
def test_top_codes_are_drawn_first_and_bottom_codes_given_them(drawn: list[dict[str, Any]]) -> None:
    experiment, state = prior(temperature=0.0), begun()[1]
    assert experiment.sample is not None
    images = experiment.sample(state, KEY, jaxgen.given(3))
    jax.effects_barrier()
    top, bottom = (call["codes"] for call in drawn)
    assert (top.shape, bottom.shape) == ((3, 1, 1), (3, 2, 2))
    assert all("known" not in call and len(call["keys"]) == 3 for call in drawn)
    assert not np.array_equal(drawn[0]["keys"], drawn[1]["keys"])
    # At temperature 0 each code is the likeliest one given those before it and, at the bottom, given the top that was drawn.
    for level, codes, told in (("top", top, ()), ("bottom", bottom, (None, jnp.asarray(top)))):
        model = experiment.networks[level].module
        logits = jax.jit(model.apply)({"params": state.params[level]}, jnp.asarray(codes), *told)
        np.testing.assert_array_equal(logits.argmax(-1), codes)
    book, variables = book_of(experiment)
    decoded = book.apply(variables, jnp.asarray(top), jnp.asarray(bottom), method="decode")
    np.testing.assert_allclose(images, np.clip(np.asarray(decoded) + 0.5, 0, 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.slow  # to compile
def test_kept_rows_are_the_upper_ones_of_both_levels_and_variations_keep_the_top(drawn: list[dict[str, Any]]) -> None:
    experiment, state = prior(keep_rows=0.6), begun()[1]
    assert experiment.given is not None
    assert experiment.sample is not None
    assert list(experiment.given.features) == ["image"]
    given = jaxgen.given(32, experiment.given)
    experiment.sample(state, KEY, given)
    picture = experiment.pictures["variations"](state, KEY)
    jax.effects_barrier()
    assert len(drawn) == 6
    codes = encoded(experiment, given["image"] / 255 - 0.5)
    # Of one row 0.6 is one and 0.5 is none; of two rows both are one.
    masks = [[[True]], [[True, True], [False, False]], [[True]], np.zeros((2, 2)), [[False]], [[True, True], [False, False]]]
    for i, (call, mask) in enumerate(zip(drawn, masks, strict=True)):
        np.testing.assert_array_equal(call["mask"], mask)
        np.testing.assert_array_equal(call["known"], codes[LEVELS[i % 2]])
    book, variables = book_of(experiment)
    rows = np.asarray(picture.images).reshape(2, 3, 16, 8, 8, 1)
    np.testing.assert_allclose(rows[:, 0].reshape(32, 8, 8, 1), given["image"] / 255, atol=1e-6)
    for row, (top, bottom) in enumerate((drawn[2:4], drawn[4:6]), start=1):
        decoded = book.apply(variables, jnp.asarray(top["codes"]), jnp.asarray(bottom["codes"]), method="decode")
        np.testing.assert_allclose(rows[:, row].reshape(32, 8, 8, 1), np.clip(decoded + 0.5, 0, 1), atol=1e-5)


def test_a_prior_that_is_told_classes_draws_them_in_turn() -> None:
    experiment = prior(labels=True)
    assert experiment.given is not None
    assert jaxgen.given(12, experiment.given)["label"].tolist() == [*range(10), 0, 1]
    assert prior().given is None


@pytest.mark.slow
def test_the_evaluation_has_both_levels_and_their_references() -> None:
    experiment, state = begun()
    found = {**experiment.evaluators["test"](state, KEY, quiet), **experiment.final["test"](state, KEY, quiet)}
    image = experiment.splits["test"].gather(np.arange(360))["image"] / 255 - 0.5
    for level, codes in encoded(experiment, jnp.asarray(image, jnp.float32)).items():
        p = np.bincount(np.asarray(codes).ravel(), minlength=8) / codes.size
        p = p[p > 0]
        assert found[f"{level}_unigram_bits_per_code"] == pytest.approx(-(p * np.log2(p)).sum(), rel=1e-6)
        assert found[f"{level}_uniform_bits_per_code"] == 3
    bits = found["top_bits_per_code"] + 4 * found["bottom_bits_per_code"]  # a code above four
    assert found["nll"] == pytest.approx(bits * math.log(2), rel=1e-5)
    assert experiment.best == "test/nll"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"top_p": 1.5}, "--top-p is 1.5, and a probability is at most 1"),
        ({"autoencoder": "nowhere"}, r"nowhere holds no run .*; train that run first, or check the path"),
        ({"dataset": "captioned_digits"}, "images of --dataset are 32x32x3, and those of --autoencoder 8x8x1"),
        ({"kernel": 4}, "A causal kernel of 4 has no middle"),
        ({"heads": 3}, "4 channels cannot be cut into 3 heads"),
    ],
)
def test_what_does_not_go_together(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(jaxgen.UserError, match=says):
        jax.eval_shape(prior(**flags).initial, KEY)


def test_a_run_of_one_level_is_for_the_other_prior_and_one_of_two_levels_for_this() -> None:
    with pytest.raises(jaxgen.UserError, match=r"has no two grids of codes; give a run of experiments\.vqvae2"):
        prior(autoencoder=a_run("vqvae"))
    with pytest.raises(jaxgen.UserError, match=r"has two grids of codes; use experiments\.hierarchical_code_prior"):
        make("code_prior", width=8, autoencoder=a_run("vqvae2"))
