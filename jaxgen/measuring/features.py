"""Feature extractors: networks whose features two sets of images are compared in, and the features of a set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgen import disk
from jaxgen.data import Source, in_bytes, in_order, prefetch
from jaxgen.devices.waiting import wait
from jaxgen.errors import InputError
from jaxgen.metrics import blocks
from jaxgen.metrics.inputs import first_not_finite
from jaxgen.progress import Track
from jaxgen.progress import track as show


class Outputs(NamedTuple):
    """The features and the logits of a batch of images.

    Fields:
      features: the features, `[n, d]`.
      logits: the logits of its classes, `[n, k]`.
    """

    features: Float[Array, "n d"]
    logits: Float[Array, "n k"]


class Extractor(NamedTuple):
    """A network with its weights, and the facts about it that belong to a number.

    Fields:
      name: the name that metrics in its features end in: `frechet_lenet`.
      version: the version of its code and weights: two extractors with one version see the same.
      resizer: the way in which images come to the network's size.
      apply: a pure function, which `extract` compiles: `[n, H, W, C]` bytes, H and W as they come -> `Outputs`.
      unit: the number that every feature is a multiple of, if there is one, such as the 1/255 of pixels: distances of bytes are
        then compared as the whole numbers that they are.
    """

    name: str
    version: str
    resizer: str
    apply: Callable[[UInt8[Array, "n h w c"]], Outputs]
    unit: float | None = None


def pixels() -> Extractor:
    """The extractor that looks at nothing but the pixels, as one vector in [0, 1]."""

    def apply(images: UInt8[Array, "n h w c"]) -> Outputs:
        return Outputs(images.reshape(len(images), -1).astype(jnp.float32) / 255, jnp.zeros((len(images), 0)))

    return Extractor("pixels", "1", "none", apply, unit=1 / 255)


class Features(NamedTuple):
    """All that an extractor says of a set, in files: memory holds what is looked at.

    Fields:
      features: the features, `[n, d]`, float32.
      logits: the logits, `[n, k]`, float32.
    """

    features: np.ndarray
    logits: np.ndarray


@contextmanager
def extract(
    source: Source, extractor: Extractor, *, batch_size: int = 256, role: str = "", track: Track = show
) -> Iterator[Features]:
    """The features of a set of images, batch by batch, each batch cut over all devices of the host.

    Args:
      source: the set.
      extractor: the network.
      batch_size: images at once, over all devices; the features do not depend on it.
      role: the role of the set in messages, in addition to its name: "the real images".
      track: a function that shows the progress.

    Yields:
      The features, in files of a temporary folder that ends with the context.

    Raises:
      InputError: if a feature or a logit is not finite, naming the set and the first example.
    """
    source = in_bytes(source)
    devices = len(jax.local_devices())
    size = -(-batch_size // devices) * devices
    apply = jax.jit(extractor.apply)
    with disk.scratch(f"the features of {source.name}") as folder:
        files: Features | None = None
        # Short batches come filled up: one shape, one program.
        reader = prefetch(lambda batch: batch, in_order(source, size))
        for batch in track(reader, description=f"{extractor.name} of {source.name}", total=-(-source.length // size)):
            index = batch["index"][batch["mask"] > 0]
            outputs = jax.device_get(wait(apply(blocks.cut(batch["image"]))))
            if files is None:
                named = outputs._asdict().items()
                with disk.explained(f"Writing the features of {source.name} in {folder}", disk.MAKE_ROOM):
                    files = Features(*(_file(folder / name, source.length, x) for name, x in named))
            for file, x, name in zip(files, outputs, Outputs._fields, strict=True):
                row = first_not_finite(x[: len(index)])
                if row is not None:
                    whose = f"{role}, {source.name}," if role else source.name
                    raise InputError(
                        f"Example {index[row]} of {whose} has {name} ({extractor.name}) that are not finite; "
                        "leave it out, or mend the extractor."
                    )
                file[index] = x[: len(index)]
        assert files is not None, "a source has one example or more"
        yield files


def _file(path: Path, n: int, batch: np.ndarray) -> np.ndarray:
    width = batch.shape[1]
    return disk.mapped(path, np.float32, (n, width)) if width else np.zeros((n, 0), np.float32)
