"""The likelihood of grids of codes against enumeration, a sum by hand and the entropy that training ends at."""

import itertools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from parameters import filled
from scipy.special import log_softmax

from jaxgen import objectives, samplers
from jaxgen.errors import InputError
from jaxgen.game import Player, create_state, make_train_step
from jaxgen.models.autoregressive import GatedPixelCNN, PixelSNAIL, TransformerPrior, levels_of

K = 3
GRIDS = jnp.array(list(itertools.product(range(K), repeat=4)), jnp.int32).reshape(81, 2, 2)
PIXELCNN = GatedPixelCNN(K, 4, dilations=(1,), first_kernel=3, embedding=4, classes=2)
TRANSFORMER = TransformerPrior(K, (2, 2), width=4, depth=1, heads=1, classes=2)
log_prob = jax.jit(objectives.log_prob, static_argnums=0, static_argnames="name")
MODELS = pytest.mark.parametrize("model", [PIXELCNN, TRANSFORMER], ids=["pixelcnn", "transformer"])


@MODELS
def test_the_likelihood_is_the_sum_of_its_terms_and_of_all_grids_one(model: nn.Module) -> None:
    label = jnp.arange(81) % 2
    params = {"model": filled(model, GRIDS, label)["params"]}
    batch = {"code": GRIDS, "label": label}
    loss = objectives.code_likelihood(model, condition="label")
    values, aux = loss(params, lg.state(params), batch, jax.random.key(0), train=False)
    terms = log_softmax(np.float64(jax.jit(model.apply)({"params": params["model"]}, GRIDS, label)), -1)
    by_hand = [-sum(terms[i, r, c, GRIDS[i, r, c]] for r in (0, 1) for c in (0, 1)) for i in range(81)]
    np.testing.assert_allclose(values, by_hand, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["bits_per_code"], np.array(by_hand) / 4 / math.log(2), rtol=1e-5)
    for c in (0, 1):
        law = log_prob(model, params, {}, GRIDS, jnp.full(81, c))
        assert jnp.exp(law).sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(law[c::2], -values[c::2], rtol=1e-5)


class Autoencoder(nn.Module):
    """Each patch's brightness against a learned threshold, its code, which an average moves as well."""

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        threshold = self.param("threshold", nn.initializers.constant(0.5), ())
        shift = self.variable("book", "shift", lambda: jnp.zeros(()))
        return (image.reshape(-1, 2, 2, 2, 2).mean((2, 4)) > threshold + shift.value).astype(jnp.int32)


def test_codes_may_be_those_of_a_frozen_network_or_the_levels_of_an_image() -> None:
    image = jnp.array(np.random.default_rng(0).random((5, 4, 4, 1)), jnp.float32)
    own, model = Autoencoder(), TransformerPrior(2, (2, 2), width=4, depth=1, heads=1)
    frozen = own.init(jax.random.key(0), image)
    params = {"model": filled(model, GRIDS[:1] % 2)["params"], "autoencoder": frozen["params"]}

    def encoded(state: Any, batch: Any) -> jax.Array:
        return objectives.apply(own, state.params, state.vars, batch["image"], name="autoencoder")[0]

    loss = objectives.code_likelihood(model, codes=encoded)
    for shift in (0.0, 0.05):
        state = lg.state(params, vars={"autoencoder": {"book": {"shift": jnp.array(shift)}}})
        values, aux = loss(params, state, {"image": image}, jax.random.key(0), train=True)
        codes = (np.asarray(image).reshape(5, 2, 2, 2, 2).mean((2, 4)) > 0.5 + shift).astype(np.int32)
        np.testing.assert_allclose(values, -log_prob(model, params, {}, jnp.array(codes)), rtol=1e-5)
        assert aux.vars == state.vars
    of_pixels = TransformerPrior(2, (4, 4), width=4, depth=1, heads=1)
    params = {"model": filled(of_pixels, jnp.zeros((1, 4, 4), jnp.int32))["params"]}
    loss = objectives.code_likelihood(of_pixels, codes=lambda state, batch: levels_of(batch["image"], 2))
    values, _ = loss(params, lg.state(params), {"image": image}, jax.random.key(0), train=False)
    binary = jnp.array(np.asarray(image)[..., 0] * 255 > 127.5, jnp.int32)
    np.testing.assert_allclose(values, -log_prob(of_pixels, params, {}, binary), rtol=1e-5)


def test_the_likelihood_given_a_grid_above_is_that_of_a_model_which_is_given_it() -> None:
    model = PixelSNAIL(K, 4, 4, 3, 1, 1, False, above=2, residuals_above=1, dropout=0.0)
    above = jnp.arange(81).reshape(81, 1, 1) % 2
    params = {"bottom": filled(model, GRIDS, None, above)["params"]}
    batch = {"code": GRIDS, "top": above.astype(jnp.uint8)}
    loss = objectives.code_likelihood(model, above=lambda state, batch: batch["top"], name="bottom")
    values, _ = loss(params, lg.state(params), batch, jax.random.key(0), train=False)
    for c in (0, 1):
        law = log_prob(model, params, {}, GRIDS, None, jnp.full((81, 1, 1), c), name="bottom")
        assert jnp.exp(law).sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(law[c::2], -values[c::2], rtol=1e-5)
    wrong = objectives.code_likelihood(model, above=lambda state, batch: batch["top"].astype(jnp.float32), name="bottom")
    with pytest.raises(InputError, match="Codes are integers"):
        wrong(params, lg.state(params), batch, jax.random.key(0), train=False)


@MODELS
def test_a_number_that_is_no_code_makes_its_own_example_nan(model: nn.Module) -> None:
    label = jnp.zeros(81, jnp.int32)
    params = {"model": filled(model, GRIDS, label)["params"]}
    for place in ((3, 0, 0), (3, 1, 1)):
        for number in (K, -1):
            found = log_prob(model, params, {}, GRIDS.at[place].set(number), label)
            assert np.isnan(found).tolist() == [i == 3 for i in range(81)]
    found = log_prob(model, params, {}, GRIDS, label.at[5].set(2))
    assert np.isnan(found).tolist() == [i == 5 for i in range(81)]


def test_codes_are_integers_of_any_kind_in_grids_and_nothing_else() -> None:
    model = TransformerPrior(K, (2, 2), width=4, depth=1, heads=1)
    params = {"model": filled(model, GRIDS)["params"]}
    expected = log_prob(model, params, {}, GRIDS)
    np.testing.assert_array_equal(log_prob(model, params, {}, GRIDS.astype(jnp.uint8)), expected)
    loss = objectives.code_likelihood(model)
    for wrong in (GRIDS.astype(jnp.float32), GRIDS[..., None]):
        with pytest.raises(InputError, match="Codes are integers"):
            loss(params, lg.state(params), {"code": wrong}, jax.random.key(0), train=False)


@pytest.mark.slow
@pytest.mark.trains
@MODELS
def test_training_ends_near_the_entropy_of_the_data_and_samples_are_like_them(model: nn.Module) -> None:
    """The data: equal codes in a row, and the second row one more than the first in class 0 and one less in class 1."""
    first, label = jnp.arange(6) % 3, jnp.arange(6) % 2
    second = (first + 1 - 2 * label) % 3
    codes = jnp.stack([first, first, second, second], axis=1).reshape(6, 2, 2)
    model = model.clone(**{"channels": 16} if isinstance(model, GatedPixelCNN) else {"width": 16, "heads": 2})
    loss = objectives.code_likelihood(model, condition="label")
    players = {"model": Player(loss, optax.adam(1e-2))}
    params = {"model": model.init(jax.random.key(0), codes, label)["params"]}
    step, batch = make_train_step(players), {"code": codes, "label": label}
    begin = create_state(jax.random.key(0), params, {}, players)
    end = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s, batch)[0], None), s, None, length=150)[0])(begin)
    values, _ = loss(end.params, end, batch, jax.random.key(0), train=False)
    assert values.mean() == pytest.approx(math.log(3), abs=0.05)
    told = jnp.arange(300) % 2
    decoder = samplers.decoder_of(model, end.params, end.vars, label=told)
    drawn = np.asarray(samplers.autoregressive(decoder, jax.random.key(1), (300, 2, 2)))
    right = (drawn[:, 0, 0] == drawn[:, 0, 1]) & (drawn[:, 1] == (drawn[:, 0] + 1 - 2 * np.asarray(told)[:, None]) % 3).all(1)
    assert right.mean() > 0.95
    assert np.abs(np.bincount(drawn[:, 0, 0], minlength=3) / 300 - 1 / 3).max() < 0.12
