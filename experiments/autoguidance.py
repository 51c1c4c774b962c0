"""Autoguidance (Karras et al. 2024): a trained EDM, guided by a worse version of itself, which is trained here.

python -m experiments.edm                                            # first the model that is guided, in runs/edm
python -m experiments.autoguidance                                   # then a smaller one, trained for a shorter time
jaxgen sample runs/autoguidance --guidance 1.5 --interval 0.2 3
jaxgen evaluate runs/autoguidance --metrics frechet precision_recall --guidance 0 1 1.5 2 3

--guidance is w of D_0 + w (D_1 - D_0): 0 samples from the weak model, 1 from the strong one without guidance.

Against the paper (Guiding a diffusion model with a bad version of itself) and the authors' code (github.com/NVlabs/edm2):

| | the paper, or its code | here |
| --- | --- | --- |
| guiding model | EDM2-XS for EDM2-S, trained on 1/16 of the images (`edm2-img512-s-autog-fid`) | `--channels`, `--steps` |
| weight | 2.10 there | 2 by default |
| averages | of both models by power functions, their widths searched for | exponential, by `--ema` |
| condition | a class, the same for both | none |
| sampler | Heun's method, 32 steps from 80 to 0.002 with rho = 7 | the same, 18 steps |
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids, laws
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Range, Share, Whole
from jaxgen.models.diffusion import UNet
from jaxgen.types import Array, Batch, Key

LogNoise = Annotated[float, Range("a number from -10 to 10", lambda x: -10 <= x <= 10)]


@jaxgen.recorded
def experiment(
    *,
    model: str = "runs/edm",
    dataset: str | data.Given = "digits",
    flip: bool = False,
    log_mean: LogNoise = -1.2,
    log_std: Positive = 1.2,
    guidance: Late[NonNegative] = 2.0,
    interval: Late[tuple[NonNegative, NonNegative] | None] = None,
    smallest: Late[Positive] = 0.002,
    largest: Late[Positive] = 80.0,
    rho: Late[Positive] = 7.0,
    sampler: Late[Literal["heun", samplers.OnChain]] = "heun",
    sampling_steps: Late[Count] = 18,
    channels: Counts = (16, 32),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.13,
    steps: Whole = 500,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.99,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """A weak denoiser, by which a trained one is guided.

    Args:
      model: the run of `experiments.edm` that is guided; this run keeps it.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). It
        is the set that the model was trained on.
      log_mean: mean of the logarithm of the noise in training.
      log_std: standard deviation of the logarithm of the noise in training.
      guidance: the weight w; 0 is the weak model, and 1 the strong one without guidance.
      interval: the range of the noise within which samples are guided; None guides at all levels.
      smallest: the least noise that is sampled down to; the last step takes it off.
      largest: the noise that sampling starts from.
      rho: the power by which the steps are spaced; the larger it is, the more of them are at little noise.
      sampler: the method by which images are drawn; Heun's takes two evaluations of each network a step, the others one.
      sampling_steps: steps of the sampler, 2 or more.
      channels: feature maps of the weak network, the largest first; each level halves the side.
      warmup: steps over which the learning rate rises from zero along a line.
    """
    if smallest >= largest:
        raise jaxgen.UserError("Sampling runs from the --largest noise down to the --smallest; give a smaller one.")
    if interval is not None and interval[0] >= interval[1]:
        raise jaxgen.UserError(
            f"--interval {interval[0]:g} {interval[1]:g} has no noise in it; give the least noise first, and then the most."
        )
    strong = jaxgen.frozen(model)
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    role = diffusion_model.trained_in_noise(strong, image)
    meaning, pixels = role.parameterisation, role.pixels
    transform = data.scale(*pixels)
    augment = data.chain(transform, data.flip()) if flip else transform

    network = UNet(channels, blocks, attention, dropout=dropout, remat=remat, dtype=jnp.bfloat16 if bf16 else jnp.float32)
    times = diffusion.Drawn(diffusion.time_is_sigma(), laws.log_normal(log_mean, log_std))
    # EDM's weight of the error of the data is an even one of the output, which EDM's parameterisation scales to that end.
    loss = objectives.denoising_score_matching(network, times, meaning)
    of_strong = objectives.denoising_score_matching(strong.module, times, meaning, name="strong")
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    player = jaxgen.Player(loss, optimizers.clipped(optax.adam(rate), clip))

    noise = diffusion.time_is_sigma(smallest, largest)
    chain = diffusion.discretised(noise, grids.karras(noise, sampling_steps, rho=rho))
    methods: samplers.Methods = {"heun": samplers.heun_in_noise, **samplers.ON_CHAIN}
    draw = methods[sampler](chain)
    unguided, weak = (
        diffusion_model.denoise_by(of, meaning, name=name) for of, name in ((strong.module, "strong"), (network, "model"))
    )

    def guided_by(scale: float) -> diffusion_model.DenoiseGiven:
        return lambda state, given: diffusion.autoguided(unguided(state, given), weak(state, given), scale, interval=interval)

    diffused = diffusion_model.of_sampler(guided_by(guidance), draw, chain.level(chain.steps), image, pixels=pixels)

    @jax.jit
    def side_by_side(state: jaxgen.TrainState, key: Key) -> Array:
        given, x = jaxgen.given(16), largest * jax.random.normal(key, (16, *image))
        every = (weak, unguided, guided_by(guidance))
        return diffused.visible(jnp.concatenate([draw(of(state, given), x, key).x for of in every]))

    def compared(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        caption = f"From one noise a column: the weak model, the strong one, guidance {guidance:g}; step {int(state.step):,}"
        return jaxgen.Picture(side_by_side(state, key), 16, caption)

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    def strong_loss(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        """The loss of the strong model, at the same noise as that of the weak one."""
        return {"strong_loss": of_strong(state.params, state, batch, key, train=False)[0]}

    shown = data.examples(test, 8, transform)["image"]
    drawn = f"guidance {guidance:g}, {sampling_steps} {sampler} steps"
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(network, jnp.zeros((1, *image)), jnp.zeros(1), role=role)},
        frozen={"strong": strong},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(player))},
        final={"test": over_test(strong_loss)},
        pictures={"samples": diffused.pictures(shown, chain, drawn=drawn)["samples"], "compared": compared},
        sample=diffused.sample,
        sampling=("guidance", "interval", "largest", "rho", "sampler", "sampling_steps", "smallest"),
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
