"""LPIPS: the distance of images in the maps of VGG-16, weighted by how people see differences."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.errors import SizeError, UserError
from jaxgen.models.cnn.vgg import VGG, VGG16, Stages, imagenet_colours
from jaxgen.models.cnn.vgg_weights import convolutions
from jaxgen.types import Params


class LPIPS(nn.Module):
    r"""Images to vectors $\phi$ whose squared distance $\|\phi(x) - \phi(y)\|^2$ is LPIPS, version 0.1.

    With the maps $f_i$ of VGG-16 before each of its maxima, in $H_i W_i$ places, and a weight $w_{ic} \ge 0$ of each channel,
    $\phi$ holds the numbers $\sqrt{w_{ic} / (H_i W_i)}\, f_i(x)_{hwc} / \|f_i(x)_{hw}\|$.

    Fields:
      stages: the channels of the convolutions of each stage.
      dtype: the dtype of the convolutions; the parameters and all else are float32.

    Source: Zhang et al. 2018, equation 1; github.com/richzhang/PerceptualSimilarity, lpips/lpips.py.
    """

    stages: Stages = VGG16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b f"]:
        """The vectors of images.

        Args:
          x: images in [-1, 1], with three channels, or with one, which is taken three times.
          train: whether this is training, which changes nothing.

        Returns:
          The vectors, in float32.

        Raises:
          SizeError: if the sides are too small to be halved by each stage.
        """
        least = 1 << len(self.stages)
        if min(x.shape[1:3]) < least:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} are too small for LPIPS; take images whose sides are {least} or longer."
            )
        *maps, _ = VGG(self.stages, dtype=self.dtype, name="trunk").maps(imagenet_colours(x))
        vectors = []
        for i, found in enumerate(maps):
            found = found.astype(jnp.float32)
            weight = self.param(f"weight{i}", nn.initializers.ones, found.shape[-1:])
            length = (found**2).sum(-1, keepdims=True)
            # Where a map is zero in all channels, the root's gradient is not finite. That of JAX's rectifier cuts it off, but
            # nothing should rest on how that is written.
            unit = found / (jnp.sqrt(jnp.where(length > 0, length, 1.0)) + 1e-10)
            vectors.append((jnp.sqrt(weight / (found.shape[1] * found.shape[2])) * unit).reshape(len(x), -1))
        return jnp.concatenate(vectors, axis=-1)


def from_torch(tensors: Mapping[str, np.ndarray], stages: Stages = VGG16, *, name: str = "the file") -> Params:
    """The parameters of `LPIPS`, of the tensors of `lpips.LPIPS(net="vgg")` in PyTorch.

    Args:
      tensors: the tensors by name: `net.slice1.0.weight`, or torchvision's `features.0.weight`, for the convolutions, and
        `lin0.model.1.weight` for the weights of the channels.
      stages: the channels of the convolutions of each stage.
      name: the name of the place that they are from, for messages.

    Returns:
      The parameters.

    Raises:
      UserError: if a tensor is missing or has another shape than the network's.
    """
    mend = 'give the tensors of `lpips.LPIPS(net="vgg").state_dict()`.'
    image = jnp.zeros((1, *[1 << len(stages)] * 2, 3))
    shapes: Params = jax.eval_shape(LPIPS(stages).init, jax.random.key(0), image)["params"]
    layers, found = sorted(shapes["trunk"]), convolutions(tensors)
    if len(found) != len(layers):
        raise UserError(f"{name} has {len(found)} convolutions with names of VGG, and VGG-16 has {len(layers)}; {mend}")
    params: dict[str, Any] = {"trunk": {}}
    for layer, (kernel, bias) in zip(layers, found, strict=True):
        params["trunk"][layer] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    for i in range(len(stages)):
        if (own := f"lin{i}.model.1.weight") not in tensors:
            raise UserError(f"{name} has no {own}; {mend}")
        params[f"weight{i}"] = jnp.asarray(np.asarray(tensors[own], np.float32).ravel())
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, dict(shapes)):
        raise UserError(f"The tensors of {name} have other shapes than those of VGG-16; {mend}")
    return params
