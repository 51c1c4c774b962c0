"""Adaptation of a classifier to a domain without labels: by a discriminator of scores, and by translations that keep them."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.devices import collectives
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, non_saturating
from jaxgen.losses.classification import cross_entropy
from jaxgen.objectives.apply import apply
from jaxgen.objectives.cycle import DOMAINS, Further
from jaxgen.objectives.supervised import Shown
from jaxgen.types import Batch, Key, Params


def adversarial_adaptation(
    source: nn.Module,
    target: nn.Module,
    discriminator: nn.Module,
    *,
    loss: AdversarialLoss = non_saturating,
    domains: tuple[str, str] = ("source", "target"),
    names: tuple[str, str, str] = ("source", "model", "discriminator"),
    feature: str = "image",
    shown: Shown | None = None,
) -> tuple[LossFn, LossFn]:
    r"""The losses of ADDA: a discriminator of two classifiers' scores, and a classifier of the target that it cannot tell.

    With the source's classifier S, the target's T and the logit D that scores are of the source, the discriminator descends
    $- \frac{1}{2} E \log \sigma(D(S(x_s))) - \frac{1}{2} E \log(1 - \sigma(D(T(x_t))))$ and T descends
    $- E \log \sigma(D(T(x_t)))$: labels of the target are not seen. S has no player. Both classifiers drop features in
    training, as they did when S learned, lest D tell them apart by that.

    Args:
      source: the classifier of the source domain, `[B, H, W, C] -> scores [B, K]`, which has no variables.
      target: the classifier of the target domain, in the same way; it begins with the parameters of the other.
      discriminator: a module `scores [B, K] -> logits [B]`.
      loss: the adversarial losses of the two players, with the source in the place of the data.
      domains: the streams of a batch.
      names: the names of the parameters.
      feature: the feature of each stream that is classified.
      shown: the images of the source as its classifier is shown them, such as translations; None shows them as they are.

    Returns:
      The losses of the discriminator and of the target's classifier, in the order of their turns. The discriminator's metrics
      are those of the loss, and `accuracy`, the share of the scores of both domains that it assigns rightly.

    Source: Tzeng et al. 2017, equations 8 and 9. Scores in place of features, and dropout, as in the code of Hoffman et al.
    2018 (github.com/jhoffman/cycada_release, cycada/tools/train_adda_net.py).
    """
    of_source, of_target, judged = names

    def scores(module: nn.Module, name: str, params: Params, state: TrainState, x: Array, key: Key, train: bool) -> Array:
        return apply(module, params, state.vars, x, key=key, name=name, train=train)[0]

    def judge(params: Params, state: TrainState, x: Array, train: bool) -> Float[Array, " b"]:
        return apply(discriminator, params, state.vars, x, name=judged, train=train)[0]

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, y = (batch[domain][feature] for domain in domains)
        x = x if shown is None else shown(state, x)
        of_x, of_y = jax.random.split(key)
        on_source = judge(params, state, scores(source, of_source, params, state, x, of_x, train), train)
        on_target = judge(params, state, scores(target, of_target, params, state, y, of_y, train), train)
        right = (jnp.where(on_source > 0, 0.5, 0.0) + jnp.where(on_target <= 0, 0.5, 0.0)).astype(jnp.float32)
        return loss.discriminator(on_source, on_target) / 2, Aux(
            metrics={**loss.metrics(on_source, on_target), "accuracy": right}
        )

    def target_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        y = batch[domains[1]][feature]
        return loss.generator(judge(params, state, scores(target, of_target, params, state, y, key, train), train)), Aux()

    return discriminator_loss, target_loss


def semantic_consistency(
    classifier: nn.Module, *, limit: float = 1.0, name: str = "classifier", feature: str = "image", label: str = "label"
) -> Further:
    r"""The further terms of CyCADA's translators: to a classifier of domain a, translations are of the class of their images.

    With the classifier f, `semantic_a` is $- \log p_f(y | G(x))$ of the label y of an image x of domain a, and `semantic_b` is
    $- \log p_f(\hat y | F(x))$ of an image x of domain b, with $\hat y$ the class that f takes x itself for. Both are zero in a
    step in which the cross-entropy of f on the real images of domain a is above the limit: at the beginning f knows nothing.

    Args:
      classifier: the classifier, `[B, H, W, C] -> logits [B, K]`, without variables. It learns by a player of its own.
      limit: the largest mean cross-entropy of f on the batch, in nats, at which there are these terms. With micro-batches it is
        that of each.
      name: the name of the classifier's parameters.
      feature: the feature of each stream that is translated.
      label: the feature of domain a that is the class, `[B]`.

    Returns:
      The terms, for `cycle_translation(..., further=...)`.

    Source: Hoffman et al. 2018, equation 4, with the labels in place of f's own classes in domain a, and with the limit, as in
    their code (github.com/jhoffman/pytorch-CycleGAN-and-pix2pix, models/cycle_gan_semantic_model.py).
    """

    def logits(params: Params, state: TrainState, x: Array) -> Float[Array, "b k"]:
        return apply(classifier, params, state.vars, x, name=name)[0]

    def further(params: Params, state: TrainState, batch: Batch, made: Mapping[str, Array]) -> Mapping[str, Array]:
        a, b = (batch[domain] for domain in DOMAINS)
        known = cross_entropy(logits(params, state, a[feature]), a[label])
        mask = a.get("mask")
        real = jnp.ones_like(known) if mask is None else mask.astype(known.dtype)
        total, count = collectives.total((jnp.where(real > 0, known, 0).sum(), real.sum()))
        sure = total <= limit * count
        taken_for = logits(params, state, b[feature]).argmax(-1)
        own, other = DOMAINS
        terms = {
            f"semantic_{own}": cross_entropy(logits(params, state, made[own]), a[label]),
            f"semantic_{other}": cross_entropy(logits(params, state, made[other]), taken_for),
        }
        return {name: jnp.where(sure, term, 0) for name, term in terms.items()}

    return further
