"""The figures of a run, each with its protocol: its evaluated values, and the metrics of its samples against its data."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from jaxgen import data, values
from jaxgen.devices import memory
from jaxgen.errors import UserError
from jaxgen.experiment import Config, Experiment, of_split
from jaxgen.game import TrainState, averaged
from jaxgen.measuring.features import Extractor, pixels
from jaxgen.measuring.protocol import Measurement, Protocol
from jaxgen.progress import Track
from jaxgen.uncertainty import paired


def evaluated(
    experiment: Experiment, evaluated: Mapping[str, Mapping[str, float]], *, seed: int, checkpoint: str
) -> dict[str, Measurement]:
    """Evaluated values with their protocol: those that the experiment says are figures to compare.

    Args:
      experiment: the experiment whose evaluators found the values.
      evaluated: the values, `{split: {name: value}}`.
      seed: the seed of the evaluation.
      checkpoint: a description of how this checkpoint was chosen.

    Returns:
      The figures by name, such as `test/nll`; none for a split that the experiment does not have.
    """
    config, found = experiment.config, {}
    if config is None:
        return {}
    for split, named in evaluated.items():
        if split not in experiment.splits:
            continue
        real = experiment.splits[split]
        told, pairs = f"{real.name} {data.contents(real)}", paired(named)
        for name, flags in experiment.protocol.items():
            if name not in named:
                continue
            protocol = Protocol(
                metric=f"{split}/{name}",
                extractor="",
                resizer="none",
                real=told,
                n_real=real.length,
                n_fake=0,
                seed=seed,
                checkpoint=checkpoint,
                settings=_settings(config, flags),
            )
            value, error = pairs[name]
            found[protocol.metric] = Measurement(value, protocol, stderr=error)
    return found


def measure(
    experiment: Experiment,
    state: TrainState,
    metrics: Iterable[str],
    *,
    n: int,
    split: str,
    extractor: Extractor | None,
    seed: int,
    key: jax.Array,
    name: str,
    checkpoint: str,
    track: Track,
) -> dict[str, Measurement]:
    """A model's samples measured against the images of one of its splits.

    Args:
      experiment: the model's experiment.
      state: the state of the run.
      metrics: names in `jaxgen.measuring.table.METRICS`.
      n: the number of samples.
      split: the split whose images are the real ones.
      extractor: the network whose features are compared; None means pixels.
      seed: the seed of every subset.
      key: the key of the samples.
      name: the name of the samples, for messages.
      checkpoint: a description of how this checkpoint was chosen, for the protocol.
      track: a function that shows the progress.

    Returns:
      The values by name, each with its protocol and its floor.

    Raises:
      UserError: if the model generates no images, there is no such split, or a metric cannot be computed from them.
    """
    # Here and not above: what measures sets of images takes a quarter of a second to import.
    from jaxgen.measuring import images
    from jaxgen.measuring import measure as measuring

    if experiment.sample is None:
        raise UserError("This experiment has no sampler: its model generates nothing.")
    real, (name_of_split, slash, domain) = source(experiment, split), split.partition("/")
    held_out = "validation" if of_split(experiment.splits, "validation") else "test"
    others = experiment.splits.get(f"{held_out if name_of_split == 'train' else 'train'}{slash}{domain}")
    extractor, metrics = extractor or pixels(), list(metrics)
    measuring.check(measuring.Plan(real, n, _labelled(experiment), extractor), metrics)
    drawn = images.drawn(
        experiment.sample,
        averaged(state),
        key,
        n,
        name=name,
        conditions=experiment.given,
        track=track,
    )
    with memory.explained("Measuring", mend="take another --extractor, or measure fewer images"), drawn as fake:
        found = measuring.measure(
            real, fake, metrics, extractor=extractor, others=others, checkpoint=checkpoint, seed=seed, track=track
        )
    drawn_by = () if experiment.config is None else _settings(experiment.config, experiment.sampling)
    return {
        metric: one._replace(protocol=one.protocol._replace(settings=(*one.protocol.settings, *drawn_by)))
        for metric, one in found.items()
    }


def _labelled(experiment: Experiment) -> bool:
    return experiment.given is not None and "label" in experiment.given.features


def source(experiment: Experiment, split: str) -> data.Source:
    """A split of an experiment.

    Raises:
      UserError: if it has no such split.
    """
    if split in experiment.splits:
        return experiment.splits[split]
    if not experiment.splits:
        raise UserError("This experiment names no splits to hold its samples against; measure two folders or arrays.")
    if split == "validation":
        raise UserError("This run has no validation split; a run that is trained with --validation has one.")
    raise UserError(f"This run has no split {split!r}; it has {', '.join(experiment.splits)}.")


def _settings(config: Config, flags: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """Flags and their values as a protocol names them."""

    def setting(value: object) -> object:
        return value if values.plain(value) else values.shown(values.described(value))

    return tuple((flag, setting(config.flags[flag])) for flag in sorted(flags))
