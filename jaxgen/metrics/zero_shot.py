"""Zero-shot classification: the class whose descriptions are nearest to the image."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.losses.classification import of_class
from jaxgen.losses.contrastive import normalize

RESOLUTION = 1e-6
"""Cosines that differ by less are equal: float32 does not distinguish them."""


def ensemble(prompts: Float[Array, "k t d"]) -> Float[Array, "k d"]:
    """One unit vector per class: the mean of its prompts' unit vectors.

    Args:
      prompts: the vectors of t descriptions of each of k classes.

    Returns:
      The weights of a linear classifier of unit vectors.

    Source: Radford et al. 2021, section 3.1.4 (an ensemble in the embeddings' space, not over probabilities).
    """
    return normalize(normalize(prompts).mean(1))


def correct(image: Float[Array, "n d"], classes: Float[Array, "k d"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    """Whether the class nearest to an image by the cosine is its own.

    Classes that are equally near, up to rounding, share the guess: an encoder that maps everything to one vector scores 1 / k.

    Args:
      image: vectors of images.
      classes: a vector of each class.
      label: the images' classes.

    Returns:
      One value per image, in [0, 1]; nan for a label that is no class, or a vector that is not finite.

    >>> correct(jnp.eye(2), jnp.eye(2), jnp.array([0, 0])).tolist()
    [1.0, 0.0]
    """
    cosine = normalize(image) @ normalize(classes).T
    nearest = (cosine >= cosine.max(1, keepdims=True) - RESOLUTION).astype(jnp.float32)
    return jnp.where(jnp.isfinite(cosine).all(1), of_class(nearest, label) / nearest.sum(1), jnp.nan)


def balanced(values: Float[Array, " n"], label: Int[Array, " n"], classes: int) -> Float[Array, ""]:
    """The mean over classes of the mean over a class: of `correct`, the accuracy in which every class counts the same.

    Args:
      values: the values, one for each example.
      label: the examples' classes.
      classes: the number of classes; those without an example are left out.

    Returns:
      The mean. A constant guess scores one over the number of classes that are there, however many examples one of them has. It
      is nan if a label is no class.
    """
    values = jnp.where((label >= 0) & (label < classes), values, jnp.nan)
    label = jnp.clip(label, 0, classes - 1)
    count = jnp.bincount(label, length=classes).astype(jnp.float32)
    total = jnp.bincount(label, weights=values, length=classes)
    return (total / jnp.maximum(count, 1.0)).sum() / jnp.maximum((count > 0).astype(jnp.float32).sum(), 1.0)
