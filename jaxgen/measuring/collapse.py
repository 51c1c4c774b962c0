"""Collapse: the diversity of samples and the latents in use as evaluators, and the alarms of what collapses."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from jaxgen import data
from jaxgen.alarms import Alarm
from jaxgen.devices.waiting import wait
from jaxgen.evaluate import Evaluator, Measure, sum_over
from jaxgen.game import TrainState
from jaxgen.metrics.diversity import Spread, diversity, spread
from jaxgen.progress import Track
from jaxgen.samples.conditions import Conditions, given
from jaxgen.samples.draws import Sample
from jaxgen.types import Key
from jaxgen.uncertainty import named

SAMPLES = 256
"""The number of samples, and of examples of the data, whose distances are measured."""

CHUNK = 64
"""Samples that are drawn at a time."""

LARGEST = 2**26
"""Numbers of all samples together; of large images there are fewer samples."""

SHARE, BELOW = 0.3, 0.05
"""The alarm's share of the best diversity, and its floor."""


def evaluator(
    sample: Sample, source: data.Source, *, conditions: Conditions | None = None, feature: str = "image"
) -> Evaluator:
    """An evaluator of the value `diversity` of samples (`metrics.diversity`), with its standard error.

    Args:
      sample: the sampler, as `Experiment.sample`.
      source: the split whose examples are the data.
      conditions: the conditions of the samples; None for a model without conditions.
      feature: the name of the feature that samples are like.

    Returns:
      The evaluator. It finds nothing where the split has a single example, or equal ones alone.
    """
    n, against = count(source, feature), against_data(source, feature=feature)

    def evaluate(state: TrainState, key: Key, track: Track) -> dict[str, float]:
        chunks = range(0, n, CHUNK)
        drawn = [
            np.asarray(wait(sample(state, jax.random.fold_in(key, start), given(CHUNK, conditions, start=start))))
            for start in track(chunks, description="samples for their diversity", total=len(chunks))
        ]
        return against(np.concatenate(drawn)[:n])

    return evaluate


def against_data(source: data.Source, *, feature: str = "image") -> Callable[[np.ndarray], dict[str, float]]:
    """The diversity of samples that are drawn already, as values by name.

    The examples of the data lie evenly over the split, and are read once. Bytes are taken to be in [0, 1], as samples are.

    Args:
      source: the split whose examples are the data.
      feature: the name of the feature that samples are like.

    Returns:
      A function of samples `[n, ...]` that gives `diversity` and `diversity_stderr`; nothing where the split has a single
      example, or equal ones alone.
    """

    @functools.cache
    def of_data() -> Spread | None:
        n = min(count(source, feature), source.length)
        if n < 2:
            return None
        x = source.gather(np.linspace(0, source.length - 1, n).astype(np.int64))[feature]
        found = spread(x / np.float32(255) if x.dtype == np.uint8 else x, "the data")
        return found if found.distance > 0 else None

    def measured(samples: np.ndarray) -> dict[str, float]:
        real = of_data()
        return {} if real is None else named({"diversity": diversity(spread(samples), real)})

    return measured


def count(source: data.Source, feature: str = "image") -> int:
    """The number of samples whose distances are measured: no value depends on it but by chance."""
    return max(2, min(SAMPLES, LARGEST // max(1, int(np.prod(source.shape(feature))))))


def active_units(
    source: data.Source, kls: Measure, *, above: float, batch_size: int, transform: data.Transform = data.identity
) -> Evaluator:
    """An evaluator that counts the latents whose KL, a mean over a split, is above a bound.

    Args:
      source: the split.
      kls: the KLs of the latents of each example, `[B, units]` by name.
      above: the bound, in nats.
      batch_size: the number of examples at once.
      transform: a function that is applied to every example on the device.

    Returns:
      The evaluator, whose values are the numbers of active latents, by the names of `kls`.
    """
    total = sum_over(source, kls, batch_size=batch_size, transform=transform)

    def evaluate(state: TrainState, key: Key, track: Track) -> dict[str, float]:
        return {name: float((kl / source.length > above).sum()) for name, kl in total(state, key, track).items()}

    return evaluate


def of_samples(advice: str, *, after: int = 1000) -> Alarm:
    """The alarm of a fall of `test/diversity`: to less than a third of the run's best, or to nearly nothing.

    Args:
      advice: the flags of the experiment that may help, after "give": "a lower --learning-rate".
      after: the step from which on the floor counts; a generator that begins at the mean image takes some time to leave it.

    Returns:
      The alarm, for `Experiment.alarms`.
    """
    return Alarm(
        "test/diversity",
        f"the generator has collapsed, its samples are much alike; give {advice}; or --keep-every for checkpoints from before.",
        share=SHARE,
        below=BELOW,
        after=after,
    )


def of_posterior(value: str, advice: str, *, below: float = 1.0, after: int = 1000) -> Alarm:
    """The alarm of a posterior that is the prior for every image, at once or after a while.

    A share of the best would mean nothing: while the weight of the KL rises, the KL and the number of latents in use fall.

    Args:
      value: the value that is nearly zero then, `split/name`: a number of active units, or a KL in nats.
      advice: the flags of the experiment that may help, after "give": "a longer --warmup".
      below: the floor; 1 is that of a number of units.
      after: the step from which on the floor counts.

    Returns:
      The alarm, for `Experiment.alarms`.
    """
    return Alarm(
        value,
        f"the posterior has collapsed to the prior, these latents say nothing of the image; give {advice}.",
        below=below,
        after=after,
    )
