"""What an autoencoder tells of its latents: what a diffusion model of latents needs to use it as its first stage."""

from typing import NamedTuple


class FirstStage(NamedTuple):
    """The role of an autoencoder's network whose latents are maps (`Network.role`).

    The module has two methods. `to_latents(x, key=None) -> z` draws from the posterior, or without a key gives its mean;
    `from_latents(z) -> x` decodes. An autoencoder with a codebook gives the latents before they are quantised, and quantises
    them in `from_latents`.

    Fields:
      shape: the shape (h, w, c) of the latents of one image.
      pixels: the values of black and white in its data.

    Source:
      Rombach et al. 2022, section 3.1.
    """

    shape: tuple[int, int, int]
    pixels: tuple[float, float]
