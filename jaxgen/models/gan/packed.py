"""A discriminator that judges several examples together."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError


class Packed(nn.Module):
    r"""A discriminator of packs of m examples, which sees that a pack lacks the variety of the data.

    Consecutive examples of a batch are a pack, their channels one after the other. Each gets the logit of its pack, so that a
    mean over the examples is the mean over the packs. A penalty on its gradient would see m times the gradient of a pack.

    Source: Lin et al. 2018 (PacGAN), section 3.

    Fields:
      discriminator: the discriminator, `x [B / m, ..., m C] -> logits [B / m]`.
      packing: the number m of examples of a pack.
    """

    discriminator: nn.Module
    packing: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Float[Array, " b"]:
        """Judges a batch.

        Raises:
          SizeError: if the batch is no multiple of the packs.
        """
        if len(x) % self.packing:
            raise SizeError(f"{len(x)} examples cannot be judged in packs of {self.packing}; give a batch size of a multiple.")
        packs = jnp.moveaxis(x.reshape(-1, self.packing, *x.shape[1:]), 1, -2)
        logits: Float[Array, " p"] = self.discriminator(packs.reshape(*packs.shape[:-2], -1), train=train)
        return jnp.repeat(logits, self.packing, axis=0)
