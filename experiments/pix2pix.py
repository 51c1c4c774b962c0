"""Image-to-image translation with a conditional adversarial network (pix2pix; Isola et al. 2017): photos to labels, or back.

python -m experiments.pix2pix                       # segmented digits, nothing to download: 88.9 % of the pixels right, of a
                                                    # class 64.1 %, mean intersection over union 51.5 % of 360 images
python -m experiments.pix2pix --direction labels_to_photo
python -m experiments.pix2pix --gan 0               # the L1 loss alone; --l1 0 leaves it out
python -m experiments.pix2pix --dataset camvid64 --data-dir D --width 64 --jitter 8 --flip --steps 73400    # 200 epochs
jaxgen evaluate runs/pix2pix --noise False          # without dropout; figures come with it by default, as in the paper

The first took seven minutes on 2 cores that other programs shared.

Against the paper (section 3 and appendix 6.2) and its authors' code (github.com/phillipi/pix2pix):

| | the paper, or its code | here |
| --- | --- | --- |
| images | 256x256, eight halvings in the U-Net | as many halvings as bring the side to an odd number, eight at most |
| channels | 64 in the first maps of both networks | 32; `--width 64` |
| jitter | enlarged to 286x286, cut to 256x256, mirrored | enlarged by 4 pixels (8 for 64x64) and cut; `--flip` mirrors |
| optimizer of both players | Adam of 2e-4, beta1 of 0.5, batches of one (facades) | the same |
| learning rate | constant; in the authors' later code linear to zero in the second half | the latter |
| losses | the discriminator's halved, 100 times L1 for the generator | the same |
| at test | dropout stays; normalised by the statistics of the test batch, one image | the same; `--noise`, `--statistics` |

A label image has a colour for each class. An image that was made of a photo is scored by the class whose colour is nearest
at each pixel, over the whole split at once.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, keys, objectives, optimizers
from jaxgen.flags import Count, Late, NonNegative, Positive, Share, Whole, value_of
from jaxgen.losses import adversarial
from jaxgen.metrics import segmentation
from jaxgen.models.translation import PatchDiscriminator, UNetTranslator
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key
from jaxgen.uncertainty import named

LOSSES = {"non_saturating": adversarial.non_saturating, "least_squares": adversarial.least_squares()}

VOID = {"camvid64": 11}
"""The class number of pixels whose class is not known, by dataset."""

CHUNK = 16
"""Test images that are translated at a time; no value depends on it."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "segmented_digits",
    direction: Literal["photo_to_labels", "labels_to_photo"] = "photo_to_labels",
    jitter: Whole = 4,
    flip: bool = False,
    downs: Count | None = None,
    width: Count = 32,
    dropout: Share = 0.5,
    layers: Whole = 3,
    loss: Literal["non_saturating", "least_squares"] | adversarial.AdversarialLoss = "non_saturating",
    gan: NonNegative = 1.0,
    l1: NonNegative = 100.0,
    steps: Whole = 2000,
    batch_size: Count = 1,
    learning_rate: Positive = 2e-4,
    decay_steps: Whole | None = None,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    void: Late[Whole | None] = None,
    noise: Late[bool] = True,
    statistics: Late[Literal["own", "running"]] = "own",
) -> jaxgen.Experiment:
    """pix2pix on photos with a class for each pixel.

    Args:
      dataset: a TFDS name, or in Python sources of arrays (`data.Given`). Its examples have an `image` and a `segmentation`
        `[H, W, 1]` of class numbers; a `label_rgb` `[H, W, 3]` shows the classes in colours, by default VOC's.
      direction: the images that are translated, and those that they become.
      jitter: pixels by which training images are enlarged before they are cut to their size again, at the same place for both.
      flip: whether to mirror training pairs in half of the cases.
      downs: halvings of the side in the U-Net; by default as many as there are, eight at most.
      width: the channels of the first maps of both networks.
      dropout: the share that the noise takes out of the three innermost decoder layers.
      layers: the discriminator's convolutions of stride two: with 1, 2, 3 it judges patches of 16, 34 and 70 pixels, with 0
        single ones.
      loss: the adversarial losses of the two players; in Python also a pair of `losses.adversarial`.
      gan: the weight of the generator's adversarial loss; with 0 there is no discriminator.
      l1: the weight of the mean absolute difference of the pixels, which are in [-1, 1].
      decay_steps: steps at the end over which the learning rate falls to zero along a line; by default half of them.
      void: the class number of pixels that are not scored, since their class is not known; by default that of camvid64 alone.
      noise: whether there is dropout outside of training too.
      statistics: the statistics that normalise an image outside of training: its own mean and variance, as those of a batch of
        one in training, or the running averages, which go with larger batches.
    """
    if not (gan or l1):
        raise jaxgen.UserError("With --gan 0 and --l1 0 nothing is trained; give one of them a weight.")
    mapped: dict[str, Any] = {"example_map": data.coloured(), "example_map_name": "with colours of classes"}
    train, test = (data.load(dataset, split, **mapped) for split in ("train", "test"))
    source, target = ("image", "label_rgb") if direction == "photo_to_labels" else ("label_rgb", "image")
    shapes = {feature: data.common_shape(feature, train, test) for feature in (source, target)}
    height, across, channels = shapes[source]

    scale = data.chain(data.scale(-1, 1), data.scale(-1, 1, feature="label_rgb"))
    enlarged = (height + jitter, across + jitter)
    larger = data.chain(data.resample(enlarged), data.resample(enlarged, method="nearest", feature="label_rgb"))
    cut = data.chain(data.crop((height, across)), data.flip() if flip else data.identity)
    augmented = data.chain(scale, larger if jitter else data.identity, data.jointly((source, target), cut))

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    most = min((math.gcd(height, across) & -math.gcd(height, across)).bit_length() - 1, 8)
    generator = UNetTranslator(downs or max(most, 1), width, shapes[target][2], dropout, dtype)
    discriminator = PatchDiscriminator(layers, width, dtype)
    own = statistics == "own"
    d_loss, g_loss = objectives.conditional_translation(
        generator,
        discriminator,
        value_of(LOSSES, loss),
        l1=l1,
        gan=gan,
        features=(source, target),
        noise=noise,
        own_statistics=own,
    )
    falls = steps // 2 if decay_steps is None else decay_steps
    rate = optimizers.constant_then_linear(learning_rate, steps=steps, falls=falls)
    tx = optax.adam(rate, b1=0.5)
    players = {"discriminator": jaxgen.Player(d_loss, tx), "generator": jaxgen.Player(g_loss, tx)}
    networks = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, height, across, channels + shapes[target][2]))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, height, across, channels))),
    }
    trained = ("discriminator", "generator") if gan else ("generator",)

    @jax.jit
    def translate(state: jaxgen.TrainState, key: Key, images: Array, index: Array) -> Array:
        """The translations of images, in [0, 1]; the noise of each is drawn by its number."""
        x = data.scale(-1, 1)({"image": images}, key)["image"]
        drawn = keys.by_example(key, {"image": x, "slot": index})["key"] if noise else None
        return (objectives.translate(generator, state.params, state.vars, x, drawn, own_statistics=own) + 1) / 2

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return translate(state, key, given["image"], given["index"])

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        _, of_generator = g_loss(state.params, state, batch, key, train=False)
        if not gan:
            return of_generator.metrics
        values, of_discriminator = d_loss(state.params, state, batch, key, train=False)
        return {**of_generator.metrics, "discriminator_loss": values, **of_discriminator.metrics}

    over_test = jaxgen.mean_over(test, losses, batch_size=CHUNK, transform=scale)
    known = dataset.split(":")[0] if isinstance(dataset, str) else ""
    unknown = VOID.get(known) if void is None else void

    @functools.cache
    def palette() -> data.Palette:
        classes, colours = data.palette_of(train, test)
        return data.Palette(classes[classes != unknown], colours[classes != unknown])

    def segmented(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        classes, colours = palette()
        number = np.full(256, -1)
        number[classes] = np.arange(len(classes))
        found = []
        batches = data.in_order(test, CHUNK)
        for batch in track(data.prefetch(lambda batch: batch, batches), description="segmenting", total=len(batches)):
            made = 255 * np.asarray(translate(state, key, batch[source], batch["index"]))
            right = number[batch["segmentation"][..., 0]]
            counts = segmentation.confusions(right, segmentation.nearest_colour(made, colours), classes=len(classes), void=-1)
            found.append(counts[batch["mask"] > 0])
        counts = np.concatenate(found)
        values, errors = segmentation.scores(counts.sum(0)), segmentation.standard_errors(counts)
        pairs = zip(values._fields, map(float, values), map(float, errors), strict=True)
        return named({name: (value, error) for name, value, error in pairs})

    def evaluate(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        measured = dict(over_test(state, key, track))
        return {**measured, **segmented(state, key, track)} if direction == "photo_to_labels" else measured

    examples = data.in_order(test, min(24, test.length))[0]

    def translations(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        images = [
            np.asarray(three)
            for three in (
                examples[source] / 255,
                translate(state, key, examples[source], examples["index"]),
                examples[target] / 255,
            )
        ]
        wide = [np.broadcast_to(three, (*three.shape[:3], 3)) for three in images]
        columns = 3 * min(4, len(wide[0]))
        blank = np.ones((-len(wide[0]) % 4 if columns == 12 else 0, 3, *wide[0].shape[1:]))
        rows = np.concatenate([np.stack(wide, axis=1), blank]).reshape(-1, *wide[0].shape[1:])
        return jaxgen.Picture(
            rows, columns, f"Test images: what is translated, what it became, what it is; step {int(state.step):,}"
        )

    late: tuple[str, ...] = ("direction", "noise", "statistics")
    figures = {"l1": late}
    if direction == "photo_to_labels":
        figures |= dict.fromkeys(segmentation.Scores._fields, (*late, "void"))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augmented),
        players={name: players[name] for name in trained},
        steps=steps,
        networks={name: networks[name] for name in trained},
        splits={name: data.showing(split, target) for name, split in (("train", train), ("test", test))},
        evaluators={"test": evaluate},
        pictures={"translations": translations},
        sample=sample,
        given=jaxgen.Conditions(data.showing(test, source), features=("image",)),
        sampling=("noise", "statistics"),
        ema=ema,
        # The L1 difference alone would choose, and it prefers blur to what the game is played for.
        best=None,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol=figures,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
