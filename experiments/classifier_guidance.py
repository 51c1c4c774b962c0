"""Classifier guidance (Dhariwal & Nichol 2021): a diffusion model without classes, and a classifier that leads it to one.

python -m experiments.ddpm                                             # first the diffusion model, in runs/ddpm
python -m experiments.classifier_guidance                              # then the classifier of its noisy images
jaxgen sample runs/classifier_guidance --label 7 --guidance 10
jaxgen evaluate runs/classifier_guidance --metrics frechet precision_recall --guidance 0 1 2 5

The diffusion model is frozen: this run keeps its network, so that the other run may be deleted. The classifier gets what the
diffusion model gets, x_t and the time as that model scales them, on the same chain.

Against the paper (section 4, algorithms 1 and 2) and the authors' code (github.com/openai/guided-diffusion):

| | the paper, or its code | here |
| --- | --- | --- |
| classifier | half a U-Net with an attention pool, 128 wide, attention at 32, 16 and 8 | the same, 32 and 64 wide |
| noise, loss | uniform t of the diffusion model's chain, cross-entropy | the same |
| optimizer | AdamW of 3e-4 that falls to 0, decay 0.05, batches of 256, no averages | the same, batches of 128 |
| augmentation | random crops of images that are up to a quarter larger, flips | shifts by `--shift`, flips by `--flip` |
| gradient | of the sum of log p(y given x_t) of the chosen classes, without dropout | the same |
| ancestral steps | the mean moves by the step's variance times s times the gradient (algorithm 1) | see below |
| other samplers | the noise moves by -sigma_t s times the gradient (algorithm 2) | the same, in ancestral steps too |
| clipping | of the diffusion model's image, before the guidance | the same |
| guided model | of classes with s of 0.5 to 4, or of none with s of 10 (ImageNet) | of none |

Ancestral steps move the mean by beta_t / sqrt(1 - beta_t) in place of the variance (`diffusion.classifier`).

The second command takes 3 minutes of processor time. The classifier then errs on 58.9 +- 2.6 % of the noisy test images, and
by quarters of the chain on 15, 58, 83 and 87 % (seed 0, n = 360). Of 500 samples by 25 steps of DDIM, an `experiments.lenet` of
3.1 % errors takes 12, 46, 70, 89 and 96 % for the class that was asked for, at s of 0, 1, 2, 5 and 10. Recall in its features
is 0.92, 0.93, 0.92, 0.89 and 0.74; precision does not rise as it does in the paper: 0.68, 0.55, 0.57, 0.62 and 0.53.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, diffusion, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Share, Whole
from jaxgen.models.diffusion import presets
from jaxgen.types import Array, Batch, Key


@jaxgen.recorded
def experiment(
    *,
    model: str = "runs/ddpm",
    dataset: str | data.Given = "digits",
    shift: Whole = 1,
    flip: bool = False,
    guidance: Late[NonNegative] = 5.0,
    sampler: Late[samplers.OnChain] = "ancestral",
    sampling_steps: Late[Count] = 50,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (32, 16, 8),
    dropout: Share = 0.0,
    steps: Whole = 1000,
    batch_size: Count = 128,
    learning_rate: Positive = 3e-4,
    decay: NonNegative = 0.05,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """A classifier of noisy images, by which a trained diffusion model is guided.

    Args:
      model: the run of `experiments.ddpm` that is guided, one without labels.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). Its
        images have the size of those that the diffusion model was trained on, and its labels are the classes to guide to.
      shift: pixels by which training images are moved at random, at most, along either axis.
      guidance: the scale s of the classifier's gradient; 0 guides nothing.
      sampling_steps: steps of the sampler, evenly spaced in the chain of the diffusion model.
      channels: feature maps of the classifier, the largest first; each level halves the side.
      learning_rate: AdamW's learning rate at first; it falls to zero along a line.
      decay: AdamW's weight decay.
    """
    guided = jaxgen.frozen(model)
    train, test = data.train_and_test(dataset)
    image, names = data.common_shape("image", train, test), data.common_classes("label", train, test)
    noise, role = diffusion_model.trained_on_chain(guided, image)
    meaning = role.parameterisation
    if sampling_steps > noise.steps:
        raise jaxgen.UserError(
            f"--sampling-steps {sampling_steps} are more than the {noise.steps} of --model {model}; give as many or fewer."
        )
    if names != (known := guided.classes.get("label", names)):
        ends = (f"{len(of)}, from {of[0]} to {of[-1]}" for of in (names, known))
        raise jaxgen.UserError(
            "The classes of --dataset ({}) are others than those in the data of --model ({}); give the set that it was trained "
            "on.".format(*ends)
        )
    transform = data.scale(*role.pixels)
    moved = data.chain(data.pad(shift), data.crop((image[0], image[1]))) if shift else data.identity
    augment = data.chain(moved, data.flip() if flip else data.identity, transform)

    multipliers = tuple(c / channels[0] for c in channels)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    fields = {"classes": len(names), "dropout": dropout, "remat": remat, "dtype": dtype}
    network = presets.noisy_classifier(channels[0], multipliers, blocks, None, attention=attention, **fields)
    loss = objectives.noisy_classification(network, noise, meaning)
    rate = optimizers.constant_then_linear(learning_rate, steps=steps, falls=steps)
    player = jaxgen.Player(loss, optax.adamw(rate, weight_decay=decay))

    unguided = diffusion_model.denoise_by(guided.module, meaning, clip=role.pixels, name="diffusion")

    def denoise(state: jaxgen.TrainState, batch: Batch) -> diffusion.Denoise:
        log_prob = objectives.classifier_of(network, state.params, state.vars, batch["label"], meaning)
        return diffusion.classifier(unguided(state, batch), log_prob, guidance)

    chain, conditions = diffusion.spaced(noise, sampling_steps), jaxgen.Conditions.of_classes(names)
    draw, most = samplers.ON_CHAIN[sampler](chain), chain.level(chain.steps)
    diffused = diffusion_model.of_sampler(denoise, draw, most, image, pixels=role.pixels, conditions=conditions)

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    quarters = np.array_split(np.arange(1, noise.steps + 1), min(4, noise.steps))
    parts = [objectives.noisy_classification(network, diffusion.subsequence(noise, one), meaning) for one in quarters]

    def by_noise(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        """The error within each quarter of the chain, as the authors' code logs it."""
        found = (part(state.params, state, batch, key, train=False)[1].metrics["error"] for part in parts)
        return {f"error_q{i}": error for i, error in enumerate(found)}

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(network, jnp.zeros((1, *image)), jnp.zeros(1))},
        frozen={"diffusion": guided},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(player))},
        final={"test": over_test(by_noise)},
        pictures=diffused.pictures(
            data.examples(test, 8, transform)["image"],
            diffusion.spaced(noise, min(15, noise.steps)),
            drawn=f"guidance {guidance:g}, {chain.steps} {sampler} steps",
        ),
        sample=diffused.sample,
        given=conditions,
        sampling=("guidance", "sampler", "sampling_steps"),
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol=dict.fromkeys(("error", *(f"error_q{i}" for i in range(len(parts)))), ()),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
