"""Normal distributions in the plane as a picture of ellipses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

CONFIDENCE = math.sqrt(-2 * math.log(0.05))
"""Radius, in standard deviations, of the ellipse that holds 95 % of a normal distribution in the plane."""


def project(means: Float[Any, "n d"], covariances: Float[Any, "n d d"]) -> tuple[np.ndarray, np.ndarray]:
    r"""Normal distributions as they are in the plane of their means' first two principal components.

    A projection of a normal is one: $N(P \mu, P \Sigma P^\top)$. In two dimensions nothing is changed.

    Args:
      means: the mean of each distribution.
      covariances: the covariance matrix of each distribution; d is 2 or more.

    Returns:
      Means `[n, 2]` and covariances `[n, 2, 2]`.
    """
    means, covariances = np.asarray(means, np.float64), np.asarray(covariances, np.float64)
    if means.shape[1] == 2:
        return means, covariances
    centred = means - means.mean(0)
    # A single distribution has no components: any two directions will do.
    axes = np.linalg.svd(centred, full_matrices=len(means) < 2)[2][:2]
    return centred @ axes.T, axes @ covariances @ axes.T


def ellipses(
    means: Float[Any, "n 2"],
    covariances: Float[Any, "n 2 2"],
    labels: Int[Any, " n"],
    classes: int,
    *,
    shade: Callable[[np.ndarray], Any] | None = None,
    size: int = 640,
) -> np.ndarray:
    """Each distribution as the ellipse that holds 95 % of it and a dot in the middle, in its class's colour.

    Args:
      means: the mean of each distribution.
      covariances: the covariance matrix of each distribution.
      labels: the class of each.
      classes: number of classes.
      shade: points `[m, 2]` to numbers `[m]`, drawn behind: black where they are largest.
      size: pixels along a side.

    Returns:
      An image in [0, 1], `[size, size, 3]`.

    Source: Alemi et al. 2017, figure 2.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    means = np.asarray(means, np.float64)
    variances, directions = np.linalg.eigh(np.asarray(covariances, np.float64))
    diameters = 2 * CONFIDENCE * np.sqrt(np.maximum(variances, 0.0))
    angles = np.degrees(np.arctan2(directions[:, 1, 1], directions[:, 0, 1]))
    # A square around nearly all of them: one or two that are far wider would make dots of the others.
    reach = CONFIDENCE * np.sqrt(np.diagonal(np.asarray(covariances, np.float64), axis1=1, axis2=2))
    left, right = np.quantile(means - reach, 0.02, axis=0), np.quantile(means + reach, 0.98, axis=0)
    centre, half = (left + right) / 2, max(float((right - left).max()) * 0.55, 1e-3)
    low, high = centre - half, centre + half

    figure = Figure(figsize=(size / 100, size / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    if shade is not None:
        grid = np.stack(np.meshgrid(*np.linspace(low, high, 160).T), -1)
        values = np.asarray(shade(grid.reshape(-1, 2).astype(np.float32)), np.float64).reshape(160, 160)
        axes.imshow(values, cmap="Greys", origin="lower", extent=(low[0], high[0], low[1], high[1]), alpha=0.6)
    colours = colormaps["tab10"](np.arange(10)) if classes <= 10 else colormaps["hsv"](np.arange(classes) / classes)
    axes.add_collection(
        EllipseCollection(
            diameters[:, 1],
            diameters[:, 0],
            angles,
            units="xy",
            offsets=means,
            offset_transform=axes.transData,
            facecolors=[(*colours[c][:3], 0.1) for c in labels],
            edgecolors=[(*colours[c][:3], 0.5) for c in labels],
            linewidths=0.7,
        )
    )
    axes.scatter(means[:, 0], means[:, 1], s=5, c=colours[np.asarray(labels)], linewidths=0, zorder=3)
    if classes <= 20:
        marks = [Line2D([], [], color=colours[c], marker="o", linestyle="") for c in range(classes)]
        axes.legend(marks, [str(c) for c in range(classes)], loc="upper right", fontsize=9)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.float32)[..., :3] / 255
