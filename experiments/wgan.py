"""Wasserstein GAN, with a gradient penalty (Gulrajani et al. 2017) or with clipped weights (Arjovsky et al. 2017).

python -m experiments.wgan                                                # digits, nothing to download; 3 minutes
python -m experiments.wgan --penalty clip                                 # RMSProp at 5e-5 and weights in [-0.01, 0.01]
python -m experiments.wgan --dataset mnist --data-dir D --channels 64 128

Against the papers and their authors' code (github.com/martinarjovsky/WassersteinGAN, main.py, with clipped weights;
github.com/igul222/improved_wgan_training, gan_mnist.py, with the penalty):

| | the papers, or their code | here |
| --- | --- | --- |
| optimizer with clipped weights | RMSProp of 5e-5, as PyTorch has it | the same |
| optimizer with the penalty | Adam of 1e-4 with betas of 0 and 0.9; the code for MNIST has 0.5 and 0.9 | that of the paper |
| moves of the critic to each of the generator | 5; the code with clipped weights has 100 at first and at every 500th | 5 |
| clipping | after each move of the critic; in the code before it | after it, of all parameters |
| batch normalisation with the penalty | of the generator; of neither player in the code for MNIST | of the generator |
| batches | of 64; of 50 in the code for MNIST | of 64 |
| z | 100 normal numbers; 128 with the penalty | 100 normal numbers |
| samples | from the last weights | from averages of the weights, unless `--ema None` |
"""

from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.losses.penalty import Penalty, clip_weights, gradient_penalty
from jaxgen.measuring import collapse
from jaxgen.models.gan import dcgan


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    penalty: Literal["gp", "clip"] | Penalty = "gp",
    latents: Count = 100,
    channels: Counts = (32, 64),
    critic_steps: Count = 5,
    weight: NonNegative = 10.0,
    limit: Positive = 0.01,
    steps: Whole = 15_000,
    batch_size: Count = 64,
    learning_rate: Positive | None = None,
    ema: Share | None = 0.99,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A WGAN with the DCGAN's networks on the images of any dataset.

    Args:
      penalty: the means by which the critic is kept Lipschitz: a penalty on its gradient, or the clipping of its weights. In
        Python also a penalty of `losses.penalty`, in place of gp.
      channels: the numbers of channels of the critic's maps, the largest map first; the generator mirrors it. Each halves the
        side.
      critic_steps: the number of the critic's steps to each of the generator's.
      weight: the weight of the gradient penalty.
      limit: the limit of the clipped weights.
      steps: training steps, of the critic; the generator moves in every `critic_steps`-th.
      learning_rate: the learning rate; None is the papers': 1e-4 of Adam with gp, 5e-5 of RMSProp with clip.
    """
    train, test = data.train_and_test(dataset)
    transform = data.scale(-1, 1)
    image = data.common_shape("image", train, test)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    generator = dcgan.Generator(image, channels[::-1], dtype=dtype)
    # A penalty on the gradient at each image wants a critic that judges each by itself.
    critic = dcgan.Discriminator(channels, normalised=penalty == "clip", dtype=dtype)
    if penalty != "clip":
        tx = critic_tx = optax.adam(learning_rate or 1e-4, b1=0.0, b2=0.9)
    else:
        # As torch.optim.RMSprop in the authors' code: with epsilon inside the root gradients of 1e-5 hardly move a weight.
        tx = optax.rmsprop(learning_rate or 5e-5, decay=0.99, eps_in_sqrt=False)
        critic_tx = optax.chain(tx, clip_weights(limit))
    d_loss, g_loss = objectives.adversarial(
        generator,
        critic,
        adversarial.wasserstein,
        latents=latents,
        penalty=value_of({"gp": gradient_penalty(weight), "clip": None}, penalty),
        names=("generator", "critic"),
    )
    players = {"critic": jaxgen.Player(d_loss, critic_tx), "generator": jaxgen.Player(g_loss, tx, every=critic_steps)}
    losses = jaxgen.loss_of(players["critic"], "critic_loss")
    space = latent_model.of_generator(generator, latents)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks={
            "critic": jaxgen.Network(critic, jnp.zeros((1, *image))),
            "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
        },
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.joined(
                jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform),
                collapse.evaluator(space.sample, test),
            )
        },
        pictures=space.pictures(),
        sample=space.sample,
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, or more --critic-steps"),),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
