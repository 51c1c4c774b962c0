"""Sets of several domains in one form."""

from typing import Any

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data import load_domains


def pictures(value: int, *, n: int = 3, shape: tuple[int, int, int] = (8, 8, 1)) -> data.Source:
    return data.from_arrays({"image": np.full((n, *shape), value, np.uint8)}, name=f"of {value}")


def values(sources: dict[str, data.Source]) -> dict[str, Any]:
    return {name: (source.length, int(source.gather(np.arange(1))["image"].max())) for name, source in sources.items()}


def test_every_split_is_that_of_its_domain() -> None:
    found = load_domains({"a": (pictures(10), pictures(20, n=2)), "b": (pictures(30, n=5), pictures(40, n=4))}, side=8)
    assert values(found.train) == {"a": (3, 10), "b": (5, 30)}
    assert values(found.test) == {"a": (2, 20), "b": (4, 40)}
    splits = {"train/a": (3, 10), "test/a": (2, 20), "train/b": (5, 30), "test/b": (4, 40)}
    assert values(found.splits) == splits
    assert list(found.splits) == list(splits)


@pytest.mark.parametrize(
    ("shapes", "colour", "expected"),
    [
        (((8, 8, 1), (6, 10, 1)), False, (4, 4, 1)),
        (((8, 8, 1), (6, 10, 3)), False, (4, 4, 3)),
        (((8, 8, 1), (6, 10, 1)), True, (4, 4, 3)),
        (((8, 8, 3), (6, 10, 3)), False, (4, 4, 3)),
    ],
)
def test_all_images_are_of_one_side_and_in_colour_if_one_is(shapes: Any, colour: bool, expected: Any) -> None:
    sets = {d: (pictures(1, shape=shape), pictures(2, shape=shape)) for d, shape in zip("ab", shapes, strict=True)}
    found = load_domains(sets, side=4, colour=colour)
    assert {source.shape("image") for source in found.splits.values()} == {expected}
