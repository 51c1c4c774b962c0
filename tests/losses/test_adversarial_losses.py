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
