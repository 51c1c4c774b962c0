"""Translations of images that keep their content and take a style: how varied they are, and pictures of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgen import data, keys
from jaxgen.analysis import hues
from jaxgen.data import Source
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.progress import Track
from jaxgen.types import Array, Key
from jaxgen.uncertainty import named

INPUTS = 100
"""Images of which the variety of their translations is measured, as many as Huang et al. 2018 take."""

CHUNK = 320
"""Translations at a time; no value depends on it."""


class Way(NamedTuple):
    """The translation of the images of one domain into another.

    Fields:
      translate: the translation of images, bytes `[n, H, W, C]`, in styles `[n, L]`, to images in [0, 1].
      reconstruct: the images, bytes, as they are put together again within their own domain, in [0, 1].
      style_of: the styles `[n, L]` of images of the other domain, bytes.
      latents: the dimension L of a style; N(0, I) is their law.
      own: the test images of the domain.
      target: the test images of the other.
    """

    translate: Callable[[TrainState, Any, Any], Array]
    reconstruct: Callable[[TrainState, Any], Array]
    style_of: Callable[[TrainState, Any], Array]
    latents: int
    own: Source
    target: Source


def random_styles(way: Way, key: Key, index: Any, number: int) -> Float[Array, "n number l"]:
    """Styles that are drawn for images by the images' own numbers.

    Args:
      way: the way of the translation.
      key: the key of the draw.
      index: the numbers of the images, `[n]`.
      number: the number of styles of each image.

    Returns:
      The styles.
    """
    own = keys.by_example(key, {"image": index, "slot": index})["key"]
    return keys.draw(jax.random.normal, own, (len(index), number, way.latents))


def translations(
    way: Way, state: TrainState, key: Key, track: Track, *, number: int, inputs: int | None = None
) -> Float[np.ndarray, "n number h w c"]:
    """The first test images of a domain, each in several styles of its own that are drawn.

    Args:
      way: the way of the translation.
      state: the state.
      key: the key of the styles.
      track: a function that shows the progress.
      number: the number of styles of each image.
      inputs: the number of images; None takes all.

    Returns:
      The translations, in [0, 1].
    """
    images = way.own if inputs is None else data.take(way.own, np.arange(min(inputs, way.own.length)))
    batches = data.in_order(images, max(1, min(CHUNK // number, images.length)))
    found = []
    for batch in track(data.prefetch(lambda batch: batch, batches), description="translating", total=len(batches)):
        x, there = batch["image"], np.asarray(batch["mask"]) > 0
        styles = random_styles(way, key, batch["index"], number).reshape(-1, way.latents)
        made = np.asarray(way.translate(state, np.repeat(x, number, axis=0), styles))
        found.append(made.reshape(len(x), number, *made.shape[1:])[there])
    return np.concatenate(found)


def variety(way: Way, state: TrainState, key: Key, track: Track, *, number: int) -> dict[str, float]:
    """The variety of the translations of one image that comes of their styles, in a mean over the first images.

    Args:
      way: the way of the translation.
      state: the state.
      key: the key of the styles.
      track: a function that shows the progress.
      number: the number of styles of each image.

    Returns:
      With standard errors, `distance_of_styles`: the mean absolute difference of the pixels, in [0, 1], of two translations of
      the same image. And of images in colour `hue_entropy`: the entropy, in bits, of the hues of these translations
      (`jaxgen.analysis.hues`), with `hue_entropy_of_target` of as many test images of the other domain, if there are as many.
    """
    made = translations(way, state, key, track, number=number, inputs=INPUTS)
    pairs = number * (number - 1)
    apart = [np.abs(one[:, None] - one[None]).mean((2, 3, 4)).sum() / pairs for one in made]
    found = {"distance_of_styles": np.array(apart)}
    if made.shape[-1] == 3:
        found["hue_entropy"] = hues.entropy(hues.of_images(made))
        groups = way.target.length // number
        if groups:
            images = way.target.gather(np.arange(groups * number))["image"] / 255
            parts = hues.of_images(images).reshape(groups, number)
            found["hue_entropy_of_target"] = hues.entropy(parts)
    return named({name: (float(v.mean()), _error(v)) for name, v in found.items()})


def many_styles(ways: Mapping[str, Way], state: TrainState, key: Key, *, rows: int = 6, number: int = 8) -> Picture:
    """A picture of test images of each domain, what they are put together to again, and their translations in many styles.

    Args:
      ways: the ways by name, such as "a to b".
      state: the state.
      key: the key of the styles.
      rows: the images of each domain.
      number: the styles of each.

    Returns:
      The picture.
    """
    blocks = []
    for way in ways.values():
        batch = data.in_order(way.own, min(rows, way.own.length))[0]
        x = batch["image"]
        styles = random_styles(way, key, batch["index"], number).reshape(-1, way.latents)
        made = np.asarray(way.translate(state, np.repeat(x, number, axis=0), styles)).reshape(len(x), number, *x.shape[1:])
        first = np.stack([x / 255, np.asarray(way.reconstruct(state, x))], axis=1)
        blocks.append(np.concatenate([first, made], axis=1).reshape(-1, *x.shape[1:]))
    caption = f"Test images, their reconstructions, and translations in styles that are drawn: {', then '.join(ways)}"
    return Picture(np.concatenate(blocks), number + 2, f"{caption}; step {int(state.step):,}")


def guided(way: Way, state: TrainState, key: Key, *, rows: int = 6, examples: int = 8) -> Picture:
    """A picture of test images in the styles of others: contents on the left, the examples of the styles above.

    Args:
      way: the way of the translation.
      state: the state.
      key: the key of the picture, which draws nothing.
      rows: the number of contents.
      examples: the number of examples.

    Returns:
      The picture.
    """
    x = data.in_order(way.own, min(rows, way.own.length))[0]["image"]
    shown = data.in_order(way.target, min(examples, way.target.length))[0]["image"]
    number, shape = len(shown), x.shape[1:]
    styles = np.tile(np.asarray(way.style_of(state, shown)), (len(x), 1))
    made = np.asarray(way.translate(state, np.repeat(x, number, axis=0), styles)).reshape(len(x), number, *shape)
    top = np.concatenate([np.ones((1, *shape)), shown / 255])
    below = np.concatenate([x[:, None] / 255, made], axis=1).reshape(-1, *shape)
    caption = f"Contents on the left, in the styles of the images above; step {int(state.step):,}"
    return Picture(np.concatenate([top, below]), number + 1, caption)


def _error(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
