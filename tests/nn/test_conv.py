"""Convolutions against XLA's and Flax's own."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.nn import Conv, ConvTranspose
from jaxgen.nn.conv import convolve, convolve_transpose

NHWC = ("NHWC", "HWIO", "NHWC")
Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def with_gradients(convolution: Convolution, x: jax.Array, kernel: jax.Array) -> Iterator[jax.Array]:
    def both(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
        out, pull = jax.vjp(convolution, x, kernel)
        return out, *pull(jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape))

    return iter(jax.jit(both)(x, kernel))


def products(function: Callable[..., Any], *args: Any) -> list[str]:
    lines = jax.jit(function).lower(*args).as_text().splitlines()
    return [line for line in lines if "stablehlo.dot_general" in line or "stablehlo.convolution" in line]


@pytest.mark.parametrize(
    ("x", "kernel", "strides", "padding"),
    [
        ((2, 8, 8, 3), (3, 3, 3, 5), (1, 1), "SAME"),
        ((2, 8, 8, 1), (4, 4, 1, 2), (2, 2), "SAME"),
        ((1, 7, 9, 2), (4, 4, 2, 3), (2, 2), "SAME"),
        ((1, 7, 5, 2), (3, 5, 2, 3), (2, 1), "SAME"),
        ((1, 9, 8, 2), (2, 2, 2, 2), (3, 3), "SAME"),
        ((2, 5, 6, 4), (1, 1, 4, 2), (1, 1), "VALID"),
        ((2, 5, 6, 4), (1, 1, 4, 2), (2, 2), "SAME"),
        ((1, 8, 8, 2), (3, 3, 2, 2), (2, 2), "VALID"),
        ((1, 3, 4, 2), (3, 4, 2, 2), (1, 1), "VALID"),
        ((1, 6, 7, 2), (3, 2, 2, 3), (1, 2), ((1, 0), (2, 3))),
        ((1, 6, 6, 2), (4, 4, 2, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 2, 2, 3), (5, 5, 3, 2), (1, 1), "SAME"),
    ],
)
def test_convolution_and_its_gradients_are_xlas_on_every_backend(
    x: Any, kernel: Any, strides: Any, padding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = normal(*x), normal(*kernel, seed=1)

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)

    expected = list(with_gradients(xla, x, kernel))
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        ours = with_gradients(lambda x, k: convolve(x, k, strides, padding), x, kernel)
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "kernel", "strides", "padding", "dilation", "groups"),
    [
        ((2, 9, 8, 3), (3, 3, 3, 5), (1, 1), "SAME", (2, 2), 1),
        ((1, 9, 8, 2), (3, 2, 2, 3), (1, 1), ((3, 1), (0, 2)), (3, 2), 1),
        ((1, 7, 9, 40), (3, 3, 40, 3), (1, 1), "SAME", (1, 4), 1),
        ((1, 9, 8, 2), (3, 2, 2, 3), (2, 2), "SAME", (2, 3), 1),
        ((2, 7, 6, 6), (3, 3, 3, 4), (1, 1), "SAME", (1, 1), 2),
        ((2, 7, 6, 6), (3, 2, 2, 9), (2, 1), ((1, 1), (0, 1)), (1, 1), 3),
        ((1, 8, 8, 4), (3, 3, 2, 4), (1, 1), 2, (2, 2), 2),
        ((2, 7, 6, 4), (5, 5, 1, 4), (1, 1), "SAME", (1, 1), 4),
        ((2, 7, 6, 4), (3, 3, 1, 8), (1, 1), "SAME", (2, 1), 4),
        ((2, 7, 6, 4), (3, 4, 1, 4), (2, 2), "SAME", (1, 1), 4),
        ((2, 8, 7, 3), (2, 2, 1, 6), (3, 2), "VALID", (1, 1), 3),
        ((1, 9, 9, 3), (3, 3, 1, 3), (2, 2), "SAME", (2, 2), 3),
        ((1, 6, 6, 3), (4, 4, 1, 3), (1, 1), ((-1, 2), (0, 3)), (1, 1), 3),
        ((2, 5, 5, 4), (1, 1, 1, 8), (1, 1), "SAME", (1, 1), 4),
    ],
)
def test_dilated_and_grouped_convolutions_and_their_gradients_are_xlas_on_every_backend(
    x: Any, kernel: Any, strides: Any, padding: Any, dilation: Any, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = normal(*x), normal(*kernel, seed=1)
    more = {"rhs_dilation": dilation, "feature_group_count": groups, "dimension_numbers": NHWC}
    pads = [(padding, padding)] * 2 if isinstance(padding, int) else padding

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, strides, pads, **more)

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, strides, padding, dilation=dilation, groups=groups)

    expected = list(with_gradients(xla, x, kernel))
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        for a, b in zip(with_gradients(lambda x, k: ours(x, k), x, kernel), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_kernel_larger_than_the_images_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with pytest.raises(ValueError, match="A kernel of 5x5 does not fit into images of 4x4"):
        convolve(normal(1, 4, 4, 2), normal(5, 5, 2, 2), (1, 1), "VALID")
    with pytest.raises(ValueError, match=r"A kernel of 3x3, dilated by \(2, 1\), does not fit into images of 4x4"):
        convolve(normal(1, 4, 4, 2), normal(3, 3, 2, 2), (1, 1), "VALID", dilation=(2, 1))


@pytest.mark.parametrize(("features", "groups"), [(4, 3), (3, 2)])
def test_groups_that_do_not_divide_the_channels_are_refused(features: int, groups: int) -> None:
    with pytest.raises(SizeError, match=f"in {groups} groups does not fit 4 channels"):
        Conv(features, (3, 3), groups=groups).init(jax.random.key(0), normal(1, 5, 5, 4))


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_on_an_accelerator_a_convolution_is_xlas(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    (line,) = products(lambda x, k: convolve(x, k, (2, 2)), normal(1, 4, 4, 2), normal(3, 3, 2, 2))
    assert "stablehlo.convolution" in line
    assert "stride = [2, 2]" in line


def gradients(layer: Convolution, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
    return jax.grad(lambda x, kernel: jnp.sin(layer(x, kernel)).sum(), (0, 1))(x, kernel)


def penalty(layer: Convolution, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
    """The gradients of the squared norm of both gradients."""
    return jax.grad(lambda x, kernel: sum((g**2).sum() for g in gradients(layer, x, kernel)), (0, 1))(x, kernel)


PLACES: dict[str, tuple[Any, Any, Convolution]] = {
    "3x3": ((2, 6, 6, 3), (3, 3, 3, 4), lambda x, k: convolve(x, k, (1, 1))),
    "4x4, stride 2": ((2, 6, 6, 3), (4, 4, 3, 4), lambda x, k: convolve(x, k, (2, 2), ((1, 1), (1, 1)))),
    "3x3, stride 2": ((2, 7, 6, 3), (3, 3, 3, 4), lambda x, k: convolve(x, k, (2, 2))),
    "4x4, stride 4": ((2, 8, 8, 3), (4, 4, 3, 4), lambda x, k: convolve(x, k, (4, 4))),
    "3x3, dilated": ((2, 6, 6, 3), (3, 3, 3, 4), lambda x, k: convolve(x, k, (1, 1), dilation=(2, 2))),
    "3x3, dilated, stride 2": ((2, 6, 6, 3), (3, 3, 3, 4), lambda x, k: convolve(x, k, (2, 2), dilation=(2, 2))),
    "3x3, groups": ((2, 6, 6, 4), (3, 3, 2, 4), lambda x, k: convolve(x, k, (1, 1), groups=2)),
    "3x3, groups, stride 2": ((2, 6, 6, 4), (3, 3, 2, 4), lambda x, k: convolve(x, k, (2, 2), groups=2)),
    "depthwise": ((2, 6, 6, 4), (3, 3, 1, 4), lambda x, k: convolve(x, k, (1, 1), groups=4)),
    "depthwise, stride 2": ((2, 6, 6, 4), (3, 3, 1, 8), lambda x, k: convolve(x, k, (2, 2), groups=4)),
    "transposed 4x4, stride 2": ((2, 3, 3, 3), (4, 4, 3, 4), lambda x, k: convolve_transpose(x, k, (2, 2))),
}


@pytest.mark.parametrize("differentiated", [gradients, penalty])
@pytest.mark.parametrize("place", PLACES)
def test_on_a_cpu_gradients_of_any_order_hold_only_convolutions_that_are_fast_in_a_loop(
    place: str, differentiated: Callable[..., Any]
) -> None:
    x, kernel, layer = PLACES[place]
    lines = products(lambda x, k: differentiated(layer, x, k), normal(*x), normal(*kernel, seed=1))
    assert any("dot_general" in line for line in lines) or place.startswith("depthwise")
    for line in lines:
        if "stablehlo.convolution" in line:
            # Of stride one, over images and channels as they lie: its sum is over channels, not over a batch.
            assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line
            assert "stride = [1, 1]" in line or "stride" not in line
            assert "lhs_dilate = [1, 1]" in line or "lhs_dilate" not in line
            assert "feature_group_count = 1 " in line


@pytest.mark.parametrize("place", PLACES)
def test_gradients_of_second_order_are_xlas(place: str) -> None:
    x, kernel, layer = PLACES[place]
    x, kernel = normal(*x), normal(*kernel, seed=1)

    def differentiated(x: jax.Array, kernel: jax.Array) -> Any:
        return gradients(layer, x, kernel), penalty(layer, x, kernel)

    ours = jax.jit(differentiated)(x, kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        theirs = jax.jit(lambda x, kernel: differentiated(x, kernel))(x, kernel)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_forward_mode_is_reverse_mode_twice() -> None:
    x, kernel, v = normal(2, 6, 6, 3), normal(3, 3, 3, 4, seed=1), normal(2, 6, 6, 3, seed=2)

    def f(x: jax.Array) -> jax.Array:
        return jnp.sin(convolve(x, kernel, (1, 1)))

    y = f(x)
    (along,) = jax.vjp(lambda u: jax.vjp(f, x)[1](u), jnp.zeros_like(y))[1]((v,))
    exact = jnp.cos(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC))
    exact *= lax.conv_general_dilated(v, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
    np.testing.assert_allclose(along, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "strides"), [((3, 3), (1, 1)), ((4, 4), (2, 2)), ((3, 5), (2, 2)), ((5, 4), (3, 2)), ((2, 2), (3, 1))]
)
def test_transposed_convolution_and_its_gradients_are_xlas_on_every_backend(
    size: tuple[int, int], strides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = normal(2, 3, 4, 5), normal(*size, 5, 2, seed=1)

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        # XLA wants the kernel of the convolution that is transposed: from 2 channels to 5.
        return lax.conv_transpose(x, kernel.swapaxes(2, 3), strides, "SAME", dimension_numbers=NHWC, transpose_kernel=True)

    expected = list(with_gradients(xla, x, kernel))
    assert expected[0].shape == (2, 3 * strides[0], 4 * strides[1], 2)
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        ours = with_gradients(lambda x, k: convolve_transpose(x, k, strides), x, kernel)
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "strides", "padding", "sides"),
    [
        ((3, 3), (2, 2), "VALID", (7, 9)),
        ((3, 3), (2, 2), 1, (5, 7)),
        ((3, 3), (2, 2), ((1, 0), (1, 0)), (6, 8)),
        ((4, 3), (3, 1), ((0, 2), (1, -2)), (8, 7)),
        ((2, 2), (3, 3), ((0, -1), (0, 0)), (9, 11)),
    ],
)
def test_padded_transposed_convolution_is_the_transpose_of_xlas(
    size: Any, strides: Any, padding: Any, sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = normal(2, 3, 4, 5), normal(*size, 5, 2, seed=1)
    pads = [(padding, padding)] * 2 if isinstance(padding, int) else padding

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        def down(large: jax.Array) -> jax.Array:
            return lax.conv_general_dilated(large, kernel.swapaxes(2, 3), strides, pads, dimension_numbers=NHWC)

        (large,) = jax.linear_transpose(down, jax.ShapeDtypeStruct((2, *sides, 2), x.dtype))(x)
        return large

    expected = list(with_gradients(xla, x, kernel))
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        ours = with_gradients(lambda x, k: convolve_transpose(x, k, strides, padding), x, kernel)
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(SizeError, match="leaves nothing of images of 1x1"):
        convolve_transpose(normal(1, 1, 1, 2), normal(2, 2, 2, 2), (2, 2), 1)


def test_transposed_convolution_is_the_adjoint_of_a_convolution() -> None:
    small, large, kernel = normal(2, 4, 4, 3), normal(2, 8, 8, 5, seed=1), normal(4, 4, 3, 5, seed=2)
    down = lax.conv_general_dilated(large, kernel.swapaxes(2, 3), (2, 2), "SAME", dimension_numbers=NHWC)
    np.testing.assert_allclose((convolve_transpose(small, kernel, (2, 2)) * large).sum(), (small * down).sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("strides", "padding", "use_bias"),
    [((1, 1), "SAME", True), ((2, 2), "SAME", False), ((2, 1), ((1, 0), (0, 2)), True), ((1, 2), "VALID", False)],
)
def test_conv_is_flaxs_with_the_same_parameters(strides: Any, padding: Any, use_bias: bool) -> None:
    arguments = {"features": 4, "kernel_size": (4, 3), "strides": strides, "padding": padding, "use_bias": use_bias}
    ours, theirs, x = Conv(**arguments), nn.Conv(**arguments), normal(2, 7, 8, 3)
    params = filled(theirs, x)
    assert jax.tree.map(jnp.shape, filled(ours, x)) == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(jax.jit(ours.apply)(params, x), jax.jit(theirs.apply)(params, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dilation", "groups", "features"), [((2, 1), 1, 5), ((1, 1), 3, 6), ((1, 1), 6, 12)])
def test_dilated_and_grouped_conv_are_flaxs_with_the_same_parameters(dilation: Any, groups: int, features: int) -> None:
    ours, x = Conv(features, (3, 3), dilation=dilation, groups=groups), normal(2, 7, 8, 6)
    theirs = nn.Conv(features, (3, 3), kernel_dilation=dilation, feature_group_count=groups)
    params = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, params, theirs.init(jax.random.key(1), x))
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-5)


def test_a_depthwise_convolution_in_half_precision_rounds_once() -> None:
    x, kernel, dy = 1 + normal(2, 16, 16, 4), 1 + normal(5, 5, 1, 4, seed=1), 1 + normal(2, 16, 16, 4, seed=2)
    half = [a.astype(jnp.bfloat16) for a in (x, kernel, dy)]

    def both(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(lambda x, k: convolve(x, k, (1, 1), groups=4), x, kernel)
        return y, *pull(dy)

    exact = both(*(a.astype(jnp.float32) for a in half))
    for a, b in zip(both(*half), exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
def test_conv_transpose_is_flaxs_with_the_same_parameters(use_bias: bool) -> None:
    arguments = {"features": 4, "kernel_size": (4, 4), "strides": (2, 2), "use_bias": use_bias}
    ours, theirs, x = ConvTranspose(**arguments), nn.ConvTranspose(**arguments), normal(2, 3, 5, 3)
    params = filled(ours, x)["params"]
    # Flax does not turn the kernel around.
    turned = {**params, "kernel": params["kernel"][::-1, ::-1]}
    a, b = jax.jit(ours.apply)({"params": params}, x), jax.jit(theirs.apply)({"params": turned}, x)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)])
def test_initial_parameters_are_flaxs(ours: type[nn.Module], theirs: type[nn.Module]) -> None:
    arguments = {"features": 16, "kernel_size": (4, 4), "bias_init": nn.initializers.normal(1.0)}
    x, key = jnp.zeros((1, 2, 2, 8)), jax.random.key(1)
    jax.tree.map(np.testing.assert_array_equal, ours(**arguments).init(key, x), theirs(**arguments).init(key, x))


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_bfloat16_multiplies_in_bfloat16_and_keeps_float32_parameters(layer: type[nn.Module]) -> None:
    half = layer(features=6, kernel_size=(4, 4), strides=(2, 2), dtype=jnp.bfloat16)
    full = layer(features=6, kernel_size=(4, 4), strides=(2, 2))
    x = normal(2, 4, 4, 8)
    params = filled(half, x)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    (product,) = products(half.apply, params, x)
    assert "bf16" in product
    assert "xf32" not in product
    y, exact = jax.jit(half.apply)(params, x), jax.jit(full.apply)(params, x)
    assert y.dtype == jnp.bfloat16
    assert 0 < np.abs(y.astype(jnp.float32) - exact).max() < 0.05
