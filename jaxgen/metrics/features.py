"""Feature extractors: the network in whose eyes two sets of images are compared, and all it sees of a set."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.metrics.images import Images


class Outputs(NamedTuple):
    """What a network says of images.

    Fields:
      features: `[n, d]`.
      logits: of its classes, `[n, k]`.
    """

    features: Float[Array, "n d"]
    logits: Float[Array, "n k"]


class Extractor(NamedTuple):
    """A network with its weights, and what has to be said of it beside a number.

    Fields:
      name: what metrics in its features are called after: `frechet_lenet`.
      version: of its code and weights: two extractors with one version see the same.
      resizer: how images come to the network's size.
      apply: pure, and compiled by `extract`: `[n, H, W, C]` bytes, H and W as they come -> `Outputs`.
    """

    name: str
    version: str
    resizer: str
    apply: Callable[[UInt8[Array, "n h w c"]], Outputs]


class Features(NamedTuple):
    """All that an extractor says of a set, in files: memory holds what is looked at.

    Fields:
      features: `[n, d]`, float32.
      logits: `[n, k]`, float32.
    """

    features: np.ndarray
    logits: np.ndarray


@contextmanager
def extract(images: Images, extractor: Extractor, *, batch_size: int = 256, track: Track = show) -> Iterator[Features]:
    """The features of a set, batch by batch, each batch cut over all devices of the host.

    Args:
      images: the set.
      extractor: the network.
      batch_size: images at once, over all devices; the features do not depend on it.
      track: shows the progress.

    Yields:
      The features, in files of a temporary folder that ends with the context.
    """
    devices = jax.local_devices()
    size = -(-batch_size // len(devices)) * len(devices)
    placement = jax.sharding.NamedSharding(jax.make_mesh((len(devices),), ("data",), devices=devices), jax.P("data"))
    apply = jax.jit(extractor.apply)
    with tempfile.TemporaryDirectory() as folder:
        files: Features | None = None
        for start in track(
            range(0, images.n, size), description=f"{extractor.name} of {images.name}", total=-(-images.n // size)
        ):
            batch = images.read(start, min(start + size, images.n))
            own = len(batch)
            # One shape, one program: the last batch is filled up.
            padded = np.concatenate([batch, np.repeat(batch[-1:], size - own, axis=0)])
            outputs = jax.device_get(apply(jax.device_put(padded, placement)))
            if files is None:
                files = Features(*(_file(Path(folder) / name, images.n, x) for name, x in outputs._asdict().items()))
            for file, x in zip(files, outputs, strict=True):
                file[start : start + own] = x[:own]
        assert files is not None, "a set has one image or more"
        yield files


def _file(path: Path, n: int, batch: np.ndarray) -> np.ndarray:
    return np.memmap(path, np.float32, "w+", shape=(n, batch.shape[1]))
