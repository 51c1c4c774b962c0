r"""Stacked denoising autoencoder (Vincent et al. 2008, 2010): layers that learn one after another, then together with labels.

python -m experiments.stacked_autoencoder                                            # digits, nothing to download
python -m experiments.stacked_autoencoder --pretraining-steps 0 --steps 7000         # the same network without pretraining
python -m experiments.stacked_autoencoder --validation 0.2                           # and jaxgen evaluate RUN --best
python -m experiments.stacked_autoencoder --dataset mnist --data-dir D --hidden 1000 1000 1000 --validation 0.16667 \
    --pretraining-steps 37500 --pretraining-rate 0.02 --steps 362500 --evaluate-every 2500

The second has as many steps with labels as the first. On the digits (360 test images, seed 0; 45 seconds of processor time for
the first) the two differ by less than their standard errors:

| | with pretraining | without |
| --- | --- | --- |
| test error | 0.089 +- 0.015 | 0.083 +- 0.015 |
| cross-entropy | 0.296 +- 0.054 | 0.321 +- 0.059 |

One run has both phases. Each layer has a player whose turns are 3,000 steps; then the player `classifier` moves all of them and
a softmax. The log has the loss of each layer while it learns, and the evaluations have that of its clean input. It rises in the
fine-tuning, whose loss does not see the decoders; the pictures of step 9,000 are those of the pretraining's end.

Against the deep learning tutorials of the authors' laboratory (github.com/lisa-lab/DeepLearningTutorials: code/dA.py,
code/SdA.py, doc/SdA.txt; the papers' own figures were not found to be read):

| | the tutorials, on MNIST | here |
| --- | --- | --- |
| layers | 1000-1000-1000 | 200-200-200 for 64 pixels |
| weights | tied, uniform within 4 sqrt(6 / (in + out)), biases and the softmax zero | the same |
| loss of a layer | cross-entropy summed over its inputs, of the clean outputs of the layers below | the same |
| noise | zeros with a probability of 0.1, 0.2, 0.3, nothing made larger | the same; two other kinds by --corruption |
| decoders | of sigmoids; linear for Gaussian noise in Vincent et al. 2010 | of sigmoids; `--decoder linear` |
| pretraining | 15 epochs a layer by batches of 1, rate 0.001 | 42 epochs by batches of 20, rate 0.1 |
| fine-tuning | rate 0.1, batches of 1, at most 1,000 epochs | rate 0.1, batches of 20, 97 epochs |
| early stopping | by the error of 10,000 validation images, with patience | the best checkpoint, with --validation |
| test error | 0.013 | not measured on MNIST |
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_space, units
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.models.autoencoders import StackedAutoencoder
from jaxgen.types import Array, Batch, Key

CORRUPTIONS: dict[str, Callable[[float], objectives.Corruption]] = {
    "masking": objectives.masking,
    "salt_and_pepper": objectives.salt_and_pepper,
    "gaussian": objectives.gaussian_noise,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    hidden: Counts = (200, 200, 200),
    decoder: Literal["sigmoid", "linear"] = "sigmoid",
    corruption: Literal["masking", "salt_and_pepper", "gaussian"] | Callable[[float], objectives.Corruption] = "masking",
    corruption_levels: tuple[NonNegative, ...] = (0.1, 0.2, 0.3),
    pretraining_steps: Whole = 3000,
    pretraining_rate: Positive = 0.1,
    steps: Whole = 16_000,
    batch_size: Count = 20,
    learning_rate: Positive = 0.1,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A classifier of the labelled images of any dataset, whose layers first learn to denoise.

    Args:
      dataset: a TFDS name, or a folder with the subfolders train and test, whose images have a label; in Python also sources of
        arrays (`data.Given`).
      hidden: the numbers of units of the layers, the lowest first.
      decoder: the layers' decoders: of sigmoids, with the cross-entropy, or linear, with half of the squared error.
      corruption: the kind of the noise in a layer's input.
      corruption_levels: the share of the numbers that are corrupted, for each layer; of gaussian noise its standard deviation.
      pretraining_steps: steps at the beginning in which each layer learns to denoise, one layer after another; 0 for none.
      pretraining_rate: the learning rate of these steps.
      steps: training steps, those of the pretraining included.
      learning_rate: the learning rate of the steps after them, in which all layers learn from the labels.
    """
    if len(corruption_levels) != len(hidden):
        raise jaxgen.UserError(
            f"--corruption-levels {' '.join(f'{level:g}' for level in corruption_levels)} are not one for each of the "
            f"{len(hidden)} layers of --hidden; give {len(hidden)}."
        )
    if corruption in ("masking", "salt_and_pepper") and max(corruption_levels) > 1:
        raise jaxgen.UserError(
            f"--corruption-levels {max(corruption_levels):g} is a share of a layer's inputs; give at most 1."
        )
    pretrained = pretraining_steps * len(hidden)
    if 0 < steps < pretrained:
        raise jaxgen.UserError(
            f"--steps {steps} end before the {len(hidden)} layers have had --pretraining-steps {pretraining_steps} each; give "
            f"more than {pretrained} steps, or {pretrained} for the pretraining alone."
        )
    train, test = data.train_and_test(dataset)
    height, width, channels = data.common_shape("image", train, test)
    image = (height, width, channels)
    classes = len(data.common_classes("label", train, test))
    transform = data.scale()

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = StackedAutoencoder(image, hidden, classes, dtype, linear=decoder == "linear")

    def pretraining(layer: int) -> jaxgen.Player:
        corrupt = value_of(CORRUPTIONS, corruption)(corruption_levels[layer])
        return jaxgen.Player(
            objectives.layer_denoising(model, layer, corrupt),
            optax.sgd(pretraining_rate),
            owns=("model",),
            when=lambda state, _: state.step // pretraining_steps == layer,
        )

    layers = {f"layer{i + 1}": pretraining(i) for i in range(len(hidden) if pretraining_steps else 0)}
    classifier = jaxgen.Player(
        objectives.classification(model),
        optax.sgd(learning_rate),
        owns=("model",),
        when=(lambda state, _: state.step >= pretrained) if layers else None,
    )

    def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        of_layers = {
            f"{name}_loss": layer.loss(state.params, state, batch, key, train=False)[0] for name, layer in layers.items()
        }
        return {**jaxgen.loss_of(classifier)(state, batch, key), **of_layers}

    def encode(state: jaxgen.TrainState, x: Array, depth: int) -> Array:
        return objectives.apply(model, state.params, state.vars, x, depth, method="encode")[0]

    @jax.jit
    def rebuilt(state: jaxgen.TrainState, x: Array) -> list[Array]:
        depths = range(1, len(hidden) + 1)
        decoded = [
            objectives.apply(model, state.params, state.vars, encode(state, x, n), method="decode", told={"depth": n})[0]
            for n in depths
        ]
        return [jnp.clip(p.mean, 0.0, 1.0) for p in decoded]

    shown = data.examples(test, 1000, transform)["image"]

    def filters(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        kernel = state.params["model"]["layers_0"]["kernel"]
        images, columns = units.filters(kernel, encode(state, shown, 1).mean(0), image)
        caption = "Weights of the first layer's units that are most active, these first, grey for zero"
        return jaxgen.Picture(images, columns, f"{caption}; step {int(state.step):,}")

    def reconstructions(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        x = shown[:16]
        rows = latent_space.reconstructions(x, *rebuilt(state, x), columns=len(x))
        caption = "Held-out images, and below each what the units of the first layer, the second, and so on make of it"
        return jaxgen.Picture(rows, len(x), f"{caption}; step {int(state.step):,}")

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={**layers, "classifier": classifier},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, measure, batch_size=500, transform=transform)},
        pictures={"filters": filters, **({"reconstructions": reconstructions} if layers else {})},
        ema=ema,
        accumulate=accumulate,
        best="test/error",
        protocol={"error": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
