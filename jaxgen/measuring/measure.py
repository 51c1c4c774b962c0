"""Measures of one set of images against another: values with their protocol, and the same values between real images."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from jaxgen.data import Source, common_shape, contents, in_bytes, take
from jaxgen.errors import FewExamplesWarning, UserError
from jaxgen.measuring import inception_v3
from jaxgen.measuring.features import Extractor, Features, extract, pixels
from jaxgen.measuring.protocol import Measurement, Protocol
from jaxgen.measuring.table import METRICS, Context, Metric, Plan, Side, Value, at_most
from jaxgen.metrics.inputs import warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show

CONVENTION = {"frechet": "fid", "kernel": "kid", "score": "inception_score"}
"""The names of values in the features of the conventional network and weights, and nowhere else."""


def check(plan: Plan, metrics: Iterable[str], *, settings: Mapping[str, Any] | None = None) -> None:
    """Refuses what could not be measured, and warns of what would mean little, before the hours that sampling may take.

    Args:
      plan: the plan of what is to be measured.
      metrics: names in `METRICS`.
      settings: the settings of the metrics, as those of `measure`.

    Raises:
      UserError: if there are too few images, or a metric cannot be computed from them.

    Warns:
      FewExamplesWarning: for each metric with fewer images than its values need to mean what they are taken for.
    """
    for name in metrics:
        own = _settings(METRICS[name], settings)
        least = METRICS[name].least(own)
        for whose, n in ((f"of {plan.real.name}", plan.real.length), ("to hold against them", plan.n)):
            if n < least:
                raise UserError(
                    f"{name} asks for {least:,} images of either set, and there are {n:,} {whose}; give more, or leave it out."
                )
        METRICS[name].check(plan, own)
        warn_few(METRICS[name].caution(plan, min(plan.real.length, plan.n), own))


def measure(
    real: Source,
    fake: Source,
    metrics: Iterable[str],
    *,
    extractor: Extractor | None = None,
    others: Source | None = None,
    checkpoint: str = "",
    seed: int = 0,
    batch_size: int = 256,
    settings: Mapping[str, Any] | None = None,
    track: Track = show,
) -> dict[str, Measurement]:
    """Measures samples against real images.

    Args:
      real: the set that the samples are compared with: a source with the feature `image`, bytes or floats in [0, 1],
        `[H, W, C]`.
      fake: the samples, a source with the same feature.
      metrics: names in `METRICS`.
      extractor: the network whose features are compared; None means pixels.
      others: other real images, which take the samples' place for the floor; without them, two halves of the real ones do.
      checkpoint: the way in which the samples' checkpoint was chosen, for the protocol.
      seed: the seed of every subset, and, for the protocol, of the samples.
      batch_size: images at once, over all devices; no value depends on it.
      settings: the settings of the metrics, where they are to differ from the convention.
      track: a function that shows the progress.

    Returns:
      The values by name, such as `frechet_lenet`, each with its protocol and its floor.

    Raises:
      UserError: if the sets cannot be compared, or a metric cannot be computed from them, or the features of an image are not
        finite: it names the set and the image.

    Warns:
      FewExamplesWarning: as `check`. What it says of a value, or of its floor, is the measurement's `caution`.
    """
    extractor, metrics = extractor or pixels(), list(metrics)
    real, fake, others = in_bytes(real), in_bytes(fake), others and in_bytes(others)
    plan = Plan(real, fake.length, "label" in fake.gather(np.zeros(1, np.int64)), extractor)
    check(plan, metrics, settings=settings)
    # A network may take hours for what a metric of pixels does not ask for.
    looks = not all(METRICS[name].pixels for name in metrics)
    if extractor.resizer == "none" or any(METRICS[name].pixels for name in metrics):
        common_shape("image", real, fake, *([others] if others else []))
    with ExitStack() as stack:

        def side(source: Source, role: str) -> Side:
            seen = extract(source, extractor, batch_size=batch_size, role=role, track=track)
            return Side(source, stack.enter_context(seen) if looks else None, extractor.unit)

        sides = side(real, "the real images"), side(fake, "the samples")
        if others is None:
            floors = _halves(sides[0], seed)
        else:
            floors = sides[0], side(at_most(others, fake.length, seed), "the other real images")
        how, found, told = Context(seed, track), {}, f"{real.name} {contents(real)}"
        for metric in (METRICS[name] for name in metrics):
            own = _settings(metric, settings)
            n, floor_n = (min(side.source.length for side in two) for two in (sides, floors))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewExamplesWarning)  # said by `check`, and by each measurement
                values: Mapping[str, Value] = metric.values(*sides, how, **own)
                floor: Mapping[str, Value] = metric.values(*floors, how, **own) if floor_n >= metric.least(own) else {}
            caution, of_floor = (metric.caution(plan, number, own) for number in (n, floor_n))
            if caution is None and of_floor is not None and floor:
                caution = f"of the value of real against real, {of_floor}"
            for name, value in values.items():
                full = name if metric.pixels else _named(name, extractor)
                protocol = Protocol(
                    metric=full,
                    extractor="" if metric.pixels else f"{extractor.name} {extractor.version}",
                    resizer="none" if metric.pixels else extractor.resizer,
                    real=told,
                    n_real=real.length,
                    n_fake=fake.length,
                    seed=seed,
                    checkpoint=checkpoint,
                    settings=tuple(sorted(own.items())),
                )
                least = floor.get(name)
                found[full] = Measurement(
                    value.value,
                    protocol,
                    value.std,
                    None if least is None else least.value,
                    None if least is None else floors[1].source.length,
                    value.stderr,
                    caution or "",
                )
        return found


def _settings(metric: Metric, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A metric's own, as given or as is convention."""
    return {name: (given or {}).get(name, default) for name, default in metric.settings.items()}


def _named(name: str, extractor: Extractor) -> str:
    own = f"{name}_{extractor.name}"
    return CONVENTION.get(name, own) if inception_v3.is_reference(extractor) else own


def _halves(side: Side, seed: int) -> tuple[Side, Side]:
    """Two halves of a set, drawn at random."""

    def half(rows: np.ndarray) -> Side:
        return Side(take(side.source, rows), side.outputs and Features(*(x[rows] for x in side.outputs)), side.unit)

    first, second = np.array_split(np.random.default_rng(seed).permutation(side.source.length), 2)
    return half(first), half(second)
