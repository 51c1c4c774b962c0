"""Layers that the models share."""

from jaxgen.nn.attention import Attention, KVCache, attend, attention_weights, width_of_head
from jaxgen.nn.conditioning import AdaptiveGroupNorm, AdditiveGroupNorm, ConditionalInstanceNorm
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import Embed, RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.interpolation import bicubic, bicubic_antialiased, bilinear, bilinear_between_corners, interpolate
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.norm import BatchNorm, GroupNorm, LayerNorm, SpectralNorm
from jaxgen.nn.patches import PatchEmbedding, from_patches, grid_of, to_patches
from jaxgen.nn.positions import (
    LearnedPositions,
    RelativePositionBias,
    relative_positions,
    resized_positions,
    sinusoidal_2d,
)
from jaxgen.nn.quantiser import Quantised, VectorQuantiser, VectorQuantiserEMA, gumbel_softmax, perplexity, straight_through
from jaxgen.nn.regularisation import drop_path, dropout
from jaxgen.nn.residual import ConditionalResidualBlock, ResidualBlock
from jaxgen.nn.transformer import Transformer, causal_mask, quick_gelu
from jaxgen.nn.transformer_block import Initializers, TransformerBlock, scaled_by_depth, xavier

__all__ = [
    "AdaptiveGroupNorm",
    "AdditiveGroupNorm",
    "Attention",
    "BatchNorm",
    "ConditionalInstanceNorm",
    "ConditionalResidualBlock",
    "Conv",
    "ConvTranspose",
    "Embed",
    "GroupNorm",
    "Initializers",
    "KVCache",
    "LayerNorm",
    "LearnedPositions",
    "Maxout",
    "PatchEmbedding",
    "Quantised",
    "RandomFourier",
    "RelativePositionBias",
    "ResidualBlock",
    "Sinusoidal",
    "SpectralNorm",
    "Transformer",
    "TransformerBlock",
    "VectorQuantiser",
    "VectorQuantiserEMA",
    "attend",
    "attention_weights",
    "bicubic",
    "bicubic_antialiased",
    "bilinear",
    "bilinear_between_corners",
    "causal_mask",
    "drop_path",
    "dropout",
    "from_patches",
    "grid_of",
    "gumbel_softmax",
    "interpolate",
    "perplexity",
    "quick_gelu",
    "relative_positions",
    "resized_positions",
    "scaled_by_depth",
    "sinusoidal",
    "sinusoidal_2d",
    "straight_through",
    "to_patches",
    "width_of_head",
    "xavier",
]
