"""A consistency model (Song et al. 2023), tuned from a trained EDM (ECT, Geng et al. 2024): samples by one evaluation or two.

python -m experiments.edm                                            # first the denoiser, in runs/edm
python -m experiments.consistency                                    # then its tuning
jaxgen sample runs/consistency --noises 80                           # by one evaluation
jaxgen evaluate runs/consistency --metrics frechet precision_recall --noises 80 0.821
python -m experiments.consistency --model W --dataset cifar10 --data-dir D --steps 200000 --stage-steps 25000 \
    --batch-size 128 --learning-rate 1e-4 --ema 0.9999               # the paper's, after its EDM in W

Against the paper and the authors' code (github.com/locuslab/ect):

| | the paper, or its code | here |
| --- | --- | --- |
| start | the averages of a trained EDM | the same |
| times | log t normal, -1.1 and 2; r closes in on t by q = 2 a stage, k = 8, b = 1; 8 stages | the same |
| loss | the distance of two predictions, a root of the sum over pixels, over t - r; c of 0 by default | the same |
| target | the network itself without a gradient, with the same dropout of 0.2; the data where r = 0 | the same |
| optimizer | rectified Adam of 1e-4, batches of 128, averages by 0.9999 | the same; a rate of 3e-4 and 0.995 by default |
| samples | one step from 80, or two with the second at 0.821 | the same, two by default |
| preconditioning | EDM's; for samples with sigma less the least noise in c_skip and c_out | EDM's |
| network | DDPM++ of 55.7 million, in half precision as an option | that of `--model`, in its precision |

The second command takes 7 minutes of processor time. From the same noise an image by one evaluation then differs from the end
of the untuned model's flow by a mean square of 0.038 +- 0.002 a pixel, in [-1, 1]. Before that, where one evaluation gives
the mean of all images, it was 0.275 +- 0.002 (seed 0, 360 noises). A person reads the digits of one evaluation and of two.
"""

import itertools
from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids, laws
from jaxgen.flags import Count, Late, NonNegative, Positive, Range, Share, Whole
from jaxgen.types import Array, Batch, Key, Params, Vars

LogNoise = Annotated[float, Range("a number from -10 to 10", lambda x: -10 <= x <= 10)]
TEACHER_STEPS = 18


@jaxgen.recorded
def experiment(
    *,
    model: str = "runs/edm",
    dataset: str | data.Given = "digits",
    flip: bool = False,
    log_mean: LogNoise = -1.1,
    log_std: Positive = 2.0,
    stage_steps: Count = 250,
    shrink: Positive = 2.0,
    widen: NonNegative = 8.0,
    slope: NonNegative = 1.0,
    huber: NonNegative = 0.0,
    noises: Late[tuple[Positive, ...]] = (80.0, 0.821),
    dropout: Share = 0.2,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 3e-4,
    ema: Share = 0.995,
    accumulate: Count = 1,
) -> jaxgen.Experiment:
    """A trained denoiser, tuned until one evaluation at any noise gives the image at which its flow ends.

    Args:
      model: the run of `experiments.edm` whose network is tuned; this run keeps it, and is compared with it.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). It
        is the set that the network was trained on.
      log_mean: mean of the logarithm of the noise in training.
      log_std: standard deviation of the logarithm of the noise in training.
      stage_steps: steps of a stage; from each to the next the two noises of the loss come closer.
      shrink: the factor q by which they come closer.
      widen: the number k by which the two noises lie further apart where there is little noise.
      slope: the rate b at which that falls off with the noise.
      huber: the constant c of the distance of two images; above 0 small differences count by their squares.
      noises: the levels of noise at which samples are evaluated, descending: one number makes samples by one evaluation.
      dropout: share of units dropped in training, the same ones in both evaluations of the loss.
    """
    if any(after >= before for before, after in itertools.pairwise(noises)):
        raise jaxgen.UserError(f"--noises {' '.join(f'{s:g}' for s in noises)} do not descend; give the largest first.")
    teacher = jaxgen.frozen(model)
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    role = diffusion_model.trained_in_noise(teacher, image)
    meaning, pixels = role.parameterisation, role.pixels
    transform = data.scale(*pixels)
    augment = data.chain(transform, data.flip()) if flip else transform

    network = teacher.module.clone(dropout=dropout)
    times = diffusion.Drawn(diffusion.time_is_sigma(), laws.log_normal(log_mean, log_std))
    loss = objectives.consistency(network, times, meaning, objectives.closing(stage_steps, q=shrink, k=widen, b=slope), c=huber)
    player = jaxgen.Player(loss, optax.radam(learning_rate))

    def init(key: Key) -> tuple[Params, Vars]:
        return {"model": teacher.params}, {}

    noise = diffusion.time_is_sigma()
    chain = diffusion.discretised(noise, noises)
    student, before = (diffusion_model.denoise_by(network, meaning, name=name) for name in ("model", "teacher"))
    start = chain.level(chain.steps)
    diffused = diffusion_model.of_sampler(student, samplers.multistep_consistency(chain), start, image, pixels=pixels)
    once = samplers.multistep_consistency(diffusion.discretised(noise, (noise.end,)))
    flow = samplers.heun_in_noise(diffusion.discretised(noise, grids.karras(noise, TEACHER_STEPS)))

    def distances(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        """The distance of samples by one evaluation from the ends of the teacher's flow, in a root mean square of pixels."""
        z = keys.draw(jax.random.normal, keys.per_example(key, batch), batch["image"].shape)
        x = noise.end * z
        end = flow(before(state, batch), x, key).x
        found = {"one_step": once(student(state, batch), x, key).x, "untuned": once(before(state, batch), x, key).x}
        of_pixels = {name: ((images - end) ** 2).mean(axis=(1, 2, 3)) for name, images in found.items()}
        return {f"{name}_mse": value for name, value in of_pixels.items()}

    @jax.jit
    def side_by_side(state: jaxgen.TrainState, key: Key) -> Array:
        given, z = jaxgen.given(16), jax.random.normal(key, (16, *image))
        x = noise.end * z
        rows = (
            flow(before(state, given), x, key).x,
            once(student(state, given), x, key).x,
            samplers.multistep_consistency(chain)(student(state, given), start.sigma * z, key).x,
        )
        return diffused.visible(jnp.concatenate(rows))

    def compared(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        caption = (
            f"From one noise a column: {2 * TEACHER_STEPS - 1} evaluations of the untuned model, 1 of the tuned one, and "
            f"{len(noises)}; step {int(state.step):,}"
        )
        return jaxgen.Picture(side_by_side(state, key), 16, caption)

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    shown = data.examples(test, 8, transform)["image"]
    drawn = diffused.pictures(shown, chain, drawn=f"noise {', '.join(f'{s:g}' for s in noises)}")
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(network, *teacher.inputs, role=role)},
        init=init,
        frozen={"teacher": teacher},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(player))},
        final={"test": over_test(distances)},
        pictures={"samples": drawn["samples"], "compared": compared},
        sample=diffused.sample,
        sampling=("noises",),
        ema=ema,
        accumulate=accumulate,
        best=None,
        protocol=dict.fromkeys(("one_step_mse", "untuned_mse"), ()),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
