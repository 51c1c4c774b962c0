# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The adversarial game on the line
#
# Two statements about generative adversarial networks, looked at where both sides can be computed: data from one Gaussian and
# samples from another, in one dimension.
#
# 1. The best discriminator is $D^*(x) = \frac{p(x)}{p(x) + q(x)}$, and the game's value there is $2\, JSD(p \| q) - \log 4$,
#    which is $-\log 4$ where data and samples are alike (Goodfellow et al. 2014, proposition 1 and theorem 1).
# 2. As the two come apart, the slope that such a discriminator gives the generator vanishes, while that of the Wasserstein-1
#    distance stays 1 (Arjovsky & Bottou 2017; Arjovsky et al. 2017, example 1).

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import gan_theory
from jaxgen.distributions import Normal
from jaxgen.losses import adversarial

STEPS = 3000

# %% [markdown]
# ## A discriminator learns the ratio of the densities
#
# One player, and no generator: the samples are N(m, 1), as the data are N(0, 1). The loss is the stock discriminator's.


# %%
class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        h = nn.tanh(nn.Dense(32)(x))
        return nn.Dense(1)(nn.tanh(nn.Dense(32)(h)))[:, 0]


def learn(mean):
    rng = np.random.default_rng(0)
    real, fake = (rng.normal(m, 1.0, (50_000, 1)).astype(np.float32) for m in (0.0, mean))
    model = Discriminator()

    def loss(params, state, batch, key, *, train):
        logits = [objectives.apply(model, params, state.vars, batch[name]["x"])[0] for name in ("real", "fake")]
        return adversarial.minimax.discriminator(*logits), jaxgen.Aux()

    streams = {name: data.shuffled(data.from_arrays({"x": x}), 500) for name, x in (("real", real), ("fake", fake))}
    experiment = jaxgen.Experiment(
        train=data.join(**streams),
        players={"model": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(1e-2, STEPS)))},
        steps=STEPS,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, 1)))},
    )
    run = jaxgen.fit(experiment, quiet=True)
    return lambda x: objectives.apply(model, run.state.params, run.state.vars, x[:, None])[0]


grid = jnp.linspace(-12.0, 14.0, 5201)
standard = Normal(jnp.float32(0.0), jnp.float32(1.0)).log_prob
learnt, values = {}, {}
for mean in (0.0, 1.0, 2.0):
    other = Normal(jnp.float32(mean), jnp.float32(1.0)).log_prob
    logits = learn(mean)(grid)
    best = gan_theory.optimal_logits(standard, other, grid)
    learnt[mean] = (jax.nn.sigmoid(logits), jax.nn.sigmoid(best))
    values[mean] = {
        "learnt": float(gan_theory.value(logits, standard, other, grid)),
        "best": float(gan_theory.value(best, standard, other, grid)),
        "2 JSD - log 4": float(2 * gan_theory.jensen_shannon(standard, other, grid) - np.log(4)),
    }
values

# %% [markdown]
# ## The slope that a generator is given

# %%
distances = jnp.linspace(0.1, 8.0, 80)
slopes = {
    name: jax.vmap(lambda theta, loss=loss: gan_theory.generator_slope(loss, theta))(distances)
    for name, loss in (("minimax: 2 JSD", adversarial.minimax), ("Wasserstein", adversarial.wasserstein))
}

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
inside = (grid > -4) & (grid < 6)
for mean, (found, best) in learnt.items():
    (line,) = left.plot(grid[inside], found[inside], label=f"mean {mean:g}")
    left.plot(grid[inside], best[inside], "--", color=line.get_color())
left.set(title="D(x): learnt, and p / (p + q) dashed", xlabel="x", ylim=(0, 1))
left.legend()
middle.plot(list(values), [value["learnt"] for value in values.values()], "o", label="learnt")
middle.plot(list(values), [value["2 JSD - log 4"] for value in values.values()], "--", label="2 JSD - log 4")
middle.axhline(-np.log(4), color="grey", linewidth=0.8)
middle.set(title="the game's value; -log 4 in grey", xlabel="mean of the samples")
middle.legend()
for name, slope in slopes.items():
    right.plot(distances, slope, label=name)
right.set(title="slope of the generator's loss", xlabel="distance of the means")
right.legend()
