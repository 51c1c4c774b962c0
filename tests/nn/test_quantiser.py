"""Quantisers against the paper's equations in numpy, and what replicas and micro-batches must not change."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from parameters import normal

from jaxgen.devices import collectives
from jaxgen.game import Aux, Player, create_state, make_train_step
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA, gumbel_softmax, perplexity, straight_through
from jaxgen.objectives.apply import apply

X = normal(8, 3, 2, 4)
KEY = jax.random.key(0)


def start(layer: Any, x: jax.Array = X) -> Any:
    return jax.jit(lambda key: layer.init(key, x))(KEY)


def chosen(x: Any, codebook: Any) -> np.ndarray:
    """The code of each vector, by all distances in float64."""
    x, codebook = np.asarray(x, np.float64), np.asarray(codebook, np.float64)
    return ((x[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)


class Book:
    """A codebook of running averages, as appendix A.1 and the authors' code write it, one vector at a time."""

    def __init__(self, vectors: Any, decay: float, epsilon: float) -> None:
        self.vectors, self.decay, self.epsilon = np.array(vectors, np.float64), decay, epsilon
        self.counts, self.sums, self.steps = np.zeros(len(vectors)), np.zeros(self.vectors.shape), 0

    def step(self, x: Any) -> None:
        x = np.asarray(x, np.float64).reshape(-1, self.vectors.shape[1])
        n, s = np.zeros_like(self.counts), np.zeros_like(self.sums)
        for vector, code in zip(x, chosen(x, self.vectors), strict=True):
            n[code] += 1
            s[code] += vector
        self.steps += 1
        self.counts = self.decay * self.counts + (1 - self.decay) * n
        self.sums = self.decay * self.sums + (1 - self.decay) * s
        known = 1 - self.decay**self.steps
        counts, total = self.counts / known, (self.counts / known).sum()
        smoothed = (counts + self.epsilon) / (total + len(counts) * self.epsilon) * total
        self.vectors = self.sums / known / smoothed[:, None]


@pytest.mark.parametrize("kind", [VectorQuantiser, VectorQuantiserEMA])
def test_vectors_are_the_nearest_codes_and_the_loss_is_the_papers(kind: Any) -> None:
    layer = kind(6, 4, commitment=0.3)
    variables = start(layer)
    (codebook,) = (a for a in jax.tree.leaves(variables) if a.shape == (6, 4) and np.any(a))
    out = layer.apply(variables, X)
    codes = chosen(X, codebook)
    np.testing.assert_array_equal(out.codes, codes)
    np.testing.assert_allclose(out.vectors, np.asarray(codebook)[codes], atol=1e-6)
    np.testing.assert_array_equal(layer.apply(variables, out.codes, method="lookup"), codebook[codes])
    distance = ((np.asarray(X, np.float64) - np.asarray(codebook, np.float64)[codes]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(out.loss, (1.3 if kind is VectorQuantiser else 0.3) * distance, rtol=1e-5)
    shares = np.bincount(codes.ravel(), minlength=6) / codes.size
    entropy = -sum(p * np.log(p) for p in shares if p > 0)
    assert out.perplexity == pytest.approx(np.exp(entropy), rel=1e-5)
    assert jnp.isnan(layer.apply(variables, jnp.array([[-1, 6]]), method="lookup")).all()
    with pytest.raises(ValueError, match="codes of 4"):
        layer.apply(variables, X[..., :3])


def test_the_codebook_starts_uniformly_with_the_variance_of_one_over_its_dimension() -> None:
    for layer in (VectorQuantiser(500, 16), VectorQuantiserEMA(500, 16)):
        variables = layer.init(KEY, jnp.zeros((1, 16)))
        (codebook,) = (a for a in jax.tree.leaves(variables) if a.shape == (500, 16) and np.any(a))
        assert codebook.var() == pytest.approx(1 / 16, rel=0.05)
        assert np.abs(codebook).max() == pytest.approx(np.sqrt(3 / 16), rel=0.01)


@pytest.mark.parametrize(("counts", "expected"), [([5, 0, 0], 1), ([2, 2, 0], 2), ([1, 1, 1], 3)])
def test_perplexity_counts_the_codes_in_use(counts: list[int], expected: float) -> None:
    assert perplexity(jnp.array(counts, jnp.float32)) == pytest.approx(expected)


def test_gradients_pass_straight_through_and_each_term_reaches_its_side_only() -> None:
    np.testing.assert_array_equal(straight_through(jnp.ones(2), jnp.zeros(2)), 0)
    layer = VectorQuantiser(6, 4, commitment=0.3)
    params = start(layer)

    def value(params: Any, x: jax.Array, of_vectors: float, of_loss: float) -> jax.Array:
        out = layer.apply(params, x)
        return of_vectors * (out.vectors * X[::-1]).sum() + of_loss * out.loss.sum()

    grad = jax.grad(value, (0, 1))
    codebook, codes = np.asarray(params["params"]["codebook"]), chosen(X, params["params"]["codebook"])
    by_book, by_x = grad(params, X, 1.0, 0.0)
    np.testing.assert_array_equal(by_x, X[::-1])
    assert not np.any(by_book["params"]["codebook"])
    by_book, by_x = grad(params, X, 0.0, 1.0)
    difference = np.asarray(X) - codebook[codes]
    np.testing.assert_allclose(by_x, 0.3 * 2 * difference / X[0].size, atol=1e-6)
    expected = np.zeros((6, 4))
    np.add.at(expected, codes, -2 * difference / X[0].size)
    np.testing.assert_allclose(by_book["params"]["codebook"], expected, atol=1e-6)


def step(layer: VectorQuantiserEMA, variables: Any, x: jax.Array, key: jax.Array = KEY, **given: Any) -> tuple[Any, Any]:
    return layer.apply(variables, x, train=True, mutable=["codebook"], rngs={"sample": key}, **given)


def test_two_steps_of_averages_by_hand() -> None:
    layer = VectorQuantiserEMA(2, 1, decay=0.75, epsilon=0.5)
    variables = layer.init(KEY, jnp.zeros((1, 1)))
    variables = {"codebook": {**variables["codebook"], "vectors": jnp.array([[0.0], [10.0]])}}
    # First step: 1 and 3 choose code 0, 8 chooses code 1. Averages n = (2, 1), m = (4, 8): the first batch itself.
    # Smoothed, of a total of 3 and K epsilon = 1: (2.5, 1.5) * 3 / 4 = (1.875, 1.125).
    out, variables = step(layer, variables, jnp.array([[1.0], [3.0], [8.0]]))
    assert out.vectors.ravel().tolist() == [0, 0, 10]
    np.testing.assert_allclose(variables["codebook"]["vectors"].ravel(), [4 / 1.875, 8 / 1.125], rtol=1e-6)
    # Second step, of codes 2.13 and 7.11: 6 chooses code 1. With 1 - 0.75^2 = 0.4375, the weights of the two steps are
    # 0.1875 / 0.4375 = 3/7 and 4/7: n = (6/7, 7/7), m = (12/7, 48/7); the total is 13/7, so the factor is 13/20.
    _, variables = step(layer, variables, jnp.array([[6.0]]))
    expected = [12 / 7 / ((6 / 7 + 0.5) * 13 / 20), 48 / 7 / ((1 + 0.5) * 13 / 20)]
    np.testing.assert_allclose(variables["codebook"]["vectors"].ravel(), expected, rtol=1e-6)
    assert variables["codebook"]["steps"] == 2


def test_many_steps_of_averages_are_the_papers() -> None:
    layer = VectorQuantiserEMA(6, 4, decay=0.9)
    variables = start(layer)
    book = Book(variables["codebook"]["vectors"], 0.9, 1e-5)
    move = jax.jit(functools.partial(step, layer))
    for i in range(30):
        x = normal(8, 3, 2, 4, seed=i)
        out, new = move(variables, x)
        np.testing.assert_array_equal(out.codes, chosen(x, variables["codebook"]["vectors"]))  # of the codebook before
        variables = new
        book.step(x)
        np.testing.assert_allclose(variables["codebook"]["vectors"], book.vectors, atol=1e-5)


def test_the_codebook_moves_in_training_only_and_without_the_examples_that_fill_up() -> None:
    layer = VectorQuantiserEMA(6, 4)
    variables = start(layer)
    jax.tree.map(np.testing.assert_array_equal, layer.apply(variables, X, mutable=["codebook"])[1], variables)
    mask = jnp.arange(8) < 5
    masked, moved = step(layer, variables, X, mask=mask.astype(jnp.float32))
    whole, alone = step(layer, variables, X[:5])
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), moved, alone)
    assert masked.perplexity == pytest.approx(float(whole.perplexity))
    assert np.abs(moved["codebook"]["counts"] - step(layer, variables, X)[1]["codebook"]["counts"]).max() > 1e-3


def sharded(x: jax.Array) -> jax.Array:
    return jax.device_put(x, NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data")))


def test_eight_devices_make_of_a_batch_what_one_makes() -> None:
    layer = VectorQuantiserEMA(12, 4, decay=0.8, restart=2)
    variables = start(layer)
    assert jax.device_count() == 8

    def run(variables: Any, x: jax.Array, key: jax.Array, mask: jax.Array) -> Any:
        out, new = layer.apply(variables, x, train=True, mutable=["codebook"], rngs={"sample": key}, mask=mask)
        return out._replace(perplexity=jnp.broadcast_to(out.perplexity, out.loss.shape)), new

    on_replicas = jax.pmap(run, axis_name=collectives.AXIS)
    one = many = mesh = variables
    many = jax.tree.map(lambda a: jnp.broadcast_to(a, (8, *a.shape)), variables)
    for i in range(5):
        x, key = normal(8, 3, 2, 4, seed=i), jax.random.key(i)
        mask = (jnp.arange(8) != i).astype(jnp.float32)
        # Every replica has a key of its own; the first one's counts.
        keys = jnp.stack([key, *(jax.random.fold_in(key, j) for j in range(7))])
        expected, one = jax.jit(run)(one, x, key, mask)
        parts, many = on_replicas(many, x[:, None], keys, mask[:, None])
        over, mesh = jax.jit(run)(mesh, sharded(x), key, sharded(mask))
        for ours in (jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), parts), over):
            jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), ours, expected)
        for j in range(8):
            jax.tree.map(lambda a, b, j=j: np.testing.assert_allclose(a[j], b, atol=1e-5), many, one)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), mesh, one)


def test_a_code_that_is_long_unused_becomes_a_vector_of_the_batch() -> None:
    layer = VectorQuantiserEMA(3, 4, restart=3, decay=0.9)
    variables = start(layer)
    far = jnp.array([[20.0] * 4, [150.0] * 4, [-150.0] * 4])
    variables = {"codebook": {**variables["codebook"], "vectors": far}}
    for i in range(3):
        x = 20 + normal(8, 3, 2, 4, seed=i)
        _, variables = step(layer, variables, x, jax.random.key(i))
        if i < 2:
            assert not np.any(variables["codebook"]["vectors"][1:])  # averages of nothing
    book = variables["codebook"]
    assert all((np.abs(x.reshape(-1, 4) - vector).max(1) == 0).any() for vector in book["vectors"][1:])
    assert np.any(book["vectors"][1] != book["vectors"][2])
    np.testing.assert_allclose(book["counts"][1:], 1 - 0.9**3, rtol=1e-5)
    np.testing.assert_allclose(book["sums"][1:], (1 - 0.9**3) * book["vectors"][1:], rtol=1e-5)
    assert book["unused"].tolist() == [0, 0, 0]
    out, variables = step(layer, variables, 20 + normal(8, 3, 2, 4, seed=4))
    assert set(out.codes.ravel().tolist()) == {0, 1, 2}


def test_a_restarted_code_is_no_vector_that_fills_up_and_any_other_alike() -> None:
    layer = VectorQuantiserEMA(1000, 1, restart=1)
    x, mask = jnp.arange(8.0)[:, None], jnp.array([1.0, 0, 1, 1, 0, 1, 1, 0])
    variables = {"codebook": {**start(layer, x)["codebook"], "vectors": jnp.full((1000, 1), 100.0)}}
    _, new = jax.jit(functools.partial(step, layer))(variables, x, mask=mask)
    drawn = new["codebook"]["vectors"].ravel()[1:]  # the first of equally near codes was chosen
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 2, 3, 5, 6]
    assert np.abs(counts - 999 / 5).max() < 4 * np.sqrt(999 * 0.2 * 0.8)


@pytest.mark.trains
@pytest.mark.parametrize("told", [True, False])
def test_with_accumulation_the_codebook_moves_once_a_step_if_it_is_told(told: bool) -> None:
    def trained(accumulate: int, micro_batches: int) -> Any:
        layer = VectorQuantiserEMA(6, 4, decay=0.8, restart=3, micro_batches=micro_batches)

        def loss(params: Any, state: Any, batch: Any, key: jax.Array, *, train: bool) -> Any:
            x = params["model"]["scale"] * batch["x"]
            out, vars = apply(layer, {"model": {}}, state.vars, x, key=batch["key"], train=train)
            return out.loss + (out.vectors**2).mean((1, 2, 3)), Aux(vars, {"perplexity": out.perplexity})

        player = {"model": Player(loss, optax.sgd(0.01))}
        state = create_state(KEY, {"model": {"scale": jnp.ones(())}}, {"model": start(layer)}, player)
        run = jax.jit(make_train_step(player, accumulate=accumulate))
        for i in range(2):  # before the first restart, which draws from other vectors
            state, _ = run(state, {"x": normal(8, 3, 2, 4, seed=i)})
        return state

    whole, parts = trained(1, 1), trained(4, 4 if told else 1)
    book, other = (state.vars["model"]["codebook"] for state in (whole, parts))
    same = all(np.allclose(book[name], other[name], atol=1e-5) for name in ("vectors", "counts", "sums", "steps"))
    assert same == told
    if told:
        np.testing.assert_allclose(parts.params["model"]["scale"], whole.params["model"]["scale"], rtol=1e-5)
        assert not any(np.any(other[name]) for name in ("part", "part_counts", "part_sums"))


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_the_largest_of_a_relaxed_draw_is_a_categorical_draw(temperature: float) -> None:
    logits = jnp.array([0.0, 1.0, -2.0, 0.5])
    weights = gumbel_softmax(jnp.broadcast_to(logits, (4000, 4)), temperature, KEY)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    p = np.asarray(jax.nn.softmax(logits))
    shares = np.bincount(weights.argmax(-1), minlength=4) / 4000
    assert np.abs((shares - p) / np.sqrt(p * (1 - p) / 4000)).max() < 4
    # What is drawn, without the noise: two draws of one noise differ by the temperature alone.
    other = gumbel_softmax(jnp.broadcast_to(logits, (4000, 4)), 1.0, KEY)
    np.testing.assert_allclose(weights[:50], jax.nn.softmax(jnp.log(other[:50]) / temperature), atol=1e-4)
    alone = gumbel_softmax(logits[None], 1.0, jax.random.split(KEY, 3)[1:2])
    np.testing.assert_allclose(gumbel_softmax(jnp.tile(logits, (3, 1)), 1.0, jax.random.split(KEY, 3))[1:2], alone, rtol=1e-5)
