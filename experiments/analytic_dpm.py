"""Analytic-DPM (Bao et al. 2022): the reverse variance that fits a trained diffusion model best, measured and not trained.

python -m experiments.ddpm                                             # first the diffusion model, in runs/ddpm
python -m experiments.analytic_dpm                                     # then the power of the noise that it predicts
jaxgen sample runs/analytic_dpm --sampling-steps 10 --eta 0            # DDIM with the analytic variance
jaxgen evaluate runs/analytic_dpm --sampling-steps 10 25 50 100        # bounds with each variance, a row a length
jaxgen evaluate runs/analytic_dpm --metrics frechet --sampling-steps 10 25 50 --variance analytic

Bits a dimension of the 360 test images by the length of the chain (seed 0, the default run of experiments.ddpm, +- 0.02; of the
small variance 2 %): the order of the variances is that of the paper.

| steps | 10 | 25 | 50 | 100 | 200 |
| --- | --- | --- | --- | --- | --- |
| small | 238.0 | 62.98 | 23.86 | 11.32 | 7.03 |
| large | 7.07 | 6.42 | 5.95 | 5.53 | 5.18 |
| analytic | 6.43 | 5.88 | 5.50 | 5.19 | 4.94 |
| analytic, on the chain of least bound | 5.38 | 4.87 | 4.74 | 4.68 | 4.67 |

The network is frozen: this run keeps it, so that the other run may be deleted. A step of this run evaluates it on one batch of
noisy training images and adds up the power of the noise that it predicts, at every step of the chain.

Against the paper (theorem 1, equations 8 and 12, section 4) and the authors' code (github.com/baofff/Analytic-DPM):

| | the paper, or its code | here |
| --- | --- | --- |
| power of the noise | averaged weights, 50,000 images at each of 1,000 steps (CIFAR-10) | averaged weights, 100 images a step |
| covariance | clipped to [0, 1], of data in [-1, 1] | the same |
| predicted image | clipped; DDIM keeps the noise as it was predicted | clipped; the noise is what then explains x_t |
| last noise | a standard deviation of at most sqrt(pi / 2) times two levels of a byte | the same, `--largest-noise` |
| chains of K steps | evenly from step 1 to T, or of the least bound | the same in bounds; samples walk the even one |
| decoder of the bound | the posterior's variance between steps 1 and 2 | the same |
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Late, NonNegative, Positive, Whole
from jaxgen.game import merging
from jaxgen.models.diffusion import NoisePower
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key

LARGEST_NOISE = 2 * 2 / 255 * math.sqrt(math.pi / 2)
"""The standard deviation of noise whose mean size is two levels of a byte, of pixels in [-1, 1]."""
BASELINES: dict[str, Callable[[diffusion.Discrete], np.ndarray]] = {
    "small": diffusion.small_variance,
    "large": diffusion.large_variance,
}


@jaxgen.recorded
def experiment(
    *,
    model: str = "runs/ddpm",
    dataset: str | data.Given = "digits",
    variance: Late[Literal["analytic", "small", "large"]] = "analytic",
    sampling_steps: Late[Count] = 50,
    eta: Late[NonNegative] = 1.0,
    largest_noise: Late[Positive] = LARGEST_NOISE,
    steps: Whole = 200,
    batch_size: Count = 500,
    nll_samples: Late[Count | None] = None,
) -> jaxgen.Experiment:
    """The analytic reverse variance of a trained diffusion model.

    Args:
      model: the run of `experiments.ddpm` whose network is measured, one without labels.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). It
        is the set that the network was trained on.
      variance: the variance of the reverse steps of samples: the analytic one, or one of those that it is compared with.
      sampling_steps: steps of the sampler and of the bounds, evenly spaced from the first of the chain to the last.
      eta: the share of the posterior's standard deviation in the sampler: 1 is ancestral sampling, and 0 is DDIM, to both of
        which the analytic variance adds what is not known of the image.
      largest_noise: the largest standard deviation of the last noise of samples, in the range of the pixels, [-1, 1].
      steps: batches over which the power is measured.
      nll_samples: transitions of each test image from which the bounds are estimated; None is all of a bound's.
    """
    frozen = jaxgen.frozen(model)
    if eta > 1:
        raise jaxgen.UserError(f"--eta {eta:g} is more than 1, which is all of the posterior's deviation; give from 0 to 1.")
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    noise, role = diffusion_model.trained_on_chain(frozen, image)
    if not 2 <= sampling_steps <= noise.steps:
        raise jaxgen.UserError(f"--sampling-steps {sampling_steps} is not between 2 and the {noise.steps} of --model {model}.")
    pixels = role.pixels
    transform = data.scale(*pixels)

    def by(clip: tuple[float, float] | None) -> diffusion_model.DenoiseGiven:
        return diffusion_model.denoise_by(frozen.module, role.parameterisation, clip=clip, name="diffusion")

    statistics = NoisePower(noise.steps)
    loss = objectives.noise_power(lambda state: by(None)(state, {}), noise, statistics, batch_size, name="power")
    player = jaxgen.Player(loss, optax.identity(), merge={"power": merging.total})

    def power(state: jaxgen.TrainState) -> Array:
        every = jnp.arange(noise.steps + 1)
        return objectives.apply(statistics, state.params, state.vars, every, jnp.ones(len(every)), name="power")[0]

    chain = diffusion.spaced(noise, sampling_steps, first=True)
    on_chain = chain.time.astype(int)

    def sampler(state: jaxgen.TrainState) -> samplers.Sampler:
        if variance == "analytic":
            covariance = diffusion.data_covariance(noise, power(state))[on_chain]
            return samplers.analytic(chain, covariance, eta=eta, largest_last=largest_noise)
        return samplers.ddim(chain, eta=eta) if variance == "small" else samplers.ancestral(chain, variance=BASELINES["large"])

    diffused = diffusion_model.of_learned_sampler(by(pixels), sampler, chain.level(chain.steps), image, pixels=pixels)

    def bits(shorter: diffusion.Discrete, reverse: diffusion.Variance) -> jaxgen.Evaluator:
        def with_decoder(chain: diffusion.Discrete) -> np.ndarray:
            # All chains decode with one variance, that of the whole one.
            return np.concatenate([[0.0], diffusion.small_variance(noise)[1:2], np.asarray(reverse(chain))[2:]])

        def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
            own = keys.per_example(key, batch)
            found = objectives.variational_bound(
                by(pixels)(state, batch), shorter, batch["image"], own, variance=with_decoder, samples=nll_samples
            )
            return {"bits_per_dim": found.bits["bits_per_dim"]}

        return jaxgen.mean_over(test, bound, batch_size=min(batch_size, 100), transform=transform)

    def bounds(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        measured = np.asarray(power(state), np.float64)
        analytic = diffusion.analytic_variance(noise, measured)
        shortest = diffusion.optimal_chain(noise, measured, sampling_steps)
        found = {"": bits(chain, analytic), "optimal_chain_": bits(shortest, analytic)}
        found |= {f"{name}_": bits(chain, of) for name, of in BASELINES.items()}
        return {f"{name}{figure}": value for name, run in found.items() for figure, value in run(state, key, track).items()}

    shown = data.examples(test, 8, transform)["image"]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"power": player},
        steps=steps,
        networks={"power": jaxgen.Network(statistics, jnp.ones(1, jnp.int32), jnp.ones(1))},
        frozen={"diffusion": frozen},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=transform)},
        final={"test": bounds},
        pictures=diffused.pictures(
            shown,
            diffusion.spaced(noise, min(15, noise.steps)),
            drawn=f"{sampling_steps} steps with the {variance} variance",
        ),
        sample=diffused.sample,
        sampling=("eta", "largest_noise", "sampling_steps", "variance"),
        best=None,
        protocol=dict.fromkeys(
            ("bits_per_dim", "optimal_chain_bits_per_dim", "small_bits_per_dim", "large_bits_per_dim"),
            ("nll_samples", "sampling_steps"),
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
