"""The formulation of convolutions: XLA's own against the package's, bare and inside `lax.scan`.

python -m experiments.benchmarks.convolution --json convolution.json    # 6 minutes on 2 cores
python -m experiments.benchmarks.convolution --groups 32                # XLA's grouped ones take longer
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import tyro
from jax import lax

from experiments.benchmarks.pairing import pair, report, seconds
from jaxgen.nn import conv
from jaxgen.types import Array

SHAPES = ((100, 28, 32), (64, 16, 64), (32, 16, 128), (32, 8, 256))
"""Shapes of the inputs: batch, side and channels."""

LOOP = 4

Layer: TypeAlias = Callable[[Array, Array], Array]


def xla(x: Array, kernel: Array, *, dilation: int, groups: int) -> Array:
    """XLA's convolution, 3x3."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        rhs_dilation=(dilation, dilation),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def ours(x: Array, kernel: Array, *, dilation: int, groups: int) -> Array:
    """The package's 3x3 convolution on this backend."""
    return conv.convolve(x, kernel, (1, 1), dilation=(dilation, dilation), groups=groups)


def main(
    *,
    rounds: int = 3,
    dilation: int = 1,
    groups: int = 1,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measures forward and backward passes of three layers, in alternation.

    Args:
      rounds: calls of each.
      dilation: steps between the positions of the kernels.
      groups: groups of channels that are convolved each by itself.
      json_file: file that the table is added to.
    """
    for batch, side, channels in SHAPES:
        keys = jax.random.split(jax.random.key(0), 4)
        x = jax.random.normal(keys[0], (batch, side, side, channels))
        kernels = [
            jax.random.normal(key, (3, 3, channels // groups, channels)) / (3 * (channels / groups) ** 0.5) for key in keys[1:]
        ]
        contenders = {
            name + place: measure(functools.partial(layer, dilation=dilation, groups=groups), x, kernels)
            for place, measure in {"": bare, " in a scan": looped}.items()
            for name, layer in {"XLA": xla, "jaxgen": ours}.items()
        }
        kind = f", dilation {dilation}, {groups} groups" if dilation > 1 or groups > 1 else ""
        title = f"3 convolutions 3x3, batch {batch}, {side}x{side}, {channels} channels{kind}, with gradient"
        report(title, "ms a step", pair(contenders, rounds=rounds), json_file)


def gradient(layer: Layer, x: Array, kernels: list[Array]) -> list[Array]:
    """The gradient of a small network in its kernels."""

    def loss(kernels: list[Array]) -> Array:
        h = x
        for kernel in kernels:
            h = jnp.tanh(layer(h, kernel))
        return h.mean()

    return jax.grad(loss)(kernels)


def bare(layer: Layer, x: Array, kernels: list[Array]) -> Callable[[], float]:
    """Milliseconds of one call."""
    call = jax.jit(lambda kernels: gradient(layer, x, kernels))
    return lambda: 1e3 * seconds(lambda: call(kernels))


def looped(layer: Layer, x: Array, kernels: list[Array]) -> Callable[[], float]:
    """Milliseconds of one of the steps of a loop."""

    def step(kernels: list[Array], _: None) -> tuple[list[Array], None]:
        return jax.tree.map(lambda k, g: k - 1e-3 * g, kernels, gradient(layer, x, kernels)), None

    call = jax.jit(lambda kernels: lax.scan(step, kernels, length=LOOP)[0])
    return lambda: 1e3 * seconds(lambda: call(kernels)) / LOOP


if __name__ == "__main__":
    tyro.cli(main)
