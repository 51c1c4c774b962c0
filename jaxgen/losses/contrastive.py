"""The symmetric cross-entropy over pairs that CLIP descends, over the global batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxgen.devices import collectives


def normalize(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    r"""Vectors of unit length in float32, $x / \|x\|_2$; a vector of zeros stays one.

    >>> normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    x = x.astype(jnp.float32)
    # The bound is below what float32 resolves of a length, and keeps the gradient at zero finite.
    return x * jax.lax.rsqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-24))


def clip_logits(
    image: Float[Array, "b d"],
    text: Float[Array, "b d"],
    scale: Float[Array, ""],
    mask: Shaped[Array, " b"] | None = None,
) -> tuple[Float[Array, "b n"], Float[Array, "b n"], Int[Array, " b"]]:
    r"""Scaled cosines of this replica's b images with all n texts, and of its texts with all images.

    Args:
      image: embeddings of the images; they need not be normalised.
      text: embeddings of the texts, row by row the partners of the images.
      scale: the factor $1 / \tau$ that the cosines are multiplied by.
      mask: the mask, 0 for padding, which is nobody's negative.

    Returns:
      The logits image to text and text to image, and the column at which each row's partner lies. Under `pmap` n is the size
      of the global batch and b that of the replica's part; everywhere else they are the same.

    Source: Radford et al. 2021, figure 3.
    """
    image, text = normalize(image), normalize(text)
    partner = collectives.offset(image) + jnp.arange(image.shape[0], dtype=jnp.int32)
    to_text = scale * (image @ collectives.gather(text).T)
    to_image = scale * (text @ collectives.gather(image).T)
    if mask is None:
        return to_text, to_image, partner
    # Padding's own partner stays, so that its rows are finite: the reduction leaves them out, and 0 times NaN would not.
    own: Bool[Array, "b n"] = partner[:, None] == jnp.arange(to_text.shape[1], dtype=jnp.int32)
    allowed = collectives.gather(mask).astype(bool) | own
    return jnp.where(allowed, to_text, -np.inf), jnp.where(allowed, to_image, -np.inf), partner


def clip_loss(
    image: Float[Array, "b d"],
    text: Float[Array, "b d"],
    scale: Float[Array, ""],
    mask: Shaped[Array, " b"] | None = None,
) -> Float[Array, " b"]:
    r"""The cross-entropy of finding each image's text among all texts, and each text's image, averaged.

    $L_i = -\tfrac 1 2 \log \frac{e^{s\, u_i \cdot v_i}}{\sum_j e^{s\, u_i \cdot v_j}}
    - \tfrac 1 2 \log \frac{e^{s\, u_i \cdot v_i}}{\sum_j e^{s\, u_j \cdot v_i}}$ with u and v of unit length and j over the
    global batch: under `pmap` the negatives are those of all replicas. The embeddings' gradients there are complete, since
    each replica's loss reaches the others' rows through the gather; the total over the replicas of the gradients of their
    parts is the gradient of the whole.

    Args:
      image: embeddings of the images; they need not be normalised.
      text: embeddings of the texts, row by row the partners of the images.
      scale: the scale s, the inverse temperature.
      mask: the mask, 0 for padding, which is nobody's negative.

    Returns:
      One value per example, in nats; $\log n$ where all embeddings are equal.

    >>> clip_loss(jnp.ones((4, 2)), jnp.ones((4, 2)), jnp.array(5.0)).round(4).tolist() == [1.3862999677658081] * 4
    True

    Source: Radford et al. 2021, figure 3; Zhang et al. 2020 (ConVIRT), equations 2 to 4.
    """
    to_text, to_image, partner = clip_logits(image, text, scale, mask)

    def cross_entropy(logits: Float[Array, "b n"]) -> Float[Array, " b"]:
        return jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, partner[:, None], axis=-1)[:, 0]

    return (cross_entropy(to_text) + cross_entropy(to_image)) / 2
