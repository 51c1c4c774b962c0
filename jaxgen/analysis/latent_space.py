"""Walks through a latent space: reconstructions, interpolations and traversals, as arrays of images.

A decoder here is a function `z [N, L] -> images [N, H, W, C]` in [0, 1].
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.analysis.bars import bars
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Key

Decode = Callable[[Array], Array]

ACTIVE = 0.01
"""A latent is active if its posterior mean has a larger variance than this over images (Burda et al. 2015, section 5.2)."""


def reconstructions(x: Float[Array, "n h w c"], *decoded: Float[Array, "n h w c"], columns: int) -> Float[Array, "n2 h w c"]:
    """Inputs and their reconstructions in alternate rows of a grid.

    Args:
      x: images.
      *decoded: the reconstructions of the images; of several kinds of them each has a row of its own.
      columns: the number of columns of the grid. A last row that is not full is filled up with white images.

    Returns:
      `[(1 + kinds) * rows * columns, H, W, C]`.
    """
    short = -len(x) % columns
    filled = (jnp.pad(a, ((0, short), *((0, 0),) * (a.ndim - 1)), constant_values=1.0) for a in (x, *decoded))
    rows = jnp.stack([a.reshape(-1, columns, *x.shape[1:]) for a in filled], axis=1)
    return rows.reshape(-1, *x.shape[1:])


def interpolations(decode: Decode, start: Float[Array, "n *l"], stop: Float[Array, "n *l"], *, steps: int) -> Array:
    r"""Straight lines in the latent space, $z_t = (1 - t) z_0 + t z_1$, a row each.

    Args:
      decode: the decoder.
      start: the latents at which the rows begin, vectors or maps.
      stop: the latents at which they end.
      steps: images in a row, ends included.

    Returns:
      `[n * steps, H, W, C]`.
    """
    t = jnp.linspace(0.0, 1.0, steps).reshape(1, -1, *(1,) * (start.ndim - 1))
    lines = (1 - t) * start[:, None] + t * stop[:, None]
    return decode(lines.reshape(-1, *start.shape[1:]))


def traversals(decode: Decode, z: Float[Array, " l"], dimensions: Sequence[int], *, steps: int, extent: float = 3.0) -> Array:
    """One latent moves through [-extent, extent] while the others stay, a row for each.

    Args:
      decode: the decoder.
      z: the code to start from.
      dimensions: the indices of the latents that move.
      steps: images in a row.
      extent: the largest distance from the mean, in standard deviations of the prior.

    Returns:
      `[len(dimensions) * steps, H, W, C]`.

    Source: Higgins et al. 2017, figure 1.
    """
    values = jnp.linspace(-extent, extent, steps)
    rows = [jnp.tile(z, (steps, 1)).at[:, d].set(values) for d in dimensions]
    return decode(jnp.concatenate(rows))


def arithmetic(decode: Decode, a: Float[Array, "n l"], b: Float[Array, "n l"], c: Float[Array, "n l"]) -> Array:
    """Arithmetic of codes, `a - b + c`: a row of the images of `a`, `b`, `c` and the result for each.

    Args:
      decode: the decoder.
      a: codes, or means of several codes of one kind, which is steadier.
      b: codes.
      c: codes.

    Returns:
      `[n * 4, H, W, C]`.

    Source: Radford et al. 2015, section 6.3.2.
    """
    rows = jnp.stack([a, b, c, a - b + c], axis=1)
    return decode(rows.reshape(-1, a.shape[-1]))


def by_label(decode: Callable[[Array, Array], Array], z: Float[Array, "n l"], labels: int) -> Float[Array, "n2 h w c"]:
    """Each label in a row, each code in a column: what a class-conditional model leaves to z.

    Args:
      decode: the decoder, `(z [N, L], label [N]) -> images [N, H, W, C]`.
      z: the columns' codes.
      labels: the number of labels.

    Returns:
      `[labels * n, H, W, C]`.

    Source: Mirza & Osindero 2014, figure 2 (one row per label).
    """
    return decode(jnp.tile(z, (labels, 1)), jnp.repeat(jnp.arange(labels), len(z)))


def album(
    encode: Callable[[TrainState, Array], Array],
    decode: Callable[[TrainState, Array], Array],
    x: Float[Array, "n h w c"],
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model with a latent space, for `Experiment.pictures`.

    Args:
      encode: the encoder, `(state, x [N, H, W, C]) -> z [N, L]`.
      decode: the decoder, `(state, z) -> images [N, H, W, C]` in [0, 1].
      x: test images, 32 or as many as there are.
      pixels: the values of black and white in x.

    Returns:
      `reconstructions`, `interpolations` and `traversals`. Traversals are of active latents alone, 12 at most, and the
      caption says how many are active: a variance of the code over the images above 0.01 (Burda et al. 2015, section 5.2).
      With none active, the one of the largest variance is shown, and the caption says so.
    """
    low, high = pixels

    def reconstruct(state: TrainState, key: Key) -> Picture:
        shown = x[:32]
        columns = min(16, len(shown))
        images = reconstructions((shown - low) / (high - low), decode(state, encode(state, shown)), columns=columns)
        return Picture(images, columns, f"Test images, each with its reconstruction below; step {int(state.step):,}")

    def interpolate(state: TrainState, key: Key) -> Picture:
        z = encode(state, x[:16])
        rows = -(-len(z) // 2)
        # Of an odd number the middle one begins the last row and ends the first; of one image the row goes to itself.
        images = interpolations(lambda z: decode(state, z), z[:rows], z[len(z) - rows :], steps=16)
        return Picture(images, 16, f"From one test image to another along a line in z; step {int(state.step):,}")

    def traverse(state: TrainState, key: Key) -> Picture:
        z = encode(state, x)
        variance = z.var(0)
        count, of = int((variance > ACTIVE).sum()), len(variance)
        # The latents that tell the images apart most; those that are not active change nothing that can be seen.
        moved = [int(d) for d in jnp.argsort(-variance)[: min(max(count, 1), 12)]]
        images = traversals(lambda z: decode(state, z), z[0], moved, steps=16)
        if count == 0:
            rows = f"None of the {of} latents is active; the first row is the least inactive one"
        else:
            rows = f"{count} of {of} latents {'is' if count == 1 else 'are'} active; the {len(moved)} most active, one a row"
        caption = f"{rows}, from -3 to 3, the others as a test image has them; step {int(state.step):,}"
        return Picture(images, 16, caption)

    return {"reconstructions": reconstruct, "interpolations": interpolate, "traversals": traverse}


def kls(groups: Sequence[Float[Array, " _"]], *, step: int, above: float = ACTIVE) -> Picture:
    """The KL of each latent from its prior as a bar, the largest of a group first: what collapsed has none.

    Args:
      groups: the KLs in nats, means over some images, for each group of latents.
      step: the step, for the caption.
      above: the KL from which a latent counts as active.

    Returns:
      The picture; its caption says how many latents of each group are active, and the sum of all KLs.

    Source: Sønderby et al. 2016, section 3.2 (units by their KL); Burda et al. 2015, section 5.2 (active units).
    """
    found = [np.sort(np.asarray(kl))[::-1] for kl in groups]
    counts = ", ".join(f"{int((kl > above).sum())} of {len(kl)}" for kl in found)
    caption = f"KL of each latent, the largest first: {counts} above {above:g} nats, {sum(kl.sum() for kl in found):.2f} in all"
    drawn = bars([max(float(kl), 0.0) for kl in np.concatenate(found)], width=384)
    return Picture(jnp.asarray(drawn), 1, f"{caption}; step {step:,}")


def prior_album(
    decode: Callable[[TrainState, Array], Array], draw: Callable[[Key, int], Array]
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model without an encoder, for `Experiment.pictures`.

    Args:
      decode: the decoder, `(state, z [N, L]) -> images [N, H, W, C]` in [0, 1].
      draw: the prior, `(key, n) -> z [n, L]`.

    Returns:
      `samples`, `interpolations` and `arithmetic`.
    """

    def sample(state: TrainState, key: Key) -> Picture:
        return Picture(decode(state, draw(key, 128)), 16, f"Samples; step {int(state.step):,}")

    def interpolate(state: TrainState, key: Key) -> Picture:
        z = draw(key, 16)
        images = interpolations(lambda z: decode(state, z), z[:8], z[8:], steps=16)
        return Picture(images, 16, f"From one sample to another along a line in z; step {int(state.step):,}")

    def compute(state: TrainState, key: Key) -> Picture:
        z = draw(key, 48).reshape(16, 3, -1)
        images = arithmetic(lambda z: decode(state, z), z[:, 0], z[:, 1], z[:, 2])
        caption = f"Arithmetic in z: a, b, c and a - b + c, four to a block; step {int(state.step):,}"
        return Picture(images, 16, caption)

    return {"samples": sample, "interpolations": interpolate, "arithmetic": compute}
