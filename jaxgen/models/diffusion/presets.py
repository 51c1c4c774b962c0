"""The networks of the papers: functions that set fields of `UNet` and do nothing else.

All take further fields by name, `adm(classes=0, dtype=jnp.bfloat16)`. Where a paper cuts C channels into 32 groups, these
networks have `min(32, C / 4)` of them, the same from 128 channels on (`nn.GroupNorm`). Biases start at zero, where PyTorch
draws them at random.
"""

import functools
import math
from typing import Any

import flax.linen as nn

from jaxgen.models.diffusion.noisy_classifier import NoisyClassifier
from jaxgen.models.diffusion.pyramid import ResidualPyramid
from jaxgen.models.diffusion.unet import UNet
from jaxgen.models.diffusion.vdm import VDM
from jaxgen.nn import BINOMIAL, BOX, AdaptiveGroupNorm, AdditiveGroupNorm, RandomFourier, Sinusoidal
from jaxgen.nn.conv import TORCH

XAVIER = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
"""Ho's and Song's initializer of all kernels."""

ALMOST_ZERO = nn.initializers.variance_scaling(1e-10, "fan_avg", "uniform")
"""Theirs of the last kernel of a branch: 1e-5 times the other."""


def ddpm(
    channels: int = 128,
    multipliers: tuple[float, ...] = (1, 2, 2, 2),
    blocks: int = 2,
    attention_levels: tuple[int, ...] = (1,),
    **fields: Any,
) -> UNet:
    """The U-Net of DDPM; by default that for CIFAR-10, of 35.7 million parameters.

    For 256x256 images, of 114 million: `ddpm(multipliers=(1, 1, 2, 2, 4, 4), attention_levels=(4,), dropout=0.0)`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the paper's have the side 16.
      **fields: other fields of `UNet`.

    Source: Ho et al. 2020, appendix B, and the authors' code.
    """
    start = {"kernel_init": XAVIER, "last_init": ALMOST_ZERO}
    return _unet(channels, multipliers, blocks, attention_levels, {**start, **fields})


def improved_ddpm(
    channels: int = 128,
    multipliers: tuple[float, ...] = (1, 2, 2, 2),
    blocks: int = 3,
    attention_levels: tuple[int, ...] | None = (1, 2),
    **fields: Any,
) -> UNet:
    """The U-Net of improved DDPM with learned variances; by default that for CIFAR-10, of 52.5 million parameters.

    For ImageNet at 64x64: `improved_ddpm(multipliers=(1, 2, 3, 4), attention_levels=(2, 3), dropout=0.0)`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the paper's have the sides 16 and 8. None for the sides in the field
        `attention`.
      **fields: other fields of `UNet`; `outputs` is twice the number of the images' channels, 6.

    Source: Nichol & Dhariwal 2021, appendix A, and the authors' code.
    """
    own: dict[str, Any] = {"heads": 4, "dropout": 0.3, "stride_padding": 1, "outputs": 6}
    return _unet(channels, multipliers, blocks, attention_levels, {**_openai(channels), **own, **fields})


def vdm(channels: int = 128, blocks: int = 32, *, powers: tuple[int, ...] = (6, 7), **fields: Any) -> VDM:
    """The network of variational diffusion models, which keeps the size of its maps; by default that for CIFAR-10.

    That for CIFAR-10 with augmentation attends after each block: `vdm(256, attention_levels=(0,), dropout=0.05)`.

    Args:
      channels: the channels of all maps.
      blocks: residual blocks on the way down; there is one more on the way up.
      powers: the powers of the waves of the input.
      **fields: fields of `UNet`; `outputs` is the number of the images' channels, 3.

    Source: Kingma et al. 2021, appendix B, and the authors' code.
    """
    shift = functools.partial(AdditiveGroupNorm, kernel_init=nn.initializers.zeros_init(), use_bias=False)
    own: dict[str, Any] = {"norm": shift, "time": Sinusoidal(channels, scale=1000), "outputs": 3}
    return VDM(_unet(channels, (1,), blocks, (), {**own, **fields}), powers)


def ddpmpp(
    channels: int = 128,
    multipliers: tuple[float, ...] = (1, 2, 2, 2),
    blocks: int = 4,
    attention_levels: tuple[int, ...] = (1,),
    **fields: Any,
) -> UNet:
    """The U-Net of "DDPM++"; by default that for CIFAR-10.

    That of EDM for CIFAR-10, of 55.7 million parameters: `ddpmpp(multipliers=(2, 2, 2), dropout=0.13)`, with `classes=10` for
    the conditional one; for 64x64 images: `ddpmpp(attention_levels=(2,), dropout=0.05)`. Labels of augmentation come with the
    call.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the papers' have the side 16.
      **fields: other fields of `UNet`.

    Source: Song et al. 2021, appendix H; Karras et al. 2022, table 7.
    """
    return _unet(channels, multipliers, blocks, attention_levels, {**_song(channels), "taps": BOX, **fields})


def ncsnpp(
    channels: int = 128,
    multipliers: tuple[float, ...] = (1, 2, 2, 2),
    blocks: int = 4,
    attention_levels: tuple[int, ...] = (1,),
    **fields: Any,
) -> UNet:
    r"""The U-Net of "NCSN++", which gets the logarithm of the noise level; by default that for CIFAR-10.

    That of EDM for CIFAR-10, of 56.4 million parameters: `ncsnpp(multipliers=(2, 2, 2), dropout=0.13)`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the papers' have the side 16.
      **fields: other fields of `UNet`.

    Source: Song et al. 2021, appendix H; Karras et al. 2022, table 7.
    """
    own = {"taps": BINOMIAL, "pyramid": ResidualPyramid, "time": RandomFourier(2 * channels)}
    return _unet(channels, multipliers, blocks, attention_levels, {**_song(channels), **own, **fields})


def adm(
    channels: int = 192,
    multipliers: tuple[float, ...] = (1, 2, 3, 4),
    blocks: int = 3,
    attention_levels: tuple[int, ...] = (1, 2, 3),
    **fields: Any,
) -> UNet:
    """The U-Net of "ADM"; by default that for ImageNet at 64x64, with labels and learned variances, of 296 million parameters.

    The others, all with `dropout=0.0`: for 128x128 `adm(256, (1, 1, 2, 3, 4), 2, (2, 3, 4))`, for 256x256
    `adm(256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5))`, for 512x512 `adm(256, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6))`. That of EDM for
    64x64: `adm(outputs=3)`. That of P2 weighting for 256x256: `adm(128, (1, 1, 2, 2, 4, 4), 1, (4,), dropout=0.0, classes=0)`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the paper's have the sides 32, 16 and 8.
      **fields: other fields of `UNet`; `outputs` is twice the number of the images' channels, 6, and `classes` 1,000.

    Source: Dhariwal & Nichol 2021, section 3 and table 11; Choi et al. 2022.
    """
    own: dict[str, Any] = {"outputs": 6, "classes": 1000}
    return _unet(channels, multipliers, blocks, attention_levels, {**_adm(channels), **own, **fields})


def noisy_classifier(
    channels: int = 128,
    multipliers: tuple[float, ...] = (1, 2, 3, 4),
    blocks: int = 4,
    attention_levels: tuple[int, ...] | None = (1, 2, 3),
    **fields: Any,
) -> NoisyClassifier:
    """The classifier of classifier guidance; by default that for ImageNet at 64x64.

    For 128x128: `noisy_classifier(128, (1, 1, 2, 3, 4), 2, (2, 3, 4))`; for 256x256:
    `noisy_classifier(128, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5))`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves; the paper's have the sides 32, 16 and 8. With None the field
        `attention` chooses them by their sides.
      **fields: other fields of `NoisyClassifier`; `classes` is 1,000.

    Source: Dhariwal & Nichol 2021, table 12, and the authors' code.
    """
    own: dict[str, Any] = {"dropout": 0.0, "classes": 1000}
    return NoisyClassifier(
        tuple(round(channels * m) for m in multipliers),
        blocks,
        attention_levels=attention_levels,
        width=channels,
        **{**_adm(channels), **own, **fields},
    )


def stable_diffusion(
    channels: int = 320,
    multipliers: tuple[float, ...] = (1, 2, 4, 4),
    blocks: int = 2,
    attention_levels: tuple[int, ...] = (0, 1, 2),
    **fields: Any,
) -> UNet:
    """The U-Net of Stable Diffusion 1, of 860 million parameters, for latents of four channels and vectors of 768 features.

    Its blocks get the vectors of a text by `context`, `network(x, time, context=vectors)`. Of latent diffusion, LDM-4 for
    CelebA-HQ, without a context: `stable_diffusion(224, (1, 2, 3, 4), 2, (1, 2, 3), head_width=32, transformer_depth=0)`.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level.
      blocks: residual blocks at each size.
      attention_levels: levels that attend to themselves and to the context.
      **fields: other fields of `UNet`.

    Source: Rombach et al. 2022, appendix E, and the configurations of Stable Diffusion 1.
    """
    start = {key: value for key, value in _openai(channels).items() if key != "norm"}
    own: dict[str, Any] = {"heads": 8, "dropout": 0.0, "stride_padding": 1, "transformer_depth": 1}
    return _unet(channels, multipliers, blocks, attention_levels, {**start, **own, **fields})


def _unet(
    channels: int, multipliers: tuple[float, ...], blocks: int, levels: tuple[int, ...] | None, fields: dict[str, Any]
) -> UNet:
    own: dict[str, Any] = {"attention_levels": levels, "width": channels, **fields}
    return UNet(tuple(round(channels * m) for m in multipliers), blocks, **own)


def _openai(channels: int) -> dict[str, Any]:
    """The fields that improved DDPM, ADM and latent diffusion have in common."""
    time = Sinusoidal(channels, endpoint=False, cosines_first=True)
    return {"norm": AdaptiveGroupNorm, "epsilon": 1e-5, "time": time, "kernel_init": TORCH}


def _adm(channels: int) -> dict[str, Any]:
    return {**_openai(channels), "head_width": 64, "taps": BOX}


def _song(channels: int) -> dict[str, Any]:
    """The fields that DDPM++ and NCSN++ have in common."""
    qkv = nn.initializers.variance_scaling(0.2, "fan_avg", "uniform")
    start = {"kernel_init": XAVIER, "last_init": ALMOST_ZERO, "qkv_init": qkv}
    return {
        **start,
        "stem": channels,
        "attend_last": True,
        "skip_scale": math.sqrt(0.5),
        "project_resampled": True,
        "label_first": True,
    }
