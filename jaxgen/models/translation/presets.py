"""The networks of the papers: functions that set fields and do nothing else."""

import functools
from typing import Any, NamedTuple

from jaxgen.models.translation.munit import MUNITAutoencoder
from jaxgen.models.translation.patch import HalvingDiscriminator, MultiScaleDiscriminator, PatchDiscriminator
from jaxgen.models.translation.spade import SPADEGenerator, StyleEncoder, small_xavier


class SpadeNetworks(NamedTuple):
    """The networks of SPADE's game.

    Fields:
      generator: the generator, of maps.
      discriminator: the discriminator, of maps and images, one after the other in the channels.
      encoder: the encoder of styles, for a generator that begins with one.
    """

    generator: SPADEGenerator
    discriminator: MultiScaleDiscriminator
    encoder: StyleEncoder


def spade_cityscapes(**fields: Any) -> SpadeNetworks:
    """SPADE for Cityscapes: images of 256x512 by six doublings, maps of 35 classes and of the edges of objects.

    The generator has 93.0 million parameters, each scale's discriminator 2.8 million.

    Args:
      **fields: other fields of `SPADEGenerator`; `width` and `dtype` are those of the other networks too.

    Returns:
      The networks.

    Source: Park et al. 2019, section 4 and appendix A; the authors' options for Cityscapes (github.com/NVlabs/SPADE).
    """
    generator = SPADEGenerator(**{"doublings": 6, **fields})
    shared = {"width": generator.width, "dtype": generator.dtype}
    patch = functools.partial(
        PatchDiscriminator, layers=3, instance=True, spectral=True, pad=2, kernel_init=small_xavier, **shared
    )
    return SpadeNetworks(generator, MultiScaleDiscriminator(patch, scales=2), StyleEncoder(**shared))


class MunitNetworks(NamedTuple):
    """The networks of one domain of MUNIT's game; those of the other have the same form.

    Fields:
      autoencoder: the autoencoder.
      discriminator: the discriminator.
    """

    autoencoder: MUNITAutoencoder
    discriminator: MultiScaleDiscriminator


def munit_edges2shoes(**fields: Any) -> MunitNetworks:
    """MUNIT for images of 256x256, such as edges and shoes; the authors' other settings have the same networks.

    The autoencoder of one domain has 15.0 million parameters, its discriminator 8.3 million.

    Args:
      **fields: other fields of `MUNITAutoencoder`; `width` and `dtype` are those of the discriminator too.

    Returns:
      The networks.

    Source: Huang et al. 2018, appendix B.2; the authors' configs/edges2shoes_folder.yaml (github.com/NVlabs/MUNIT).
    """
    autoencoder = MUNITAutoencoder(**fields)
    patch = functools.partial(HalvingDiscriminator, layers=4, width=autoencoder.width, dtype=autoencoder.dtype)
    return MunitNetworks(autoencoder, MultiScaleDiscriminator(patch, scales=3))
