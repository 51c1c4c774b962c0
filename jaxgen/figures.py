"""The figures of a run that are to be compared, each with its protocol: what it evaluates, and its samples against its data."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from jaxgen import data, memory, values
from jaxgen.errors import UserError
from jaxgen.experiment import Config, Experiment
from jaxgen.game import TrainState, averaged
from jaxgen.logs import Track
from jaxgen.metrics.features import Extractor, pixels
from jaxgen.metrics.protocol import Measurement, Protocol
from jaxgen.uncertainty import paired


def of(
    experiment: Experiment, evaluated: Mapping[str, Mapping[str, float]], *, seed: int, checkpoint: str
) -> dict[str, Measurement]:
    """Evaluated values with their protocol: those that the experiment says are figures to compare.

    Args:
      experiment: the experiment whose evaluators found the values.
      evaluated: the values, `{split: {name: value}}`.
      seed: the seed of the evaluation.
      checkpoint: a description of how this checkpoint was chosen.

    Returns:
      By name, `test/nll`; nothing of an experiment without a flag `dataset`.
    """
    config, found = experiment.config, {}
    if config is None or "dataset" not in config.flags:
        return {}
    for split, of_split in evaluated.items():
        real = source(config, split)
        told, pairs = f"{real.name} {data.contents(real)}", paired(of_split)
        for name, flags in experiment.protocol.items():
            if name not in of_split:
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
    """A model's samples measured against the images of its dataset.

    Args:
      experiment: the model's experiment.
      state: the state of the run.
      metrics: names in `jaxgen.metrics.pairs.METRICS`.
      n: the number of samples.
      split: the split whose images are the real ones.
      extractor: the network in whose features; None means pixels.
      seed: the seed of every subset.
      key: the key of the samples.
      name: the name of the samples, for messages.
      checkpoint: a description of how this checkpoint was chosen, for the protocol.
      track: a function that shows the progress.

    Returns:
      By name, each value with its protocol and its floor.

    Raises:
      UserError: if the model generates no images, or a metric cannot be had of them.
    """
    # Here and not above: what measures sets of images takes a quarter of a second to import.
    from jaxgen.metrics import images
    from jaxgen.metrics import measure as measuring

    if experiment.sample is None or experiment.config is None:
        raise UserError("This experiment has no sampler: its model generates nothing.")
    if "dataset" not in experiment.config.flags:
        raise UserError("This experiment has no flag --dataset to hold its samples against; measure two folders or arrays.")
    held_out = "test" if experiment.config.held_out is None else "validation"
    real, others = (source(experiment.config, one) for one in (split, held_out if split == "train" else "train"))
    extractor, metrics = extractor or pixels(), list(metrics)
    measuring.check(measuring.Plan(real, n, experiment.classes is not None, extractor), metrics)
    drawn = images.drawn(
        experiment.sample,
        averaged(state),
        key,
        n,
        name=name,
        classes=experiment.classes,
        names=real.classes.get("label", ()),
        track=track,
    )
    with memory.explained("Measuring", mend="take another --extractor, or measure fewer images"), drawn as fake:
        found = measuring.measure(
            real, fake, metrics, extractor=extractor, others=others, checkpoint=checkpoint, seed=seed, track=track
        )
    drawn_by = _settings(experiment.config, experiment.sampling)
    return {
        metric: one._replace(protocol=one.protocol._replace(settings=(*one.protocol.settings, *drawn_by)))
        for metric, one in found.items()
    }


def source(config: Config, split: str) -> data.Source:
    """A split of a run's dataset, from where and as the run reads it.

    Args:
      config: the configuration of the run's experiment.
      split: the split: `train`, which is what the run trains on; `test`; or `validation`, what it holds out of training.

    Raises:
      UserError: if the run has no validation split.
    """
    held_out = config.held_out
    if split == "validation" and held_out is None:
        raise UserError("This run has no validation split; a run that is trained with --validation has one.")
    if held_out is None or split == "test":
        return _opened(config, split)
    kept, validation = held_out.cut(_opened(config, "train"))
    return validation if split == "validation" else kept


def _opened(config: Config, split: str) -> data.Source:
    dataset = config.flags["dataset"]
    for one in config.opened:
        if one.split == split and (one.dataset is dataset or one.dataset == dataset):
            return one.source
    where = {flag: config.flags[flag] for flag in ("data_dir", "cache_budget") if flag in config.flags}
    return data.load(dataset, split, **where)


def _settings(config: Config, flags: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """Flags and their values as a protocol names them."""

    def setting(value: object) -> object:
        return value if values.plain(value) else values.shown(values.described(value))

    return tuple((flag, setting(config.flags[flag])) for flag in sorted(flags))
