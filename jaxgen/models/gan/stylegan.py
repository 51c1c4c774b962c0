"""StyleGAN's generator: a mapping network, and a growing synthesis network whose layers it gives their styles."""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.models.gan.dcgan import smallest_map
from jaxgen.models.gan.growing import Lod, channels_of, grown
from jaxgen.models.gan.progressive import Discriminator, ToRGB
from jaxgen.nn import (
    BOX,
    NoiseInjection,
    PixelNorm,
    RunningMean,
    adaptive_instance_norm,
    blurred,
    doubled,
    equalised_conv,
    equalised_dense,
)
from jaxgen.types import Key

SECOND = 1 << 20
"""The number folded into an example's key for its second latent; the key itself draws the noise of the layers."""


class Mapping(nn.Module):
    """The mapping network, from latents z to intermediate latents w: dense layers with leaky rectifiers.

    Source: Karras et al. 2019, section 2 and appendix C.

    Fields:
      width: the width of its layers, and of w.
      depth: the number of its layers; with 0, w is the normalised z.
      multiplier: the factor of the learning rate.
      dtype: the dtype of the computation; the parameters are float32.
    """

    width: int = 512
    depth: int = 8
    multiplier: float = 0.01
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"]) -> Float[Array, "b f"]:
        """Maps a batch, in float32."""
        h = PixelNorm(dtype=self.dtype)(z)
        for i in range(self.depth):
            dense = equalised_dense(self.width, multiplier=self.multiplier, dtype=self.dtype, name=f"dense{i}")
            h = nn.leaky_relu(dense(h), 0.2)
        return h.astype(jnp.float32)


class StyledLayer(nn.Module):
    """The layers after a convolution: noise, a bias, a leaky rectifier, and instance normalisation with the moments of a style.

    Source: Karras et al. 2019, figure 1b.

    Fields:
      dtype: the dtype of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"], w: Float[Array, "b f"], noise: Array | None) -> Float[Array, "b h w c"]:
        """Styles maps."""
        channels = h.shape[-1]
        h = NoiseInjection(self.dtype, name="noise")(h, noise)
        h = h + self.param("bias", nn.initializers.zeros_init(), (channels,), jnp.float32).astype(self.dtype)
        style = equalised_dense(2 * channels, gain=1.0, dtype=self.dtype, name="style")(w)[:, None, None]
        scale, shift = jnp.split(style, 2, axis=-1)
        return adaptive_instance_norm(nn.leaky_relu(h, 0.2), 1 + scale, shift, epsilon=1e-8)


class SynthesisBlock(nn.Module):
    """The two styled layers of a level. Level 0 begins with a constant in place of a convolution.

    Fields:
      channels: the channels of its maps.
      start: the sides (H, W) of the constant at level 0; None doubles the sides of maps.
      dtype: the dtype of the computation.
    """

    channels: int
    start: tuple[int, int] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array, w: Float[Array, "b 2 f"], noise: tuple[Array | None, Array | None]) -> Float[Array, "b h w c"]:
        """Makes maps, in the style of w."""
        if self.start is None:
            up = equalised_conv(self.channels, use_bias=False, dtype=self.dtype, name="conv0")
            h = blurred(up(doubled(h, BOX)))
        else:
            constant = self.param("constant", nn.initializers.ones_init(), (*self.start, self.channels), jnp.float32)
            h = jnp.broadcast_to(constant.astype(self.dtype), (len(w), *constant.shape))
        h = StyledLayer(self.dtype, name="layer0")(h, w[:, 0], noise[0])
        h = equalised_conv(self.channels, use_bias=False, dtype=self.dtype, name="conv1")(h)
        return StyledLayer(self.dtype, name="layer1")(h, w[:, 1], noise[1])


class Generator(nn.Module):
    r"""StyleGAN's generator: latents to images, up to a level of detail.

    There are two styles for each level, from one w. In training, with the probability `mixing`, a second w takes over from a
    layer on; the layer is the same for the whole batch. The running average of w, towards which samples are truncated, moves in
    training.

    Source: Karras et al. 2019, sections 2 and 3, appendices B and C.

    Fields:
      shape: the shape (H, W, C) of the images; both sides are a multiple of 2 to the number of doublings.
      channels: the numbers of channels of the maps, the smallest map first; one doubling less.
      latents: the width of w; z is as wide, or of any width where there is a mapping network.
      mapping_depth: the number of layers of the mapping network.
      multiplier: the factor of the mapping network's learning rate.
      mixing: the probability with which the styles of a batch are mixed.
      decay: the decay of the running average of w.
      micro_batches: the number of micro-batches of a step, the `accumulate` of `make_train_step`.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    latents: int = 512
    mapping_depth: int = 8
    multiplier: float = 0.01
    mixing: float = 0.9
    decay: float = 0.995
    micro_batches: int = 1
    dtype: Any = jnp.float32

    @property
    def layers(self) -> int:
        """The number of styled layers."""
        return 2 * len(self.channels)

    def setup(self) -> None:
        """Makes the mapping network and the levels."""
        start = smallest_map(self.shape, len(self.channels) - 1, flag="halvings by --channels")
        self.mapping = Mapping(self.latents, self.mapping_depth, self.multiplier, self.dtype)
        self.average = RunningMean(self.latents, self.decay, self.micro_batches)
        self.blocks = [SynthesisBlock(c, None if i else start, self.dtype) for i, c in enumerate(self.channels)]
        self.to_rgb = [ToRGB(self.shape[2], self.dtype) for _ in self.channels]

    def __call__(
        self,
        z: Float[Array, "b l"],
        *,
        lod: Lod = 0.0,
        key: Key | None = None,
        whole: Key | None = None,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        """Generates a batch, in float32, about in [-1, 1].

        Args:
          z: the latents.
          lod: the level of detail.
          key: a key for each example, of its noise and its second latent; None is without noise, and mixes none.
          whole: a key of the whole batch, by which it is decided whether and from where styles are mixed; None mixes none.
          mask: a mask that is zero for the examples that only fill the batch up.
          train: whether styles are mixed and the running average of w moves.
        """
        one = self.mapping(z)
        if self.is_initializing():
            self.average()
        w = jnp.repeat(one[:, None], self.layers, axis=1)
        if train and not self.is_initializing():
            self.average.move(one, mask)
            if self.mixing and key is not None and whole is not None:
                other = self.mapping(keys.draw(jax.random.normal, keys.fold_in(key, SECOND), z.shape))
                mixed = jnp.arange(self.layers) >= self.cutoff(whole, lod)
                w = jnp.where(mixed[:, None], other[:, None], w)
        return self.synthesise(w, lod=lod, key=key)

    def cutoff(self, whole: Key, lod: Lod) -> Array:
        """The layer from which on the second w is used: uniform from 1 to the last layer in use, or behind all layers."""
        in_use = self.layers - 2 * jnp.floor(jnp.asarray(lod)).astype(jnp.int32)
        drawn = jax.random.randint(jax.random.fold_in(whole, 0), (), 1, in_use)
        return jnp.where(jax.random.uniform(jax.random.fold_in(whole, 1)) < self.mixing, drawn, self.layers)

    def styles(
        self, z: Float[Array, "b l"], *, psi: float | Array = 1.0, truncated: int = 8, train: bool = False
    ) -> Float[Array, "b n f"]:
        r"""The intermediate latents of all layers, $\bar w + \psi (w - \bar w)$ in the first ones and w in the others.

        Args:
          z: the latents.
          psi: the factor of the truncation; 1 truncates nothing, 0 gives the average.
          truncated: the number of layers, from the coarsest on, that are truncated.
          train: the argument that all methods have; nothing is trained here.

        Source: Karras et al. 2019, appendix B.
        """
        w = jnp.repeat(self.mapping(z)[:, None], self.layers, axis=1)
        mean = self.average()
        factor = jnp.where(jnp.arange(self.layers) < truncated, psi, 1.0)[:, None]
        return jnp.where(factor == 1.0, w, mean + factor * (w - mean))

    def synthesise(
        self, w: Float[Array, "b n f"], *, lod: Lod = 0.0, key: Key | None = None, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The images of intermediate latents, one for each layer.

        Args:
          w: the intermediate latents.
          lod: the level of detail.
          key: a key for each example, or one, of the noise; None is without noise.
          train: the argument that all methods have; nothing is trained here.
        """
        w = w.astype(self.dtype)

        noise = (None,) * self.layers if key is None else layer_noise(key, self.shape[:2], len(self.channels), len(w))

        def block(network: Any, level: int, h: Array) -> Array:
            return network.blocks[level](h, w[:, 2 * level : 2 * level + 2], noise[2 * level : 2 * level + 2])

        return grown(self, lod, self.channels, block, w)


def layer_noise(key: Key, sides: tuple[int, ...], levels: int, batch: int) -> tuple[Float[Array, "b h w 1"], ...]:
    """The noise of all layers, standard normal, two maps for each level.

    Args:
      key: a key for each example, or one.
      sides: the sides (H, W) of the images.
      levels: the number of levels.
      batch: the number of examples.

    >>> [n.shape for n in layer_noise(jax.random.key(0), (8, 8), 2, batch=3)]
    [(3, 4, 4, 1), (3, 4, 4, 1), (3, 8, 8, 1), (3, 8, 8, 1)]
    """
    maps = [tuple(side >> (levels - 1 - level) for side in sides) for level in range(levels) for _ in range(2)]
    ends = list(itertools.accumulate(height * width for height, width in maps))
    # One draw, which is cut: XLA takes most of a second to compile each draw on a CPU.
    numbers = keys.draw(jax.random.normal, key, (batch, ends[-1]))
    cut = jnp.split(numbers, ends[:-1], axis=1)
    return tuple(part.reshape(batch, *size, 1) for part, size in zip(cut, maps, strict=True))


def paper(side: int = 1024) -> tuple[Generator, Discriminator]:
    """The networks of the paper, for colour images of a side that is a power of two.

    Args:
      side: the side of the images.

    Returns:
      The generator and the discriminator.

    Source: Karras et al. 2019, appendix C; the authors' code.
    """
    channels = channels_of(side)
    return Generator((side, side, 3), channels), Discriminator(channels, blur=True)
