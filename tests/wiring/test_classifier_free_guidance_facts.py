"""What `experiments.classifier_free_guidance` is wired to, held against Ho & Salimans 2022 (algorithms 1 and 2).

An affine network stands in for the U-Net; the number after the last class, 10, stands for no class."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.classifier_free_guidance as module
import jaxgen
from jaxgen import data, diffusion
from jaxgen.data.text import END, PAD, START
from jaxgen.types import Batch

NAME, KEY = "classifier_free_guidance", jax.random.key(2)
LEVEL = diffusion.cosine(1000).level(300)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
LABEL = jnp.asarray([0, 3, 9])


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(module, "UNet", recording(made))
    return made


@pytest.fixture
def denoiser(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What is sampled with, `denoise(state, batch)(x, level)`, by the flags of an experiment."""

    def of(**flags: Any) -> Any:
        made: list[Any] = []
        of_sampler = module.diffusion_model.of_sampler

        def seen(denoise: Any, *rest: Any, **how: Any) -> Any:
            made.append(denoise)
            return of_sampler(denoise, *rest, **how)

        with monkeypatch.context() as patch:
            patch.setattr(module.diffusion_model, "of_sampler", seen)
            make(NAME, **{"timesteps": 1000, **flags})
        return made[0]

    return of


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_the_noise_is_guided_and_then_the_image_clipped(denoiser: Callable[..., Any], scale: float) -> None:
    """eps = eps_u + s (eps_c - eps_u), of a network that answers with a tenth of the label."""
    found = denoiser(guidance=scale)(state_of(of_label=0.1), {"label": LABEL})(X, LEVEL)
    eps = 1.0 + scale * (0.1 * LABEL - 1.0).reshape(3, 1, 1, 1)
    x0 = np.clip((X - LEVEL.sigma * eps) / LEVEL.alpha, -1, 1)
    np.testing.assert_allclose(found.x0, x0, atol=1e-5)
    np.testing.assert_allclose(LEVEL.alpha * found.x0 + LEVEL.sigma * found.eps, X, atol=1e-5)
    assert (np.abs(x0) == 1).any()
    assert (np.abs(x0) < 1).any()


def test_outside_of_the_interval_nothing_is_guided(denoiser: Callable[..., Any]) -> None:
    ratio = float(LEVEL.sigma / LEVEL.alpha)
    state = state_of(of_label=0.1)
    conditional = denoiser(guidance=1.0)(state, {"label": LABEL})(X, LEVEL).x0
    guided = denoiser(guidance=4.0)(state, {"label": LABEL})(X, LEVEL).x0
    within = denoiser(guidance=4.0, interval=(ratio / 2, ratio * 2))(state, {"label": LABEL})(X, LEVEL).x0
    beyond = denoiser(guidance=4.0, interval=(ratio * 2, ratio * 3))(state, {"label": LABEL})(X, LEVEL).x0
    np.testing.assert_array_equal(within, guided)
    np.testing.assert_allclose(beyond, conditional, atol=1e-6)


def test_contrast_is_rescaled_before_clipping(denoiser: Callable[..., Any]) -> None:
    state, batch = state_of(of_label=0.1, of_x=0.3), {"label": LABEL}
    found = denoiser(guidance=3.0, rescale=0.7)(state, batch)(X, LEVEL).x0
    eps_c = 0.3 * X + (0.1 * LABEL).reshape(3, 1, 1, 1)
    eps_u = 0.3 * X + 1.0
    c, g = ((X - LEVEL.sigma * eps) / LEVEL.alpha for eps in (eps_c, eps_u + 3 * (eps_c - eps_u)))
    ratio = c.std((1, 2, 3), keepdims=True) / g.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, jnp.clip(g * (0.7 * ratio + 0.3), -1, 1), atol=1e-4)


def test_the_threshold_takes_the_place_of_clipping(denoiser: Callable[..., Any]) -> None:
    found = denoiser(guidance=1.0, threshold=0.5)(state_of(), {"label": LABEL})(3 * X, LEVEL).x0
    x0 = np.asarray(3 * X / LEVEL.alpha)
    s = np.maximum(np.quantile(np.abs(x0).reshape(3, -1), 0.5, axis=1), 1).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(found, np.clip(x0, -s, s) / s, rtol=1e-4, atol=1e-5)


def test_a_share_of_the_examples_is_told_nothing_in_training_alone() -> None:
    loss = Loss(make(NAME, drop=0.25))
    images, label = np.zeros((2000, 2, 2, 1)), jnp.full(2000, 3)
    plain = loss(images, train=False, label=label, of_label=0.1)
    trained = loss(images, train=True, label=label, of_label=0.1)
    dropped = np.abs(trained - plain) > 1e-6
    assert dropped.mean() == pytest.approx(0.25, abs=0.03)
    # The noise is told apart by what the answers 0.3 and 1 err by: (1 - e)^2 - (0.3 - e)^2 = 0.91 - 1.4 e, with e of mean 0.
    assert (trained - plain)[dropped].mean() == pytest.approx(0.91, abs=0.1)


def test_the_bound_is_of_the_conditional_model_without_guidance(measured: list[Measured]) -> None:
    batch: Batch = {"image": jnp.full((3, 2, 2, 1), 0.3), "slot": jnp.arange(3), "label": LABEL}
    found = []
    for flags in ({"guidance": 4.0}, {"guidance": 1.0, "rescale": 0.5}):
        make(NAME, **flags)
        found.append(jax.jit(measured[-1].measure)(state_of(of_label=0.1), batch, KEY)["bits_per_dim"])
    np.testing.assert_array_equal(*found)
    assert len(set(np.asarray(found[0]).tolist())) == 3


def test_samples_are_of_each_class_in_turn_or_of_those_given() -> None:
    experiment = make(NAME, sampler="ddim", guidance=1.0)
    state = state_of(of_label=0.05)
    by_default = np.asarray(experiment.sample(state, KEY, jaxgen.given(12, experiment.given)))
    assert experiment.given is not None
    other = experiment.given.given({"label": [4]})
    given = np.asarray(experiment.sample(state, KEY, jaxgen.given(12, other)))
    in_turn = experiment.sample(state, KEY, jaxgen.given(12, experiment.given.given({"label": [*range(10)]})))
    np.testing.assert_array_equal(by_default, in_turn)
    np.testing.assert_array_equal(by_default[4], given[4])
    assert not (by_default == given).all()


def test_captions_are_told_by_their_tokens_and_an_empty_one_stands_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    loss = module.objectives.denoising_score_matching
    monkeypatch.setattr(
        module.objectives, "denoising_score_matching", lambda *args, **rest: told.append(rest["told"]) or loss(*args, **rest)
    )
    image = np.zeros((20, 8, 8, 1), np.uint8)
    source = data.from_arrays({"image": image, "caption": np.array(["a red one", "a blue two"] * 10)}, name="words")
    experiment = make(NAME, dataset=(source, source), told="caption", text_length=6, vocabulary=280, drop=0.3)
    one = told[0]["tokens"]
    assert (one.feature, one.drop, one.nothing.tolist()) == ("tokens", 0.3, [START, END, PAD, PAD, PAD, PAD])
    assert experiment.given is not None
    assert list(experiment.given.features) == ["tokens"]
    typed = jaxgen.given(2, experiment.given.given({"caption": ["a blue two", "a red one"]}))["tokens"]
    np.testing.assert_array_equal(typed, jaxgen.given(2, experiment.given)["tokens"][::-1])


def test_the_network_gets_its_flags(networks: list[Affine]) -> None:
    make(NAME, channels=(4, 6), blocks=2, attention=(5,), dropout=0.3, remat=True, bf16=True)
    one = networks[-1]
    assert (one.channels, one.blocks, one.attention, one.dropout, one.remat, one.classes) == ((4, 6), 2, (5,), 0.3, True, 10)
    assert one.dtype == jnp.bfloat16


def test_flags_that_do_not_go_together() -> None:
    with pytest.raises(jaxgen.UserError, match="more than --timesteps"):
        make(NAME, timesteps=5, sampling_steps=6)
