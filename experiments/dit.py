"""DiT (Peebles & Xie 2023): a diffusion model whose network is a Transformer of patches.

python -m experiments.dit                                            # digits of a class, nothing to download
python -m experiments.dit --dataset mnist --data-dir D --patch 4 --width 128 --depth 6 --steps 15000
jaxgen sample runs/dit --label 7 --guidance 4
jaxgen evaluate runs/dit --metrics frechet classification_accuracy --guidance 0 1 2 4
python -m experiments.dit --dataset FOLDER --patch 4 --width 1152 --depth 28 --heads 16 --flip \
    --schedule linear --learning-rate 1e-4 --batch-size 256 --ema 0.9999 --sampling-steps 250 --steps 400000 \
    --bf16 --remat                                                   # the paper's XL/4, of pixels

The first takes 4 minutes of processor time, gives digits that a person reads, and reaches 4.320 +- 0.020 bits a dimension on
the test images with their classes (0.000 the prior, 3.118 the transitions, 1.202 the decoder; seed 0, n = 360). The U-Net of
`experiments.improved_ddpm`, which gets no classes, is better after as many steps, which take 6 minutes: 4.257 +- 0.022.

--guidance is s of eps_u + s (eps_c - eps_u), as in `experiments.classifier_free_guidance`: 0 has no class, 1 no guidance.

Against the paper and the authors' code (github.com/facebookresearch/DiT):

| | the paper, or its code | here |
| --- | --- | --- |
| data | latents of 256x256 images: 32x32 and 4 channels of Stable Diffusion's autoencoder, times 0.18215 | pixels in [-1, 1] |
| network | patches, 2D sines and cosines, adaLN-Zero; S, B, L and XL (`models.diffusion.dit_presets`) | the same; smaller |
| time | [cos, sin] of 256 features, counted from 0 | the same, counted from 1 |
| start | Xavier, 0.02 for the time and the classes, zero for modulations and the last layer | the same |
| loss | noise's error + T/1000 of a term of the bound in bits, whose mean is detached | the same |
| classes | dropped with 0.1, a vector of their own for "none" | the same |
| guidance | of the first 3 of the 4 channels of the noise; v is the conditional one | of all channels; v the same |
| chain | linear, T = 1000; 250 ancestral steps, predictions not clipped | cosine by default; clipped to the pixels' range |
| optimizer | AdamW of 1e-4 without decay, which is Adam; constant; batches of 256, averages of 0.9999 | the same; 1e-3 |

The authors' code guides three channels to reproduce the paper, as it says; the fourth stays the conditional one. On images of
fewer channels the same code would guide a part of v.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Late, NonNegative, Positive, Share, Whole, value_of
from jaxgen.models.diffusion import DiT
from jaxgen.types import Array, Batch, Key

SCHEDULES: dict[str, Callable[[int], diffusion.Discrete]] = {"linear": diffusion.linear, "cosine": diffusion.cosine}
VARIANCES: dict[str, diffusion.Variance] = {
    "learned": diffusion.learned_range,
    "small": diffusion.small_variance,
    "large": diffusion.large_variance,
}
PIXELS = (-1.0, 1.0)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    drop: Share = 0.1,
    schedule: Literal["linear", "cosine"] | Callable[[int], diffusion.Discrete] = "cosine",
    timesteps: Count = 1000,
    guidance: Late[NonNegative] = 2.0,
    interval: Late[tuple[NonNegative, NonNegative] | None] = None,
    sampler: Late[samplers.OnChain] = "ancestral",
    variance: Late[Literal["learned", "small", "large"] | diffusion.Variance] = "learned",
    sampling_steps: Late[Count] = 100,
    patch: Count = 2,
    width: Count = 96,
    depth: Count = 4,
    heads: Count = 4,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    nll_samples: Late[Count] = 50,
) -> jaxgen.Experiment:
    """A diffusion Transformer of images by their classes, with a learned reverse variance.

    Args:
      drop: share of the training examples whose class is dropped.
      schedule: variances of the forward process, linear in t or by a cosine.
      guidance: the scale s; with 0 there is no class, and with 1 no guidance.
      interval: the range of sigma / alpha within which samples are guided; None guides at all levels.
      variance: the variance of the reverse steps: the network's, the posterior's (small) or the forward process's (large).
      sampling_steps: steps of the sampler, evenly spaced in T, the first one included.
      patch: the side of a patch in pixels; it divides the images'.
      width: the width of the patches' vectors, a multiple of four.
      depth: the number of blocks.
      heads: the number of attention heads; it divides the width.
      remat: whether to recompute the blocks in the backward pass to save memory.
      nll_samples: transitions of each test image, drawn by importance, from which the final bound is estimated; T - 1 are all.
    """
    if sampling_steps > timesteps:
        raise jaxgen.UserError(
            f"--sampling-steps {sampling_steps} are more than --timesteps {timesteps}; give as many or fewer."
        )
    train, test = data.train_and_test(dataset)
    image, names = data.common_shape("image", train, test), data.common_classes("label", train, test)
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    noise = value_of(SCHEDULES, schedule)(timesteps)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = DiT(patch, width, depth, heads, classes=len(names), outputs=2 * image[-1], remat=remat, dtype=dtype)
    tell = {"label": objectives.Told("label", len(names), drop)}
    player = jaxgen.Player(objectives.hybrid(model, noise, told=tell), optax.adam(learning_rate))

    chain = diffusion.spaced(noise, sampling_steps, first=True)
    reverse = value_of(VARIANCES, variance)
    methods: samplers.Methods = {
        **samplers.ON_CHAIN,
        "ancestral": functools.partial(samplers.ancestral, variance=reverse),
    }
    conditional = diffusion_model.denoise_by(model, told=tell)

    def denoise(state: jaxgen.TrainState, batch: Batch) -> diffusion.Denoise:
        nothing = objectives.tell_nothing(tell, batch)
        unconditional = objectives.denoiser_of(model, state.params, state.vars, told=nothing)
        guided = diffusion.classifier_free(conditional(state, batch), unconditional, guidance, interval=interval)
        return diffusion.clipped(guided, *PIXELS)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, known = keys.per_example(key, batch), diffusion.clipped(conditional(state, batch), *PIXELS)
        return objectives.variational_bound(known, noise, batch["image"], own, variance=reverse, samples=nll_samples).bits

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    conditions, most = jaxgen.Conditions.of_classes(names), chain.level(chain.steps)
    diffused = diffusion_model.of_sampler(denoise, methods[sampler](chain), most, image, pixels=PIXELS, conditions=conditions)
    role = diffusion.Trained(noise, diffusion.EPSILON, PIXELS, tuple(tell))
    example = (jnp.zeros((1, *image)), jnp.zeros(1), jnp.zeros(1, jnp.int32))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, *example, role=role)},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(player))},
        final={"test": over_test(bound)},
        pictures=diffused.pictures(
            data.examples(test, 8, transform)["image"],
            diffusion.spaced(noise, min(15, timesteps)),
            drawn=f"guidance {guidance:g}, {chain.steps} {sampler} steps",
        ),
        sample=diffused.sample,
        given=conditions,
        sampling=("guidance", "interval", "sampler", "sampling_steps", "variance"),
        ema=ema,
        accumulate=accumulate,
        protocol=dict.fromkeys(
            ("bits_per_dim", "prior", "transitions", "decoder"), ("nll_samples", "schedule", "timesteps", "variance")
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
