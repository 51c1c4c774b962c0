"""Denoising score matching against what it is the minimum of."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gaussian_mixtures import Mixture
from parameters import normal

import jaxgen
from jaxgen.diffusion import EPSILON, SCORE, X0, V, geometric, linear, variance_preserving
from jaxgen.errors import InputError
from jaxgen.models.diffusion import MLP
from jaxgen.objectives import Told, by_variance, denoiser_of, denoising_score_matching, variational_diffusion
from jaxgen.types import Array

LAW = Mixture((0.5,), 0.5)
SCHEDULES = {"discrete": linear(20), "continuous": variance_preserving(), "geometric": geometric(5)}
MEANINGS = {"epsilon": EPSILON, "x0": X0, "v": V, "score": SCORE}


class Constant(nn.Module):
    """Answers with its parameter, and keeps to what it was told."""

    @nn.compact
    def __call__(self, x: Array, time: Array, label: Array | None = None, *, train: bool = False) -> Array:
        value = self.param("value", nn.initializers.zeros_init(), ())
        return value + jnp.zeros_like(x) + (0.0 if label is None else label.astype(jnp.float32)[:, None])


class Timed(nn.Module):
    """Answers with a thousand times the time, and with its negative in training."""

    @nn.compact
    def __call__(self, x: Array, time: Array, *, train: bool = False) -> Array:
        value = self.param("value", nn.initializers.zeros_init(), ())
        return value + (-1000 if train else 1000) * time[:, None] + jnp.zeros_like(x)


def state_of(params) -> jaxgen.TrainState:
    return jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, params, {}, {}, {})


KEY = jax.random.key(0)
ZERO = {"model": {"value": jnp.zeros(())}}


def values(loss, params, x, train: bool = True, **features):
    return jax.jit(lambda p, b, k: loss(p, state_of(p), b, k, train=train))(params, {"image": x, **features}, KEY)


@pytest.mark.parametrize("name", SCHEDULES)
def test_loss_of_predicting_nothing_is_the_noise_itself(name: str) -> None:
    loss, aux = values(denoising_score_matching(Constant(), SCHEDULES[name]), ZERO, normal(4000, 3))
    assert loss.shape == (4000,)
    np.testing.assert_allclose(loss.mean(), 1, atol=0.05)
    np.testing.assert_allclose(aux.metrics["noise_error"], loss, rtol=1e-5)


@pytest.mark.parametrize("answer", [0.7, -2.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_noises_error_is_the_loss_where_the_noise_is_predicted(name: str, answer: float) -> None:
    params = {"model": {"value": jnp.float32(answer)}}
    loss, aux = values(denoising_score_matching(Constant(), SCHEDULES[name]), params, normal(4000, 3))
    np.testing.assert_allclose(aux.metrics["noise_error"], loss, rtol=1e-5)
    np.testing.assert_allclose(loss.mean(), 1 + answer**2, rtol=0.05)


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_example_has_a_level_of_its_own(name: str) -> None:
    loss, _ = values(denoising_score_matching(Timed(), SCHEDULES[name]), ZERO, jnp.zeros((500, 3)))
    times = np.sqrt(loss) / 1000
    schedule = SCHEDULES[name]
    if name == "continuous":
        np.testing.assert_allclose(np.quantile(times, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.1)
    else:
        known = np.abs(schedule.time[1:])
        nearest = np.abs(times[:, None] - known).argmin(1)
        np.testing.assert_allclose(times, known[nearest], atol=5e-3)
        np.testing.assert_allclose(np.bincount(nearest, minlength=len(known)) / 500, 1 / len(known), atol=0.08)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_model_is_applied_as_in_training_in_training_alone(name: str) -> None:
    """With the answers 1000 t and -1000 t; the data are as large, so that the two errors of x_0 differ."""
    x = jnp.full((50, 3), 1000.0)
    loss = denoising_score_matching(Timed(), SCHEDULES[name], X0)
    evaluated, trained = (np.sqrt(values(loss, ZERO, x, train=train)[0]) for train in (False, True))
    # The roots are |1000 t - 1000| and |1000 t + 1000|.
    told = np.sqrt(values(denoising_score_matching(Timed(), SCHEDULES[name]), ZERO, 0 * x)[0])
    sign = -1 if name == "geometric" else 1  # whose times are the logarithms of sigmas of at most 1
    np.testing.assert_allclose(evaluated, np.abs(sign * told - 1000), atol=3)
    np.testing.assert_allclose(trained, np.abs(sign * told + 1000), atol=3)


def test_weight_by_variance_makes_the_scores_error_that_of_the_noise() -> None:
    # Song & Ermon 2019, equation 6 with lambda = sigma^2.
    loss, aux = values(denoising_score_matching(Constant(), geometric(5), SCORE, weight=by_variance), ZERO, normal(100, 3))
    np.testing.assert_allclose(loss, aux.metrics["noise_error"], rtol=1e-4)


def test_weight_multiplies_each_examples_error() -> None:
    plain, _ = values(denoising_score_matching(Constant(), linear(5)), ZERO, normal(8, 3))
    double, _ = values(
        denoising_score_matching(Constant(), linear(5), weight=lambda level: 2 + 0 * level.sigma), ZERO, normal(8, 3)
    )
    np.testing.assert_allclose(double, 2 * plain, rtol=1e-6)


def test_labels_reach_the_model_and_some_are_dropped_in_training_alone() -> None:
    label = jnp.zeros(4000, jnp.int32)
    plain = denoising_score_matching(Constant(), linear(5), told={"label": Told("label")})
    dropped = denoising_score_matching(Constant(), linear(5), told={"label": Told("label", nothing=10, drop=0.25)})
    x = normal(4000, 1)
    kept, _ = values(plain, ZERO, x, label=label)
    mixed, _ = values(dropped, ZERO, x, label=label)
    other = np.abs(kept - mixed) > 1e-3
    np.testing.assert_allclose(other.mean(), 0.25, atol=0.03)
    # The unlabelled are told 10, the number after the last class, and answer with it: (10 - eps)^2, where 0 errs by eps^2.
    np.testing.assert_allclose((mixed - kept)[other].mean(), 100, atol=4)
    np.testing.assert_array_equal(values(dropped, ZERO, x, train=False, label=label)[0], values(plain, ZERO, x, label=label)[0])


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize(("meaning", "weight"), [("epsilon", None), ("x0", None), ("v", None), ("score", by_variance)])
def test_the_minimum_is_the_exact_denoiser(meaning: str, weight) -> None:
    schedule = linear(20)
    model = MLP(32, 2)
    options = {} if weight is None else {"weight": weight}
    loss = denoising_score_matching(model, schedule, MEANINGS[meaning], **options)
    players = {"model": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(5e-3, 1500)))}
    params, vars = jaxgen.initialize({"model": jaxgen.Network(model, jnp.zeros((1, 1)), jnp.zeros(1))})(KEY)
    step = jaxgen.make_train_step(players)

    def train(i, state):
        x = LAW.means[0] + LAW.std * jax.random.normal(jax.random.fold_in(KEY, i), (256, 1))
        return step(state, {"image": x})[0]

    state = jax.jit(lambda s: jax.lax.fori_loop(0, 1500, train, s))(jaxgen.create_state(KEY, params, vars, players))
    denoise = denoiser_of(model, state.params, state.vars, MEANINGS[meaning])
    for t in (4, 10, 16):
        level = schedule.level(t)
        x = level.alpha * LAW.means[0] + jnp.linspace(-1.0, 1.0, 9)[:, None]
        np.testing.assert_allclose(denoise(x, level).eps, LAW.denoise(x, level).eps, atol=0.12)


def test_bound_as_a_loss_differentiates_and_reports_its_parts() -> None:
    loss = variational_diffusion(Constant(), linear(6), samples=2)
    x = jnp.clip(normal(4, 3), -1, 1)
    found, aux = values(loss, ZERO, x)
    assert found.shape == (4,)
    assert set(aux.metrics) == {"bits_per_dim", "prior", "transitions", "decoder"}
    gradient = jax.grad(lambda p: loss(p, state_of(p), {"image": x}, KEY, train=True)[0].mean())(ZERO)
    assert np.abs(gradient["model"]["value"]) > 0
    labelled = variational_diffusion(Constant(), linear(6), told={"label": Told("label")})
    assert not np.allclose(values(labelled, ZERO, x, label=jnp.ones(4, jnp.int32))[0], found)


def test_an_output_of_another_shape_is_refused() -> None:
    """With one channel of data a second channel of the output would be broadcast against it."""

    class Doubled(nn.Module):
        @nn.compact
        def __call__(self, x: Any, t: Any, *, train: bool = False) -> Any:
            return jnp.concatenate([x, x], axis=-1)

    loss = denoising_score_matching(Doubled(), linear(5))
    state = jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, {"model": {}}, {}, {}, {}, {})
    with pytest.raises(InputError, match=r"output has the shape \(3, 3, 2\), and the data have \(3, 3, 1\)"):
        loss({"model": {}}, state, {"image": jnp.zeros((2, 3, 3, 1))}, KEY, train=True)
