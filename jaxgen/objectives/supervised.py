"""Classification of labelled examples."""

from collections.abc import Callable

import flax.linen as nn

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.classification import cross_entropy, error
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params

Shown = Callable[[TrainState, Array], Array]
"""`shown(state, x [B, ...]) -> [B, ...]`: examples as a network is shown them, such as translations by a frozen one."""


def classification(
    model: nn.Module,
    *,
    smoothing: float = 0.0,
    name: str = "model",
    feature: str = "image",
    label: str = "label",
    shown: Shown | None = None,
) -> LossFn:
    r"""The cross-entropy $-\sum_y q(y) \log p(y | x)$, where q is one at the label, or smoothed.

    Args:
      model: a linen module that maps x to logits `[B, K]`.
      smoothing: the share of q that is spread evenly over all classes, in training alone: evaluated is the likelihood.
      name: the parameters' name.
      feature: the batch's feature x.
      label: the batch's feature of classes, `[B]`. One that is no class, such as -1 for a withheld one, has a loss
        of nan.
      shown: the examples as the model is shown them, in evaluations too; None shows them as they are.

    Returns:
      A loss with the metric `error`: 1 where the likeliest class is another than the label.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature] if shown is None else shown(state, batch[feature])
        logits, vars = apply(model, params, state.vars, x, key=key, name=name, train=train)
        value = cross_entropy(logits, batch[label], smoothing=smoothing if train else 0.0)
        return value, Aux(vars, {"error": error(logits, batch[label])})

    return loss
