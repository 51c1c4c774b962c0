"""A convolutional network of LeNet's kind for small images, of any size and number of channels."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Conv


class LeNet(nn.Module):
    """5x5 convolutions, each rectified and followed by a maximum over 2x2, then dense layers, the last of them the features.

    Not the network of 1998 in every detail: the convolutions keep the side, so that images of 8x8 pass through two of them as
    those of 32x32 do, the units are rectified, and the last layer is a softmax's.

    Fields:
      classes: number of logits.
      channels: feature maps of the convolutions, the largest map first.
      hidden: widths of the dense layers before the logits; the last one's activations are the features.
      dropout: share of the features that are dropped in training.
      dtype: the dtype of the computation; the parameters and the logits are float32.

    Source: LeCun et al. 1998, section II.B.
    """

    classes: int
    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        start = nn.initializers.he_normal()
        self.convs = [Conv(c, (5, 5), kernel_init=start, dtype=self.dtype) for c in self.channels]
        self.denses = [nn.Dense(width, kernel_init=start, dtype=self.dtype) for width in self.hidden]
        self.drop = nn.Dropout(self.dropout)
        self.out = nn.Dense(self.classes)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Maps images to logits."""
        return self.classify(self.embed(x, train=train), train=train)

    def embed(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b d"]:
        """Maps images to features, which are not negative."""
        x = x.astype(self.dtype)
        for conv in self.convs:
            x = jax.nn.relu(_halved(conv(x)))
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
