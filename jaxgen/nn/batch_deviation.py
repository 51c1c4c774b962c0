"""The spread of the examples of a batch, as a feature of each of them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.devices import collectives


def minibatch_stddev(
    x: Float[Array, "b h w c"], group: int = 4, *, mask: Float[Array, " b"] | None = None
) -> Float[Array, "b h w c2"]:
    r"""Maps with one more channel: the standard deviation over a group of examples, averaged over pixels and channels.

    $s = \frac{1}{HWC} \sum_{hwc} \sqrt{\frac{1}{n} \sum_{b} (x_{bhwc} - \bar x_{hwc})^2 + 10^{-8}}$ for the n examples b of a
    group. Of B examples every M-th is in one group, $M = \lceil B / \mathrm{group} \rceil$.

    The groups are those of the global batch: replicas gather it, and a micro-batch of `accumulate`, which has every k-th
    example, has the groups of the whole batch as long as its size is a multiple of `group`. Examples that only fill the batch
    up (`mask`) are left out of the moments of their group. A group has fewer members where `group` does not divide the batch.

    Args:
      x: the maps.
      group: the largest number of examples in a group.
      mask: a mask that is zero for the examples that only fill the batch up.

    Returns:
      The maps with the channel behind their own, in the dtype of x; computed in float32.

    Source: Karras et al. 2018, section 3; the groups are those of the authors' code.

    >>> x = jnp.array([0.0, 5.0, 2.0, 9.0]).reshape(4, 1, 1, 1)
    >>> minibatch_stddev(x, group=2)[:, 0, 0, 1].tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    whole = collectives.gather(x.astype(jnp.float32))
    rows = len(whole)
    counted = jnp.ones(rows) if mask is None else collectives.gather(mask.astype(jnp.float32))
    members = min(group, rows)
    groups = -(-rows // members)
    fill = groups * members - rows
    grouped = jnp.pad(whole, ((0, fill), (0, 0), (0, 0), (0, 0))).reshape(members, groups, *x.shape[1:])
    weight = jnp.pad(counted, (0, fill)).reshape(members, groups, 1, 1, 1)
    weight = weight / jnp.maximum(weight.sum(0), 1.0)
    centred = grouped - (weight * grouped).sum(0)
    deviation = jnp.sqrt((weight * jnp.square(centred)).sum(0) + 1e-8).mean((1, 2, 3))
    own = deviation[(collectives.offset(x) + jnp.arange(len(x))) % groups]
    channel = jnp.broadcast_to(own[:, None, None, None], (*x.shape[:-1], 1))
    return jnp.concatenate([x, channel.astype(x.dtype)], axis=-1)
