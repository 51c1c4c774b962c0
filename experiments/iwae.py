"""Importance-weighted autoencoder (Burda et al. 2015): the paper's one-layer network, schedule and evaluation.

python -m experiments.iwae                                                     # digits, nothing to download
python -m experiments.iwae --dataset mnist --data-dir D --k 50 --stages 8      # the paper's full schedule

Against the paper and its code (github.com/yburda/iwae):

| | the paper's code | here |
| --- | --- | --- |
| layers | two of 200 tanh units each way, 50 latents | the same |
| start | Glorot's uniform weights, biases zero | the same; mean and deviation of q are one matrix of 100 columns |
| output bias | logits of the mean training image, within [0.001, 0.999] | the same |
| images | the first 59,600 training images, always in the order of the file | all, a new order each epoch |
| pixels | drawn anew at each visit | the same |
| batches | 20; the gradient is a sum | 20; a mean, so that epsilon counts 20 times as much |
| Adam | betas 0.99 (the paper: 0.9) and 0.999, epsilon 1e-4, second moments from one | 0.9, 0.999, 1e-4, from zero |
| stages | 3^i epochs at 0.001 * 10^(-i/7), i = 0 to 7, rounded to two digits | the same, not rounded |
| figure | 5,000 importance samples, the test set drawn once | the same |
"""

from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Late, Whole
from jaxgen.measuring import collapse
from jaxgen.models import autoencoders, vae
from jaxgen.nn import likelihoods
from jaxgen.types import Array, Batch, Key

ACTIVE = 0.01
"""A latent is active if its KL, a mean over the test set, is larger than this many nats."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    binarization: Literal["dynamic", "static"] = "dynamic",
    k: Count = 1,
    latents: Count = 50,
    hidden: tuple[Count, ...] = (200, 200),
    stages: Count = 6,
    steps: Whole | None = None,
    batch_size: Count = 20,
    nll_samples: Late[Count] = 5000,
) -> jaxgen.Experiment:
    """The paper's experiment 5.1 with one stochastic layer.

    Args:
      binarization: the binarization of pixels: anew at each visit (the paper's), or once for each image.
      k: importance samples in training; 1 is the VAE.
      hidden: widths of the tanh layers.
      stages: stage i trains 3^i epochs with the learning rate 0.001 * 10^(-i/7); the paper has 8, 3,280 epochs in all.
      steps: training steps; by default those of the stages.
      batch_size: images in a step; the paper has 20.
      nll_samples: importance samples of the final estimate of log p(x); the paper has 5,000.
    """
    train, test = data.train_and_test(dataset)
    # In evaluation an image is binarised by its number and one key: the same test set at every step.
    transform = data.chain(data.scale(), {"dynamic": data.binarize(), "static": data.binarize_statically()}[binarization])

    height, width, colours = shape = data.common_shape("image", train, test)
    # The output starts from the mean of all training images, before they are binarised.
    probability = np.clip(data.mean("image", train).reshape(-1) / 255, 1e-3, 1 - 1e-3)
    logits = jnp.asarray(np.log(probability / (1 - probability)), jnp.float32)
    model = vae.VAE(
        autoencoders.mlp.Encoder(hidden),
        autoencoders.mlp.Decoder((height, width, colours), hidden[::-1], bias_init=lambda key, shape, dtype: logits),
        likelihoods.BernoulliLikelihood(),
        latents,
    )

    epoch = train.length / batch_size
    lengths = [3**i * epoch for i in range(stages)]
    rates = [1e-3 * 10 ** (-i / 7) for i in range(stages)]
    boundaries = [round(b) for b in np.cumsum(lengths)]
    rate = optax.join_schedules([optax.constant_schedule(r) for r in rates], boundaries[:-1])
    loss = objectives.importance_weighted(model, samples=k)
    players = {"model": jaxgen.Player(loss, optax.adam(rate, eps=1e-4))}

    space = latent_model.of_vae(model, latents)

    nll = objectives.importance_weighted_nll(model, samples=nll_samples, chunk=100)

    def over_test(measure: jaxgen.Measure, samples: int = 1) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=100, transform=transform, samples=samples)

    def units(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        assert space.kl is not None, "a normal posterior has a KL in closed form"
        return {"active": space.kl(state, batch["image"])}

    active = collapse.active_units(test, units, above=ACTIVE, batch_size=100, transform=transform)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=boundaries[-1] if steps is None else steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *shape)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(over_test(jaxgen.loss_of(players["model"])), active)},
        final={"test": over_test(nll, nll_samples)},
        pictures=space.pictures(data.examples(test, 32, transform)["image"]),
        sample=space.sample,
        schedules={"learning_rate": rate},
        alarms=(collapse.of_posterior("test/active", "a larger --k, or fewer --latents"),),
        protocol={"nll": ("binarization", "nll_samples")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
