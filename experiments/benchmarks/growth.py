"""Growth of a training step's time, temporary memory and compilation with the sizes of a model and of its batch.

python -m experiments.benchmarks.growth --out growth                    # 20 minutes on 2 cores

For every axis: the measures, a plot, and the exponent of the power law through the larger half of the sizes. Work that a step
cannot avoid is linear in the batch, the depth, the number of pixels and, per channel of input, in the channels: exponents of 1,
1, 2 in the side and 2 in the channels, where attention or overheads are small against convolutions.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.alone import alone
from jaxgen import diffusion, objectives
from jaxgen.models.diffusion import UNet
from jaxgen.nn import Transformer
from jaxgen.types import Array, Batch, Key, Params


class Measured(NamedTuple):
    """The measures at one size.

    Fields:
      milliseconds: the time of a training step, by the median.
      mebibytes: the temporary memory of its compiled program.
      compilation: the seconds that it took to trace and to compile.
    """

    milliseconds: float
    mebibytes: float
    compilation: float


def unet(*, batch: int = 16, side: int = 16, channels: int = 32) -> Measured:
    """A U-Net of three levels, of which the last attends, with Adam.

    Args:
      batch: the number of images.
      side: the height and the width of the images.
      channels: the number of channels of the first level; the others have twice as many.
    """
    model = UNet(channels=(channels, 2 * channels, 2 * channels), blocks=1, attention=(), dropout=0.0)
    loss = objectives.denoising_score_matching(model, diffusion.linear(1000))
    network = jaxgen.Network(model, jnp.zeros((1, side, side, 3)), jnp.zeros(1))
    return measured(jaxgen.Player(loss, optax.adam(1e-4)), network, (batch, side, side, 3))


def transformer(*, depth: int = 4, loop: bool | None = None) -> Measured:
    """A transformer of width 192 on 64 tokens, with Adam; the loss is the mean square of its output.

    Args:
      depth: the number of blocks.
      loop: whether they run as a loop; None for what the package chooses.
    """
    model = Transformer(depth, 3, causal=False, loop=loop)

    def loss(params: Params, state: jaxgen.TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, jaxgen.Aux]:
        out, _ = objectives.apply(model, params, state.vars, batch["image"], train=train)
        return (out**2).mean((-2, -1)), jaxgen.Aux()

    network = jaxgen.Network(model, jnp.zeros((1, 64, 192)))
    return measured(jaxgen.Player(loss, optax.adam(1e-4)), network, (16, 64, 192))


def measured(player: jaxgen.Player, network: jaxgen.Network, shape: tuple[int, ...]) -> Measured:
    """A training step on a batch of this shape, compiled and run."""
    players = {"model": player}
    params, variables = jaxgen.initialize({"model": network})(jax.random.key(0))
    state = jaxgen.create_state(jax.random.key(1), params, variables, players)
    batch = {"image": jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)}
    start = time.perf_counter()
    step = jax.jit(jaxgen.make_train_step(players), donate_argnums=0).lower(state, batch).compile()
    compilation = time.perf_counter() - start
    took = []
    for _ in range(7):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        took.append(time.perf_counter() - start)
    analysis: Any = step.memory_analysis()
    return Measured(1e3 * float(np.median(took[2:])), analysis.temp_size_in_bytes / 2**20, compilation)


AXES: Mapping[str, Mapping[int, Callable[[], Measured]]] = {
    "U-Net: batch": {n: partial(unet, batch=n) for n in (2, 4, 8, 16, 32, 64)},
    "U-Net: side": {n: partial(unet, side=n) for n in (8, 16, 32, 64)},
    "U-Net: channels": {n: partial(unet, channels=n) for n in (16, 32, 64, 128)},
    "Transformer: depth, blocks in a loop": {n: partial(transformer, depth=n, loop=True) for n in (1, 2, 4, 8, 16)},
    "Transformer: depth, blocks one by one": {n: partial(transformer, depth=n, loop=False) for n in (1, 2, 4, 8, 16)},
}
"""The measures, by axis and size."""


def exponent(sizes: list[int], values: list[float]) -> float:
    """The exponent a of the power law c n^a through the larger half of the sizes, by least squares of the logarithms.

    >>> round(exponent([1, 2, 4, 8], [9.0, 8.0, 32.0, 128.0]), 6)
    2.0
    """
    kept = slice(len(sizes) // 2 - (len(sizes) == 2), None)
    return float(np.polyfit(np.log(sizes[kept]), np.log(values[kept]), 1)[0])


def main(*, out: Annotated[Path, tyro.conf.arg(help="folder of the table and of the plot")]) -> None:
    """Measures every size in a process of its own; prints and writes the exponents, and draws the measures.

    Args:
      out: folder that `growth.json` and `growth.png` are written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    table: dict[str, dict[str, dict[str, float]]] = {}
    figure, plots = plt.subplots(1, len(Measured._fields), figsize=(5 * len(Measured._fields), 4.5), layout="constrained")
    for axis, cases in AXES.items():
        measures = {size: alone(case)() for size, case in cases.items()}
        table[axis] = {}
        for plot, field in zip(plots, Measured._fields, strict=True):
            values = [getattr(one, field) for one in measures.values()]
            power = exponent(list(measures), values)
            table[axis][field] = {**{str(n): v for n, v in zip(measures, values, strict=True)}, "exponent": power}
            plot.loglog(list(measures), values, marker="o", label=f"{axis}: {power:.2f}")
            print(f"{axis:40} {field:14} exponent {power:5.2f}   " + "  ".join(f"{v:.4g}" for v in values))
    for plot, field in zip(plots, Measured._fields, strict=True):
        plot.set_xlabel("size")
        plot.set_title(field)
        plot.legend(title="exponent of the larger half", fontsize="small")
    figure.savefig(out / "growth.png", dpi=120)
    plt.close(figure)
    (out / "growth.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
