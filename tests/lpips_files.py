"""Tensors by the names and of the shapes that `lpips.LPIPS(net="vgg").state_dict()` has, of a trunk of any stages."""

from collections.abc import Sequence

import numpy as np


def drawn(stages: Sequence[Sequence[int]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal kernels and biases, and positive weights of the channels."""
    rng = np.random.default_rng(seed)
    found, number, below = {}, 0, 3
    for i, stage in enumerate(stages):
        for channels in stage:
            own = f"net.slice{i + 1}.{number}"
            found[f"{own}.weight"] = rng.normal(size=(channels, below, 3, 3), scale=(2 / (9 * below)) ** 0.5)
            found[f"{own}.bias"] = rng.normal(size=channels, scale=0.1)
            below, number = channels, number + 2
        number += 1
        found[f"lin{i}.model.1.weight"] = rng.uniform(0.1, 2.0, size=(1, below, 1, 1))
    found["scaling_layer.shift"], found["scaling_layer.scale"] = np.zeros((1, 3, 1, 1)), np.ones((1, 3, 1, 1))
    return {name: tensor.astype(np.float32) for name, tensor in found.items()}
