"""What experiments evaluate: no value depends on the batch size, and a figure's protocol names every flag that moves it."""

import importlib
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

import contract
import jax
import pytest

import jaxgen
from jaxgen.flags import check
from jaxgen.measuring.protocol import Measurement, difference
from jaxgen.runs import run as runs

EVALUATED = [
    "adda",
    "autoencoder",
    "autoguidance",
    "classifier_free_guidance",
    "classifier_guidance",
    "clip",
    "code_prior",
    "conditional_gan",
    "consistency",
    "cycada",
    "cyclegan",
    "dcgan",
    "ddpm",
    "dit",
    "edm",
    "flow_matching",
    "gan",
    "hierarchical_code_prior",
    "improved_ddpm",
    "iwae",
    "ladder_vae",
    "latent_autoencoder",
    "latent_diffusion",
    "lenet",
    "made",
    "munit",
    "ncsn",
    "nvae",
    "pix2pix",
    "pixelcnn_pp",
    "reflow",
    "regularised_autoencoder",
    "score_sde",
    "spade",
    "sparse_autoencoder",
    "stacked_autoencoder",
    "style_transfer",
    "vae",
    "vdm",
    "vib",
    "vqvae",
    "vqvae2",
    "wgan",
]
"""Experiments that evaluate means over a split."""

SHORT = ("gan", "made", "regularised_autoencoder", "vae")
"""Those of them that are run by default; others are convolutional, long to compile three times over."""

BY_BATCHES = (
    "vae",
    "iwae",
    "ladder_vae",
    "ddpm",
    "dit",
    "improved_ddpm",
    "classifier_free_guidance",
    "latent_diffusion",
    "nvae",
)
"""Experiments whose final evaluators go through batches too."""

OF_A_BATCH = {"clip": {"loss", "image_to_text", "text_to_image"}}
"""Values whose definition takes the batch in: an example's negatives are the others of its batch."""

quiet = lambda it, **_: it


def state_of(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    return runs.begin(experiment, 0)


@pytest.fixture
def batch_size(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the batch size of every evaluation, whatever an experiment asks for."""
    mean_over, size = jaxgen.mean_over, [16]
    monkeypatch.setattr(jaxgen, "mean_over", lambda *args, **options: mean_over(*args, **{**options, "batch_size": size[0]}))
    return lambda n: size.__setitem__(0, n)


@pytest.mark.parametrize("name", [name if name in SHORT else contract.slow(name) for name in EVALUATED])
def test_no_evaluated_value_depends_on_the_batch_size(name: str, batch_size: Any) -> None:
    state, values = None, []
    for size in (7, 16, 360):
        batch_size(size)
        made = contract.make(name)
        state = state or state_of(made)
        found = {}
        # Of the final evaluators those that go through batches.
        for evaluators in (made.evaluators, made.final if name in BY_BATCHES else {}):
            for split in runs.evaluate(evaluators, state, 0, quiet).values():
                found |= split
        out = OF_A_BATCH.get(name, set())
        values.append({k: v for k, v in found.items() if k.removesuffix("_stderr") not in out})
    assert any(k.endswith("_stderr") for k in values[0])
    for other in values[1:]:
        assert other == pytest.approx(values[0], rel=1e-3, abs=1e-4)


WITH_PROTOCOL = [
    "adda",
    "autoencoder",
    "classifier_free_guidance",
    "classifier_guidance",
    "clip",
    "code_prior",
    "consistency",
    "cycada",
    "cyclegan",
    "dcgan",
    "ddpm",
    "dit",
    "gan",
    "hierarchical_code_prior",
    "improved_ddpm",
    "iwae",
    "ladder_vae",
    "latent_autoencoder",
    "latent_diffusion",
    "lenet",
    "made",
    "modes",
    "munit",
    "nvae",
    "pix2pix",
    "pixelcnn_pp",
    "reflow",
    "score_sde",
    "spade",
    "sparse_autoencoder",
    "stacked_modes",
    "stacked_autoencoder",
    "stylegan",
    "vae",
    "vdm",
    "vib",
    "vqvae",
    "vqvae2",
]
"""Experiments with figures to compare."""

ELSEWHERE = {"dataset", "data_dir", "cache_budget"}
"""Flags that the protocol tells by the name, the number and the hash of the examples."""

OF_THE_MODEL = {"activation", "decoder_activation", "alpha", "bf16", "heads", "attention", "dropout", "remat", "residual"}
"""Flags of the function whose parameters these are: models that differ in them are what a figure compares."""


def others(kind: Any, value: Any) -> Iterator[Any]:
    """Other values of a flag's type than this one."""
    if typing.get_origin(kind) is typing.Annotated:
        yield from others(typing.get_args(kind)[0], value)
    elif typing.get_origin(kind) is typing.Literal:
        yield from (other for other in typing.get_args(kind) if other != value)
    elif typing.get_origin(kind) in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            if one is not types.NoneType:
                yield from others(one, value)
    elif kind is bool:
        yield not value
    elif kind is int:
        yield 5 if value is None else value + 2
    elif kind is float:
        yield 0.3 if value in (None, 0.0) else 0.7 * value


@pytest.mark.parametrize("name", [name if name in SHORT else contract.slow(name) for name in WITH_PROTOCOL])
def test_a_figures_protocol_names_every_flag_that_moves_it(name: str, batch_size: Any) -> None:
    function = importlib.import_module(f"experiments.{name}").experiment
    kinds = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    base = contract.make(name)
    state, shapes = state_of(base), shape_of(base)
    figures = values_of(base, state)
    assert set(figures) == set(base.protocol)
    for flag, value in base.config.flags.items():
        named = {figure for figure, flags in base.protocol.items() if flag in flags}
        if flag in ELSEWHERE | OF_THE_MODEL or named == set(base.protocol):
            continue
        for other in others(kinds[flag], value):
            try:
                check(function, {flag: other})
                made = contract.make(name, **{flag: other})
                if shape_of(made) != shapes:
                    continue
            except jaxgen.UserError:
                continue  # not beside the other flags
            for figure, moved in values_of(made, state).items():
                if figure in figures and figure not in named:
                    assert moved == pytest.approx(figures[figure], rel=1e-4), f"--{flag} {other} moves {figure}"


def shape_of(experiment: jaxgen.Experiment) -> Any:
    state = jax.eval_shape(lambda: state_of(experiment))
    trained = state.params, state.vars
    return jax.tree.structure(trained), [(x.shape, x.dtype) for x in jax.tree.leaves(trained)]


def values_of(experiment: jaxgen.Experiment, state: jaxgen.TrainState) -> dict[str, float]:
    found: dict[str, float] = {}
    for evaluators in (experiment.evaluators, experiment.final):
        for split in runs.evaluate(evaluators, state, 0, quiet).values():
            found |= split
    return {name: found[name] for name in experiment.protocol}


@pytest.mark.parametrize("flag", ["labels", "nll_samples", "parameterisation", "schedule", "timesteps", "variance"])
def test_bounds_of_different_protocols_are_not_compared(flag: str) -> None:
    changed = {
        "labels": True,
        "nll_samples": 5,
        "parameterisation": "v",
        "schedule": "cosine",
        "timesteps": 7,
        "variance": "large",
    }
    runs_of = []
    for flags in ({}, {flag: changed[flag]}):
        made = contract.make("ddpm", **flags)
        run = jaxgen.Run(made, None, 0, 0)
        values = {"test": dict.fromkeys(made.protocol, 5.0) | {"bits_per_dim_stderr": 0.1}}
        runs_of.append(run.figures(values)["test/bits_per_dim"])
    assert isinstance(runs_of[0], Measurement)
    assert runs_of[0].stderr == 0.1
    with pytest.raises(jaxgen.UserError, match=f"other: {flag} is [^;]*$"):
        difference(*runs_of)
