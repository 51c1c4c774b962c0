"""The metrics of two sets of images, by name, with the conventions of their papers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.data import Source, in_order, take
from jaxgen.errors import UserError
from jaxgen.measuring.features import Extractor, Features
from jaxgen.metrics import (
    classification_accuracy,
    frechet,
    inception_score,
    kernel,
    ms_ssim,
    neighbours,
    sliced_wasserstein,
    transport,
)
from jaxgen.progress import Track
from jaxgen.uncertainty import of_share

Settings = Mapping[str, Any]


class Value(NamedTuple):
    """A value, its standard deviation over what the settings name and its standard error over the examples, if it has them."""

    value: float
    std: float | None = None
    stderr: float | None = None


@dataclass(frozen=True)
class Side:
    """One of two sets.

    Attributes:
      source: its images.
      outputs: the extractor's outputs for them; None where only pixels are looked at.
      unit: the unit of the features, if all are multiples of one number.
    """

    source: Source
    outputs: Features | None
    unit: float | None = None

    @property
    def features(self) -> np.ndarray:
        """`[n, d]`."""
        assert self.outputs is not None, "a metric of features is given them"
        return self.outputs.features

    @property
    def logits(self) -> np.ndarray:
        """`[n, k]`."""
        assert self.outputs is not None, "a metric of a classifier's answers is given them"
        return self.outputs.logits

    @cached_property
    def moments(self) -> frechet.Moments:
        """The moments of the features; those of the real set are used twice."""
        return frechet.moments(self.features)

    @property
    def comparable(self) -> np.ndarray:
        """The features for metrics that compare distances and nothing else: whole numbers of their unit, if they have one."""
        return self.features if self.unit is None else np.rint(self.features / self.unit)

    def drawn(self, n: int, seed: int) -> np.ndarray:
        """At most n rows of the features at random."""
        return _at_most(self.features, n, seed)


def _at_most(x: np.ndarray, n: int, seed: int) -> np.ndarray:
    return x if n >= len(x) else x[np.random.default_rng(seed).permutation(len(x))[:n]]


class Plan(NamedTuple):
    """The plan of a measurement, before a sample is drawn.

    Fields:
      real: the set that the samples are to be compared with.
      n: the number of samples.
      labelled: whether they come with the classes that they were asked for.
      extractor: the network.
    """

    real: Source
    n: int
    labelled: bool
    extractor: Extractor

    @property
    def outputs(self) -> Any:
        """Shapes of what the network says of one image."""
        return jax.eval_shape(self.extractor.apply, jax.ShapeDtypeStruct((1, *self.real.shape("image")), np.uint8))


class Context(NamedTuple):
    """The context of every metric: the seed of all its draws, and the function that shows its progress."""

    seed: int
    track: Track


class Metric(NamedTuple):
    """A metric of two sets.

    Fields:
      values: the function `values(real, fake, how, **settings) -> {name: Value}`.
      settings: the settings that its protocol names, with the field's conventions.
      pixels: whether it looks at the images and not at features, so that no extractor is in its name.
      least: a function of the settings: the least number of images of either set.
      check: a function of a plan and the settings, which raises a `UserError` where the metric cannot be computed.
      caution: the function `caution(plan, n, settings)`: the warning about its values where the smaller set has n
        examples, if they are too few; else None.
    """

    values: Callable[..., Mapping[str, Value]]
    settings: Mapping[str, Any] = {}
    pixels: bool = False
    least: Callable[[Settings], int] = lambda settings: 2
    check: Callable[[Plan, Settings], None] = lambda plan, settings: None
    caution: Callable[[Plan, int, Settings], str | None] = lambda plan, n, settings: None


def at_most(source: Source, n: int, seed: int) -> Source:
    """At most n examples at random: a set may be sorted."""
    if source.length <= n:
        return source
    return take(source, np.sort(np.random.default_rng(seed).permutation(source.length)[:n]))


def _frechet(real: Side, fake: Side, how: Context) -> Mapping[str, Value]:
    return {"frechet": Value(frechet.distance(real.moments, fake.moments))}


def _kernel(real: Side, fake: Side, how: Context, *, subsets: int, size: int) -> Mapping[str, Value]:
    a, b = real.features, fake.features
    # Two sets of one size are not cut alike: example i of the one has nothing to do with example i of the other.
    of_a, of_b = (kernel.draw(len(x), subsets=subsets, size=size, seed=2 * how.seed + i) for i, x in enumerate((a, b)))
    return {"kernel": Value(*kernel.distance(a, b, of_a, of_b, track=how.track))}


def _score(real: Side, fake: Side, how: Context, *, splits: int) -> Mapping[str, Value]:
    return {"score": Value(*inception_score.score(fake.logits, splits=splits))}


def _precision_recall(real: Side, fake: Side, how: Context, *, k: int) -> Mapping[str, Value]:
    found = neighbours.manifolds(real.comparable, fake.comparable, k=k, track=how.track)
    return {"precision": Value(found.precision), "recall": Value(found.recall)}


def _density_coverage(real: Side, fake: Side, how: Context, *, k: int) -> Mapping[str, Value]:
    found = neighbours.manifolds(real.comparable, fake.comparable, k=k, track=how.track)
    return {"density": Value(found.density), "coverage": Value(found.coverage)}


def _two_sample(real: Side, fake: Side, how: Context) -> Mapping[str, Value]:
    # As many of both: of the larger set some.
    n = min(real.source.length, fake.source.length)
    on_real, on_fake = neighbours.two_sample(
        *(_at_most(side.comparable, n, how.seed) for side in (real, fake)), track=how.track
    )
    return {
        "two_sample": Value((on_real + on_fake) / 2),
        "two_sample_real": Value(on_real),
        "two_sample_fake": Value(on_fake),
    }


def _wasserstein(real: Side, fake: Side, how: Context, *, p: int, n: int) -> Mapping[str, Value]:
    return {"wasserstein": Value(transport.wasserstein(real.drawn(n, how.seed), fake.drawn(n, how.seed), p=p))}


def _has_solver(plan: Plan, settings: Settings) -> None:
    transport.pot()


def _sinkhorn(real: Side, fake: Side, how: Context, *, p: int, n: int, relative_epsilon: float) -> Mapping[str, Value]:
    a, b = real.drawn(n, how.seed), fake.drawn(n, how.seed)
    # In units of the real set's own squared distances, so that one number does for every network.
    epsilon = relative_epsilon * 2 * float(a.var(0, dtype=np.float64).sum())
    if not epsilon > 0:
        raise UserError("All real images have the same features, which leaves no scale to regularise by; give others.")
    return {"sinkhorn": Value(transport.sinkhorn_divergence(a, b, epsilon=epsilon, p=p))}


def _sliced_wasserstein(
    real: Side, fake: Side, how: Context, *, n: int, patches: int, repeats: int, projections: int
) -> Mapping[str, Value]:
    a, b = (
        sliced_wasserstein.over(at_most(side.source, n, how.seed), seed=2 * how.seed + i, patches=patches, track=how.track)
        for i, side in enumerate((real, fake))
    )
    levels = sliced_wasserstein.of_patches(a, b, seed=how.seed, repeats=repeats, projections=projections, track=how.track)
    by_level = {f"sliced_wasserstein_{side}": Value(value) for side, value in levels.items()}
    return {"sliced_wasserstein": Value(float(np.mean(list(levels.values())))), **by_level}


def _has_levels(plan: Plan, settings: Settings) -> None:
    try:
        sliced_wasserstein.sides(*plan.real.shape("image")[:2])
    except ValueError as error:
        raise UserError(f"{plan.real.name}: {error}.") from None


def _ms_ssim(real: Side, fake: Side, how: Context, *, n: int, pairs: int, scales: int | str) -> Mapping[str, Value]:
    images = at_most(fake.source, n, how.seed).gather(np.arange(min(n, fake.source.length)))["image"]
    fitting = ms_ssim.scales_that_fit(*images.shape[1:3]) if isinstance(scales, str) else scales
    return {"ms_ssim": Value(ms_ssim.diversity(images, pairs=pairs, seed=how.seed, scales=fitting, track=how.track))}


def _has_scales(plan: Plan, settings: Settings) -> None:
    height, width, *_ = plan.real.shape("image")
    fit, scales = ms_ssim.scales_that_fit(height, width), settings["scales"]
    wanted = 1 if isinstance(scales, str) else scales
    if fit < wanted:
        raise UserError(
            f"{plan.real.name}: images of {height}x{width} have {fit} scales of MS-SSIM, not {wanted}; give larger."
        )


def _classification_accuracy(real: Side, fake: Side, how: Context, **recipe: Any) -> Mapping[str, Value]:
    named = real.source.classes.get("label", ())
    classes = len(named) or 1 + max(0, *(int(np.max(batch["label"])) for batch in in_order(real.source, 256)))
    made = classification_accuracy.Recipe(seed=how.seed, **recipe)
    accuracy = classification_accuracy.score(fake.source, real.source, classes=classes, recipe=made, track=how.track)
    return {"classification_accuracy": Value(accuracy, stderr=of_share(accuracy, real.source.length))}


def _has_labels(plan: Plan, settings: Settings) -> None:
    real = "label" in plan.real.gather(np.zeros(1, np.int64))
    if not (real and plan.labelled):
        raise UserError(
            f"{'The samples have' if real else plan.real.name + ' has'} no labels, of which the classifier of "
            "classification_accuracy is made; give a conditional model's samples, and a labelled set."
        )


def _classifies(plan: Plan, settings: Settings) -> None:
    if not plan.outputs.logits.shape[1]:
        raise UserError("The score needs a network that classifies, and pixels do not; give --extractor a classifier.")


def _few_patches(plan: Plan, n: int, settings: Settings) -> str | None:
    channels = plan.real.shape("image")[2]
    return sliced_wasserstein.caution(min(n, settings["n"]) * settings["patches"], sliced_wasserstein.PATCH**2 * channels)


def _few_neighbours(plan: Plan, n: int, settings: Settings) -> str | None:
    return neighbours.caution(n, settings["k"])


METRICS: Mapping[str, Metric] = {
    "frechet": Metric(_frechet, caution=lambda plan, n, settings: frechet.caution(n, plan.outputs.features.shape[1])),
    "kernel": Metric(
        _kernel,
        {"subsets": 100, "size": 1000},
        least=lambda settings: settings["size"],
        caution=lambda plan, n, settings: kernel.caution(n, n, settings["size"]),
    ),
    "score": Metric(
        _score,
        {"splits": 10},
        least=lambda settings: settings["splits"],
        check=_classifies,
        caution=lambda plan, n, settings: inception_score.caution(n, plan.outputs.logits.shape[1], settings["splits"]),
    ),
    "precision_recall": Metric(_precision_recall, {"k": 3}, least=lambda settings: settings["k"] + 1, caution=_few_neighbours),
    "density_coverage": Metric(_density_coverage, {"k": 5}, least=lambda settings: settings["k"] + 1, caution=_few_neighbours),
    "two_sample": Metric(_two_sample),
    "wasserstein": Metric(_wasserstein, {"p": 2, "n": 2000}, check=_has_solver),
    "sinkhorn": Metric(_sinkhorn, {"p": 2, "n": 1000, "relative_epsilon": 0.1}, check=_has_solver),
    "sliced_wasserstein": Metric(
        _sliced_wasserstein,
        {"n": 16_384, "patches": 128, "repeats": 4, "projections": 128},
        pixels=True,
        check=_has_levels,
        caution=_few_patches,
    ),
    # As many of the five scales as images of the set's size have.
    "ms_ssim": Metric(
        _ms_ssim,
        {"n": 10_000, "pairs": 10_000, "scales": "fitting"},
        pixels=True,
        check=_has_scales,
        caution=lambda plan, n, settings: ms_ssim.caution(min(n, settings["n"]), settings["pairs"]),
    ),
    "classification_accuracy": Metric(
        _classification_accuracy,
        {k: v for k, v in classification_accuracy.Recipe()._asdict().items() if k != "seed"},
        pixels=True,
        check=_has_labels,
    ),
}
"""The metrics by the name that the command line knows, with the conventions of the papers."""
