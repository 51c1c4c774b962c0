"""A convolutional network of LeNet's kind for small images, of any size and number of channels."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Conv
from jaxgen.nn.padding import Padding


class LeNet(nn.Module):
    """5x5 convolutions, each rectified and followed by a maximum over 2x2, then dense layers, the last of them the features.

    Not the network of 1998 in every detail: by default the convolutions keep the side, so that images of 8x8 pass through two
    of them as those of 32x32 do, the units are rectified, and the last layer is a softmax's.

    Fields:
      classes: number of logits.
      channels: feature maps of the convolutions, the largest map first.
      hidden: widths of the dense layers before the logits; the last one's activations are the features.
      dropout: share of the features that are dropped in training.
      padding: the padding of the convolutions: "SAME" keeps the side, and "VALID" takes four pixels off it, as in 1998.
      map_dropout: share of the last convolution's maps that are dropped in training, each of them whole.
      dtype: the dtype of the computation; the parameters and the logits are float32.

    Source: LeCun et al. 1998, section II.B. With `channels=(20, 50)`, `hidden=(500,)`, `dropout=0.5`, `padding="VALID"` and
    `map_dropout=0.5` it is the network of Hoffman et al. 2018 for MNIST and USPS, but for its initial kernels.
    """

    classes: int
    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0
    padding: Padding = "SAME"
    map_dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        start = nn.initializers.he_normal()
        self.convs = [Conv(c, (5, 5), padding=self.padding, kernel_init=start, dtype=self.dtype) for c in self.channels]
        self.denses = [nn.Dense(width, kernel_init=start, dtype=self.dtype) for width in self.hidden]
        self.drop = nn.Dropout(self.dropout)
        self.drop_maps = nn.Dropout(self.map_dropout, broadcast_dims=(1, 2))
        self.out = nn.Dense(self.classes)

    @property
    def smallest_side(self) -> int:
        """The side below which no image passes through the convolutions.

        >>> LeNet(10).smallest_side, LeNet(10, padding="VALID").smallest_side
        (1, 13)
        """
        side = 1
        for _ in self.channels if self.padding == "VALID" else ():
            side = 2 * side - 1 + 4
        return side

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Maps images to logits."""
        return self.classify(self.embed(x, train=train), train=train)

    def embed(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b d"]:
        """Maps images to features, which are not negative."""
        x = x.astype(self.dtype)
        for conv in self.convs:
            x = jax.nn.relu(_halved(conv(x)))
        # Whole maps go, so that it comes to the same before the maximum.
        x = self.drop_maps(x, deterministic=not train)
        x = x.reshape(x.shape[0], -1)
        for dense in self.denses:
            x = jax.nn.relu(dense(x))
        return x.astype(jnp.float32)

    def classify(self, features: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        """Maps features to logits."""
        return self.out(self.drop(features, deterministic=not train))


def _halved(x: Array) -> Array:
    """The maximum over 2x2; a side of odd length ends in a maximum over what there is of it."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), constant_values=-jnp.inf)
    # By a reshape: on a CPU the gradient of a window's maximum takes several times as long.
    return x.reshape(b, -(-h // 2), 2, -(-w // 2), 2, c).max((2, 4))
