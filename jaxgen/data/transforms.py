"""Transforms of one example on the device: pure functions `(example, key) -> example`, composed with `chain`.

They run inside the compiled step, vmapped over the batch. Each example has a key of its own, so that what is drawn does not
depend on the batch size of an evaluation or on how many devices share a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.types import Array, Key

Example: TypeAlias = Mapping[str, Any]
Transform: TypeAlias = Callable[[Example, Key], Example]
Sides: TypeAlias = tuple[int, int]
"""Height and width."""


def identity(example: Example, key: Key) -> Example:
    """The example as it is."""
    return example


def chain(*transforms: Transform) -> Transform:
    """The transforms one after another, transform i with the key `fold_in(key, i)`."""

    def transform(example: Example, key: Key) -> Example:
        for i, apply in enumerate(transforms):
            example = apply(example, jax.random.fold_in(key, i))
        return example

    return transform


def jointly(features: Sequence[str], transform: Transform, *, made_for: str = "image") -> Transform:
    """The same draw for several features of one height and width, such as an image and its segmentation.

    Args:
      features: the features.
      transform: a transform of one feature; a random crop of it takes the same square of all of them.
      made_for: the feature that `transform` is of.

    Returns:
      The transform of all features. It raises a `UserError` if their heights and widths differ.

    >>> pair = {"image": jnp.arange(64).reshape(8, 8, 1), "mask": -jnp.arange(64).reshape(8, 8, 1)}
    >>> cut = jointly(("image", "mask"), chain(crop(4), flip()))(pair, jax.random.key(0))
    >>> bool((cut["image"] == -cut["mask"]).all())
    True
    """

    def draw(example: Example, key: Key) -> Example:
        sides = {feature: example[feature].shape[:2] for feature in features}
        if len(set(sides.values())) > 1:
            told = ", ".join(f"{feature} {height}x{width}" for feature, (height, width) in sides.items())
            raise UserError(f"Features that are changed together have different sides ({told}); bring them to one size first.")
        changed = {feature: transform({**example, made_for: example[feature]}, key)[made_for] for feature in features}
        return {**example, **changed}

    return draw


def scale(low: float = 0.0, high: float = 1.0, *, feature: str = "image") -> Transform:
    r"""Intensities in [0, 1] to a range, $x \mapsto \mathrm{low} + (\mathrm{high} - \mathrm{low})\, x$.

    Bytes are divided by 255 first, floats are in [0, 1] already. The transform raises a `UserError` for other integers, whose
    white is not known.

    >>> scale(-1, 1)({"image": jnp.uint8(255)}, jax.random.key(0))["image"].item()
    1.0
    >>> scale(-1, 1)({"image": jnp.float32(0.5)}, jax.random.key(0))["image"].item()
    0.0
    """
    return _on(feature, lambda x, key: low + (high - low) * _intensity(x, feature))


def binarize(*, feature: str = "image") -> Transform:
    r"""Dynamic binarisation: $x \sim \mathrm{Bernoulli}(x)$, drawn anew whenever the example is seen.

    The intensities in [0, 1], or bytes divided by 255, are the probabilities. The transform raises a `UserError` for other
    integers. Source: Salakhutdinov & Murray 2008; Burda et al. 2015, section 5.
    """
    return _on(feature, lambda x, key: jax.random.bernoulli(key, _intensity(x, feature)).astype(jnp.float32))


def binarize_statically(seed: int = 0, *, feature: str = "image") -> Transform:
    """Static binarisation: drawn once for each example, from the seed and the example's `index`.

    This is a draw of our own, not the one that Larochelle distributes: figures on the two agree to sampling error only.
    """

    def transform(example: Example, key: Key) -> Example:
        fixed = jax.random.fold_in(jax.random.key(seed), example["index"])
        return binarize(feature=feature)(example, fixed)

    return transform


def dequantize(bits: int = 8, *, feature: str = "image") -> Transform:
    r"""Uniform dequantisation, $x \mapsto (\lfloor x / 2^{8 - n} \rfloor + u) / 2^n$ with $u \sim U[0, 1)$, for n bits.

    $\log p(x)$ loses $n \log 2$ a dimension. With fewer bits than 8 the lowest ones of the bytes are dropped. The transform
    raises a `UserError` for what is not bytes: nothing else has 256 levels.

    Source: Uria et al. 2013; Theis et al. 2016, section 3.1; Kingma & Dhariwal 2018 for fewer bits.

    Args:
      bits: the number of bits n, from 1 to 8.
      feature: the feature that is changed.
    """

    def draw(x: Array, key: Key) -> Array:
        if x.dtype != jnp.uint8:
            raise UserError(f"dequantize() is of bytes, and the {feature} is {x.dtype}; put it before scale(), or give bytes.")
        x = (x >> (8 - bits)).astype(jnp.float32)
        # The sum rounds to x + 1 now and then, and a white pixel to 1, whose logit is infinite.
        return jnp.minimum(x + jax.random.uniform(key, x.shape), jnp.nextafter(x + 1, x)) / 2**bits

    return _on(feature, draw)


def quantize(bits: int = 8, *, feature: str = "image") -> Transform:
    r"""Levels evenly over [-1, 1], $x \mapsto 2 \lfloor x / 2^{8 - n} \rfloor / (2^n - 1) - 1$, for n bits.

    With fewer bits than 8 the lowest ones of the bytes are dropped. The transform raises a `UserError` for what is not bytes.

    Args:
      bits: the number of bits n, from 1 to 8.
      feature: the feature that is changed.

    >>> quantize(4)({"image": jnp.array([0, 15, 255], jnp.uint8)}, jax.random.key(0))["image"].tolist()
    [-1.0, -1.0, 1.0]
    """

    def levels(x: Array, key: Key) -> Array:
        if x.dtype != jnp.uint8:
            raise UserError(f"quantize() is of bytes, and the {feature} is {x.dtype}; put it before scale(), or give bytes.")
        return 2 * (x >> (8 - bits)).astype(jnp.float32) / (2**bits - 1) - 1

    return _on(feature, levels)


def flip(*, feature: str = "image") -> Transform:
    """A mirror image, left to right, of `[H, W, C]` in half of the cases."""
    return _on(feature, lambda x, key: jnp.where(jax.random.bernoulli(key), x[:, ::-1], x))


def pad(pixels: int, *, mode: str = "constant", feature: str = "image") -> Transform:
    """A border of `pixels` on each side of `[H, W, C]`; the mode is one of `jnp.pad`'s, such as "reflect"."""
    return _on(feature, lambda x, key: jnp.pad(x, ((pixels, pixels), (pixels, pixels), (0, 0)), mode=mode))


def resample(size: int | Sides, *, method: Literal["linear", "nearest"] = "linear", feature: str = "image") -> Transform:
    """Brings `[H, W, C]` to other sides: "linear" for floats, "nearest" for class numbers, of which there is no mean."""
    height, width = _sides(size)

    def draw(x: Array, key: Key) -> Array:
        if method == "linear" and not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(f"The {feature} is {x.dtype}, of which means are rounded; put resample() after scale().")
        return jax.image.resize(x, (height, width, x.shape[2]), method)

    return _on(feature, draw)


def one_hot(classes: int, *, void: int | None = None, feature: str = "segmentation") -> Transform:
    """Class numbers `[H, W, 1]` as channels, one for each class, of which that of a pixel's class is one and the others zero.

    Args:
      classes: the number of classes, from 0 on.
      void: the number of pixels whose class is not known. If it is none of the classes, it gets a channel behind theirs.
      feature: the feature that is changed.

    Returns:
      The transform, which gives float32 `[H, W, classes]`, or one channel more. Of another number all channels are zero.

    >>> one_hot(2, void=255)({"segmentation": jnp.array([[[1], [255]]])}, jax.random.key(0))["segmentation"][0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    numbers = jnp.array([*range(classes), *([void] if void is not None and void >= classes else [])])
    return _on(feature, lambda x, key: (x.astype(jnp.int32) == numbers).astype(jnp.float32))


def crop(size: int | Sides, *, feature: str = "image") -> Transform:
    """A random part of `[size, size, C]`, or of a height and a width.

    `chain(pad(4), crop(32))` is the usual augmentation of CIFAR-10.
    """
    sides = _sides(size)

    def draw(x: Array, key: Key) -> Array:
        top, left = (
            jax.random.randint(k, (), 0, extent - side + 1)
            for k, extent, side in zip(jax.random.split(key), x.shape[:2], sides, strict=True)
        )
        return jax.lax.dynamic_slice(x, (top, left, 0), (*sides, x.shape[2]))

    return _on(feature, draw)


def center_crop(size: int, *, feature: str = "image") -> Transform:
    """The central square of `[size, size, C]`."""

    def cut(x: Array, key: Key) -> Array:
        top, left = (x.shape[0] - size) // 2, (x.shape[1] - size) // 2
        return jax.lax.slice(x, (top, left, 0), (top + size, left + size, x.shape[2]))

    return _on(feature, cut)


def _intensity(x: Array, feature: str) -> Array:
    """The intensities in [0, 1]: floats as they are, bytes divided by 255."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(f"The {feature} is {x.dtype}; give bytes from 0 to 255 (uint8), or floats from 0 to 1.")
    return x.astype(jnp.float32)


def _sides(size: int | Sides) -> Sides:
    return (size, size) if isinstance(size, int) else size


def _on(feature: str, fn: Callable[[Array, Key], Array]) -> Transform:
    def transform(example: Example, key: Key) -> Example:
        return {**example, feature: fn(example[feature], key)}

    return transform
