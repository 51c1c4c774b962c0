"""Sets of images of several domains, brought to one form: what a translation between them is trained on and measured on."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxgen.data.load import Given, load
from jaxgen.data.pixels import squared
from jaxgen.data.source import Source
from jaxgen.data.views import in_colour, in_colour_together


class Domains(NamedTuple):
    """The splits of the domains; `load_domains` opens them.

    Fields:
      train: the training images of each domain.
      test: the test images of each domain.
    """

    train: dict[str, Source]
    test: dict[str, Source]

    @property
    def splits(self) -> dict[str, Source]:
        """All splits by names such as `train/a`, for `Experiment.splits`."""
        return {f"{split}/{d}": getattr(self, split)[d] for d in self.train for split in ("train", "test")}


def load_domains(sets: Mapping[str, str | Given], *, side: int, colour: bool = False) -> Domains:
    """The training and the test images of domains, as central squares of one side, and all in colour if one domain is.

    Args:
      sets: the datasets by the names of the domains.
      side: the side of the squares.
      colour: whether the images are in colour, even if none is.

    Returns:
      The splits.

    Raises:
      UserError: if there is no such set, or it lacks a split.

    >>> import numpy as np
    >>> from jaxgen.data import from_arrays
    >>> grey, coloured = (from_arrays({"image": np.zeros((9, 8, 6, c), np.uint8)}) for c in (1, 3))
    >>> domains = load_domains({"a": grey, "b": (coloured, coloured)}, side=4)
    >>> {name: source.shape("image") for name, source in domains.splits.items()}
    {'train/a': (4, 4, 3), 'test/a': (4, 4, 3), 'train/b': (4, 4, 3), 'test/b': (4, 4, 3)}
    """
    found = {(split, d): load(one, split, **squared(side)) for d, one in sets.items() for split in ("train", "test")}
    found = {name: in_colour(source) for name, source in found.items()} if colour else in_colour_together(found)
    return Domains(*({d: found[split, d] for d in sets} for split in ("train", "test")))
