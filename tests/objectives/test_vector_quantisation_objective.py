"""The loss of a VQ-VAE in closed form, and against k-means, which it is where encoder and decoder do nothing."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from sklearn.cluster import KMeans

from jaxgen.game import Player, create_state, make_train_step
from jaxgen.nn import Quantised, VectorQuantiser, VectorQuantiserEMA
from jaxgen.objectives import vector_quantisation


class Bare(nn.Module):
    """Encoder and decoder are the identity."""

    quantiser: nn.Module

    def __call__(self, x: jax.Array, mask: Any = None, *, train: bool = False) -> tuple[jax.Array, Quantised]:
        out = self.quantiser(x, mask=mask, train=train)
        return out.vectors, out


BOOK = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 5.0]], np.float32)
X = np.array([[[0.1, 0.9], [2.0, -2.0]], [[0.0, 0.0], [0.5, 1.0]]], np.float32)
SQUARES = np.array([[[0.01, 0.01], [0.0, 1.0]], [[0.0, 1.0], [0.25, 0.0]]]).mean((1, 2))


def values(averages: bool, x: np.ndarray, mask: Any = None, *, train: bool = False, **options: Any) -> Any:
    """The loss of the quantiser above, its metrics and its variables."""
    kind = VectorQuantiserEMA if averages else VectorQuantiser
    model = Bare(kind(3, 2, commitment=0.5))
    made = jax.eval_shape(model.init, jax.random.key(0), X)
    made = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), made)
    params, vars = {"quantiser": {"codebook": jnp.array(BOOK)}}, {}
    if averages:
        params, vars = {}, {"model": {"codebook": {"quantiser": {**made["codebook"]["quantiser"], "vectors": jnp.array(BOOK)}}}}
    batch = {"image": jnp.array(x), **({} if mask is None else {"mask": jnp.array(mask)})}
    state = lg.state({"model": params}, vars=vars)
    return vector_quantisation(model, **options)(state.params, state, batch, jax.random.key(0), train=train)


@pytest.mark.parametrize(("averages", "weight"), [(True, 0.5), (False, 1.5)])
@pytest.mark.parametrize("variance", [1.0, 0.04])
def test_the_loss_in_closed_form(averages: bool, weight: float, variance: float) -> None:
    loss, aux = values(averages, X, data_variance=variance)
    np.testing.assert_allclose(aux.metrics["mse"], SQUARES, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["normalised_mse"], SQUARES / variance, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["quantisation"], weight * SQUARES, rtol=1e-5)
    np.testing.assert_allclose(loss, SQUARES / variance + weight * SQUARES, rtol=1e-5)
    shares = np.array([3, 1]) / 4
    assert float(aux.metrics["batch_perplexity"]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)


class TwoLevels(nn.Module):
    """Two levels that quantise the same vectors, by codebooks and commitments of their own."""

    def setup(self) -> None:
        self.coarse, self.fine = VectorQuantiserEMA(2, 2, commitment=2.0), VectorQuantiserEMA(3, 2, commitment=0.5)

    def __call__(self, x: jax.Array, mask: Any = None, *, train: bool = False) -> tuple[jax.Array, dict[str, Quantised]]:
        found = {"coarse": self.coarse(x, mask=mask, train=train), "fine": self.fine(x, mask=mask, train=train)}
        return found["fine"].vectors, found


def test_the_losses_of_all_levels_are_added_and_each_has_its_perplexity() -> None:
    model = TwoLevels()
    shapes = jax.eval_shape(model.init, jax.random.key(0), X)
    book = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)["codebook"]
    book = {
        "coarse": {**book["coarse"], "vectors": jnp.array(BOOK[2:].repeat(2, 0))},
        "fine": {**book["fine"], "vectors": jnp.array(BOOK)},
    }
    state = lg.state({"model": {}}, vars={"model": {"codebook": book}})
    loss = vector_quantisation(model, data_variance=0.5)
    value, aux = loss(state.params, state, {"image": jnp.array(X)}, jax.random.key(0), train=False)
    far = ((X - BOOK[2]) ** 2).mean((1, 2))
    np.testing.assert_allclose(aux.metrics["quantisation"], 2.0 * far + 0.5 * SQUARES, rtol=1e-5)
    np.testing.assert_allclose(value, SQUARES / 0.5 + 2.0 * far + 0.5 * SQUARES, rtol=1e-5)
    assert float(aux.metrics["coarse_batch_perplexity"]) == pytest.approx(1.0)
    assert float(aux.metrics["fine_batch_perplexity"]) > 1.5
    assert "batch_perplexity" not in aux.metrics


def test_examples_that_fill_a_batch_up_are_not_counted() -> None:
    _, alone = values(True, X[:1], train=True)
    _, filled = values(True, X, [1.0, 0.0], train=True)
    assert float(filled.metrics["batch_perplexity"]) == pytest.approx(2.0, rel=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (filled.vars, alone.vars)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("train", [True, False])
def test_the_averages_move_in_training_only(train: bool) -> None:
    _, aux = values(True, X, train=train)
    book = aux.vars["model"]["codebook"]["quantiser"]
    assert int(book["steps"]) == train
    assert np.array_equal(book["vectors"], BOOK) is not train


@pytest.mark.trains
@pytest.mark.parametrize("averages", [True, False])
def test_without_networks_it_is_k_means(averages: bool) -> None:
    rng = np.random.default_rng(0)
    x = (np.array([[0.0, 0], [4, 0], [0, 4], [5, 5]])[:, None] + 0.5 * rng.normal(size=(4, 50, 2))).reshape(-1, 1, 2)
    x = x.astype(np.float32)
    start = x[[0, 50, 100, 150], 0]
    init = lambda key, shape, dtype: jnp.array(start, dtype)
    model = Bare((VectorQuantiserEMA if averages else VectorQuantiser)(4, 2, codebook_init=init))
    variables = model.init(jax.random.key(0), jnp.array(x[:1]))
    params, vars = {"model": variables.get("params", {})}, {"model": {k: v for k, v in variables.items() if k != "params"}}
    players = {"model": Player(vector_quantisation(model), optax.adam(optax.cosine_decay_schedule(0.1, 300)))}
    step = make_train_step(players)
    state = create_state(jax.random.key(0), params, vars, players)
    batch = {"image": jnp.array(x)}
    end, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s, batch)[0], None), s, None, length=300))(state)
    loss = players["model"].loss
    _, aux = loss(end.params, end, batch, jax.random.key(0), train=False)
    inertia = KMeans(4, init=start, n_init=1).fit(x[:, 0]).inertia_
    assert 2 * float(aux.metrics["mse"].sum()) == pytest.approx(inertia, rel=1e-3)
