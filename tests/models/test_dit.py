"""The diffusion Transformer against the authors' formulas (github.com/facebookresearch/DiT, models.py), written in numpy."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parameters import filled, normal

from jaxgen.errors import InputError, SizeError
from jaxgen.models.diffusion import AdaptiveBlock, DiT, dit_presets
from jaxgen.nn.transformer import Transformer

X, TIME, LABEL = normal(3, 4, 8, 2), jnp.array([0.0, 3.0, 900.0]), jnp.array([1, 4, 5])
SMALL: dict[str, Any] = {"patch": 2, "width": 16, "depth": 2, "heads": 2, "classes": 5, "outputs": 4}


@functools.cache
def shapes_of(make: Callable[..., DiT], patch: int) -> Any:
    model, x = make(patch), jnp.zeros((1, 32, 32, 4))
    return jax.eval_shape(lambda key: model.init(key, x, jnp.zeros(1), jnp.zeros(1, jnp.int32)), jax.random.key(0))["params"]


@pytest.mark.parametrize(
    ("make", "patch", "millions", "count"),
    [
        (dit_presets.dit_s, 2, 33, 32_963_360 - 256 * 384),
        (dit_presets.dit_b, 4, 130, 130_475_648 - 64 * 768),
        (dit_presets.dit_l, 2, 458, 458_594_816 - 16 * 1024 - 60 * (4 + 8) * 1024 - 480),
        (dit_presets.dit_xl, 2, 675, 675_129_632 - 256 * 1152),
    ],
)
def test_the_papers_networks_have_their_parameters(make: Callable[..., DiT], patch: int, millions: int, count: int) -> None:
    """The paper's numbers, and those of the authors' code less its positions, which are fixed and no parameters here."""
    found = sum(p.size for p in jax.tree.leaves(shapes_of(make, patch)))
    assert (round(found / 1e6), found) == (millions, count)


def test_the_memory_of_training_is_what_the_presets_say() -> None:
    gigabytes = []
    for make, patch in ((dit_presets.dit_s, 2), (dit_presets.dit_b, 4), (dit_presets.dit_l, 2), (dit_presets.dit_xl, 2)):
        params = shapes_of(make, patch)
        moments = jax.eval_shape(optax.adam(1e-4).init, params)
        kept = (params, params, params, moments)  # with the gradient and the average
        gigabytes.append(round(sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(kept)) / 1e9, 1))
    assert gigabytes == [0.7, 2.6, 9.2, 13.5]
    assert "0.7, 2.6, 9.2 and 13.5 GB" in (dit_presets.__doc__ or "")
    assert round(28 * 256 * 1152 * 2 / 1e6, 1) == 16.5


def test_presets_take_other_fields() -> None:
    model = dit_presets.dit_b(8, classes=3, outputs=6, remat=True)
    assert (model.patch, model.width, model.depth, model.heads) == (8, 768, 12, 12)
    assert (model.classes, model.outputs, model.remat) == (3, 6, True)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def dense(p: Any, x: np.ndarray) -> np.ndarray:
    return np.tensordot(x, p["kernel"], 1) + p["bias"]


def positions(rows: int, columns: int, width: int) -> np.ndarray:
    """`get_2d_sincos_pos_embed`: the columns come first."""
    omega = 1 / 10_000 ** (np.arange(width // 4) / (width / 4))
    one = lambda place: np.concatenate([np.sin(place * omega), np.cos(place * omega)])
    return np.array([np.concatenate([one(j), one(i)]) for i in range(rows) for j in range(columns)])


def attention(p: Any, x: np.ndarray) -> np.ndarray:
    q, k, v = (np.einsum("bnc,chd->bhnd", x, p[n]["kernel"]) + p[n]["bias"][:, None] for n in ("query", "key", "value"))
    logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.einsum("bhnd,hdc->bnc", weights @ v, p["out"]["kernel"]) + p["out"]["bias"]


def block(p: Any, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """`DiTBlock`."""
    shift_a, scale_a, gate_a, shift, scale, gate = np.split(dense(p["modulation"]["dense"], silu(c))[:, None], 6, axis=-1)
    x = x + gate_a * attention(p["attention"], norm(x) * (1 + scale_a) + shift_a)
    return x + gate * dense(p["mlp_out"], gelu(dense(p["mlp_in"], norm(x) * (1 + scale) + shift)))


def forward(p: Any, x: np.ndarray, time: np.ndarray, label: np.ndarray, side: int) -> np.ndarray:
    """`DiT.forward`."""
    angles = time[:, None] * 10_000.0 ** -(np.arange(128) / 128)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    c = dense(p["time_out"], silu(dense(p["time_in"], waves))) + p["label"]["embedding"][label]
    (b, h, w, _), kernel = x.shape, p["patches"]["kernel"]
    cut = x.reshape(b, h // side, side, w // side, side, -1)
    tokens = np.einsum("bipjqc,pqcf->bijf", cut, kernel).reshape(b, -1, kernel.shape[-1]) + p["patches"]["bias"]
    tokens = tokens + positions(h // side, w // side, kernel.shape[-1])
    for name in sorted(p["transformer"]):
        tokens = block(p["transformer"][name], tokens, c)
    shift, scale = np.split(dense(p["modulation"]["dense"], silu(c))[:, None], 2, axis=-1)
    out = dense(p["out"], norm(tokens) * (1 + scale) + shift).reshape(b, h // side, w // side, side, side, -1)
    return np.einsum("nhwpqc->nhpwqc", out).reshape(b, h, w, -1)


@pytest.fixture(scope="module")
def variables() -> Any:
    return filled(DiT(**SMALL), X, TIME, LABEL)


def double(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def test_the_network_is_the_authors(variables: Any) -> None:
    expected = forward(double(variables["params"]), np.asarray(X, np.float64), np.asarray(TIME), np.asarray(LABEL), 2)
    assert np.abs(expected).max() > 0.5
    found = jax.jit(DiT(**SMALL).apply)(variables, X, TIME, LABEL)
    assert found.shape == (3, 4, 8, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_ways_to_run_it_give_the_same_values(variables: Any) -> None:
    """Blocks in a loop, blocks that are written out, blocks that are computed again, and bfloat16."""
    apply = lambda **fields: DiT(**SMALL, **fields).apply(variables, X, TIME, LABEL)
    once = apply()
    written, _ = DiT(**SMALL).apply(variables, X, TIME, LABEL, mutable=["intermediates"])  # never in a loop
    np.testing.assert_allclose(written, once, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(apply(remat=True), once, rtol=1e-5, atol=1e-5)
    half = apply(dtype=jnp.bfloat16)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - once).max() < 0.1
    np.testing.assert_array_equal(DiT(**SMALL).apply(variables, X, TIME, LABEL, train=True), once)


def test_gradients_reach_every_parameter(variables: Any) -> None:
    loss = lambda p: (DiT(**SMALL, remat=True).apply({"params": p}, X, TIME, LABEL) ** 2).sum()
    found = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"]))
    # A key's bias adds the same to all logits of a query.
    moved = {jax.tree_util.keystr(path): np.abs(g).max() for path, g in found}
    assert all(size > 1e-6 for path, size in moved.items() if "['key']['bias']" not in path)


@pytest.fixture(scope="module")
def start() -> Any:
    model = DiT(patch=2, width=64, depth=1, heads=2, classes=300)
    return model.init(jax.random.key(0), jnp.ones((1, 4, 4, 3)), jnp.ones(1), jnp.ones(1, jnp.int32))["params"]


def test_a_network_starts_as_zero_and_its_blocks_as_the_identity(start: Any) -> None:
    model = DiT(patch=2, width=64, depth=1, heads=2, classes=300)
    x, label = normal(2, 4, 4, 3), jnp.array([0, 300])
    np.testing.assert_array_equal(model.apply({"params": start}, x, jnp.ones(2), label), 0 * x)
    stack = Transformer(depth=1, heads=2, block=AdaptiveBlock)
    h = normal(2, 5, 64)
    found = stack.apply({"params": start["transformer"]}, h, context=normal(2, 1, 64, seed=1))
    np.testing.assert_array_equal(found, h)
    for layer in (start["out"], start["modulation"]["dense"], start["transformer"]["block_0"]["modulation"]["dense"]):
        assert all(not np.asarray(a).any() for a in jax.tree.leaves(layer))


def test_kernels_start_as_the_authors(start: Any) -> None:
    """`initialize_weights`: Xavier's, of queries, keys and values as one layer and of patches as dense; 0.02 for conditions."""
    own = start["transformer"]["block_0"]
    largest = lambda layer: float(np.abs(layer["kernel"]).max())
    for name in ("query", "key", "value"):
        assert largest(own["attention"][name]) == pytest.approx((6 / (64 + 3 * 64)) ** 0.5, rel=0.01)
    assert largest(own["attention"]["out"]) == pytest.approx((6 / 128) ** 0.5, rel=0.01)
    for name in ("mlp_in", "mlp_out"):
        assert largest(own[name]) == pytest.approx((6 / (5 * 64)) ** 0.5, rel=0.01)
    assert largest(start["patches"]) == pytest.approx((6 / (2 * 2 * 3 + 64)) ** 0.5, rel=0.02)
    for value in (start["time_in"]["kernel"], start["time_out"]["kernel"], start["label"]["embedding"]):
        assert np.std(value) == pytest.approx(0.02, rel=0.05)
    biases = [a for path, a in jax.tree_util.tree_leaves_with_path(start) if "bias" in jax.tree_util.keystr(path)]
    assert all(not np.asarray(a).any() for a in biases)


def test_labels_that_are_none() -> None:
    x = jnp.ones((1, 4, 4, 1))
    with pytest.raises(InputError, match=r"^A network with 5 classes takes a label of each image, 5 where it has none"):
        DiT(**SMALL).init(jax.random.key(0), x, jnp.ones(1))
    free = DiT(**SMALL | {"classes": 0, "outputs": None})
    variables = filled(free, x, jnp.ones(1))
    assert "label" not in variables["params"]
    assert free.apply(variables, x, jnp.ones(1)).shape == x.shape


def test_a_label_beyond_the_classes_gives_nan(variables: Any) -> None:
    found = DiT(**SMALL).apply(variables, X, TIME, jnp.array([5, 6, -1]))
    assert np.isfinite(found).all(axis=(1, 2, 3)).tolist() == [True, False, False]


def test_sizes_that_do_not_fit() -> None:
    init = lambda **fields: DiT(**SMALL | fields).init(jax.random.key(0), X, TIME, LABEL)
    with pytest.raises(SizeError, match=r"^Images of 4x8 cannot be cut into patches of 3x3; give a --patch"):
        init(patch=3)
    with pytest.raises(SizeError, match="cannot be cut into 3 heads"):
        init(heads=3)
    with pytest.raises(SizeError, match="multiple of four features"):
        init(width=10)
