"""Objectives: losses in the contract's form. They take a model by its methods and never import one."""

from jaxgen.objectives.adversarial import AUGMENTATION, adversarial
from jaxgen.objectives.apply import apply
from jaxgen.objectives.bottleneck import Prediction, bottleneck, bottleneck_prediction
from jaxgen.objectives.consistency import closing, consistency
from jaxgen.objectives.contractive import contractive, squared_jacobian
from jaxgen.objectives.contrastive import clip_scale, contrastive
from jaxgen.objectives.coupling import coupled
from jaxgen.objectives.cycle import CycleLosses, cycle_translation
from jaxgen.objectives.denoising import (
    Corruption,
    denoising,
    gaussian_noise,
    layer_denoising,
    masking,
    salt_and_pepper,
)
from jaxgen.objectives.domain_adaptation import adversarial_adaptation, semantic_consistency
from jaxgen.objectives.elbo import (
    constrained_elbo,
    elbo,
    free_energy,
    importance_weighted,
    importance_weighted_bound,
    importance_weighted_nll,
)
from jaxgen.objectives.flow_likelihood import dequantised_bound, flow_likelihood, tighter_bits_per_dim
from jaxgen.objectives.hierarchical_elbo import (
    balance,
    hierarchical_bound,
    hierarchical_elbo,
    hierarchical_nll,
    sizes_by_resolution,
)
from jaxgen.objectives.latent_autoencoder import (
    Difference,
    adaptive_weight,
    latent_autoencoder,
    mean_difference,
    summed_difference,
)
from jaxgen.objectives.latents import LATENT_SCALE, Latents, in_latents, latents_by, unit_scale
from jaxgen.objectives.learned_schedule import gamma_of, nearest_level, vdm, vdm_bits, vdm_bound
from jaxgen.objectives.learned_variance import hybrid, vlb
from jaxgen.objectives.likelihood import code_likelihood, log_prob
from jaxgen.objectives.multimodal import MultimodalLosses, multimodal_translation
from jaxgen.objectives.multiscale import multiscale_reconstruction
from jaxgen.objectives.noise_power import noise_power
from jaxgen.objectives.noisy_classification import classifier_of, noisy_classification
from jaxgen.objectives.order_agnostic import order_agnostic_likelihood
from jaxgen.objectives.pixel_likelihood import pixel_likelihood
from jaxgen.objectives.probability_flow import bits_of_levels, flow_log_prob
from jaxgen.objectives.reconstruction import reconstruction
from jaxgen.objectives.resampling import SecondMoment
from jaxgen.objectives.score_matching import denoiser_of, denoising_score_matching
from jaxgen.objectives.semantic import Perceptual, semantic_synthesis
from jaxgen.objectives.simultaneous import simultaneous
from jaxgen.objectives.sinkhorn import sinkhorn
from jaxgen.objectives.sparse import k_sparse
from jaxgen.objectives.sparse_rate import bernoulli_kl, sparse_rate
from jaxgen.objectives.spectral_regularisation import SPECTRAL, spectral_state, spectrally_regularised
from jaxgen.objectives.style import StyleLosses, style_distance, style_transfer
from jaxgen.objectives.supervised import classification
from jaxgen.objectives.told import Told, tell, tell_nothing
from jaxgen.objectives.translation import conditional_translation, translate
from jaxgen.objectives.variational_bound import Bound, bound_term, by_information, variational_bound, variational_diffusion
from jaxgen.objectives.vector_quantisation import vector_quantisation
from jaxgen.objectives.veegan import veegan
from jaxgen.objectives.weights import Weight, by_variance, on_data, on_noise, uniform

__all__ = [
    "AUGMENTATION",
    "LATENT_SCALE",
    "SPECTRAL",
    "Bound",
    "Corruption",
    "CycleLosses",
    "Difference",
    "Latents",
    "MultimodalLosses",
    "Perceptual",
    "Prediction",
    "SecondMoment",
    "StyleLosses",
    "Told",
    "Weight",
    "adaptive_weight",
    "adversarial",
    "adversarial_adaptation",
    "apply",
    "balance",
    "bernoulli_kl",
    "bits_of_levels",
    "bottleneck",
    "bottleneck_prediction",
    "bound_term",
    "by_information",
    "by_variance",
    "classification",
    "classifier_of",
    "clip_scale",
    "closing",
    "code_likelihood",
    "conditional_translation",
    "consistency",
    "constrained_elbo",
    "contractive",
    "contrastive",
    "coupled",
    "cycle_translation",
    "denoiser_of",
    "denoising",
    "denoising_score_matching",
    "dequantised_bound",
    "elbo",
    "flow_likelihood",
    "flow_log_prob",
    "free_energy",
    "gamma_of",
    "gaussian_noise",
    "hierarchical_bound",
    "hierarchical_elbo",
    "hierarchical_nll",
    "hybrid",
    "importance_weighted",
    "importance_weighted_bound",
    "importance_weighted_nll",
    "in_latents",
    "k_sparse",
    "latent_autoencoder",
    "latents_by",
    "layer_denoising",
    "log_prob",
    "masking",
    "mean_difference",
    "multimodal_translation",
    "multiscale_reconstruction",
    "nearest_level",
    "noise_power",
    "noisy_classification",
    "on_data",
    "on_noise",
    "order_agnostic_likelihood",
    "pixel_likelihood",
    "reconstruction",
    "salt_and_pepper",
    "semantic_consistency",
    "semantic_synthesis",
    "simultaneous",
    "sinkhorn",
    "sizes_by_resolution",
    "sparse_rate",
    "spectral_state",
    "spectrally_regularised",
    "squared_jacobian",
    "style_distance",
    "style_transfer",
    "summed_difference",
    "tell",
    "tell_nothing",
    "tighter_bits_per_dim",
    "translate",
    "uniform",
    "unit_scale",
    "variational_bound",
    "variational_diffusion",
    "vdm",
    "vdm_bits",
    "vdm_bound",
    "vector_quantisation",
    "veegan",
    "vlb",
]
