"""Networks that turn an image into another image of the same size, and those that judge patches of such pairs."""

from jaxgen.models.translation.munit import ContentEncoder, MUNITAutoencoder, PooledStyleEncoder, StyledDecoder
from jaxgen.models.translation.patch import (
    HalvingDiscriminator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    receptive_field,
)
from jaxgen.models.translation.pool import empty_pool, exchange
from jaxgen.models.translation.presets import munit_edges2shoes, spade_cityscapes
from jaxgen.models.translation.resnet import ResnetTranslator
from jaxgen.models.translation.spade import SPADEGenerator, SPADEResnetBlock, StyleEncoder, small_xavier
from jaxgen.models.translation.style_transfer import TO_RELU4_1, TO_RELU5_1, TransferDecoder, TransferEncoder
from jaxgen.models.translation.unet import UNetTranslator

__all__ = [
    "TO_RELU4_1",
    "TO_RELU5_1",
    "ContentEncoder",
    "HalvingDiscriminator",
    "MUNITAutoencoder",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "PooledStyleEncoder",
    "ResnetTranslator",
    "SPADEGenerator",
    "SPADEResnetBlock",
    "StyleEncoder",
    "StyledDecoder",
    "TransferDecoder",
    "TransferEncoder",
    "UNetTranslator",
    "empty_pool",
    "exchange",
    "munit_edges2shoes",
    "receptive_field",
    "small_xavier",
    "spade_cityscapes",
]
