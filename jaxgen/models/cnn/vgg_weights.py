"""The convolutions of a VGG in a file of PyTorch's tensors."""

import re
from collections.abc import Mapping

import numpy as np


def convolutions(tensors: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The kernels and biases of the convolutions, in the order of the numbers in their names.

    Three kinds of names are known: `0.weight`, torchvision's `features.0.weight`, and `net.slice1.0.weight` of the package
    `lpips`. All other tensors are left out.

    Args:
      tensors: the tensors by name, as PyTorch has them.

    Returns:
      Pairs of a kernel `[h, w, in, out]` and a bias `[out]`, in float32.

    >>> pairs = convolutions({"features.2.weight": np.zeros((5, 4, 3, 3)), "features.2.bias": np.zeros(5)})
    >>> [(kernel.shape, bias.shape) for kernel, bias in pairs]
    [((3, 3, 4, 5), (5,))]
    """
    found: dict[tuple[int, str], np.ndarray] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"(?:features\.|net\.slice\d+\.)?(\d+)\.(weight|bias)", name):
            found[int(match[1]), match[2]] = np.asarray(tensor, np.float32)
    numbers = sorted(n for (n, part), tensor in found.items() if part == "weight" and tensor.ndim == 4 and (n, "bias") in found)
    return [(found[n, "weight"].transpose(2, 3, 1, 0), found[n, "bias"]) for n in numbers]
