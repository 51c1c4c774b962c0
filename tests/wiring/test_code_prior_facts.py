"""What `experiments.code_prior` is wired to, held against van den Oord et al. 2017, section 3.3."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import a_run, make, slow

import experiments.code_prior as module
import jaxgen
from jaxgen import data, objectives
from jaxgen.runs import run

KEY = jax.random.key(3)
QUIET: dict[str, Any] = {"track": lambda x, **_: x}
SMALL = {"width": 8, "depth": 1}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """How the sampler is called: its arguments by name, as shapes and constants."""
    calls: list[dict[str, Any]] = []
    sampler = module.samplers.autoregressive

    def recorded(decoder: Any, key: Any, shape: Any, **options: Any) -> Any:
        calls.append({"shape": shape, "keys": key.shape, **options})
        return sampler(decoder, key, shape, **options)

    monkeypatch.setattr(module.samplers, "autoregressive", recorded)
    return calls


def encoded(experiment: jaxgen.Experiment, x: Any) -> Any:
    book = experiment.frozen["autoencoder"]
    variables = jax.tree.map(jnp.asarray, {"params": book.params, **book.vars})
    return book.module.apply(variables, x, method="encode")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pixelcnn", "transformer", slow("pixelsnail")])
@pytest.mark.parametrize("labels", [False, True])
def test_the_loss_is_the_likelihood_of_the_frozen_runs_codes(network: str, labels: bool) -> None:
    experiment = make("code_prior", **SMALL, network=network, labels=labels)
    state = run.begin(experiment, 0)
    batch = jax.tree.map(jnp.asarray, data.examples(experiment.splits["test"], 5, data.scale(-0.5, 0.5)))
    values, aux = experiment.players["model"].loss(state.params, state, batch, KEY, train=False)
    model = experiment.networks["model"].module
    label = batch["label"] if labels else None
    codes = encoded(experiment, batch["image"])
    expected = -objectives.log_prob(model, state.params, state.vars, codes, label)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["bits_per_code"], expected / math.log(2) / codes[0].size, rtol=1e-5)


def test_the_network_gets_its_flags() -> None:
    model: Any = make("code_prior", width=8, depth=4, dropout=0.3, bf16=True).networks["model"].module
    assert (model.codes, model.channels, model.dilations, model.head) == (8, 8, (1, 2, 1, 4), 32)
    assert (model.dropout, model.classes, model.dtype) == (0.3, 0, jnp.bfloat16)
    model = make("code_prior", width=16, depth=3, heads=4, network="pixelsnail", labels=True).networks["model"].module
    assert (model.codes, model.channels, model.width, model.blocks, model.residuals, model.heads) == (8, 16, 16, 3, 2, 4)
    assert (model.classes, model.attention, model.above) == (10, True, 0)
    model = make("code_prior", width=8, depth=2, heads=4, network="transformer", labels=True).networks["model"].module
    assert (model.codes, model.grid, model.width, model.depth, model.heads, model.classes) == (8, (2, 2), 8, 2, 4, 10)


def test_the_frozen_network_is_no_players_and_the_codes_are_no_parameters() -> None:
    experiment = make("code_prior", **SMALL)
    state = run.begin(experiment, 0)
    assert set(experiment.players) == {"model"}
    assert set(state.params) == {"model", "autoencoder"}
    assert set(state.ema) == {"model"}


def test_flags_of_sampling_reach_the_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    warp = module.samplers.warp
    monkeypatch.setattr(module.samplers, "warp", lambda **flags: seen.append(flags) or warp(**flags))
    make("code_prior", **SMALL, temperature=0.7, top_k=3, top_p=0.9)
    assert seen == [{"temperature": 0.7, "top_k": 3, "top_p": 0.9}]


def test_samples_are_decoded_and_each_has_a_key_of_its_own(drawn: list[dict[str, Any]]) -> None:
    experiment = make("code_prior", **SMALL)
    state = run.begin(experiment, 0)
    assert experiment.sample is not None
    images = experiment.sample(state, KEY, jaxgen.given(6))
    assert (drawn[0]["shape"], drawn[0]["keys"], drawn[0]["known"]) == ((6, 2, 2), (6,), None)
    assert images.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(images[:2], experiment.sample(state, KEY, jaxgen.given(2)), atol=1e-6)
    # At temperature 0 nothing is drawn.
    cold = make("code_prior", **SMALL, temperature=0.0)
    assert cold.sample is not None
    np.testing.assert_allclose(*(cold.sample(state, jax.random.key(i), jaxgen.given(3)) for i in (1, 2)), atol=1e-6)


@pytest.mark.slow
def test_the_upper_rows_of_given_images_are_kept(drawn: list[dict[str, Any]]) -> None:
    experiment = make("code_prior", **SMALL, keep_rows=0.5)
    state = run.begin(experiment, 0)
    assert experiment.given is not None
    assert experiment.sample is not None
    assert list(experiment.given.features) == ["image"]
    given = jaxgen.given(4, experiment.given)
    with jax.disable_jit():
        experiment.sample(state, KEY, given)
    np.testing.assert_array_equal(drawn[0]["mask"], [[True, True], [False, False]])
    np.testing.assert_array_equal(drawn[0]["known"], encoded(experiment, given["image"] / 255 - 0.5))


def test_a_prior_that_is_told_classes_draws_them_in_turn() -> None:
    experiment = make("code_prior", **SMALL, labels=True)
    assert experiment.given is not None
    assert jaxgen.given(12, experiment.given)["label"].tolist() == [*range(10), 0, 1]
    assert make("code_prior", **SMALL).given is None


def test_the_references_are_the_entropy_of_the_test_codes_and_that_of_equal_ones() -> None:
    experiment = make("code_prior", **SMALL)
    found = experiment.final["test"](run.begin(experiment, 0), KEY, QUIET["track"])
    image = experiment.splits["test"].gather(np.arange(360))["image"] / 255 - 0.5
    p = np.bincount(np.asarray(encoded(experiment, jnp.asarray(image, jnp.float32))).ravel(), minlength=8) / (360 * 4)
    p = p[p > 0]
    assert found["unigram_bits_per_code"] == pytest.approx(-(p * np.log2(p)).sum(), rel=1e-6)
    assert found["uniform_bits_per_code"] == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"top_p": 1.5}, "--top-p is 1.5, and a probability is at most 1"),
        ({"autoencoder": "nowhere"}, r"nowhere holds no run .*; train that run first, or check the path"),
        ({"dataset": "captioned_digits"}, "images of --dataset are 32x32x3, and those of --autoencoder 8x8x1"),
    ],
)
def test_what_does_not_go_together(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(jaxgen.UserError, match=says):
        make("code_prior", **SMALL, **flags)


def test_a_run_without_codes_is_no_autoencoder_for_it(tmp_path: Path) -> None:
    jaxgen.fit(make("autoencoder", steps=1)._replace(evaluators={}, final={}, pictures={}), workdir=tmp_path / "a", quiet=True)
    with pytest.raises(jaxgen.UserError, match=r"has no codes; give a run of experiments\.vqvae"):
        make("code_prior", **SMALL, autoencoder=str(tmp_path / "a"))
    assert Path(a_run("vqvae")).is_dir()
