"""What `experiments.iwae` is wired to, held against Burda et al. 2015, section 5, and the paper's code
(github.com/yburda/iwae: experiments.py, iwae.py, nnet.py, datasets.py)."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.readable import assert_advised

import experiments.iwae
import jaxgen
from jaxgen import data
from jaxgen.types import Batch

N = 1437
"""Training images of digits."""


def state_of(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    params, vars = experiment.initial(jax.random.key(0))
    return jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)


def leaves(experiment: jaxgen.Experiment) -> dict[str, np.ndarray]:
    params, _ = experiment.initial(jax.random.key(0))
    return {jax.tree_util.keystr(path): np.asarray(v) for path, v in jax.tree_util.tree_leaves_with_path(params["model"])}


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.iwae.experiment).parameters.items()}
    facts: dict[str, Any] = {"latents": 50, "hidden": (200, 200), "batch_size": 20, "nll_samples": 5000, "k": 1}
    facts["binarization"] = "dynamic"
    assert {name: written[name] for name in facts} == facts


def test_stage_i_has_3_to_the_i_epochs_at_a_rate_that_falls_by_a_tenth_in_seven() -> None:
    experiment = make("iwae", batch_size=20, stages=8, steps=None)
    epoch, rate = N / 20, experiment.schedules["learning_rate"]
    assert experiment.steps == round(3280 * epoch)
    end = 0.0
    for i in range(8):
        for step in (math.ceil(end) + 1, (2 * end + 3**i * epoch) / 2, math.floor(end + 3**i * epoch) - 1):
            assert float(rate(int(step))) == pytest.approx(1e-3 * 10 ** (-i / 7), rel=1e-5), (i, step)
        end += 3**i * epoch


@pytest.mark.parametrize("batch_size", [20, 8])
def test_the_player_moves_by_adam_with_a_large_epsilon(batch_size: int) -> None:
    """beta 0.9 and 0.999, both corrected, and epsilon 1e-4 beside the root."""
    player = make("iwae", batch_size=batch_size, stages=1).players["model"]
    rng, w = np.random.default_rng(0), {"w": jnp.zeros((4, 3))}
    opt, m, v = player.tx.init(w), 0.0, 0.0
    for step in range(1, 6):
        g = rng.normal(size=(4, 3)) * np.array([1e-5, 1e-3, 1.0])
        updates, opt = player.tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = -1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-4)
        np.testing.assert_allclose(updates["w"], expected, rtol=2e-3)


@pytest.mark.parametrize("later", [10_000, N])
def test_the_output_starts_from_the_mean_of_all_training_images(later: int) -> None:
    """Also of those after the first 10,000, and before they are binarised; the test images have no part in it."""
    images = np.zeros((later + 500, 2, 3, 1), np.uint8)
    images[:, 0] = 51
    images[later:, 1] = 255
    train = data.from_arrays({"image": images}, name="two halves")
    test = data.from_arrays({"image": np.full((9, 2, 3, 1), 128, np.uint8)}, name="grey")
    params, _ = make("iwae", dataset=(train, test)).initial(jax.random.key(0))
    (bias,) = [v for v in jax.tree.leaves(params["model"]) if v.shape == (6,)]
    mean = np.array([0.2] * 3 + [500 / (later + 500)] * 3)
    np.testing.assert_allclose(jax.nn.sigmoid(bias), mean, rtol=1e-4)


def test_a_pixel_that_never_changes_starts_at_a_thousandth() -> None:
    never = data.load("digits", "train").gather(np.arange(N))["image"].max(0).ravel() == 0
    assert never.any()
    bias = next(v for path, v in leaves(make("iwae")).items() if v.shape == (64,))
    np.testing.assert_allclose(jax.nn.sigmoid(bias[never]), 1e-3, rtol=1e-4)


def test_weights_start_as_glorots_and_all_other_biases_at_zero() -> None:
    for path, v in leaves(make("iwae", latents=30, hidden=(50, 40))).items():
        if "kernel" in path:
            # The two heads of the posterior are one matrix here, and two of this limit or a little more there.
            limit = math.sqrt(6 / sum(v.shape))
            assert 0.9 * limit < np.abs(v).max() <= limit, path
            assert v.std() == pytest.approx(limit / math.sqrt(3), rel=0.1), path
        elif v.shape != (64,):
            assert not v.any(), path


def test_pixels_are_drawn_anew_at_each_visit_with_their_intensity() -> None:
    stream = make("iwae", binarization="dynamic").train
    batch: Batch = {"image": jnp.full((4000, 1, 1, 1), 51, jnp.uint8), "slot": jnp.arange(4000)}
    once, again = (np.asarray(stream.transform(batch, jax.random.key(i))["image"]) for i in range(2))
    assert set(np.unique(once)) == {0.0, 1.0}
    assert once.mean() == pytest.approx(0.2, abs=0.03)
    assert (once != again).mean() == pytest.approx(2 * 0.2 * 0.8, abs=0.04)


def test_static_pixels_are_drawn_once_for_an_image() -> None:
    stream = make("iwae", binarization="static").train
    batch: Batch = {"image": jnp.full((300, 4, 4, 1), 100, jnp.uint8), "slot": jnp.arange(300), "index": jnp.arange(300)}
    once, again = (np.asarray(stream.transform(batch, jax.random.key(i))["image"]) for i in range(2))
    np.testing.assert_array_equal(once, again)
    assert once[0].tolist() != once[1].tolist()


@pytest.mark.parametrize("k", [1, 3])
def test_training_has_k_samples_and_the_figure_as_many_as_it_says(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, dict[str, Any]] = {}
    for name in ("importance_weighted", "importance_weighted_nll"):
        whole = getattr(experiments.iwae.objectives, name)

        def spied(model: Any, name: str = name, whole: Any = whole, **options: Any) -> Any:
            asked[name] = options
            return whole(model, **options)

        monkeypatch.setattr(experiments.iwae.objectives, name, spied)
    experiment = make("iwae", k=k, nll_samples=7)
    found = experiment.final["test"](state_of(experiment), jax.random.key(0), lambda items, **_: items)
    assert asked == {"importance_weighted": {"samples": k}, "importance_weighted_nll": {"samples": 7, "chunk": 100}}
    assert np.isfinite(found["nll"])


def test_layers_are_tanh_and_the_posteriors_deviation_an_exponential() -> None:
    """With all weights zero but one path, the mean of q is tanh(tanh(b)) and its deviation an exponential of it."""
    experiment = make("iwae", latents=1, hidden=(1, 1))
    state = state_of(experiment)
    flat, tree = jax.tree_util.tree_flatten_with_path(state.params["model"])
    filled = [jnp.full_like(v, 0.7 if "bias" in str(path[-1]) else 0.3) for path, v in flat]
    params = {"model": jax.tree_util.tree_unflatten(tree, filled)}
    x = jnp.ones((1, 8, 8, 1))
    h = math.tanh(0.3 * math.tanh(0.3 * 64 + 0.7) + 0.7)
    mu = sigma = 0.3 * h + 0.7
    sigma = math.exp(sigma)

    def logit(z: np.ndarray) -> np.ndarray:
        return 0.3 * np.tanh(0.3 * np.tanh(0.3 * z + 0.7) + 0.7) + 0.7

    # k = 1: the mean over many draws is E_q[log p(x | z) + log p(z) - log q(z | x)].
    loss = experiment.players["model"].loss
    draws = jax.vmap(lambda key: loss(params, state, {"image": x}, key, train=False)[0][0])(
        jax.random.split(jax.random.key(0), 4000)
    )
    z, w = np.polynomial.hermite_e.hermegauss(60)
    codes = mu + sigma * z
    reconstruction = (w / w.sum() * -64 * np.log1p(np.exp(-logit(codes)))).sum()
    kl = (mu**2 + sigma**2 - 1) / 2 - math.log(sigma)
    assert float(draws.mean()) == pytest.approx(kl - reconstruction, rel=0.05)


def test_active_units_are_counted_over_the_test_set_and_watched(measured: list, counted: list) -> None:
    """KLs of m^2 / 2 nats, of means alone: two latents above 0.01 and one below."""
    experiment = make("iwae", latents=3, hidden=(1,))
    assert_advised(experiment, "test/active")
    assert [(alarm.below, alarm.after) for alarm in experiment.alarms] == [(1, 1000)]
    state = state_of(experiment)
    flat, tree = jax.tree_util.tree_flatten_with_path(state.params["model"])
    means = {6: jnp.array([0.2, 0.1, 0.2, 0.0, 0.0, 0.0])}  # of the head: the means, then the logs of the deviations
    filled = [means.get(v.size, jnp.zeros_like(v)) if v.ndim == 1 else jnp.zeros_like(v) for _, v in flat]
    state = state._replace(params={"model": jax.tree_util.tree_unflatten(tree, filled)})
    found = experiment.evaluators["test"](state, jax.random.key(0), lambda items, **_: items)
    assert found == {"active": 2.0}
    assert counted == [experiment.splits["test"]]
