r"""Normalising flows: invertible networks whose Jacobian's determinant is known.

All layers, and all flows made of them, have one interface, which `flow.Flow` spells out:

- Forward is from the data to the latents: `flow(x, train=...) -> (z, log_det)`, `inverse(z) -> x`.
- `log_det` is $\log |\det \partial z / \partial x|$ of each example, `[B]`; so $\log p(x) = \log N(z; 0, I)$ + `log_det`.
- The latents have the shape of x, and all of their numbers are standard normal. Where a model has another density of latents,
  as Glow's that are conditioned on what stays, the affine map to a standard normal is a layer of the flow. A temperature is a
  factor of z.
- The inverse is that of evaluation: running statistics, never those of a batch.

`planar` and `radial` steps run the other way, from a simple density to the one that is modelled, and have no inverse in closed
form. They make posteriors (`jaxgen.distributions.FlowPosterior`), not models of data.
"""

from jaxgen.models.flows.actnorm import ActNorm
from jaxgen.models.flows.coupling import ChannelCoupling, CheckerboardCoupling, checkerboard
from jaxgen.models.flows.flow import Chain, Flow
from jaxgen.models.flows.glow import glow
from jaxgen.models.flows.logit import Logit
from jaxgen.models.flows.mixing import InvertibleConv, Reverse, Shuffle
from jaxgen.models.flows.multiscale import MultiScale, Squeezed
from jaxgen.models.flows.networks import ConvNet, LearnedPrior, ResNet, SplitPrior
from jaxgen.models.flows.planar import Planar, Radial, planar, radial
from jaxgen.models.flows.realnvp import realnvp
from jaxgen.models.flows.squeeze import ordered_squeeze, ordered_unsqueeze, squeeze, unsqueeze

__all__ = [
    "ActNorm",
    "Chain",
    "ChannelCoupling",
    "CheckerboardCoupling",
    "ConvNet",
    "Flow",
    "InvertibleConv",
    "LearnedPrior",
    "Logit",
    "MultiScale",
    "Planar",
    "Radial",
    "ResNet",
    "Reverse",
    "Shuffle",
    "SplitPrior",
    "Squeezed",
    "checkerboard",
    "glow",
    "ordered_squeeze",
    "ordered_unsqueeze",
    "planar",
    "radial",
    "realnvp",
    "squeeze",
    "unsqueeze",
]
