"""What `experiments.modes` is wired to, held against Srivastava et al. 2017 (VEEGAN), section 5.1: two layers of 128, 2,500
samples, high quality within three standard deviations; the mixtures' numbers, with z of two dimensions, as in Lin et al. 2018
(github.com/fjxmlzn/PacGAN: synthetic_data_experiments/2DGrid_GAN&PacGAN and 2DRing_GAN&PacGAN, config.py). The methods are
Goodfellow et al. 2014, Gulrajani et al. 2017 and Ho et al. 2020, with rates, batches and a weight of the penalty of our own."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring import readable
from wiring.readable import defaults, moves, shapes, state_of, told

import experiments.modes
import jaxgen
from jaxgen import data, keys
from jaxgen.metrics import transport
from jaxgen.types import Batch

FOLDED = {"generator/Dense_0/kernel": np.array([[1, -1, 0, 0], [0, 0, 1, -1]])}
"""Of z the parts above and below zero, of which a layer of rectifiers lets both through."""
GRID = np.array([[x, y] for x in range(-4, 5, 2) for y in range(-4, 5, 2)], np.float64)
RING = np.array([[math.cos(a), math.sin(a)] for a in np.arange(8) * math.pi / 4])
MIXTURES = {"gaussian_ring": (RING, 0.01), "gaussian_grid": (GRID, 0.05)}


@functools.cache
def stand_in(dataset: str, split: str) -> data.Source:
    """Points of a mixture: more of the test split than are shown, and others than those of training."""
    centres, std = MIXTURES[dataset]
    rng = np.random.default_rng(len(split))
    points = centres[rng.integers(len(centres), size=10_050)] + std * rng.normal(size=(10_050, 2))
    return data.from_arrays({"point": points[: 300 if split == "train" else None].astype(np.float32)}, name=dataset)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the two sets, of 100,000 points, which `tests/data/test_mixtures.py` holds."""
    monkeypatch.setattr(data, "train_and_test", lambda dataset, **_: (stand_in(dataset, "train"), stand_in(dataset, "test")))


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("modes", **{"hidden": (4,), **flags})


def shown(scale: float = 1.0, at: Any = 0.0) -> dict[str, Any]:
    """A generator of `scale z + at`."""
    unfolded = scale * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    return FOLDED | {"generator/Dense_1/kernel": unfolded, "generator/Dense_1/bias": at}


def linear(slope: tuple[float, float], offset: float = 0.0) -> dict[str, Any]:
    """A discriminator whose logit is `slope x + offset`, by two rectifiers."""
    x, y = slope
    return {
        "discriminator/Dense_0/kernel": np.array([[x, -x, 0, 0], [y, -y, 0, 0]]),
        "discriminator/Dense_1/kernel": np.array([[1.0], [-1], [0], [0]]),
        "discriminator/Dense_1/bias": offset,
    }


@functools.cache
def counted(dataset: str, scale: float, mode: int) -> Any:
    """What is reported of samples about one mode, in units of the mixture's standard deviation."""
    centres, std = MIXTURES[dataset]
    experiment = plain(dataset=dataset, method="gan")
    state = state_of(experiment, shown(scale * std, centres[mode]))
    return experiment.evaluators["test"](state, jax.random.key(1), lambda items, **_: items)


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"dataset": "gaussian_ring", "method": "wgan_gp", "latents": 2, "hidden": (128, 128)}
    facts |= {"steps": 20_000, "batch_size": 500, "learning_rate": None, "decay_steps": 20_000}
    assert {name: defaults(experiments.modes.experiment)[name] for name in facts} == facts


@pytest.mark.parametrize(("dataset", "mode"), [("gaussian_ring", 0), ("gaussian_ring", 5), ("gaussian_grid", 7)])
def test_samples_of_high_quality_lie_within_three_standard_deviations_of_a_mode(dataset: str, mode: int) -> None:
    """Of points of a mode's own law exp(-9/2) are outside; of twice the width exp(-9/8)."""
    for scale, share in ((1.0, 1 - math.exp(-9 / 2)), (2.0, 1 - math.exp(-9 / 8))):
        found = counted(dataset, scale, mode)
        assert set(found) == {"modes", "high_quality", "high_quality_stderr", "reverse_kl", "diversity", "diversity_stderr"}
        assert found["high_quality"] == pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / 2500))
        assert found["modes"] == 1
        # In nats: all samples are nearest to one of the modes.
        assert found["reverse_kl"] == pytest.approx(math.log(len(MIXTURES[dataset][0])), rel=1e-5)


def test_2500_samples_are_counted() -> None:
    found = counted("gaussian_ring", 2.0, 0)
    share = found["high_quality"]
    assert share * 2500 == pytest.approx(round(share * 2500), abs=1e-3)
    assert found["high_quality_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 2499), rel=1e-5)
    assert any(share * n % 1 > 0.01 for n in (1000, 1250, 500))


def test_points_are_trained_on_as_they_are_of_the_training_split() -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    whole, rows = stand_in("gaussian_ring", "train"), np.arange(300)
    assert experiment.train.source.length == whole.length
    np.testing.assert_array_equal(experiment.train.source.gather(rows)["point"], whole.gather(rows)["point"])
    batch: Batch = {"point": jnp.asarray([[0.3, -2.0]]), "slot": jnp.arange(1)}
    np.testing.assert_array_equal(experiment.train.transform(batch, jax.random.key(0))["point"], batch["point"])


@pytest.mark.parametrize("method", ["gan", "wgan_gp"])
def test_samples_are_points_of_normal_codes(method: str) -> None:
    experiment = plain(method=method)
    z = np.asarray(experiment.sample(state_of(experiment, shown(3.0, 1.0)), jax.random.key(0), jaxgen.given(2000)), np.float64)
    assert z.shape == (2000, 2)
    assert stats.kstest((z.ravel() - 1) / 3, "norm").pvalue > 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.1


def test_the_networks_of_the_adversarial_methods() -> None:
    """Two layers of 128 rectifiers for both; the last layer of each is linear."""
    found = shapes(make("modes", method="gan", hidden=(128, 128)))
    assert found == {
        "generator/Dense_0/kernel": (2, 128),
        "generator/Dense_0/bias": (128,),
        "generator/Dense_1/kernel": (128, 128),
        "generator/Dense_1/bias": (128,),
        "generator/Dense_2/kernel": (128, 2),
        "generator/Dense_2/bias": (2,),
        "discriminator/Dense_0/kernel": (2, 128),
        "discriminator/Dense_0/bias": (128,),
        "discriminator/Dense_1/kernel": (128, 128),
        "discriminator/Dense_1/bias": (128,),
        "discriminator/Dense_2/kernel": (128, 1),
        "discriminator/Dense_2/bias": (1,),
    }


@pytest.mark.parametrize("method", ["gan", "wgan_gp"])
def test_the_losses_of_both_players(method: str) -> None:
    """Of samples (1, -2) and a discriminator of 2x + y: rectifiers of slope zero below, as the logit is exactly linear."""
    experiment = plain(method=method)
    state = state_of(experiment, shown(0.0, np.array([1.0, -2])) | linear((2.0, 1.0), 0.5))
    points = np.random.default_rng(0).normal(size=(6, 2))
    real, fake = points @ np.array([2.0, 1]) + 0.5, np.full(6, 0.5)
    batch: Batch = {"point": jnp.asarray(points, jnp.float32)}
    values, metrics = told(experiment, "discriminator", state, batch)
    generated, _ = told(experiment, "generator", state, batch)
    if method == "gan":
        np.testing.assert_allclose(values, np.logaddexp(0, -real) + np.logaddexp(0, fake), rtol=1e-4)
        np.testing.assert_allclose(generated, np.logaddexp(0, -fake), rtol=1e-5)
        assert set(metrics) == {"real_probability", "fake_probability"}
    else:
        # lambda = 1, and the gradient's norm is the root of five.
        np.testing.assert_allclose(metrics["penalty"], (math.sqrt(5) - 1) ** 2, rtol=1e-5)
        np.testing.assert_allclose(values, fake - real + (math.sqrt(5) - 1) ** 2, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(generated, -fake, rtol=1e-5)


def test_the_networks_of_veegan() -> None:
    """As its authors' code: noise of one number beside a point for F, and a discriminator with one layer of 128."""
    found = shapes(make("modes", method="veegan", hidden=(128, 128)))
    kernels = {name.removesuffix("/kernel"): shape for name, shape in found.items() if name.endswith("kernel")}
    assert kernels == {
        "generator/Dense_0": (254, 128),
        "generator/Dense_1": (128, 128),
        "generator/Dense_2": (128, 2),
        "reconstructor/Dense_0": (3, 128),
        "reconstructor/Dense_1": (128, 128),
        "reconstructor/Dense_2": (128, 254),
        "discriminator/Dense_0": (256, 128),
        "discriminator/Dense_1": (128, 1),
    }
    params, _ = make("modes", method="veegan", hidden=(128, 128)).initial(jax.random.key(0))
    for name, (inputs, outputs) in kernels.items():
        network, layer = name.split("/")
        kernel = np.asarray(params[network][layer]["kernel"])
        limit = math.sqrt(6 / (inputs + outputs))  # Xavier's uniform
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.05)
        assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.1)


@pytest.fixture
def two_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.modes, "LATENTS", 2)


@pytest.mark.usefixtures("two_latents")
def test_veegan_is_one_player_whose_networks_move_by_one_adam_each_at_once() -> None:
    """The reconstruction of z by an F that says 0.5, from a G at (1, -2), beside a D that always says 0.3."""
    experiment = plain(method="veegan")
    assert list(experiment.players) == ["game"]
    values = {
        "generator/Dense_1/bias": np.array([1.0, -2]),
        "reconstructor/Dense_1/bias": 0.5,
        "discriminator/Dense_1/bias": 0.3,
    }
    state = state_of(experiment, values)
    batch: Batch = {"point": jnp.zeros((4000, 2))}
    total, metrics = told(experiment, "game", state, batch)
    np.testing.assert_allclose(metrics["discriminator/loss"], np.log1p(np.exp(-0.3)) + np.log1p(np.exp(0.3)), rtol=1e-5)
    # N(z; 0.5, I): the mean of the square is 1 + 0.25 in each of two dimensions.
    nats = metrics["generator/reconstruction"].astype(np.float64)
    assert nats.mean() == pytest.approx(1.25 + math.log(2 * math.pi), rel=0.03)
    assert stats.kstest(2 * (nats - math.log(2 * math.pi)), stats.ncx2(2, 0.5).cdf).pvalue > 0.001
    np.testing.assert_allclose(metrics["generator/loss"], nats + 0.3, rtol=1e-5)
    np.testing.assert_allclose(total, metrics["discriminator/loss"] + metrics["generator/loss"], rtol=1e-5)
    for rate, flags in ((1e-3, {}), (0.01, {"learning_rate": 0.01})):
        tx = plain(method="veegan", **flags).players["game"].tx
        weights = {name: {"kernel": jnp.zeros((1, 1))} for name in ("discriminator", "generator", "reconstructor")}
        opt = tx.init(weights)
        for gradient, move in ((1.0, -rate), (-1.0, rate / 3)):
            updates, opt = tx.update(jax.tree.map(lambda w, g=gradient: jnp.full_like(w, g), weights), opt, weights)
            assert [float(u["kernel"][0, 0]) for u in updates.values()] == pytest.approx([move] * 3, rel=1e-3)


@pytest.mark.usefixtures("two_latents")
def test_all_three_networks_of_veegan_move() -> None:
    experiment = plain(method="veegan")
    state = jaxgen.create_state(jax.random.key(0), *experiment.initial(jax.random.key(1)), experiment.players)
    after, _ = jax.jit(jaxgen.make_train_step(experiment.players))(state, {"point": jnp.ones((8, 2)), "slot": jnp.arange(8)})
    for name in ("generator", "reconstructor", "discriminator"):
        kernels = [s.params[name]["Dense_0"]["kernel"] for s in (state, after)]
        assert 1e-4 < np.abs(kernels[1] - kernels[0]).max() < 1.1e-3, name


@pytest.mark.usefixtures("two_latents")
def test_veegan_samples_are_points_of_normal_codes() -> None:
    experiment = plain(method="veegan")
    z = np.asarray(experiment.sample(state_of(experiment, shown(3.0, 1.0)), jax.random.key(0), jaxgen.given(2000)), np.float64)
    assert stats.kstest((z.ravel() - 1) / 3, "norm").pvalue > 0.01


def test_the_discriminators_units_are_rectifiers() -> None:
    """One unit that is below zero gives the logit nothing."""
    experiment = plain(method="gan")
    one = {"discriminator/Dense_0/bias": -1.0, "discriminator/Dense_1/kernel": 1.0}
    _, metrics = told(experiment, "discriminator", state_of(experiment, one), {"point": jnp.zeros((1, 2))})
    assert metrics["real_probability"] == pytest.approx(0.5)


@pytest.mark.parametrize("method", ["gan", "wgan_gp"])
def test_both_players_train_on_normal_codes(method: str) -> None:
    experiment = plain(method=method)
    state = state_of(experiment, shown() | linear((1.0, 0.0)))
    batch: Batch = {"point": jnp.zeros((3000, 2))}
    _, metrics = told(experiment, "discriminator", state, batch)
    generated, _ = told(experiment, "generator", state, batch)
    if method == "gan":
        logits = [np.log(p / (1 - p)) for p in (metrics["fake_probability"], np.exp(-generated))]
    else:
        logits = [metrics["fake_logit"], -generated]
    for logit in logits:
        assert stats.kstest(logit.astype(np.float64), "norm").pvalue > 0.01


def test_who_moves_when() -> None:
    """One to one in Goodfellow et al. 2014, and five steps of the critic to one in Gulrajani et al. 2017."""
    for method, every in (("gan", 1), ("wgan_gp", 5)):
        players = plain(method=method).players
        assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", every)]
    assert list(plain(method="ddpm").players) == ["model"]
    assert list(plain(method="veegan").players) == ["game"]
    assert list(plain(method="sinkhorn").players) == ["generator"]


@pytest.mark.parametrize(
    ("method", "rate", "falls"), [("gan", 1e-3, False), ("wgan_gp", 3e-3, True), ("ddpm", 1e-3, True), ("sinkhorn", 2e-3, True)]
)
def test_the_rate_falls_along_a_cosine_but_for_the_gans(method: str, rate: float, falls: bool) -> None:
    # Adam with gradients of one moves by its rate, whatever its betas.
    for flags, peak in (({}, rate), ({"learning_rate": 0.01}, 0.01)):
        for player in plain(method=method, decay_steps=4, **flags).players.values():
            cosine = [peak * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)] + [0.0]
            assert moves(player.tx, [1.0] * 5) == pytest.approx(
                [-r for r in cosine] if falls else [-peak] * 5, rel=1e-4, abs=1e-9
            )


def test_the_discriminator_of_the_gan_has_the_generators_adam() -> None:
    """beta1 of 0.5: after a gradient of 1 and one of -1, the first moment is (0.5 - 1) / 3 of the second one's root."""
    for player in plain(method="gan").players.values():
        assert moves(player.tx, [1.0, -1.0]) == pytest.approx([-1e-3, 1e-3 / 3], rel=1e-3)


def test_averages_are_of_all_methods_but_those_without_a_penalty() -> None:
    assert {method: plain(method=method).ema for method in ("gan", "wgan_gp", "veegan", "ddpm", "sinkhorn")} == {
        "gan": None,
        "veegan": None,
        "wgan_gp": 0.999,
        "ddpm": 0.999,
        "sinkhorn": 0.999,
    }


@pytest.mark.parametrize(("scale", "at", "mean"), [(0.0, 1.0, 0.0), (0.2, 0.0, 0.3)], ids=["a point", "spread"])
def test_the_loss_without_a_critic_is_the_sinkhorn_divergence(scale: float, at: float, mean: float) -> None:
    """Of samples of `scale z + (at, 0)` from points of N(mean, 0.1^2): POT's, which is solved to its end, as is ours by its
    iterations; for samples that are spread two would be far from the end."""
    experiment = plain(method="sinkhorn")
    state = state_of(experiment, shown(scale, np.array([at, 0.0])))
    points = (mean + 0.1 * np.random.default_rng(0).normal(size=(64, 2))).astype(np.float32)
    batch: Batch = {"point": jnp.asarray(points), "slot": jnp.arange(64, dtype=jnp.int32)}
    values, aux = experiment.players["generator"].loss(state.params, state, batch, jax.random.key(0), train=True)
    z = keys.draw(jax.random.normal, keys.per_example(jax.random.key(0), batch), (64, 2))
    expected = transport.sinkhorn_divergence(scale * np.asarray(z) + [at, 0.0], points, epsilon=0.05)
    np.testing.assert_allclose(values, expected, rtol=1e-3)
    assert float(aux.metrics["marginal_error"].max()) < 1e-3


def test_the_best_step_and_the_figures() -> None:
    experiment = plain(steps=7)
    assert (experiment.best, experiment.steps, experiment.accumulate) == ("test/reverse_kl", 7, 1)
    assert experiment.protocol == {"modes": (), "high_quality": (), "reverse_kl": ()}
    assert list(experiment.evaluators) == ["test"]


def test_the_picture_is_of_test_points_and_of_as_many_samples() -> None:
    """Samples all at one place light one cell; the data's density is that of 10,000 test points, in the same square."""
    experiment = plain(method="gan")
    place = np.array([1.0, -0.5])
    picture = experiment.pictures["densities"](state_of(experiment, shown(0.0, place)), jax.random.key(0))
    theirs, ours = np.asarray(picture.images)[..., 0]
    # x to the right, y upwards, in a square of 1.25 times the largest coordinate.
    column, row = ((1.25 + place * [1, -1]) / 2.5 * 128).astype(int)
    assert [tuple(cell) for cell in np.argwhere(ours)] == [(row, column)]
    points = stand_in("gaussian_ring", "test").gather(np.arange(10_000))["point"]
    counts = np.histogram2d(-points[:, 1], points[:, 0], bins=128, range=[[-1.25, 1.25]] * 2)[0]
    expected = np.log1p(counts) / np.log1p(counts.max())
    # Of points on the edge of a cell float32 decides.
    assert (np.abs(theirs - expected) > 0.01).sum() < 0.05 * (counts > 0).sum()


def chain() -> np.ndarray:
    """The share of the data's variance at each of 100 cosine steps: Nichol & Dhariwal 2021, equation 17."""
    f = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(np.concatenate([[1.0], 1 - np.minimum(1 - f[1:] / f[:-1], 0.999)]))


def test_the_diffusion_model_samples_by_100_cosine_steps() -> None:
    """A model that predicts no noise at all: then x_0 is x_t / sqrt(a_t), and the variance of what is sampled follows."""
    experiment = plain(method="ddpm")
    samples = np.asarray(experiment.sample(state_of(experiment, {}), jax.random.key(0), jaxgen.given(4000)), np.float64)
    assert samples.shape == (4000, 2)
    kept = chain()
    variance = 1 - kept[-1]
    for t in range(100, 0, -1):
        beta = 1 - kept[t] / kept[t - 1]
        # The posterior's mean of algorithm 2 with a noise of zero, and its variance, of which the last step adds none.
        variance = variance / (1 - beta) + (t > 1) * beta * (1 - kept[t - 1]) / (1 - kept[t])
    assert samples.std() == pytest.approx(math.sqrt(variance), rel=0.03)
    assert samples.mean() == pytest.approx(0, abs=0.1 * math.sqrt(variance))


class OfNormal(nn.Module):
    """The denoiser of data of N(0, I): the noise that it expects is sigma_t x_t."""

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, *, train: bool = False) -> jax.Array:
        return x * jnp.sqrt(1 - jnp.asarray(chain(), jnp.float32))[time.astype(int)][:, None]


def test_the_reverse_steps_have_the_small_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it samples of normal data are narrower than the data, 0.977; with beta_t they would be of 0.9997."""
    monkeypatch.setattr(experiments.modes, "MLP", lambda *fields: OfNormal())
    experiment = plain(method="ddpm")
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"model": {}}, {}, {}, {})
    samples = np.asarray(experiment.sample(state, jax.random.key(0), jaxgen.given(20_000)), np.float64)
    kept = chain()
    variance = 1 - kept[-1]
    for t in range(100, 0, -1):
        beta = 1 - kept[t] / kept[t - 1]
        variance = (1 - beta) * variance + (t > 1) * beta * (1 - kept[t - 1]) / (1 - kept[t])
    assert samples.std() == pytest.approx(math.sqrt(variance), rel=0.01)


def test_the_diffusion_model_predicts_the_noise() -> None:
    """L_simple (Ho et al. 2020, equation 14): the squared error of no noise at all has the mean one in each dimension."""
    experiment = plain(method="ddpm")
    values, _ = told(experiment, "model", state_of(experiment, {}), {"point": jnp.full((4000, 2), 3.0)}, train=True)
    # The mean of the squares of two normal numbers: an exponential law.
    assert stats.kstest(values, "expon").pvalue > 0.01


@pytest.mark.parametrize("hidden", [(6,), (6, 6, 6)])
def test_the_diffusion_models_latents_are_points_and_its_layers_are_those_of_hidden(hidden: tuple[int, ...]) -> None:
    found = shapes(plain(method="ddpm", hidden=hidden))
    assert found["model/Dense_0/kernel"] == (64, 6)
    assert found["model/Dense_1/kernel"] == (2, 6)
    assert len([name for name in found if name.endswith("kernel")]) == 3 + 3 * len(hidden)


def test_the_diversity_of_the_counted_samples_is_evaluated_and_watched() -> None:
    """Of samples `scale z + at` it is 2 scale^2 over the variance of the points, whichever method makes them."""
    experiment = plain(method="gan")
    readable.assert_advised(experiment, "test/diversity")
    state = state_of(experiment, shown(0.3, 5.0))
    found = experiment.evaluators["test"](state, jax.random.key(1), lambda items, **_: items)
    samples = np.asarray(experiment.sample(state, jax.random.key(1), jaxgen.given(2500)), np.float64)
    points = stand_in("gaussian_ring", "test")
    real = points.gather(np.linspace(0, points.length - 1, 256).astype(int))["point"].astype(np.float64)
    assert found["diversity"] == pytest.approx(samples.var(0, ddof=1).sum() / real.var(0, ddof=1).sum(), rel=1e-4)
    assert found["diversity"] == pytest.approx(2 * 0.3**2, rel=0.1)  # the ring has the radius one
