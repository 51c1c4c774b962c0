"""Reconstruction with a discriminator of patches, whose weight follows the gradients: the first stage of latent diffusion."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, over_maps
from jaxgen.objectives.apply import apply, updates_of
from jaxgen.types import Batch, Key, Params, PyTree, Vars

Difference = Callable[[Array, Array], Array]
"""`difference(x, y) -> [B]` of images and their reconstructions."""

MOST = 1e4
"""The largest adaptive weight."""


def summed_difference(x: Float[Array, "b *shape"], y: Float[Array, "b *shape"]) -> Float[Array, " b"]:
    """The sum of the absolute differences of each image's numbers, as autoencoders with a normal posterior have it."""
    return jnp.abs(x - y).sum(tuple(range(1, x.ndim)))


def mean_difference(x: Float[Array, "b *shape"], y: Float[Array, "b *shape"]) -> Float[Array, " b"]:
    """The mean of the absolute differences of each image's numbers, as autoencoders with a codebook have it."""
    return jnp.abs(x - y).mean(tuple(range(1, x.ndim)))


def adaptive_weight(of_reconstruction: Array, of_adversary: Array) -> Float[Array, ""]:
    r"""The weight $\min(\|\nabla_\omega L_r\| / (\|\nabla_\omega L_a\| + 10^{-4}), 10^4)$ of an adversarial loss $L_a$.

    With it the two losses move the last layer's kernel $\omega$ equally far.

    Args:
      of_reconstruction: the gradient of the loss of the reconstruction $L_r$ in the kernel.
      of_adversary: the gradient of the adversarial loss in the kernel.

    Returns:
      The weight, which has no gradient.

    Source: Esser et al. 2021, section 3.1, which has $10^{-6}$; the numbers here are those of the code of both papers.

    >>> adaptive_weight(jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])).round(3).item()
    2.5
    """
    ratio = jnp.linalg.norm(of_reconstruction.ravel()) / (jnp.linalg.norm(of_adversary.ravel()) + 1e-4)
    return lax.stop_gradient(jnp.clip(ratio, 0.0, MOST))


def latent_autoencoder(
    autoencoder: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    penalty: tuple[str, float] = ("kl", 1e-6),
    difference: Difference = summed_difference,
    gan: float = 0.5,
    start: int = 0,
    last: Sequence[str] = ("decoder", "out", "kernel"),
    perceptual: tuple[nn.Module, float] | None = None,
    feature: str = "image",
    names: tuple[str, str, str] = ("autoencoder", "discriminator", "lpips"),
) -> tuple[LossFn, LossFn]:
    r"""The losses of an autoencoder and of a discriminator of its reconstructions, in the order of their turns.

    The autoencoder descends $d(x, \hat x) + \lambda_P P(x, \hat x) + \beta R(x) + [s \ge s_0] \lambda_D \lambda V(\hat x)$ with
    the reconstruction $\hat x$ of an image x, the distance P of the two in the vectors of a network, the cost R of its latents
    and the adversarial loss V. The adaptive weight $\lambda$ is that of `adaptive_weight`, with the gradients of the means over
    the batch (of a micro-batch, where there are several) in the kernel of the decoder's last layer alone. In training the
    latents are drawn; an evaluation takes those without a key, and has no adversarial part, which is a matter of a whole batch.
    The discriminator descends half of its loss. That it does not move before the step $s_0$ is up to its player:
    `Player(loss, tx, when=lambda state, _: state.step >= start)`.

    Args:
      autoencoder: a module with the methods `bottleneck(x, keys, mask, train) -> (z, R [B])` and `decode(z, train) -> x`.
      discriminator: a module `x [B, H, W, C] -> logits`, `[B]` or maps `[B, h, w, 1]`.
      loss: the adversarial losses of the two players, of which the mean over the map is taken.
      penalty: the name of the cost R among the metrics and its weight $\beta$.
      difference: the function d, one value for each image.
      gan: the weight $\lambda_D$; with 0 the autoencoder does not see the discriminator.
      start: the step $s_0$, before which the discriminator has no part.
      last: the place of the last kernel among the autoencoder's parameters.
      perceptual: a module `x -> [B, F]` such as `cnn.LPIPS`, whose parameters never move, and the weight $\lambda_P$ of P, the
        squared distance of its vectors; None is without.
      feature: the batch's feature x.
      names: the names of the parameters of the three networks.

    Returns:
      The losses of the autoencoder and of the discriminator. The autoencoder's metrics are `reconstruction` (the difference d),
      the distance P by the third name, the cost R by its name, `mse` (the mean squared error) and, in training, `adversarial`
      and `adaptive_weight`.

    Source: Rombach et al. 2022, appendix G; Esser et al. 2021, section 3.1.
    """
    made, judged, seen = names
    cost, beta = penalty
    loss = over_maps(loss)

    def latents(params: Params, vars: Vars, batch: Batch, key: Key, train: bool) -> tuple[tuple[Array, Array], Vars]:
        drawn = keys.fold_in(key, 0) if train else None
        inputs = (batch[feature], drawn, batch.get("mask"))
        return apply(autoencoder, params, vars, *inputs, key=key, name=made, method="bottleneck", train=train)

    def decode(params: Params, vars: Vars, z: Array, train: bool) -> Array:
        return apply(autoencoder, params, vars, z, name=made, method="decode", train=train)[0]

    def judge(params: Params, vars: Vars, x: Array, train: bool) -> tuple[Array, Vars]:
        return apply(discriminator, params, vars, x, name=judged, train=train)

    def of_autoencoder(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        (z, costs), vars = latents(params, state.vars, batch, keys.per_example(key, batch), train)

        def images(kernel: Array) -> Array:
            return decode({**params, made: _replaced(params[made], last, kernel)}, vars, z, train)

        # Differentiated in the last kernel alone, so that going back takes the last layer and not the whole decoder.
        decoded, back = jax.vjp(images, _at(params[made], last))
        off, back_of_difference = jax.vjp(lambda y: difference(x, y), decoded)
        metrics = {"reconstruction": off, cost: costs, "mse": jnp.square(x - decoded).mean(tuple(range(1, x.ndim)))}
        values, toward = off + beta * costs, back_of_difference
        if perceptual is not None:
            network, of_vectors = perceptual
            see = functools.partial(apply, network, params, state.vars, name=seen)
            metrics[seen], back_of_distance = jax.vjp(lambda y: jnp.square(see(x)[0] - see(y)[0]).sum(-1), decoded)
            values = values + of_vectors * metrics[seen]
            toward = lambda share: (back_of_difference(share)[0] + of_vectors * back_of_distance(share)[0],)  # noqa: E731
        if gan and train:
            judging = functools.partial(judge, params, state.vars, train=train)
            metrics["adversarial"], back_of_logits = jax.vjp(lambda y: loss.generator(judging(y)[0]), decoded)
            share = _shares(batch, off)
            gradients = [collectives.total(back(own(share)[0])[0]) for own in (toward, back_of_logits)]
            metrics["adaptive_weight"] = adaptive_weight(*gradients)
            weight = gan * jnp.where(state.step >= start, metrics["adaptive_weight"], 0.0)
            values = values + weight * metrics["adversarial"]
        return values, Aux(updates_of(vars, made), metrics)

    def of_discriminator(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        (z, _), _ = latents(params, state.vars, batch, keys.per_example(key, batch), train)
        fake = decode(params, state.vars, z, train)
        on_real, vars = judge(params, state.vars, batch[feature], train)
        on_fake, vars = judge(params, vars, fake, train)
        return loss.discriminator(on_real, on_fake) / 2, Aux(updates_of(vars, judged), loss.metrics(on_real, on_fake))

    return of_autoencoder, of_discriminator


def _shares(batch: Batch, like: Array) -> Float[Array, " b"]:
    """The share of each example in the mean over the global batch: zero for one that only fills it up."""
    mask = batch["mask"].astype(jnp.float32) if "mask" in batch else jnp.ones(like.shape)
    return mask / jnp.maximum(collectives.total(mask.sum()), 1.0)


def _at(tree: PyTree, place: Sequence[str]) -> Array:
    for name in place:
        tree = tree[name]
    return tree


def _replaced(tree: Mapping[str, Any], place: Sequence[str], leaf: Array) -> Mapping[str, Any]:
    name, *below = place
    return {**tree, name: _replaced(tree[name], below, leaf) if below else leaf}
