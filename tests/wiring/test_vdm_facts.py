"""What `experiments.vdm` is wired to, held against Kingma et al. 2021 and the authors' code (github.com/google-research/vdm:
configs/cifar10.py, experiment.py, model_vdm.py).

A network of three numbers stands in for the paper's."""

import inspect
import math
import re
import shlex
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured

import experiments.vdm as module
import jaxgen
from jaxgen import data, keys
from jaxgen.diffusion import EPSILON, denoiser, time_by_gamma, timed
from jaxgen.models.diffusion import FixedGamma, LinearGamma, MonotoneGamma, presets
from jaxgen.objectives import gamma_of, nearest_level, vdm_bound
from jaxgen.objectives.learned_schedule import spread_times
from jaxgen.samplers import along_gamma
from jaxgen.types import Batch

KEY = jax.random.key(2)
LINE = lambda t: -13.3 + 18.3 * t


class Numbers(nn.Module):
    """`of_x z + of_time time + in_training`, all 0 at the start."""

    @nn.compact
    def __call__(self, z: Any, time: Any, *, train: bool = False) -> Any:
        p = {name: self.param(name, nn.initializers.zeros_init(), ()) for name in ("of_x", "of_time", "in_training")}
        out = p["of_x"] * z + p["of_time"] * time.reshape(-1, 1, 1, 1)
        return out + p["in_training"] if train else out


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of the networks that a test's experiments make."""
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def vdm(*args: Any, **fields: Any) -> nn.Module:
        asked.append((args, fields))
        return Numbers()

    monkeypatch.setattr(presets, "vdm", vdm)
    return asked


def state_of(gamma: str = "fixed", **numbers: float) -> jaxgen.TrainState:
    params = {"model": {name: jnp.float32(numbers.get(name, 0.0)) for name in ("of_x", "of_time", "in_training")}}
    own = {"fixed": {}, "scalar": {"b": jnp.float32(-12.0), "w": jnp.float32(16.0)}}
    return jaxgen.TrainState(jnp.int32(4), jax.random.key(0), {**params, "schedule": own[gamma]}, {}, {}, {}, {})


def images(n: int = 64) -> jax.Array:
    k = np.random.default_rng(0).integers(0, 256, (n, 2, 2, 1))
    return jnp.asarray(2 * (k + 0.5) / 256 - 1, jnp.float32)


def test_the_defaults_are_the_authors_where_they_do_not_depend_on_the_images() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    expected = {"gamma_ends": (-13.3, 5.0), "weight_decay": 0.01, "warmup": 100, "dropout": 0.1, "bound_steps": None}
    expected |= {"flip": False, "attend": False, "nll_steps": 1000, "gamma": "network", "accumulate": 1}
    assert {name: written[name] for name in expected} == expected


def test_the_papers_command_makes_the_papers_network(made: Any) -> None:
    text = (module.__doc__ or "").replace("\\\n", " ")
    command = next(line for line in text.splitlines() if "--dataset cifar10" in line)
    words = shlex.split(command.split("#")[0])
    told = dict(re.findall(r"--(\S+) (\S+)", " ".join(words)))
    expected = {"gamma": "scalar", "width": "128", "blocks": "32", "learning-rate": "2e-4", "batch-size": "128"}
    expected |= {"ema": "0.9999", "sampling-steps": "1000", "steps": "10000000"}
    assert told.items() >= expected.items()
    make("vdm", width=128, blocks=32)
    (args, fields) = made[0]
    assert args == (128, 32)
    expected_fields = {"attention_levels": (), "outputs": 1, "dropout": 0.1, "remat": False, "dtype": jnp.float32}
    assert fields == expected_fields


def test_flags_reach_the_network(made: Any) -> None:
    make("vdm", width=8, blocks=3, attend=True, dropout=0.4, remat=True, bf16=True)
    assert made == [((8, 3), {"attention_levels": (0,), "outputs": 1, "dropout": 0.4, "remat": True, "dtype": jnp.bfloat16})]


@pytest.mark.parametrize(("gamma", "kind"), [("fixed", FixedGamma), ("scalar", LinearGamma), ("network", MonotoneGamma)])
def test_gammas(gamma: str, kind: Any) -> None:
    experiment = make("vdm", gamma=gamma, gamma_ends=(-8.0, 3.0))
    assert experiment.networks["schedule"].module == kind(-8.0, 3.0)
    assert experiment.players["model"].owns == ("model", "schedule")
    assert list(experiment.players) == ["model"]


@pytest.mark.parametrize("flags", [{}, {"bound_steps": 5}, {"gamma_ends": (-10.0, 6.0)}, {"gamma": "scalar"}], ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_the_loss_is_the_bound_in_bits_of_a_network_that_hears_gamma(flags: dict[str, Any], train: bool) -> None:
    experiment = make("vdm", **{"gamma": "fixed", **flags})
    state, x0 = state_of(flags.get("gamma", "fixed"), of_x=0.7, of_time=1.3), images()
    batch: Batch = keys.by_example(KEY, {"image": x0, "slot": jnp.arange(64) + 64})
    found, aux = experiment.players["model"].loss(state.params, state, batch, KEY, train=train)
    low, high = flags.get("gamma_ends", (-13.3, 5.0))
    times, noise = (keys.fold_in(batch["key"], i) for i in (0, 1))
    t = spread_times(state.key, 4, batch["slot"]) if train else jax.vmap(jax.random.uniform)(times)
    network = lambda z, time: 0.7 * z + 1.3 * time.reshape(-1, 1, 1, 1)
    gamma = (lambda t: -12.0 + 16.0 * t) if "gamma" in flags else lambda t: low + (high - low) * t
    denoise = denoiser(network, timed(EPSILON, time_by_gamma(low, high)))
    expected = vdm_bound(denoise, gamma, x0, noise, t, steps=flags.get("bound_steps"))
    np.testing.assert_allclose(found, expected.bits["bits_per_dim"], rtol=1e-3)
    assert {"bits_per_dim", "prior", "transitions", "decoder", "gamma_0", "gamma_1"} == set(aux.metrics)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = make("vdm", gamma="fixed")
    batch = keys.by_example(KEY, {"image": images(), "slot": jnp.arange(64)})

    def loss(state: jaxgen.TrainState, train: bool) -> jax.Array:
        return experiment.players["model"].loss(state.params, state, batch, KEY, train=train)[0]

    losses = [
        float(loss(state_of(in_training=n), train).mean())
        for n, train in ((0.0, True), (9.0, True), (0.0, False), (9.0, False))
    ]
    assert losses[1] > 2 * losses[0]
    assert losses[2] == losses[3]
    finals = [measured[1].measure(state_of(in_training=n), batch, KEY)["bits_per_dim"] for n in (0.0, 9.0)]
    np.testing.assert_array_equal(*finals)


def test_gamma_moves_at_its_own_rate_without_decay_and_each_gradient_is_bounded() -> None:
    tx = make("vdm", learning_rate=1e-3, gamma_rate=0.05, weight_decay=0.5, warmup=2, clip=1.0, steps=9).players["model"].tx
    params = {"model": {"kernel": jnp.full(2, 4.0), "bias": jnp.full(2, 4.0)}, "schedule": {"b": jnp.float32(-13.3)}}
    opt = tx.init(params)
    moves = []
    for g in (300.0, 300.0, 3000.0):
        grads = jax.tree.map(lambda p, g=g: jnp.full(p.shape, g), params)
        grads["schedule"]["b"] = jnp.float32(0.01)
        moved, opt = tx.update(grads, opt, params)
        moves.append(jax.tree.map(float, jax.tree.map(lambda m: m.ravel()[0], moved)))
    assert moves[0] == {"model": {"kernel": 0.0, "bias": 0.0}, "schedule": {"b": 0.0}}
    for move, share in ((moves[1], 0.5), (moves[2], 1.0)):
        assert move["model"]["bias"] == pytest.approx(-1e-3 * share, rel=1e-3)
        assert move["model"]["kernel"] == pytest.approx(-1e-3 * share * (1 + 0.5 * 4), rel=1e-3)
        assert move["schedule"]["b"] == pytest.approx(-0.05 * share, rel=1e-3)


def test_both_optimizers_have_a_beta2_of_0_99() -> None:
    tx = make("vdm", warmup=0, learning_rate=0.1, gamma_rate=0.1, clip=1e6).players["model"].tx
    params = {"model": {"bias": jnp.ones(())}, "schedule": {"b": jnp.ones(())}}
    opt, m, v = tx.init(params), 0.0, 0.0
    for t, g in enumerate((1.0, 0.1, 0.1), start=1):
        moved, opt = tx.update(jax.tree.map(lambda p, g=g: jnp.full(p.shape, g), params), opt, params)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        expected = -0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-8)
        assert jax.tree.leaves(moved) == pytest.approx([expected, expected], rel=1e-4)


def test_bits_are_those_of_continuous_time_and_of_steps(measured: list[Measured]) -> None:
    """A network that finds none of the noise: half the way of gamma, or the sum of its steps' expm1, for each dimension."""
    make("vdm", gamma="fixed", nll_samples=64, nll_steps=64)
    batch = keys.by_example(KEY, {"image": images(300), "slot": jnp.arange(300)})
    found = {name: float(np.mean(v)) for name, v in jax.jit(measured[1].measure)(state_of(), batch, KEY).items()}
    assert found["transitions"] == pytest.approx(0.5 * 18.3 / math.log(2), rel=0.01)
    ends = found["bits_per_dim"] - found["transitions"]
    in_steps = 64 * 0.5 * np.expm1(18.3 / 64) / math.log(2)
    assert found["bits_per_dim_in_steps"] - ends == pytest.approx(in_steps, rel=0.01)
    assert ends == pytest.approx(found["prior"] + found["decoder"], rel=1e-3)
    # Of four numbers, each squared noise has a variance of 2.
    assert found["variance"] == pytest.approx((0.5 * 18.3 / math.log(2)) ** 2 * 2 / 4, rel=0.1)


def test_as_many_times_are_taken_as_asked(measured: list[Measured]) -> None:
    batch = keys.by_example(KEY, {"image": images(200), "slot": jnp.arange(200)})
    spread = []
    for samples in (1, 25):
        make("vdm", gamma="fixed", nll_samples=samples)
        spread.append(float(np.std(jax.jit(measured[-1].measure)(state_of(), batch, KEY)["transitions"])))
    assert spread[0] == pytest.approx(5 * spread[1], rel=0.25)


@pytest.mark.parametrize("flags", [{"gamma": "scalar", "sampling_steps": 7}, {"gamma": "fixed", "sampling_steps": 2}], ids=str)
def test_samples_walk_along_the_states_gamma_and_lie_on_levels(flags: dict[str, Any]) -> None:
    experiment, state = make("vdm", **flags), state_of(flags["gamma"], of_x=0.3, of_time=0.2)
    found = np.asarray(experiment.sample(state, KEY, jaxgen.given(6)))
    first, path = jax.random.split(KEY)
    gamma = LINE if flags["gamma"] == "fixed" else lambda t: -12.0 + 16.0 * t
    network = lambda z, time: 0.3 * z + 0.2 * time.reshape(-1, 1, 1, 1)
    walk = along_gamma(gamma(jnp.linspace(0.0, 1.0, flags["sampling_steps"] + 1)), nearest_level)
    x = walk(denoiser(network, timed(EPSILON, time_by_gamma(-13.3, 5.0))), jax.random.normal(first, (6, 8, 8, 1)), path).x
    expected = np.round((np.asarray(x) + 1) * 128 - 0.5)
    np.testing.assert_allclose(found * 255, expected, atol=1e-2)
    assert (np.abs(found * 255 - np.round(found * 255)) < 1e-2).all()
    assert len(np.unique(expected)) > 5


@pytest.mark.parametrize("flip", [False, True])
def test_bytes_lie_on_the_middles_of_levels_and_training_images_alone_are_mirrored(
    flip: bool, measured: list[Measured]
) -> None:
    experiment = make("vdm", flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    levels = 2 * (np.array([0, 51, 255]) + 0.5) / 256 - 1
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, levels[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(seen, levels, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    assert len(measured) == 2
    for _, _, transform in measured:
        found = transform({"image": image, "index": 3}, jax.random.key(3))["image"].ravel()
        np.testing.assert_allclose(found, levels, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make("vdm", gamma="fixed")
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)
    assert experiment.pictures["samples"](state_of(), KEY).caption.startswith("Samples, 4 ancestral steps;")


def test_late_flags_averages_and_protocols() -> None:
    experiment = make("vdm", ema=0.9, accumulate=2)
    assert (experiment.ema, experiment.accumulate, experiment.sampling) == (0.9, 2, ("sampling_steps",))
    assert experiment.protocol == {
        **dict.fromkeys(("bits_per_dim", "prior", "transitions", "decoder", "variance"), ("nll_samples",)),
        "bits_per_dim_in_steps": ("nll_samples", "nll_steps"),
    }
    assert float(experiment.schedules["learning_rate"](50)) == pytest.approx(1e-3)


def test_ends_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--gamma-ends 5 -13.3 do not ascend; give the end of little noise first\.$"):
        make("vdm", gamma_ends=(5.0, -13.3))


def test_a_schedule_of_a_state_is_gamma_of_its_parameters() -> None:
    state = state_of("scalar")
    assert float(gamma_of(LinearGamma(), state.params, {})(jnp.float32(0.5))) == pytest.approx(-4.0)
