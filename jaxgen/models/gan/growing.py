r"""The growth of networks from one resolution to the next, as progressive GAN and StyleGAN have it.

The level of detail, `lod`, is a real number: 0 is the full resolution, and each whole number above it halves the sides. At
lod = k + a, with 0 < a < 1, the level above the maps of lod k + 1 fades in with the weight 1 - a. Images always have their full
size: at a higher lod those of a generator are enlarged by the nearest pixels, and a discriminator halves them by means.

A network has the parameters of all levels from the beginning. Where lod is a number of Python, the levels that it leaves out
are not computed; where it is traced, they are skipped by a `lax.cond` each, so one program serves the whole growth.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BOX, doubled, halved

Lod = float | Float[Array, ""]
"""A level of detail: a number of Python, or a traced one."""


def grown(
    network: Any,
    lod: Lod,
    channels: Sequence[int],
    block: Callable[[Any, int, Array], Array],
    start: Array,
) -> Float[Array, "b h w c"]:
    """The image of a growing generator, in the sum of at most two levels.

    Args:
      network: the module, with a layer `to_rgb[level]` for each level.
      lod: the level of detail.
      channels: the numbers of channels of the levels' maps, the smallest first.
      block: the layers of a level, `(network, level, h) -> h`, which double the side but at level 0.
      start: the input of level 0.

    Returns:
      The image at the full size.

    Source: Karras et al. 2018, figure 2; the recursion is that of the authors' code.
    """
    last = len(channels) - 1
    h = block(network, 0, start)
    image = network.to_rgb[0](h)
    for level in range(1, last + 1):
        # One from the level's own lod downwards, zero from the lod of the level before upwards.
        weight = jnp.clip(last - level + 1 - lod, 0.0, 1.0)
        enlarged = doubled(image, BOX)
        shape = (*enlarged.shape[:3], channels[level])

        def shown(network: Any, h: Array, enlarged: Array, level: int = level, weight: Array = weight) -> tuple[Array, Array]:
            h = block(network, level, h)
            return h, weight * network.to_rgb[level](h) + (1 - weight) * enlarged

        def left_out(network: Any, h: Array, enlarged: Array, shape: Any = shape) -> tuple[Array, Array]:
            return jnp.zeros(shape, h.dtype), enlarged

        h, image = _where(network, lod, last - level + 1, shown, left_out, h, enlarged)
    return image


def judged(
    network: Any,
    lod: Lod,
    channels: Sequence[int],
    block: Callable[[Any, int, Array], Array],
    image: Float[Array, "b h w c"],
) -> Array:
    """The last maps of a growing discriminator, as `grown` backwards.

    Args:
      network: the module, with a layer `from_rgb[level]` for each level.
      lod: the level of detail.
      channels: the numbers of channels of the levels' maps, the smallest first.
      block: the layers of a level, `(network, level, h) -> h`, which halve the side but at level 0.
      image: images at the full size.

    Returns:
      The result of the block of level 0.

    Source: as `grown`.
    """
    last = len(channels) - 1
    h = jnp.zeros((*image.shape[:3], channels[last]), network.dtype)
    for level in range(last, 0, -1):
        h, image = _entered(network, lod, level, last, h, image), image

        def judge(network: Any, h: Array, level: int = level) -> Array:
            return block(network, level, h)

        def left_out(network: Any, h: Array, level: int = level) -> Array:
            return jnp.zeros((h.shape[0], h.shape[1] // 2, h.shape[2] // 2, channels[level - 1]), h.dtype)

        h = _where(network, lod, last - level + 1, judge, left_out, h)
        image = halved(image, BOX)
    return block(network, 0, _entered(network, lod, 0, last, h, image))


def _entered(network: Any, lod: Lod, level: int, last: int, h: Array, image: Array) -> Array:
    """Maps of a level, into which the image of its size enters: alone where the level is the largest one that is used."""
    weight = jnp.clip(lod + 1 - (last - level), 0.0, 1.0)
    return weight.astype(h.dtype) * network.from_rgb[level](image) + (1 - weight).astype(h.dtype) * h


def _where(network: Any, lod: Lod, below: int, used: Any, left_out: Any, *inputs: Array) -> Any:
    """One function or the other, as lod is below a whole number or not."""
    if network.is_initializing():
        return used(network, *inputs)
    if isinstance(lod, int | float):
        return (used if lod < below else left_out)(network, *inputs)
    return nn.cond(lod < below, used, left_out, network, *inputs)


class Growth(NamedTuple):
    """The growth of the networks of a game in the course of its steps; `growth` makes one from flags.

    Fields:
      levels: the level of detail at the beginning.
      hold: the number of steps in which it stays, before the next level fades in.
      fade: the number of steps in which a level fades in; 0 lets the level of detail jump.
    """

    levels: int
    hold: int
    fade: int

    def lod(self, step: Any) -> Float[Array, ""]:
        """The level of detail in a step: it stays for `hold` steps, falls by one along a line within `fade` steps, and so on.

        Args:
          step: the step.

        Returns:
          The level of detail.

        Source: Karras et al. 2018, appendix A.

        >>> [float(Growth(levels=2, hold=4, fade=2).lod(step)) for step in (0, 4, 5, 6, 11, 100)]
        [2.0, 2.0, 1.5, 1.0, 0.5, 0.0]
        """
        phase, within = jnp.divmod(jnp.asarray(step), self.hold + self.fade)
        falls = jnp.maximum(within - self.hold, 0).astype(jnp.float32) / max(self.fade, 1)
        return jnp.maximum(self.levels - phase.astype(jnp.float32) - falls, 0.0)

    @property
    def turning_points(self) -> tuple[int, ...]:
        """The steps, in order, in which other levels are used than in the step before.

        These are the steps where a level begins to fade in, and where it is whole.

        Source: the authors' code (`reset_opt_for_new_lod`).

        >>> Growth(levels=2, hold=4, fade=2).turning_points
        (5, 6, 11, 12)
        """
        phases = [level * (self.hold + self.fade) for level in range(self.levels + 1)]
        return tuple(sorted({*(start + self.hold + 1 for start in phases[:-1] if self.fade), *phases[1:]}))

    def shown(self, x: Float[Array, "b h w c"], step: Any) -> Float[Array, "b h w c"]:
        """Images as a discriminator is shown them in a step: means of blocks of pixels, at the full size.

        Between two whole levels of detail they are mixed, as the images of a generator are that fades a level in.

        Args:
          x: images at the full size.
          step: the step.

        Returns:
          The images.

        Source: Karras et al. 2018, appendix A; the authors' code (`process_reals`).

        >>> x = jnp.array([[0.0, 2.0], [4.0, 6.0]]).reshape(1, 2, 2, 1)
        >>> [Growth(levels=1, hold=1, fade=2).shown(x, step)[0, 0, :, 0].tolist() for step in (0, 2, 3)]
        [[3.0, 3.0], [1.5, 2.5], [0.0, 2.0]]
        """
        lod = self.lod(step)
        shown, mean = jnp.zeros_like(x), x
        for level in range(self.levels + 1):
            large = mean
            for _ in range(level):
                large = doubled(large, BOX)
            shown = shown + jnp.maximum(1 - jnp.abs(lod - level), 0.0).astype(x.dtype) * large
            mean = halved(mean, BOX) if level < self.levels else mean
        return shown


def growth(channels: Sequence[int], *, doublings: int, hold: int, fade: int) -> Growth:
    """The growth of networks, as the flags of an experiment have it.

    Args:
      channels: the numbers of channels of the levels' maps; each but the first doubles the side.
      doublings: the number of doublings that the networks begin with.
      hold: the number of steps in which the resolution stays.
      fade: the number of steps in which a level fades in.

    Returns:
      The growth.

    Raises:
      SizeError: if the networks have fewer doublings than they begin with.

    >>> growth((8, 4, 2), doublings=1, hold=4, fade=2).levels
    1
    """
    levels = len(channels) - 1 - doublings
    if levels < 0:
        raise SizeError(f"--doublings {doublings} are more than the {len(channels) - 1} of --channels; give as many or fewer.")
    return Growth(levels, hold, fade)


def channels_of(side: int, *, base: int = 8192, most: int = 512) -> tuple[int, ...]:
    """The numbers of channels of the papers' networks, from maps of 4x4 to those of the full size: base / 2^s, at most `most`.

    Args:
      side: the side of the images, a power of two from 4.
      base: the number that the channels are halved from; s is 1 at 4x4, 2 at 8x8, and so on.
      most: the largest number.

    Returns:
      The numbers, the smallest map first.

    Raises:
      SizeError: if the side is no power of two from 4.

    Source: Karras et al. 2018, table 2; the authors' code (`nf`).

    >>> channels_of(1024)
    (512, 512, 512, 512, 256, 128, 64, 32, 16)
    """
    if side < 4 or side & (side - 1):
        raise SizeError(f"The papers' networks make images whose side is a power of two from 4, and not {side}.")
    return tuple(min(base >> (s - 1), most) for s in range(2, side.bit_length()))
