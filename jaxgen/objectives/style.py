"""Style transfer: images whose maps, in a network that stands still, are the content's with the moments of the style's."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.nn import adaptive_instance_norm, channel_moments
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params

Maps = Sequence[Float[Array, "b _ _ _"]]


class Transfer(Protocol):
    """`transfer(params, content [B, H, W, C], style, alpha) -> images`."""

    def __call__(self, params: Params, content: Array, style: Array, alpha: float | Array = 1.0) -> Array: ...


Terms = Callable[[Array], Mapping[str, Array]]
"""`terms(image [B, H, W, C]) -> {"content": [B], "style": [B]}`."""


class Towards(Protocol):
    """`towards(params, content [B, H, W, C], style) -> terms`."""

    def __call__(self, params: Params, content: Array, style: Array) -> Terms: ...


class StyleLosses(NamedTuple):
    """The losses of style transfer, and its functions.

    Fields:
      encoder: the loss of an encoder that learns by reconstruction, together with a decoder that is thrown away.
      decoder: the loss of the decoder.
      transfer: the transfer of the style of some images to the content of others.
      towards: the two terms, as a function of the images that are to have the one's content and the other's style.
    """

    encoder: LossFn
    decoder: LossFn
    transfer: Transfer
    towards: Towards


def style_distance(found: Maps, wanted: Maps, *, epsilon: float = 1e-5) -> Float[Array, " b"]:
    r"""$\sum_i \overline{(\mu_i - \mu_i')^2} + \overline{(\sigma_i - \sigma_i')^2}$ of the moments of the channels of all maps.

    Args:
      found: the maps of the images.
      wanted: the maps of those whose style they should have; sizes may differ.
      epsilon: the number that is added to the variances.

    Returns:
      One value per example.

    Source: Huang & Belongie 2017, equation 13, with means over the channels in place of sums, as in the code by naoto0804.

    >>> flat, steep = jnp.zeros((1, 2, 1, 1)), jnp.array([1.0, 5.0]).reshape(1, 2, 1, 1)
    >>> round(style_distance([steep], [flat], epsilon=0.0).item(), 4)  # the mean is 3, the deviation 2
    13.0
    """
    total = jnp.zeros(len(found[0]), jnp.float32)
    for own, other in zip(found, wanted, strict=True):
        for a, b in zip(channel_moments(own, epsilon), channel_moments(other, epsilon), strict=True):
            total = total + jnp.square(a - b).mean((1, 2, 3))
    return total


def style_transfer(
    encoder: nn.Module,
    decoder: nn.Module,
    reconstructor: nn.Module | None = None,
    *,
    content: float = 1.0,
    style: float = 10.0,
    epsilon: float = 1e-5,
    feature: str = "image",
) -> StyleLosses:
    r"""The losses of style transfer by adaptive instance normalisation.

    With the maps f of the encoder, the target is $t = \mathrm{AdaIN}(f(c), f(s))$, the last maps of the content c with the
    moments of those of the style s, and the image is $g(t)$. The decoder g descends
    $\lambda_c \overline{(f(g(t)) - t)^2}$ and $\lambda_s$ times `style_distance` of the maps of g(t) and of s at all layers.
    At test time $g((1 - \alpha) f(c) + \alpha t)$ keeps more of the content.

    Args:
      encoder: the module f, `[B, H, W, C] -> maps`, the largest first, which has no variables.
      decoder: the module g, `last maps -> [B, H, W, C]`.
      reconstructor: the decoder that an encoder without weights of its own learns with; None where it learns nothing.
      content: the weight $\lambda_c$.
      style: the weight $\lambda_s$.
      epsilon: the number that is added to the variances.
      feature: the feature of the images in each stream.

    Returns:
      The losses, of batches `{"a": content, "b": style}`, and of parameters "encoder", "decoder" and "reconstructor".

    Source: Huang & Belongie 2017, equations 8 to 14; the weights are those of the code by naoto0804.
    """

    def maps(params: Params, x: Array) -> Maps:
        return apply(encoder, params, {}, x, name="encoder")[0]

    def aligned(content_maps: Maps, style_maps: Maps) -> Array:
        mean, std = channel_moments(style_maps[-1], epsilon)
        return adaptive_instance_norm(content_maps[-1], std, mean, epsilon=epsilon)

    def transfer(params: Params, content: Array, style: Array, alpha: float | Array = 1.0) -> Array:
        before = maps(params, content)
        h = (1 - alpha) * before[-1] + alpha * aligned(before, maps(params, style))
        return apply(decoder, params, {}, h, name="decoder")[0]

    def terms_of(params: Params, target: Array, style_maps: Maps) -> Terms:
        def terms(image: Array) -> Mapping[str, Array]:
            found = maps(params, image)
            return {
                "content": jnp.square(found[-1].astype(jnp.float32) - target.astype(jnp.float32)).mean((1, 2, 3)),
                "style": style_distance(found, style_maps, epsilon=epsilon),
            }

        return terms

    def towards(params: Params, content: Array, style: Array) -> Terms:
        style_maps = maps(params, style)
        return terms_of(params, aligned(maps(params, content), style_maps), style_maps)

    def of_encoder(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        assert reconstructor is not None, "an encoder learns with a decoder of its own"
        values: Array | float = 0.0
        for domain in ("a", "b"):
            x = batch[domain][feature]
            back, _ = apply(reconstructor, params, {}, maps(params, x)[-1], name="reconstructor")
            values = values + jnp.square(back - x).mean((1, 2, 3))
        return jnp.asarray(values), Aux(metrics={"reconstruction": jnp.asarray(values)})

    def of_decoder(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        style_maps = maps(params, batch["b"][feature])
        target = aligned(maps(params, batch["a"][feature]), style_maps)
        image, _ = apply(decoder, params, {}, target, name="decoder")
        found = terms_of(params, target, style_maps)(image)
        return content * found["content"] + style * found["style"], Aux(metrics=found)

    return StyleLosses(of_encoder, of_decoder, transfer, towards)
