"""The variants of DDPM and NCSN."""

from pathlib import Path
from typing import Any

import contract
import jax
import numpy as np
import pytest
from contract import data_shape, make

import jaxgen
from jaxgen.training import program


@pytest.mark.slow
def test_ddpm_with_most_of_what_it_can_do(tmp_path: Path) -> None:
    # One level and one width, because a CPU compiles the gradient of a convolution for seconds.
    flags = {"schedule": "cosine", "parameterisation": "v", "sampler": "ddim", "labels": True, "modulation": "adaptive"}
    contract.hold("ddpm", {**flags, "bf16": True, "remat": True, "flip": True, "channels": (4,)}, tmp_path)


TRACED: list[tuple[str, dict[str, Any]]] = [
    ("ddpm", {"parameterisation": "score", "variance": "large", "sampling_steps": None, "accumulate": 2, "blocks": 1}),
    ("ddpm", {"parameterisation": "x0", "sampler": "ddim", "attention": (8,), "blocks": 2}),
    ("classifier_free_guidance", {"rescale": 0.7, "interval": (0.1, 5.0), "sampler": "ddim", "accumulate": 2}),
    (
        "classifier_free_guidance",
        {"told": "caption", "dataset": "captioned_digits", "threshold": 0.9, "text_depth": 1, "bf16": True},
    ),
    ("ddpm", {"weighting": "p2", "parameterisation": "v", "sampler": "dpm_solver_pp"}),
    ("ddpm", {"weighting": "min_snr", "sampler": "unipc", "schedule": "cosine"}),
    ("classifier_guidance", {"sampler": "ddim", "flip": True, "shift": 0, "accumulate": 2, "remat": True}),
    ("classifier_guidance", {"sampler": "unipc", "bf16": True, "dropout": 0.1, "attention": (4,)}),
    ("consistency", {"noises": (80.0,), "flip": True, "accumulate": 2, "huber": 0.1}),
    ("dit", {"sampler": "unipc", "schedule": "linear", "flip": True, "accumulate": 2, "patch": 4}),
    ("dit", {"variance": "small", "interval": (0.1, 5.0), "bf16": True, "remat": True}),
    ("edm", {"churn": 20.0, "flip": True, "accumulate": 2}),
    ("edm", {"augment": 0.5, "accumulate": 2, "bf16": True}),
    ("edm", {"sampler": "unipc", "bf16": True, "data_std": 0.8}),
    ("flow_matching", {"law": "logit_normal", "sampler": "heun", "shift": 3.0, "flip": True}),
    ("flow_matching", {"sampler": "unipc", "bf16": True, "remat": True}),
    ("reflow", {"sampler": "heun", "accumulate": 2, "warmup": 2, "sampling_steps": 3}),
    ("autoguidance", {"sampler": "unipc", "interval": (0.1, 5.0), "flip": True, "accumulate": 2, "bf16": True}),
    ("edm", {"ema_widths": (0.05, 0.1), "accumulate": 2}),
    ("reflow", {"distil": 2, "sampling_steps": 1, "dropout": 0.1}),
    ("improved_ddpm", {"objective": "vlb", "accumulate": 2, "flip": True}),
    ("improved_ddpm", {"objective": "simple", "schedule": "linear", "sampler": "unipc", "bf16": True}),
    ("improved_ddpm", {"sampling_steps": None, "variance": "large", "remat": True, "heads": 2}),
    ("score_sde", {"sde": "sub_vp", "weighting": "likelihood", "sampler": "ode", "flip": True, "accumulate": 2}),
    ("score_sde", {"sde": "ve", "predictor": "ancestral", "corrector_steps": 2, "bf16": True, "remat": True}),
    ("ncsn", {"modulation": "adaptive", "levels": 3, "bf16": True, "flip": True}),
    ("ncsn", {"modulation": "additive", "remat": True, "accumulate": 2, "dropout": 0.1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), TRACED, ids=str)
def test_other_variants_trace(name: str, flags: dict[str, Any]) -> None:
    experiment = make(name, **flags)
    key = jax.random.key(0)

    def step(key: jax.Array, raw: Any) -> Any:
        state = jaxgen.create_state(key, *experiment.initial(key), experiment.players, ema=experiment.ema)
        advance = jaxgen.make_train_step(experiment.players, ema=experiment.ema, accumulate=experiment.accumulate)
        return advance(state, experiment.train.transform(raw, key))

    state, metrics = jax.eval_shape(step, key, program.batch_spec(experiment.train))
    own = {"classifier_guidance": "error", "consistency": "distance"}.get(name, "noise_error")
    assert {"loss", own, "grad_norm"} <= set(metrics)
    images = jax.eval_shape(lambda state, key: experiment.sample(state, key, jaxgen.given(3, experiment.given)), state, key)
    assert images.shape == (3, *data_shape(experiment))


@pytest.mark.parametrize(
    ("name", "flags", "says"),
    [
        ("ddpm", {"sampling_steps": 7}, "more than --timesteps"),
        ("improved_ddpm", {"objective": "simple", "variance": "learned"}, "trains no variance"),
        ("ncsn", {"largest": 0.001}, "larger --largest"),
    ],
)
def test_flags_that_do_not_go_together(name: str, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(jaxgen.UserError, match=says):
        make(name, **flags)


def test_labels_that_do_not_exist(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / split / "a.png")
    with pytest.raises(jaxgen.UserError, match="no classes"):
        make("ddpm", dataset=str(tmp_path), labels=True)
