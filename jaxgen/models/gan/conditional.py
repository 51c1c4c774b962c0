"""Class-conditional generators and discriminators: a label is joined to their input."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.nn import Embed


class Generator(nn.Module):
    """A generator of `[z, e_y]`, with a vector e for each class y.

    Source: Mirza & Osindero 2014, section 3.2.

    Fields:
      generator: the generator to condition, `z [B, L + width] -> x`.
      classes: the number of classes.
      width: the width of the embedding e.
    """

    generator: nn.Module
    classes: int
    width: int = 50

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], label: Int[Array, " b"], *, train: bool = False) -> Float[Array, "b *shape"]:
        """Generates an example of each label."""
        y = Embed(self.classes, self.width, embedding_init=nn.initializers.normal(1.0))(label)
        return self.generator(jnp.concatenate([z, y], axis=-1), train=train)


class Discriminator(nn.Module):
    """A discriminator that sees the class, as one-hot y, together with the example.

    Source: Mirza & Osindero 2014, section 3.2; y as channels of a convolutional network: Radford et al. 2015, their conditional
    MNIST model.

    Fields:
      discriminator: the discriminator to condition, `x -> logits [B]`.
      classes: the number of classes.
      planes: whether y is a constant channel for each class; otherwise x is flattened and y follows it, for a dense network.
    """

    discriminator: nn.Module
    classes: int
    planes: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], label: Int[Array, " b"], *, train: bool = False) -> Float[Array, " b"]:
        """Judges pairs of an example and a label."""
        y = jax.nn.one_hot(label, self.classes, dtype=x.dtype)
        y = jnp.where(y.any(-1, keepdims=True), y, jnp.nan)  # of a label that is no class
        if not self.planes:
            x = x.reshape(x.shape[0], -1)
        y = jnp.broadcast_to(y.reshape(-1, *[1] * (x.ndim - 2), self.classes), (*x.shape[:-1], self.classes))
        return self.discriminator(jnp.concatenate([x, y], axis=-1), train=train)
