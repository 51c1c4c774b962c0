"""What `experiments.vae` is wired to, held against Kingma & Welling 2013 (equations 3, 7 and 10, appendix B), Higgins et al.
2017 (equation 4) and Burda et al. 2015 (equation 8); pixels of the discretised logistic as in Salimans et al. 2017.

Networks without hidden layers and with chosen weights have losses in closed form: the posterior is N(m, s^2) whatever the
image, and the decoder's output is the same number for each pixel, or a latent for each."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.readable import assert_advised

import experiments.vae
import jaxgen
from jaxgen import data
from jaxgen.types import Batch

PIXELS = 64
TRAIN, TEST = 1437, 360
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian-learned", "gaussian-per-pixel", "logistic")


def chosen(
    experiment: jaxgen.Experiment,
    *,
    mean: float = 0.0,
    log_std: float = 0.0,
    out: float = 0.0,
    decoder: Any = 0.0,
    step: int = 0,
) -> jaxgen.TrainState:
    """The state of networks without hidden layers: a posterior that does not depend on the image, and a linear decoder."""
    params, vars = experiment.initial(jax.random.key(0))
    model = jax.tree.map(jnp.zeros_like, params["model"])
    latents = model["head"]["bias"].shape[0] // 2
    model["head"]["bias"] = jnp.repeat(jnp.array([mean, log_std]), latents)
    linear = model["decoder"]["Dense_0"]
    linear["bias"], linear["kernel"] = linear["bias"] + out, linear["kernel"] + decoder
    state = jaxgen.create_state(jax.random.key(1), {**params, "model": model}, vars, experiment.players)
    return state._replace(step=jnp.int32(step))


def bare(**flags: Any) -> jaxgen.Experiment:
    return make("vae", **{"hidden": (), "latents": 3, **flags})


def terms(experiment: jaxgen.Experiment, state: Any, x: np.ndarray, *, train: bool = False) -> tuple[np.ndarray, Mapping]:
    loss = experiment.players["model"].loss
    values, aux = loss(state.params, state, {"image": jnp.asarray(x, jnp.float32)}, jax.random.key(7), train=train)
    return np.asarray(values), jax.tree.map(np.asarray, aux.metrics)


@pytest.mark.parametrize(
    ("flags", "learned"),
    [
        ({}, True),
        ({"binarization": "static"}, False),
        ({"binarization": "dynamic"}, False),
        ({"likelihood": "gaussian"}, False),
    ],
)
def test_grey_pixels_are_gaussian_with_a_learned_width_and_binary_ones_bernoulli(flags: Any, learned: bool) -> None:
    params, _ = jax.eval_shape(make("vae", **flags).initial, jax.random.key(0))
    assert ("log_std" in params["model"].get("likelihood", {})) is learned
    if "binarization" in flags:
        # Logits of 2 for each pixel: the loss is the cross-entropy.
        experiment = bare(**flags)
        _, found = terms(experiment, chosen(experiment, out=2.0), np.ones((1, 8, 8, 1)))
        assert found["log_likelihood"] == pytest.approx(-PIXELS * math.log1p(math.exp(-2)), rel=1e-5)


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.vae.experiment).parameters.items()}
    facts: dict[str, Any] = {"latents": 8, "beta": 1.0, "samples": 1, "analytic_kl": True, "max_kl": None, "ema": None}
    facts |= {"binarization": "none", "clip": None, "accumulate": 1, "learning_rate": 1e-3, "activation": "tanh"}
    assert {name: written[name] for name in facts} == facts


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_range_of_pixels_is_the_likelihoods_in_training_and_in_evaluation(likelihood: str, measured: list) -> None:
    experiment = make("vae", likelihood=likelihood)
    low = -1.0 if likelihood == "logistic" else 0.0
    batch: Batch = {
        "image": jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1),
        "slot": jnp.arange(2),
        "index": jnp.arange(2),
    }
    assert experiment.train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [low, 1.0]
    assert len(measured) == 2
    for _, _, transform in measured:
        example = transform({"image": jnp.asarray([0, 255], jnp.uint8), "index": 0}, jax.random.key(0))
        assert example["image"].tolist() == [low, 1.0]


@pytest.mark.parametrize("binarization", ["dynamic", "static", "none"])
def test_training_and_both_evaluations_see_the_pixels_binarised_alike(binarization: str, measured: list) -> None:
    experiment = make("vae", binarization=binarization)
    grey = jnp.full((32, 32, 1), 51, jnp.uint8)
    batch: Batch = {"image": grey[None], "slot": jnp.arange(1), "index": jnp.arange(3, 4)}
    drawn = [[np.asarray(experiment.train.transform(batch, jax.random.key(i))["image"][0]) for i in range(2)]]
    for _, _, transform in measured:
        drawn.append([np.asarray(transform({"image": grey, "index": 3}, jax.random.key(i))["image"]) for i in range(2)])
    assert len(drawn) == 3
    for once, again in drawn:
        if binarization == "none":
            np.testing.assert_allclose(once, 0.2, rtol=1e-6)
            continue
        assert set(np.unique(once)) == {0.0, 1.0}
        assert once.mean() == pytest.approx(0.2, abs=0.05)
        assert (once == again).all() == (binarization == "static")


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = make("vae")
    assert experiment.train.source.length == TRAIN
    assert [source.length for source, _, _ in measured] == [TEST, TEST]
    state = chosen(bare())
    whole = bare().pictures["reconstructions"](state, jax.random.key(0)).images
    test = data.load("digits", "test").gather(np.arange(16))["image"]
    np.testing.assert_allclose(whole[:16], test / 255, rtol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_samples_are_decoded_draws_of_a_standard_normal_in_0_1(likelihood: str) -> None:
    """A decoder that hands on its code: the pixels tell the law of z, as far as they are not cut off."""
    experiment = make("vae", likelihood=likelihood, hidden=(), latents=PIXELS)
    wide = likelihood in ("gaussian-per-pixel", "logistic")
    state = chosen(experiment, decoder=_eye(wide))
    x = np.asarray(experiment.sample(state, jax.random.key(3), jaxgen.given(200)), np.float64)
    assert x.shape == (200, 8, 8, 1)
    assert x.min() >= 0
    assert x.max() <= 1
    if likelihood == "bernoulli":
        z = np.log(x / (1 - x))
        assert (z.mean(), z.std()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
    else:
        low = -1.0 if likelihood == "logistic" else 0.0
        assert (x == 0).mean() == pytest.approx(stats.norm.cdf(low), abs=0.02)
        assert (x == 1).mean() == pytest.approx(stats.norm.sf(1), abs=0.02)
        middle = (x <= (0.5 - low) / (1 - low)).mean()
        assert middle == pytest.approx(stats.norm.cdf(0.5), abs=0.02)


def _eye(wide: bool) -> np.ndarray:
    """Pixel i is latent i. Of two numbers for a pixel, its channels' first is the mean."""
    kernel = np.zeros((PIXELS, PIXELS, 2 if wide else 1))
    kernel[np.arange(PIXELS), np.arange(PIXELS), 0] = 1
    return kernel.reshape(PIXELS, -1)


@pytest.mark.parametrize(
    ("beta", "warmup", "step", "weight"),
    [
        (1.0, 0, 0, 1.0),
        (4.0, 0, 0, 4.0),
        (4.0, 100, 0, 0.0),
        (4.0, 100, 25, 1.0),
        (4.0, 100, 100, 4.0),
        (0.5, 10, 500, 0.5),
        (2.0, None, 250, 0.5),
        (2.0, None, 1000, 2.0),
    ],
)
def test_the_loss_weighs_the_kl_by_beta_and_the_reported_elbo_by_1(
    beta: float, warmup: int | None, step: int, weight: float
) -> None:
    experiment = bare(likelihood="gaussian", beta=beta, beta_warmup=warmup)
    state = chosen(experiment, mean=0.7, log_std=-0.5, out=0.3, step=step)
    x = np.random.default_rng(0).uniform(size=(5, 8, 8, 1))
    values, found = terms(experiment, state, x, train=True)
    # Summed over pixels and latents, each example for itself, in nats; the width of --likelihood gaussian is 0.1.
    likelihood = stats.norm(0.3, 0.1).logpdf(x).reshape(5, -1).sum(1)
    kl = 3 * ((0.7**2 + math.exp(-1) - 1) / 2 + 0.5)
    np.testing.assert_allclose(found["kl"], np.full(5, kl), rtol=1e-5)
    np.testing.assert_allclose(found["log_likelihood"], likelihood, rtol=1e-4)
    np.testing.assert_allclose(values, weight * kl - likelihood, rtol=1e-4)
    np.testing.assert_allclose(found["elbo"], likelihood - kl, rtol=1e-4)


def test_binarised_pixels_have_the_whole_kl_from_the_first_step() -> None:
    experiment = bare(binarization="static")
    values, found = terms(experiment, chosen(experiment, mean=1.0), np.ones((2, 8, 8, 1)))
    np.testing.assert_allclose(values, -found["elbo"], rtol=1e-6)


def test_the_best_step_is_that_of_the_highest_elbo() -> None:
    for flags in ({}, {"max_kl": 2.0}):
        experiment = bare(**flags)
        found = experiment.evaluators["test"](chosen(experiment, mean=0.4), jax.random.key(0), lambda items, **_: items)
        assert experiment.best == "test/negative_elbo"
        assert found["negative_elbo"] == pytest.approx(-found["elbo"], rel=1e-6)


@pytest.mark.parametrize("analytic", [True, False])
def test_the_kl_is_sampled_where_it_is_asked_to_be(analytic: bool) -> None:
    experiment = bare(analytic_kl=analytic, samples=4)
    _, found = terms(experiment, chosen(experiment, mean=0.7, log_std=-0.5), np.zeros((600, 8, 8, 1)))
    kl = 3 * ((0.7**2 + math.exp(-1) - 1) / 2 + 0.5)
    assert found["kl"].std() == (pytest.approx(0, abs=1e-4) if analytic else pytest.approx(0.5, abs=0.2))
    assert found["kl"].mean() == pytest.approx(kl, rel=1e-5 if analytic else 0.05)


@pytest.mark.parametrize("k", [1, 3])
def test_the_numbers_of_samples_go_where_they_belong(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, dict[str, Any]] = {}
    for name in ("elbo", "constrained_elbo", "importance_weighted_nll"):
        whole = getattr(experiments.vae.objectives, name)

        def spied(*args: Any, name: str = name, whole: Any = whole, **options: Any) -> Any:
            asked[name] = options
            return whole(*args, **options)

        monkeypatch.setattr(experiments.vae.objectives, name, spied)
    bare(samples=k, max_kl=2.5)
    bare(samples=k, nll_samples=150)
    assert asked["elbo"]["samples"] == asked["constrained_elbo"]["samples"] == k
    assert asked["constrained_elbo"]["delta"] == 2.5
    assert asked["importance_weighted_nll"] == {"samples": 150}


def test_the_nll_of_a_decoder_that_ignores_its_code_is_the_pixels() -> None:
    """Then every weight is p(x), whatever the number of samples, where the posterior is the prior: N(0, 1)."""
    experiment = bare(likelihood="gaussian")
    found = experiment.final["test"](chosen(experiment, out=0.4), jax.random.key(0), lambda items, **_: items)
    x = data.load("digits", "test").gather(np.arange(TEST))["image"] / 255
    nll = -stats.norm(0.4, 0.1).logpdf(x).reshape(TEST, -1).sum(1)
    assert found["nll"] == pytest.approx(nll.mean(), rel=1e-5)
    assert found["nll_stderr"] == pytest.approx(nll.std(ddof=1) / math.sqrt(TEST), rel=1e-3)
    assert "bits_per_dim" not in found


def test_bits_are_of_a_byte_of_256_levels_and_divided_by_all_pixels() -> None:
    experiment = bare(likelihood="logistic")
    state = chosen(experiment, out=0.0)
    found = experiment.final["test"](state, jax.random.key(0), lambda items, **_: items)
    bytes_ = data.load("digits", "test").gather(np.arange(TEST))["image"].astype(np.float64)
    x = bytes_ / 127.5 - 1
    scale = math.exp(-2)
    upper = np.where(bytes_ == 255, 1.0, stats.logistic.cdf((x + 1 / 255) / scale))
    lower = np.where(bytes_ == 0, 0.0, stats.logistic.cdf((x - 1 / 255) / scale))
    bits = -np.log2(upper - lower).mean()
    assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-3)
    assert found["nll"] == pytest.approx(bits * PIXELS * math.log(2), rel=1e-3)


def test_bits_of_colour_images_are_divided_by_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 2, 4, 3)).astype(np.uint8)
    source = data.from_arrays({"image": images}, name="colours")
    monkeypatch.setattr(data, "train_and_test", lambda *args, **options: (source, source))
    experiment = bare(likelihood="logistic")
    found = experiment.final["test"](chosen(experiment), jax.random.key(0), lambda items, **_: items)
    assert found["bits_per_dim"] == pytest.approx(found["nll"] / (24 * math.log(2)), rel=1e-5)


def test_the_multiplier_starts_at_1_and_takes_the_place_of_beta() -> None:
    experiment = bare(max_kl=2.0)
    state = chosen(experiment, mean=1.0)
    assert float(jax.nn.softplus(state.params["multiplier"])) == pytest.approx(1, rel=1e-6)
    values, found = terms(experiment, state, np.ones((2, 8, 8, 1)), train=True)
    np.testing.assert_allclose(values, found["kl"] - 2.0 - found["log_likelihood"], rtol=1e-5)
    for flags in ({"beta": 2.0}, {"beta_warmup": 10}):
        with pytest.raises(jaxgen.UserError, match="takes the place"):
            bare(max_kl=2.0, **flags)


def moves(experiment: jaxgen.Experiment, gradients: list[np.ndarray], at: int = 0) -> list[np.ndarray]:
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(3)}
    opt, out = tx.init(w), []
    for g in gradients:
        updates, opt = tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        out.append(np.asarray(updates["w"]))
    return out


@pytest.mark.parametrize("cosine", [True, False])
def test_the_rate_falls_along_a_cosine_to_zero_at_the_last_step(cosine: bool) -> None:
    experiment = make("vae", cosine=cosine, steps=8, learning_rate=0.1)
    # Of a constant gradient Adam's move is the rate.
    found = [-m[0] for m in moves(experiment, [np.ones(3)] * 8)]
    expected = [0.05 * (1 + math.cos(math.pi * step / 8)) if cosine else 0.1 for step in range(8)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose([experiment.schedules["learning_rate"](step) for step in range(8)], expected, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_gradients_global_norm_is_bounded_before_adam(clip: float | None) -> None:
    gradients = [np.array([0.06, 0.08, 0.0]), np.array([30.0, 0.0, 40.0])]
    m = v = 0.0
    for step, (g, move) in enumerate(zip(gradients, moves(make("vae", clip=clip), gradients), strict=True), start=1):
        g = g / np.linalg.norm(g) if clip and np.linalg.norm(g) > clip else g
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = -1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(move, expected, rtol=1e-3, atol=1e-9)


def test_the_averages_and_the_micro_batches_are_as_asked() -> None:
    experiment = make("vae", ema=0.99, accumulate=2)
    assert (experiment.ema, experiment.accumulate) == (0.99, 2)
    assert make("vae").ema is None


@pytest.mark.parametrize(("activation", "value"), [("tanh", math.tanh(0.7)), ("relu", 0.7)])
def test_both_networks_have_the_activation(activation: Any, value: float) -> None:
    experiment = make("vae", activation=activation, hidden=(1,), latents=1, likelihood="gaussian", beta_warmup=0)
    params, vars = experiment.initial(jax.random.key(0))
    model = jax.tree.map(jnp.zeros_like, params["model"])
    for part in ("encoder", "decoder"):
        model[part]["Dense_0"]["bias"] += 0.7
    model["decoder"]["Dense_1"]["kernel"] += 1.0
    model["head"]["kernel"] = model["head"]["kernel"].at[:, 0].set(1.0)
    state = jaxgen.create_state(jax.random.key(1), {"model": model}, vars, experiment.players)
    np.testing.assert_allclose(experiment.sample(state, jax.random.key(0), jaxgen.given(3)), value, rtol=1e-5)
    _, found = terms(experiment, state, np.zeros((1, 8, 8, 1)))
    assert found["kl"] == pytest.approx(value**2 / 2, rel=1e-4), "the posterior's mean is the encoder's feature"


def test_the_decoder_mirrors_the_encoder() -> None:
    params, _ = jax.eval_shape(make("vae", hidden=(7, 5), latents=2).initial, jax.random.key(0))
    shapes = {
        part: [leaf["kernel"].shape for _, leaf in sorted(params["model"][part].items())] for part in ("encoder", "decoder")
    }
    assert shapes == {"encoder": [(64, 7), (7, 5)], "decoder": [(2, 5), (5, 7), (7, 64)]}
    assert params["model"]["head"]["kernel"].shape == (5, 4)


def test_the_network_of_higgins_and_its_optimizer() -> None:
    """Row 1 of table 1: 1200-1200 with rectifiers, ten latents, 1200-1200-1200 with tanh, Adagrad of 1e-2."""
    network: dict[str, Any] = {"hidden": (1200, 1200), "activation": "relu"}
    network |= {"decoder_hidden": (1200, 1200, 1200), "decoder_activation": "tanh"}
    experiment = make("vae", **network, latents=10, optimizer="adagrad", learning_rate=1e-2)
    params, _ = jax.eval_shape(experiment.initial, jax.random.key(0))
    shapes = {
        part: [leaf["kernel"].shape for _, leaf in sorted(params["model"][part].items())] for part in ("encoder", "decoder")
    }
    assert shapes["encoder"] == [(64, 1200), (1200, 1200)]
    assert shapes["decoder"] == [(10, 1200), (1200, 1200), (1200, 1200), (1200, 64)]
    # Adagrad begins with 0.1 for the sum of squares, as TensorFlow's does.
    g = np.array([0.5, -0.1, 0.0])
    np.testing.assert_allclose(moves(experiment, [g])[0], -1e-2 * g / np.sqrt(0.1 + g**2), rtol=1e-4)


@pytest.mark.parametrize(("encoder", "decoder"), [("tanh", "relu"), ("relu", "tanh")])
def test_the_decoder_has_its_own_activation_where_it_is_asked_for(encoder: Any, decoder: Any) -> None:
    flags: dict[str, Any] = {"activation": encoder, "decoder_activation": decoder, "hidden": (1,), "latents": 1}
    experiment = make("vae", **flags, decoder_hidden=(1,), likelihood="gaussian")
    params, vars = experiment.initial(jax.random.key(0))
    model = jax.tree.map(jnp.zeros_like, params["model"])
    for part in ("encoder", "decoder"):
        model[part]["Dense_0"]["bias"] += 0.7
    model["decoder"]["Dense_1"]["kernel"] += 1.0
    model["head"]["kernel"] = model["head"]["kernel"].at[:, 0].set(1.0)
    state = jaxgen.create_state(jax.random.key(1), {"model": model}, vars, experiment.players)
    value = {"tanh": math.tanh(0.7), "relu": 0.7}
    np.testing.assert_allclose(experiment.sample(state, jax.random.key(0), jaxgen.given(3)), value[decoder], rtol=1e-5)
    _, found = terms(experiment, state, np.zeros((1, 8, 8, 1)))
    assert found["kl"] == pytest.approx(value[encoder] ** 2 / 2, rel=1e-4)


def test_a_collapse_of_the_posterior_is_told_by_the_kl() -> None:
    """Below 0.1 nats; of a KL that is held under a bound, below a tenth of that if it is less."""
    for flags, below in (({}, 0.1), ({"max_kl": 5.0}, 0.1), ({"max_kl": 0.2}, 0.02)):
        experiment = bare(**flags)
        assert_advised(experiment, "test/kl")
        (alarm,) = experiment.alarms
        assert (alarm.below, alarm.share, alarm.after) == (pytest.approx(below), 0, 1000)
        assert ("--max-kl" in alarm.sentence, "--beta" in alarm.sentence) == ("max_kl" in flags, "max_kl" not in flags)
