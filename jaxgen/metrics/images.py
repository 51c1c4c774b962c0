"""Sets of images to compare, as sources of bytes: of a model's samples, a file, or a folder."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen import data
from jaxgen.data import files
from jaxgen.data.pixels import to_bytes
from jaxgen.errors import UserError
from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.types import Array, Key, PyTree

CHUNK = 250
"""Samples that are drawn at once. Part of every protocol: the i-th chunk is drawn with the i-th key."""


@contextmanager
def drawn(
    sample: Callable[[Any, Key, int], Array],
    state: PyTree,
    key: Key,
    n: int,
    *,
    name: str,
    classes: int | None = None,
    names: tuple[str, ...] = (),
    track: Track = show,
) -> Iterator[data.Source]:
    """A model's samples, chunk by chunk into a file; each device of this host draws chunks of its own.

    Args:
      sample: `(state, key, n) -> images [n, H, W, C]` in [0, 1]; traced where there are several devices.
      state: of the model.
      key: of the draw; the i-th chunk's is folded from it.
      n: how many.
      name: of the set.
      classes: if the i-th image of a draw is of class i modulo this, the set has labels.
      names: of these classes, where they have any.
      track: shows the progress.

    Yields:
      A source of bytes, in a file that ends with the context.

    Raises:
      UserError: if the samples are no images, or not finite.
    """
    # Several hosts have the state in common, and draw alike.
    devices = jax.local_devices()[: -(-n // CHUNK) if jax.process_count() == 1 else 1]
    draw, size = _on_each(devices, sample, state), len(devices) * CHUNK
    with tempfile.TemporaryDirectory() as folder:
        images: np.ndarray | None = None
        for start in track(range(0, n, size), description=f"samples of {name}", total=-(-n // size)):
            own, numbers = min(size, n - start), jnp.arange(len(devices)) + start // CHUNK
            # Whole chunks, of which the last may be used in part or not at all: what is drawn does not depend on n.
            chunk = np.asarray(draw(jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)))[:own]
            if chunk.ndim != 4:
                raise UserError(f"The samples of {name} are points, {list(chunk.shape[1:])}, and these metrics are of images.")
            if not np.isfinite(chunk).all():
                raise UserError(
                    f"The samples of {name} are not finite; train it again, or take an earlier checkpoint (--step)."
                )
            if images is None:
                images = np.memmap(Path(folder) / "images", np.uint8, "w+", shape=(n, *chunk.shape[1:]))
            images[start : start + own] = to_bytes(chunk)
        assert images is not None, "n is 1 or more"
        arrays = {"image": images}
        if classes is not None:
            arrays["label"] = np.arange(n) % CHUNK % classes
        yield data.from_arrays(arrays, name=name, classes={"label": names} if classes is not None and names else {})


def _on_each(devices: Sequence[jax.Device], sample: Callable[[Any, Key, int], Array], state: PyTree) -> Callable[[Key], Array]:
    """A chunk for each of as many keys as there are devices, each drawn on one of them as if there were no other."""

    def one(state: PyTree, keys: Key) -> Array:
        return sample(state, keys[0], CHUNK)

    if len(devices) == 1:
        return partial(one, state)
    mesh = Mesh(np.array(devices), ("chunks",))
    # The check forbids loops that begin with zeros, the same on all devices, and go on with what is not.
    several = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(P(), P("chunks")), out_specs=P("chunks"), check_vma=False))
    return partial(several, jax.device_put(state, NamedSharding(mesh, P())))


def read(path: Path) -> data.Source:
    """The set that a user names: a folder of images, or an array in a file.

    Args:
      path: a folder (its subfolders, if any, are the classes); `.npy` with images `[n, H, W, C]` or `[n, H, W]`; or `.npz` with
        these as `image` and, if there are any, their classes as `label` and the names of these as `classes`. Bytes, or
        floats in [0, 1].

    Returns:
      A source of bytes.

    Raises:
      UserError: if there are no images.
    """
    if path.is_dir():
        return data.from_folder(path)
    if path.suffix.lower() not in files.SUFFIXES or not path.is_file():
        raise UserError(f"{path} is no set of images; give a folder, an .npy file, or an .npz file with `image` and `label`.")
    return data.in_bytes(files.from_file(path))


def of_arrays(image: np.ndarray, label: np.ndarray | None = None, *, name: str = "images") -> data.Source:
    """The set of an array.

    Args:
      image: `[n, H, W, C]` or `[n, H, W]`, bytes or floats in [0, 1].
      label: its classes `[n]`: numbers, names, or one-hot rows.
      name: for the protocol and for messages.

    Returns:
      A source of bytes.

    Raises:
      UserError: if they are no images, or no classes.
    """
    return data.in_bytes(files.of_arrays(image, label, name=name))
