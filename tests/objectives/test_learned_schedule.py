"""The bound of variational diffusion: closed forms of Gaussian data, the authors' formulas, and what its gradients descend."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import variational

import jaxgen
from jaxgen import game, keys
from jaxgen.diffusion import EPSILON, Level, Prediction, denoiser, diffuse, from_gamma, time_by_gamma, timed
from jaxgen.models.diffusion import FixedGamma, LinearGamma, MonotoneGamma
from jaxgen.objectives import gamma_of, nearest_level, vdm, vdm_bits, vdm_bound
from jaxgen.objectives.learned_schedule import level_log_prob, radical_inverse, spread_times

KEY = jax.random.key(7)
LOW, HIGH, STD = -6.0, 4.0, 0.6
"""Ends of gamma, and the standard deviation of the data."""
GAMMAS = {
    "line": lambda t: LOW + (HIGH - LOW) * t,
    "power": lambda t: LOW + (HIGH - LOW) * t**3,
    "bent": lambda t: LOW + (HIGH - LOW) * (0.5 * t + 0.5 * jax.nn.sigmoid(20 * (t - 0.5))),
}


def exact(x: jax.Array, level: Level) -> Prediction:
    """The exact denoiser of N(0, STD^2)."""
    alpha, sigma = (a.reshape(-1, *(1,) * (x.ndim - 1)) for a in (level.alpha, level.sigma))
    total = alpha**2 * STD**2 + sigma**2
    return Prediction(alpha * STD**2 / total * x, sigma / total * x)


def mmse(gamma: np.ndarray) -> np.ndarray:
    """What is left of the noise's error: alpha^2 c^2 / (alpha^2 c^2 + sigma^2)."""
    return STD**2 / (STD**2 + np.exp(gamma))


@functools.cache
def diffusion_term(name: str, steps: int | None) -> tuple[float, float]:
    """The mean over 160,000 numbers in 40,000 examples, each dimension, and its standard error."""
    x0 = STD * jax.random.normal(jax.random.key(11), (40_000, 4))
    t = jnp.asarray((np.arange(40_000) + 0.5) / 40_000, jnp.float32)
    gamma = GAMMAS[name]
    found = jax.jit(lambda: vdm_bound(exact, gamma, x0, KEY, t, steps=steps).transitions / 4)()
    return float(found.mean()), float(found.std() / 200)


@pytest.mark.parametrize("name", ["line", "power"])
def test_the_continuous_bound_of_a_gaussian_is_its_closed_form_whatever_the_interior(name: str) -> None:
    mean, error = diffusion_term(name, None)
    expected = 0.5 * math.log((1 + math.exp(-LOW) * STD**2) / (1 + math.exp(-HIGH) * STD**2))
    assert error < 0.02 * expected
    assert mean == pytest.approx(expected, abs=5 * error)


def test_the_interior_does_not_move_the_ends_of_a_bent_schedule_either() -> None:
    """The sigmoid ends a little inside: its closed form has its own ends."""
    low, high = (float(GAMMAS["bent"](jnp.float32(t))) for t in (0.0, 1.0))
    mean, error = diffusion_term("bent", None)
    expected = 0.5 * math.log((1 + math.exp(-low) * STD**2) / (1 + math.exp(-high) * STD**2))
    assert mean == pytest.approx(expected, abs=5 * error)


def test_the_bound_in_steps_is_its_closed_form_and_falls_to_the_continuous_one() -> None:
    means, exact_means = [], []
    for steps in (2, 8, 100):
        mean, error = diffusion_term("line", steps)
        ends = np.linspace(LOW, HIGH, steps + 1)
        expected = 0.5 * (np.expm1(np.diff(ends)) * mmse(ends[1:])).sum()
        assert mean == pytest.approx(expected, abs=5 * error + 1e-3 * expected)
        means.append(mean)
        exact_means.append(expected)
    continuous = 0.5 * math.log((1 + math.exp(-LOW) * STD**2) / (1 + math.exp(-HIGH) * STD**2))
    assert means[0] > 2 * means[1] > 2 * means[2]
    assert 1.0 < exact_means[2] / continuous < 1.1


@pytest.mark.parametrize("steps", [None, 5])
def test_the_parts_are_the_authors(steps: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    k = rng.integers(0, 256, (3, 2, 2, 1))
    drawn = list(rng.normal(size=(2, *k.shape)))
    x0, gamma = variational.encode(k), lambda t: -7.0 + 10 * t + 1.5 * t**2
    t = np.array([0.05, 0.41, 0.99])
    numbers = iter(jnp.asarray(a, jnp.float32) for a in drawn)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "draw", lambda *args, **options: next(numbers))
        denoise = lambda z, level: Prediction(z, jnp.sin(z) + level.time.reshape(-1, 1, 1, 1))
        found = vdm_bound(denoise, gamma, jnp.asarray(x0, jnp.float32), KEY, jnp.asarray(t, jnp.float32), steps=steps)
    if steps is None:
        weight = 0.5 * (10 + 3 * t)
    else:
        t = np.ceil(t * steps) / steps
        weight = 0.5 * steps * np.expm1(gamma(t) - gamma(t - 1 / steps))
    var = 1 / (1 + np.exp(-gamma(t)))[:, None, None, None]
    z = np.sqrt(1 - var) * x0 + np.sqrt(var) * drawn[1]
    expected = variational.losses(k, drawn[0], drawn[1], np.sin(z) + t.reshape(-1, 1, 1, 1), gamma(0.0), gamma(1.0), weight)
    for part, theirs in zip((found.decoder, found.prior, found.transitions), expected, strict=True):
        np.testing.assert_allclose(part, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.bits["bits_per_dim"], sum(expected) / (4 * math.log(2)), rtol=1e-4)


def test_levels_are_the_authors_decoder() -> None:
    z = np.array([-1.3, -0.52, 0.003, 0.497, 2.0])
    table = variational.decode(z, math.log(0.04))
    for k in (0, 100, 255):
        x = jnp.full(len(z), variational.encode(np.float64(k)), jnp.float32)
        found = level_log_prob(jnp.asarray(z, jnp.float32), x, 0.2)
        np.testing.assert_allclose(found, table[:, k], rtol=1e-4)
    np.testing.assert_allclose(nearest_level(jnp.asarray(z)), variational.encode(table.argmax(-1)), atol=1e-6)


def test_levels_are_read_back_from_a_little_noise() -> None:
    """At gamma of -13.3 the noise is a third of half a level."""
    x = variational.encode(np.arange(256))
    near = x + np.random.default_rng(0).uniform(-0.9, 0.9, 256) / 256
    np.testing.assert_allclose(nearest_level(jnp.asarray(near, jnp.float32)), x, atol=1e-6)
    found = level_log_prob(jnp.asarray(x, jnp.float32), jnp.asarray(x, jnp.float32), math.exp(-6.65))
    assert np.abs(found).max() < 0.05


def test_several_times_are_an_estimate_of_one_with_its_variance() -> None:
    x0, n = jnp.full((1, 4), 0.3), 4000
    bits = jax.jit(functools.partial(vdm_bits, exact, GAMMAS["power"], samples=400))
    found = bits(x0, jax.random.split(KEY, 1))
    times = jax.random.uniform(jax.random.key(3), (n,))
    single = vdm_bound(exact, GAMMAS["power"], jnp.tile(x0, (n, 1)), jax.random.split(KEY, n), times).bits["transitions"]
    error = float(single.std()) / math.sqrt(n)
    assert float(found["transitions"][0]) == pytest.approx(float(single.mean()), abs=8 * error)
    assert float(found["variance"][0]) == pytest.approx(float(single.var()), rel=0.3)
    parts = (found[name] for name in ("prior", "transitions", "decoder"))
    np.testing.assert_allclose(sum(parts), found["bits_per_dim"], rtol=1e-5)


def test_several_times_of_steps_are_all_of_them() -> None:
    """Of as many times as steps each step has one."""
    x0, ends = jnp.zeros((2000, 1)), np.linspace(LOW, HIGH, 6)
    blind = lambda x, level: Prediction(x, 0 * x)
    found = jax.jit(lambda: vdm_bits(blind, GAMMAS["line"], x0, KEY, samples=5, steps=5))()["transitions"]
    expected = 0.5 * np.expm1(np.diff(ends)).sum() / math.log(2)
    assert float(found.mean()) == pytest.approx(expected, rel=0.1)


class Line(nn.Module):
    """A network of three numbers that reads z and the time, and counts whether it is trained."""

    @nn.compact
    def __call__(self, z: Any, time: Any, *, train: bool = False) -> Any:
        p = [self.param(name, nn.initializers.constant(0.3), ()) for name in ("of_z", "of_time", "of_both")]
        time = time.reshape(-1, *(1,) * (z.ndim - 1))
        return p[0] * z + p[1] * time + p[2] * z * time + (100.0 if train and self.has_rng("never") else 0.0)


MEANING = timed(EPSILON, time_by_gamma(LOW, HIGH))
SCHEDULE = MonotoneGamma(LOW, HIGH, features=8)
IMAGES = jnp.asarray(variational.encode(np.random.default_rng(1).integers(0, 256, (16, 2, 2, 1))), jnp.float32)
BATCH = {"image": IMAGES, "slot": jnp.arange(16)}


@functools.cache
def begun() -> jaxgen.TrainState:
    networks = {
        "model": jaxgen.Network(Line(), IMAGES[:1], jnp.zeros(1)),
        "schedule": jaxgen.Network(SCHEDULE, jnp.zeros(1)),
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(0))
    own = params["schedule"]
    rng = np.random.default_rng(2)
    own |= {"u": jnp.float32(4 * rng.normal(size=8)), "c": jnp.float32(rng.normal(size=8)), "v": jnp.float32(9 + 0 * own["v"])}
    return jaxgen.TrainState(jnp.int32(3), jax.random.key(5), params, {}, {}, {})


def by_hand(params: Any, steps: int | None = None) -> Any:
    """The bound of the batch at the times and with the noise of a training step."""
    state = begun()
    network = lambda z, time: Line().apply({"params": params["model"]}, z, time)
    t = spread_times(state.key, state.step, BATCH["slot"])
    own = keys.fold_in(keys.per_example(KEY, BATCH), 1)
    return vdm_bound(denoiser(network, MEANING), gamma_of(SCHEDULE, params, {}), IMAGES, own, t, steps=steps).bits


def gradients(steps: int | None = None) -> Any:
    loss = vdm(Line(), SCHEDULE, MEANING, steps=steps)

    def mean(params: Any) -> Any:
        values, aux = loss(params, begun(), BATCH, KEY, train=True)
        return values.mean(), aux.metrics

    return jax.jit(jax.value_and_grad(mean, has_aux=True))(begun().params)


@pytest.mark.slow
def test_the_interior_descends_the_square_and_all_else_the_bound() -> None:
    (value, metrics), found = gradients()
    params = begun().params
    expected = by_hand(params)
    assert float(value) == pytest.approx(float(expected["bits_per_dim"].mean()), rel=1e-5)
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], values, rtol=1e-4, atol=1e-6)
    bound = jax.jit(jax.grad(lambda params: by_hand(params)["bits_per_dim"].mean()))(params)
    square = jax.jit(jax.grad(lambda params: (by_hand(params)["transitions"] ** 2).mean()))(params)
    for name in ("a", "u", "c", "v"):
        np.testing.assert_allclose(found["schedule"][name], square["schedule"][name], rtol=2e-3, atol=1e-4)
        assert np.abs(found["schedule"][name] - bound["schedule"][name]).max() > 1e-3
    for name in ("b", "w"):
        np.testing.assert_allclose(found["schedule"][name], bound["schedule"][name], rtol=1e-3)
    for name, gradient in found["model"].items():
        np.testing.assert_allclose(gradient, bound["model"][name], rtol=1e-3)


def test_in_steps_all_of_the_schedule_descends_the_bound() -> None:
    _, found = gradients(steps=7)
    expected = jax.jit(jax.grad(lambda params: by_hand(params, 7)["bits_per_dim"].mean()))(begun().params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), found, expected)


def test_the_ends_are_reported() -> None:
    (_, metrics), _ = gradients()
    assert float(metrics["gamma_0"]) == pytest.approx(LOW, abs=1e-5)
    assert float(metrics["gamma_1"]) == pytest.approx(HIGH, abs=1e-5)


@pytest.mark.slow  # the gradients that it follows are held by the tests before it
def test_the_interior_learns_to_vary_less() -> None:
    """Of a Gaussian and its exact denoiser, by the loss: the bound stays, its variance falls."""

    class Exact(nn.Module):
        @nn.compact
        def __call__(self, z: Any, time: Any, *, train: bool = False) -> Any:
            gamma = LOW + (HIGH - LOW) * time.reshape(-1, 1)
            alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(sign * gamma)) for sign in (-1, 1))
            return sigma * z / (alpha**2 * STD**2 + sigma**2)

    schedule = MonotoneGamma(LOW, HIGH, features=16)
    networks = {
        "model": jaxgen.Network(Exact(), jnp.zeros((1, 8)), jnp.zeros(1)),
        "schedule": jaxgen.Network(schedule, jnp.zeros(1)),
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(0))
    loss = vdm(Exact(), schedule, MEANING, feature="point")
    held = optax.masked(optax.set_to_zero(), {"model": {}, "schedule": {n: n in ("b", "w") for n in params["schedule"]}})
    player = jaxgen.Player(loss, optax.chain(optax.adam(0.1), held), owns=("model", "schedule"))
    state = game.create_state(KEY, params, {}, {"model": player})
    step = game.make_train_step({"model": player})
    points = STD * jax.random.normal(jax.random.key(9), (300, 64, 8))
    with jax.numpy_dtype_promotion("standard"):  # for optax
        state, _ = jax.jit(lambda state: jax.lax.scan(lambda s, x: (step(s, {"point": x})[0], None), state, points))(state)
    x0 = points[0]
    bits = [
        jax.jit(lambda params: vdm_bits(exact, gamma_of(schedule, params, {}), x0, KEY, samples=100))(p)
        for p in (params, state.params)
    ]
    before, after = ({name: float(values.mean()) for name, values in of.items()} for of in bits)
    assert after["transitions"] == pytest.approx(before["transitions"], rel=0.05)
    assert after["variance"] < 0.8 * before["variance"]


def test_times_lie_evenly_over_the_global_batch_however_it_is_cut() -> None:
    whole = spread_times(KEY, 3, jnp.arange(32))
    np.testing.assert_allclose(np.diff(np.sort(whole)), 1 / 32, atol=1e-6)
    np.testing.assert_array_equal(spread_times(KEY, 3, jnp.arange(5, 32, 8)), whole[5::8])
    assert ((whole >= 0) & (whole < 1)).all()
    odd = np.sort(spread_times(KEY, 3, jnp.arange(100)))
    assert np.diff(odd).max() <= 2 / 100
    first = [float(spread_times(KEY, step, jnp.arange(1))[0]) for step in range(200)]
    assert np.mean(first) == pytest.approx(0.5, abs=0.1)
    assert np.std(first) == pytest.approx(12**-0.5, abs=0.05)


def test_the_radical_inverse_reverses_all_digits() -> None:
    n = np.array([0, 1, 6, 1023, 2**20 + 1])
    expected = [sum(int(d) / 2 ** (i + 1) for i, d in enumerate(reversed(f"{m:b}"))) for m in n]
    np.testing.assert_allclose(radical_inverse(jnp.asarray(n)), expected, atol=2e-7)


def test_an_evaluation_draws_the_time_of_each_example_with_its_own_key() -> None:
    loss = jax.jit(vdm(Line(), SCHEDULE, MEANING), static_argnames="train")
    state = begun()
    batch = keys.by_example(KEY, BATCH)
    part = {name: values[4:6] for name, values in batch.items()}
    whole, alone = (loss(state.params, state, of, KEY, train=False)[0] for of in (batch, part))
    np.testing.assert_allclose(whole[4:6], alone, rtol=1e-5)
    later = loss(state.params, state._replace(step=jnp.int32(9)), batch, KEY, train=False)[0]
    np.testing.assert_array_equal(whole, later)


def test_micro_batches_and_one_batch_move_alike() -> None:
    player = jaxgen.Player(vdm(Line(), SCHEDULE, MEANING), optax.sgd(1e-3), owns=("model", "schedule"))
    batch = {**BATCH, "mask": jnp.arange(16) < 13}
    moved = []
    for accumulate in (1, 4):
        state = game.create_state(KEY, begun().params, {}, {"model": player})
        step = jax.jit(game.make_train_step({"model": player}, accumulate=accumulate))
        moved.append(step(state, batch)[0].params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *moved)


@pytest.mark.parametrize("schedule", [FixedGamma(LOW, HIGH), LinearGamma(LOW, HIGH)])
def test_schedules_without_an_interior_are_trained_by_the_bound(schedule: Any) -> None:
    own = schedule.init(KEY, jnp.zeros(1)).get("params", {})
    params = {"model": begun().params["model"], "schedule": own}
    loss = vdm(Line(), schedule, MEANING)
    found = jax.jit(jax.grad(lambda params: loss(params, begun(), BATCH, KEY, train=True)[0].mean()))(params)
    t = spread_times(begun().key, begun().step, BATCH["slot"])
    noise = keys.fold_in(keys.per_example(KEY, BATCH), 1)

    def bits(params: Any) -> jax.Array:
        network = lambda z, time: Line().apply({"params": params["model"]}, z, time)
        gamma = lambda t: schedule.apply({"params": params["schedule"]}, t)
        return vdm_bound(denoiser(network, MEANING), gamma, IMAGES, noise, t).bits["bits_per_dim"].mean()

    expected = jax.jit(jax.grad(bits))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)


def test_the_schedule_of_gamma_has_its_signal_to_noise_ratio() -> None:
    schedule = from_gamma(GAMMAS["line"])
    level = schedule.level(jnp.linspace(0, 1, 5))
    np.testing.assert_allclose(level.alpha**2 + level.sigma**2, 1.0, atol=1e-6)
    np.testing.assert_allclose(time_by_gamma(LOW, HIGH)(level), np.linspace(0, 1, 5), atol=1e-5)
    assert (schedule.start, schedule.end) == (0.0, 1.0)
    np.testing.assert_allclose(diffuse(jnp.ones((5, 1)), jnp.zeros((5, 1)), level)[:, 0], level.alpha)
