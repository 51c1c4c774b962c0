"""The networks of NVAE's authors: functions that set fields of `NVAE` and do nothing else."""

from typing import Any

from jaxgen.models.vae.nvae import NVAE, adaptive_groups
from jaxgen.nn.likelihoods import BernoulliLikelihood, LogisticMixtureLikelihood


def nvae_mnist(**fields: Any) -> NVAE:
    """The network for binary MNIST: 15 groups of 20 channels, at 4x4 and at 8x8.

    Args:
      **fields: other fields of `NVAE`.

    Source: github.com/NVlabs/NVAE, README.md: `--num_latent_scales 2 --num_groups_per_scale 10 --ada_groups`.
    """
    own: dict[str, Any] = {"groups": adaptive_groups(10, 2), "padding": 2}
    return NVAE((28, 28, 1), BernoulliLikelihood(), 1, **{**own, **fields})


def nvae_cifar10(**fields: Any) -> NVAE:
    """The network for CIFAR-10: 30 groups of 20 channels at 16x16, whose posteriors flows bend.

    Args:
      **fields: other fields of `NVAE`.

    Source: github.com/NVlabs/NVAE, README.md: `--num_channels_enc 128 --num_groups_per_scale 30 --num_nf 1`.
    """
    likelihood = LogisticMixtureLikelihood(10)
    own: dict[str, Any] = {"groups": (30,), "channels": 128, "blocks": 1, "block_cells": 2, "flows": 1}
    return NVAE((32, 32, 3), likelihood, likelihood.numbers(3), **{**own, **fields})
