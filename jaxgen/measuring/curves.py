"""Curves of a metric, as a PNG: the values of several runs against the price of their samples."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxgen.uncertainty import told


class Point(NamedTuple):
    """A value at its price.

    Fields:
      evaluations: the network evaluations of a sample.
      value: the value of the metric.
      stderr: the standard error of the value, or None.
    """

    evaluations: float
    value: float
    stderr: float | None = None


def curves(points: Mapping[str, Sequence[Point]], *, metric: str, floor: float | None = None) -> bytes:
    """Draws a curve for each run, in the order of the evaluations, on logarithmic axes, with bars of two standard errors.

    Args:
      points: the points of each run, by its name.
      metric: the name of the value, for the axis.
      floor: the value of real images in the samples' place, drawn as a line; None draws none.

    Returns:
      The PNG.

    >>> curves({"a": [Point(10, 2.0, 0.1), Point(5, 3.0)]}, metric="frechet", floor=1.0)[1:4]
    b'PNG'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, own) in enumerate(points.items()):
        own = sorted(own)
        axes.plot([p.evaluations for p in own], [p.value for p in own], **style(i), markersize=4, label=name)
        for point in own:
            if point.stderr is not None:
                ends = [max(point.value + sign * 2 * point.stderr, point.value / 10) for sign in (-1, 1)]
                axes.plot([point.evaluations] * 2, ends, color=style(i)["color"], linewidth=1)
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1, label=f"real images: {told(floor, None)}")
    positive = all(point.value > 0 for own in points.values() for point in own)
    axes.set(xscale="log", yscale="log" if positive else "linear", xlabel="network evaluations a sample", ylabel=metric)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def style(i: int) -> dict[str, Any]:
    """The colour, the marker and the dashes of the i-th curve; no two of the first fifty are alike.

    >>> style(0), style(10)
    ({'color': 'C0', 'marker': 'o', 'linestyle': '-'}, {'color': 'C0', 'marker': 's', 'linestyle': '--'})
    >>> len({tuple(style(i).values()) for i in range(50)})
    50
    """
    kind = i // 10 % 5
    return {"color": f"C{i % 10}", "marker": "os^Dv"[kind], "linestyle": ("-", "--")[kind % 2]}
