"""Layers that the models share."""

from jaxgen.nn.attention import Attention, KVCache, attend, attention_weights, width_of_head
from jaxgen.nn.batch_deviation import minibatch_stddev
from jaxgen.nn.conditioning import (
    AdaptiveGroupNorm,
    AdaptiveInstanceNorm,
    AdditiveGroupNorm,
    ConditionalInstanceNorm,
    SpatiallyAdaptiveNorm,
)
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import Embed, RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.interpolation import (
    bicubic,
    bicubic_antialiased,
    bilinear,
    bilinear_between_corners,
    interpolate,
    nearest_pixels,
)
from jaxgen.nn.likelihoods import (
    BernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
    LogisticMixtureLikelihood,
)
from jaxgen.nn.masked_conv import Masked, raster_mask
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.noise import NoiseInjection
from jaxgen.nn.norm import (
    BatchNorm,
    GroupNorm,
    ImageNorm,
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
from jaxgen.nn.patches import PatchEmbedding, from_patches, grid_of, to_patches
from jaxgen.nn.pooling import adaptive_avg_pool, avg_pool, max_pool
from jaxgen.nn.positions import LearnedPositions, RelativePositionBias, relative_positions, resized_positions, sinusoidal_2d
from jaxgen.nn.quantiser import Quantised, VectorQuantiser, VectorQuantiserEMA, gumbel_softmax, perplexity, straight_through
from jaxgen.nn.regularisation import drop_path, dropout
from jaxgen.nn.resampling import BINOMIAL, BOX, TRIANGLE, Taps, blurred, doubled, halved
from jaxgen.nn.residual import ConditionalResidualBlock, ResidualBlock
from jaxgen.nn.running_mean import RunningMean
from jaxgen.nn.squeeze_excite import SqueezeExcite
from jaxgen.nn.transformer import Transformer, causal_mask, quick_gelu
from jaxgen.nn.transformer_block import Initializers, TransformerBlock, scaled_by_depth, xavier
from jaxgen.nn.weight_norm import Equalised, LogWeightNorm, WeightNorm, by_log_scale, equalised_conv, equalised_dense

__all__ = [
    "BINOMIAL",
    "BOX",
    "TRIANGLE",
    "AdaptiveGroupNorm",
    "AdaptiveInstanceNorm",
    "AdditiveGroupNorm",
    "Attention",
    "BatchNorm",
    "BernoulliLikelihood",
    "ConditionalInstanceNorm",
    "ConditionalResidualBlock",
    "Conv",
    "ConvTranspose",
    "DiscretizedLogisticLikelihood",
    "Embed",
    "Equalised",
    "GaussianLikelihood",
    "GroupNorm",
    "HeteroscedasticGaussianLikelihood",
    "ImageNorm",
    "Initializers",
    "InstanceNorm",
    "KVCache",
    "LayerNorm",
    "LearnedPositions",
    "LogWeightNorm",
    "LogisticMixtureLikelihood",
    "Masked",
    "Maxout",
    "NoiseInjection",
    "PatchEmbedding",
    "PixelNorm",
    "Quantised",
    "RMSNorm",
    "RandomFourier",
    "RelativePositionBias",
    "ResidualBlock",
    "RunningMean",
    "Sinusoidal",
    "SpatiallyAdaptiveNorm",
    "SpectralNorm",
    "SqueezeExcite",
    "Taps",
    "Transformer",
    "TransformerBlock",
    "VectorQuantiser",
    "VectorQuantiserEMA",
    "WeightNorm",
    "adaptive_avg_pool",
    "adaptive_instance_norm",
    "attend",
    "attention_weights",
    "avg_pool",
    "bicubic",
    "bicubic_antialiased",
    "bilinear",
    "bilinear_between_corners",
    "blurred",
    "by_log_scale",
    "causal_mask",
    "channel_moments",
    "doubled",
    "drop_path",
    "dropout",
    "equalised_conv",
    "equalised_dense",
    "from_patches",
    "grid_of",
    "gumbel_softmax",
    "halved",
    "interpolate",
    "local_response_norm",
    "max_pool",
    "minibatch_stddev",
    "nearest_pixels",
    "perplexity",
    "quick_gelu",
    "raster_mask",
    "reflect_pad",
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
