"""Autoencoder (Hinton & Salakhutdinov 2006): a bottleneck, with fully connected, convolutional or residual networks.

python -m experiments.autoencoder                                            # digits, nothing to download
python -m experiments.autoencoder --dataset cifar10 --data-dir D --network residual --likelihood gaussian --latents 128
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_space
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.models import autoencoders
from jaxgen.nn import likelihoods
from jaxgen.types import Array

LIKELIHOODS: dict[str, nn.Module] = {
    "bernoulli": likelihoods.BernoulliLikelihood(),
    "gaussian": likelihoods.GaussianLikelihood(std=1.0),
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    data_dir: str | None = None,
    cache_budget: NonNegative = 4.0,
    network: Literal["mlp", "conv", "residual"] = "mlp",
    likelihood: Literal["bernoulli", "gaussian"] | nn.Module = "bernoulli",
    latents: Count = 16,
    hidden: tuple[Count, ...] = (400, 400),
    channels: Counts = (32, 64),
    steps: Whole = 4000,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """An autoencoder on the images of any dataset.

    Args:
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`).
      data_dir: the folder of the prepared sets; by default $TFDS_DATA_DIR or TFDS's own folder.
      cache_budget: GiB that a split's decoded cache may take; 0 streams.
      network: kind of encoder and decoder.
      likelihood: bernoulli gives the cross-entropy, gaussian the squared error.
      latents: width of the bottleneck.
      hidden: widths of the layers of the mlp.
      channels: feature maps of the conv and residual networks, the largest map first.
      steps: training steps.
      batch_size: images in a step.
      learning_rate: Adam's learning rate.
      ema: decay of the parameter averages that are evaluated, debiased: initial parameters have no part.
      bf16: whether to compute in bfloat16; parameters and reductions stay in float32.
      remat: whether to recompute feature maps in the backward pass to save memory (conv and residual).

    Returns:
      The experiment.
    """
    train, test = data.train_and_test(dataset, data_dir=data_dir, cache_budget=cache_budget)
    head = value_of(LIKELIHOODS, likelihood)
    low, high = head.pixels
    transform = data.scale(low, high)

    shape = data.common_shape("image", train, test)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "mlp": (autoencoders.mlp, {"hidden": hidden}),
        "conv": (autoencoders.conv, {"channels": channels, "remat": remat}),
        "residual": (autoencoders.residual, {"channels": channels, "remat": remat}),
    }
    kind, options = kinds[network]
    # The decoder is the mirror image.
    mirrored = {name: value[::-1] if isinstance(value, tuple) else value for name, value in options.items()}
    model = autoencoders.Autoencoder(
        kind.Encoder(**options, dtype=dtype),
        kind.Decoder((*shape[:2], shape[2] * head.outputs), **mirrored, dtype=dtype),
        head,
        latents,
        dtype=dtype,
    )
    player = jaxgen.Player(objectives.reconstruction(model), optax.adam(learning_rate))

    @jax.jit
    def encode(state: jaxgen.TrainState, x: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, x, method="encode")[0]

    @jax.jit
    def decode(state: jaxgen.TrainState, z: Array) -> Array:
        mean = objectives.apply(model, state.params, state.vars, z, method="decode")[0].mean
        return jnp.clip((mean - low) / (high - low), 0.0, 1.0)  # a Gaussian's mean may lie outside

    album = latent_space.album(encode, decode, data.examples(test, 32, transform)["image"], pixels=(low, high))
    # Traversals are left out: without a prior the latents have no scale to walk along.
    shown = {name: album[name] for name in ("reconstructions", "interpolations")}

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *shape)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=transform)},
        pictures=shown,
        ema=ema,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
