"""The noise and the parameterisation that a network was trained with: what another run needs to use it."""

from typing import NamedTuple

from jaxgen.diffusion.continuous import Continuous
from jaxgen.diffusion.parameterisation import Parameterisation
from jaxgen.diffusion.schedules import Discrete


class Trained(NamedTuple):
    """The role of a diffusion model's network (`Network.role`).

    Fields:
      schedule: the noise that it was trained on.
      parameterisation: the parameterisation, which says what its output means.
      pixels: the values of black and white in its data.
      conditions: the names of the keywords that it is conditioned by, such as `("label",)`.
    """

    schedule: Discrete | Continuous
    parameterisation: Parameterisation
    pixels: tuple[float, float]
    conditions: tuple[str, ...] = ()
