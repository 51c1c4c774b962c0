"""Deep convolutional GAN (Radford et al. 2015), with the latent space that it was looked into for.

python -m experiments.dcgan                                                           # digits, nothing to download; 2 minutes
python -m experiments.dcgan --dataset mnist --data-dir D --channels 64 128
python -m experiments.dcgan --dataset cifar10 --data-dir D --channels 64 128 256

Against the paper (section 4) and the authors' code (github.com/Newmu/dcgan_code, faces/train_uncond_dcgan.py):

| | the paper, or its code | here |
| --- | --- | --- |
| optimizer of both players | Adam of 2e-4 with beta1 of 0.5, batches of 128 | the same |
| weights | normal with a deviation of 0.02, gains of the normalisation about 1 | the same |
| z | 100 numbers, uniform in [-1, 1] | 100 numbers, normal |
| kernels | 5x5 | 4x4 |
| weight decay | none in the paper, 1e-5 of both players in the code | none |
| who moves when | in the code the players take turns, each on a batch of its own | both in each step, the discriminator first |
| samples | normalised by the statistics of their own batch | normalised by the running statistics |
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_space
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.losses.penalty import lazily, r1
from jaxgen.models.gan import dcgan
from jaxgen.types import Array, Batch, Key

LOSSES = {"minimax": adversarial.minimax, "non_saturating": adversarial.non_saturating, "hinge": adversarial.hinge}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    data_dir: str | None = None,
    cache_budget: NonNegative = 4.0,
    loss: Literal["minimax", "non_saturating", "hinge"] | adversarial.AdversarialLoss = "non_saturating",
    latents: Count = 100,
    channels: Counts = (32, 64),
    norm: Literal["batch", "spectral"] = "batch",
    gamma: NonNegative = 0.0,
    gamma_every: Count = 16,
    steps: Whole = 2000,
    batch_size: Count = 128,
    learning_rate: Positive = 2e-4,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A DCGAN on the images of any dataset whose sides can be halved often enough.

    Args:
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`).
      data_dir: the folder of the prepared sets; by default $TFDS_DATA_DIR or TFDS's own folder.
      cache_budget: GiB that a split's decoded cache may take; 0 streams.
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      latents: dimension of z.
      channels: the numbers of channels of the discriminator's maps, the largest map first; the generator mirrors it. Each
        halves the side.
      norm: the normalisation of the discriminator: of its batches, or of its kernels (Miyato et al. 2018).
      gamma: weight of the R1 penalty, which wants a discriminator with the spectral norm; 0 is none.
      gamma_every: steps between its applications, in which it is a part of the loss. StyleGAN2, where this is from, gives it an
        update of its own and lowers Adam's rate and betas for that; here there is no further update, and Adam stays as it is.
      steps: training steps; in each both players move once.
      batch_size: images in a step.
      learning_rate: Adam's learning rate, for both players.
      ema: decay of the parameter averages that are evaluated and sampled from, debiased: initial parameters have no part.
      accumulate: micro-batches that a batch is cut into to save memory.
      bf16: whether to compute in bfloat16; parameters and reductions stay in float32.

    Returns:
      The experiment.
    """
    train, test = data.train_and_test(dataset, data_dir=data_dir, cache_budget=cache_budget)
    transform = data.scale(-1, 1)
    image = data.common_shape("image", train, test)
    if gamma and norm == "batch":
        raise jaxgen.UserError("--gamma penalises the gradient of each image by itself; it goes with --norm spectral.")
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    generator = dcgan.Generator(image, channels[::-1], dtype=dtype)
    discriminator = dcgan.Discriminator(channels, normalised=norm == "batch", spectral=norm == "spectral", dtype=dtype)
    penalty = lazily(r1(gamma), gamma_every) if gamma else None
    d_loss, g_loss = objectives.adversarial(generator, discriminator, value_of(LOSSES, loss), latents=latents, penalty=penalty)
    tx = optax.adam(learning_rate, b1=0.5)

    @jax.jit
    def decode(state: jaxgen.TrainState, z: Array) -> Array:
        return (objectives.apply(generator, state.params, state.vars, z, name="generator")[0] + 1) / 2

    def draw(key: Key, n: int) -> Array:
        return jax.random.normal(key, (n, latents))

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return decode(state, draw(key, len(given["index"])))

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values, aux = d_loss(state.params, state, batch, key, train=False)
        return {"discriminator_loss": values, **aux.metrics}

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"discriminator": jaxgen.Player(d_loss, tx), "generator": jaxgen.Player(g_loss, tx)},
        steps=steps,
        networks={
            "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
            "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
        },
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform)},
        pictures=latent_space.prior_album(decode, draw),
        sample=sample,
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        accumulate=accumulate,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
