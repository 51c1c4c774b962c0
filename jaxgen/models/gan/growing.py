r"""Networks that grow from one resolution to the next, and the generator and the discriminator of progressive GAN.

The level of detail, `lod`, is a real number: 0 is the full resolution, and each whole number above it halves the sides. At
lod = k + a, with 0 < a < 1, the level above the maps of lod k + 1 fades in with the weight 1 - a. Images always have their full
size: at a higher lod those of a generator are enlarged by the nearest pixels, and a discriminator halves them by means.

A network has the parameters of all levels from the beginning. Where lod is a number of Python, the levels that it leaves out
are not computed; where it is traced, they are skipped by a `lax.cond` each, so one program serves the whole growth.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.gan.dcgan import smallest_map
from jaxgen.nn import BOX, PixelNorm, blurred, doubled, equalised_conv, equalised_dense, halved, minibatch_stddev

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
      What the block of level 0 returns.

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


def shown_at(x: Float[Array, "b h w c"], lod: Lod, levels: int) -> Float[Array, "b h w c"]:
    """Images as a discriminator is shown them at a level of detail: means of blocks of pixels, at the full size.

    Between two whole numbers they are mixed, as the images of a generator are that fades a level in.

    Args:
      x: images at the full size.
      lod: the level of detail.
      levels: the largest level of detail.

    Returns:
      The images.

    Source: Karras et al. 2018, appendix A; the authors' code (`process_reals`).

    >>> x = jnp.array([[0.0, 2.0], [4.0, 6.0]]).reshape(1, 2, 2, 1)
    >>> [shown_at(x, lod, 1)[0, 0, :, 0].tolist() for lod in (0.0, 0.5, 1.0)]
    [[0.0, 2.0], [1.5, 2.5], [3.0, 3.0]]
    """
    shown, mean = jnp.zeros_like(x), x
    for level in range(levels + 1):
        large = mean
        for _ in range(level):
            large = doubled(large, BOX)
        shown = shown + jnp.maximum(1 - jnp.abs(lod - level), 0.0).astype(x.dtype) * large
        mean = halved(mean, BOX) if level < levels else mean
    return shown


def lod_at(step: Array, *, levels: int, hold: int, fade: int) -> Float[Array, ""]:
    """The level of detail in a step: it stays for `hold` steps, falls by one along a line within `fade` steps, and so on.

    Args:
      step: the step.
      levels: the level of detail at the beginning.
      hold: the number of steps in which it stays.
      fade: the number of steps in which the next level fades in; 0 lets it jump.

    Returns:
      The level of detail.

    Source: Karras et al. 2018, appendix A.

    >>> [float(lod_at(jnp.array(step), levels=2, hold=4, fade=2)) for step in (0, 4, 5, 6, 11, 100)]
    [2.0, 2.0, 1.5, 1.0, 0.5, 0.0]
    """
    phase, within = jnp.divmod(step, hold + fade)
    falls = jnp.maximum(within - hold, 0).astype(jnp.float32) / max(fade, 1)
    return jnp.maximum(levels - phase.astype(jnp.float32) - falls, 0.0)


def turning_points(*, levels: int, hold: int, fade: int) -> tuple[int, ...]:
    """The steps in which other levels are used than in the step before: where a level begins to fade in, and where it is whole.

    Args:
      levels: the level of detail at the beginning.
      hold: the number of steps in which it stays.
      fade: the number of steps in which the next level fades in.

    Returns:
      The steps, in order.

    Source: the authors' code (`reset_opt_for_new_lod`).

    >>> turning_points(levels=2, hold=4, fade=2)
    (5, 6, 11, 12)
    """
    phases = [level * (hold + fade) for level in range(levels + 1)]
    return tuple(sorted({*(start + hold + 1 for start in phases[:-1] if fade), *phases[1:]}))


class ToRGB(nn.Module):
    """Maps to an image, by a convolution of one pixel.

    Fields:
      channels: the channels of the image.
      dtype: the dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h w i"]:
        """Makes images, in float32."""
        return equalised_conv(self.channels, (1, 1), gain=1.0, dtype=self.dtype, name="conv")(h).astype(jnp.float32)


class FromRGB(nn.Module):
    """An image to maps, by a convolution of one pixel and a leaky rectifier.

    Fields:
      channels: the channels of the maps.
      dtype: the dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w c"]:
        """Makes maps."""
        return nn.leaky_relu(equalised_conv(self.channels, (1, 1), dtype=self.dtype, name="conv")(x), 0.2)


class GeneratorBlock(nn.Module):
    """The layers of a level of progressive GAN's generator.

    Fields:
      channels: the channels of its maps.
      start: the sides (H, W) of its maps at level 0, where it begins from a code; None doubles the sides of maps.
      dtype: the dtype of the computation.
    """

    channels: int
    start: tuple[int, int] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array) -> Float[Array, "b h w c"]:
        """Makes maps."""
        if self.start is None:
            h = equalised_conv(self.channels, dtype=self.dtype, name="conv0")(doubled(h, BOX))
        else:
            # The kernel is scaled as that of a convolution of the maps' size, whose outputs have H W times as many inputs.
            height, width = self.start
            gain = math.sqrt(2.0 / (height * width))
            size = height * width * self.channels
            h = equalised_dense(size, gain=gain, use_bias=False, dtype=self.dtype, name="dense")(PixelNorm(dtype=self.dtype)(h))
            bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
            h = h.reshape(-1, height, width, self.channels) + bias.astype(self.dtype)
        h = PixelNorm(dtype=self.dtype)(nn.leaky_relu(h, 0.2))
        h = equalised_conv(self.channels, dtype=self.dtype, name="conv1")(h)
        return PixelNorm(dtype=self.dtype)(nn.leaky_relu(h, 0.2))


class Generator(nn.Module):
    """The generator of progressive GAN: codes to images, up to a level of detail.

    Codes are brought to the unit sphere, times the root of their length. Pixelwise normalisation follows each rectifier, and
    nothing the last layer.

    Source: Karras et al. 2018, section 4 and table 2.

    Fields:
      shape: the shape (H, W, C) of the images; both sides are a multiple of 2 to the number of doublings.
      channels: the numbers of channels of the maps, the smallest map first; one doubling less.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the levels."""
        start = smallest_map(self.shape, len(self.channels) - 1, flag="halvings by --channels")
        self.blocks = [GeneratorBlock(c, None if i else start, self.dtype) for i, c in enumerate(self.channels)]
        self.to_rgb = [ToRGB(self.shape[2], self.dtype) for _ in self.channels]

    def __call__(self, z: Float[Array, "b l"], *, lod: Lod = 0.0, train: bool = False) -> Float[Array, "b h w c"]:
        """Generates a batch, in float32, about in [-1, 1]."""
        return grown(self, lod, self.channels, lambda network, level, h: network.blocks[level](h), z)


class DiscriminatorBlock(nn.Module):
    """The layers of a level of a growing discriminator but the last.

    Fields:
      channels: the channels of the maps that come in.
      outputs: the channels of the maps that go out.
      blur: whether maps are blurred before they are halved, as StyleGAN's.
      dtype: the dtype of the computation.
    """

    channels: int
    outputs: int
    blur: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Halves maps."""
        h = nn.leaky_relu(equalised_conv(self.channels, dtype=self.dtype, name="conv0")(h), 0.2)
        down = equalised_conv(self.outputs, dtype=self.dtype, name="conv1")
        if self.blur:  # the rectifier follows the mean of four pixels there, and comes before it in progressive GAN
            return nn.leaky_relu(halved(down(blurred(h)), BOX), 0.2)
        return halved(nn.leaky_relu(down(h), 0.2), BOX)


class DiscriminatorHead(nn.Module):
    """The last layers of a growing discriminator.

    Fields:
      channels: the channels of its maps.
      group: the number of examples over which the standard deviation is taken; 0 takes none.
      dtype: the dtype of the computation.
    """

    channels: int
    group: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"], mask: Float[Array, " b"] | None) -> Float[Array, " b"]:
        """Judges a batch, in float32."""
        if self.group:
            h = minibatch_stddev(h, self.group, mask=mask)
        h = nn.leaky_relu(equalised_conv(self.channels, dtype=self.dtype, name="conv")(h), 0.2)
        h = equalised_dense(self.channels, dtype=self.dtype, name="dense0")(h.reshape(len(h), -1))
        logits = equalised_dense(1, gain=1.0, dtype=self.dtype, name="dense1")(nn.leaky_relu(h, 0.2))
        return logits[:, 0].astype(jnp.float32)


class Discriminator(nn.Module):
    """The discriminator of progressive GAN, and with `blur` that of StyleGAN: images of a level of detail to logits.

    Source: Karras et al. 2018, table 2; Karras et al. 2019, appendix C.

    Fields:
      channels: the numbers of channels of the maps, the smallest map first.
      group: the number of examples over which the standard deviation is taken; 0 takes none.
      blur: whether maps are blurred before they are halved.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: tuple[int, ...]
    group: int = 4
    blur: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the levels."""
        pairs = zip(self.channels[1:], self.channels, strict=False)
        self.blocks = [
            DiscriminatorHead(self.channels[0], self.group, self.dtype),
            *(DiscriminatorBlock(c, outputs, self.blur, self.dtype) for c, outputs in pairs),
        ]
        self.from_rgb = [FromRGB(c, self.dtype) for c in self.channels]

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        lod: Lod = 0.0,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """Judges a batch, in float32; `mask` is zero for the examples that only fill the batch up."""
        smallest_map(x.shape[1:], len(self.channels) - 1, flag="halvings by --channels")

        def block(network: Any, level: int, h: Array) -> Array:
            return network.blocks[level](h) if level else network.blocks[0](h, mask)

        return judged(self, lod, self.channels, block, x.astype(self.dtype))


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


def paper(side: int = 1024) -> tuple[Generator, Discriminator]:
    """The networks of progressive GAN, for colour images of a side that is a power of two.

    Args:
      side: the side of the images.

    Returns:
      The generator, of codes of 512 numbers, and the discriminator.

    Source: Karras et al. 2018, table 2; the authors' code.
    """
    channels = channels_of(side)
    return Generator((side, side, 3), channels), Discriminator(channels)
