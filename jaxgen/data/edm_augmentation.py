"""The augmentation of images for diffusion models of few images, with the label that the network gets."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import affine
from jaxgen.data.transforms import Example, Transform
from jaxgen.errors import UserError
from jaxgen.types import Array, Key

AUGMENT_LABELS = 9
"""The length of the label that `augment_edm` writes."""


def augment_edm(p: float, *, feature: str = "image", label: str = "augment") -> Transform:
    r"""Mirror images, and with probability p each: upside-down images, and changes of size, angle, proportions and place.

    The network gets all that was drawn as a label, whose null value is zero. So it learns the images as they are, and not as
    the augmentation leaves them: samples are drawn with the label zero.

    | numbers of the label | drawn | what happens |
    | --- | --- | --- |
    | 0 | 0 or 1 | mirrored left to right, in half of all cases |
    | 1 | 0 or 1 | mirrored top to bottom, in p / 2 of the cases |
    | 2 | $z \sim N(0, 1)$ | larger by $2^{0.2 z}$ |
    | 3, 4 | $\cos a - 1$ and $\sin a$ of $a \sim U(-\pi, \pi)$ | turned by a |
    | 5, 6 | $z \cos r$ and $z \sin r$ of $z \sim N(0, 1)$ | larger by $2^{0.2 z}$ along an axis, smaller across it |
    | 7, 8 | $z_1, z_2 \sim N(0, 1)$ | moved by $z_1 / 8$ of the width and $z_2 / 8$ of the height |

    r is 0 in half of the cases and of $U(-\pi, \pi)$ in the others. (So z and r + pi have the label of -z and r, as in the
    authors' code.) Mirror images are exact; the rest is one `affine.warp`.

    Args:
      p: the probability of each change; 0.12 for CIFAR-10. 0 changes nothing, mirrors nothing, and the label is zero.
      feature: the feature that is changed, floats `[h, w, c]`.
      label: the feature `[9]` that is written.

    Returns:
      The transform. It raises a `UserError` for images that are not floats.

    Source: Karras et al. 2022, appendix F.2 and table 6; github.com/NVlabs/edm (training/augment.py, train.py).

    >>> done = augment_edm(0.0)({"image": jnp.ones((4, 4, 1))}, jax.random.key(0))
    >>> done["augment"].shape, done["image"].min().item()
    ((9,), 1.0)
    """

    def transform(example: Example, key: Key) -> Example:
        x = example[feature]
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(f"The {feature} is {x.dtype}, and augmented pixels lie between whole numbers; put scale() first.")
        if not p:
            return {**example, label: jnp.zeros(AUGMENT_LABELS)}
        own = [jax.random.fold_in(key, i) for i in range(13)]

        def chosen(which: int, drawn: Array) -> Array:
            return jnp.where(jax.random.uniform(own[which]) < p, drawn, 0.0)

        across = jax.random.bernoulli(own[0]).astype(jnp.float32)
        down = chosen(1, jax.random.bernoulli(own[2]).astype(jnp.float32))
        size = chosen(3, jax.random.normal(own[4]))
        angle = chosen(5, jax.random.uniform(own[6], minval=-np.pi, maxval=np.pi))
        stretch = chosen(7, jax.random.normal(own[8]))
        axis = jnp.where(jax.random.uniform(own[9]) < 0.5, jax.random.uniform(own[10], minval=-np.pi, maxval=np.pi), 0.0)
        place = chosen(11, jax.random.normal(own[12], (2,)))

        x = jnp.where(across == 1, x[:, ::-1], x)
        x = jnp.where(down == 1, x[::-1], x)
        height, width = x.shape[:2]
        turned, smaller = affine.rotation(axis), affine.scaling(2 ** (-0.2 * stretch), 2 ** (0.2 * stretch))
        back = affine.composed(
            affine.scaling(2 ** (-0.2 * size), 2 ** (-0.2 * size)),
            affine.rotation(angle),
            jnp.where(stretch == 0, jnp.eye(3), affine.composed(turned.T, smaller, turned)),
            affine.translation(-place[0] * width / 8, -place[1] * height / 8),
        )
        written = [across, down, size, jnp.cos(angle) - 1, jnp.sin(angle)]
        written += [stretch * jnp.cos(axis), stretch * jnp.sin(axis), place[0], place[1]]
        return {**example, feature: affine.warp(x, back), label: jnp.stack(written)}

    return transform
