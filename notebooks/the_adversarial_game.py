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
# Five statements about generative adversarial networks, looked at where both sides can be computed. In the first three, data
# come from one Gaussian and samples from another, in one dimension.
#
# 1. The best discriminator is $D^*(x) = \frac{p(x)}{p(x) + q(x)}$, and the game's value there is $2\, JSD(p \| q) - \log 4$,
#    which is $-\log 4$ where data and samples are alike (Goodfellow et al. 2014, proposition 1 and theorem 1).
# 2. As the two come apart, the slope that such a discriminator gives the generator vanishes, while that of the Wasserstein-1
#    distance stays 1 (Arjovsky & Bottou 2017; Arjovsky et al. 2017, example 1).
# 3. A critic finds the Wasserstein-1 distance by Kantorovich's dual. A penalty on its slope lets it find a little more, and how
#    much is known (Gulrajani et al. 2017, equation 3).
# 4. Two players that descend circle about the equilibrium, and a penalty on the discriminator's slope at the data brings them
#    there (Mescheder et al. 2018).
# 5. A generator leaves modes out, and the loss decides how many (Srivastava et al. 2017, section 4.1).

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.stats import norm

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import dirac_game, gan_theory
from jaxgen.distributions import Normal
from jaxgen.experiments import modes
from jaxgen.losses import adversarial, penalty

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

# %% [markdown]
# ## A critic learns the Wasserstein-1 distance
#
# On a line, $W_1 = \int |F_q - F_p|$ of the distribution functions. A critic whose slope is only penalised,
# $\lambda\, (|f'(\hat x)| - 1)^2$ where $\hat x$ has the density $\rho$, does best with the slope
# $1 + \frac{|F_q - F_p|}{2 \lambda \rho}$, and so finds $W_1 + \frac{1}{2 \lambda} \int \frac{(F_q - F_p)^2}{\rho}$.
# The penalty asks for a slope of 1 of either sign. Where $W_1 < 2 \lambda$, about, a critic that begins with the wrong sign
# stays there, and finds less than nothing.


# %%
class Samples(nn.Module):
    """A generator that stands still: N(mean, 1)."""

    mean: float

    @nn.compact
    def __call__(self, z, *, train=False):
        return self.mean + z + 0 * self.param("unused", nn.initializers.zeros_init(), ())


def criticise(mean, weight):
    """What a penalised critic finds between N(0, 1) and N(mean, 1)."""
    critic, samples = Discriminator(), Samples(mean)
    held = penalty.gradient_penalty(weight)
    loss, _ = objectives.adversarial(samples, critic, adversarial.wasserstein, latents=1, feature="x", penalty=held)
    real = np.random.default_rng(0).normal(size=(50_000, 1)).astype(np.float32)
    one = jnp.zeros((1, 1))
    experiment = jaxgen.Experiment(
        train=data.shuffled(data.from_arrays({"x": real}), 500),
        players={"discriminator": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(1e-2, STEPS)))},
        steps=STEPS,
        networks={"discriminator": jaxgen.Network(critic, one), "generator": jaxgen.Network(samples, one)},
    )
    run = jaxgen.fit(experiment, quiet=True)
    x = np.linspace(-6, 6 + mean, 2001)
    f = objectives.apply(critic, run.state.params, {}, jnp.asarray(x)[:, None], name="discriminator")[0]
    return np.trapezoid(np.asarray(f) * (norm.pdf(x) - norm.pdf(x, mean)), x)


def exact(mean, weight):
    """The distance, and what a critic with the penalty can find at most."""
    x, u = np.linspace(-8, 8 + mean, 4001), np.linspace(0, 1, 401)[:, None]
    gap = abs(norm.cdf(x, mean) - norm.cdf(x))
    density = norm.pdf(x, (1 - u) * mean, np.sqrt(u**2 + (1 - u) ** 2)).mean(0)
    return np.trapezoid(gap, x), np.trapezoid(gap + gap**2 / (2 * weight * density), x)


MEANS = (0.5, 1.0, 2.0, 3.0)
found = {weight: {mean: criticise(mean, weight) for mean in MEANS} for weight in (10.0, 1.0)}
limits = {weight: {mean: exact(mean, weight) for mean in MEANS} for weight in found}

figure_of_critics, panel = plt.subplots(figsize=(5, 3.6), layout="constrained")
panel.plot(MEANS, [limits[10.0][mean][0] for mean in MEANS], "k", linewidth=0.8, label="$W_1$")
for weight, values_found in found.items():
    (line,) = panel.plot(MEANS, list(values_found.values()), "o", label=rf"$\lambda = {weight:g}$: learnt, and at most, dashed")
    panel.plot(MEANS, [limits[weight][mean][1] for mean in MEANS], "--", color=line.get_color())
panel.set(xlabel="mean of the samples", ylabel="difference of the critic's means")
panel.legend()
found

# %% [markdown]
# ## The players circle
#
# All data are at 0, all samples at $\theta$, and $D(x) = \psi x$. Near the equilibrium, the velocities of both have the
# eigenvalues `rates`: their real parts are 0 without a penalty, and $-\gamma / 2$ with one.

# %%
GAMES = {
    "minimax": dirac_game.Game(adversarial.minimax),
    "Wasserstein": dirac_game.Game(adversarial.wasserstein),
    "minimax, R1": dirac_game.Game(adversarial.minimax, gamma=0.3),
}
start = jnp.array([1.0, 1.0])
rates = {name: dirac_game.rates(game) for name, game in GAMES.items()}
rates

# %%
figure_of_paths, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for panel, (name, game) in zip(axes, GAMES.items(), strict=True):
    for alternating in (False, True):
        path = dirac_game.walk(game, start, learning_rate=0.1, steps=300, alternating=alternating)
        panel.plot(*path.T, linewidth=0.8, label="in turn" if alternating else "at once")
    panel.plot(0, 0, "k+")
    panel.set(title=name, xlabel="$\\psi$", ylabel="$\\theta$", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
axes[0].legend()

# %% [markdown]
# ## Modes are left out
#
# The same generator against two losses, on 25 Gaussians: a discriminator, and a critic with a penalty on its slope. A mode
# counts if one of 2,500 samples is within three standard deviations of it.

# %%
captured, drawn = {}, {}
for method in ("gan", "wgan_gp"):
    experiment = modes.experiment(dataset="gaussian_grid", method=method, steps=6 * STEPS, decay_steps=6 * STEPS)
    run = jaxgen.fit(experiment, quiet=True)
    drawn[method] = np.asarray(experiment.sample(run.state, jax.random.key(1), jaxgen.given(2500)))
    near = np.linalg.norm(drawn[method][:, None] - modes.MIXTURES["gaussian_grid"].centres, axis=-1) < 3 * 0.05
    captured[method] = int(near.any(0).sum())

figure_of_modes, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
for panel, (method, x) in zip(axes, drawn.items(), strict=True):
    panel.scatter(*modes.MIXTURES["gaussian_grid"].centres.T, s=60, color="lightgrey")
    panel.scatter(*x.T, s=1)
    panel.set(title=f"{method}: {captured[method]} of 25", xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
