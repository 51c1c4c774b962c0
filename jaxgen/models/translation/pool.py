"""A pool of translated images, so that a discriminator sees old ones too and not the last ones alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.types import Key


def empty_pool(shape: Sequence[int], size: int = 50) -> dict[str, Array]:
    """A pool without images, as a state's variable.

    Args:
      shape: the shape of an image, `[H, W, C]`.
      size: the number of images that the pool holds; 0 is no pool.

    Returns:
      The pool: `images` `[size, H, W, C]` and their number, `count`.
    """
    return {"images": jnp.zeros((size, *shape), jnp.float32), "count": jnp.zeros((), jnp.int32)}


def exchange(
    pool: Mapping[str, Any], images: Float[Array, "b *shape"], key: Key, *, train: bool, mask: Array | None = None
) -> tuple[Float[Array, "b *shape"], dict[str, Any]]:
    """Puts new images into a pool, and gives those that a discriminator is shown.

    The images come one after another. As long as the pool is not full, each is put into it and shown. Later each is shown with
    probability 1/2; else an image of the pool is drawn and shown, and the new one takes its place.

    There is one pool of the global batch: the replicas of `pmap` gather their images and draw alike, since the draws belong to
    the examples. Its rule is `jaxgen.game.merging.whole`. No gradient goes through the pool.

    Args:
      pool: the pool, as `empty_pool` or this function made it.
      images: the new images, in the order of the batch.
      key: the keys of the examples, `[B]`, such as `keys.per_example` gives; fold a number in if other draws have them too.
      train: whether this is training; in an evaluation the new images are shown, and the pool stays as it is.
      mask: a mask `[B]`, 0 for padding, which is neither put into the pool nor exchanged.

    Returns:
      The images to show, and the pool after them.

    Source: Zhu et al. 2017, section 4; Shrivastava et al. 2017, section 2.3. The rule of one image at a time is that of the
    authors' code (`ImagePool`).

    >>> of = jnp.arange(3.0).reshape(3, 1, 1, 1)
    >>> shown, pool = exchange(empty_pool((1, 1, 1), size=2), of, jax.random.split(jax.random.key(0), 3), train=True)
    >>> shown[:2].ravel().tolist(), pool["count"].item()
    ([0.0, 1.0], 2)
    """
    size, images = len(pool["images"]), lax.stop_gradient(images)
    if not train or size == 0:
        return images, dict(pool)
    swap = keys.draw(jax.random.uniform, keys.fold_in(key, 0), images.shape[:1]) < 0.5
    slot = keys.draw(lambda k, shape: jax.random.randint(k, shape, 0, size), keys.fold_in(key, 1), images.shape[:1])
    real = jnp.ones(images.shape[:1], bool) if mask is None else mask.astype(bool)
    everyone = tuple(collectives.gather(x) for x in (images, swap, slot, real))

    def one(pool: dict[str, Array], new: tuple[Array, ...]) -> tuple[dict[str, Array], Array]:
        image, swap, slot, real = new
        full = pool["count"] == size
        put, swapped = real & ~full, real & full & swap
        at = jnp.where(full, slot, pool["count"])
        old = pool["images"][at]
        kept = pool["images"].at[at].set(jnp.where(put | swapped, image, old))
        return {"images": kept, "count": pool["count"] + put.astype(jnp.int32)}, jnp.where(swapped, old, image)

    after, shown = lax.scan(one, dict(pool), everyone)
    return lax.dynamic_slice_in_dim(shown, collectives.offset(images), len(images)), after
