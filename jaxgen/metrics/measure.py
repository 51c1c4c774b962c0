"""Two sets of images against each other: values that carry their protocol, beside those of real against real."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from jaxgen.data import Source, common_shape, contents, in_bytes, take
from jaxgen.errors import UserError
from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.metrics import inception_v3
from jaxgen.metrics.features import Extractor, Features, extract, pixels
from jaxgen.metrics.pairs import METRICS, How, Metric, Plan, Side, Value, some
from jaxgen.metrics.protocol import Measurement, Protocol

CONVENTION = {"frechet": "fid", "kernel": "kid", "score": "inception_score"}
"""What values are called in the features of the network and the weights that these names stand for, and nowhere else."""


def check(plan: Plan, metrics: Iterable[str], *, settings: Mapping[str, Any] | None = None) -> None:
    """Refuses what could not be measured, before the hours that sampling may take.

    Args:
      plan: what is to be measured.
      metrics: names in `METRICS`.
      settings: as those of `measure`.

    Raises:
      UserError: if there are too few images, or a metric cannot be had of such.
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
      real: what the samples are held against: a source with the feature `image`, bytes or floats in [0, 1], `[H, W, C]`.
      fake: the samples, likewise.
      metrics: names in `METRICS`.
      extractor: the network in whose features; None means pixels.
      others: other real images, which take the samples' place for the floor; without them, two halves of the real ones do.
      checkpoint: how the samples' was chosen, for the protocol.
      seed: of every subset, and, for the protocol, of the samples.
      batch_size: images at once, over all devices; no value depends on it.
      settings: of the metrics, where they are to differ from the convention.
      track: shows the progress.

    Returns:
      By name, `frechet_lenet`, each value with its protocol and its floor.

    Raises:
      UserError: if the sets cannot be compared, or a metric cannot be had of them.
    """
    extractor, metrics = extractor or pixels(), list(metrics)
    real, fake, others = in_bytes(real), in_bytes(fake), others and in_bytes(others)
    check(Plan(real, fake.length, "label" in fake.gather(np.zeros(1, np.int64)), extractor), metrics, settings=settings)
    # A network may take hours for what a metric of pixels does not ask for.
    looks = not all(METRICS[name].pixels for name in metrics)
    if extractor.resizer == "none" or any(METRICS[name].pixels for name in metrics):
        common_shape("image", real, fake, *([others] if others else []))
    with ExitStack() as stack:

        def side(source: Source) -> Side:
            seen = stack.enter_context(extract(source, extractor, batch_size=batch_size, track=track)) if looks else None
            return Side(source, seen)

        sides = side(real), side(fake)
        floors = _halves(sides[0], seed) if others is None else (sides[0], side(some(others, fake.length, seed)))
        how, found, told = How(seed, track), {}, f"{real.name} {contents(real)}"
        for metric in (METRICS[name] for name in metrics):
            own = _settings(metric, settings)
            enough = min(floor.source.length for floor in floors) >= metric.least(own)
            values: Mapping[str, Value] = metric.values(*sides, how, **own)
            floor: Mapping[str, Value] = metric.values(*floors, how, **own) if enough else {}
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
        return Side(take(side.source, rows), side.outputs and Features(*(x[rows] for x in side.outputs)))

    first, second = np.array_split(np.random.default_rng(seed).permutation(side.source.length), 2)
    return half(first), half(second)
