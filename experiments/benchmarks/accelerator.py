"""Steps/s and the share of an accelerator's peak: DDPM's CIFAR-10 U-Net and CLIP's ViT-B image tower, in bfloat16.

python -m experiments.benchmarks.accelerator --peak 989 --json accelerator.json      # an H100 (SXM): 989 dense bf16 TFLOP/s
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.pairing import pair, report
from jaxgen import data, diffusion, objectives
from jaxgen.devices import parallel
from jaxgen.game import LossFn
from jaxgen.models.diffusion import UNet
from jaxgen.models.transformers import VisionTransformer
from jaxgen.runs.run import begin
from jaxgen.training import program
from jaxgen.types import Array, Batch, Key, Params


def ddpm(batch: int) -> jaxgen.Experiment:
    """The 35.7M-parameter U-Net on images of CIFAR-10's size, L_simple, Adam and averages, as the paper trains it."""
    model = UNet(dtype=jnp.bfloat16)
    loss = objectives.denoising_score_matching(model, diffusion.linear(1000))
    return _on_noise(loss, batch, 32, jaxgen.Network(model, jnp.zeros((1, 32, 32, 3)), jnp.zeros(1)))


def vit(batch: int) -> jaxgen.Experiment:
    """CLIP's ViT-B/32 image tower at 224 pixels, forward and backward through the sum of squares of its output, with Adam."""
    model = VisionTransformer(patch=32, width=768, depth=12, heads=12, outputs=512, dtype=jnp.bfloat16)

    def loss(params: Params, state: jaxgen.TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, jaxgen.Aux]:
        out, _ = objectives.apply(model, params, state.vars, batch["image"], train=train)
        return (out.astype(jnp.float32) ** 2).mean(-1), jaxgen.Aux()

    return _on_noise(loss, batch, 224, jaxgen.Network(model, jnp.zeros((1, 224, 224, 3))), ema=None)


def _on_noise(loss: LossFn, batch: int, side: int, network: jaxgen.Network, ema: float | None = 0.9999) -> jaxgen.Experiment:
    images = np.random.default_rng(0).integers(0, 256, (2 * batch, side, side, 3)).astype(np.uint8)
    source = data.from_arrays({"image": images}, name="noise", fingerprint="noise")
    players = {"model": jaxgen.Player(loss, optax.adam(2e-4))}
    stream = data.shuffled(source, batch, data.scale(-1, 1))
    return jaxgen.Experiment(stream, players, steps=0, networks={"model": network}, ema=ema)


def main(
    *,
    peak: float,
    ddpm_batch: int = 128,
    vit_batch: int = 256,
    calls: int = 5,
    chunk: int = 20,
    rounds: int = 5,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measures the compiled step of `fit` with its batches on the device.

    Args:
      peak: the peak of the device in bf16, in TFLOP/s, as its maker states it without sparsity.
      ddpm_batch: images in a step of the U-Net.
      vit_batch: images in a step of the image tower.
      calls: the number of calls of the compiled function in a measurement.
      chunk: steps in a call.
      rounds: measurements of each.
      json_file: file that the table is added to.
    """
    shares: dict[str, float] = {}

    def contender(name: str, made: jaxgen.Experiment) -> Callable[[], float]:
        way = parallel.choose("jit")
        spec = jax.eval_shape(lambda: begin(made, 0))
        compiled = program.compiled(made, spec, way, skip_not_finite=False, steps_per_call=chunk)
        # Of one step, since a loop of unknown length has no cost; and before compilation, which on a GPU turns convolutions
        # into calls of a library whose operations XLA does not count.
        costs = jax.jit(program.step_of(made)).lower(spec, program.batch_spec(made.train)).cost_analysis() or {}
        shares[name] = costs.get("flops", float("nan")) / (peak * 1e12)
        advance = compiled.advance
        state = way.place(begin(made, 0))
        window = way.place(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), compiled.window))
        batches, n = way.feed(made.train.read(0, seed=0, steps=chunk), np.int32(chunk))

        def measure() -> float:
            nonlocal state, window
            state, window, token = advance(state, window, batches, n)
            jax.block_until_ready(token)
            start = time.perf_counter()
            for _ in range(calls):
                state, window, token = advance(state, window, batches, n)
            jax.block_until_ready(token)
            return calls * chunk / (time.perf_counter() - start)

        return measure

    contenders = {
        name: contender(name, made)
        for name, made in {
            f"DDPM U-Net 35.7M, 32x32, batch {ddpm_batch}": ddpm(ddpm_batch),
            f"CLIP ViT-B/32 image tower, batch {vit_batch}": vit(vit_batch),
        }.items()
    }
    rates = pair(contenders, rounds=rounds)
    report("steps on an accelerator", "steps/s", rates, json_file)
    for name, row in rates.items():
        print(f"  {name:36} {100 * row['median'] * shares[name]:.1f}% of {peak:g} TFLOP/s")


if __name__ == "__main__":
    tyro.cli(main)
