"""Flows: their inverses, their Jacobians by autodiff, first values by data, and densities that integrate to one."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal
from scipy import stats

from jaxgen.distributions import Normal
from jaxgen.errors import SizeError
from jaxgen.models.flows import (
    ActNorm,
    Chain,
    ChannelCoupling,
    CheckerboardCoupling,
    ConvNet,
    Flow,
    InvertibleConv,
    LearnedPrior,
    Logit,
    MultiScale,
    ResNet,
    Reverse,
    Shuffle,
    SplitPrior,
    Squeezed,
    checkerboard,
    glow,
    ordered_squeeze,
    ordered_unsqueeze,
    realnvp,
    squeeze,
    unsqueeze,
)


class Dense(nn.Module):
    """A coupling's network of points."""

    @nn.compact
    def __call__(self, x: Any, outputs: int, *, train: bool = False) -> Any:
        h = nn.tanh(nn.Dense(8, param_dtype=x.dtype)(x))
        shift, raw = jnp.split(nn.Dense(2 * outputs, param_dtype=x.dtype)(h), 2, axis=-1)
        return shift, 0.4 * jnp.tanh(raw)


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "actnorm": (ActNorm, (2, 2, 3)),
    "actnorm of points": (ActNorm, (3,)),
    "invertible convolution": (InvertibleConv, (2, 2, 3)),
    "shuffle": (Shuffle, (2, 1, 4)),
    "reverse": (Reverse, (2, 1, 4)),
    "logit": (lambda: Logit(0.05), (2, 2, 1)),
    "checkerboard": (lambda: CheckerboardCoupling(ResNet(3, 1), odd=True), (3, 2, 2)),
    "other checkerboard": (lambda: CheckerboardCoupling(ResNet(3, 0), odd=False), (2, 3, 1)),
    "channels": (lambda: ChannelCoupling(ResNet(3, 1), changes_first=True), (2, 2, 4)),
    "channels by Glow's network": (lambda: ChannelCoupling(ConvNet(5)), (2, 2, 4)),
    "additive": (lambda: ChannelCoupling(ConvNet(5, additive=True)), (2, 2, 4)),
    "points": (lambda: ChannelCoupling(Dense()), (4,)),
    "prior of what leaves": (lambda: ChannelCoupling(SplitPrior()), (2, 2, 4)),
    "prior": (LearnedPrior, (3, 3, 2)),
    "squeezed": (lambda: Squeezed(ActNorm()), (2, 4, 1)),
    "scales in order": (lambda: MultiScale((ActNorm(), ActNorm(), ActNorm()), ordered=True), (4, 4, 1)),
    "scales": (lambda: MultiScale((ActNorm(), ActNorm())), (4, 2, 1)),
    "RealNVP": (lambda: realnvp(scales=2, width=2, blocks=1), (4, 4, 1)),
    "Glow": (lambda: glow(levels=2, depth=1, width=3), (4, 4, 1)),
    "Glow of shuffles": (lambda: glow(levels=1, depth=2, width=3, mixing=Shuffle, learned_prior=False), (2, 2, 1)),
}
EVERY = pytest.mark.parametrize("name", LAYERS)
FACTORED = ("logit", "RealNVP")
"""Flows of intensities in [0, 1]."""
BY_FLOAT32 = ("checkerboard", "other checkerboard", "channels", "Glow", "Glow of shuffles")
"""Flows whose Jacobian has derivatives of batch norm or of the CPU's convolution, which are in single precision."""


FIRST = 64
"""Examples that the parameters are made from; of a few, the deviations of some feature maps are nearly zero."""


def data_of(name: str, dtype: Any = np.float32, n: int = 6) -> Any:
    rng = np.random.default_rng(3)
    shape = (n, *LAYERS[name][1])
    return jnp.asarray(rng.uniform(0.02, 0.98, shape) if name in FACTORED else 1.5 * rng.normal(size=shape) + 0.3, dtype)


def made(flow: Any, x: Any) -> Any:
    """The flow's variables as it makes them of the data, moved a little, so that nothing stays at zero or at one."""
    rng = np.random.default_rng(1)

    def moved(path: Any, leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        noise = 0.05 * rng.normal(size=leaf.shape)
        return jnp.asarray(np.asarray(leaf) + (np.abs(noise) if path[-1].key == "var" else noise), leaf.dtype)

    return jax.tree_util.tree_map_with_path(moved, dict(jax.jit(flow.init)(jax.random.key(0), x)))


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(flow: Any, variables: Any, x: Any, method: str = "__call__") -> Any:
    return flow.apply(variables, x, method=method)


def jacobians(flow: Any, variables: Any, x: Any) -> np.ndarray:
    """The Jacobian of each example, `[B, D, D]`, by reverse mode."""

    def one(row: Any) -> Any:
        return flow.apply(variables, row.reshape(1, *x.shape[1:]))[0].reshape(-1)

    return np.asarray(jax.jit(jax.vmap(jax.jacrev(one)))(x.reshape(len(x), -1)), np.float64)


@EVERY
def test_the_inverse_gives_the_data_back(name: str) -> None:
    flow, x = LAYERS[name][0](), data_of(name)
    variables = made(flow, data_of(name, n=FIRST))
    z, log_det = apply(flow, variables, x)
    assert isinstance(flow, Flow)
    assert (z.shape, log_det.shape) == (x.shape, x.shape[:1])
    assert np.abs(np.asarray(z - x)).max() > 0.1
    back = apply(flow, variables, z, method="inverse")
    np.testing.assert_allclose(back, x, atol=1e-5)


@EVERY
def test_the_determinant_is_that_of_the_jacobian(name: str) -> None:
    flow, x = LAYERS[name][0](), data_of(name, n=3)
    variables = made(flow, data_of(name, n=FIRST))
    _, log_det = apply(flow, variables, x)
    _, expected = np.linalg.slogdet(jacobians(flow, variables, x))
    assert name in ("shuffle", "reverse", "additive") or np.abs(expected).max() > 0.01
    np.testing.assert_allclose(log_det, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "RealNVP"])
def test_in_double_precision_both_hold_to_ten_digits(name: str) -> None:
    """But for RealNVP as a whole, whose batch statistics are applied in single precision: its couplings are held one by one."""
    with jax.enable_x64(True):
        flow, x = LAYERS[name][0](), data_of(name, np.float64, n=3)
        variables = made(flow, data_of(name, np.float64, n=FIRST))
        z, log_det = apply(flow, variables, x)
        assert z.dtype == log_det.dtype == jnp.float64
        np.testing.assert_allclose(apply(flow, variables, z, method="inverse"), x, atol=1e-10)
        if name not in BY_FLOAT32:
            _, expected = np.linalg.slogdet(jacobians(flow, variables, x))
            np.testing.assert_allclose(log_det, expected, atol=1e-10)


def test_squeezes_are_those_of_numpy() -> None:
    x = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    plain, ordered = np.zeros((2, 2, 3, 12), np.float32), np.zeros((2, 2, 3, 12), np.float32)
    for row in range(4):
        for column in range(6):
            for channel in range(3):
                i, j = row % 2, column % 2
                plain[:, row // 2, column // 2, 4 * channel + 2 * i + j] = x[:, row, column, channel]
                place = {(0, 0): 0, (1, 1): 1, (0, 1): 2, (1, 0): 3}[i, j]
                ordered[:, row // 2, column // 2, 3 * place + channel] = x[:, row, column, channel]
    np.testing.assert_array_equal(squeeze(jnp.asarray(x)), plain)
    np.testing.assert_array_equal(ordered_squeeze(jnp.asarray(x)), ordered)
    np.testing.assert_array_equal(unsqueeze(jnp.asarray(plain)), x)
    np.testing.assert_array_equal(ordered_unsqueeze(jnp.asarray(ordered)), x)


def test_what_leaves_in_order_is_one_colour_of_a_checkerboard() -> None:
    colour = np.broadcast_to(checkerboard(4, 4, odd=True), (1, 4, 4, 1))
    halves = np.split(np.asarray(ordered_squeeze(jnp.asarray(colour))), 2, axis=-1)
    assert (halves[0].max(), halves[1].min()) == (0, 1)
    flow = MultiScale((Chain(()), ActNorm()), ordered=True)
    z, _ = flow.apply({"params": {"flows_1": {"bias": jnp.full(2, 5.0), "log_scale": jnp.zeros(2)}}}, jnp.zeros((1, 4, 4, 1)))
    np.testing.assert_array_equal(z, 5 * (1 - colour))


@pytest.mark.parametrize("shape", [(1, 3, 4, 1), (1, 4, 5, 1)])
def test_odd_sides_cannot_be_squeezed(shape: tuple[int, ...]) -> None:
    for squeezed in (squeeze, ordered_squeeze):
        with pytest.raises(SizeError, match="do not fill images"):
            squeezed(jnp.zeros(shape))


@pytest.mark.parametrize("shape", [(64, 5), (16, 3, 4, 5)])
def test_actnorm_normalises_the_first_batch_and_that_alone(shape: tuple[int, ...]) -> None:
    x = normal(*shape) * jnp.array([0.1, 1, 3, 10, 50.0]) + jnp.array([0, 1, -5, 100, 3.0])
    variables = ActNorm().init(jax.random.key(0), x)
    z, _ = ActNorm().apply(variables, x)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(z.mean(axes), 0, atol=2e-5)
    np.testing.assert_allclose(z.std(axes), 1, atol=3e-5)
    other, _ = ActNorm().apply(variables, x + 1)
    np.testing.assert_allclose(np.asarray(other - z).mean(axes), 1 / np.asarray(x).std(axes), rtol=1e-3)


def test_every_actnorm_of_a_glow_normalises_what_it_is_given_of_the_first_batch() -> None:
    flow, x = glow(levels=2, depth=2, width=6), data_of("Glow", n=40)
    variables = flow.init(jax.random.key(0), x)
    is_flow = lambda module, method: isinstance(module, ActNorm) and method == "__call__"
    _, found = flow.apply(variables, x, capture_intermediates=is_flow, mutable=["intermediates"])
    outputs = [leaf for leaf in jax.tree.leaves(found["intermediates"]) if leaf.ndim == 4]
    assert len(outputs) == 2 * 2 * 3  # one in each step, and two in its network
    for z in outputs:
        np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=1e-3)


def test_the_first_mixing_is_a_rotation_and_couplings_begin_with_their_constants() -> None:
    channels = 6
    variables = InvertibleConv().init(jax.random.key(2), jnp.zeros((1, 1, 1, channels)))
    matrix = np.asarray(InvertibleConv().apply(variables, jnp.eye(channels)[:, None, None])[0]).reshape(channels, channels)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(channels), atol=1e-5)
    assert np.abs(matrix - np.eye(channels)).max() > 0.3
    x = normal(2, 4, 4, 4)
    for coupling, factor in (
        (ChannelCoupling(ConvNet(8)), 1 / (1 + np.exp(-2.0))),
        (ChannelCoupling(SplitPrior()), 1.0),
    ):
        z, _ = coupling.apply(coupling.init(jax.random.key(0), x), x)
        np.testing.assert_allclose(z[..., 2:], factor * x[..., 2:], rtol=1e-5)
        np.testing.assert_array_equal(z[..., :2], x[..., :2])
    coupling = CheckerboardCoupling(ResNet(4, 1), odd=True)
    z, log_det = coupling.apply(coupling.init(jax.random.key(0), x), x)
    mask = np.asarray(checkerboard(4, 4, odd=True))
    np.testing.assert_array_equal(z * mask, x * mask)
    np.testing.assert_array_equal(log_det, 0)
    assert np.abs(np.asarray(z - x)).max() > 0.01


def test_a_mixing_of_whitened_data_has_their_gaussian_density() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    mean, covariance = rng.normal(size=3), factor @ factor.T
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T  # upper triangular, (x - mean) W is white
    lu = np.triu(whitening, 1) + np.diag(np.log(np.diagonal(whitening)))
    variables = {
        "params": {"flows_0": {"bias": jnp.float32(-mean), "log_scale": jnp.zeros(3)}, "flows_1": {"lu": jnp.float32(lu)}},
        "permutation": {"flows_1": {"order": jnp.arange(3)}},
    }
    x = rng.normal(size=(50, 3)) @ factor.T + mean
    z, log_det = Chain((ActNorm(), InvertibleConv())).apply(variables, jnp.float32(x))
    found = np.asarray(Normal().log_prob(z)).sum(1) + np.asarray(log_det)
    np.testing.assert_allclose(found, stats.multivariate_normal(mean, covariance).logpdf(x), rtol=1e-4, atol=1e-4)


def test_a_density_of_the_plane_integrates_to_one_and_is_that_of_its_samples() -> None:
    flow = Chain((ActNorm(), *(ChannelCoupling(Dense(), first) for first in (True, False, True)), InvertibleConv()))
    variables = made(flow, normal(200, 2))
    side = jnp.linspace(-16, 16, 801)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    z, log_det = apply(flow, variables, grid)
    density = np.exp(np.asarray(Normal().log_prob(z).sum(-1) + log_det, np.float64))
    cell = (32 / 800) ** 2
    assert density.sum() * cell == pytest.approx(1, abs=1e-4)
    x = np.asarray(apply(flow, variables, normal(200_000, 2, seed=4), method="inverse"))
    mean = (density[:, None] * np.asarray(grid)).sum(0) * cell
    np.testing.assert_allclose(x.mean(0), mean, atol=0.02)
    spread = (density[:, None] * (np.asarray(grid) - mean) ** 2).sum(0) * cell
    np.testing.assert_allclose(x.var(0), spread, rtol=0.03)


def test_the_border_is_seen_by_glows_networks() -> None:
    """By a loop of numpy: a channel of ones around the image, and zeros in it."""
    x, kernel = normal(1, 3, 4, 2), normal(3, 3, 3, 4, seed=1)
    variables = {
        "params": {"_ZeroConv_0": {"Conv_0": {"kernel": kernel, "bias": jnp.arange(4.0)}, "log_scale": jnp.full(4, 0.1)}}
    }
    shift, log_scale = SplitPrior().apply(variables, x, 2)
    padded = np.zeros((5, 6, 3))
    padded[..., 2] = 1
    padded[1:4, 1:5, 2] = 0
    padded[1:4, 1:5, :2] = x[0]
    expected = np.zeros((3, 4, 4))
    for i in range(3):
        for j in range(4):
            expected[i, j] = np.einsum("hwc,hwco->o", padded[i : i + 3, j : j + 3], np.asarray(kernel)) + np.arange(4)
    expected *= np.exp(0.3)
    np.testing.assert_allclose(shift[0], -expected[..., 0::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_scale[0], -expected[..., 1::2], rtol=1e-4, atol=1e-5)


def test_training_normalises_by_the_batch_and_moves_the_statistics() -> None:
    flow, x = realnvp(scales=1, width=3, blocks=1), data_of("RealNVP")
    variables = made(flow, x)
    (z, _), updated = flow.apply(variables, x, train=True, mutable=["batch_stats"])
    assert np.abs(np.asarray(z - apply(flow, variables, x)[0])).max() > 1e-3
    before, after = (jax.tree.leaves(v["batch_stats"]) for v in (variables, updated))
    assert all(np.abs(np.asarray(a - b)).max() > 0 for a, b in zip(before, after, strict=True))
