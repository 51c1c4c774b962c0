"""Perceptual path length: how much an image changes where its latent moves a little.

The paper takes the distance of images in the features of a VGG, by learned weights (LPIPS). Here the features are an argument,
and values in other features are not comparable with the paper's.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Path = Callable[[Array, Array, Array], Array]
"""`path(start [N, L], stop [N, L], t [N, 1]) -> z [N, L]`, from the start at t = 0 to the stop at t = 1."""


def along_line(start: Float[Array, "n l"], stop: Float[Array, "n l"], t: Float[Array, "n 1"]) -> Float[Array, "n l"]:
    """Straight lines, as in the space of intermediate latents w."""
    return start + t * (stop - start)


def along_sphere(start: Float[Array, "n l"], stop: Float[Array, "n l"], t: Float[Array, "n 1"]) -> Float[Array, "n l"]:
    """Great circles of the unit sphere, as between normal latents z; for networks that normalise z themselves.

    Source: Shoemake 1985; the code of Karras et al. 2019 (`slerp`).

    >>> middle = along_sphere(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]]), jnp.array([[0.5]]))
    >>> [round(float(x), 4) for x in middle[0]]
    [0.7071, 0.7071]
    """
    a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (start, stop))
    cosine = jnp.clip((a * b).sum(-1, keepdims=True), -1.0, 1.0)
    across = b - cosine * a
    across = across / jnp.maximum(jnp.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    angle = t * jnp.arccos(cosine)
    return a * jnp.cos(angle) + across * jnp.sin(angle)


def path_lengths(
    features: Callable[[Array], Float[Array, "n f"]],
    path: Path,
    start: Float[Array, "n l"],
    stop: Float[Array, "n l"],
    t: Float[Array, " n"],
    *,
    epsilon: float = 1e-4,
) -> Float[Array, " n"]:
    r"""$\|\phi(G(z(t + \epsilon))) - \phi(G(z(t)))\|^2 / \epsilon^2$ of each pair of latents.

    For a linear map and straight lines it is exactly the squared length of the image of `stop - start`.

    Args:
      features: the features of the images of latents, $\phi \circ G$.
      path: the path between two latents.
      start: latents.
      stop: other latents.
      t: the places on the path, in [0, 1].
      epsilon: the step along the path.

    Returns:
      The lengths.

    Source: Karras et al. 2019, section 4.1, equations 2 and 3.

    >>> double = lambda z: 2 * z
    >>> lengths = path_lengths(double, along_line, jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), jnp.array([0.5]), epsilon=0.25)
    >>> lengths.tolist()  # (2 * 5)^2
    [100.0]
    """
    near, far = (features(path(start, stop, place[:, None])).astype(jnp.float32) for place in (t, t + epsilon))
    return jnp.square((far - near) / epsilon).sum(-1)


def trimmed_mean(lengths: Float[np.ndarray, " n"], percent: float = 1.0) -> tuple[float, float | None]:
    """The mean of the lengths without the smallest and the largest, and its standard error.

    Args:
      lengths: lengths of paths.
      percent: the share that is left out at either end, in percent.

    Returns:
      The mean, and the standard error of the mean of those that are left; None of one alone.

    Source: the code of Karras et al. 2019 (`metrics/perceptual_path_length.py`): what lies outside the percentiles 1 and 99.

    >>> trimmed_mean(np.array([0.0, 2.0, 4.0, 6.0, 100.0]), percent=25.0)[0]
    4.0
    """
    lengths = np.asarray(lengths, np.float64)
    low = np.percentile(lengths, percent, method="lower")
    high = np.percentile(lengths, 100 - percent, method="higher")
    kept = lengths[(lengths >= low) & (lengths <= high)]
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else None
