"""Adversarial losses against their definitions by probabilities, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses import adversarial

REAL = np.array([-3.0, -0.2, 0.0, 1.7, 4.0], np.float32)
FAKE = np.array([2.5, 0.3, 0.0, -1.0, -6.0], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("loss", [adversarial.minimax, adversarial.non_saturating])
def test_the_discriminator_maximises_the_value(loss) -> None:
    value = np.log(sigmoid(REAL)) + np.log(1 - sigmoid(FAKE))
    np.testing.assert_allclose(loss.discriminator(jnp.array(REAL), jnp.array(FAKE)), -value, rtol=1e-5)


def test_the_generators_of_the_two_games() -> None:
    np.testing.assert_allclose(adversarial.minimax.generator(jnp.array(FAKE)), np.log(1 - sigmoid(FAKE)), rtol=1e-5)
    np.testing.assert_allclose(adversarial.non_saturating.generator(jnp.array(FAKE)), -np.log(sigmoid(FAKE)), rtol=1e-5)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_sure_discriminators_neither_overflow_nor_stop(logit: float) -> None:
    for loss in (adversarial.minimax, adversarial.non_saturating):
        x = jnp.array([logit])
        values = jnp.concatenate([loss.discriminator(x, x), loss.generator(x)])
        slopes = jax.jacobian(lambda x: jnp.concatenate([loss.discriminator(x, -x), loss.generator(x)]))(x)  # noqa: B023
        assert jnp.isfinite(values).all()
        assert jnp.isfinite(slopes).all()


def test_only_the_minimax_generator_stands_still_before_a_sure_discriminator() -> None:
    sure = jnp.array(-20.0)
    slope = {name: jax.grad(lambda f, g=g: g(f[None])[0])(sure) for name, g in generators().items()}
    assert abs(slope["minimax"]) < 1e-8
    assert slope["non_saturating"] == pytest.approx(-1.0, abs=1e-6)
    assert slope["wasserstein"] == slope["hinge"] == -1.0


def generators() -> dict:
    return {name: getattr(adversarial, name).generator for name in ("minimax", "non_saturating", "wasserstein", "hinge")}


def test_wasserstein_and_hinge() -> None:
    real, fake = jnp.array(REAL), jnp.array(FAKE)
    np.testing.assert_allclose(adversarial.wasserstein.discriminator(real, fake), FAKE - REAL)
    np.testing.assert_allclose(adversarial.wasserstein.generator(fake), -FAKE)
    expected = [max(0.0, 1 - r) + max(0.0, 1 + f) for r, f in zip(REAL, FAKE, strict=True)]
    np.testing.assert_allclose(adversarial.hinge.discriminator(real, fake), expected, rtol=1e-6)
    np.testing.assert_allclose(adversarial.hinge.generator(fake), -FAKE)


def test_metrics() -> None:
    real, fake = jnp.array(REAL), jnp.array(FAKE)
    np.testing.assert_allclose(adversarial.minimax.metrics(real, fake)["fake_probability"], sigmoid(FAKE), rtol=1e-5)
    np.testing.assert_allclose(adversarial.non_saturating.metrics(real, fake)["real_probability"], sigmoid(REAL), rtol=1e-5)
    np.testing.assert_allclose(adversarial.wasserstein.metrics(real, fake)["wasserstein"], REAL - FAKE)
    np.testing.assert_allclose(adversarial.hinge.metrics(real, fake)["real_logit"], REAL)


def test_least_squares_with_any_targets() -> None:
    real, fake = jnp.array(REAL), jnp.array(FAKE)
    for targets in ({}, {"a": -1.0, "b": 1.0, "c": 0.0}):
        a, b, c = (targets.get(name, plain) for name, plain in (("a", 0.0), ("b", 1.0), ("c", 1.0)))
        loss = adversarial.least_squares(**targets)
        np.testing.assert_allclose(loss.discriminator(real, fake), (REAL - b) ** 2 + (FAKE - a) ** 2, rtol=1e-5)
        np.testing.assert_allclose(loss.generator(fake), (FAKE - c) ** 2, rtol=1e-5)
        np.testing.assert_allclose(loss.metrics(real, fake)["fake_logit"], FAKE)


def test_the_loss_of_a_map_is_the_mean_of_its_losses() -> None:
    real, fake = (np.random.default_rng(i).normal(size=(3, 2, 4, 1)).astype(np.float32) for i in range(2))
    loss, ours = adversarial.over_maps(adversarial.non_saturating), (jnp.array(real), jnp.array(fake))
    entropy = -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake))
    np.testing.assert_allclose(loss.discriminator(*ours), entropy.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(loss.generator(ours[1]), -np.log(sigmoid(fake)).mean((1, 2, 3)), rtol=1e-5)
    # Of the probabilities, not the probability of a mean logit.
    np.testing.assert_allclose(loss.metrics(*ours)["real_probability"], sigmoid(real).mean((1, 2, 3)), rtol=1e-5)
    plain = adversarial.over_maps(adversarial.hinge)
    np.testing.assert_array_equal(
        plain.discriminator(jnp.array(REAL), jnp.array(FAKE)), adversarial.hinge.discriminator(jnp.array(REAL), jnp.array(FAKE))
    )


def test_a_drift_is_the_square_of_the_data_alone() -> None:
    real, fake = jnp.array(REAL), jnp.array(FAKE)
    loss = adversarial.drifting(adversarial.wasserstein, 0.01)
    np.testing.assert_allclose(loss.discriminator(real, fake), FAKE - REAL + 0.01 * REAL**2, rtol=1e-5)
    np.testing.assert_array_equal(loss.generator(fake), -FAKE)
    assert loss.metrics is adversarial.wasserstein.metrics
