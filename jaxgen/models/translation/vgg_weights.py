"""VGG's weights from PyTorch, for the encoder of style transfer and for networks that compare images."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.models.cnn.vgg import MEAN, STD
from jaxgen.models.cnn.vgg_weights import convolutions
from jaxgen.types import Params


def from_torch(
    tensors: Mapping[str, np.ndarray], encoder: nn.Module, *, name: str = "the weights", network: str = "VGG-19"
) -> Params:
    """The parameters of a `TransferEncoder` or a `VGG`, of the convolutions of VGG in their order.

    Two kinds of names are known: those of torchvision's VGG (`features.0.weight`), which sees colours that are brought to the
    mean 0 and the deviation 1, which the first convolution of an encoder with `recoloured` then does; and those of the
    "normalised" VGG of Huang & Belongie in PyTorch (`0.weight`), whose first convolution is its own. Layers behind the
    encoder's last are left out.

    Args:
      tensors: the weights by name.
      encoder: the encoder.
      name: the name of the place that they are from, for messages.
      network: the network of which there are to be weights, for messages.

    Returns:
      The parameters.

    Raises:
      UserError: if there are fewer convolutions than the encoder has, or one has another shape.
    """
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    found = convolutions(tensors)
    if "colours" in shapes and found and found[0][0].shape[:2] != (1, 1):
        colours = np.diag(1 / np.asarray(STD, np.float32))[None, None]
        found.insert(0, (colours, -np.asarray(MEAN, np.float32) / np.asarray(STD, np.float32)))
    layers = sorted(shapes, key=lambda layer: (layer != "colours", layer))
    if len(found) < len(layers):
        raise UserError(
            f"{name} has {len(found)} convolutions with names of VGG, and the encoder has {len(layers)}; give {network}."
        )
    params = {}
    for layer, (kernel, bias) in zip(layers, found, strict=False):
        if kernel.shape != shapes[layer]["kernel"].shape:
            raise UserError(
                f"{name} has a convolution of {list(kernel.shape)} where the encoder has one of "
                f"{list(shapes[layer]['kernel'].shape)}; give {network}."
            )
        params[layer] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    return params
