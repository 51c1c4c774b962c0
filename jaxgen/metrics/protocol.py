"""What a number is worth only together with: how it was measured. Values of different protocols are not compared."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgen.errors import UserError


class Protocol(NamedTuple):
    """All that two values have to share to be compared: everything but whose samples they are of.

    Fields:
      metric: what was measured, and in whose features: `frechet_lenet`.
      extractor: name and version of the network; its version is a hash of its weights.
      resizer: how images came to the network's size.
      real: what the samples were held against: set, split and a hash of the examples.
      n_real: real images.
      n_fake: samples.
      seed: of the samples, and of every subset.
      checkpoint: how it was chosen: `last`, `best`, `step 4000`; empty for samples from elsewhere.
      settings: of the metric, such as the k of its neighbours.
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
      protocol: how it was measured.
      std: its standard deviation over what the settings name (subsets, splits), or None.
      floor: the value of other real images in the samples' place: what even the data does not get below (or above).
      floor_n: how many of these.
      caution: what the value does not mean, because there were too few examples; empty if there were enough.
    """

    value: float
    protocol: Protocol
    std: float | None = None
    floor: float | None = None
    floor_n: int | None = None
    caution: str = ""

    def __str__(self) -> str:
        spread = "" if self.std is None else f" +- {self.std:.2g}"
        floor = "" if self.floor is None else f"   real against real {self.floor:.4g} (n = {self.floor_n:,})"
        settings = ", ".join(f"{name} {value}" for name, value in self.protocol.settings)
        caution = self.caution and f"   [few examples: {self.caution}]"
        return f"{self.protocol.metric:32} {self.value:.5g}{spread}{floor}{settings and f'   ({settings})'}{caution}"


def difference(a: Measurement, b: Measurement) -> float:
    """How much larger the one value is than the other.

    Args:
      a: a measurement.
      b: another, by the same protocol.

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
    others = [
        f"{name} is {mine} and {other}"
        for name, mine, other in zip(Protocol._fields, a.protocol, b.protocol, strict=True)
        if mine != other
    ]
    if others:
        raise UserError(f"Values of different protocols say nothing about each other: {'; '.join(others)}.")
    return a.value - b.value


def to_json(measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    """Measurements as JSON holds them."""
    return {name: {**m._asdict(), "protocol": m.protocol._asdict()} for name, m in measurements.items()}


def from_json(text: str, name: str) -> dict[str, Measurement]:
    """Measurements as `to_json` gave them.

    Args:
      text: a JSON object with the key `measurements`.
      name: of the file, for the message.

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
