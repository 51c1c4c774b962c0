"""A run of the VAE against pythae's trainer: 784-512-50 with ReLU, binarised images, batches of 100.

python -m experiments.benchmarks.peers.vae --json vae.json              # 3 minutes on 2 cores
"""

import logging
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.alone import alone
from experiments.benchmarks.pairing import pair, report
from jaxgen import data, objectives
from jaxgen.models import autoencoders, vae
from jaxgen.nn import likelihoods

EXAMPLES, BATCH, EPOCHS = 30_000, 100, 2


def network() -> vae.VAE:
    """The network that pythae takes by default for images of MNIST's size, with 50 latents."""
    encoder = autoencoders.mlp.Encoder((512,), jax.nn.relu)
    decoder = autoencoders.mlp.Decoder((28, 28, 1), (512,), jax.nn.relu)
    return vae.VAE(encoder, decoder, likelihoods.BernoulliLikelihood(), latents=50)


def peer_network() -> Any:
    """Pythae's."""
    from pythae.models import VAE, VAEConfig

    return VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce"))


def ours() -> float:
    """Examples a second of `jaxgen.fit`, without the first window, in which it compiles."""
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8)
    source = data.from_arrays({"image": images}, name="noise", fingerprint="noise")
    model = network()
    run = jaxgen.fit(
        jaxgen.Experiment(
            train=data.shuffled(source, BATCH, data.chain(data.scale(), data.binarize())),
            players={"model": jaxgen.Player(objectives.elbo(model), optax.adam(1e-3))},
            steps=3 * EPOCHS * EXAMPLES // BATCH,
            networks={"model": jaxgen.Network(model, jnp.zeros((1, 28, 28, 1)))},
        ),
        quiet=True,
    )
    rates = [line["examples_per_second"] for line in run.history][1:]
    return len(rates) / sum(1 / one for one in rates)


def peer() -> float:
    """Examples a second of pythae's trainer; the images are binarised beforehand, not at each visit."""
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    logging.disable(logging.CRITICAL)
    images = (np.random.default_rng(0).random((EXAMPLES, 1, 28, 28)) > 0.5).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
        )
        start = time.perf_counter()
        TrainingPipeline(model=peer_network(), training_config=config)(train_data=images)
        return EPOCHS * EXAMPLES / (time.perf_counter() - start)


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both in alternation.

    Args:
      rounds: the number of runs of each.
      json_file: file that the table is added to.
    """
    contenders = {"pythae's trainer": alone(peer), "jaxgen.fit": alone(ours)}
    report("VAE of 881k parameters, batch 100: a run", "examples/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
