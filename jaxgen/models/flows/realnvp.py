"""RealNVP (Dinh et al. 2017)."""

from jaxgen.models.flows.coupling import ChannelCoupling, CheckerboardCoupling
from jaxgen.models.flows.flow import Chain
from jaxgen.models.flows.logit import Logit
from jaxgen.models.flows.multiscale import MultiScale, Squeezed
from jaxgen.models.flows.networks import ResNet


def realnvp(*, scales: int = 2, width: int = 32, blocks: int = 2, alpha: float = 0.05) -> Chain:
    """RealNVP of images in [0, 1): the flow of their logits.

    A scale has three couplings of checkerboards, then three of channels after a squeeze; half of the numbers leave, and the
    next scale has networks of twice the width. The last scale has four couplings of checkerboards.

    Args:
      scales: the number of scales; each but the last halves the sides.
      width: channels of the networks of the first scale.
      blocks: residual blocks of a network.
      alpha: the distance that logits keep from those of black and of white.

    Returns:
      The flow.

    Source: Dinh et al. 2017, section 3.6; the authors' code (tensorflow/models, research/real_nvp, `recursion_type` 2).
    """

    def scale(width: int) -> Chain:
        channels = Chain(tuple(ChannelCoupling(ResNet(2 * width, blocks), first) for first in (True, False, True)))
        return Chain((*_checkerboards(3, width, blocks), Squeezed(channels)))

    flows = [scale(width * 2**i) for i in range(scales - 1)]
    last = Chain(_checkerboards(4, width * 2 ** (scales - 1), blocks))
    return Chain((Logit(alpha), MultiScale((*flows, last), ordered=True)))


def _checkerboards(count: int, width: int, blocks: int) -> tuple[CheckerboardCoupling, ...]:
    return tuple(CheckerboardCoupling(ResNet(width, blocks), odd=i % 2 == 0) for i in range(count))
