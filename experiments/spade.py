"""Images from maps of classes by spatially adaptive normalisation (SPADE; Park et al. 2019).

python -m experiments.spade                         # segmented digits, nothing to download
python -m experiments.spade --style                 # an image's colours and shades come from a latent vector
python -m experiments.spade --norm instance --matching 0
python -m experiments.spade --dataset camvid64 --data-dir D --doublings 4 --layers 3 --jitter 8 --flip --steps 18400 \
    --learning-rate 1e-4
jaxgen translate runs/spade MAPS --out IMAGES       # pictures of classes in VOC's colours

Against the paper (sections 3 and 4, appendix A) and its authors' code (github.com/NVlabs/SPADE):

| | the paper, or its code | here |
| --- | --- | --- |
| images | 256x256 and 256x512, five to seven doublings | three for 32x32; `--doublings` |
| channels | 64 at the full side; 128 that make the gains and shifts | 8 and 16; `--width`, `--map-width` |
| maps | one channel a class, one for pixels of none, one of objects' edges | the same without edges; sets have no objects |
| normalisation | of the batch, on all devices; at test by running averages | the same; `--norm instance` |
| discriminator | 64 channels, three convolutions of stride two, two scales | 16, two, two; `--layers`, `--scales` |
| losses | hinge, 10 times the discriminator's maps, 10 times those of VGG-19 | VGG-19 only with `--vgg FILE` |
| style | KL summed over a device's images, times 0.05 | the same for one image; `--kl` |
| style at test | of a photo | drawn from N(0, I); in an evaluation of the loss of the photo |
| optimizers | Adam of 1e-4 and 4e-4, betas 0 and 0.9 in the code | the same with --learning-rate 1e-4; 4e-4 of both |
| learning rate | constant for 100 epochs, then to zero along a line in 100 (Cityscapes) | halves of --steps, after each step |
| order | generator, then the discriminator on images that are made anew | the same |
| spectral norms, averages | moved by both turns, of both networks | moved by the turn of their own player |

A network that was trained on real images and their classes segments the images that are made of the test maps: `mean_iou`,
`class_accuracy` and `pixel_accuracy` compare what it finds with the maps. With `_real` they are the scores of the test images
themselves, which no generator is expected to pass.

The first, with seed 0 and n = 360, reaches a mean IoU of 0.839 +- 0.002, next to 0.864 +- 0.002 of the real images. At the
paper's rates it is 0.325 +- 0.003 after 500 steps: so small a generator falls behind its discriminator.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, keys, objectives, optimizers
from jaxgen.flags import Count, Late, NonNegative, Place, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.losses.perceptual import VGG19_WEIGHTS
from jaxgen.measuring import tensors
from jaxgen.metrics import segmentation
from jaxgen.metrics.real_pairs import SegmenterRecipe, segmenter
from jaxgen.models.translation import (
    TO_RELU5_1,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    SPADEGenerator,
    StyleEncoder,
    TransferEncoder,
    small_xavier,
)
from jaxgen.models.translation.vgg_weights import from_torch
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params
from jaxgen.uncertainty import named

LOSSES = {
    "hinge": adversarial.hinge,
    "least_squares": adversarial.least_squares(),
    "non_saturating": adversarial.non_saturating,
}

CLASSES = {"segmented_digits": 8, "camvid64": 11}
"""The number of classes, by dataset."""

VOID = {"camvid64": 11}
"""The class number of pixels whose class is not known, by dataset."""

CHUNK = 16
"""Test images that are made at a time; no value depends on it."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "segmented_digits",
    classes: Count | None = None,
    void: Whole | None = None,
    jitter: Whole = 0,
    flip: bool = False,
    doublings: Count = 3,
    width: Count = 8,
    map_width: Count = 16,
    norm: Literal["batch", "instance"] = "batch",
    style: bool = False,
    latents: Count = 16,
    layers: Count = 2,
    scales: Count = 2,
    discriminator_width: Count = 16,
    loss: Literal["hinge", "least_squares", "non_saturating"] | adversarial.AdversarialLoss = "hinge",
    matching: NonNegative = 10.0,
    vgg: Place | None = None,
    perceptual: NonNegative = 10.0,
    kl: NonNegative = 0.05,
    steps: Whole = 700,
    batch_size: Count = 8,
    learning_rate: Positive = 4e-4,
    discriminator_rate: Positive = 4e-4,
    decay_steps: Whole | None = None,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    segmenter_steps: Late[Whole] = 400,
) -> jaxgen.Experiment:
    """SPADE on images with a class for each pixel.

    Args:
      dataset: a TFDS name, or in Python sources of arrays (`data.Given`). Its examples have an `image` and a `segmentation`
        `[H, W, 1]` of class numbers.
      classes: the number of classes, from 0 on; by default that of the sets that are known.
      void: the class number of pixels whose class is not known; by default that of camvid64 alone. They are not scored, and if
        the number is none of the classes, they have a channel of their own.
      jitter: pixels by which training pairs are enlarged before they are cut to their size again.
      flip: whether to mirror training pairs in half of the cases.
      doublings: the times that the generator doubles the side: 5, 6 and 7 are the paper's "normal", "more" and "most".
      width: the channels of the generator's last map, and of the encoder's first.
      map_width: the channels of the layers that make gains and shifts of the map.
      norm: the generator's normalisation: of the batch, or of each image by itself.
      style: whether the generator begins with a latent vector, which an encoder reads off the image in training.
      latents: the dimension of that vector.
      layers: the convolutions of stride two of the discriminator.
      scales: the number of sizes at which images are judged, each half of the one before.
      discriminator_width: the channels of the discriminator's first map; they double with each convolution.
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      matching: the weight of the mean absolute difference of the discriminator's maps of made and real images.
      vgg: the file of the weights of VGG-19 as torchvision has them, .safetensors or .pth, by whose maps made and real images
        are compared too; None compares without.
      perceptual: the weight of the differences of its maps.
      kl: the weight of the divergence of an image's style from N(0, I).
      learning_rate: Adam's learning rate of the generator and the encoder.
      discriminator_rate: Adam's learning rate of the discriminator.
      decay_steps: steps at the end over which the learning rates fall to zero along a line; by default half of them.
      segmenter_steps: the training steps of the network that segments what is made; 0 leaves its scores out.
    """
    known = dataset.split(":")[0] if isinstance(dataset, str) else ""
    classes, void = CLASSES.get(known) if classes is None else classes, VOID.get(known) if void is None else void
    if classes is None:
        raise jaxgen.UserError("It is not known how many classes the segmentation has; give --classes.")
    numbers = [*range(classes), *([void] if void is not None and void >= classes else [])]
    mapped = data.coloured(into="colours", classes=numbers)
    told: dict[str, Any] = {"example_map": mapped, "example_map_name": f"with VOC's colours of the classes {numbers}"}
    train, test = (data.load(dataset, split, **told) for split in ("train", "test"))
    height, across, channels = data.common_shape("image", train, test)
    data.common_shape("segmentation", train, test)

    if vgg is not None and channels != 3:
        raise jaxgen.UserError(f"--vgg compares images in colour, and these have {channels} channels; leave --vgg out.")

    pair, larger = ("image", "segmentation"), (height + jitter, across + jitter)
    scale, one_hot = data.scale(-1, 1), data.one_hot(classes, void=void)
    enlarged = data.chain(data.resample(larger), data.resample(larger, method="nearest", feature="segmentation"))
    cut = data.chain(data.crop((height, across)), data.flip() if flip else data.identity)
    augmented = data.chain(scale, enlarged if jitter else data.identity, data.jointly(pair, cut), one_hot)
    plain = data.chain(scale, one_hot)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    generator = SPADEGenerator(doublings, width, map_width, channels, norm == "instance", dtype)
    patch = functools.partial(PatchDiscriminator, layers, discriminator_width, dtype, instance=True, spectral=True, pad=2)
    discriminator = MultiScaleDiscriminator(functools.partial(patch, kernel_init=small_xavier), scales)
    encoder = StyleEncoder(latents, width, min(256, max(8, 1 << (min(height, across).bit_length() - 1))), dtype)
    maps_of_vgg = TransferEncoder(TO_RELU5_1, dtype=dtype, reflected=False)
    g_loss, d_loss = objectives.semantic_synthesis(
        generator,
        discriminator,
        value_of(LOSSES, loss),
        encoder=encoder if style else None,
        matching=matching,
        perceptual=None if vgg is None else objectives.Perceptual(maps_of_vgg, VGG19_WEIGHTS, perceptual),
        kl=kl,
    )
    falls = steps // 2 if decay_steps is None else decay_steps
    rates = [optimizers.constant_then_linear(peak, steps=steps, falls=falls) for peak in (learning_rate, discriminator_rate)]
    of_generator, of_discriminator = (optax.adam(rate, b1=0.0, b2=0.9) for rate in rates)
    image, maps = jnp.zeros((1, height, across, channels)), jnp.zeros((1, height, across, len(numbers)))
    start = (jnp.zeros((1, latents)),) if style else ()
    networks = {
        "generator": jaxgen.Network(generator, maps, *start),
        "discriminator": jaxgen.Network(discriminator, jnp.concatenate([maps, image], axis=-1)),
    }
    if style:
        networks["encoder"] = jaxgen.Network(encoder, image)
    held: dict[str, Callable[[], Params]] = {}
    if vgg is not None:
        networks["vgg"] = jaxgen.Network(maps_of_vgg, image)
        held["vgg"] = lambda: from_torch(tensors.read(vgg), maps_of_vgg, name=str(vgg))

    @jax.jit
    def make(state: jaxgen.TrainState, key: Key, m: Array, index: Array) -> Array:
        """The images of maps, in [0, 1]; the style of each is drawn by its number."""
        z: tuple[Array, ...] = ()
        if style:
            own = keys.by_example(key, {"image": m, "slot": index})["key"]
            z = (keys.draw(jax.random.normal, own, (len(m), latents)),)
        return (objectives.apply(generator, state.params, state.vars, m, *z, name="generator")[0] + 1) / 2

    colours = jnp.asarray(data.voc_colours()[numbers], jnp.float32)

    @jax.jit
    def maps_of(pictures: Array) -> Array:
        """The maps of pictures, each pixel by the nearest colour."""
        distance = jnp.square(colours).sum(-1) - 2 * pictures.astype(jnp.float32) @ colours.T
        return jax.nn.one_hot(distance.argmin(-1), len(numbers))

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return make(state, key, maps_of(given["image"]), given["index"])

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        total, of_made = g_loss(state.params, state, batch, key, train=False)
        values, of_judged = d_loss(state.params, state, batch, key, train=False)
        return {"loss": total, **of_made.metrics, "discriminator_loss": values, **of_judged.metrics}

    def scored(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        """The scores of a segmenter on the images that are made of the test maps, and on the test images."""
        segment = segmenter(train, classes=classes, void=void, recipe=SegmenterRecipe(steps=segmenter_steps), track=track)
        counts: dict[str, list[np.ndarray]] = {"": [], "_real": []}
        batches = data.in_order(data.in_bytes(test), CHUNK)
        for batch in track(data.prefetch(lambda batch: batch, batches), description="segmenting", total=len(batches)):
            made = make(state, key, maps_of(batch["colours"]), batch["index"])
            there = np.asarray(batch["mask"]) > 0
            seen = {"": np.asarray(jnp.round(255 * made)).astype(np.uint8), "_real": np.asarray(batch["image"])}
            for name, images in seen.items():
                found = segment(images[there])
                label = np.asarray(batch["segmentation"])[there, ..., 0].astype(np.int64)
                counts[name].append(segmentation.confusions(label, found, classes=classes, void=void))
        scores: dict[str, tuple[float, float | None]] = {}
        for name, parts in counts.items():
            confusion = np.concatenate(parts)
            values, errors = segmentation.scores(confusion.sum(0)), segmentation.standard_errors(confusion)
            pairs = zip(values._fields, map(float, values), map(float, errors), strict=True)
            scores |= {f"{field}{name}": (value, error) for field, value, error in pairs}
        return named(scores)

    examples = data.in_order(test, min(24, test.length))[0]

    def synthesised(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        shown = examples["colours"], make(state, key, maps_of(examples["colours"]), examples["index"]), examples["image"]
        three = [np.broadcast_to(np.asarray(a) / (1 if i == 1 else 255), (*a.shape[:3], 3)) for i, a in enumerate(shown)]
        columns = 3 * min(4, len(three[0]))
        blank = np.ones((-len(three[0]) % 4 if columns == 12 else 0, 3, height, across, 3))
        rows = np.concatenate([np.stack(three, axis=1), blank]).reshape(-1, height, across, 3)
        return jaxgen.Picture(rows, columns, f"Test maps, what is made of them, and real images; step {int(state.step):,}")

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augmented),
        players={
            "generator": jaxgen.Player(g_loss, of_generator, owns=("generator", "encoder") if style else ()),
            "discriminator": jaxgen.Player(d_loss, of_discriminator),
        },
        steps=steps,
        networks=networks,
        init=jaxgen.initialize(networks, held),
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, losses, batch_size=CHUNK, transform=plain)},
        final={"test": scored} if segmenter_steps else {},
        pictures={"synthesised": synthesised},
        sample=sample,
        given=jaxgen.Conditions(data.showing(test, "colours"), features=("image",)),
        ema=ema,
        # The losses of a game say nothing of how good its images are.
        best=None,
        accumulate=accumulate,
        schedules={"learning_rate": rates[0], "discriminator_rate": rates[1]},
        protocol=dict.fromkeys(segmentation.Scores._fields, ("segmenter_steps",)) if segmenter_steps else {},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
