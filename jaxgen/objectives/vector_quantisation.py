"""Reconstruction through a grid of codes."""

import flax.linen as nn

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def vector_quantisation(model: nn.Module, *, data_variance: float = 1.0, name: str = "model", feature: str = "image") -> LossFn:
    r"""The loss of a VQ-VAE: its squared error in units of the data's variance, and the loss of its quantiser.

    $\frac{1}{n \sigma^2} \|x - \hat x\|^2 + \frac 1 m \|\mathrm{sg}(z) - e\|^2 + \frac \beta m \|z - \mathrm{sg}(e)\|^2$ for an
    image of n numbers and a code of m. The last two terms are the quantiser's. Running averages do without the middle one.

    Args:
      model: a linen module that maps `(x, mask)` to the reconstruction and a `nn.Quantised`.
      data_variance: the variance $\sigma^2$ of the training images' numbers, in the units of x (`data.variance`). The larger it
        is, the less the reconstruction counts against the commitment.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `mse` (the mean of the squared error over the image), `normalised_mse` (divided by the variance),
      `quantisation` (the loss of the quantiser), and `batch_perplexity`, a scalar that grows with the size of a batch.

    Source: van den Oord et al. 2017, equation 3; the division by the variance is that of the authors' code (Sonnet's VQ-VAE
    example).
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, mask = batch[feature], batch.get("mask")
        (decoded, quantised), vars = apply(model, params, state.vars, x, mask, key=key, name=name, train=train)
        mse = ((x - decoded) ** 2).mean(tuple(range(1, x.ndim)))
        metrics = {
            "mse": mse,
            "normalised_mse": mse / data_variance,
            "quantisation": quantised.loss,
            "batch_perplexity": quantised.perplexity,
        }
        return metrics["normalised_mse"] + quantised.loss, Aux(vars, metrics)

    return loss
