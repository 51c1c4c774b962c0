"""`gaussian_ring` and `gaussian_grid`: the two mixtures in the plane on which lost modes are counted. No download."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

TRAIN, TEST = 100_000, 10_000


class Mixture(NamedTuple):
    """Equally likely isotropic Gaussians.

    Fields:
      centres: the means of the Gaussians, `[m, 2]`.
      std: the standard deviation of each.
    """

    centres: np.ndarray
    std: float


_ANGLES = 2 * np.pi * np.arange(8) / 8
_TICKS = np.arange(-4.0, 5.0, 2.0)

RING = Mixture(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1), 0.01)
"""8 modes on the unit circle."""

GRID = Mixture(np.stack(np.meshgrid(_TICKS, _TICKS, indexing="ij"), -1).reshape(-1, 2), 0.05)
"""25 modes at {-4, -2, 0, 2, 4} squared."""


class _Points:
    """The code that the two builders share; it is no builder itself, or TFDS would list it."""

    VERSION = tfds.core.Version("1.0.0")
    MIXTURE: Mixture

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Points of {len(self.MIXTURE.centres)} equally likely Gaussians with a std of {self.MIXTURE.std}.",
            features=tfds.features.FeaturesDict(
                {
                    "point": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                    "label": tfds.features.ClassLabel(num_classes=len(self.MIXTURE.centres)),
                }
            ),
            supervised_keys=("point", "label"),
            homepage="https://arxiv.org/abs/1705.07761",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"train": self._generate_examples(0, TRAIN), "test": self._generate_examples(1, TEST)}

    def _generate_examples(self, seed: int, n: int) -> Iterator[tuple[int, dict[str, Any]]]:
        rng = np.random.Generator(np.random.Philox(seed))
        labels = rng.integers(len(self.MIXTURE.centres), size=n)
        points = self.MIXTURE.centres[labels] + self.MIXTURE.std * rng.normal(size=(n, 2))
        for i, (point, label) in enumerate(zip(points.astype(np.float32), labels, strict=True)):
            yield i, {"point": point, "label": int(label)}


class GaussianRing(_Points, tfds.core.GeneratorBasedBuilder):
    """8 Gaussians on the unit circle, std 0.01; `label` is the mode.

    Source: Srivastava et al. 2017 (VEEGAN), section 5.1, with the numbers of Lin et al. 2018 (PacGAN).
    """

    MIXTURE = RING


class GaussianGrid(_Points, tfds.core.GeneratorBasedBuilder):
    """25 Gaussians on a 5 x 5 grid from -4 to 4, std 0.05; `label` is the mode. Source: as `GaussianRing`."""

    MIXTURE = GRID
