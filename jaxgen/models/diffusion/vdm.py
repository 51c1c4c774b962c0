"""The network of variational diffusion models: fine detail of the input as waves, and the input itself in the output."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def waves(z: Float[Array, "*b c"], powers: tuple[int, ...]) -> Float[Array, "*b f"]:
    r"""$\sin(2^n 2 \pi z)$ and $\cos(2^n 2 \pi z)$ for each channel and each power n: all sines, then all cosines.

    Args:
      z: numbers of the size of 1.
      powers: the powers n.

    Returns:
      Two numbers for each channel and power; the powers of a channel lie side by side.

    Source: Kingma et al. 2021, appendix C, and the authors' code (`Base2FourierFeatures`).

    >>> [round(x, 3) for x in waves(jnp.array([0.0625]), (0, 1)).tolist()]
    [0.383, 0.707, 0.924, 0.707]
    """
    frequencies = jnp.asarray(2 * np.pi * 2.0 ** np.asarray(powers), jnp.float32)
    angles = (z.astype(jnp.float32)[..., None] * frequencies).reshape(*z.shape[:-1], -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class VDM(nn.Module):
    r"""$\hat\epsilon = F(z, \mathrm{waves}(z), t) + z$ with a network F.

    Waves of short length show a network what is smaller than the noise that it sees elsewhere, on which bits depend. Much of z
    is noise where there is much of it, so F predicts the rest.

    Fields:
      network: the network F, `(x, time, *, train)`, with as many outputs as z has channels; by `models.diffusion.presets.vdm`.
      powers: the powers n of the waves; none leaves them out.

    Source: Kingma et al. 2021, section 3.3 and appendix B, and the authors' code (`ScoreUNet`).
    """

    network: nn.Module
    powers: tuple[int, ...] = (6, 7)

    @nn.compact
    def __call__(self, z: Float[Array, "b *shape c"], time: Float[Array, " b"], *, train: bool = False) -> Array:
        """The predicted noise, in float32; z itself at the start.

        Args:
          z: noisy data.
          time: the times of the noise, in [0, 1] where the ends of the schedule have not moved.
          train: whether activations are dropped.

        Returns:
          The noise.
        """
        x = jnp.concatenate([z, waves(z, self.powers)], axis=-1) if self.powers else z
        return self.network(x, time, train=train) + z
