"""Files of a network's weights, as tensors by their names. Nothing is downloaded, and nothing that a file says is run."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file.

    Args:
      path: a `.safetensors`, or a `.pth`, which takes PyTorch to read.

    Returns:
      The tensors by name, as PyTorch's modules hold them: kernels `[out, in, h, w]`. Where the file holds several networks,
      the name of a network comes first: `generator.weight`.

    Raises:
      UserError: if there is no such file, it cannot be read, or the package that reads it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}; give one of a network's weights, .safetensors or .pth.")
    return _safetensors(path) if path.suffix == ".safetensors" else _pth(path)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
        from safetensors.numpy import load_file
    except ImportError:
        raise UserError(f'{path} takes another package to be read; install it by `pip install "jaxgen[metrics]"`.') from None
    try:
        return load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _pth(path: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{path} takes PyTorch to be read; `pip install torch`, or make a .safetensors of it where PyTorch is: "
            "`safetensors.torch.save_file(torch.load(path, weights_only=True), path)`."
        )
    import torch

    try:
        # Tensors and nothing else: no code that a file brings is run.
        return _flat(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise _damaged(path, error) from None


def _flat(tensors: Mapping[Any, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file by their names; in one of several networks the name of the network comes first."""
    found: dict[str, np.ndarray] = {}
    for key, value in tensors.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value.float().numpy()}
    return found


def _damaged(path: Path, error: Exception) -> UserError:
    reason = re.split(r"[.\n]", str(error).strip(), maxsplit=1)[0][:160] or type(error).__name__
    return UserError(f"{path} cannot be read as tensors by their names ({reason}); restore it from a copy.")
