"""A network that was trained on real images and their segmentations, by which made images are segmented."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from jaxgen import data
from jaxgen.data import Source
from jaxgen.errors import UserError
from jaxgen.game import Aux, TrainState
from jaxgen.losses.classification import cross_entropy
from jaxgen.metrics.fitting import fitted
from jaxgen.models.cnn import SegmentationUNet
from jaxgen.progress import Track
from jaxgen.progress import track as show
from jaxgen.types import Array, Batch, Key, Params

BATCH = 50
"""Images that are segmented at a time; no value depends on it."""


class SegmenterRecipe(NamedTuple):
    """The settings by which the segmenter is made and trained; all of them belong to the protocol.

    Fields:
      width: the channels of the `SegmentationUNet` at the full side.
      halvings: the number of times that it halves the side.
      steps: training steps.
      batch_size: images in a step.
      learning_rate: Adam's learning rate at the start; it falls to zero along a cosine.
      seed: the seed of its initial parameters and of the order of the images.
    """

    width: int = 8
    halvings: int = 2
    steps: int = 400
    batch_size: int = 16
    learning_rate: float = 3e-3
    seed: int = 0


def segmenter(
    train: Source,
    *,
    classes: int,
    void: int | None = None,
    recipe: SegmenterRecipe = SegmenterRecipe(),  # noqa: B008
    feature: str = "segmentation",
    track: Track = show,
) -> Callable[[UInt8[np.ndarray, "n h w c"]], Int[np.ndarray, "n h w"]]:
    """Trains a small U-Net to give the class of every pixel.

    Made images are good where it finds the classes in them that they were made of. It is small, so that this is within reach of
    a laptop: its scores are not comparable with those of a paper's network, but with its own on real images.

    Args:
      train: real images as bytes with their classes, `image` `[H, W, C]` and the segmentation `[H, W, 1]`.
      classes: the number of classes, from 0 on.
      void: the number of pixels whose class is not known; nothing is learned of them.
      recipe: the recipe of the network.
      feature: the feature that has the classes.
      track: a function that shows the progress.

    Returns:
      A function of images, which gives the most probable class of each pixel.

    Raises:
      UserError: if the set has no segmentation.

    Source: Isola et al. 2017, section 4.1 ("FCN score"), with a network of our own.
    """
    train = data.in_bytes(train)
    if feature not in train.gather(np.zeros(1, np.int64)):
        raise UserError(f"{train.name} has no {feature}, of which a segmenter is made; give pairs of images and classes.")
    model = SegmentationUNet(classes, recipe.width, recipe.halvings)

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        logits: Any = model.apply({"params": params["model"]}, _scaled(batch["image"]))
        label = batch[feature][..., 0].astype(jnp.int32)
        known = jnp.ones(label.shape, bool) if void is None else label != void
        of_pixels = cross_entropy(logits.reshape(-1, classes), jnp.where(known, label, 0).reshape(-1)).reshape(label.shape)
        return jnp.where(known, of_pixels, 0.0).sum((1, 2)) / jnp.maximum(known.sum((1, 2)), 1), Aux()

    params = fitted(
        model,
        loss,
        train,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        read=lambda batches: {name: batches[name] for name in ("image", feature)},
        description=f"a segmenter of {train.name}",
        track=track,
    )

    @jax.jit
    def of_batch(params: Params, images: Array) -> Array:
        logits: Any = model.apply({"params": params}, _scaled(images))
        return logits.argmax(-1)

    def segment(images: UInt8[np.ndarray, "n h w c"]) -> Int[np.ndarray, "n h w"]:
        found = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), part.dtype)])
            found.append(np.asarray(of_batch(params, padded))[: len(part)])
        return np.concatenate(found)

    return segment


def _scaled(images: Array) -> Array:
    return 2 * (images.astype(jnp.float32) / 255) - 1
