"""MADE: an autoencoder of binary images whose masked weights make its outputs conditional probabilities."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxgen.errors import SizeError
from jaxgen.types import Key

ORDER, CONNECTIVITY = 0, 1
"""The numbers folded into the key of a model's masks: for the orders of the pixels, and for the degrees of the units."""


class Degrees(NamedTuple):
    """The numbers by which units are connected, counted from 0: a pixel has its place in the order.

    A hidden unit of degree m sees the pixels of the places up to m, and an output those before its own pixel's.

    Fields:
      pixels: places of the D pixels, a permutation, `[D]`.
      hidden: degrees of the units of each hidden layer, from 0 to D - 2, `[H]` each.
    """

    pixels: Int[Array, "*b d"]
    hidden: tuple[Int[Array, "*b h"], ...]


class MadeCache(NamedTuple):
    """The cache of a draw: the pixels that are known, and the connections.

    Fields:
      x: pixels, zero where they are not drawn yet.
      degrees: degrees of the units, of each image its own.
    """

    x: Float[Array, "b d"]
    degrees: Degrees


def draw_degrees(order: Key, connectivity: Key, pixels: int, hidden: Sequence[int], *, raster: bool = False) -> Degrees:
    """An order of the pixels and degrees of the hidden units.

    The degrees of a layer are uniform from the least degree of the layer before to D - 2, so that no unit is without an input.

    Args:
      order: the key of the order.
      connectivity: the key of the degrees.
      pixels: the number D of pixels, 2 or more.
      hidden: the numbers of units of the hidden layers.
      raster: whether the order is that of the rows, instead of a random one.

    Returns:
      The degrees.

    Raises:
      SizeError: if there are fewer than two pixels.

    Source: Germain et al. 2015, section 4; their numbers begin at 1.

    >>> key = jax.random.key(0)
    >>> degrees = draw_degrees(key, key, 4, (5,), raster=True)
    >>> degrees.pixels.tolist(), bool((degrees.hidden[0] <= 2).all())
    ([0, 1, 2, 3], True)
    """
    if pixels < 2:
        raise SizeError(f"An image of {pixels} pixel has no order; take images of two pixels or more.")
    places = jnp.arange(pixels) if raster else jax.random.permutation(order, pixels)
    layers: list[Array] = []
    least = jnp.int32(0)
    for i, units in enumerate(hidden):
        layers.append(jax.random.randint(jax.random.fold_in(connectivity, i), (units,), least, pixels - 1))
        least = layers[-1].min()
    return Degrees(places.astype(jnp.int32), tuple(layers))


class MaskedDense(nn.Module):
    """A dense layer whose kernel is multiplied by a mask that comes with the input.

    Fields:
      features: the number of outputs.
      use_bias: whether a bias is added.
      condition: whether a second, equally masked kernel is added up over the inputs, by which the outputs know the mask.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    use_bias: bool = True
    condition: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b i"], mask: Array) -> Float[Array, "b o"]:
        """Maps a batch.

        Args:
          x: inputs.
          mask: mask of the kernel, true where it stays, `[i, o]`, or `[b, i, o]` with one for each example.
        """

        def masked(name: str) -> Array:
            kernel = self.param(name, nn.initializers.glorot_uniform(), (x.shape[-1], self.features), jnp.float32)
            return jnp.where(mask, kernel.astype(self.dtype), jnp.zeros((), self.dtype))

        y = jnp.einsum("bi,io->bo" if mask.ndim == 2 else "bi,bio->bo", x.astype(self.dtype), masked("kernel"))
        if self.condition:
            y = y + masked("condition").sum(-2)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32).astype(self.dtype)
        return y


class MADE(nn.Module):
    r"""A masked autoencoder: the logits of each pixel of a binary image given the pixels before it in an order.

    $\log p(x) = \sum_d \log p(x_d | x_{m(1)}, ...)$ over the pixels $m(i)$ whose place is before that of d. The masks follow
    from degrees: a connection goes from a unit to one of a degree that is not lower, and to an output of a larger one.

    A model has sets of masks, which share the weights: set s is drawn from the model's seed and s. Their orders differ if the
    model is agnostic of the order, and their degrees if it is agnostic of the connectivity.
    `objectives.order_agnostic_likelihood` trains with one set after the other and evaluates the mean of all probabilities.

    Fields:
      image: the shape of an image, height, width and colours, whose product is D.
      hidden: widths of the hidden layers.
      orders: whether the sets differ in the order of the pixels.
      connectivities: whether the sets differ in the degrees of the hidden units.
      raster: whether the order is that of the rows, instead of a random one.
      direct: whether the outputs also see the pixels before theirs directly.
      condition: whether the layers know their masks, by a second kernel over inputs of one.
      activation: the function of the hidden units.
      seed: the seed of the masks.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Germain et al. 2015; github.com/mgermain/MADE.
    """

    image: tuple[int, int, int]
    hidden: tuple[int, ...] = (500,)
    orders: bool = True
    connectivities: bool = True
    raster: bool = False
    direct: bool = True
    condition: bool = False
    activation: Callable[[Array], Array] = nn.relu
    seed: int = 0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        fields: dict[str, Any] = {"condition": self.condition, "dtype": self.dtype}
        self.layers = [MaskedDense(units, **fields) for units in self.hidden]
        self.out = MaskedDense(self.pixels, **fields)
        if self.direct:
            self.straight = MaskedDense(self.pixels, use_bias=False, dtype=self.dtype)

    @property
    def pixels(self) -> int:
        """The number D of pixels, each colour counted."""
        return math.prod(self.image)

    def degrees(self, number: int | Int[Array, "*b"]) -> Degrees:
        """The degrees of a set of masks, or of a set for each example.

        Args:
          number: the number of the set, from 0, or an array of numbers.
        """
        number = jnp.asarray(number, jnp.int32)
        if number.ndim:
            return jax.vmap(self.degrees)(number)
        base = jax.random.key(self.seed)
        order, connectivity = (
            jax.random.fold_in(jax.random.fold_in(base, kind), number if differ else 0)
            for kind, differ in ((ORDER, self.orders), (CONNECTIVITY, self.connectivities))
        )
        return draw_degrees(order, connectivity, self.pixels, self.hidden, raster=self.raster)

    def __call__(
        self, x: Float[Array, "b h w c"], number: int | Int[Array, "*n"] = 0, *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The logits of all pixels given those before them, in float32.

        Args:
          x: images of zeros and ones.
          number: the number of the set of masks, or one for each image, `[B]`.
          train: whether the model is trained, which changes nothing.

        Raises:
          SizeError: if the images have another shape than those that the model was made for.
        """
        if x.shape[1:] != tuple(self.image):
            sizes = ("x".join(map(str, shape)) for shape in (self.image, x.shape[1:]))
            raise SizeError("A MADE of images of {} got images of {}; make it with the shape of the images.".format(*sizes))
        return self.logits_of(x.reshape(-1, self.pixels), self.degrees(number)).reshape(x.shape)

    def init_cache(self, batch: int, grid: tuple[int, int], number: Int[Array, " b"]) -> MadeCache:
        """The cache before the first pixel. It needs no parameters.

        Args:
          batch: the number of images.
          grid: the height of an image, and its width times its colours.
          number: the number of the set of masks of each image.
        """
        return MadeCache(jnp.zeros((batch, math.prod(grid)), jnp.float32), self.degrees(number))

    def step(
        self, before: Int[Array, " b"], cache: MadeCache, position: int | Int[Array, ""]
    ) -> tuple[Float[Array, "b 2"], MadeCache]:
        """The logits of black and white of the pixel at one place of each image's order, by one pass.

        Args:
          before: the pixels at the place before, 0 or 1; at place 0 they have no effect.
          cache: the cache after the place before.
          position: the place, from 0.
        """
        places = cache.degrees.pixels
        x = jnp.where(places == jnp.asarray(position) - 1, before[:, None].astype(jnp.float32), cache.x)
        logit = jnp.where(places == position, self.logits_of(x, cache.degrees), 0.0).sum(-1)
        return jnp.stack([jnp.zeros_like(logit), logit], axis=-1), cache._replace(x=x)

    def in_place(self, drawn: Num[Array, "b *grid"], number: Int[Array, " b"]) -> Num[Array, "b *grid"]:
        """Images of pixels that lie in the order in which they were drawn.

        Args:
          drawn: pixels by place, in the shape of the result.
          number: the number of the set of masks of each image.
        """
        flat = drawn.reshape(len(drawn), -1)
        return jnp.take_along_axis(flat, self.degrees(number).pixels, axis=1).reshape(drawn.shape)

    def logits_of(self, x: Float[Array, "b d"], degrees: Degrees) -> Float[Array, "b d"]:
        """The logits of flat images under given degrees.

        Args:
          x: images as vectors.
          degrees: degrees of the units, or those of each image.
        """
        before, h = degrees.pixels, x
        for layer, own in zip(self.layers, degrees.hidden, strict=True):
            h = self.activation(layer(h, before[..., :, None] <= own[..., None, :]))
            before = own
        places = degrees.pixels[..., None, :]
        y = self.out(h, before[..., :, None] < places)
        if self.direct:
            y = y + self.straight(x, degrees.pixels[..., :, None] < places)
        return y.astype(jnp.float32)
