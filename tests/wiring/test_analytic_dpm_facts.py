"""What `experiments.analytic_dpm` is wired to, held against Bao et al. 2022 and the authors' code (github.com/baofff/
Analytic-DPM, core/inference: sampler/reverse_ddpm.py, sampler/reverse_ddim.py and ll/elbo.py)."""

import inspect
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import a_run, make
from wiring.conftest import Measured

import experiments.analytic_dpm as module
import jaxgen
from jaxgen import data, diffusion
from jaxgen.analysis.diffusion_model import DiffusionModel
from jaxgen.errors import UserError
from jaxgen.objectives.variational_bound import Bound
from jaxgen.runs import run

NAME, KEY = "analytic_dpm", jax.random.key(3)
CHAIN = diffusion.linear(6)
"""The chain of the tiny run that is measured."""
TRACK: Any = lambda x, **_: x
UNSAMPLED = DiffusionModel(lambda *_: None, (-1.0, 1.0))
"""Where only the sampler is looked at."""


def with_power(experiment: jaxgen.Experiment, power: Any) -> jaxgen.TrainState:
    """A state in which the power of the noise has been measured, once a step."""
    state = run.begin(experiment, 0)
    return state._replace(vars={**state.vars, "power": {"power": {"total": jnp.asarray(power), "count": jnp.ones(7)}}})


POWER = np.array([1.0, 0.2, 0.5, 0.6, 0.8, 0.85, 0.9], np.float32)


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    assert written["variance"] == "analytic"
    assert written["eta"] == 1.0
    assert written["largest_noise"] == pytest.approx(2 * 2 / 255 * (math.pi / 2) ** 0.5)


@pytest.mark.slow
def test_the_noise_of_training_images_is_measured_without_clipping() -> None:
    experiment = make(NAME, batch_size=8)
    state = run.begin(experiment, 0)
    part = experiment.frozen["diffusion"]
    images = data.examples(experiment.splits["train"], 8, data.scale(-1.0, 1.0))["image"]
    slots = jnp.arange(8, dtype=jnp.int32)
    keys = jax.vmap(lambda slot: jax.random.fold_in(KEY, slot))(slots)
    batch = {"image": images, "slot": slots, "key": keys}
    found, _ = experiment.players["power"].loss(state.params, state, batch, KEY, train=True)
    level = CHAIN.level(1 + slots % 6)
    eps = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
    xt = diffusion.diffuse(jnp.asarray(images), eps, level)
    out = part.module.apply({"params": jax.tree.map(jnp.asarray, part.params)}, xt, level.time)
    np.testing.assert_allclose(found, (np.asarray(out) ** 2).mean((1, 2, 3)), rtol=1e-4)
    assert (np.abs(np.asarray(out)) > 0).any()


def test_all_steps_of_the_chain_are_measured_as_often() -> None:
    experiment = make(NAME, batch_size=8)
    state, step = run.begin(experiment, 0), jax.jit(jaxgen.make_train_step(experiment.players))
    image = data.examples(experiment.splits["train"], 8, data.scale(-1.0, 1.0))["image"]
    for _ in range(3):
        state, _ = step(state, {"image": jnp.asarray(image), "slot": jnp.arange(8, dtype=jnp.int32)})
    np.testing.assert_array_equal(state.vars["power"]["power"]["count"], [0, 4, 4, 4, 4, 4, 4])


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls of the variational bound, which is not evaluated: the chain, its variances and the number of terms."""
    made: list[dict[str, Any]] = []

    def seen(denoise: Any, schedule: Any, x0: Any, key: Any, *, variance: Any, samples: Any) -> Any:
        made.append({"times": schedule.time, "variance": np.asarray(variance(schedule)), "samples": samples})
        nothing = jnp.zeros(len(x0))
        return Bound(nothing, nothing, nothing, 64)

    monkeypatch.setattr(module.objectives, "variational_bound", seen)
    return made


def test_the_bounds_are_of_three_variances_on_one_chain_and_of_the_optimal_one(bounds: list[dict[str, Any]]) -> None:
    experiment = make(NAME, sampling_steps=3, nll_samples=2)
    found = experiment.final["test"](with_power(experiment, POWER), KEY, TRACK)
    names = ["", "optimal_chain_", "small_", "large_"]
    assert {f"{name}bits_per_dim" for name in names} < set(found)
    assert all(call["samples"] == 2 for call in bounds)
    even, optimal = diffusion.spaced(CHAIN, 3, first=True), diffusion.optimal_chain(CHAIN, POWER, 3)
    analytic = diffusion.analytic_variance(CHAIN, POWER.astype(np.float64))
    of = [(even, analytic), (optimal, analytic), (even, diffusion.small_variance), (even, diffusion.large_variance)]
    for call, (chain, variance) in zip(bounds[:: len(bounds) // 4], of, strict=True):
        np.testing.assert_array_equal(call["times"], chain.time)
        np.testing.assert_allclose(call["variance"][2:], variance(chain)[2:], rtol=1e-5)
        # The decoder's: between the steps 1 and 2 of the whole chain.
        assert call["variance"][1] == pytest.approx(CHAIN.posterior_variance[2])


@pytest.mark.parametrize(("variance", "eta"), [("analytic", 1.0), ("analytic", 0.0), ("small", 0.5), ("large", 1.0)])
def test_samples_have_the_variance_that_is_asked_for(variance: Any, eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Any] = []
    chains = sys.modules["jaxgen.samplers.ancestral"]
    march = chains.march
    monkeypatch.setattr(chains, "march", lambda table: tables.append(table) or march(table))
    made: list[Any] = []
    monkeypatch.setattr(module.diffusion_model, "of_learned_sampler", lambda *of, **how: made.append(of) or UNSAMPLED)
    experiment = make(NAME, sampling_steps=3, variance=variance, eta=eta, largest_noise=0.05)
    _, sampler, start, shape = made[-1]  # those before it are the frozen run's
    chain = diffusion.spaced(CHAIN, 3, first=True)
    assert (float(start.sigma), shape) == (pytest.approx(CHAIN.sigma[6]), (8, 8, 1))
    tables.clear()
    sampler(with_power(experiment, POWER))
    table = tables[-1]
    np.testing.assert_array_equal(table.level.time, chain.time[:0:-1])
    posterior, expected = chain.posterior_variance[:0:-1], chain.beta[:0:-1]
    if variance == "small":
        expected = eta**2 * posterior
    elif variance == "analytic":
        a, c = chain.alpha[:0:-1], chain.sigma[:0:-1] ** 2
        kept = np.sqrt((chain.sigma[-2::-1] ** 2 - eta**2 * posterior) / c)
        known = diffusion.data_covariance(CHAIN, POWER)[chain.time[:0:-1].astype(int)]
        expected = eta**2 * posterior + (chain.alpha[-2::-1] - kept * a) ** 2 * known
        assert expected[1] > 0.05**2
        expected[1] = 0.05**2
    np.testing.assert_allclose(np.asarray(table.variance)[:-1], expected[:-1], rtol=1e-4)
    assert table.variance[-1] == 0


def test_what_is_measured_is_not_clipped_and_what_is_sampled_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    by = module.diffusion_model.denoise_by
    monkeypatch.setattr(module.diffusion_model, "denoise_by", lambda *of, **how: made.append(how) or by(*of, **how))
    experiment = make(NAME)
    state = run.begin(experiment, 0)
    jax.eval_shape(lambda state: experiment.sample(state, KEY, jaxgen.given(1)), state)
    assert {how["clip"] for how in made} == {(-1.0, 1.0)}
    made.clear()
    batch = {"image": jnp.zeros((1, 8, 8, 1)), "slot": jnp.zeros(1, jnp.int32)}
    jax.eval_shape(lambda state: experiment.players["power"].loss(state.params, state, batch, KEY, train=True)[0], state)
    assert [how["clip"] for how in made] == [None]


def test_data_are_read_where_they_belong(measured: list[Measured]) -> None:
    experiment = make(NAME)
    # Those before it are the frozen run's.
    assert measured[-1].source is experiment.splits["test"]
    images = {"image": jnp.asarray([[[[0, 255]]]], jnp.uint8)}
    np.testing.assert_allclose(measured[-1].transform(images, KEY)["image"].ravel(), [-1, 1])
    assert "train" in experiment.train.names[0]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"sampling_steps": 1}, "--sampling-steps 1 is not between 2 and the 6 of"),
        ({"sampling_steps": 7}, "--sampling-steps 7 is not between 2 and the 6 of"),
        ({"eta": 1.5}, "--eta 1.5 is more than 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(NAME, **flags)


@pytest.mark.slow
@pytest.mark.parametrize("parent", ["vqvae", "flow_matching"])
def test_a_run_that_is_no_chain_is_refused(parent: str) -> None:
    with pytest.raises(UserError, match=r"is no diffusion model on a chain of steps; give a run of experiments\.ddpm"):
        make(NAME, model=a_run(parent))


def test_images_of_another_size_are_refused() -> None:
    rows = {"image": np.zeros((8, 9, 9, 1), np.uint8)}
    with pytest.raises(UserError, match="images of --dataset are 9x9x1, and those of --model 8x8x1"):
        make(NAME, dataset=(data.from_arrays(rows, name="large"), data.from_arrays(rows, name="large")))
