"""The ladder VAE, and the plain hierarchical VAE to compare it with (Sønderby et al. 2016).

python -m experiments.ladder_vae                                               # digits, nothing to download
python -m experiments.ladder_vae --inference bottom-up                         # the Markov chain q(z_1 | x) q(z_2 | z_1) ...
python -m experiments.ladder_vae --dataset mnist --data-dir D --latent-sizes 64 32 16 --hidden-sizes 512 256 128 \
    --batch-size 256 --learning-rate 2e-4 --warmup 46800 --steps 468000 --nll-samples 5000

Against the paper and its code (github.com/casperkaae/LVAE), whose example has the sizes of the second command:

| | the paper's code | here |
| --- | --- | --- |
| generative chain | p(z_L) ... p(z_1 given z_2) p(x given z_1), MLPs of two layers, leaky rectifiers of slope 0.01 | \
the same |
| ladder | precision-weighted merge; the pass upwards goes on from the means; networks of its own on the way down | \
the same; --no-by-mean and --share are the alternatives |
| variance | softplus + 1e-5, whose bias begins at 1; batch normalisation takes that bias out | the same |
| batch normalisation | after every dense layer but the output's; for evaluation the statistics of the whole training set | \
after the same layers; for evaluation running averages |
| KL | by the sample | in closed form given the sample above; by the sample in a chain from below, but for its top, where \
there is no closed form; --no-analytic-kl is the code's |
| warm-up | the weight of all KLs rises from 0 to 1 over 200 epochs | over --warmup steps |
| optimizer | Adam 2e-4, epsilon 1e-4, norm of the gradient at most 4, then each number within 0.9 | the same; 1e-3 for digits |
| likelihood | Bernoulli, probabilities clipped | Bernoulli, by logits |
| pixels | drawn anew each epoch; the test set once | the same |
| decay of the rate | optional | none |

On digits, seed 0 alone, n = 360, with 500 importance samples; active units of 16, 8 and 4, next to the image first:

| | nll | active | KL by layer |
| --- | --- | --- | --- |
| ladder | 21.94 +- 0.19 | 16, 6, 4 | 2.8, 1.2, 1.7 |
| --warmup 0 | 22.03 +- 0.19 | 12, 6, 4 | 2.3, 1.1, 1.6 |
| --inference bottom-up | 21.98 +- 0.19 | 12, 6, 4 | 2.0, 1.5, 2.1 |
| --inference bottom-up --warmup 0 | 22.12 +- 0.19 | 12, 5, 4 | 2.2, 0.7, 1.9 |
The nll do not differ beyond their errors. What the paper claims, that the upper layers of the chain from below die and those of
the ladder do not, does not show at this size. KLs of a chain from below are by samples, so its active units are less certain.
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, keys, objectives
from jaxgen.analysis import latent_space
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Share, Whole
from jaxgen.measuring import collapse
from jaxgen.models import vae
from jaxgen.nn import likelihoods
from jaxgen.pictures import Picture
from jaxgen.types import Array, Batch, Key

ACTIVE = 0.01
"""A unit is active if its KL, a mean over the test set, is larger than this many nats."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    binarization: Literal["dynamic", "static"] = "dynamic",
    inference: Literal["ladder", "bottom-up"] = "ladder",
    latent_sizes: Counts = (16, 8, 4),
    hidden_sizes: Counts = (128, 64, 32),
    batch_norm: bool = True,
    by_mean: bool = True,
    share: bool = False,
    warmup: Whole = 2000,
    free_bits: NonNegative = 0.0,
    balanced: bool = False,
    analytic_kl: bool = True,
    steps: Whole = 6000,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    nll_samples: Late[Count] = 500,
) -> jaxgen.Experiment:
    """A VAE with several layers of latents, inferred by a ladder or from below.

    Args:
      binarization: the binarization of pixels: anew at each visit (the paper's), or once for each image.
      inference: the kind of posterior: a ladder, on the way down and merged with the prior, or a chain from below.
      latent_sizes: units of the layers of latents, that next to the image first.
      hidden_sizes: widths of the networks next to them.
      batch_norm: whether batch normalisation follows each dense layer but the output's.
      by_mean: whether the ladder's pass upwards goes on from the means, instead of from hidden layers.
      share: whether the ladder merges with the prior itself, instead of with networks of its own.
      warmup: steps over which the weight of the KLs grows from 0 to 1.
      free_bits: nats of each layer's KL that cost nothing, in the mean over a batch.
      balanced: whether a layer's KL is weighted by its share while the weight grows, as in NVAE.
      analytic_kl: whether to use the closed-form KL, where there is one, instead of the sampled one.
      nll_samples: importance samples of the final estimate of log p(x); the paper has 5,000.
    """
    if len(latent_sizes) != len(hidden_sizes):
        raise jaxgen.UserError(
            f"--latent-sizes has {len(latent_sizes)} layers and --hidden-sizes {len(hidden_sizes)}; give as many of both."
        )
    if inference == "bottom-up" and (share or not by_mean):
        raise jaxgen.UserError("--share and --no-by-mean say how a ladder infers; they go with --inference ladder.")
    train, test = data.train_and_test(dataset)
    transform = data.chain(data.scale(), {"dynamic": data.binarize(), "static": data.binarize_statically()}[binarization])
    image = data.common_shape("image", train, test)
    depth = len(latent_sizes)

    def law(units: int, width: int) -> nn.Module:
        return vae.GaussianMLP(units, vae.MLP(width, batch_norm=batch_norm), batch_norm)

    def downwards() -> tuple[nn.Module, ...]:
        return tuple(law(latent_sizes[i], hidden_sizes[i + 1]) for i in range(depth - 1))

    up = tuple(law(latent_sizes[i], hidden_sizes[i]) for i in range(depth))
    decoder = vae.PixelMLP(vae.MLP(hidden_sizes[0], batch_norm=batch_norm), image)
    head = likelihoods.BernoulliLikelihood()
    model: nn.Module = (
        vae.MarkovVAE(up, downwards(), decoder, head)
        if inference == "bottom-up"
        else vae.LadderVAE(up, downwards(), decoder, head, () if share else downwards(), by_mean)
    )

    beta = optax.linear_schedule(0.0, 1.0, warmup) if warmup else optax.constant_schedule(1.0)
    sizes = (1.0,) * depth if balanced else None
    loss = objectives.hierarchical_elbo(model, beta=beta, free_bits=free_bits, sizes=sizes, analytic_kl=analytic_kl)
    tx = optax.chain(optax.clip_by_global_norm(4.0), optax.clip(0.9), optax.adam(learning_rate, eps=1e-4))
    players = {"model": jaxgen.Player(loss, tx)}
    nll = objectives.hierarchical_nll(model, samples=nll_samples)

    def called(state: jaxgen.TrainState, x: Array, key: Key, method: str, **told: Any) -> Any:
        return objectives.apply(model, state.params, state.vars, x, method=method, told={"key": key, **told})[0]

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(players["model"])(state, batch, key)
        return {**values, "negative_elbo": -values["elbo"]}

    def units(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        groups = called(state, batch["image"], keys.per_example(key, batch), "infer").groups
        return {f"active_{i + 1}": group.kl for i, group in enumerate(groups)}

    active = collapse.active_units(test, units, above=ACTIVE, batch_size=batch_size, transform=transform)

    def over_test(measure: jaxgen.Measure, samples: int = 1) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform, samples=samples)

    @jax.jit
    def drawn(state: jaxgen.TrainState, z: Array, key: Key) -> tuple[Array, tuple[Array, ...]]:
        p, values = called(state, z, key, "decode_from", layer=depth - 1)
        return p.mean, values

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        own, below = jax.random.split(key)
        return drawn(state, jax.random.normal(own, (len(given["index"]), latent_sizes[-1])), below)[0]

    shown = data.examples(test, 32, transform)["image"]

    def samples(state: jaxgen.TrainState, key: Key) -> Picture:
        return Picture(sample(state, key, jaxgen.given(64)), 16, f"Samples of all layers; step {int(state.step):,}")

    def reconstructions(state: jaxgen.TrainState, key: Key) -> Picture:
        decoded, columns = called(state, shown, key, "infer").likelihood.mean, min(16, len(shown))
        caption = f"Test images, each with its reconstruction below; step {int(state.step):,}"
        return Picture(latent_space.reconstructions(shown, decoded, columns=columns), columns, caption)

    def layers(state: jaxgen.TrainState, key: Key) -> Picture:
        """Two rows for each number of layers that are kept: first z_L alone, at last all of them."""
        top = jax.random.normal(key, (2, latent_sizes[-1]))
        _, kept = drawn(state, top, jax.random.fold_in(key, 1))
        rows = []
        for layer in range(depth - 1, -1, -1):
            z = jnp.repeat(kept[layer], 16, axis=0)
            rows.append(called(state, z, jax.random.fold_in(key, 2), "decode_from", layer=layer)[0].mean)
        caption = f"Two samples, with layers {depth}, then {depth} and {depth - 1}, ... kept, and those below drawn anew"
        return Picture(jnp.concatenate(rows), 16, f"{caption}; step {int(state.step):,}")

    def kls(state: jaxgen.TrainState, key: Key) -> Picture:
        groups = called(state, shown, key, "infer").groups
        return latent_space.kls([group.kl.mean(0) for group in groups], step=int(state.step), above=ACTIVE)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(over_test(losses), active)},
        final={"test": over_test(nll, nll_samples)},
        pictures={"samples": samples, "reconstructions": reconstructions, "layers": layers, "kls": kls},
        sample=sample,
        ema=ema,
        accumulate=accumulate,
        schedules={"beta": beta},
        best="test/negative_elbo",
        alarms=tuple(
            collapse.of_posterior(f"test/active_{i + 1}", "a longer --warmup, or more --free-bits") for i in range(depth)
        ),
        protocol={"nll": ("binarization", "nll_samples")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
