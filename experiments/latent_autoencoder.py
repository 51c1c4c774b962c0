"""The first stage of latent diffusion (Rombach et al. 2022): an autoencoder whose latents are small maps.

python -m experiments.latent_autoencoder                                     # digits, nothing to download
python -m experiments.latent_autoencoder --variant vq
python -m experiments.latent_autoencoder --gan 0                             # without a discriminator
python -m experiments.latent_autoencoder --dataset FOLDER --channels 128 256 512 512 --blocks 2 --latents 4 --layers 3 \
    --width 64 --start 50001 --batch-size 12 --learning-rate 5.4e-5 --steps 250000 --lpips lpips.pth    # "kl-f8", for 256x256

With --lpips the loss has the distance of images in the maps of VGG-16 (LPIPS; Zhang et al. 2018), whose weights are in a file
that the package of the same name writes: `torch.save(lpips.LPIPS(net="vgg").state_dict(), "lpips.pth")`. Images are then of
32x32 or larger.

It is trained for another run, a diffusion model of its latents, which freezes it. Digits of 8x8 have latents of 4x4x2. On the
360 test digits (seed 0, three minutes of processor time each):

| | kl | vq |
| --- | --- | --- |
| signal to noise of the reconstructions, dB (psnr) | 27.93 +- 0.11 | 25.35 +- 0.10 |
| squared error of a pixel, which is in [-1, 1] (mse) | 0.00735 +- 0.00028 | 0.01302 +- 0.00040 |
| standard deviation of the latents (latent_std) | 2.29 | 1.18 |
| KL of the posterior, nats; perplexity of the 64 codes | 338 | 61.1, all in use |

The inverse of latent_std is the factor by which a diffusion model scales the latents. The discriminator of digits comes to
nothing: it finds no difference, so its logits of images and of reconstructions are the same (-0.06 at the end of kl), and the
adaptive weight rises to its bound of 10,000 while the gradient that it multiplies vanishes.

Against the paper (section 3.1 and appendix G) and its authors' code (github.com/CompVis/latent-diffusion and its
taming-transformers):

| | the authors' code | here |
| --- | --- | --- |
| networks | 128 channels times 1, 2, 4, 4; 2 blocks; attention in the middle | the same layers, 16 and 32 channels, 1 block |
| kernels and biases | begin as PyTorch's | normal; biases and the last kernel of every branch at zero |
| difference of images | absolute, and LPIPS with the weight 1 | absolute; the same with `--lpips FILE` |
| kl | sums over an image; 1e-6 times the divergence | the same |
| variance of the pixels | a parameter that no optimizer has, which stays 1 | left out |
| vq | means; the codebook's weights are exchanged: 1 for the vectors, 0.25 for the codes | means; 1 for the codes, 0.25 for \
the vectors, as in the papers |
| adversarial part | hinge, halved for the discriminator; adaptive weight times 0.5 (kl), 0.75 (vq) | the same |
| the discriminator begins | after 50,000 steps (kl), at once (vq, 8,192 codes of 3) | after half of the steps |
| before it begins | its gradients are multiplied by zero, its running statistics move | it does not move |
| discriminator | 3 layers of 64 channels: patches of 70 pixels | 1 layer of 16: patches of 16 |
| optimizer | Adam with betas 0.5 and 0.9, 4.5e-6 times the examples of a step | the same betas, 1e-3 |
| evaluation | draws of the posterior | its means; the spread of the latents is that of draws |
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives
from jaxgen.analysis import latent_maps
from jaxgen.analysis.codes import counted
from jaxgen.flags import Count, Counts, NonNegative, Place, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.measuring import tensors
from jaxgen.models.cnn.lpips import LPIPS, from_torch
from jaxgen.models.first_stage import presets
from jaxgen.models.translation import PatchDiscriminator
from jaxgen.nn import perplexity
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params

LOW, HIGH = PIXELS = (-1.0, 1.0)
"""Black and white as the networks see them."""

LOSSES = {"hinge": adversarial.hinge, "non_saturating": adversarial.non_saturating}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    variant: Literal["kl", "vq"] = "kl",
    channels: Counts = (16, 32),
    blocks: Whole = 1,
    attention_levels: tuple[Whole, ...] = (),
    latents: Count = 2,
    codes: Count = 64,
    kl: NonNegative = 1e-6,
    commitment: NonNegative = 0.25,
    lpips: Place | None = None,
    perceptual: NonNegative = 1.0,
    loss: Literal["hinge", "non_saturating"] | adversarial.AdversarialLoss = "hinge",
    gan: NonNegative | None = None,
    start: Whole = 1500,
    layers: Whole = 1,
    width: Count = 16,
    steps: Whole = 3000,
    batch_size: Count = 32,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """An autoencoder for a diffusion model of its latents, on the images of any dataset.

    Args:
      variant: the constraint on the latents: kl, a weak divergence of a normal posterior from N(0, I), or vq, a codebook, whose
        latents are those before they are quantised.
      blocks: residual blocks on a level of the encoder; the decoder has one more.
      attention_levels: numbers of the levels, from 0, that attend to themselves; the smallest maps always do once.
      latents: channels of the latents.
      codes: the number of codes of vq.
      kl: weight of the divergence of kl, which is a sum over an image as the difference of the pixels is.
      commitment: weight of the term that draws the vectors to their codes in vq; that of the other term is 1.
      lpips: the file of the weights of LPIPS, .safetensors or .pth; None compares pixels alone.
      perceptual: weight of LPIPS; in kl it is multiplied by the number of an image's values, as the authors do.
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      gan: weight of the autoencoder's adversarial loss besides the adaptive one; by default 0.5 of kl and 0.75 of vq, with 0
        there is no discriminator.
      start: the step from which on there is a discriminator.
      layers: the discriminator's convolutions of stride two: with 1, 2, 3 it judges patches of 16, 34 and 70 pixels, with 0
        single ones.
      width: the channels of the discriminator's first maps.
      learning_rate: Adam's learning rate, of both players.
    """
    train, test = data.train_and_test(dataset)
    height, across, colours = image = data.common_shape("image", train, test)
    factor = 2 ** (len(channels) - 1)
    if height % factor or across % factor:
        raise jaxgen.UserError(
            f"Images of {height}x{across} cannot be halved {len(channels) - 1} times; give --channels fewer numbers than "
            f"{len(channels)}, or images whose sides {factor} divides."
        )
    transform = data.scale(LOW, HIGH)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    shared: dict[str, Any] = {"images": colours, "blocks": blocks, "attention_levels": attention_levels, "dtype": dtype}
    autoencoder: Any
    if variant == "kl":
        autoencoder = presets.kl(1, channels, latents, **shared)
        cost, own_gan, difference = ("kl", kl), 0.5, objectives.summed_difference
        perceptual *= math.prod(image)
    else:
        autoencoder = presets.vq(1, channels, latents, codes, commitment=commitment, **shared)
        cost, own_gan, difference = ("quantisation", 1.0), 0.75, objectives.mean_difference
    discriminator = PatchDiscriminator(layers, width, dtype)
    weight = own_gan if gan is None else gan
    vectors = LPIPS(dtype=dtype)
    of_autoencoder, of_discriminator = objectives.latent_autoencoder(
        autoencoder,
        discriminator,
        value_of(LOSSES, loss),
        penalty=cost,
        difference=difference,
        gan=weight,
        start=start,
        perceptual=None if lpips is None else (vectors, perceptual),
    )
    tx = optax.adam(learning_rate, b1=0.5, b2=0.9)
    players = {
        "autoencoder": jaxgen.Player(of_autoencoder, tx),
        "discriminator": jaxgen.Player(of_discriminator, tx, when=lambda state, _: state.step >= start, ema=()),
    }
    role = diffusion.FirstStage((height // factor, across // factor, latents), PIXELS)
    networks = {
        "autoencoder": jaxgen.Network(autoencoder, jnp.zeros((1, *image)), role=role),
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
    }
    trained = ("autoencoder", "discriminator") if weight else ("autoencoder",)
    networks = {name: networks[name] for name in trained}
    held: dict[str, Callable[[], Params]] = {}
    if lpips is not None:
        networks["lpips"] = jaxgen.Network(vectors, jnp.zeros((1, *image)))
        held["lpips"] = lambda: from_torch(tensors.read(lpips), vectors.stages, name=str(lpips))

    def call(method: str, state: jaxgen.TrainState, *inputs: Any) -> Array:
        return objectives.apply(autoencoder, state.params, state.vars, *inputs, name="autoencoder", method=method)[0]

    @jax.jit
    def encode(state: jaxgen.TrainState, x: Array) -> Array:
        return call("to_latents", state, x)

    @jax.jit
    def decode(state: jaxgen.TrainState, z: Array) -> Array:
        return jnp.clip((call("from_latents", state, z) - LOW) / (HIGH - LOW), 0.0, 1.0)

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        _, aux = of_autoencoder(state.params, state, batch, key, train=False)
        psnr = 10 * jnp.log10((HIGH - LOW) ** 2 / jnp.maximum(aux.metrics["mse"], 1e-10))
        return {**aux.metrics, "psnr": psnr}

    def moments(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        z = call("to_latents", state, batch["image"], keys.per_example(key, batch))
        found = {"sums": z.sum((1, 2, 3)), "squares": (z**2).sum((1, 2, 3)), "counts": jnp.full(len(z), float(z[0].size))}
        if variant == "vq":
            found["codes"] = counted(call("codes", state, batch["image"]), codes)
        return found

    sums_over = jaxgen.sum_over(test, moments, batch_size=batch_size, transform=transform)

    def spread(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        found = sums_over(state, key, track)
        mean, square = (found[name] / found["counts"] for name in ("sums", "squares"))
        values = {"latent_std": float(np.sqrt(square - mean**2))}
        if variant == "vq":
            counts = found["codes"]
            values |= {"perplexity": float(perplexity(jnp.asarray(counts))), "codes_used": float((counts > 0).sum())}
        return values

    means = jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform)
    figures = ["mse", "psnr", "latent_std", "kl" if variant == "kl" else "perplexity", *["lpips"] * (lpips is not None)]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={name: players[name] for name in trained},
        steps=steps,
        networks=networks,
        init=jaxgen.initialize(networks, held),
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(means, spread)},
        pictures=latent_maps.album(encode, decode, data.examples(test, 32, transform)["image"], pixels=PIXELS),
        ema=ema,
        # The squared error alone would choose, and it prefers blur to what the game is played for.
        best=None,
        accumulate=accumulate,
        protocol=dict.fromkeys(figures, ()),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
