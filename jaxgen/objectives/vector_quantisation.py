"""Reconstruction through a grid of codes, or through several."""

from collections.abc import Mapping

import flax.linen as nn

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def vector_quantisation(model: nn.Module, *, data_variance: float = 1.0, name: str = "model", feature: str = "image") -> LossFn:
    r"""The loss of a VQ-VAE: its squared error in units of the data's variance, and the loss of its quantiser.

    $\frac{1}{n \sigma^2} \|x - \hat x\|^2 + \frac 1 m \|\mathrm{sg}(z) - e\|^2 + \frac \beta m \|z - \mathrm{sg}(e)\|^2$ for an
    image of n numbers and a code of m. The last two terms are the quantiser's. Running averages do without the middle one.
    Where an image has codes on several levels, as in a VQ-VAE-2, the terms of all levels are added.

    Args:
      model: a linen module that maps `(x, mask)` to the reconstruction and a `nn.Quantised`, or one by the name of each level.
      data_variance: the variance $\sigma^2$ of the training images' numbers, in the units of x (`data.variance`). The larger it
        is, the less the reconstruction counts against the commitment.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `mse` (the mean of the squared error over the image), `normalised_mse` (divided by the variance),
      `quantisation` (the loss of the quantisers), and `batch_perplexity`, a scalar that grows with the size of a batch. With
      several levels each has its own, such as `top_batch_perplexity`.

    Source: van den Oord et al. 2017, equation 3; of several levels Razavi et al. 2019, equation 2; the division by the variance
    is that of the authors' code (Sonnet's VQ-VAE example).
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, mask = batch[feature], batch.get("mask")
        (decoded, quantised), vars = apply(model, params, state.vars, x, mask, key=key, name=name, train=train)
        mse = ((x - decoded) ** 2).mean(tuple(range(1, x.ndim)))
        levels = {f"{level}_": q for level, q in quantised.items()} if isinstance(quantised, Mapping) else {"": quantised}
        metrics = {
            "mse": mse,
            "normalised_mse": mse / data_variance,
            "quantisation": sum(q.loss for q in levels.values()),
            **{f"{level}batch_perplexity": q.perplexity for level, q in levels.items()},
        }
        return metrics["normalised_mse"] + metrics["quantisation"], Aux(vars, metrics)

    return loss
