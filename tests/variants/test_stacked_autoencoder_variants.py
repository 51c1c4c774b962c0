"""The stacked denoising autoencoder's variants, and a run that is stopped within each of its phases."""

from pathlib import Path
from typing import Any

import contract
import jax
import numpy as np
import pytest

import jaxgen
from jaxgen.runs import load

VARIANTS: list[Any] = [
    contract.slow({"hidden": (8, 6), "corruption_levels": (0.1, 0.5), "corruption": "salt_and_pepper", "accumulate": 2}),
    contract.slow({"corruption": "gaussian", "bf16": True, "ema": 0.9}),
    contract.slow({"pretraining_steps": 0}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("stacked_autoencoder", flags, tmp_path)


def stack(steps: int) -> jaxgen.Experiment:
    made = contract.make("stacked_autoencoder", hidden=(5, 4), corruption_levels=(0.1, 0.2), pretraining_steps=2, steps=steps)
    return made._replace(evaluators={}, pictures={})


@pytest.mark.slow
def test_a_run_that_is_stopped_in_each_phase_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    whole = jaxgen.fit(stack(6), workdir=tmp_path / "whole", log_every=1, quiet=True)
    for steps in (4, 5, 6):  # after the pretraining, within the fine-tuning, at the end
        part = jaxgen.fit(stack(steps), workdir=tmp_path / "part", log_every=1, quiet=True)
        assert part.position == steps
    assert load.digest(tmp_path / "part") == whole.digest()
    lines = [[name for name in ("layer1", "layer2", "classifier") if f"{name}/loss" in line] for line in part.history]
    assert lines == [["layer1"]] * 2 + [["layer2"]] * 2 + [["classifier"]] * 2
    # What another run would take of it is the classifier with its layers.
    model, variables = jaxgen.load(tmp_path / "part").network("model")
    x = jax.random.uniform(jax.random.key(0), (3, 8, 8, 1))
    assert model.apply(variables, x).shape == (3, 10)
    z = model.apply(variables, x, method="encode")
    assert np.asarray(model.apply(variables, z, method="decode").mean).shape == (3, 8, 8, 1)
