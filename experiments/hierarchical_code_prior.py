"""The learned priors of a VQ-VAE-2 (Razavi et al. 2019, second stage): the top codes, then the bottom codes given the top ones.

python -m experiments.vqvae2                                           # first the autoencoder, in runs/vqvae2
python -m experiments.hierarchical_code_prior                          # then the priors of its codes
python -m experiments.hierarchical_code_prior --labels
jaxgen sample runs/hierarchical_code_prior --temperature 0.9 --top-p 0.95
jaxgen sample runs/hierarchical_code_prior --keep-rows 0.5 --given FOLDER      # completes pictures, whose upper half is kept

Each level is a player with its own PixelSNAIL and its own likelihood. The autoencoder is frozen, and the codes are made anew
for every batch. The likelihoods add up: log p(top) + log p(bottom given top) is that of all codes of an image. Against
rosinality/vq-vae-2-pytorch:

| | there | here |
| --- | --- | --- |
| networks | 4 blocks of 4 residual blocks of 256 channels, kernels of 5 | 2 of 2 of 32, because the digits are few |
| top | attends in each block, 8 heads | the same, 4 heads |
| bottom | given the top by a residual network, enlarged to the nearest; no attention | the same |
| classes | none | --labels: a vector in all gates, as the paper conditions on ImageNet's classes |
| dropout | 0.1 | 0.5, for the same reason |
| optimizer | Adam 3e-4, batches of 32, 420 epochs | Adam 1e-3, batches of 64, 300 steps; averages of the parameters |

Given the upper rows of an image, its top codes are drawn given those of its upper rows, and its bottom codes then given both.
That is not quite the conditional law, in which the upper bottom codes would also weigh the lower top codes.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, keys, objectives, samplers
from jaxgen.analysis.codes import counted, unigram_bits
from jaxgen.analysis.latent_space import reconstructions
from jaxgen.flags import Count, Late, NonNegative, Positive, Share, Whole
from jaxgen.models.autoregressive import PixelSNAIL
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key

LOW, HIGH = -0.5, 0.5
"""Black and white as `experiments.vqvae2` has them."""

LEVELS = ("top", "bottom")
"""The players, each with its own network, in the order in which codes are drawn."""


@jaxgen.recorded
def experiment(
    *,
    autoencoder: str = "runs/vqvae2",
    dataset: str | data.Given = "digits",
    labels: bool = False,
    width: Count = 32,
    depth: Count = 2,
    residuals: Count = 2,
    kernel: Count = 5,
    heads: Count = 4,
    dropout: Share = 0.5,
    temperature: Late[NonNegative] = 1.0,
    top_k: Late[Count | None] = None,
    top_p: Late[Positive] = 1.0,
    keep_rows: Late[Share] = 0.0,
    steps: Whole = 300,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    ema: Share | None = 0.99,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """The priors of both levels of codes of a trained VQ-VAE-2.

    Args:
      autoencoder: the run of `experiments.vqvae2` whose codes are modelled.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). Its
        images have the size of those that the autoencoder was trained on.
      labels: whether to condition both models on each image's class, and sample a class after the other.
      width: channels of each model; half as many are cut into heads.
      depth: blocks of each model; those of the top codes attend, those of the bottom codes do not.
      residuals: residual blocks in each block, and in the network that brings the top codes to the bottom model.
      kernel: the side of the causal kernels; an odd number.
      heads: the number of heads of the top model's attention.
      temperature: the temperature of the draws; 0 takes the likeliest code each time.
      top_k: the number of likeliest codes that are drawn from; None is all.
      top_p: the probability of the nucleus that is drawn from; 1 is all.
      keep_rows: share of a given image's rows of codes, on both levels, that are kept, from above; the others are drawn. With 0
        images are made from nothing, or from their class.
    """
    if top_p > 1:
        raise jaxgen.UserError(f"--top-p is {top_p:g}, and a probability is at most 1; give 1 to draw from all codes.")
    vqvae = jaxgen.frozen(autoencoder)
    book: Any = vqvae.module
    if not hasattr(book, "grids"):
        raise jaxgen.UserError(f"--autoencoder {autoencoder} has no two grids of codes; give a run of experiments.vqvae2.")
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    if image != book.decoder.shape:
        sizes = ("x".join(map(str, shape)) for shape in (image, book.decoder.shape))
        raise jaxgen.UserError(
            "The images of --dataset are {}, and those of --autoencoder {}; give the set that it was trained on.".format(*sizes)
        )
    transform = data.scale(LOW, HIGH)
    names = data.common_classes("label", train, test) if labels else ()
    grids, codes = dict(zip(LEVELS, book.grids, strict=True)), {"top": book.top_quantiser.codes, "bottom": book.quantiser.codes}

    common: dict[str, Any] = {
        **{"channels": width, "width": width, "kernel": kernel, "blocks": depth, "residuals": residuals, "heads": heads},
        **{"classes": len(names), "dropout": dropout, "dtype": jnp.bfloat16 if bf16 else jnp.float32},
    }
    models = {
        "top": PixelSNAIL(codes["top"], **common),
        "bottom": PixelSNAIL(codes["bottom"], attention=False, above=codes["top"], residuals_above=residuals, **common),
    }

    def encode(state: jaxgen.TrainState, batch: Batch) -> dict[str, Array]:
        found = objectives.apply(book, state.params, state.vars, batch["image"], name="autoencoder", method="encode")[0]
        return dict(zip(LEVELS, found, strict=True))

    def decode(state: jaxgen.TrainState, z: Mapping[str, Array]) -> Array:
        own = objectives.apply(
            book, state.params, state.vars, *(z[level] for level in LEVELS), name="autoencoder", method="decode"
        )
        return jnp.clip(own[0] - LOW, 0.0, 1.0)

    def player(level: str) -> jaxgen.Player:
        loss = objectives.code_likelihood(
            models[level],
            codes=lambda state, batch: encode(state, batch)[level],
            condition="label" if labels else None,
            above=(lambda state, batch: encode(state, batch)["top"]) if level == "bottom" else None,
            name=level,
        )
        return jaxgen.Player(loss, optax.adam(learning_rate))

    players = {level: player(level) for level in LEVELS}
    warp = samplers.warp(temperature=temperature, top_k=top_k, top_p=top_p)

    def rows(share: float) -> dict[str, Array]:
        """The places in this share of the rows, from above, by level."""
        return {level: jnp.broadcast_to(jnp.arange(g[0])[:, None] < round(share * g[0]), g) for level, g in grids.items()}

    @jax.jit
    def draw(state: jaxgen.TrainState, key: Key, given: Batch, masks: Mapping[str, Array]) -> Array:
        known = encode(state, transform(given, key)) if "image" in given else {}
        n, own, z = len(given["index"]), keys.per_example(key, given), dict[str, Array]()
        for i, level in enumerate(LEVELS):
            decoder = samplers.decoder_of(
                models[level], state.params, state.vars, label=given.get("label"), above=z.get("top"), name=level
            )
            kept = {"known": known[level], "mask": masks[level]} if known else {}
            z[level] = samplers.autoregressive(decoder, keys.fold_in(own, i), (n, *grids[level]), warp=warp, **kept)
        return decode(state, z)

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return draw(state, key, given, rows(keep_rows))

    conditions = jaxgen.Conditions.of_classes(names) if labels else None
    completed = jaxgen.Conditions(test, features=("image", "label") if labels else ("image",))

    def samples(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        images = sample(state, key, jaxgen.given(64, completed if keep_rows else conditions))
        return jaxgen.Picture(images, 16, f"Samples of the priors, decoded; step {int(state.step):,}")

    def variations(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        given = jaxgen.given(32, completed)
        of_top = {"top": jnp.ones(grids["top"], bool), "bottom": jnp.zeros(grids["bottom"], bool)}
        below = draw(state, key, given, of_top), draw(state, key, given, rows(0.5))
        caption = (
            "Test images; below each, its top codes with bottom codes that were drawn; and the upper half of its codes with a"
        )
        images = reconstructions(given["image"] / 255, *below, columns=16)
        return jaxgen.Picture(images, 16, f"{caption} lower half that was drawn; step {int(state.step):,}")

    over_test: dict[str, Any] = {"batch_size": batch_size, "transform": transform}

    def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own = {level: jaxgen.loss_of(players[level], "nll")(state, batch, key) for level in LEVELS}
        bits = {f"{level}_bits_per_code": values["bits_per_code"] for level, values in own.items()}
        return {"nll": own["top"]["nll"] + own["bottom"]["nll"], **bits}

    def chosen(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        return {level: counted(grid, codes[level]) for level, grid in encode(state, batch).items()}

    counts_over = jaxgen.sum_over(test, chosen, **over_test)

    def references(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        """The bits of a code without a model of the order: by the codes' frequencies in the test images, and by equal ones."""
        counts = counts_over(state, key, track)
        unigram = {f"{level}_unigram_bits_per_code": unigram_bits(counts[level]) for level in LEVELS}
        return unigram | {f"{level}_uniform_bits_per_code": math.log2(codes[level]) for level in LEVELS}

    told = jnp.zeros(1, jnp.int32) if labels else None
    zeros = {level: jnp.zeros((1, *grids[level]), jnp.int32) for level in LEVELS}
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks={
            "top": jaxgen.Network(models["top"], zeros["top"], told),
            "bottom": jaxgen.Network(models["bottom"], zeros["bottom"], told, zeros["top"]),
        },
        frozen={"autoencoder": vqvae},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, measure, **over_test)},
        final={"test": references},
        pictures={"samples": samples, "variations": variations},
        sample=sample,
        given=completed if keep_rows else conditions,
        sampling=("keep_rows", "temperature", "top_k", "top_p"),
        ema=ema,
        accumulate=accumulate,
        best="test/nll",
        protocol={f"{level}_bits_per_code": ("labels",) for level in LEVELS},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
