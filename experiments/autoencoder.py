"""Autoencoder (Hinton & Salakhutdinov 2006): a bottleneck, with fully connected, convolutional or residual networks.

python -m experiments.autoencoder                                            # digits, nothing to download
python -m experiments.autoencoder --dataset cifar10 --data-dir D --network residual --likelihood gaussian --latents 128
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Counts, Positive, Share, Whole, value_of
from jaxgen.models import autoencoders
from jaxgen.nn import likelihoods

LIKELIHOODS: dict[str, nn.Module] = {
    "bernoulli": likelihoods.BernoulliLikelihood(),
    "gaussian": likelihoods.GaussianLikelihood(std=1.0),
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
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
      network: kind of encoder and decoder.
      likelihood: bernoulli gives the cross-entropy, gaussian the squared error.
      latents: width of the bottleneck.
      hidden: widths of the layers of the mlp.
      channels: feature maps of the conv and residual networks, the largest map first.
      remat: whether to recompute feature maps in the backward pass to save memory (conv and residual).
    """
    train, test = data.train_and_test(dataset)
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

    space = latent_model.of_autoencoder(model, pixels=(low, high))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *shape)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=transform)},
        pictures=space.pictures(data.examples(test, 32, transform)["image"]),
        ema=ema,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
