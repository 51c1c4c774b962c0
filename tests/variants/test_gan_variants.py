"""The variants of the adversarial experiments, and what they refuse."""

from pathlib import Path
from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data


@pytest.mark.slow
def test_spectral_dcgan_with_a_lazy_penalty(tmp_path: Path) -> None:
    flags = {"norm": "spectral", "loss": "hinge", "gamma": 1.0, "gamma_every": 2, "bf16": True, "accumulate": 2}
    contract.hold("dcgan", flags, tmp_path)


@pytest.mark.slow
def test_dcgan_with_adaptive_augmentation(tmp_path: Path) -> None:
    contract.hold("dcgan", {"ada_target": 0.0, "ada_images": 40, "accumulate": 2, "gamma": 1.0, "norm": "spectral"}, tmp_path)


@pytest.mark.parametrize("method", [contract.slow("gan"), "wgan_gp", contract.slow("veegan")])
def test_modes_of_the_grid(method: str) -> None:
    experiment = make("modes", dataset="gaussian_grid", method=method, steps=10)
    run = jaxgen.fit(experiment._replace(pictures={}), quiet=True, evaluate_every=10)
    found = run.evaluate()["test"]
    assert set(found) == {"modes", "high_quality", "high_quality_stderr", "reverse_kl", "diversity", "diversity_stderr"}
    assert 0 <= found["modes"] <= 25
    assert run.sample(7).shape == (7, 2)


def test_the_weights_of_the_gans_discriminator_are_bounded_on_demand_and_the_generators_are_not() -> None:
    player = make("gan", max_norm=0.01).players["game"]
    params = {name: {"kernel": jnp.zeros((2, 2))} for name in ("discriminator", "generator")}
    updates, _ = player.tx.update(jax.tree.map(jnp.ones_like, params), player.tx.init(params), params)
    assert np.linalg.norm(updates["discriminator"]["kernel"], axis=0) == pytest.approx(0.01)
    assert np.linalg.norm(updates["generator"]["kernel"], axis=0) == pytest.approx(0.1 * 2**0.5)


def test_a_clipped_critic_stays_clipped_and_the_generator_does_not() -> None:
    run = jaxgen.fit(make("wgan", penalty="clip", steps=3, limit=0.005)._replace(evaluators={}, pictures={}), quiet=True)
    largest = {
        name: max(float(np.abs(p).max()) for p in map(np.asarray, _leaves(tree))) for name, tree in run.state.params.items()
    }
    assert largest["critic"] <= 0.005 * (1 + 1e-5)
    assert largest["generator"] > 0.1


def _leaves(tree: Any) -> list[Any]:
    return [leaf for branch in tree.values() for leaf in _leaves(branch)] if isinstance(tree, dict) else [tree]


def test_what_the_experiments_refuse() -> None:
    with pytest.raises(jaxgen.UserError, match="Images of 8x8 can be halved 3 times, not 4; give 3 --channels or fewer"):
        jaxgen.fit(make("dcgan", channels=(2, 2, 2, 2)))
    with pytest.raises(jaxgen.UserError, match="goes with --norm spectral"):
        make("dcgan", gamma=1.0)
    plain = data.from_arrays({"image": np.zeros((4, 8, 8, 1), np.uint8)}, name="plain")
    with pytest.raises(jaxgen.UserError, match="plain has no classes"):
        make("conditional_gan", dataset=(plain, plain))


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("dcgan", {"dataset": "cifar10"}, marks=pytest.mark.slow),
        ("conditional_gan", {"dataset": "mnist", "network": "mlp"}),
    ],
)
def test_on_prepared_datasets(name: str, flags: dict[str, Any], shared: str) -> None:
    experiment = make(name, **flags, data_dir=shared, steps=2, cache_budget=0.0)
    run = jaxgen.fit(experiment._replace(evaluators={}, pictures={}), quiet=True)
    assert np.isfinite(run.sample(2)).all()
