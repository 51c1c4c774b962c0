"""Two sets of images against each other, by name of the metric: values that carry their protocol."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.data import Source, common_shape, take
from jaxgen.errors import UserError
from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.metrics import (
    classification_accuracy,
    frechet,
    inception,
    inception_v3,
    kernel,
    ms_ssim,
    neighbours,
    sliced_wasserstein,
    transport,
)
from jaxgen.metrics.features import Extractor, Features, Outputs, extract
from jaxgen.metrics.protocol import Measurement, Protocol
from jaxgen.types import Array


class Value(NamedTuple):
    """A value and its standard deviation over what the settings name, if it has one."""

    value: float
    std: float | None = None


class Side(NamedTuple):
    """One of two sets: its images and its features."""

    source: Source
    features: Features


class Metric(NamedTuple):
    """A metric of two sets.

    Fields:
      values: `values(real, fake, seed, **settings) -> {name: Value}`.
      settings: what its values have to say of themselves; the field's conventions.
      pixels: whether it looks at the images and not at features, so that no extractor is in its name.
    """

    values: Callable[..., Mapping[str, Value]]
    settings: Mapping[str, Any] = {}
    pixels: bool = False


def _frechet(real: Side, fake: Side, seed: int) -> Mapping[str, Value]:
    return {"frechet": Value(frechet.distance(frechet.over(real.features.features), frechet.over(fake.features.features)))}


def _kernel(real: Side, fake: Side, seed: int, *, subsets: int, size: int) -> Mapping[str, Value]:
    a, b = real.features.features, fake.features.features
    if min(len(a), len(b)) < size:
        raise UserError(f"The kernel distance takes subsets of {size:,}; give it as many images, not {min(len(a), len(b)):,}.")
    # Two sets of one size are not cut alike: example i of the one has nothing to do with example i of the other.
    of_a, of_b = (kernel.draw(len(x), subsets=subsets, size=size, seed=2 * seed + i) for i, x in enumerate((a, b)))
    return {"kernel": Value(*kernel.distance(a, b, of_a, of_b))}


def _score(real: Side, fake: Side, seed: int, *, splits: int) -> Mapping[str, Value]:
    logits = fake.features.logits
    if not logits.shape[1]:
        raise UserError("The score needs a network that classifies, and pixels do not; give --extractor a classifier.")
    if len(logits) < splits:
        raise UserError(f"The score takes {splits} splits; give it as many images or more, not {len(logits)}.")
    return {"score": Value(*inception.score([inception.of(part) for part in np.array_split(logits, splits)]))}


def _manifolds(real: Side, fake: Side, k: int) -> neighbours.Manifolds:
    try:
        return neighbours.manifolds(real.features.features, fake.features.features, k=k)
    except ValueError as error:
        raise UserError(f"Too few images: {error}.") from None


def _precision_recall(real: Side, fake: Side, seed: int, *, k: int) -> Mapping[str, Value]:
    found = _manifolds(real, fake, k)
    return {"precision": Value(found.precision), "recall": Value(found.recall)}


def _density_coverage(real: Side, fake: Side, seed: int, *, k: int) -> Mapping[str, Value]:
    found = _manifolds(real, fake, k)
    return {"density": Value(found.density), "coverage": Value(found.coverage)}


def _two_sample(real: Side, fake: Side, seed: int) -> Mapping[str, Value]:
    n = min(len(real.features.features), len(fake.features.features))
    # As many of both: of the larger set some at random.
    some = [x.features.features[np.random.default_rng(seed).permutation(x.source.length)[:n]] for x in (real, fake)]
    on_real, on_fake = neighbours.two_sample(*some)
    return {
        "two_sample": Value((on_real + on_fake) / 2),
        "two_sample_real": Value(on_real),
        "two_sample_fake": Value(on_fake),
    }


def _drawn(real: Side, fake: Side, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At most n of each set's features at random, in float64: what is quadratic in their number takes no more."""
    a, b = (x.features.features[np.random.default_rng(seed).permutation(x.source.length)[:n]] for x in (real, fake))
    return np.asarray(a, np.float64), np.asarray(b, np.float64)


def _wasserstein(real: Side, fake: Side, seed: int, *, p: int, n: int) -> Mapping[str, Value]:
    return {"wasserstein": Value(transport.wasserstein(*_drawn(real, fake, n, seed), p=p))}


def _sinkhorn(real: Side, fake: Side, seed: int, *, p: int, n: int, relative_epsilon: float) -> Mapping[str, Value]:
    a, b = _drawn(real, fake, n, seed)
    # In units of the real set's own squared distances, so that one number does for every network.
    epsilon = relative_epsilon * 2 * float(a.var(0).sum())
    if not epsilon > 0:
        raise UserError("All real images have the same features, which leaves no scale to regularise by; give others.")
    return {"sinkhorn": Value(transport.sinkhorn_divergence(a, b, epsilon=epsilon, p=p))}


def _sliced_wasserstein(
    real: Side, fake: Side, seed: int, *, n: int, patches: int, repeats: int, projections: int
) -> Mapping[str, Value]:
    try:
        a, b = (
            sliced_wasserstein.over(_some(side.source, n, seed), seed=2 * seed + i, patches=patches)
            for i, side in enumerate((real, fake))
        )
    except ValueError as error:
        raise UserError(f"{real.source.name}: {error}.") from None
    levels = sliced_wasserstein.of_patches(a, b, seed=seed, repeats=repeats, projections=projections)
    by_level = {f"sliced_wasserstein_{side}": Value(value) for side, value in levels.items()}
    return {"sliced_wasserstein": Value(float(np.mean(list(levels.values())))), **by_level}


def _ms_ssim(real: Side, fake: Side, seed: int, *, n: int, pairs: int, scales: int | str) -> Mapping[str, Value]:
    images = _some(fake.source, n, seed).gather(np.arange(min(n, fake.source.length)))["image"]
    fitting = ms_ssim.fitting(*images.shape[1:3]) if isinstance(scales, str) else scales
    try:
        return {"ms_ssim": Value(ms_ssim.diversity(images, pairs=pairs, seed=seed, scales=fitting))}
    except ValueError as error:
        raise UserError(f"{fake.source.name}: {error}.") from None


def _classification_accuracy(real: Side, fake: Side, seed: int, **recipe: Any) -> Mapping[str, Value]:
    labels = real.source.gather(np.arange(real.source.length)).get("label")
    if labels is None:
        raise UserError(f"{real.source.name} has no labels, which this metric asks for; give a set that has.")
    classes = len(real.source.classes.get("label", ())) or int(labels.max()) + 1
    made = classification_accuracy.Recipe(seed=seed, **recipe)
    return {
        "classification_accuracy": Value(classification_accuracy.score(fake.source, real.source, classes=classes, recipe=made))
    }


METRICS: Mapping[str, Metric] = {
    "frechet": Metric(_frechet),
    "kernel": Metric(_kernel, {"subsets": 100, "size": 1000}),
    "score": Metric(_score, {"splits": 10}),
    "precision_recall": Metric(_precision_recall, {"k": 3}),
    "density_coverage": Metric(_density_coverage, {"k": 5}),
    "two_sample": Metric(_two_sample),
    "wasserstein": Metric(_wasserstein, {"p": 2, "n": 2000}),
    "sinkhorn": Metric(_sinkhorn, {"p": 2, "n": 2000, "relative_epsilon": 0.05}),
    "sliced_wasserstein": Metric(
        _sliced_wasserstein, {"n": 16_384, "patches": 128, "repeats": 4, "projections": 128}, pixels=True
    ),
    # As many of the five scales as images of the real set's size have.
    "ms_ssim": Metric(_ms_ssim, {"n": 10_000, "pairs": 10_000, "scales": "fitting"}, pixels=True),
    "classification_accuracy": Metric(
        _classification_accuracy,
        {k: v for k, v in classification_accuracy.Recipe()._asdict().items() if k != "seed"},
        pixels=True,
    ),
}
"""By the name that the command line knows, with the conventions of the papers."""


def pixels() -> Extractor:
    """The extractor that looks at nothing but the pixels, as one vector in [0, 1]."""

    def apply(images: Array) -> Outputs:
        return Outputs(images.reshape(len(images), -1).astype(jnp.float32) / 255, jnp.zeros((len(images), 0)))

    return Extractor("pixels", "1", "none", apply)


CONVENTION = {"frechet": "fid", "kernel": "kid", "score": "inception_score"}
"""What values are called in the features of the network and the weights that these names stand for, and nowhere else."""


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
      real: what the samples are held against: a source with the feature `image`, bytes `[H, W, C]`.
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
    extractor = extractor or pixels()
    if extractor.resizer == "none":
        common_shape("image", real, fake, *([others] if others else []))
    with ExitStack() as stack:

        def side(source: Source) -> Side:
            return Side(source, stack.enter_context(extract(source, extractor, batch_size=batch_size, track=track)))

        sides = side(real), side(fake)
        floors = _halves(sides[0], seed) if others is None else (sides[0], side(_some(others, fake.length, seed)))
        found = {}
        for metric in (METRICS[name] for name in metrics):
            own = {name: (settings or {}).get(name, default) for name, default in metric.settings.items()}
            values, floor = metric.values(*sides, seed, **own), _floor(metric, floors, seed, own)
            for name, value in values.items():
                full = name if metric.pixels else _named(name, extractor)
                protocol = Protocol(
                    metric=full,
                    extractor="" if metric.pixels else f"{extractor.name} {extractor.version}",
                    resizer="none" if metric.pixels else extractor.resizer,
                    real=f"{real.name} {real.fingerprint}",
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


def _named(name: str, extractor: Extractor) -> str:
    own = f"{name}_{extractor.name}"
    return CONVENTION.get(name, own) if inception_v3.is_reference(extractor) else own


def _floor(metric: Metric, sides: tuple[Side, Side], seed: int, settings: Mapping[str, Any]) -> Mapping[str, Value]:
    try:
        return metric.values(*sides, seed, **settings)
    except UserError:  # there are too few real images to have one
        return {}


def _some(source: Source, n: int, seed: int) -> Source:
    """At most n examples at random: a set may be sorted."""
    if source.length <= n:
        return source
    return take(source, np.sort(np.random.default_rng(seed).permutation(source.length)[:n]))


def _halves(side: Side, seed: int) -> tuple[Side, Side]:
    """Two halves of a set, drawn at random."""
    halves = np.array_split(np.random.default_rng(seed).permutation(side.source.length), 2)
    first, second = (Side(take(side.source, half), Features(*(x[half] for x in side.features))) for half in halves)
    return first, second
