"""Layers that the models share."""

from jaxgen.nn.attention import Attention, KVCache, attend, attention_weights, width_of_head
from jaxgen.nn.conditioning import AdaptiveGroupNorm, AdditiveGroupNorm, ConditionalInstanceNorm
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import Embed, RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.norm import BatchNorm, GroupNorm, LayerNorm, SpectralNorm
from jaxgen.nn.regularisation import drop_path, dropout
from jaxgen.nn.residual import ConditionalResidualBlock, ResidualBlock
from jaxgen.nn.transformer import Transformer, TransformerBlock, causal_mask, quick_gelu

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
    "sinusoidal",
    "width_of_head",
]
