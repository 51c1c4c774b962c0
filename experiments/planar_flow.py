"""A VAE whose posterior is bent by planar or radial steps (Rezende & Mohamed 2015).

python -m experiments.planar_flow                                    # digits, nothing to download
python -m experiments.planar_flow --transform radial
python -m experiments.planar_flow --dataset mnist --data-dir D --binarization static --latents 40 --flow-steps 10 \
    --optimizer rmsprop --learning-rate 1e-5 --batch-size 100 --anneal-steps 10000 --steps 500000 --nll-samples 200

Against the paper, most of whose settings are quoted from memory:

| | the paper | here |
| --- | --- | --- |
| posterior | a diagonal normal, and K planar or radial steps whose parameters the encoder gives for each image | the same; \
--no-amortised has one set for all images; no steps are the VAE |
| constraint | w^T u > -1, beta > -alpha, by a softplus | the same |
| networks | one hidden layer of 400 maxout units of 4 pieces, 40 latents | the same layer; 16 latents for digits |
| loss | log q(z) - beta_t log p(x, z), beta_t = min(1, 0.01 + t / 10,000) | the same, t / 1,000 for digits |
| optimizer | RMSprop 1e-5 with momentum 0.9, batches of 100, 500,000 updates | Adam 1e-3 by default; --optimizer rmsprop |
| parameters of the steps | not given | near zero at first, of a deviation of 0.01 |
| likelihood of test images | importance samples | the same |
| data | binarised MNIST | binarised at each visit by default, or once |
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.measuring import collapse
from jaxgen.models import autoencoders, flows, vae
from jaxgen.nn import likelihoods
from jaxgen.types import Array, Batch, Key

TRANSFORMS: dict[str, Callable[..., nn.Module]] = {"planar": flows.Planar, "radial": flows.Radial}
OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "rmsprop": functools.partial(optax.rmsprop, decay=0.9, momentum=0.9),
}


def maxout(h: Array, *, pieces: int) -> Array:
    """The largest of each unit's neighbouring pieces, `[B, n * pieces] -> [B, n]`."""
    return h.reshape(*h.shape[:-1], -1, pieces).max(-1)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    binarization: Literal["dynamic", "static"] = "dynamic",
    transform: Literal["planar", "radial"] | Callable[..., nn.Module] = "planar",
    flow_steps: Whole = 10,
    amortised: bool = True,
    latents: Count = 16,
    hidden: Counts = (400,),
    pieces: Count = 4,
    anneal_steps: Count = 1000,
    steps: Whole = 6000,
    batch_size: Count = 100,
    optimizer: Literal["adam", "rmsprop"] | Callable[[float], optax.GradientTransformation] = "adam",
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    nll_samples: Late[Count] = 200,
) -> jaxgen.Experiment:
    """A VAE with a flow posterior on the binarised images of any dataset.

    Args:
      binarization: the binarization of pixels: anew at each visit, or once for each image.
      transform: the kind of the steps; in Python also a module such as those of `models.flows.planar`.
      flow_steps: the number of steps K; 0 leaves the posterior normal.
      amortised: whether the encoder gives the steps' parameters for each image; otherwise all images have the same.
      hidden: numbers of maxout units of the layers.
      pieces: affine pieces of a maxout unit.
      anneal_steps: training steps in which the weight of the model's density rises by 1; it begins at 0.01 and ends at 1.
      optimizer: the optimizer: Adam, or RMSprop with momentum. In Python also a function of the rate.
      learning_rate: the optimizer's learning rate.
      nll_samples: importance samples of the final estimate of log p(x).
    """
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    binarised = {"dynamic": data.binarize(), "static": data.binarize_statically()}[binarization]

    widths, activation = tuple(pieces * n for n in hidden), functools.partial(maxout, pieces=pieces)
    encoder = autoencoders.mlp.Encoder(widths, activation)
    decoder = autoencoders.mlp.Decoder(image, widths[::-1], activation)
    likelihood = likelihoods.BernoulliLikelihood()
    model: vae.VAE = vae.VAE(encoder, decoder, likelihood, latents)
    if flow_steps:
        model = vae.FlowVAE(encoder, decoder, likelihood, latents, flow=value_of(TRANSFORMS, transform)(flow_steps, amortised))

    def beta(step: Array) -> Array:
        return jnp.minimum(1.0, 0.01 + step / anneal_steps)

    player = jaxgen.Player(objectives.free_energy(model, beta=beta), value_of(OPTIMIZERS, optimizer)(learning_rate))
    space = latent_model.of_vae(model, latents, normal=False)

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(player)(state, batch, key)
        # The ELBO's weight is always 1, so that its values compare while beta rises.
        return {**values, "negative_elbo": -values["elbo"]}

    nll = objectives.importance_weighted_nll(model, samples=nll_samples)

    def over_test(measure: jaxgen.Measure, samples: int = 1) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=binarised, samples=samples)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, binarised),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(losses)},
        final={"test": over_test(nll, nll_samples)},
        pictures=space.pictures(data.examples(test, 32, binarised)["image"]),
        sample=space.sample,
        ema=ema,
        accumulate=accumulate,
        schedules={"beta": beta},
        best="test/negative_elbo",
        alarms=(collapse.of_posterior("test/kl", "a larger --anneal-steps, or a lower --learning-rate", below=0.1),),
        protocol={"nll": ("binarization", "nll_samples")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
