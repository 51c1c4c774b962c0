"""Autoencoders of one layer of sigmoids, and what keeps them from copying: denoising, contractive or sparse.

python -m experiments.regularised_autoencoder                                # denoising; digits, nothing to download
python -m experiments.regularised_autoencoder --method contractive
python -m experiments.regularised_autoencoder --method sparse
python -m experiments.regularised_autoencoder --method plain                 # to compare with
python -m experiments.regularised_autoencoder --dataset mnist --data-dir D --latents 1000 --steps 30000

The final evaluation is the error of a linear classifier that is trained on the units of the training images. On the digits
(360 test images, seed 0, half a minute of processor time each):

| | plain | denoising | contractive | sparse |
| --- | --- | --- | --- | --- |
| error of the classifier, % | 8.6 +- 1.5 | 9.2 +- 1.5 | 4.2 +- 1.1 | 5.8 +- 1.2 |
| squared error of a clean image | 0.09 | 0.93 | 0.44 | 0.09 |

Against the papers (Vincent et al. 2008, Rifai et al. 2011, Ng 2011) and the deep learning tutorials' code of the first two
(github.com/lisa-lab/DeepLearningTutorials: code/dA.py, code/cA.py):

| | the paper, or the code | here |
| --- | --- | --- |
| weights | tied, uniform within 4 sqrt(6 / (in + out)); untied in Ng's notes | tied, the same start |
| loss | cross-entropy summed over the pixels; half the squared error in Ng's notes, and of Vincent et al. 2010 with a linear \
decoder | the cross-entropy for all; `--decoder linear` |
| denoising | zeros with a probability of 0.3, anew for each presentation, compared with the clean image | the same |
| contractive | 0.1 times the squared norm of the Jacobian in the code | 0.3 times that of each example |
| sparse | a rate of 0.01 to 0.1, beta = 3, means over the whole set, weight decay | 0.1, 0.3, means over a batch, none |
| optimizer | stochastic gradient descent, by batches of 10 or 20 | Adam of 3e-3, batches of 100 |
| after it | layers are stacked and fine-tuned with labels (`stacked_autoencoder`) | a linear classifier on the units |
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import latent_space, units
from jaxgen.flags import Count, NonNegative, Positive, Share, Whole, value_of
from jaxgen.metrics import probe
from jaxgen.models.autoencoders import TiedAutoencoder
from jaxgen.progress import Track
from jaxgen.types import Array, Key
from jaxgen.uncertainty import named, of_share

CORRUPTIONS: dict[str, Callable[[float], objectives.Corruption]] = {
    "masking": objectives.masking,
    "salt_and_pepper": objectives.salt_and_pepper,
    "gaussian": objectives.gaussian_noise,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    method: Literal["denoising", "contractive", "sparse", "plain"] = "denoising",
    latents: Count = 500,
    decoder: Literal["sigmoid", "linear"] = "sigmoid",
    corruption: Literal["masking", "salt_and_pepper", "gaussian"] | Callable[[float], objectives.Corruption] = "masking",
    corrupted: NonNegative = 0.3,
    contraction: NonNegative = 0.3,
    rate: Share = 0.1,
    sparsity: NonNegative = 0.3,
    l2: Positive = 1e-3,
    steps: Whole = 8000,
    batch_size: Count = 100,
    learning_rate: Positive = 3e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """An autoencoder of one layer on the labelled images of any dataset.

    Args:
      dataset: a TFDS name, or a folder with the subfolders train and test, whose images have a label; in Python also sources of
        arrays (`data.Given`).
      method: the way in which the units are kept from copying the image.
      latents: the number of units.
      decoder: the decoder: of sigmoids, with the cross-entropy, or linear, with half of the squared error.
      corruption: the kind of the noise of denoising.
      corrupted: share of the pixels that denoising corrupts; of gaussian noise its standard deviation.
      contraction: the weight of the squared norm of the Jacobian in contractive.
      rate: the mean activation of each unit that sparse asks for.
      sparsity: the weight of the divergence from it.
      l2: the weight of the squared norm of the classifier's weights.
    """
    if not rate:
        raise jaxgen.UserError("--rate 0 would let no unit be active; give a rate above 0.")
    if corruption != "gaussian" and corrupted > 1:
        raise jaxgen.UserError(f"--corrupted {corrupted:g} is a share of the pixels; give at most 1.")
    train, test = data.train_and_test(dataset)
    height, width, channels = data.common_shape("image", train, test)
    image = (height, width, channels)
    data.common_classes("label", train, test)
    transform = data.scale()

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = TiedAutoencoder(image, latents, dtype, linear=decoder == "linear")
    corrupt = value_of(CORRUPTIONS, corruption)(corrupted)
    losses = {
        "denoising": objectives.denoising(model, corrupt),
        "contractive": objectives.contractive(model, contraction),
        "sparse": objectives.sparse_rate(model, rate=rate, weight=sparsity),
        "plain": objectives.reconstruction(model),
    }
    player = jaxgen.Player(losses[method], optax.adam(learning_rate))

    @jax.jit
    def encode(state: jaxgen.TrainState, x: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, x, method="encode")[0]

    @jax.jit
    def reconstruct(state: jaxgen.TrainState, x: Array) -> Array:
        return jnp.clip(objectives.apply(model, state.params, state.vars, x)[0].mean, 0.0, 1.0)

    def classify(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        features, labels = units.over(test, encode, state, transform, track)
        known = units.over(train, encode, state, transform, track)
        error = 1.0 - probe.linear(*known, features, labels, l2=l2)
        # The standard error is over the test images; that of the classifier's training images is not in it.
        return named({"linear_error": (100 * error, 100 * of_share(error, len(labels)))})

    shown = data.examples(test, 1000, transform)["image"]

    def filters(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        images, columns = units.filters(state.params["model"]["kernel"], encode(state, shown).mean(0), image)
        caption = f"Weights of the units that are most active, these first, grey for zero; step {int(state.step):,}"
        return jaxgen.Picture(images, columns, caption)

    def rebuilt(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        x, columns = shown[:32], min(16, len(shown))
        given = jnp.clip(corrupt(key, x), 0.0, 1.0) if method == "denoising" else x
        caption = f"Test images{', corrupted' if method == 'denoising' else ''}, each with what is made of it below"
        pairs = latent_space.reconstructions(given, reconstruct(state, given), columns=columns)
        return jaxgen.Picture(pairs, columns, f"{caption}; step {int(state.step):,}")

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=transform)},
        final={"test": classify},
        pictures={"filters": filters, "reconstructions": rebuilt},
        ema=ema,
        accumulate=accumulate,
        protocol={"linear_error": ("l2",), "squared_error": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
