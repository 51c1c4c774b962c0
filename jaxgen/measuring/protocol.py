"""Protocols: a record of how a value was measured. Values of different protocols are not compared."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgen.errors import UserError
from jaxgen.uncertainty import told


class Protocol(NamedTuple):
    """All that two values have to share to be compared: everything but whose samples they are of.

    Fields:
      metric: the name of the metric, which names the features: `frechet_lenet`.
      extractor: name and version of the network; its version is a hash of its weights.
      resizer: the way in which images came to the network's size.
      real: the real images that the samples were compared with: set, split and a hash of the examples.
      n_real: real images.
      n_fake: samples.
      seed: the seed of the samples and of every subset.
      checkpoint: the way in which the checkpoint was chosen: `last`, `best`, `step 4000`; empty for samples from elsewhere.
      settings: the settings of the metric, such as the k of its neighbours.
    """

    metric: str
    extractor: str
    resizer: str
    real: str
    n_real: int
    n_fake: int
    seed: int
    checkpoint: str
    settings: tuple[tuple[str, Any], ...] = ()


class Measurement(NamedTuple):
    """A value with its protocol.

    Fields:
      value: the number.
      protocol: the way in which it was measured.
      std: the standard deviation over what the settings name (subsets, splits), or None: the spread of one of these, not the
        error of the value.
      floor: the value of other real images in the samples' place: what even the data does not get below (or above).
      floor_n: the number of these images.
      stderr: the standard error of the value over the examples, or None where nobody knows it.
      caution: a sentence that says what the value does not mean, because there were too few examples; empty if there were
        enough.
    """

    value: float
    protocol: Protocol
    std: float | None = None
    floor: float | None = None
    floor_n: int | None = None
    stderr: float | None = None
    caution: str = ""

    def __str__(self) -> str:
        unknown = "   (no standard error)" if self.stderr is None and self.std is None else ""
        spread = (
            unknown if self.std is None else f"   (standard deviation {self.std:.2g} over the parts that the settings name)"
        )
        floor = "" if self.floor is None else f"   real against real {self.floor:.4g} (n = {self.floor_n:,})"
        settings = ", ".join(f"{name} {value}" for name, value in self.protocol.settings)
        caution = self.caution and f"   [few examples: {self.caution}]"
        value = told(self.value, self.stderr)
        return f"{self.protocol.metric:32} {value}{spread}{floor}{settings and f'   ({settings})'}{caution}"


def difference(a: Measurement, b: Measurement) -> float:
    """The difference of two values of one protocol.

    Args:
      a: a measurement.
      b: another measurement, by the same protocol.

    Returns:
      a - b.

    Raises:
      UserError: if the protocols differ, naming in what.

    >>> one = Protocol("frechet_lenet", "lenet 1-0123abcd", "none", "mnist test 89abcdef", 10_000, 5_000, 0, "last")
    >>> difference(Measurement(3.0, one), Measurement(2.0, one))
    1.0
    >>> difference(Measurement(3.0, one), Measurement(2.0, one._replace(n_fake=1_000)))
    Traceback (most recent call last):
    jaxgen.errors.UserError: Values of different protocols say nothing about each other: n_fake is 5000 and 1000.
    """
    mine, theirs = (_parts(one.protocol) for one in (a, b))
    names = [*mine, *(name for name in theirs if name not in mine)]
    others = [
        f"{name} is {mine.get(name, 'not named')} and {theirs.get(name, 'not named')}"
        for name in names
        if mine.get(name, _parts) != theirs.get(name, _parts)  # a default that no value equals: None is one
    ]
    if others:
        raise UserError(f"Values of different protocols say nothing about each other: {'; '.join(others)}.")
    return a.value - b.value


def _parts(protocol: Protocol) -> dict[str, Any]:
    """A protocol by name, with each of its settings for itself."""
    fields = protocol._asdict()
    return {**{name: value for name, value in fields.items() if name != "settings"}, **dict(protocol.settings)}


def error_of_difference(a: Measurement, b: Measurement) -> float | None:
    r"""The standard error of `difference`, $\sqrt{s_a^2 + s_b^2}$, or None where one of the two is not known.

    It holds for two independent values. Of two models on the same examples the difference is known better than this, as far
    as the examples are easy and hard for both.

    >>> one = Protocol("test/nll", "", "none", "mnist test 89abcdef", 10_000, 0, 0, "last")
    >>> error_of_difference(Measurement(90.0, one, stderr=0.3), Measurement(91.0, one, stderr=0.4))
    0.5
    """
    return None if a.stderr is None or b.stderr is None else math.hypot(a.stderr, b.stderr)


def to_json(measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    """Measurements as JSON holds them."""
    return {name: {**m._asdict(), "protocol": m.protocol._asdict()} for name, m in measurements.items()}


def from_json(text: str, name: str) -> dict[str, Measurement]:
    """Measurements as `to_json` gave them.

    Args:
      text: a JSON object with the key `measurements`.
      name: the name of the file, for the message.

    Raises:
      UserError: if the text holds no measurements.
    """
    try:
        found = {}
        for key, fields in json.loads(text)["measurements"].items():
            settings = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in fields["protocol"]["settings"])
            found[key] = Measurement(**{**fields, "protocol": Protocol(**{**fields["protocol"], "settings": settings})})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{name} holds no measurements; give a file that `jaxgen evaluate --metrics ... --json` wrote."
        ) from None
    return found
