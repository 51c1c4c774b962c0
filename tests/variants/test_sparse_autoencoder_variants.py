"""The k-sparse autoencoder's variants, its schedules and its mistakes."""

import math
from pathlib import Path
from typing import Any

import contract
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data, objectives
from jaxgen.models.autoencoders import SparseAutoencoder

VARIANTS: list[Any] = [
    contract.slow({"optimizer": "momentum", "learning_rate": 0.01, "bf16": True, "ema": 0.9, "k_start": 1}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("sparse_autoencoder", flags, tmp_path)


def test_k_and_the_rate_reach_their_ends_half_way() -> None:
    experiment = make("sparse_autoencoder", latents=50, k=5, k_start=40, steps=100, anneal_steps=None)
    k, rate = experiment.schedules["k"], experiment.schedules["learning_rate"]
    assert [float(k(step)) for step in (0, 25, 50, 99)] == [40, 22.5, 5, 5]
    assert [float(rate(step)) for step in (0, 50, 99)] == pytest.approx([1e-3, 1e-4, 1e-4])
    sooner = make("sparse_autoencoder", latents=50, k=5, k_start=40, steps=100, anneal_steps=20).schedules["k"]
    assert [float(sooner(step)) for step in (0, 10, 20, 99)] == [40, 22.5, 5, 5]


def test_k_never_starts_below_its_end() -> None:
    experiment = make("sparse_autoencoder", latents=50, k=20, k_start=10, steps=100, anneal_steps=10)
    assert [float(experiment.schedules["k"](step)) for step in (0, 5, 99)] == [20, 20, 20]


def test_the_probe_reads_alpha_k_units_and_the_error_k_units() -> None:
    experiment = make("sparse_autoencoder", latents=30, k=2, k_start=4, alpha=3.0, steps=2)
    run = jaxgen.fit(experiment._replace(final={}), quiet=True)
    values = run.evaluate(final=False)["test"]
    test = data.load("digits", "test")
    x = jnp.asarray(data.examples(test, test.length, data.scale())["image"])
    model = SparseAutoencoder((8, 8, 1), 30)
    z, _ = objectives.apply(model, run.state.params, {}, x, 2, method="encode")
    decoded, _ = objectives.apply(model, run.state.params, {}, z, method="decode")
    assert values["squared_error"] == pytest.approx(
        ((np.asarray(x) - np.asarray(decoded)) ** 2).sum((1, 2, 3)).mean(), rel=1e-4
    )
    seen = []
    import experiments.sparse_autoencoder as module

    def fake(*features: Any, l2: float, each: bool) -> float:
        assert (l2, each) == (1e-3, False)
        seen.extend(features)
        return 0.75

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.probe, "linear", fake)
        final = dict(experiment.final["test"](run.state, None, lambda items, **_: items))
    train_codes, train_labels, test_codes, test_labels = seen
    assert train_codes.shape == (1437, 30)
    assert test_codes.shape == (360, 30)
    # 6 of 30, and digits come in their order.
    assert ((train_codes != 0).sum(1) == 6).all()
    np.testing.assert_array_equal(test_codes, objectives.apply(model, run.state.params, {}, x, 6, method="encode")[0])
    np.testing.assert_array_equal(test_labels, test.gather(np.arange(360))["label"])
    assert len(train_labels) == 1437
    error = final.pop("linear_error_stderr")
    assert error == pytest.approx(100 * math.sqrt(0.25 * 0.75 / len(test_codes)), rel=0.01)
    assert final == {"linear_error": 25.0, "units_used": float((test_codes != 0).any(0).sum())}


def test_more_units_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(jaxgen.UserError, match=r"--k 5 .* --latents 4"):
        make("sparse_autoencoder", latents=4, k=5)
