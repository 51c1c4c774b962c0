"""Deep convolutional GAN (Radford et al. 2015), with walks and arithmetic in its latent space.

python -m experiments.dcgan                                                           # digits, nothing to download; 2 minutes
python -m experiments.dcgan --dataset mnist --data-dir D --channels 64 128
python -m experiments.dcgan --dataset cifar10 --data-dir D --channels 64 128 256
python -m experiments.dcgan --dataset bedrooms/ --channels 64 128 256 512      # of a folder with the subfolders train and test
python -m experiments.dcgan --augment color translation cutout       # of few images: what the discriminator sees is augmented
python -m experiments.dcgan --ada-target 0.6      # the same by another pipe, with a probability that follows the discriminator

Where images have classes, the final evaluation is the error of a support vector machine that sees the discriminator's maps of
some labelled images (section 5.2), next to that of one that sees their pixels. A folder of bedrooms, or of other photos, is
brought to 64x64 by `jaxgen data convert bedrooms/ bedrooms.npz --size 64`.

Of adaptive augmentation (Karras et al. 2020; github.com/NVlabs/stylegan2-ada-pytorch) the pipe "bgc" and the rule of its
probability are here; networks, losses and optimizers are the DCGAN's. On the bundled digits (seed 0, 2,000 steps, 360 test
images) `--ada-target 0.6` leaves the probability near 0.04 and the samples as various as the data (diversity 1.03 +- 0.02).
With `--ada-images 50000` as well it rises to 0.6, and the samples of images so small are poor (diversity 0.40 +- 0.01).

Against the paper (section 4) and the authors' code (github.com/Newmu/dcgan_code, faces/train_uncond_dcgan.py):

| | the paper, or its code | here |
| --- | --- | --- |
| optimizer of both players | Adam of 2e-4 with beta1 of 0.5, batches of 128 | the same |
| weights | normal with a deviation of 0.02, gains of the normalisation about 1 | the same |
| z | 100 numbers, uniform in [-1, 1] | 100 numbers, normal |
| kernels | 5x5 | 4x4 |
| weight decay | none in the paper, 1e-5 of both players in the code | none |
| who moves when | in the code the players take turns, each on a batch of its own | both in each step, the discriminator first |
| C of the support vector machine | chosen on 10,000 further images | chosen on a fifth of the labelled images |
| samples | normalised by the statistics of their own batch | normalised by the running statistics |
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_model, units
from jaxgen.flags import Count, Counts, Fraction, Late, NonNegative, Positive, Share, Whole, value_of
from jaxgen.game import merging
from jaxgen.losses import adversarial, augmentation, augmentation_pipe
from jaxgen.losses.adaptive_augmentation import Adaptive
from jaxgen.losses.penalty import lazily, r1
from jaxgen.measuring import collapse
from jaxgen.metrics.support_vectors import few_labels
from jaxgen.models.gan import dcgan
from jaxgen.progress import Track
from jaxgen.types import Array, Key, Params, Vars
from jaxgen.uncertainty import named

AUGMENTATIONS = {"color": augmentation.color, "translation": augmentation.translation(), "cutout": augmentation.cutout()}
LOSSES = {"minimax": adversarial.minimax, "non_saturating": adversarial.non_saturating, "hinge": adversarial.hinge}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    loss: Literal["minimax", "non_saturating", "hinge"] | adversarial.AdversarialLoss = "non_saturating",
    latents: Count = 100,
    channels: Counts = (32, 64),
    norm: Literal["batch", "spectral"] = "batch",
    gamma: NonNegative = 0.0,
    gamma_every: Count = 16,
    augment: tuple[Literal["color", "translation", "cutout"], ...] = (),
    ada_target: Fraction | None = None,
    ada_images: Count = 500_000,
    svm_labels: Late[Whole] = 1000,
    svm_draws: Late[Count] = 5,
    steps: Whole = 2000,
    batch_size: Count = 128,
    learning_rate: Positive = 2e-4,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A DCGAN on the images of any dataset whose sides can be halved often enough.

    Args:
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      channels: the numbers of channels of the discriminator's maps, the largest map first; the generator mirrors it. Each
        halves the side.
      norm: the normalisation of the discriminator: of its batches, or of its kernels (Miyato et al. 2018).
      gamma: weight of the R1 penalty, which wants a discriminator with the spectral norm; 0 is none.
      gamma_every: steps between its applications, in which it is a part of the loss. StyleGAN2, where this is from, gives it an
        update of its own and lowers Adam's rate and betas for that; here there is no further update, and Adam stays as it is.
      augment: augmentations of the images that the discriminator sees in training, data and samples alike, in this order (Zhao
        et al. 2020).
      ada_target: the mean sign of the discriminator's logits of real images above which the probability of each augmentation
        grows (Karras et al. 2020), 0.6 in the paper; None augments nothing by this rule.
      ada_images: the number of images in which this probability can grow from 0 to 1.
      svm_labels: the number of labelled images that the support vector machine sees, as many of each class; 0 trains none.
      svm_draws: the number of draws of these images, of whose errors the mean is taken; 100 in the paper.
    """
    train, test = data.train_and_test(dataset)
    transform = data.scale(-1, 1)
    image = data.common_shape("image", train, test)
    if gamma and norm == "batch":
        raise jaxgen.UserError("--gamma penalises the gradient of each image by itself; it goes with --norm spectral.")
    if augment and ada_target is not None:
        raise jaxgen.UserError("--augment and --ada-target are two augmentations of the same images; give one of them.")
    if ada_target is not None and image[-1] not in (1, 3):
        raise jaxgen.UserError(f"--ada-target is for grey images and images in colour, and these have {image[-1]} channels.")
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    generator = dcgan.Generator(image, channels[::-1], dtype=dtype)
    discriminator = dcgan.Discriminator(channels, normalised=norm == "batch", spectral=norm == "spectral", dtype=dtype)
    penalty = lazily(r1(gamma), gamma_every) if gamma else None
    fixed = augmentation.chained(*(AUGMENTATIONS[name] for name in augment)) if augment else None
    adaptive = None if ada_target is None else Adaptive(augmentation_pipe.bgc, ada_target, images=ada_images)
    d_loss, g_loss = objectives.adversarial(
        generator, discriminator, value_of(LOSSES, loss), latents=latents, penalty=penalty, augment=adaptive or fixed
    )
    tx = optax.adam(learning_rate, b1=0.5)
    rules = {objectives.AUGMENTATION: merging.same} if adaptive else {}
    players = {"discriminator": jaxgen.Player(d_loss, tx, merge=rules), "generator": jaxgen.Player(g_loss, tx)}
    networks = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
    }

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        return params, {**vars, **({objectives.AUGMENTATION: adaptive.begun()} if adaptive else {})}

    losses = jaxgen.loss_of(players["discriminator"], "discriminator_loss")
    space = latent_model.of_generator(generator, latents)
    classes = train.classes.get("label", ())
    labelled = len(classes) > 1 and test.classes.get("label") == classes
    if labelled and 0 < svm_labels < len(classes):
        raise jaxgen.UserError(
            f"--svm-labels {svm_labels} cannot show {len(classes)} classes; give {len(classes)} or more, or 0."
        )

    @jax.jit
    def features(state: jaxgen.TrainState, x: Array) -> Array:
        variables = {"params": state.params["discriminator"], **state.vars.get("discriminator", {})}
        _, sown = discriminator.apply(variables, x, mutable=["maps"])
        return dcgan.pooled(*sown["maps"]["convolutions"])

    def pixels(state: jaxgen.TrainState, x: Array) -> Array:
        return x.reshape(len(x), -1)

    def classify(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        seed, found = int(jax.random.bits(key)), {}
        for name, of in (("svm_error", features), ("svm_error_pixels", pixels)):
            sets = units.of_both(train, test, of, state, transform, track)
            if sets is None:
                return {}
            error = few_labels(*sets[0], *sets[1], labels=svm_labels, draws=svm_draws, seed=seed)
            found[name] = (100 * error.error, None if error.stderr is None else 100 * error.stderr)
        return named(found)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks=networks,
        init=init,
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.joined(
                jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform),
                collapse.evaluator(space.sample, test),
            )
        },
        final={"test": classify} if svm_labels and labelled else {},
        pictures=space.pictures(),
        sample=space.sample,
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, a larger --batch-size, or --norm spectral with --gamma"),),
        accumulate=accumulate,
        protocol=dict.fromkeys(
            ("svm_error", "svm_error_pixels") if svm_labels and labelled else (), ("svm_draws", "svm_labels")
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
