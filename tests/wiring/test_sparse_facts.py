"""What `experiments.sparse_autoencoder` is wired to, held against Makhzani & Frey 2013 and the code of its first author
(makhzani/convnet: K-Sparse Autoencoder.ipynb, python_lib/convnet.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import experiments.sparse_autoencoder
import jaxgen
from jaxgen import data
from jaxgen.types import Batch


def state_of(experiment: jaxgen.Experiment, **changed: Any) -> jaxgen.TrainState:
    params, vars = experiment.initial(jax.random.key(0))
    return jaxgen.create_state(jax.random.key(1), {"model": {**params["model"], **changed}}, vars, experiment.players)


def test_weights_are_tied_and_start_from_a_normal_of_001() -> None:
    params, _ = make("sparse_autoencoder", latents=200).initial(jax.random.key(0))
    assert {name: v.shape for name, v in params["model"].items()} == {
        "kernel": (64, 200),
        "bias": (200,),
        "visible_bias": (64,),
    }
    kernel = np.asarray(params["model"]["kernel"])
    assert kernel.std() == pytest.approx(0.01, rel=0.03)
    assert abs(kernel.mean()) < 3e-4
    # Some of 12,800 normal numbers lie beyond three deviations, and none of a uniform law.
    assert np.abs(kernel).max() > 0.03


def test_pixels_are_in_0_1() -> None:
    batch: Batch = {"image": jnp.asarray([[[[0]], [[255]]]], jnp.uint8), "slot": jnp.arange(1)}
    assert make("sparse_autoencoder").train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [0.0, 1.0]


def test_k_falls_from_100_to_k_over_the_first_half() -> None:
    k = make("sparse_autoencoder", latents=1000, k=25, k_start=100, steps=1000, anneal_steps=None).schedules["k"]
    assert [float(k(step)) for step in (0, 100, 250, 400, 500, 501, 999)] == [100, 85, 62.5, 40, 25, 25, 25]


def test_training_keeps_the_units_of_the_schedule_and_the_error_is_summed_over_pixels() -> None:
    """Units that copy a pixel each: the error is that of the pixels that are not kept."""
    experiment = make("sparse_autoencoder", latents=64, k=3, k_start=9, steps=100, anneal_steps=10)
    state = state_of(experiment, kernel=jnp.eye(64))
    x = np.random.default_rng(0).permutation(np.linspace(0.1, 1, 64)).reshape(1, 8, 8, 1)
    for step, kept in {0: 9, 5: 6, 10: 3, 90: 3}.items():
        now = state._replace(step=jnp.asarray(step))
        batch: Batch = {"image": jnp.asarray(x, jnp.float32)}
        values, _ = experiment.players["model"].loss(now.params, now, batch, jax.random.key(0), train=True)
        assert float(values[0]) == pytest.approx((np.sort(x.ravel())[: 64 - kept] ** 2).sum(), rel=1e-4), step


@pytest.mark.parametrize("start", [0.01, 0.2])
def test_momentum_is_that_of_the_papers_code(start: float) -> None:
    """v = 0.9 v - lr g, w = w + v."""
    flags = {"optimizer": "momentum", "learning_rate": start, "final_learning_rate": start, "steps": 100}
    player = make("sparse_autoencoder", **flags).players["model"]
    rng, w, speed = np.random.default_rng(0), {"w": jnp.zeros((3, 2))}, 0.0
    opt = player.tx.init(w)
    for _ in range(5):
        g = rng.normal(size=(3, 2))
        updates, opt = player.tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        speed = 0.9 * speed - start * g
        np.testing.assert_allclose(updates["w"], speed, rtol=1e-5)


def test_adam_is_adams_rule_with_the_rate_of_the_schedule() -> None:
    experiment = make("sparse_autoencoder", steps=20, anneal_steps=2)
    player, rate = experiment.players["model"], experiment.schedules["learning_rate"]
    assert [float(rate(i)) for i in range(4)] == pytest.approx([1e-3, 5.5e-4, 1e-4, 1e-4])
    w, m, v = {"w": jnp.zeros(3)}, 0.0, 0.0
    opt = player.tx.init(w)
    for step in range(1, 5):
        g = np.array([1e-3, -2.0, 30.0]) * step
        updates, opt = player.tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = -float(rate(step - 1)) * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-3)


@pytest.mark.parametrize(("k", "alpha", "kept"), [(4, 3.0, 12), (4, 1.0, 4), (3, 1.5, 4), (40, 3.0, 64)])
def test_the_classifier_sees_the_alpha_k_largest_of_training_codes_and_is_counted_on_test_codes(
    k: int, alpha: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def fake(*arrays: np.ndarray, l2: float, each: bool) -> float:
        seen.extend(arrays)
        assert (l2, each) == (1e-3, False)
        return 0.9

    monkeypatch.setattr(experiments.sparse_autoencoder.probe, "linear", fake)
    experiment = make("sparse_autoencoder", latents=64, k=k, k_start=64, alpha=alpha, steps=2)
    # Units that copy a pixel each and add a number of their own, so that all activations differ and some are below zero.
    state = state_of(experiment, kernel=jnp.eye(64), bias=jnp.linspace(-0.4, 0.4, 64) ** 3)
    found = experiment.final["test"](state, jax.random.key(0), lambda items, **_: items)
    assert found["linear_error"] == pytest.approx(10.0)
    for split, codes, labels in (("train", *seen[:2]), ("test", *seen[2:])):
        source = data.load("digits", split)
        examples = source.gather(np.arange(source.length))
        z = examples["image"].reshape(-1, 64) / 255 + np.linspace(-0.4, 0.4, 64) ** 3
        expected = np.where(z >= np.sort(z, 1)[:, 64 - kept, None], z, 0)
        np.testing.assert_allclose(codes, expected, atol=1e-6)
        np.testing.assert_array_equal(labels, examples["label"])
