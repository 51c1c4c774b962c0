"""Two translators between two domains as a value: what they make of images, samples and a picture of the way there and back."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import data, objectives
from jaxgen.analysis.confusion import LOOKED_AT, SHOWN
from jaxgen.data import Source
from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.network import FrozenNetwork
from jaxgen.objectives.cycle import DOMAINS, TRANSLATORS
from jaxgen.objectives.supervised import Shown
from jaxgen.pictures import Picture
from jaxgen.samples.conditions import Conditions
from jaxgen.types import Array, Batch, Key

EXAMPLES = 24
"""Test images of each domain in a picture, at most."""


PAIRS = 6
"""Images of a class beside their translations, at most."""


class TranslationModel(NamedTuple):
    """The functions of a state that translators there and back have, for an `Experiment`; `translation_model` makes them.

    Fields:
      translated: the translation, `(state, images [n, H, W, C], way)` of bytes into numbers in [0, 1], compiled; `way` is one
        of `TRANSLATORS`.
      test: the test images of each domain.
    """

    translated: Callable[[TrainState, Any, str], Array]
    test: Mapping[str, Source]

    def by(self, way: str) -> Callable[[TrainState, Any], Array]:
        """The translation of one way, of a state and bytes."""
        return lambda state, images: self.translated(state, images, way)

    def conditions(self, way: str) -> Conditions:
        """The images that samples are made of by default: the test images of the domain that the way begins in."""
        return Conditions(self.test[DOMAINS[TRANSLATORS.index(way)]], features=("image",))

    def sample(self, way: str) -> Callable[[TrainState, Key, Batch], Array]:
        """The sampler of one way, for `Experiment.sample`."""

        def sample(state: TrainState, key: Key, given: Batch) -> Array:
            return self.translated(state, given["image"], way)

        return sample

    def pictures(self) -> dict[str, Callable[[TrainState, Key], Picture]]:
        """The picture `translations`: test images, what they became, and what that became again, for `Experiment.pictures`."""
        examples = {d: data.in_order(source, min(EXAMPLES, source.length))[0]["image"] for d, source in self.test.items()}

        def translations(state: TrainState, key: Key) -> Picture:
            rows = []
            for domain, (there, back) in zip(DOMAINS, (TRANSLATORS, TRANSLATORS[::-1]), strict=True):
                x = examples[domain]
                made = np.asarray(self.translated(state, x, there))
                again = np.asarray(self.translated(state, np.round(255 * made), back))
                blank = np.ones((-len(x) % 4, 3, *x.shape[1:]))
                rows.append(np.concatenate([np.stack([x / 255, made, again], axis=1), blank]).reshape(-1, *x.shape[1:]))
            caption = "Test images, what they became, and what that became again: of domain a, and below of domain b; step"
            return Picture(np.concatenate(rows), 12, f"{caption} {int(state.step):,}")

        return {"translations": translations}


def translation_model(translators: tuple[nn.Module, nn.Module], test: Mapping[str, Source]) -> TranslationModel:
    """The translation model of two trained translators.

    Args:
      translators: the modules of the ways `TRANSLATORS`, of pixels in [-1, 1].
      test: the test images of each domain.

    Returns:
      The translation model.
    """

    def translate(state: TrainState, images: Array, way: str) -> Array:
        module = translators[TRANSLATORS.index(way)]
        x = 2 * (images.astype(jnp.float32) / 255) - 1
        return (objectives.apply(module, state.params, state.vars, x, name=way)[0] + 1) / 2

    return TranslationModel(jax.jit(translate, static_argnums=2), test)


def shown_translated(part: FrozenNetwork, image: tuple[int, ...], *, name: str = "translator") -> Shown:
    """The function that shows a network the translations of images by a frozen translator, and not the images.

    Args:
      part: the translator of another run, as `jaxgen.frozen(RUN, "a_to_b")` gives it.
      image: the shape (H, W, C) of the images that are to be translated.
      name: the name that the experiment freezes it under.

    Returns:
      A function of a state and images in [0, 1].

    Raises:
      UserError: if it translates images of another shape.
    """
    wanted = part.inputs[0].shape[1:]
    if wanted != image:
        theirs, ours = ("x".join(map(str, shape)) for shape in (wanted, image))
        raise UserError(
            f"--translator {part.given} translates images of {theirs}, and those of --dataset are {ours} here; give the sets "
            "that it was trained on, at its side."
        )

    def shown(state: TrainState, x: Array) -> Array:
        made, _ = objectives.apply(part.module, state.params, state.vars, 2 * x - 1, name=name)
        return jax.lax.stop_gradient((made + 1) / 2)

    return shown


def translations_by_class(
    test: Source, translate: Callable[[TrainState, Array], Array], *, classes: int
) -> Callable[[TrainState, Key], Picture]:
    """The picture of images of each class next to their translations, for `Experiment.pictures`.

    Args:
      test: images with their classes.
      translate: the translation, `translate(state, images [n, H, W, C])` of pixels in [0, 1].
      classes: the number of classes, of which `SHOWN` are shown at most.

    Returns:
      A function of a state and a key.
    """
    label = test.gather(np.arange(min(test.length, LOOKED_AT)))["label"]
    rows = [np.flatnonzero(label == k)[:PAIRS] for k in range(min(classes, SHOWN))]
    found = [test.gather(own)["image"] / np.float32(255) for own in rows if len(own)]
    translated = jax.jit(translate)

    def picture(state: TrainState, key: Key) -> Picture:
        made = np.asarray(translated(state, jnp.concatenate(found)))
        cells = np.ones((len(rows), PAIRS, 2, *made.shape[1:]), np.float32)
        parts = iter(zip(found, np.split(made, np.cumsum([len(x) for x in found])[:-1]), strict=True))
        for row, own in zip(cells, rows, strict=True):
            if len(own):
                x, y = next(parts)
                row[: len(own)] = np.stack([x, y], axis=1)
        caption = f"Test images, each next to its translation. Row: the class, from the first on; step {int(state.step):,}"
        return Picture(cells.reshape(-1, *made.shape[1:]), 2 * PAIRS, caption)

    return picture
