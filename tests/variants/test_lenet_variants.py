"""Variants of `experiments.lenet`."""

from pathlib import Path
from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.data import source

VARIANTS: list[Any] = [
    contract.slow({"optimizer": "sgd", "cosine": False, "shift": 1, "flip": True, "smoothing": 0.1}),
    contract.slow({"bf16": True, "ema": 0.9, "accumulate": 2}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("lenet", flags, tmp_path)


def test_training_images_are_moved_and_test_images_are_not() -> None:
    experiment = contract.make("lenet", shift=2)
    batch = experiment.train.read(0, seed=0)
    batch = {feature: a[0] for feature, a in batch.items()}
    moved = np.asarray(experiment.train.transform(batch, jax.random.key(0))["image"])
    for image, original in zip(
        moved, np.pad(np.asarray(batch["image"], np.float32) / 255, ((0, 0), (2, 2), (2, 2), (0, 0))), strict=True
    ):
        there = [(i, j) for i in range(5) for j in range(5) if np.allclose(original[i : i + 8, j : j + 8], image)]
        assert there
    plain = contract.make("lenet").train.transform(batch, jax.random.key(0))["image"]
    np.testing.assert_allclose(plain, np.asarray(batch["image"], np.float32) / 255, rtol=1e-6)
    assert not np.allclose(plain, moved)


@pytest.mark.slow
def test_test_images_are_measured_as_they_are() -> None:
    experiment = contract.make("lenet", shift=2, flip=True, dropout=0.9)
    params, vars = experiment.initial(jax.random.key(0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, vars, {})
    still = lambda items, **shown: items
    values = [experiment.evaluators["test"](state, jax.random.key(seed), still) for seed in (0, 1)]
    assert values[0] == values[1]
    assert set(values[0]) == {"loss", "error"}


def test_images_that_are_not_square_are_not_moved() -> None:
    wide = source.from_arrays({"image": np.zeros((4, 6, 8, 1), np.uint8), "label": np.zeros(4, np.int64)}, name="wide")
    wide = wide._replace(classes={"label": ("a", "b")})
    with pytest.raises(jaxgen.UserError, match=r"^--shift 2 wants square images, and those of wide are 6x8; leave it out\.$"):
        contract.make("lenet", shift=2, side=None, dataset=(wide, wide))


def test_half_precision_is_the_networks() -> None:
    experiment = contract.make("lenet", bf16=True)
    params, _ = jax.eval_shape(experiment.initial, jax.random.key(0))
    assert "bf16" in str(jax.make_jaxpr(lambda p, x: _loss(experiment, p, x))(params, jnp.zeros((2, 8, 8, 1))))


def _loss(experiment: jaxgen.Experiment, params: Any, x: jax.Array) -> jax.Array:
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    batch = {"image": x, "label": jnp.zeros(len(x), jnp.int32)}
    return experiment.players["model"].loss(params, state, batch, jax.random.key(0), train=True)[0]
