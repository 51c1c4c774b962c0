"""Normalisation layers against numpy and PyTorch's definition of the running averages."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.devices import collectives
from jaxgen.nn import (
    BatchNorm,
    Conv,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PixelNorm,
    RMSNorm,
    SpectralNorm,
    adaptive_instance_norm,
    channel_moments,
    local_response_norm,
)

X = 2 * normal(8, 3, 3, 4) + 1


def standardised(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_batch_norm_in_training_and_after() -> None:
    layer = BatchNorm(momentum=0.7)
    variables = layer.init(jax.random.key(0), X, train=True)
    out, updated = layer.apply(variables, X, train=True, mutable=["batch_stats"])
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(out, standardised(x, (0, 1, 2), 1e-5), atol=1e-5)
    (stats,) = updated["batch_stats"].values()
    np.testing.assert_allclose(stats["mean"], 0.3 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.7 + 0.3 * x.var((0, 1, 2)), rtol=1e-5)

    later = layer.apply({**variables, **updated}, X, train=False)
    expected = (x - stats["mean"]) / np.sqrt(np.asarray(stats["var"]) + 1e-5)
    np.testing.assert_allclose(later, expected, atol=1e-5)


def test_batch_norm_under_pmap_has_the_statistics_of_the_global_batch() -> None:
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, train=True)

    def run(x: jax.Array) -> tuple:
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])

    whole, stats = run(X)
    parts, parts_stats = jax.pmap(run, axis_name=collectives.AXIS)(X.reshape(4, 2, *X.shape[1:]))
    np.testing.assert_allclose(parts.reshape(X.shape), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, atol=1e-6), parts_stats, stats)


@pytest.mark.parametrize(("groups", "used"), [(2, 2), (32, 4), (3, 2), (None, 1)])
def test_group_norm_takes_as_many_groups_as_divide_the_channels(groups: int | None, used: int) -> None:
    layer = GroupNorm(groups)
    out = layer.apply(layer.init(jax.random.key(0), X), X)
    x = np.asarray(X, np.float64).reshape(8, 3, 3, used, -1)
    np.testing.assert_allclose(out, standardised(x, (1, 2, 4), 1e-6).reshape(X.shape), atol=1e-5)
    assert not GroupNorm(groups, affine=False).init(jax.random.key(0), X)


def test_layer_norm_normalises_each_vector() -> None:
    out = LayerNorm().apply(LayerNorm().init(jax.random.key(0), X), X)
    np.testing.assert_allclose(out, standardised(np.asarray(X, np.float64), (3,), 1e-5), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "used"), [(1, 1), (3, 1), (8, 2), (20, 5), (32, 8), (48, 12), (96, 24), (128, 32), (130, 26), (256, 32)]
)
def test_by_default_a_group_has_four_channels_or_more(channels: int, used: int) -> None:
    x = 2 * normal(2, 3, 3, channels) + 1
    out = GroupNorm(affine=False).apply({}, x)
    expected = standardised(np.asarray(x, np.float64).reshape(2, 3, 3, used, -1), (1, 2, 4), 1e-6)
    np.testing.assert_allclose(out, expected.reshape(x.shape), atol=1e-4)


FAR = 1000 + normal(64, 8, 8, 4)
"""A mean that is large beside the deviations."""


@pytest.mark.parametrize("replicas_", [1, 4])
def test_the_variance_of_a_batch_far_from_zero(replicas_: int) -> None:
    layer = BatchNorm(momentum=0.0)
    variables = layer.init(jax.random.key(0), FAR, train=True)
    run = lambda x: layer.apply(variables, x, train=True, mutable=["batch_stats"])
    if replicas_ == 1:
        out, updated = run(FAR)
    else:
        out, updated = jax.pmap(run, axis_name=collectives.AXIS)(FAR.reshape(replicas_, -1, *FAR.shape[1:]))
    (stats,) = updated["batch_stats"].values()
    x = np.asarray(FAR, np.float64)
    np.testing.assert_allclose(np.atleast_2d(stats["var"])[0], x.var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(np.reshape(out, x.shape), standardised(x, (0, 1, 2), 1e-5), atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (LayerNorm(), (3,)),
        (GroupNorm(1), (1, 2, 3)),
        (GroupNorm(2), None),
        (GroupNorm(4), (1, 2)),  # of one channel each: instance normalisation
        (InstanceNorm(), (1, 2)),
    ],
    ids=["layer", "one group", "two groups", "groups of one", "instance"],
)
def test_the_other_layers_far_from_zero(layer, axes) -> None:
    out = layer.apply(layer.init(jax.random.key(0), FAR), FAR)
    x = np.asarray(FAR, np.float64)
    expected = standardised(x.reshape(64, 8, 8, 2, 2), (1, 2, 4), 0) if axes is None else standardised(x, axes, 1e-5)
    np.testing.assert_allclose(out, expected.reshape(x.shape), atol=1e-2)


def test_instance_norm_is_of_each_map() -> None:
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(InstanceNorm().apply({}, X), standardised(x, (1, 2), 1e-5), atol=1e-5)
    layer = InstanceNorm(affine=True, epsilon=1e-2)
    variables = filled(layer, X)
    params = variables["params"]
    expected = standardised(x, (1, 2), 1e-2) * np.asarray(params["scale"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply(variables, X), expected, atol=1e-5)
    np.testing.assert_array_equal(InstanceNorm().apply({}, X[:, :1, :1]), 0)


def test_rms_and_pixel_norm_keep_the_mean() -> None:
    x = np.asarray(X, np.float64)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(PixelNorm().apply({}, X), expected, atol=1e-6)
    layer = RMSNorm(epsilon=1e-8)
    variables = filled(layer, X)
    np.testing.assert_allclose(layer.apply(variables, X), expected * np.asarray(variables["params"]["scale"]), atol=1e-6)


def test_a_transferred_style_has_the_moments_of_its_example() -> None:
    content, style = 5 + normal(2, 6, 5, 3), 3 * normal(2, 4, 4, 3, seed=1) - 2
    mean, std = channel_moments(style)
    out = np.asarray(adaptive_instance_norm(content, std, mean, epsilon=0.0), np.float64)
    np.testing.assert_allclose(out.mean((1, 2)), style.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2)), style.std((1, 2)), rtol=1e-4)


@pytest.mark.parametrize("layer", [GroupNorm(2, epsilon=0.5), LayerNorm(epsilon=0.5)])
def test_the_epsilon_is_added_to_the_variance(layer) -> None:
    x = np.asarray(X, np.float64).reshape(8, 3, 3, *((2, 2) if isinstance(layer, GroupNorm) else (1, 4)))
    expected = standardised(x, (1, 2, 4) if isinstance(layer, GroupNorm) else (4,), 0.5)
    np.testing.assert_allclose(layer.apply(layer.init(jax.random.key(0), X), X), expected.reshape(X.shape), atol=1e-5)


@pytest.mark.parametrize("layer", [LayerNorm(affine=False), BatchNorm(affine=False)])
def test_without_affine_there_are_no_parameters(layer) -> None:
    assert "params" not in layer.init(jax.random.key(0), X, **({"train": True} if isinstance(layer, BatchNorm) else {}))


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_local_response_norm_divides_by_the_neighbours(size: int) -> None:
    x = normal(2, 3, 7)
    exact = np.asarray(x, np.float64)
    expected = np.empty_like(exact)
    for i in range(7):
        near = exact[..., max(i - size // 2, 0) : i + (size - 1) // 2 + 1]
        expected[..., i] = exact[..., i] / (2 + 0.5 / size * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(x, size=size, alpha=0.5, k=2.0), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda **o: nn.Dense(7, **o), (2, 5)),
        (lambda **o: Conv(6, (3, 3), **o), (2, 4, 4, 3)),
        (lambda **o: nn.Dense(1, **o), (2, 9)),
    ],
    ids=["dense", "convolution", "one output"],
)
def test_the_spectral_norm_is_exact_at_the_start(layer, shape) -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return SpectralNorm(layer(name="it"))(x, update_stats=train)

    x = normal(*shape)
    variables = jax.jit(Net().init)(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["it"]["kernel"], np.float64)
    sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    (stats,) = variables["batch_stats"].values()
    assert float(stats["it/kernel/sigma"]) == pytest.approx(sigma, rel=1e-5)
    divided = {**variables["params"]["it"], "kernel": jnp.asarray(kernel / sigma, jnp.float32)}
    expected = layer().apply({"params": divided}, x)
    np.testing.assert_allclose(Net().apply(variables, x), expected, rtol=1e-4, atol=1e-5)
    _, updated = Net().apply(variables, x, train=True, mutable=["batch_stats"])
    (stats,) = updated["batch_stats"].values()
    assert float(stats["it/kernel/sigma"]) == pytest.approx(sigma, rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        GroupNorm(dtype=jnp.bfloat16),
        LayerNorm(dtype=jnp.bfloat16),
        InstanceNorm(affine=True, dtype=jnp.bfloat16),
        RMSNorm(dtype=jnp.bfloat16),
    ],
    ids=["group", "layer", "instance", "root mean square"],
)
def test_half_precision_comes_out_and_float32_computes(layer) -> None:
    out, variables = layer.init_with_output(jax.random.key(0), 1000 + X.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
