"""A generator that is trained without a critic: its samples are moved to the data along the Sinkhorn divergence."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.sinkhorn import sinkhorn_divergence
from jaxgen.objectives.apply import apply, updates_of
from jaxgen.types import Array, Batch, Key, Params


def sinkhorn(
    generator: nn.Module,
    *,
    latents: int,
    epsilon: float,
    iterations: int = 100,
    name: str = "generator",
    feature: str = "image",
) -> LossFn:
    r"""The Sinkhorn divergence $S_\varepsilon(G(z), x)$ of a batch of samples from a batch of the data, one number for both.

    Args:
      generator: a linen module `z [B, latents] -> [B, ...]`, of as many samples as there are data in the batch.
      latents: the dimension of z, which is standard normal.
      epsilon: the strength of the regularisation, in the unit of a squared distance.
      iterations: the number of Sinkhorn's iterations.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `marginal_error`, which is 0 where the iterations have converged. Every example has the value of
      its batch, of the global one where there are replicas; micro-batches are sets of their own.

    Source: Genevay et al. 2018, algorithm 1, with a fixed cost.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        z = keys.draw(jax.random.normal, keys.per_example(key, batch), (len(x), latents))
        made, vars = apply(generator, params, state.vars, z, key=key, name=name, train=train)
        mask = batch["mask"].astype(jnp.float32) if "mask" in batch else jnp.ones(len(x))
        fake, real, weights = (collectives.gather(of) for of in (made, x, mask))
        weights = weights / weights.sum()
        value, error = sinkhorn_divergence(fake, real, weights, weights, epsilon=epsilon, iterations=iterations)
        return jnp.broadcast_to(value, mask.shape), Aux(
            updates_of(vars, name), {"marginal_error": jnp.broadcast_to(error, mask.shape)}
        )

    return loss
