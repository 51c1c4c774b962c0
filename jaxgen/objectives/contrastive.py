"""Contrastive learning of two encoders, and the bound on its learned temperature."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.contrastive import clip_logits, clip_loss
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, PyTree, Vars


def contrastive(model: nn.Module, *, name: str = "model", image: str = "image", text: str = "tokens") -> LossFn:
    r"""CLIP's symmetric cross-entropy between the images and the texts of a batch.

    Args:
      model: a model that has `encode_image(x, train)` and `encode_text(tokens, train)` to `[B, D]`, and `scale(train)`, the
        learned factor $e^t = 1 / \tau$ of the cosines.
      name: the parameters' name.
      image: the batch's feature of images.
      text: the batch's feature of tokens.

    Returns:
      A loss with the metrics `scale`, `image_to_text` and `text_to_image`: how often an example's partner is the nearest in
      the batch. The negatives are the batch's other examples, so all of these depend on its size, and under accumulation
      on a micro-batch's.

    Source: Radford et al. 2021, figure 3 and section 2.3.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        image_key, text_key = jax.random.split(key)
        vars: Vars = state.vars
        u, vars = apply(model, params, vars, batch[image], key=image_key, name=name, method="encode_image", train=train)
        v, vars = apply(model, params, vars, batch[text], key=text_key, name=name, method="encode_text", train=train)
        scale, _ = apply(model, params, vars, name=name, method="scale", train=False)
        mask = batch.get("mask")
        to_text, to_image, partner = clip_logits(u, v, scale, mask)
        metrics = {"scale": scale, "image_to_text": _nearest(to_text, partner), "text_to_image": _nearest(to_image, partner)}
        return clip_loss(u, v, scale, mask), Aux(vars, metrics)

    return loss


def _nearest(logits: Array, partner: Array) -> Array:
    return (logits.argmax(-1) == partner).astype(jnp.float32)


def clip_scale(maximum: float = 100.0, *, leaf: str = "logit_scale") -> optax.GradientTransformation:
    r"""Keeps a learned scale $e^t$ at `maximum` or below: the last link of an optimizer, which ends its update at the bound.

    The parameter is projected after the optimizer's step, as the authors' and the open implementations do. Clipping in the
    forward pass instead, $\min(e^t, 100)$, has no gradient beyond the bound: a step too far, and the temperature could never
    be raised again. Here the gradient is that of the loss everywhere, and one that points back inside is followed at once.

    Args:
      maximum: the bound on $e^t$.
      leaf: name of the parameters that are such a t, wherever they are in the tree.

    Returns:
      A transformation of the updates, to be chained after the optimizer.

    Source: Radford et al. 2021, section 2.5 ("clipped to prevent scaling the logits by more than 100").
    """
    bound = math.log(maximum)

    def init(params: PyTree) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: PyTree, state: optax.EmptyState, params: PyTree = None) -> tuple[PyTree, optax.EmptyState]:
        if params is None:
            raise ValueError("clip_scale needs the parameters: it bounds where an update ends")

        def project(path: tuple, u: Array, t: Array) -> Array:
            named = bool(path) and getattr(path[-1], "key", None) == leaf
            return jnp.minimum(u, jnp.asarray(bound, t.dtype) - t) if named else u

        return jax.tree_util.tree_map_with_path(project, updates, params), state

    return optax.GradientTransformation(init, update)
