"""Generative adversarial network (Goodfellow et al. 2014): rectified generator against maxout discriminator.

python -m experiments.gan                        # digits, nothing to download; a minute
python -m experiments.gan --loss minimax         # the game of one value, whose generator starts slowly
python -m experiments.gan --dataset mnist --data-dir D --hidden 1200 1200 --units 240 240 --dropout 0.2 0.5 --steps 300000

Against the code of the paper (github.com/goodfeli/adversarial, mnist.yaml and parzen_ll.py):

| | the paper's code | here |
| --- | --- | --- |
| weights | uniform in +-0.05 (generator) and +-0.005 (discriminator) | the same |
| output bias of the generator | logits of the mean training image, within [1e-7, 1 - 1e-7] | the same |
| z | 100 numbers, uniform with variance 1 | the same |
| who moves when | both at once, from one draw of z and of the masks | both at once, from one draw of z; masks of their own |
| losses | -log D(G(z)); the mean of the discriminator's two halves | the same: their sum at half the rate |
| dropout | of the discriminator's pixels 0.2, of its units 0.5, scaled in training | the same with --dropout 0.2 0.5 |
| momentum | 0.5 in the first epoch, along a line to 0.7 in epoch 250 | the same |
| learning rate | 0.1, divided by 1.000004 after each batch of 100, at least 1e-6 | the same, without a least one |
| end of training | none written: by hand | --steps |
| images | 50,000 of the 60,000, a new order each epoch | the same; TFDS has MNIST in another order |
| Parzen windows | 10 widths from 0.1 to 1, chosen on the first 1,000 of the other 10,000 | the same |

Where the players move in turn, as in the paper's algorithm 1, the discriminator wins at once from the mean image: after 1,500
steps D(x) is 1.000 and D(G(z)) is 0.001. MNIST is brittle: from larger weights, by Adam or with the sum of the halves at the
full rate, it wins as well, and all samples become one shape.
"""

import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Late, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial, penalty
from jaxgen.measuring import collapse
from jaxgen.metrics import parzen
from jaxgen.models.gan import mlp
from jaxgen.objectives.adversarial import uniform_law
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params, Vars
from jaxgen.uncertainty import named

CHUNK = 1000
"""Samples that are drawn at a time."""
HELD_OUT = 6
"""One in so many training images, the last ones, is held out for validation: 10,000 of MNIST's 60,000."""
VALIDATION = 1000
"""Held-out images, the first ones, on which the width of the Parzen windows is chosen."""

LOSSES = {"minimax": adversarial.minimax, "non_saturating": adversarial.non_saturating}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    loss: Literal["minimax", "non_saturating"] | adversarial.AdversarialLoss = "non_saturating",
    latents: Count = 100,
    hidden: tuple[Count, ...] = (256, 256),
    units: tuple[Count, ...] = (128, 128),
    dropout: tuple[Share, Share] = (0.0, 0.3),
    steps: Whole = 6000,
    batch_size: Count = 100,
    learning_rate: Positive = 0.1,
    rate_decay: Share = 4e-6,
    momentum: tuple[Share, Share] = (0.5, 0.7),
    momentum_epochs: Count = 250,
    max_norm: Positive | None = None,
    ema: Share | None = None,
    bf16: bool = False,
    parzen_samples: Late[Count] = 10_000,
) -> jaxgen.Experiment:
    """A GAN of dense layers on the images of any dataset.

    Args:
      loss: the function that the generator descends: log(1 - D) or -log D. In Python also a pair of `losses.adversarial`.
      hidden: widths of the generator's layers.
      units: the numbers of units of the discriminator's maxout layers, five pieces each.
      dropout: the dropout rates of the discriminator's pixels and of its units.
      steps: training steps; in each both players move once, at the same time.
      learning_rate: the generator's learning rate; the discriminator's is half of it.
      rate_decay: the decay of both learning rates, which are divided by 1 + rate_decay after each step.
      momentum: the momentum of both players, at first and in the end.
      momentum_epochs: the number of epochs over which the momentum rises along a line, once an epoch.
      max_norm: bound on the weights that lead to a unit of the discriminator.
      parzen_samples: the number of samples of the final Parzen-window estimate of log p(x); the paper has 10,000.
    """
    images, test = data.train_and_test(dataset)
    image = data.common_shape("image", images, test)
    held_out = max(images.length // HELD_OUT, 1)
    train, validation = data.part(images, 0, -held_out), data.part(images, -held_out)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    mean = np.clip(data.mean("image", train).reshape(-1) / 255, 1e-7, 1 - 1e-7)
    logits = jnp.asarray(np.log(mean / (1 - mean)), jnp.float32)
    generator = mlp.Generator(
        image, hidden, kernel_init=mlp.symmetric(0.05), bias_init=lambda key, shape, dtype: logits, dtype=dtype
    )
    discriminator = mlp.MaxoutDiscriminator(units, dropout=dropout, kernel_init=mlp.symmetric(0.005), dtype=dtype)
    law = uniform_law(latents, limit=math.sqrt(3))
    d_loss, g_loss = objectives.adversarial(generator, discriminator, value_of(LOSSES, loss), latents=law)

    stream = data.shuffled(train, batch_size, data.scale())
    # The momentum of the first epoch is the first one, and that of epoch `momentum_epochs` is the last one.
    line = optax.linear_schedule(*momentum, transition_steps=max(momentum_epochs - 1, 1))

    def rising(step: Array | int) -> Array:
        return line(jnp.asarray(step) // stream.epoch_steps)

    def rate(step: Array | int) -> Array:
        # Not a power of 1 + rate_decay, which has four digits in float32.
        return learning_rate * jnp.exp(-math.log1p(rate_decay) * jnp.asarray(step, jnp.float32))

    @optax.inject_hyperparams
    def sgd(rate: Array, momentum: Array) -> optax.GradientTransformation:
        # v = m v - rate g: a gradient keeps the rate of its own step. `optax.sgd` scales the sum by the current rate.
        return optax.chain(optax.scale(-rate), optax.trace(momentum))

    # The paper's code has the mean of the discriminator's two halves where the game has their sum: half the rate.
    d_tx = sgd(lambda step: rate(step) / 2, rising)
    if max_norm is not None:
        d_tx = optax.chain(d_tx, penalty.max_norm(max_norm))
    both = {"discriminator": d_tx, "generator": sgd(rate, rising)}
    player = jaxgen.Player(
        objectives.simultaneous({"discriminator": d_loss, "generator": g_loss}),
        optax.multi_transform(both, {name: name for name in both}),
    )
    networks = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
    }

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        return {"game": params}, vars

    space = latent_model.of_generator(generator, law, pixels=(0.0, 1.0), params=lambda state: state.params["game"])

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values, aux = d_loss(state.params["game"], state, batch, key, train=False)
        return {"discriminator_loss": values, **aux.metrics}

    def window(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        starts = range(0, parzen_samples, CHUNK)
        drawn = [
            np.asarray(space.sample(state, jax.random.fold_in(key, start), jaxgen.given(min(CHUNK, parzen_samples - start))))
            for start in track(starts, description="samples for Parzen windows", total=len(starts))
        ]
        # The width is chosen on images that neither player was trained on, and never on those of the test.
        choose, count = (
            source.gather(np.arange(n))["image"] / 255
            for source, n in ((validation, min(validation.length, VALIDATION)), (test, test.length))
        )
        flat = [x.reshape(len(x), -1).astype(np.float64) for x in (np.concatenate(drawn), choose, count)]
        found = parzen.estimate(*flat, track=track)
        return named({"parzen": (found.mean, found.error), "parzen_sigma": (found.sigma, None)})

    return jaxgen.Experiment(
        train=stream,
        players={"game": player},
        steps=steps,
        networks=networks,
        init=init,
        splits={"train": images, "test": test},
        evaluators={
            "test": jaxgen.joined(
                jaxgen.mean_over(test, losses, batch_size=batch_size, transform=data.scale()),
                collapse.evaluator(space.sample, test),
            )
        },
        final={"test": window},
        pictures=space.pictures(),
        sample=space.sample,
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, or more --dropout", after=3000),),
        schedules={"learning_rate": rate, "momentum": rising},
        protocol={"parzen": ("parzen_samples",)},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
