"""Layers that the models share."""

from jaxgen.nn.attention import Attention, KVCache, attend, attention_weights, width_of_head
from jaxgen.nn.conditioning import AdaptiveGroupNorm, AdditiveGroupNorm, ConditionalInstanceNorm
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import Embed, RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.norm import BatchNorm, GroupNorm, LayerNorm, SpectralNorm
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
    "Maxout",
    "RandomFourier",
    "ResidualBlock",
    "Sinusoidal",
    "SpectralNorm",
    "Transformer",
    "TransformerBlock",
    "attend",
    "attention_weights",
    "causal_mask",
    "drop_path",
    "dropout",
    "quick_gelu",
    "scaled_by_depth",
    "sinusoidal",
    "width_of_head",
    "xavier",
]
