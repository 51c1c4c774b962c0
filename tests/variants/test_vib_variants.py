"""The information bottleneck's variants, its schedules and its averages."""

from pathlib import Path
from typing import Any

import contract
import jax
import numpy as np
import pytest
from contract import make

import jaxgen

VARIANTS: list[Any] = [
    contract.slow({"covariance": "full", "beta": 0.0, "ema": None}),
    contract.slow({"covariance": "full", "latents": 3, "bf16": True, "train_samples": 1}),
    contract.slow({"latents": 1, "hidden": (), "covariance": "full"}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("vib", flags, tmp_path)


def test_the_rate_falls_after_every_second_epoch_and_training_takes_25() -> None:
    # The 1,437 digits in batches of 8: two epochs are 359 steps.
    experiment = make("vib", decay=0.5, learning_rate=1.0)
    rate = experiment.schedules["learning_rate"]
    assert [float(rate(step)) for step in (0, 358, 359, 717, 718)] == [1, 1, 0.5, 0.5, 0.25]
    assert experiment.steps == 4491
    assert make("vib", batch_size=200).steps == 1000
    assert make("vib", steps=7).steps == 7


def test_evaluation_of_a_run_reports_errors_in_percent_and_bounds_in_bits(tmp_path: Path) -> None:
    run = jaxgen.fit(make("vib", steps=2, beta=0.5, samples=3), workdir=str(tmp_path), quiet=True)
    values = run.evaluate()["test"]
    assert values["loss"] == pytest.approx(values["cross_entropy"] + 0.5 * values["rate"], rel=1e-4)
    assert values["rate_bits"] == pytest.approx(values["rate"] / np.log(2), rel=1e-4)
    assert values["label_bits"] == pytest.approx((np.log(10) - values["cross_entropy"]) / np.log(2), abs=1e-4)
    # Hardly trained, it errs in far more than half of the cases: in per cent, not as a share.
    assert 50 < values["error"] <= 100
    assert 50 < values["error_one_sample"] <= 100


def test_the_picture_shows_each_code_once_there_are_two_latents() -> None:
    assert "codes" not in make("vib", latents=1).pictures
    run = jaxgen.fit(make("vib", steps=1, latents=5), quiet=True)
    assert np.asarray(run.experiment.pictures["codes"](run.state, jax.random.key(0)).images).std() > 0.01
