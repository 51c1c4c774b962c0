"""The variants of variational diffusion."""

from pathlib import Path
from typing import Any

import contract
import jax
import pytest
from contract import data_shape, make

import jaxgen
from jaxgen.training import program

TRACED: list[dict[str, Any]] = [
    {"gamma": "fixed", "bound_steps": 10, "accumulate": 2},
    {"gamma": "scalar", "attend": True, "flip": True, "remat": True},
    {"bf16": True, "gamma_ends": (-10.0, 6.0), "blocks": 1},
]


@pytest.mark.parametrize("flags", TRACED, ids=contract.titled)
def test_other_variants_trace(flags: dict[str, Any]) -> None:
    experiment = make("vdm", **flags)
    key = jax.random.key(0)

    def step(key: jax.Array, raw: Any) -> Any:
        state = jaxgen.create_state(key, *experiment.initial(key), experiment.players, ema=experiment.ema)
        advance = jaxgen.make_train_step(experiment.players, ema=experiment.ema, accumulate=experiment.accumulate)
        return advance(state, experiment.train.transform(raw, key))

    state, metrics = jax.eval_shape(step, key, program.batch_spec(experiment.train))
    assert {"loss", "transitions", "gamma_0", "grad_norm"} <= set(metrics)
    images = jax.eval_shape(lambda state, key: experiment.sample(state, key, jaxgen.given(3)), state, key)
    assert images.shape == (3, *data_shape(experiment))


@pytest.mark.slow
def test_with_most_of_what_it_can_do(tmp_path: Path) -> None:
    contract.hold("vdm", {"gamma": "scalar", "bound_steps": 20, "bf16": True, "remat": True, "flip": True}, tmp_path)
