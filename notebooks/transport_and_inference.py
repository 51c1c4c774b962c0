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
# # Optimal transport, and inference by simulation
#
# First the transport of one set of points to another: the exact plan with its prices, the plan that entropy blurs, the distance
# that a critic of slope 1 can find, and a generator that descends the Sinkhorn divergence without a critic. Then approximate
# Bayesian computation, against a posterior that is known. The pictures put what is computed beside what is exact.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.stats import norm

import jaxgen
from jaxgen import data, objectives
from jaxgen.losses.sinkhorn import entropic, squared_distances
from jaxgen.metrics.plans import plan
from jaxgen.metrics.transport import wasserstein
from jaxgen.models.gan import mlp
from jaxgen.samplers import approximate_bayesian

STEPS = 1500

# %% [markdown]
# ## Plans
#
# $\min_\pi \sum_{ij} \pi_{ij} |x_i - y_j|^2$ over the couplings of two sets of equal weights. The exact plan is sparse; entropy
# of the strength $\varepsilon$ spreads it, and in the end pairs all with all.

# %%
rng = np.random.default_rng(0)
x = 0.3 * rng.normal(size=(24, 2))
angle = np.linspace(0, 2 * np.pi, 18, endpoint=False)
y = np.stack([1.5 + np.cos(angle), np.sin(angle)], axis=1)
exact = plan(x, y)
plans = {"exact": exact.mass}
for epsilon in (0.02, 0.5):
    cost = squared_distances(jnp.asarray(x), jnp.asarray(y))
    plans[f"epsilon {epsilon}"] = np.asarray(entropic(cost, epsilon=epsilon, iterations=1000).plan)

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for panel, (name, mass) in zip(axes, plans.items(), strict=True):
    for i, j in np.argwhere(mass > 0.02 * mass.max()):
        panel.plot(*np.stack([x[i], y[j]], axis=1), color="grey", linewidth=2 * mass[i, j] / mass.max(), zorder=0)
    panel.scatter(*x.T, s=16)
    panel.scatter(*y.T, s=16)
    panel.set(title=name, aspect="equal", xticks=[], yticks=[])

# %% [markdown]
# ## The distance that a critic can find
#
# Kantorovich's dual: $W_1$ is the largest difference of the means of one function of slope 1. On a line the best function is
# known. Below it is the potential of the exact plan, as the values that Wasserstein GANs ask a critic for; its slope is 1
# wherever mass moves.

# %%
left, right = np.sort(rng.normal(size=60)), np.sort(1.5 + 0.5 * rng.normal(size=60))
prices = plan(left[:, None], right[:, None], p=1)
dual = prices.f.mean() + prices.g.mean()
quantiles = np.abs(left - right).mean()
{"the plan's cost": prices.cost, "by the potentials": dual, "by the quantiles": quantiles}

# %%
figure, panel = plt.subplots(figsize=(5, 3), layout="constrained")
panel.plot(left, prices.f, ".", label="values at the first set")
panel.plot(right, -prices.g, ".", label="values at the second set")
panel.set(xlabel="x", ylabel="the function of slope 1")
panel.legend()

# %% [markdown]
# ## A generator without a critic
#
# Samples descend $S_\varepsilon = OT_\varepsilon(x, y) - \frac 1 2 OT_\varepsilon(x, x) - \frac 1 2 OT_\varepsilon(y, y)$ to a
# ring of eight modes. The gradient of the cost is the plan: each sample is drawn to the points that its mass goes to.

# %%
ring = data.load("gaussian_ring", "train")
generator = mlp.Generator((2,), (64, 64), output=lambda points: points)
loss = objectives.sinkhorn(generator, latents=2, epsilon=0.05, iterations=50, feature="point")
experiment = jaxgen.Experiment(
    train=data.shuffled(ring, 200),
    players={"generator": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(2e-3, STEPS)))},
    steps=STEPS,
    networks={"generator": jaxgen.Network(generator, jnp.zeros((1, 2)))},
)
run = jaxgen.fit(experiment, quiet=True)
z = jax.random.normal(jax.random.key(1), (1000, 2))
samples = np.asarray(generator.apply({"params": run.state.params["generator"]}, z))
points = ring.gather(np.arange(1000))["point"]
distance = wasserstein(samples, points)

figure, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
for panel, shown, name in zip(axes, (points, samples), ("the data", f"samples: W2 {distance:.2f}"), strict=True):
    panel.scatter(*shown.T, s=2)
    panel.set(title=name, aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))

# %% [markdown]
# ## Inference by simulation
#
# The mean of a normal law from four observations with a flat prior, as if its likelihood were not known: parameters are drawn
# from the prior, and kept where the simulated mean is within $\varepsilon$ of the observed one. The posterior is known for any
# $\varepsilon$: its variance is the exact one plus $\varepsilon^2 / 3$. A linear regression on the statistic undoes this.

# %%
STD, OBSERVED = 1.5, np.array([0.4])


def prior(key):
    return jax.random.uniform(key, (1,), minval=-10.0, maxval=10.0)


def simulator(key, theta):
    return (theta + STD * jax.random.normal(key, (4,))).mean(keepdims=True)


nearness = approximate_bayesian.euclidean(OBSERVED)
posteriors = {
    epsilon: approximate_bayesian.reject(prior, simulator, nearness, jax.random.key(2), epsilon=epsilon, draws=4000)
    for epsilon in (0.25, 1.0, 2.0, 3.0)
}
adjusted = {epsilon: approximate_bayesian.regression_adjusted(posterior, OBSERVED) for epsilon, posterior in posteriors.items()}
variances = {epsilon: float(posterior.covariance[0, 0]) for epsilon, posterior in posteriors.items()}
{f"epsilon {epsilon}": f"{posterior.rate:.3f} accepted" for epsilon, posterior in posteriors.items()}

# %%
figure, (panel, curve) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
grid = np.linspace(-4, 5, 300)
panel.plot(grid, norm.pdf(grid, OBSERVED[0], STD / 2), color="black", label="the exact posterior")
for epsilon in (0.25, 3.0):
    panel.hist(posteriors[epsilon].theta[:, 0], bins=60, density=True, alpha=0.5, label=f"epsilon {epsilon}")
panel.legend()
at = np.linspace(0, 3.2, 50)
curve.plot(at, STD**2 / 4 + at**2 / 3, color="black", label="known")
curve.plot(list(variances), list(variances.values()), "o", label="rejection")
curve.plot(list(adjusted), [float(posterior.covariance[0, 0]) for posterior in adjusted.values()], "s", label="with regression")
curve.set(xlabel="epsilon", ylabel="variance of the posterior")
curve.legend()
