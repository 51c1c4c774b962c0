"""Glow (Kingma & Dhariwal 2018)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from jaxgen.models.flows.actnorm import ActNorm
from jaxgen.models.flows.coupling import ChannelCoupling
from jaxgen.models.flows.flow import Chain
from jaxgen.models.flows.mixing import InvertibleConv
from jaxgen.models.flows.multiscale import MultiScale, Squeezed
from jaxgen.models.flows.networks import ConvNet, LearnedPrior, SplitPrior


def glow(
    *,
    levels: int = 3,
    depth: int = 32,
    width: int = 512,
    additive: bool = False,
    mixing: Callable[[], nn.Module] = InvertibleConv,
    learned_prior: bool = True,
) -> MultiScale:
    """Glow of images: on each level a squeeze and K steps of ActNorm, 1x1 convolution and affine coupling.

    Its parameters are made from a batch of data, which the first ActNorm of all steps normalise.

    Args:
      levels: the number of levels L; each halves the sides.
      depth: the number of steps K of a level.
      width: channels of the couplings' networks.
      additive: whether couplings shift without scaling.
      mixing: the flow that mixes the channels before a coupling: `InvertibleConv`, `Shuffle` or `Reverse`.
      learned_prior: whether the density of the latents of the last level is learned.

    Returns:
      The flow.

    Source: Kingma & Dhariwal 2018, figure 2 and table 1.
    """

    def level(last: bool) -> Squeezed:
        steps: list[Any] = [
            flow for _ in range(depth) for flow in (ActNorm(), mixing(), ChannelCoupling(ConvNet(width, additive)))
        ]
        if not last:
            steps.append(ChannelCoupling(SplitPrior()))
        elif learned_prior:
            steps.append(LearnedPrior())
        return Squeezed(Chain(tuple(steps)))

    return MultiScale(tuple(level(i == levels - 1) for i in range(levels)))
