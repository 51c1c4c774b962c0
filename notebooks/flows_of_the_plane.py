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
# # Flows of the plane
#
# Densities of the plane that are known but for a constant, $p(z) = e^{-U(z)} / Z$, and laws that planar steps make of a normal
# one (Rezende & Mohamed 2015, section 6.1 and figure 3). Nothing is trained on data: the loss is the free energy,
# $E_q[\log q(z) + \beta\, U(z)]$, which at $\beta = 1$ is $KL(q \| p) - \log Z$. Z is found by quadrature, so the KL itself is
# known, and it can only be above zero.

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxgen
from jaxgen import data, keys
from jaxgen.distributions import FlowPosterior, Normal
from jaxgen.models.flows import Planar

STEPS = 6000

# %% [markdown]
# ## The energies
#
# The paper's table 1, quoted from memory. The second to the fourth have no end along x, and so no density: a wall beyond 4 is
# our own.


# %%
def wall(z):
    return 5.0 * (jax.nn.relu(jnp.abs(z) - 4.0) ** 2).sum(-1)


def wave(z):
    return jnp.sin(jnp.pi * z[..., 0] / 2)


def bump(z):
    return 3 * jnp.exp(-0.5 * ((z[..., 0] - 1) / 0.6) ** 2)


def ramp(z):
    return 3 * jax.nn.sigmoid((z[..., 0] - 1) / 0.3)


def two_of(a, b):
    return -jnp.logaddexp(-0.5 * a**2, -0.5 * b**2)


ENERGIES = {
    "U1": lambda z: 0.5 * ((jnp.linalg.norm(z, axis=-1) - 2) / 0.4) ** 2 + two_of((z[..., 0] - 2) / 0.6, (z[..., 0] + 2) / 0.6),
    "U2": lambda z: 0.5 * ((z[..., 1] - wave(z)) / 0.4) ** 2,
    "U3": lambda z: two_of((z[..., 1] - wave(z)) / 0.35, (z[..., 1] - wave(z) + bump(z)) / 0.35),
    "U4": lambda z: two_of((z[..., 1] - wave(z)) / 0.4, (z[..., 1] - wave(z) + ramp(z)) / 0.35),
}

side = jnp.linspace(-6, 6, 601)
grid = jnp.stack(jnp.meshgrid(side, side), axis=-1)
cell = float(side[1] - side[0]) ** 2


def log_constant(energy):
    """log Z, by the sum over the grid."""
    return float(jax.nn.logsumexp(-energy(grid) - wall(grid)) + np.log(cell))


# %% [markdown]
# ## The law, and its training
#
# One player with a loss of its own. The rows of the data say how many draws a step has, and nothing more.


# %%
class Law(nn.Module):
    steps: int

    @nn.compact
    def __call__(self, x, *, train=False):
        mean, log_std = (self.param(name, nn.initializers.zeros_init(), (2,)) for name in ("mean", "log_std"))
        base = Normal(jnp.broadcast_to(mean, x.shape), jnp.broadcast_to(jnp.exp(log_std), x.shape))
        flow = Planar(self.steps, amortised=False)
        return FlowPosterior(base, flow.step, flow(x, 2))


def fit(energy, steps):
    """The law of so many steps, as a function of the number of draws: draws `[n, 2]` and their log q."""
    model = Law(steps)

    def draws(params, x, key):
        z, log_q = model.apply({"params": params}, x).sample_and_log_prob(key, samples=1)
        return z[0], log_q[0]

    def loss(params, state, batch, key, *, train):
        z, log_q = draws(params["model"], batch["x"], keys.per_example(key, batch))
        beta = jnp.minimum(1.0, 0.01 + state.step / (STEPS / 3))
        return log_q + beta * (energy(z) + wall(z)), jaxgen.Aux()

    experiment = jaxgen.Experiment(
        train=data.shuffled(data.from_arrays({"x": np.zeros((256, 2), np.float32)}), 256),
        players={"model": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(5e-3, STEPS)))},
        steps=STEPS,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, 2)))},
    )
    run = jaxgen.fit(experiment, quiet=True)
    return lambda n: draws(run.state.params["model"], jnp.zeros((n, 2)), jax.random.key(1))


# %% [markdown]
# ## How near they come
#
# The KL to the density, in nats, from 20,000 draws of the law; in the pictures the density, and draws of the laws.

# %%
NUMBERS = (2, 8, 32)
divergence = {}
figure, axes = plt.subplots(len(ENERGIES), 1 + len(NUMBERS), figsize=(9, 9), layout="constrained")
for (name, energy), row in zip(ENERGIES.items(), axes, strict=True):
    row[0].imshow(jnp.exp(-energy(grid) - wall(grid)), extent=(-6, 6, -6, 6), origin="lower")
    row[0].set(title=f"exp(-{name})")
    for steps, panel in zip(NUMBERS, row[1:], strict=True):
        z, log_q = fit(energy, steps)(20_000)
        divergence[name, steps] = float((log_q + energy(z) + wall(z)).mean()) + log_constant(energy)
        panel.hist2d(*np.asarray(z).T, bins=120, range=((-6, 6), (-6, 6)))
        panel.set(title=f"K = {steps}: KL {divergence[name, steps]:.2f}", aspect="equal")
    for panel in row:
        panel.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), xticks=[], yticks=[])

# %%
divergence
