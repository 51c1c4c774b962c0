"""The extractor of the Fréchet inception distance and the inception score, from a file of weights that the user has."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from jaxgen.errors import UserError
from jaxgen.measuring import tensors
from jaxgen.measuring.features import Extractor, Outputs
from jaxgen.models.cnn.inception_v3 import SIDE, InceptionV3, prepare

INCEPTION_VERSION = "1"
"""The version of this code, raised whenever the same weights give other features."""

REFERENCE = "6726825d"
"""The beginning of the SHA-256 of `pt_inception-2015-12-05-6726825d.pth`: the weights of all published distances."""

_PARTS = {"kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def load(path: str | Path) -> Extractor:
    """The extractor `inception`: the 2,048 features before the logits, and the logits without their bias.

    Nothing is downloaded, and nothing that a file says is run.

    Args:
      path: a file of the weights, whose tensors have the names of pytorch-fid and torch-fidelity: `.safetensors`, or `.pth`,
        which takes PyTorch to read.

    Returns:
      The extractor; `is_reference` says whether its weights are those that the names of the metrics stand for.

    Raises:
      UserError: if there is no such file, it cannot be read, or its tensors are not the network's.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"There is no file {path}; give one of InceptionV3's weights, such as pt_inception-2015-12-05-{REFERENCE}.pth."
        )
    variables = convert(tensors.read(path), str(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model = InceptionV3()

    def apply(images: UInt8[Array, "n h w c"]) -> Outputs:
        if images.shape[-1] not in (1, 3):
            raise UserError(
                f"The network sees grey or coloured images, and these have {images.shape[-1]} channels; give 1 or 3."
            )
        # An accelerator's quicker products of fewer digits would move the features.
        with jax.default_matmul_precision("float32"):
            seen: Any = model.apply(variables, prepare(images))
        return Outputs(seen.features, seen.unbiased)

    return Extractor("inception", f"{INCEPTION_VERSION}-{digest[:8]}", f"bilinear of TensorFlow 1 to {SIDE}x{SIDE}", apply)


def is_reference(extractor: Extractor) -> bool:
    """Whether an extractor is the network with the weights of all published distances: only then is a distance an FID.

    >>> is_reference(Extractor("inception", "1-6726825d", "none", lambda images: None))
    True
    >>> is_reference(Extractor("inception", "1-01234567", "none", lambda images: None))
    False
    """
    return extractor.name == "inception" and extractor.version.partition("-")[2] == REFERENCE


def convert(found: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """The network's variables.

    Args:
      found: the weights by the names of a PyTorch module: kernels `[out, in, h, w]`, matrices `[out, in]`.
      name: the name of the place they are from, for messages.

    Returns:
      The variables for `InceptionV3().apply`.

    Raises:
      UserError: if one is missing, too many, or of another shape: the first.
    """
    leaves, structure = jax.tree.flatten_with_path(_network())
    wanted = {_torch_name([key.key for key in path[1:]]): _torch_shape(leaf.shape) for path, leaf in leaves}
    # A counter of training steps, which only newer files have.
    given = {key: a for key, a in found.items() if not key.endswith("num_batches_tracked")}
    wrong = [f"has no tensor {key}" for key in sorted(wanted.keys() - given.keys())]
    wrong += [f"has a tensor {key}, of which InceptionV3 knows nothing" for key in sorted(given.keys() - wanted.keys())]
    wrong += wrong or [
        f"has a tensor {key} of shape {list(given[key].shape)}, which InceptionV3 has of {list(shape)}"
        for key, shape in wanted.items()
        if given[key].shape != shape
    ]
    if wrong:
        raise UserError(f"{name} {wrong[0]}; give the weights of 2015-12-05 as pytorch-fid and torch-fidelity have them.")
    return jax.tree.unflatten(structure, [jnp.asarray(_turned(given[key]), jnp.float32) for key in wanted])


@functools.cache
def _network() -> Any:
    """The shapes of the network's variables."""
    return jax.eval_shape(InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32))


def _torch_name(path: list[str]) -> str:
    """The name of a leaf: `Mixed_5b/branch1x1/bn/BatchNorm_0/scale` is `Mixed_5b.branch1x1.bn.weight`."""
    if path[0].startswith("fc"):
        return "fc.bias" if path[0] == "fc_bias" else "fc.weight"
    *modules, leaf = [part for part in path if part not in ("bn", "BatchNorm_0")]
    return ".".join([*modules, _PARTS[leaf]])


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _turned(a: np.ndarray) -> np.ndarray:
    """A weight turned from `[out, in, h, w]` to `[h, w, in, out]`, or from `[out, in]` to `[in, out]`."""
    return a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T
