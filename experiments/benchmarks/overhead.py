"""The cost of the loop: examples/s of `fit` against a bare jitted `lax.scan` over the same step; 784-200-200-50 VAE, batch 100.

python -m experiments.benchmarks.overhead --json overhead.json          # 2 to 4 minutes on 2 cores
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import lax

import jaxgen
from experiments.benchmarks.pairing import pair, report, seconds
from jaxgen import data, objectives
from jaxgen.models import autoencoders, vae
from jaxgen.nn import likelihoods
from jaxgen.runs.run import begin
from jaxgen.training import program

BATCH, CALL = 100, 20


def experiment(steps: int, batch_size: int = BATCH) -> jaxgen.Experiment:
    """The IWAE paper's one-layer network on images of MNIST's size, dynamically binarised."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1)).astype(np.uint8)
    source = data.from_arrays({"image": images}, name="noise of MNIST's size", fingerprint="noise")
    model = vae.VAE(
        autoencoders.mlp.Encoder((200, 200)),
        autoencoders.mlp.Decoder((28, 28, 1)),
        likelihoods.BernoulliLikelihood(),
        latents=50,
    )
    return jaxgen.Experiment(
        train=data.shuffled(source, batch_size, data.chain(data.scale(), data.binarize())),
        players={"model": jaxgen.Player(objectives.elbo(model), optax.adam(1e-3))},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, 28, 28, 1)))},
    )


def main(*, steps: int = 2000, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both in alternation.

    Args:
      steps: steps of a run.
      rounds: the number of runs of each.
      json_file: file that the table is added to.
    """
    made = experiment(steps)
    step = program.with_data(jaxgen.make_train_step(made.players), made.train)
    # The batches of a call lie on the device already, nothing is read, logged or saved: the most that this step can do.
    batches = jax.device_put(made.train.read(0, seed=0, steps=CALL))

    def scan(body: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[[], float]:
        call = jax.jit(lambda state: lax.scan(body, state, batches), donate_argnums=0)

        def measure() -> float:
            state, _ = jax.block_until_ready(call(begin(made, 0)))

            def run() -> jaxgen.TrainState:
                nonlocal state
                for _ in range(steps // CALL):
                    state, _ = call(state)
                return state

            return steps * BATCH / seconds(run)

        return measure

    def fit() -> float:
        run = jaxgen.fit(made, quiet=True)
        # The first window pays for compilation, in `fit` as outside of it.
        rates = [line["examples_per_second"] for line in run.history][1:]
        return len(rates) / sum(1 / rate for rate in rates)

    contenders = {
        "bare lax.scan over the step": scan(step),
        "jaxgen.fit": fit,
        # Without its loss and its metrics, which XLA then does not compute: what it costs to know them.
        "bare lax.scan, metrics dropped": scan(lambda state, batch: (step(state, batch)[0], None)),
    }
    report("overhead of fit", "examples/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
