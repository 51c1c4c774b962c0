"""NVAE (Vahdat & Kautz 2020): a deep hierarchical VAE of convolutions, whose groups of latents are maps at several scales.

python -m experiments.nvae                                           # digits, nothing to download
python -m experiments.nvae --spectral 0 --no-balanced --no-residual  # without three of its parts
python -m experiments.nvae --dataset mnist --data-dir D --padding 2 --groups 5 10 --width 32 --latents 20 --cells 2 --blocks 2 \
    --block-cells 3 --batch-size 400 --learning-rate 1e-2 --warmup 750 --steps 60000 --decay-steps 59250 --beta-warmup 18000 \
    --nll-samples 1000
python -m experiments.nvae --dataset cifar10 --data-dir D --binarization none --groups 30 --width 128 --latents 20 --cells 2 \
    --blocks 1 --block-cells 2 --flows 1 --batch-size 256 --learning-rate 1e-2 --warmup 975 --steps 78000 --decay-steps 77025 \
    --beta-warmup 23400

Against the paper's code (github.com/NVlabs/NVAE), whose networks the last two commands have (`models.vae.nvae_mnist`,
`nvae_cifar10`):

| | the paper's code | here |
| --- | --- | --- |
| groups of latents | by scale, the finest first; `--ada_groups` halves them | by scale, the coarsest first, as many as wanted |
| a single group | a layer of its own in place of the decoder's map | joined to the map like others |
| first prior | a deviation of 1.01 | the same |
| weight of the KLs | clip((step - 1e-4 T) / (0.3 T), 1e-4, 1) of T steps | the same, with --beta-warmup for 0.3 T |
| balance of the groups | by the batch of a GPU, while that weight is below 1 | by the whole batch |
| steepness | sum of the largest singular values, by 4 power iterations a step, and of the largest scale of each \
normalisation | the same |
| optimizer | Adamax 1e-2, epsilon 1e-3, weight decay in the gradient; 5 epochs of warm-up, then a cosine by epochs to \
1e-4 | the same by steps; 5e-3 for digits |
| precision | mixed, with a scaled loss | float32; --bf16 |
| colour | mixture of 10 discretised logistics, by which level 254 has the mass of level 255 too | the same, summing to 1 |
| biases | at random at first | zero |
| samples | temperature 0.6 to 1, batch statistics by 500 passes that draw samples | --temperature, --readjust |
| batch normalisation | of all GPUs | of the whole batch; with --accumulate of a micro-batch, so that it trains otherwise |
| flips | half of the images of CIFAR-10 | none |

The first command gives 23.53 +- 0.17 nats (seed 0 alone, n = 360, 100 importance samples), in six and a half minutes of
processor time, part of which XLA compiles, and 3 GiB of memory; the groups' KLs are 4.1, 1.2 and 1.1 nats. On images this
small it is no gain over dense layers: the ladder VAE has 21.94 +- 0.19.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, keys, objectives, optimizers
from jaxgen.analysis import latent_space
from jaxgen.analysis.bars import bars
from jaxgen.analysis.batch_statistics import readjusted
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Share, Whole
from jaxgen.game import merging
from jaxgen.measuring import collapse
from jaxgen.models import vae
from jaxgen.nn import likelihoods
from jaxgen.pictures import Picture
from jaxgen.types import Array, Batch, Key, Params, PyTree, Vars

ACTIVE = 0.1
"""A channel of a group is active if its KL, a sum over its map and a mean over the test set, is larger than this many nats."""

FIRST = 1e-4
"""The share of the steps before the weight of the KLs grows, and its least value, as in the paper's code."""

ROWS = 6
"""Rows at most of the picture of what the groups hold."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    binarization: Literal["dynamic", "static", "none"] = "dynamic",
    components: Count | None = None,
    padding: Whole = 0,
    groups: Counts = (1, 2),
    width: Count = 8,
    latents: Count = 4,
    cells: Count = 1,
    blocks: Whole = 0,
    block_cells: Count = 1,
    flows: Whole = 0,
    residual: bool = True,
    squeeze_excite: bool = True,
    balanced: bool = True,
    beta_warmup: Whole = 300,
    spectral: NonNegative = 1e-2,
    spectral_start: Positive | None = None,
    steps: Whole = 1000,
    batch_size: Count = 64,
    learning_rate: Positive = 5e-3,
    final_learning_rate: Positive = 1e-4,
    warmup: Whole = 100,
    decay_steps: Whole = 900,
    weight_decay: NonNegative = 3e-4,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    nll_samples: Late[Count] = 100,
    temperature: Late[Positive] = 1.0,
    readjust: Late[Whole] = 0,
) -> jaxgen.Experiment:
    """NVAE on the images of any dataset.

    Args:
      binarization: the binarization of pixels, which then have a Bernoulli law: anew at each visit, or once for each image.
        With none, bytes have a mixture of discretised logistics.
      components: components of that mixture; by default 10.
      padding: black pixels on every side that the network sees and the likelihood does not; 2 for MNIST.
      groups: groups of latents by scale, the coarsest first; each scale halves the sides of the one after it.
      width: channels at the full size; they double where sides halve.
      latents: channels of a group of latents.
      cells: cells of a group, in the encoder and in the decoder.
      blocks: halvings before the finest latents.
      block_cells: cells of such a block.
      flows: pairs of autoregressive shifts that bend the posterior of each group.
      residual: whether the posterior is relative to the prior.
      squeeze_excite: whether cells scale their channels at the end.
      balanced: whether a group's KL is weighted by its share while the weight of all grows.
      beta_warmup: steps over which the weight of the KLs grows to 1.
      spectral: the weight of the largest singular values of all kernels and of the largest scale of each normalisation.
      spectral_start: the value from which that weight falls while the KLs' weight grows; by default it is constant.
      learning_rate: Adamax's learning rate.
      final_learning_rate: the rate that it falls to.
      warmup: steps over which the rate rises from zero.
      decay_steps: steps after these over which it falls along a cosine; 0 leaves it constant.
      weight_decay: the factor of the parameters that is added to their gradient.
      nll_samples: importance samples of the final estimate of log p(x); the paper has 1,000.
      temperature: the factor of the priors' deviations that images are sampled with.
      readjust: passes of 16 samples in training mode, by which batch statistics are estimated anew before images are sampled.
    """
    if components is not None and binarization != "none":
        raise jaxgen.UserError("--components is of the mixture of bytes; leave it out, or give --binarization none.")
    if spectral_start is not None and not spectral:
        raise jaxgen.UserError("--spectral-start is where --spectral falls from; give --spectral above 0, or leave it out.")
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    head: likelihoods.LogisticMixtureLikelihood | likelihoods.BernoulliLikelihood
    if binarization == "none":
        mixture = likelihoods.LogisticMixtureLikelihood(components or 10)
        outputs, head = mixture.numbers(colours), mixture
        transform = data.scale(*mixture.pixels)
    else:
        outputs, head = colours, likelihoods.BernoulliLikelihood()
        transform = data.chain(data.scale(), {"dynamic": data.binarize(), "static": data.binarize_statically()}[binarization])
    model = vae.NVAE(
        image,
        head,
        outputs,
        groups,
        channels=width,
        latents=latents,
        cells=cells,
        blocks=blocks,
        block_cells=block_cells,
        flows=flows,
        residual=residual,
        squeeze_excite=squeeze_excite,
        padding=padding,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    assert model.coarsest, "sides that are not halved evenly are refused here, before anything is trained"
    networks = {"model": jaxgen.Network(model, jnp.zeros((1, *image)))}

    def beta(step: Any) -> Any:
        if not beta_warmup:
            return jnp.ones((), jnp.float32)
        waits = FIRST * beta_warmup / 0.3  # the paper's warm-up is a share of 0.3 of its steps
        return jnp.clip((jnp.asarray(step, jnp.float32) - waits) / beta_warmup, FIRST, 1.0)

    def steepness(step: Any) -> Any:
        return spectral * ((spectral_start or spectral) / spectral) ** (1 - beta(step))

    sizes = objectives.sizes_by_resolution(groups) if balanced else None
    loss = objectives.hierarchical_elbo(model, beta=beta, sizes=sizes, analytic_kl=True)
    rules = {}
    if spectral:
        loss = objectives.spectrally_regularised(loss, vae.kernels_of, vae.scales_of, weight=steepness)
        rules = {objectives.SPECTRAL: merging.same}

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        first = objectives.spectral_state(vae.kernels_of(params["model"]), jax.random.fold_in(key, len(networks)))
        return params, {**vars, objectives.SPECTRAL: first}

    rate = optimizers.learning_rate(
        learning_rate, steps=warmup + decay_steps, warmup=warmup, cosine=decay_steps > 0, final=final_learning_rate
    )
    tx = optax.chain(optax.add_decayed_weights(weight_decay), optax.adamax(rate, eps=1e-3))
    players = {"model": jaxgen.Player(loss, tx, merge=rules)}
    nll = objectives.hierarchical_nll(model, samples=nll_samples, chunk=10)

    def called(state: jaxgen.TrainState, given: Any, key: Key, method: str, **told: Any) -> Any:
        return objectives.apply(model, state.params, state.vars, given, method=method, told={"key": key, **told})[0]

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(players["model"])(state, batch, key)
        return {**values, "negative_elbo": -values["elbo"]}

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = nll(state, batch, key)
        bits = {"bits_per_dim": values["nll"] / (math.log(2) * math.prod(image))}
        return {**values, **(bits if binarization == "none" else {})}

    def channels(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        found = called(state, batch["image"], keys.per_example(key, batch), "infer").groups
        return {f"active_{i + 1}": group.kl.sum((1, 2)) for i, group in enumerate(found)}

    in_groups = collapse.active_units(test, channels, above=ACTIVE, batch_size=batch_size, transform=transform)

    def active(state: jaxgen.TrainState, key: Key, track: Any) -> Mapping[str, float]:
        of = in_groups(state, key, track)
        return {**of, "active": sum(of.values())}

    def over_test(measure: jaxgen.Measure, samples: int = 1) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform, samples=samples)

    black, white = head.pixels

    def seen(x: Array) -> Array:
        return jnp.clip((x - black) / (white - black), 0.0, 1.0)

    def forward(variables: Mapping[str, PyTree], key: Key) -> Mapping[str, PyTree]:
        told: dict[str, Any] = {"key": key, "temperature": temperature, "train": True, "method": "generate"}
        return model.apply(variables, 16, **told, mutable=["batch_stats"])[1]

    @jax.jit
    def adjusted(state: jaxgen.TrainState) -> jaxgen.TrainState:
        return readjusted(state, forward, passes=readjust)

    def drawn(state: jaxgen.TrainState, key: Key, n: int, kept: Any = ()) -> Any:
        return called(state, n, key, "generate", temperature=temperature, kept=kept)

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return seen(drawn(adjusted(state), key, len(given["index"]))[0].mean)

    shown = data.examples(test, 32, transform)["image"]

    def samples(state: jaxgen.TrainState, key: Key) -> Picture:
        caption = f"Samples at temperature {temperature:g}; step {int(state.step):,}"
        return Picture(sample(state, key, jaxgen.given(64)), 16, caption)

    def reconstructions(state: jaxgen.TrainState, key: Key) -> Picture:
        decoded, columns = seen(called(state, shown, key, "infer").likelihood.mean), min(16, len(shown))
        caption = f"Test images, each with its reconstruction below; step {int(state.step):,}"
        return Picture(latent_space.reconstructions(seen(shown), decoded, columns=columns), columns, caption)

    def held(state: jaxgen.TrainState, key: Key) -> Picture:
        """A row for each of some numbers of first groups that one sample keeps, and the groups after them drawn anew."""
        state, total = adjusted(state), sum(groups)
        _, first = drawn(state, key, 1)
        rows, numbers = [], np.unique(np.linspace(0, total, min(ROWS, total + 1)).astype(int))
        for number in numbers:
            kept = tuple(jnp.repeat(z, 16, axis=0) for z in first[:number])
            rows.append(seen(drawn(state, jax.random.fold_in(key, 1), 16, kept)[0].mean))
        caption = (
            f"One sample whose first {', '.join(map(str, numbers))} of {total} groups are kept, a row each, others drawn anew"
        )
        return Picture(jnp.concatenate(rows), 16, f"{caption}; step {int(state.step):,}")

    def kls(state: jaxgen.TrainState, key: Key) -> Picture:
        found = [float(group.kl.reshape(len(shown), -1).sum(1).mean()) for group in called(state, shown, key, "infer").groups]
        caption = f"KL of the groups, the coarsest first, in nats: {', '.join(f'{kl:.2f}' for kl in found)}"
        return Picture(bars([max(kl, 0.0) for kl in found]), 1, f"{caption}; step {int(state.step):,}")

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks=networks,
        init=init if spectral else None,
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(over_test(losses), active)},
        final={"test": over_test(bound, nll_samples)},
        pictures={"samples": samples, "reconstructions": reconstructions, "groups": held, "kl": kls},
        sample=sample,
        sampling=("temperature", "readjust"),
        ema=ema,
        accumulate=accumulate,
        schedules={"beta": beta, "learning_rate": rate},
        best="test/negative_elbo",
        alarms=(collapse.of_posterior("test/active", "a longer --beta-warmup, or a lower --learning-rate"),),
        protocol=dict.fromkeys(
            ("nll", *(("bits_per_dim",) if binarization == "none" else ())), ("binarization", "nll_samples")
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
