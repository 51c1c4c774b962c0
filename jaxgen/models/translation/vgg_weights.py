"""VGG's weights from PyTorch, for the encoder of style transfer."""

import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import Params

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The moments of ImageNet's colours, by which torchvision's networks are given their images."""


def from_torch(tensors: Mapping[str, np.ndarray], encoder: nn.Module, *, name: str = "the weights") -> Params:
    """The parameters of a `TransferEncoder` with `recoloured`, of the convolutions of VGG in their order.

    Two kinds of names are known: those of torchvision's VGG (`features.0.weight`), which sees colours that are brought to the
    mean 0 and the deviation 1, which the first convolution then does; and those of the "normalised" VGG of Huang & Belongie in
    PyTorch (`0.weight`), whose first convolution is its own. Layers behind the encoder's last are left out.

    Args:
      tensors: the weights by name.
      encoder: the encoder.
      name: the name of the place that they are from, for messages.

    Returns:
      The parameters.

    Raises:
      UserError: if there are fewer convolutions than the encoder has, or one has another shape.
    """
    found = {}
    for key, value in tensors.items():
        if (match := re.fullmatch(r"(features\.)?(\d+)\.(weight|bias)", key)) and (value.ndim == 4 or match[3] == "bias"):
            found[int(match[2]), match[3]] = np.asarray(value, np.float32)
    kernels: list[np.ndarray] = [found[key] for key in sorted(found) if key[1] == "weight"]
    biases: list[np.ndarray] = [found[key] for key in sorted(found) if key[1] == "bias"][: len(kernels)]
    if kernels and kernels[0].shape[2:] != (1, 1):
        kernels.insert(0, np.diag(1 / np.asarray(STD, np.float32))[:, :, None, None])
        biases.insert(0, -np.asarray(MEAN, np.float32) / np.asarray(STD, np.float32))
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    layers = ["colours", *sorted(layer for layer in shapes if layer != "colours")]
    if len(kernels) < len(layers):
        raise UserError(
            f"{name} has {len(kernels)} convolutions with names of VGG, and the encoder has {len(layers)}; give VGG-19."
        )
    params = {}
    for layer, kernel, bias in zip(layers, kernels, biases, strict=False):
        turned = kernel.transpose(2, 3, 1, 0)
        if turned.shape != shapes[layer]["kernel"].shape:
            raise UserError(
                f"{name} has a convolution of {list(turned.shape)} where the encoder has one of "
                f"{list(shapes[layer]['kernel'].shape)}; give VGG-19."
            )
        params[layer] = {"kernel": jnp.asarray(turned), "bias": jnp.asarray(bias)}
    return params
