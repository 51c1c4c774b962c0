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
# # A new loss
#
# A loss that the package does not have, in one cell, under the same `jaxgen.fit` as every other: on a VAE and on a GAN, beside
# the stock loss on the same axes. Nothing is registered, no trainer is forked: a loss is a function, and one that changes
# another takes a function and returns one. (`pip install -e ".[notebooks]"`, then open this file as a notebook with
# Jupytext: `jupyter lab notebooks/a_new_loss.py`. As a script it runs too.)
#
# The loss is *tilted* (Li et al. 2021, "Tilted empirical risk minimization"): instead of the mean of the examples' losses,
# $$R_t = \frac 1 t \log \frac 1 B \sum_b e^{t\, l_b},$$
# which is the mean for $t \to 0$ and the worst example's loss for $t \to \infty$: t > 0 makes hard examples count more.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
from jax.scipy.special import logsumexp

import jaxgen
from jaxgen.devices import collectives
from jaxgen.experiments import modes, vae

STEPS = 1500  # of each of the four runs below

# %% [markdown]
# The cell. `loss` is any loss of the contract, `(params, state, batch, key, train) -> (values [B], Aux)`. The tilted one
# returns a scalar, since it is no mean over examples; `collectives.gather` brings the values of all replicas under `pmap` and
# is the identity everywhere else, so this line is the whole of its support for many devices.


# %%
def tilted(loss, t):
    def tilted_loss(params, state, batch, key, *, train):
        values, aux = loss(params, state, batch, key, train=train)
        values = collectives.gather(values)
        risk = (logsumexp(t * values) - jnp.log(len(values))) / t
        return risk, aux._replace(metrics={**aux.metrics, "mean": values.mean()})

    return tilted_loss


def with_tilt(experiment, t):
    players = {name: player._replace(loss=tilted(player.loss, t)) for name, player in experiment.players.items()}
    return experiment._replace(players=players)


# %% [markdown]
# ## On a VAE
#
# The stock experiment, and the same with every player's loss tilted. The evaluators are the experiment's own: both runs are
# measured by the plain negative ELBO on the test digits.

# %%
stock = vae.experiment(steps=STEPS)
options = {"evaluate_every": max(STEPS // 10, 1), "quiet": True}
vae_runs = {
    "stock": jaxgen.fit(stock._replace(final={}), **options),
    "tilted, t = 0.3": jaxgen.fit(with_tilt(stock._replace(final={}), 0.3), **options),
}

# %% [markdown]
# A run shows itself: what was trained, how far, and what was last measured. So do its pictures.

# %%
vae_runs["tilted, t = 0.3"]

# %%
vae_runs["tilted, t = 0.3"].pictures()["samples"]

# %% [markdown]
# ## On a GAN
#
# The generator and the discriminator are players like any other. Eight Gaussians on a circle; 2,500 samples are counted by
# the mode that they hit.

# %%
stock = modes.experiment(method="gan", steps=STEPS, batch_size=200, hidden=(64, 64))
gan_runs = {
    "stock": jaxgen.fit(stock, **options),
    "tilted, t = 1": jaxgen.fit(with_tilt(stock, 1.0), **options),
}

# %% [markdown]
# ## Side by side


# %%
def curve(run, name):
    lines = [line for line in run.history if line["split"] == "test"]
    return [line["step"] for line in lines], [line[name] for line in lines]


figure, panels = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
for axes, runs, name, title in zip(
    panels,
    (vae_runs, gan_runs, gan_runs),
    ("loss", "modes", "high_quality"),
    ("VAE: negative ELBO, test digits (nats)", "GAN: modes captured, of 8", "GAN: share of samples within 3 sigma"),
    strict=True,
):
    for label, run in runs.items():
        axes.plot(*curve(run, name), label=label)
    axes.set(xlabel="step", title=title)
    axes.legend()

# %%
final = {
    f"{model} {label}": {name: round(curve(run, name)[1][-1], 3) for name in names}
    for model, runs, names in (("VAE", vae_runs, ("loss",)), ("GAN", gan_runs, ("modes", "high_quality")))
    for label, run in runs.items()
}
final
