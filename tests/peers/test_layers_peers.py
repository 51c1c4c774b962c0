"""Convolutions, pooling and normalisation layers against PyTorch's, with the same random parameters."""

import itertools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import (
    AdaptiveInstanceNorm,
    BatchNorm,
    Conv,
    ConvTranspose,
    Equalised,
    InstanceNorm,
    LayerNorm,
    Masked,
    PixelNorm,
    RMSNorm,
    SpatiallyAdaptiveNorm,
    WeightNorm,
    adaptive_avg_pool,
    avg_pool,
    local_response_norm,
    max_pool,
    raster_mask,
    reflect_pad,
)
from jaxgen.nn.conv import convolve, convolve_transpose

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers

X = normal(2, 9, 8, 6)


def tensor(a: Any, *order: int):
    return torch.from_numpy(np.array(a.transpose(*order) if order else a)).requires_grad_()


def nchw(a: Any):
    return tensor(a, 0, 3, 1, 2)


def nhwc(a) -> np.ndarray:
    return a.detach().permute(0, 2, 3, 1).numpy()


def close(ours: Any, theirs: Any) -> None:
    """To 1e-5 of the largest value."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))


def close_with_gradients(ours: Any, theirs: Any, x: jax.Array, kernel: jax.Array, order: tuple[int, ...]) -> None:
    """Outputs and gradients of two functions of images and a kernel; `order` makes PyTorch's kernel of ours."""
    a, b = nchw(x), tensor(kernel, *order)
    out = theirs(a, b)
    dy = normal(*nhwc(out).shape, seed=3)
    out.backward(nchw(dy).detach())
    found, pull = jax.vjp(ours, x, kernel)
    by_x, by_kernel = pull(dy)
    close(found, nhwc(out))
    close(by_x, nhwc(a.grad))
    close(by_kernel, b.grad.permute(*np.argsort(order)).numpy())


@pytest.mark.parametrize(
    ("size", "stride", "pad", "dilation", "groups", "features"),
    [
        (3, 1, 1, 1, 2, 4),
        (3, 2, 1, 1, 3, 9),
        (5, 1, 2, 1, 6, 6),
        (3, 2, 1, 1, 6, 12),
        (3, 1, 2, 2, 1, 5),
        (3, 2, 2, 2, 1, 5),
        (3, 1, 3, 3, 6, 6),
        (3, 1, 2, 2, 2, 4),
    ],
)
def test_grouped_and_dilated_convolutions(size: int, stride: int, pad: int, dilation: int, groups: int, features: int) -> None:
    close_with_gradients(
        lambda x, k: convolve(x, k, (stride, stride), pad, dilation=(dilation, dilation), groups=groups),
        lambda x, k: F.conv2d(x, k, stride=stride, padding=pad, dilation=dilation, groups=groups),
        X,
        normal(size, size, 6 // groups, features, seed=1),
        (3, 2, 0, 1),
    )


@pytest.mark.parametrize("groups", [6, 32])
def test_narrow_groups_that_are_convolved_together(groups: int) -> None:
    channels = 4 * groups
    close_with_gradients(
        lambda x, k: convolve(x, k, (1, 1), 1, groups=groups),
        lambda x, k: F.conv2d(x, k, padding=1, groups=groups),
        normal(1, 4, 5, channels),
        normal(3, 3, 4, 2 * groups, seed=1),
        (3, 2, 0, 1),
    )


@pytest.mark.parametrize(
    ("size", "stride", "pad", "more"),
    [
        (size, stride, pad, more)
        for size, stride, pad in itertools.product((2, 3, 5), (1, 2, 3), (0, 1))
        for more in range(stride)
        if 2 * pad < size
    ],
)
def test_transposed_convolutions_with_padding_and_output_padding(size: int, stride: int, pad: int, more: int) -> None:
    pads = ((pad, pad - more), (pad, pad - more))
    close_with_gradients(
        lambda x, k: convolve_transpose(x, k, (stride, stride), pads),
        lambda x, k: F.conv_transpose2d(x, k, stride=stride, padding=pad, output_padding=more),
        normal(2, 4, 3, 3),
        normal(size, size, 3, 5, seed=1),
        (2, 3, 0, 1),
    )


def test_the_layers_of_a_translator() -> None:
    """Reflected borders before a convolution, and the transposed one that doubles the side with a 3x3 kernel."""
    conv, up = Conv(5, (7, 7), padding="VALID"), ConvTranspose(5, (3, 3), (2, 2), padding=((1, 0), (1, 0)))
    p, q = (filled(layer, X)["params"] for layer in (conv, up))
    theirs = F.conv2d(F.pad(nchw(X), (3, 3, 3, 3), mode="reflect"), tensor(p["kernel"], 3, 2, 0, 1), tensor(p["bias"]))
    close(conv.apply({"params": p}, reflect_pad(X, 3)), nhwc(theirs))
    kernel, bias = tensor(q["kernel"], 2, 3, 0, 1), tensor(q["bias"])
    theirs = F.conv_transpose2d(nchw(X), kernel, bias, stride=2, padding=1, output_padding=1)
    assert theirs.shape[2:] == (18, 16)
    close(up.apply({"params": q}, X), nhwc(theirs))


@pytest.mark.parametrize(
    ("layer", "theirs", "order", "axis", "dim"),
    [
        (Conv(5, (3, 3), padding=1), torch.nn.Conv2d(6, 5, 3, padding=1), (3, 2, 0, 1), -1, 0),
        (ConvTranspose(5, (3, 3), (2, 2), 1), torch.nn.ConvTranspose2d(6, 5, 3, 2, 1), (2, 3, 0, 1), -1, 1),
        (ConvTranspose(5, (3, 3), (2, 2), 1), torch.nn.ConvTranspose2d(6, 5, 3, 2, 1), (2, 3, 0, 1), -2, 0),
    ],
    ids=["convolution", "transposed, by output", "transposed, by input"],
)
def test_weight_norm_and_its_gradients(layer: nn.Module, theirs: Any, order: Any, axis: int, dim: int) -> None:
    ours = WeightNorm(layer, axis)
    params = filled(ours, X)["params"]
    theirs = torch.nn.utils.parametrizations.weight_norm(theirs, dim=dim)
    weight = theirs.parametrizations.weight
    with torch.no_grad():
        weight.original0.copy_(tensor(params["scale"]).reshape(weight.original0.shape))
        weight.original1.copy_(tensor(params["layer"]["kernel"], *order))
        theirs.bias.copy_(tensor(params["layer"]["bias"]))
    out = theirs(nchw(X))
    dy = normal(*nhwc(out).shape, seed=3)
    out.backward(nchw(dy).detach())
    found, pull = jax.vjp(lambda params: ours.apply({"params": params}, X), params)
    (grads,) = pull(dy)
    close(found, nhwc(out))
    close(grads["scale"], weight.original0.grad.reshape(-1))
    close(grads["layer"]["kernel"], weight.original1.grad.permute(*np.argsort(order)))
    # What is drawn at first is the layer's own: its lengths are those that PyTorch finds.
    started = ours.init(jax.random.key(0), X)["params"]
    lengths = torch.norm_except_dim(tensor(started["layer"]["kernel"], *order), 2, dim)
    close(started["scale"], lengths.detach().reshape(-1))


def test_an_equalised_convolution() -> None:
    layer = Equalised(Conv(5, (3, 3), padding=1), multiplier=0.5)
    params = filled(layer, X)["params"]["layer"]
    weight = 0.5 * math.sqrt(2 / (9 * 6)) * tensor(params["kernel"], 3, 2, 0, 1)
    theirs = F.conv2d(nchw(X), weight, 0.5 * tensor(params["bias"]), padding=1)
    close(layer.apply({"params": {"layer": params}}, X), nhwc(theirs))


@pytest.mark.parametrize("sees_itself", [False, True])
def test_a_masked_convolution(sees_itself: bool) -> None:
    layer = Masked(Conv(5, (5, 5)), raster_mask(sees_itself=sees_itself))
    params = filled(layer, X)["params"]["layer"]
    mask = torch.ones(5, 6, 5, 5)
    mask[:, :, 2, 2 + sees_itself :] = 0
    mask[:, :, 3:] = 0
    theirs = F.conv2d(nchw(X), mask * tensor(params["kernel"], 3, 2, 0, 1), tensor(params["bias"]), padding=2)
    close(layer.apply({"params": {"layer": params}}, X), nhwc(theirs))


POOLS = [(k, s, p, ceil) for k, s, p, ceil in itertools.product((2, 3), (1, 2, 3), (0, 1), (False, True)) if 2 * p <= k]


@pytest.mark.parametrize(("k", "s", "p", "ceil"), POOLS)
def test_pooling_and_its_gradients(k: int, s: int, p: int, ceil: bool) -> None:
    x = jax.nn.relu(X)  # with ties
    options: dict[str, Any] = {"stride": s, "padding": p, "ceil_mode": ceil}
    pairs = [
        (lambda x: max_pool(x, (k, k), (s, s), p, ceil_mode=ceil), lambda a: F.max_pool2d(a, k, **options)),
        *(
            (
                lambda x, count=count: avg_pool(x, (k, k), (s, s), p, ceil_mode=ceil, count_include_pad=count),
                lambda a, count=count: F.avg_pool2d(a, k, count_include_pad=count, **options),
            )
            for count in (False, True)
        ),
    ]
    for ours, theirs in pairs:
        a = nchw(x)
        out = theirs(a)
        dy = normal(*nhwc(out).shape, seed=1)
        out.backward(nchw(dy).detach())
        found, pull = jax.vjp(ours, x)
        close(found, nhwc(out))
        close(pull(dy)[0], nhwc(a.grad))


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (6, 6), (9, 8), (12, 3), (7, 20)])
def test_adaptive_pooling(size: tuple[int, int]) -> None:
    close(adaptive_avg_pool(X, size), nhwc(F.adaptive_avg_pool2d(nchw(X), size)))


def test_instance_layer_rms_and_pixel_norm() -> None:
    x = 3 * X + 2
    for affine in (False, True):
        layer = InstanceNorm(affine=affine)
        variables = filled(layer, x)
        params = variables.get("params", {})
        weight, bias = (tensor(params[name]) if affine else None for name in ("scale", "bias"))
        close(layer.apply(variables, x), nhwc(F.instance_norm(nchw(x), weight=weight, bias=bias)))
    layer = RMSNorm()
    variables = filled(layer, x)
    close(layer.apply(variables, x), F.rms_norm(tensor(x), (6,), tensor(variables["params"]["scale"]), eps=1e-6).detach())
    close(LayerNorm(epsilon=1e-3, affine=False).apply({}, x), F.layer_norm(tensor(x), (6,), eps=1e-3).detach())
    close(PixelNorm().apply({}, x), nhwc(nchw(x) * torch.rsqrt(nchw(x).pow(2).mean(1, keepdim=True) + 1e-8)))


@pytest.mark.parametrize(("size", "alpha", "beta", "k"), [(5, 1e-4, 0.75, 1.0), (3, 0.5, 0.6, 2.0), (4, 0.5, 1.0, 1.0)])
def test_local_response_norm(size: int, alpha: float, beta: float, k: float) -> None:
    ours = local_response_norm(5 * X, size=size, alpha=alpha, beta=beta, k=k)
    close(ours, nhwc(F.local_response_norm(nchw(5 * X), size, alpha, beta, k)))


def test_adaptive_instance_norm_is_stylegans() -> None:
    w = normal(2, 4, seed=1)
    variables = filled(AdaptiveInstanceNorm(), X, w)
    p = variables["params"]["Dense_0"]
    style = (tensor(w) @ tensor(p["kernel"]) + tensor(p["bias"])).view(2, 2, 6, 1, 1)
    theirs = F.instance_norm(nchw(X)) * (style[:, 0] + 1) + style[:, 1]
    close(AdaptiveInstanceNorm().apply(variables, X, w), nhwc(theirs))


@pytest.mark.parametrize("sides", [(9, 8), (18, 16), (5, 3), (20, 27)])
@pytest.mark.parametrize("batch", [False, True])
def test_spatially_adaptive_norm(sides: tuple[int, int], batch: bool) -> None:
    norm = (lambda x: BatchNorm(affine=False)(x, train=True)) if batch else InstanceNorm()
    layer, labels = SpatiallyAdaptiveNorm(norm, hidden=7), normal(2, *sides, 4, seed=1)
    variables = filled(layer, X, labels)
    params = variables["params"]
    assert set(params) == {"shared", "gamma", "beta"}

    def conv(a: Any, name: str):
        return F.conv2d(a, tensor(params[name]["kernel"], 3, 2, 0, 1), tensor(params[name]["bias"]), padding=1)

    h = F.relu(conv(F.interpolate(nchw(labels), size=(9, 8), mode="nearest"), "shared"))
    normed = F.batch_norm(nchw(X), None, None, training=True) if batch else F.instance_norm(nchw(X))
    ours, _ = layer.apply(variables, X, labels, mutable=["batch_stats"])
    close(ours, nhwc(normed * (1 + conv(h, "gamma")) + conv(h, "beta")))


def test_half_precision_of_the_norms_is_that_of_float32_rounded() -> None:
    x = (1000 + 50 * X).astype(jnp.bfloat16)
    for ours, theirs in (
        (InstanceNorm(dtype=jnp.bfloat16).apply({}, x), F.instance_norm(nchw(x.astype(jnp.float32)))),
        (local_response_norm(x), F.local_response_norm(nchw(x.astype(jnp.float32)), 5)),
    ):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), nhwc(theirs), rtol=2**-8, atol=1e-3)
