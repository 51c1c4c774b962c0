"""Variational autoencoder (Kingma & Welling 2013), with beta (Higgins et al. 2017) fixed or as the multiplier of KL < max-kl.

python -m experiments.vae                                            # digits, nothing to download
python -m experiments.vae --dataset mnist --data-dir D --beta 4
python -m experiments.vae --dataset mnist --data-dir D --binarization dynamic --latents 40            # with Bernoulli pixels
python -m experiments.vae --dataset cifar10 --data-dir D --network residual --likelihood logistic --latents 128
python -m experiments.vae --dataset sprites --likelihood bernoulli --beta 4 --beta-warmup 0 --latents 10 \
    --hidden 1200 1200 --activation relu --decoder-hidden 1200 1200 1200 --decoder-activation tanh \
    --optimizer adagrad --learning-rate 1e-2 --batch-size 64 --steps 300000 --factors shape scale orientation x y

Grey pixels have a Gaussian likelihood whose width is learned. With a Bernoulli likelihood, of which they are no samples, most
latents stay at the prior and samples are blurred. The width starts at 1, which makes the likelihood weak against the KL: the
latents would fall to the prior before the width has shrunk, so the weight of the KL grows from 0 at first. Binarised pixels
have a Bernoulli likelihood and the whole KL from the first step, as in Kingma & Welling.

The optimizer is Adam by default, where Kingma & Welling have Adagrad. The last command has the network and the optimizer of
Higgins et al. for dSprites, on pictures that are drawn here; the final evaluation says which factors the latents follow. Their
convolutional network, for images of 64x64, is --network conv --channels 32 32 64 64.

With fewer units and steps (--hidden 256 256 --decoder-hidden 256 256 256 --optimizer adam --learning-rate 1e-3 --batch-size 128
--steps 20000 --nll-samples 50, six minutes of processor time; seed 0 alone, 6,228 test images):

| | KL, nats | nll | beta-VAE metric | of shape, scale, orientation, x, y | MIG |
| --- | --- | --- | --- | --- | --- |
| --beta 1 | 10.6 | 44.31 +- 0.21 | 0.852 | 0.61, 0.96, 0.68, 1.00, 1.00 | 0.295 |
| --beta 4 | 6.4 | 50.99 +- 0.25 | 0.761 | 0.46, 0.88, 0.46, 1.00, 1.00 | 0.024 |

Here beta 4 is not better than beta 1, as it is in the paper on images of 64x64: with a quarter of the pixels the same beta
weighs more, and there is little but the place in the code, which is as probable turned round as along its axes.

The best checkpoint is that of the highest ELBO, with a weight of 1 on the KL, also where --beta, --beta-warmup or --max-kl
train with another.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis import factors as follow
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Share, Whole, value_of
from jaxgen.measuring import collapse
from jaxgen.metrics import disentanglement
from jaxgen.models import autoencoders, vae
from jaxgen.nn import likelihoods
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params, Vars

LIKELIHOODS: dict[str, nn.Module] = {
    "bernoulli": likelihoods.BernoulliLikelihood(),
    "gaussian": likelihoods.GaussianLikelihood(std=0.1),
    "gaussian-learned": likelihoods.GaussianLikelihood(),
    "gaussian-per-pixel": likelihoods.HeteroscedasticGaussianLikelihood(),
    "logistic": likelihoods.DiscretizedLogisticLikelihood(),
}

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu}

OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {"adam": optax.adam, "adagrad": optax.adagrad}

DISENTANGLED = ("beta_vae", "mig", "disentanglement", "completeness", "informativeness")
"""The figures of the latents where factors are known."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    binarization: Literal["dynamic", "static", "none"] = "none",
    network: Literal["mlp", "conv", "residual"] = "mlp",
    likelihood: Literal["bernoulli", "gaussian", "gaussian-learned", "gaussian-per-pixel", "logistic"]
    | nn.Module
    | None = None,
    latents: Count = 8,
    hidden: tuple[Count, ...] = (400, 400),
    activation: Literal["tanh", "relu"] | Callable[[Array], Array] = "tanh",
    decoder_hidden: tuple[Count, ...] | None = None,
    decoder_activation: Literal["tanh", "relu"] | Callable[[Array], Array] | None = None,
    channels: Counts = (32, 64),
    beta: NonNegative = 1.0,
    beta_warmup: Whole | None = None,
    max_kl: Positive | None = None,
    analytic_kl: bool = True,
    samples: Count = 1,
    steps: Whole = 4000,
    batch_size: Count = 128,
    optimizer: Literal["adam", "adagrad"] | Callable[[Any], optax.GradientTransformation] = "adam",
    learning_rate: Positive = 1e-3,
    cosine: bool = False,
    clip: Positive | None = None,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    factors: tuple[str, ...] = (),
    nll_samples: Late[Count] = 500,
) -> jaxgen.Experiment:
    """A VAE on the images of any dataset.

    Args:
      binarization: the binarization of pixels: anew at each visit, once for each image, or not at all.
      network: kind of encoder and decoder.
      likelihood: the likelihood p(x | z): binary, real with one fixed or learned width or a width each, or bytes; by default
        gaussian-learned, or bernoulli where pixels are binarised. In Python also a module such as those of `models.vae`.
      hidden: widths of the layers of the mlp.
      activation: the activation function after each of them.
      decoder_hidden: widths of the decoder's layers (mlp); by default those of --hidden, the last first.
      decoder_activation: the activation function after each of them; by default that of the encoder.
      channels: feature maps of the conv and residual networks, the largest map first.
      beta: weight of the KL; 1 is the ELBO.
      beta_warmup: steps over which the weight grows from 0; by default 1,000, or none where pixels are binarised.
      max_kl: the bound in nats, used instead of a fixed beta, that the KL is held under by a multiplier; without warm-up.
      analytic_kl: whether to use the closed-form KL instead of the sampled one.
      samples: the number of samples of z for each image in training.
      optimizer: the optimizer. In Python also a function of the learning rate.
      remat: whether to recompute feature maps in the backward pass to save memory (conv and residual).
      factors: the labels of the images that are factors of variation, two or more: the final evaluation measures how the
        latents follow them.
      nll_samples: importance samples of the final estimate of log p(x).
    """
    if max_kl is not None and (beta != 1.0 or beta_warmup):
        raise jaxgen.UserError("--max-kl takes the place of --beta and --beta-warmup, and learns the weight; give one of them.")
    if network != "mlp" and (decoder_hidden is not None or decoder_activation is not None):
        raise jaxgen.UserError(
            "--decoder-hidden and --decoder-activation belong to the mlp; leave them out or give --network mlp."
        )
    if len(set(factors)) != len(factors) or len(factors) == 1:
        raise jaxgen.UserError(f"--factors {' '.join(factors)} does not name two factors or more, each once; give all of them.")
    train, test = data.train_and_test(dataset)
    for factor in factors:
        data.common_classes(factor, train, test)
    binary = binarization != "none"
    likelihood = likelihood or ("bernoulli" if binary else "gaussian-learned")
    head = value_of(LIKELIHOODS, likelihood)
    low, high = head.pixels
    if binary and not isinstance(head, likelihoods.BernoulliLikelihood):
        raise jaxgen.UserError(f"--binarization {binarization} makes binary images; it goes with --likelihood bernoulli.")
    in_bits = isinstance(head, likelihoods.DiscretizedLogisticLikelihood)
    binarize = {"dynamic": data.binarize(), "static": data.binarize_statically(), "none": data.identity}[binarization]
    transform = data.chain(data.scale(low, high), binarize)

    image = data.common_shape("image", train, test)
    out = (*image[:2], image[2] * head.outputs)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "mlp": (autoencoders.mlp, {"hidden": hidden, "activation": value_of(ACTIVATIONS, activation)}),
        "conv": (autoencoders.conv, {"channels": channels, "remat": remat}),
        "residual": (autoencoders.residual, {"channels": channels, "remat": remat}),
    }
    kind, options = kinds[network]
    encoder = kind.Encoder(**options, dtype=dtype)
    # The decoder is the mirror image where nothing else is asked for.
    mirrored = {name: value[::-1] if isinstance(value, tuple) else value for name, value in options.items()}
    if decoder_hidden is not None:
        mirrored["hidden"] = decoder_hidden
    if decoder_activation is not None:
        mirrored["activation"] = value_of(ACTIVATIONS, decoder_activation)
    model = vae.VAE(encoder, kind.Decoder(out, **mirrored, dtype=dtype), head, latents, dtype=dtype)
    networks = {"model": jaxgen.Network(model, jnp.zeros((1, *image)))}

    rate = optimizers.learning_rate(learning_rate, steps=steps, cosine=cosine)
    tx = optimizers.clipped(value_of(OPTIMIZERS, optimizer)(rate), clip)
    if max_kl is None:
        rising = (0 if binary else 1000) if beta_warmup is None else beta_warmup
        weight = optax.linear_schedule(0.0, beta, rising) if rising else beta
        loss = objectives.elbo(model, beta=weight, samples=samples, analytic_kl=analytic_kl)
        players = {"model": jaxgen.Player(loss, tx)}
    else:
        loss, dual = objectives.constrained_elbo(model, delta=max_kl, samples=samples)
        players = {"model": jaxgen.Player(loss, tx), "multiplier": jaxgen.Player(dual, optax.adam(1e-2))}

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        return {**params, **({} if max_kl is None else {"multiplier": jnp.log(jnp.expm1(1.0))})}, vars  # beta = 1

    space = latent_model.of_vae(model, latents, pixels=(low, high))

    nll = objectives.importance_weighted_nll(model, samples=nll_samples)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = nll(state, batch, key)
        return {**values, **({"bits_per_dim": values["nll"] / (math.log(2) * math.prod(image))} if in_bits else {})}

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(players["model"])(state, batch, key)
        # The ELBO's weight on the KL is always 1, so that its values compare while beta rises or follows a multiplier.
        return {**values, "negative_elbo": -values["elbo"]}

    def disentangled(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        codes, values = follow.over(test, space, state, transform, track, factors)
        return disentanglement.report(codes, values, factors, seed=int(jax.random.bits(key)))

    def over_test(measure: jaxgen.Measure, samples: int = 1) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform, samples=samples)

    advice = "a lower --beta, or a longer --beta-warmup" if max_kl is None else "a larger --max-kl"
    pictures = space.pictures(data.examples(test, 32, transform)["image"])
    if factors:
        information = disentanglement.normalised_information
        pictures |= follow.album(space, test, factors, transform, information)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks=networks,
        init=init,
        splits={"train": train, "test": test},
        evaluators={"test": over_test(losses)},
        final={"test": jaxgen.joined(over_test(bound, nll_samples), *[disentangled] * bool(factors))},
        pictures=pictures,
        sample=space.sample,
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        best="test/negative_elbo",
        alarms=(collapse.of_posterior("test/kl", advice, below=0.1 if max_kl is None else min(0.1, max_kl / 10)),),
        protocol={
            "nll": ("binarization", "likelihood", "nll_samples"),
            **({"bits_per_dim": ("binarization", "nll_samples")} if in_bits else {}),
            **(dict.fromkeys(DISENTANGLED, ("binarization", "likelihood", "factors")) if factors else {}),
        },
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
