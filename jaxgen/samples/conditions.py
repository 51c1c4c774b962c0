"""Conditions of samples, such as classes, captions or images: the defaults, or those that a user gives."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen import data
from jaxgen.data import files
from jaxgen.data.load import ExampleMap
from jaxgen.data.source import over
from jaxgen.errors import UserError
from jaxgen.types import Batch

Features = Mapping[str, tuple[tuple[int, ...], np.dtype]]


class Conditions:
    """The conditions of a model's samples.

    Args:
      examples: the conditions of the samples by default: the i-th sample has those of the i-th example, and behind the last
        example comes the first again.
      example_map: the function that makes the features of what a user gives, one example at a time, such as that of
        `data.tokenised`, which makes tokens of a caption.
      features: the names of the features that the sampler gets; None takes all numeric ones of the examples.

    Attributes:
      examples: the examples.
      example_map: the function.
      features: the shape and the dtype of every feature that the sampler gets.

    >>> conditions = Conditions.of_classes(("cat", "dog"))
    >>> given(3, conditions)["label"].tolist(), given(2, conditions.given({"label": ["dog"]}))["label"].tolist()
    ([0, 1, 0], [1, 1])
    """

    def __init__(
        self, examples: data.Source, *, example_map: ExampleMap | None = None, features: Collection[str] | None = None
    ) -> None:
        self.examples, self.example_map = examples, example_map
        # Read now: a run whose data are gone is built from stand-ins of its sources, which can be read no more later.
        found = examples.gather(np.zeros(1, np.int64))
        numeric = [feature for feature, a in found.items() if a.dtype.kind in "biuf"]
        self.features: Features = {f: (found[f].shape[1:], found[f].dtype) for f in (numeric if features is None else features)}

    @classmethod
    def of_classes(cls, names: Sequence[str], *, feature: str = "label") -> "Conditions":
        """One class after the other.

        Args:
          names: the names of the classes, in the order of their numbers.
          feature: the name of the feature.

        Returns:
          The conditions.
        """
        # Not `from_arrays`, which would note these numbers as data that a run reads.
        classes = {feature: tuple(names)}
        return cls(over({feature: np.arange(len(names))}, name="the classes", fingerprint="", classes=classes))

    def given(self, given: Mapping[str, Any] | data.Source) -> "Conditions":
        """The conditions that a user gives.

        Args:
          given: the conditions: a source, or values by feature, as many of each: `{"label": [3, "cat"]}`, `{"caption": ["a red
            three"]}`, `{"image": array [n, H, W, C]}`. A class is a number or a name; an image holds bytes or floats in [0, 1].
            Features that are not given are those of the examples by default.

        Returns:
          The conditions.

        Raises:
          UserError: if the model has no such condition, a shape is another one, or there is no such class.
        """
        with data.recording_opened():  # what samples are made from is no data of the run
            source = data.in_bytes(given if isinstance(given, data.Source) else self._source(given))
        if self.example_map is not None and "caption" in source.gather(np.zeros(1, np.int64)):
            source = data.map_examples(source, self.example_map, name="given")
        there = source.gather(np.zeros(1, np.int64))
        own = [feature for feature in self.features if feature in there]
        if not own:
            raise UserError(f"Samples of this model are made from {self.told()}, and not from {', '.join(sorted(there))}.")
        for feature in own:
            (shape, dtype), got = self.features[feature], there[feature].shape[1:]
            if dtype.kind in "biu" and there[feature].dtype.kind not in "biu":
                raise UserError(
                    f"The {feature} of {source.name} is {there[feature].dtype}, and this model takes whole numbers."
                )
            if got != shape:
                mend = " by --resize, or by `jaxgen data convert SET OUT.npz --size N`" if feature == "image" else ""
                raise UserError(
                    f"The {feature} of {source.name} is {_shape(got)}, and this model was trained on {_shape(shape)}; bring it "
                    f"to that shape{mend}."
                )
            self._check_classes(feature, source)
        missing = self.features.keys() - set(own)

        def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
            rows = source.gather(indices)
            rest = self.examples.gather(indices % self.examples.length) if missing else {}
            for feature in own:
                self._check_labels(feature, rows[feature], source.name)
            return {f: rows[f] if f in own else rest[f] for f in self.features}

        classes = {feature: names for feature, names in self.examples.classes.items() if feature in self.features}
        examples = source._replace(gather=gather, classes=classes)
        return Conditions(examples, example_map=self.example_map, features=self.features)

    def told(self) -> str:
        """The conditions in words, for messages."""
        return ", ".join(self.features) + (" or a caption" if self.example_map is not None else "")

    def _source(self, given: Mapping[str, Any]) -> data.Source:
        arrays = {}
        for feature, values in given.items():
            names = self.examples.classes.get(feature, ())
            arrays[feature] = _numbers(values, feature, names) if names else np.asarray(values)
        if "image" in arrays and arrays["image"].ndim == 3:
            arrays["image"] = arrays["image"][..., None]
        return data.from_arrays(arrays, name="what is given")

    def _check_labels(self, feature: str, labels: np.ndarray, name: str) -> None:
        """Refuses numbers that are no class: an embedding has no vector for them."""
        names = self.examples.classes.get(feature, ())
        if names and not 0 <= labels.min() <= labels.max() < len(names):
            wrong = labels[(labels < 0) | (labels >= len(names))][0]
            raise UserError(f"There is no {feature} {wrong}, which {name} has; this model knows {_some(names)}.")

    def _check_classes(self, feature: str, source: data.Source) -> None:
        """Refuses labels of a source whose classes are others than those that the model knows."""
        own, others = self.examples.classes.get(feature, ()), source.classes.get(feature, ())
        if own and others and own != others:
            raise UserError(
                f"The classes of {source.name} are {_some(others)}, and this model knows {_some(own)}; give classes of these."
            )


def given(n: int, conditions: Conditions | None = None, *, start: int = 0) -> Batch:
    """The batch that a sampler gets for n samples: the samples' numbers, and their conditions if there are any.

    Args:
      n: the number of samples.
      conditions: the conditions of the samples; None for a model without conditions.
      start: the number of the first sample.

    Returns:
      The batch `{"index": [n], ...}`.

    >>> given(2, Conditions.of_classes("abc"), start=2)["label"].tolist(), given(3)["index"].tolist()
    ([2, 0], [0, 1, 2])
    """
    index = np.arange(start, start + n)
    rows: dict[str, np.ndarray] = {}
    if conditions is not None:
        found = conditions.examples.gather(index % conditions.examples.length)
        rows = {feature: found[feature] for feature in conditions.features}
    return {feature: jnp.asarray(a) for feature, a in {**rows, "index": index.astype(np.int32)}.items()}


def images_of(path: Path, conditions: Conditions | None, *, resize: bool = False) -> data.Source:
    """The images that a user names to make samples from, read in the form that the model was trained with.

    Args:
      path: a folder of pictures, or an `.npy` or `.npz` file.
      conditions: the conditions of the model's samples.
      resize: whether to resize the central square of every picture of a folder to the model's size.

    Returns:
      The images, as bytes.

    Raises:
      UserError: if there are none, or the model makes its samples from no image.
    """
    if conditions is None or "image" not in conditions.features:
        from_ = "nothing but noise" if conditions is None else conditions.told()
        raise UserError(f"Samples of this model are made from {from_}, and from no images; leave {path} out.")
    shape = conditions.features["image"][0]
    with data.recording_opened():
        if path.is_dir():
            return data.from_folder(path, size=shape[0] if resize else None, grey=shape[-1] == 1)
        if not path.is_file():
            raise UserError(f"{path} is neither a folder of pictures nor a file; check the path.")
        return data.in_bytes(files.from_file(path))


def _numbers(values: Any, feature: str, names: tuple[str, ...]) -> np.ndarray:
    """Classes that are given by name or by number, as numbers."""

    def number(value: Any) -> int:
        if isinstance(value, str) and value in names:
            return names.index(value)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, (int, np.integer)) or not 0 <= value < len(names):
            raise UserError(f"There is no {feature} {value}; this model knows {_some(names)}.")
        return int(value)

    return np.array([number(value) for value in (values if np.ndim(values) else [values])])


def _some(names: Sequence[str]) -> str:
    named = list(names) != [str(i) for i in range(len(names))]
    if not named:
        return f"the numbers 0 to {len(names) - 1}"
    return f"{', '.join(names[:10])}{' ...' if names[10:] else ''} (0 to {len(names) - 1})"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
