"""Autoencoder (Hinton & Salakhutdinov 2006): a bottleneck, with encoders of six kinds and decoders of one image or several.

python -m experiments.autoencoder                                            # digits, nothing to download
python -m experiments.autoencoder --dataset cifar10 --data-dir D --network residual --likelihood gaussian --latents 128
python -m experiments.autoencoder --network resnet --decoder pyramid         # draws the digits at 4x4 and at 8x8 pixels
python -m experiments.autoencoder --network resnet --decoder skips           # whose decoder sees the encoder's maps as well
python -m experiments.autoencoder --dataset cifar10 --data-dir D --network vgg --channels 64 128 256 512 512   # VGG-16
python -m experiments.autoencoder --dataset cifar10 --data-dir D --network resnet --channels 64 128 256 512    # ResNet-18

Where the images have labels, the final evaluation is also the error of a linear classifier of the codes. It is next to the
error of the images because skips make the latter small and the code useless: then `code_squared_error` is the error of images
that are drawn from the code alone, with zeros in place of the skips. On the digits (--channels 8 16 --batch-size 64
--steps 1000, a minute and a half of processor time each; seed 0 alone, 360 test images):

| --network resnet | squared error | by the code alone | error of the classifier, % |
| --- | --- | --- | --- |
| --decoder mirror | 0.68 +- 0.02 | the same | 9.4 +- 1.5 |
| --decoder pyramid | 0.85 +- 0.03 | the same | 9.4 +- 1.5 |
| --decoder skips | 0.18 +- 0.003 | 5.43 +- 0.04 | 13.9 +- 1.8 |
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model, units
from jaxgen.analysis import scales as sizes
from jaxgen.distributions import sum_event
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.metrics import probe
from jaxgen.models import autoencoders, cnn
from jaxgen.models.cnn import googlenet
from jaxgen.nn import likelihoods
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key
from jaxgen.uncertainty import named, of_share

LIKELIHOODS: dict[str, nn.Module] = {
    "bernoulli": likelihoods.BernoulliLikelihood(),
    "gaussian": likelihoods.GaussianLikelihood(std=1.0),
}

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions of the stages of VGG-16."""


def trunk(network: str, channels: tuple[int, ...], dtype: Any) -> nn.Module:
    """The network from classification, with these numbers of channels by stage."""
    if network == "vgg":
        counts = CONVOLUTIONS[: len(channels)] + CONVOLUTIONS[-1:] * (len(channels) - len(CONVOLUTIONS))
        return cnn.VGG(tuple((c,) * n for c, n in zip(channels, counts, strict=True)), batch_norm=True, dtype=dtype)
    if network == "resnet":
        return cnn.ResNet(channels, (2,) * len(channels), dtype=dtype)
    stages = tuple((googlenet.branches(c),) for c in channels)
    return cnn.GoogLeNet(stages, channels[:1], large=False, dtype=dtype)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    network: Literal["mlp", "conv", "residual", "vgg", "resnet", "inception"] = "mlp",
    decoder: Literal["mirror", "pyramid", "skips"] = "mirror",
    likelihood: Literal["bernoulli", "gaussian"] | nn.Module = "bernoulli",
    latents: Count = 16,
    hidden: tuple[Count, ...] = (400, 400),
    channels: Counts = (32, 64),
    skip_channels: Count = 1,
    scale_weight: NonNegative = 1.0,
    steps: Whole = 4000,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """An autoencoder on the images of any dataset.

    Args:
      network: kind of encoder: of its own, or the convolutions of VGG, ResNet or GoogLeNet for small images.
      decoder: kind of decoder: the encoder's mirror image (that of residual for vgg, resnet and inception); images of several
        sizes from the code; or the same from the code and the encoder's maps (vgg, resnet and inception).
      likelihood: bernoulli gives the cross-entropy, gaussian the squared error.
      latents: width of the bottleneck.
      hidden: widths of the layers of the mlp.
      channels: feature maps of the other networks and of the decoders by level, the largest map first.
      skip_channels: channels of each of the encoder's maps that the decoder skips sees.
      scale_weight: the weight of the smaller images in the loss of pyramid and skips.
      remat: whether to recompute feature maps in the backward pass to save memory (conv and residual).
    """
    from_classification = network in ("vgg", "resnet", "inception")
    if decoder == "skips" and not from_classification:
        raise jaxgen.UserError(
            f"--decoder skips takes the maps of an encoder, and --network {network} shows none; give --network vgg, resnet or "
            "inception."
        )
    train, test = data.train_and_test(dataset)
    head = value_of(LIKELIHOODS, likelihood)
    low, high = head.pixels
    transform = data.scale(low, high)

    height, width, colours = data.common_shape("image", train, test)
    shape, out = (height, width, colours), (height, width, colours * head.outputs)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "mlp": (autoencoders.mlp, {"hidden": hidden}),
        "conv": (autoencoders.conv, {"channels": channels, "remat": remat}),
        "residual": (autoencoders.residual, {"channels": channels, "remat": remat}),
    }
    kind, options = kinds["residual" if from_classification else network]
    if from_classification:
        encoder = autoencoders.trunk.Encoder(trunk(network, channels, dtype), dtype=dtype)
    else:
        encoder = kind.Encoder(**options, dtype=dtype)
    model: nn.Module
    if decoder == "mirror":
        mirrored = {name: value[::-1] if isinstance(value, tuple) else value for name, value in options.items()}
        model = autoencoders.Autoencoder(encoder, kind.Decoder(out, **mirrored, dtype=dtype), head, latents, dtype=dtype)
        player = jaxgen.Player(objectives.reconstruction(model), optax.adam(learning_rate))
    else:
        pyramid = autoencoders.PyramidDecoder(out, channels[::-1], skip_channels if decoder == "skips" else 0, dtype=dtype)
        model = autoencoders.MultiscaleAutoencoder(encoder, pyramid, head, latents, dtype=dtype)
        loss = objectives.multiscale_reconstruction(model, weight=scale_weight)
        player = jaxgen.Player(loss, optax.adam(learning_rate))

    space = latent_model.of_autoencoder(model, pixels=(low, high))
    pictures = space.pictures(data.examples(test, 32, transform)["image"])

    @jax.jit
    def draw(state: jaxgen.TrainState, x: Array) -> tuple[Array, ...]:
        drawn = objectives.apply(model, state.params, state.vars, x, method="scales")[0]
        return tuple(jnp.clip((one.mean - low) / (high - low), 0.0, 1.0) for one in drawn)

    if decoder != "mirror":
        pictures |= sizes.album(draw, data.examples(test, 16, transform)["image"], pixels=(low, high))
    if decoder == "skips":
        rebuilt = pictures.pop("reconstructions")

        def code_alone(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
            caption = f"Test images, each with what its code alone gives below; step {int(state.step):,}"
            return rebuilt(state, key)._replace(caption=caption)

        pictures["code_alone"] = code_alone

    def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(player)(state, batch, key)
        if decoder != "skips":
            return values
        x = batch["image"]
        z = objectives.apply(model, state.params, state.vars, x, method="encode")[0]
        alone = objectives.apply(model, state.params, state.vars, z, method="decode")[0].mean
        return {**values, "code_squared_error": sum_event((x - alone) ** 2)}

    def classify(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        assert space.encode is not None
        sets = units.of_both(train, test, space.encode, state, transform, track)
        if sets is None:
            return {}
        error, labels = 1.0 - probe.linear(*sets[0], *sets[1]), sets[1][1]
        # The standard error is over the test images; that of the classifier's training images is not in it.
        return named({"linear_error": (100 * error, 100 * of_share(error, len(labels)))})

    labelled = bool(train.classes.get("label")) and train.classes.get("label") == test.classes.get("label")
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *shape)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)},
        final={"test": classify} if labelled else {},
        pictures=pictures,
        ema=ema,
        protocol={"linear_error": ()} if labelled else {},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
