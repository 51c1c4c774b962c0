"""Layers that the models share."""

from jaxgen.nn.attention import Attention, attend, width_of_head
from jaxgen.nn.conditioning import (
    AdaptiveGroupNorm,
    AdaptiveInstanceNorm,
    AdditiveGroupNorm,
    ConditionalInstanceNorm,
    SpatiallyAdaptiveNorm,
)
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import Embed, RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.masked_conv import Masked, raster_mask
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.norm import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PixelNorm,
    RMSNorm,
    SpectralNorm,
    adaptive_instance_norm,
    channel_moments,
    local_response_norm,
)
from jaxgen.nn.padding import reflect_pad
from jaxgen.nn.pooling import adaptive_avg_pool, avg_pool, max_pool
from jaxgen.nn.residual import ConditionalResidualBlock, ResidualBlock
from jaxgen.nn.transformer import Transformer, TransformerBlock, causal_mask, quick_gelu
from jaxgen.nn.weight_norm import Equalised, WeightNorm

__all__ = [
    "AdaptiveGroupNorm",
    "AdaptiveInstanceNorm",
    "AdditiveGroupNorm",
    "Attention",
    "BatchNorm",
    "ConditionalInstanceNorm",
    "ConditionalResidualBlock",
    "Conv",
    "ConvTranspose",
    "Embed",
    "Equalised",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Masked",
    "Maxout",
    "PixelNorm",
    "RMSNorm",
    "RandomFourier",
    "ResidualBlock",
    "Sinusoidal",
    "SpatiallyAdaptiveNorm",
    "SpectralNorm",
    "Transformer",
    "TransformerBlock",
    "WeightNorm",
    "adaptive_avg_pool",
    "adaptive_instance_norm",
    "attend",
    "avg_pool",
    "causal_mask",
    "channel_moments",
    "local_response_norm",
    "max_pool",
    "quick_gelu",
    "raster_mask",
    "reflect_pad",
    "sinusoidal",
    "width_of_head",
]
