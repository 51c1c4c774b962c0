"""Image-to-image translation in many ways, without pairs (MUNIT; Huang et al. 2018): images are contents and styles.

python -m experiments.munit                         # grey digits, and digits in inks of any hue; nothing to download
python -m experiments.munit --cycle 10              # with the explicit cycle, for domains that differ much
python -m experiments.munit --dataset EDGES --target SHOES --side 256 --width 64 --halvings 2 --style-halvings 4 \
    --residuals 4 --mlp-width 256 --layers 4 --scales 3 --discriminator-width 64 --flip --batch-size 1 \
    --learning-rate 1e-4 --halve-every 100000 --steps 1000000
jaxgen translate runs/munit PICTURES --out OUT --resize                       # each picture in a style that is drawn for it
jaxgen translate runs/munit PICTURES --out OUT --resize --example SHOE.png    # all pictures in the style of another
jaxgen translate runs/munit PICTURES --out OUT --resize --direction b_to_a

The first, with seed 0, gives 100 test digits inks whose hues have an entropy of 3.09 +- 0.02 bits over 20 styles of one digit,
next to 3.16 +- 0.05 of as many test images in colour. A classifier of coloured digits knows 94.2 +- 1.2 % of the 360 grey test
digits after their translation, 94.7 +- 1.2 % as they are, since the domains have their shapes in common, and 95.3 +- 1.1 % of
its own. Of the coloured ones a classifier of grey digits knows 94.4 +- 1.2 % after the way back, and 95.8 +- 1.1 % of its own.
Pixels are reconstructed within 0.047 of a range of 2 in the grey domain, and within 0.051 in the other. It takes three and a
half minutes on two cores.

Against the paper (sections 3 to 5, appendix B) and its authors' code (github.com/NVlabs/MUNIT):

| | the paper, or its code | here |
| --- | --- | --- |
| content encoder | 64 channels, two halvings, four residual blocks, instance normalisation | 16, one, two |
| style encoder | four halvings without normalisation, mean over the pixels, 8 numbers | the same with three |
| decoder | blocks normalised by the style, layers of 256 units for it, whole images normalised after doublings | 64 units |
| discriminators | three sizes, 64 channels and four convolutions of stride two, no normalisation | two sizes, 16, two |
| losses | least squares without halves, summed over the sizes; 10 times pixels, 1 times styles and contents | the same |
| contents | both sides of their term get its gradient | the same |
| cycle | none for edges and shoes, 10 times for summer and winter | none; `--cycle 10` |
| perceptual loss | of VGG-16 with the weights of Caffe, for 512x512 | only with `--vgg FILE`, the weights of torchvision |
| optimizers | Adam of 1e-4, betas 0.5 and 0.999, a decay of 1e-4 in the gradient; one a player | the same with 1e-3 |
| learning rate | halved every 100,000 of 1,000,000 steps | every 500 of 1,000 |
| order | discriminators first; both turns draw their styles | the same |
| batches | one image of each domain | 4 |
| images | smaller side 256, cut to 256x256, mirrored | central squares; cut and mirrored by flags |
| averages, samples | none; styles drawn from N(0, I), or of an example | the same; `--ema` |
| diversity | LPIPS of 19 pairs of translations of 100 images | hues and pixels of 20 of 100 images |

Of 100 test images of each domain in as many styles as `--styles` says, `hue_entropy` is the entropy of the hues of one image's
translations in bits, of at most 3.7, next to `hue_entropy_of_target` of as many test images of the other domain, and
`distance_of_styles` the mean absolute difference of the pixels, in [0, 1], of two of them. Where both domains have the same
classes, a LeNet is trained on the training images of each. Of the other domain's test images `accuracy_untranslated` is the
share that it takes for their own class as they are, and `accuracy_translated` when each was translated in a style drawn for it;
`accuracy_of_target` is that share of its own domain's test images.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import content_and_style
from jaxgen.data.decode import contents_of, decode
from jaxgen.flags import Count, Late, NonNegative, Place, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.measuring import tensors
from jaxgen.measuring.translations import accuracies, same_classes
from jaxgen.models.cnn.vgg import VGG, DeepMaps
from jaxgen.models.translation import HalvingDiscriminator, MultiScaleDiscriminator, MUNITAutoencoder
from jaxgen.models.translation.vgg_weights import from_torch
from jaxgen.objectives.cycle import DISCRIMINATORS, DOMAINS, TRANSLATORS
from jaxgen.objectives.multimodal import AUTOENCODERS, MAPS
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params

LOSSES = {"non_saturating": adversarial.non_saturating, "least_squares": adversarial.least_squares()}

CHUNK = 16
"""Test images that are measured at a time; no value depends on it."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    target: str | data.Given = "coloured_digits",
    side: Count = 16,
    jitter: Whole = 0,
    flip: bool = False,
    latents: Count = 8,
    width: Count = 16,
    halvings: Whole = 1,
    style_halvings: Whole = 3,
    residuals: Count = 2,
    mlp_width: Count = 64,
    layers: Count = 2,
    scales: Count = 2,
    discriminator_width: Count = 16,
    loss: Literal["non_saturating", "least_squares"] | adversarial.AdversarialLoss = "least_squares",
    gan: Positive = 1.0,
    reconstruction: NonNegative = 10.0,
    style_weight: NonNegative = 1.0,
    content: NonNegative = 1.0,
    cycle: NonNegative = 0.0,
    vgg: Place | None = None,
    perceptual: NonNegative = 1.0,
    steps: Whole = 1000,
    batch_size: Count = 4,
    learning_rate: Positive = 1e-3,
    halve_every: Count = 500,
    weight_decay: NonNegative = 1e-4,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    direction: Late[Literal["a_to_b", "b_to_a"]] = "a_to_b",
    example: Late[Place | None] = None,
    styles: Late[Whole] = 20,
    classifier_steps: Late[Whole] = 400,
) -> jaxgen.Experiment:
    """MUNIT on two sets of images, of which no pairs are needed.

    Args:
      dataset: the images of domain a, as any dataset with the splits train and test.
      target: the images of domain b, in the same way. If one domain is grey and the other in colour, both are taken in colour.
      side: the side to which the central squares of all images are brought.
      jitter: pixels by which training images are enlarged before they are cut to their size again.
      flip: whether to mirror training images in half of the cases.
      latents: the dimension of a style.
      width: the channels of the first maps of the autoencoders.
      halvings: the times that the side of a content is half of the one before.
      style_halvings: the same of the maps of which a style is the mean.
      residuals: the residual blocks of the content encoders, and as many of the decoders.
      mlp_width: the units of the layers that make means and deviations of a style.
      layers: the discriminators' convolutions of stride two.
      scales: the number of sizes at which images are judged, each half of the one before.
      discriminator_width: the channels of the discriminators' first maps; they double with each convolution.
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      gan: the weight of the adversarial losses of both players, which are summed over the sizes.
      reconstruction: the weight of the mean absolute difference of pixels, which are in [-1, 1], within a domain.
      style_weight: the weight of the mean absolute difference of a style that was drawn and of that of its translation.
      content: the weight of the mean absolute difference of an image's content and of that of its translation.
      cycle: the weight of the mean absolute difference of pixels on the way there and back with the image's own style.
      vgg: the file of the weights of VGG-16 as torchvision has them, .safetensors or .pth, by whose last maps images and their
        translations are compared; None compares without.
      perceptual: the weight of the mean squared difference of those maps after instance normalisation.
      batch_size: the number of images of each domain in a step.
      halve_every: the steps after which the learning rate is half of what it was.
      weight_decay: the weight of half the squared parameters in both players' losses, as Adam sees them.
      direction: the way that samples are made: images of domain a into domain b, or back.
      example: a picture of the domain that samples are translated into, whose style all of them have; None draws one for each.
      styles: the number of styles in which test images are translated to measure the variety; 0 leaves these figures out.
      classifier_steps: the training steps of the classifiers that the translations of labelled images are measured by, if the
        classes of both domains are the same; 0 leaves these figures out.
    """
    if styles == 1:
        raise jaxgen.UserError("--styles 1 shows no variety; give 2 or more, or 0 to leave these figures out.")
    domains = data.load_domains(dict(zip(DOMAINS, (dataset, target), strict=True)), side=side)
    train, test = domains
    image = data.common_shape("image", *domains.splits.values())

    scale = data.scale(-1, 1)
    larger = data.resample((side + jitter, side + jitter)) if jitter else data.identity
    augmented = data.chain(scale, larger, data.crop(side), data.flip() if flip else data.identity)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    autoencoder = MUNITAutoencoder(latents, width, halvings, style_halvings, residuals, mlp_width, image[-1], dtype)
    patch = functools.partial(HalvingDiscriminator, layers, discriminator_width, dtype)
    discriminator = MultiScaleDiscriminator(patch, scales)
    maps = DeepMaps(dtype=dtype)
    losses = objectives.multimodal_translation(
        (autoencoder, autoencoder),
        (discriminator, discriminator),
        value_of(LOSSES, loss),
        latents=latents,
        gan=gan,
        reconstruction=reconstruction,
        style=style_weight,
        content=content,
        cycle=cycle,
        perceptual=0.0 if vgg is None else perceptual,
        maps=maps,
    )
    rate = optax.exponential_decay(learning_rate, halve_every, 0.5, staircase=True)
    # The decay is part of the gradient, as in PyTorch's Adam, and not of the step, as in AdamW.
    tx = optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(rate, b1=0.5))
    networks = {name: jaxgen.Network(autoencoder, jnp.zeros((1, *image))) for name in AUTOENCODERS}
    networks |= {name: jaxgen.Network(discriminator, jnp.zeros((1, *image))) for name in DISCRIMINATORS}
    held: dict[str, Callable[[], Params]] = {}
    if vgg is not None:
        networks[MAPS] = jaxgen.Network(maps, jnp.zeros((1, *image)))
        trunk = VGG(maps.stages)
        held[MAPS] = lambda: {"trunk": from_torch(tensors.read(vgg), trunk, name=str(vgg), network="VGG-16")}

    def scaled(images: Array) -> Array:
        return 2 * (images.astype(jnp.float32) / 255) - 1

    def way_from(domain: int) -> content_and_style.Way:
        """The translation of bytes of one domain into the other."""

        def read(state: jaxgen.TrainState, images: Array, domain: int, method: str) -> Any:
            name = AUTOENCODERS[domain]
            return objectives.apply(autoencoder, state.params, {}, scaled(images), name=name, method=method)[0]

        return content_and_style.Way(
            translate=jax.jit(lambda state, x, style: (losses.translate(state.params, scaled(x), style, domain) + 1) / 2),
            reconstruct=jax.jit(lambda state, x: (read(state, x, domain, "__call__") + 1) / 2),
            style_of=jax.jit(lambda state, x: read(state, x, 1 - domain, "encode")[1]),
            latents=latents,
            own=test[DOMAINS[domain]],
            target=test[DOMAINS[1 - domain]],
        )

    ways = {name: way_from(i) for i, name in enumerate(TRANSLATORS)}
    chosen = None if example is None else decode(contents_of(example), str(example), size=side, grey=image[-1] == 1)

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        way, x = ways[direction], given["image"]
        if chosen is None:
            return way.translate(state, x, content_and_style.random_styles(way, key, given["index"], 1)[:, 0])
        style = way.style_of(state, jnp.asarray(chosen)[None])
        return way.translate(state, x, jnp.broadcast_to(style, (len(x), latents)))

    labelled = bool(classifier_steps and same_classes(domains.splits))

    def compare(name: str) -> Callable[..., Mapping[str, float]]:
        """The variety of the translations of a domain's images, and how many keep the class that their content has."""
        way, other = ways[name], DOMAINS[1 - TRANSLATORS.index(name)]

        def evaluate(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
            found = content_and_style.variety(way, state, key, track, number=styles) if styles else {}
            if labelled:
                made = content_and_style.translations(way, state, key, track, number=1)[:, 0]
                found |= accuracies(made, way.own, (train[other], test[other]), steps=classifier_steps, track=track)
            return found

        return evaluate

    figures: dict[str, tuple[str, ...]] = {"reconstruction": ()}
    if styles:
        figures["distance_of_styles"] = ("styles",)
        figures |= {"hue_entropy": ("styles",)} if image[-1] == 3 else {}
    if labelled:
        figures["accuracy_translated"] = ("classifier_steps",)
    return jaxgen.Experiment(
        train=data.join(**{d: data.shuffled(source, batch_size, augmented) for d, source in train.items()}),
        players={
            "discriminators": jaxgen.Player(losses.discriminators, tx, owns=DISCRIMINATORS, ema=()),
            "autoencoders": jaxgen.Player(losses.autoencoders, tx, owns=AUTOENCODERS),
        },
        steps=steps,
        networks=networks,
        init=jaxgen.initialize(networks, held),
        splits=domains.splits,
        evaluators={
            f"test/{d}": jaxgen.mean_over(source, losses.terms[d], batch_size=CHUNK, transform=scale)
            for d, source in test.items()
        },
        final={f"test/{d}": compare(name) for d, name in zip(DOMAINS, ways, strict=True)} if styles or labelled else {},
        pictures={
            "styles": lambda state, key: content_and_style.many_styles(ways, state, key),
            "guided": lambda state, key: content_and_style.guided(ways[direction], state, key),
        },
        sample=sample,
        given=jaxgen.Conditions(ways[direction].own, features=("image",)),
        sampling=("direction", "example"),
        ema=ema,
        accumulate=accumulate,
        # An autoencoder may reconstruct its images well and translate none.
        best=None,
        schedules={"learning_rate": rate},
        protocol=figures,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
