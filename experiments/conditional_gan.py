"""Conditional GAN (Mirza & Osindero 2014): both players are conditioned on the class.

python -m experiments.conditional_gan                                                    # digits, nothing to download; a minute
python -m experiments.conditional_gan --network mlp                                      # the paper's kind of network
python -m experiments.conditional_gan --dataset mnist --data-dir D --channels 64 128

Against the paper (section 4.1):

| | the paper | here |
| --- | --- | --- |
| optimizer | gradient descent; the rate falls from 0.1 to 1e-6, the momentum rises from 0.5 to 0.7 | the DCGAN's Adam |
| batches | of 100 | of 128 |
| z | 100 numbers, uniform in the unit hypercube | 100 numbers, normal |
| pixels | in [0, 1], from a sigmoid | in [-1, 1], from tanh |
| class, generator | z and y have layers of 200 and 1,000 units, then one of 1,200 | a learned vector of 50, joined to z |
| class, discriminator | image and y have maxout layers of 240 and 50 units, then one of 240 | one-hot y, joined to the pixels |
| dropout | 0.5, of both players | 0.3 of the units of the mlp's discriminator, none in the conv networks |

The conv networks are the DCGAN's. Its authors' conditional code (github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py) joins
y to every layer of both players; here it is joined to the first layer of each.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_space
from jaxgen.flags import Count, Counts, Positive, Share, Whole
from jaxgen.losses import adversarial
from jaxgen.measuring import collapse
from jaxgen.models.gan import conditional, dcgan, mlp
from jaxgen.types import Array, Batch, Key


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    network: Literal["conv", "mlp"] = "conv",
    latents: Count = 100,
    channels: Counts = (32, 64),
    hidden: tuple[Count, ...] = (256, 256),
    steps: Whole = 2000,
    batch_size: Count = 128,
    learning_rate: Positive = 2e-4,
    ema: Share | None = None,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A class-conditional GAN on the labelled images of any dataset.

    Args:
      network: the DCGAN's, or dense layers with a maxout discriminator of half their width.
      channels: the numbers of channels of the conv discriminator's maps, the largest map first; the generator mirrors it. Each
        halves the side.
      hidden: widths of the mlp generator.
    """
    train, test = data.train_and_test(dataset)
    transform = data.scale(-1, 1)
    image = data.common_shape("image", train, test)
    names = data.common_classes("label", train, test)
    classes = len(names)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    makes: Any
    judges: Any
    if network == "conv":
        makes, judges = dcgan.Generator(image, channels[::-1], dtype=dtype), dcgan.Discriminator(channels, dtype=dtype)
    else:
        makes = mlp.Generator(image, hidden, output=jnp.tanh, dtype=dtype)
        judges = mlp.MaxoutDiscriminator(tuple(-(-width // 2) for width in hidden), dropout=(0.0, 0.3), dtype=dtype)
    generator = conditional.Generator(makes, classes)
    discriminator = conditional.Discriminator(judges, classes, planes=network == "conv")
    d_loss, g_loss = objectives.adversarial(
        generator, discriminator, adversarial.non_saturating, latents=latents, condition="label"
    )
    tx = optax.adam(learning_rate, b1=0.5)
    players = {"discriminator": jaxgen.Player(d_loss, tx), "generator": jaxgen.Player(g_loss, tx)}
    losses = jaxgen.loss_of(players["discriminator"], "discriminator_loss")

    @jax.jit
    def decode(state: jaxgen.TrainState, z: Array, label: Array) -> Array:
        return (objectives.apply(generator, state.params, state.vars, z, label, name="generator")[0] + 1) / 2

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return decode(state, jax.random.normal(key, (len(given["label"]), latents)), given["label"])

    def labelled(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        z = jax.random.normal(key, (16, latents))
        images = latent_space.by_label(lambda z, label: decode(state, z, label), z, min(classes, 20))
        return jaxgen.Picture(images, 16, f"A label in each row, the same z in each column; step {int(state.step):,}")

    def interpolate(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        z = jax.random.normal(key, (16, latents))
        label = jnp.repeat(jnp.arange(8) % classes, 16)
        images = latent_space.interpolations(lambda z: decode(state, z, label), z[:8], z[8:], steps=16)
        return jaxgen.Picture(images, 16, f"A label in each row, along a line in z; step {int(state.step):,}")

    one, conditions = jnp.zeros(1, jnp.int32), jaxgen.Conditions.of_classes(names)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks={
            "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image)), one),
            "generator": jaxgen.Network(generator, jnp.zeros((1, latents)), one),
        },
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.joined(
                jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform),
                collapse.evaluator(sample, test, conditions=conditions),
            )
        },
        pictures={"labels": labelled, "interpolations": interpolate},
        sample=sample,
        given=conditions,
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, or a larger --batch-size"),),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
