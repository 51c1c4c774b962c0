"""The stack of tied autoencoders that becomes a classifier."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Bernoulli, Normal
from jaxgen.models.autoencoders.tied import TiedAutoencoder


class StackedAutoencoder(nn.Module):
    r"""Layers of units $h_l = \sigma(W_l^\top h_{l-1} + b_l)$ over an image $h_0$, and a softmax of the last.

    Each layer is an autoencoder of the units below it as well, $\hat h_{l-1} = \sigma(W_l h_l + b'_l)$. The classifier does not
    use the biases $b'_l$.

    Source: Vincent et al. 2008, 2010; the weights' start is that of the deep learning tutorials (`code/SdA.py`), where the
    softmax begins at zero.

    Fields:
      shape: the shape (H, W, C) of the images.
      hidden: the numbers of units of the layers, the lowest first.
      classes: the number of classes.
      dtype: the dtype of the matrix products; the parameters and all else are float32.
      linear: whether the layers' decoders are linear, as in `TiedAutoencoder`.
    """

    shape: tuple[int, int, int]
    hidden: tuple[int, ...] = (1000, 1000, 1000)
    classes: int = 10
    dtype: Any = jnp.float32
    linear: bool = False

    def setup(self) -> None:
        """Makes the layers and the softmax."""
        below = zip([self.shape, *((units,) for units in self.hidden[:-1])], self.hidden, strict=True)
        self.layers = [TiedAutoencoder(shape, units, self.dtype, self.linear) for shape, units in below]
        self.softmax = nn.Dense(self.classes, kernel_init=nn.initializers.zeros_init())

    def encode(self, x: Float[Array, "b h w c"], depth: int | None = None, *, train: bool = False) -> Float[Array, "b ..."]:
        """The units of images.

        Args:
          x: the images.
          depth: the number of layers that are passed, 0 for the images themselves; None for all.
          train: whether the network is trained, which changes nothing.
        """
        for layer in self.layers[:depth]:
            x = layer.encode(x)
        return x

    def denoise(self, h: Float[Array, "b ..."], layer: int, *, train: bool = False) -> Bernoulli | Normal:
        """The distribution of one layer's input.

        Args:
          h: the input, images or the units below, which may be corrupted.
          layer: the number of the layer, from 0.
          train: whether the network is trained, which changes nothing.
        """
        return self.layers[layer](h)

    def decode(self, z: Float[Array, "b m"], *, depth: int | None = None, train: bool = False) -> Bernoulli | Normal:
        """The distribution of the image that units stand for; each layer between is taken at its mean.

        Args:
          z: the units of a layer.
          depth: the number of layers below them, theirs included; None for all.
          train: whether the network is trained, which changes nothing.
        """
        first, *above = self.layers[:depth]
        for layer in reversed(above):
            z = jnp.asarray(layer.decode(z).mean)
        return first.decode(z)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """The logits of the classes."""
        return self.softmax(self.encode(x))
