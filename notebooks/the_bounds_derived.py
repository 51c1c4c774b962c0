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
# # The bounds, derived: the ELBO, hierarchies of latents, the information bottleneck, and diffusion
#
# Every numbered equation below is followed by a cell that computes both of its sides on random numbers, and stops if they
# differ by more than rounding. Where a variable has few values, an expectation is a finite sum, so that nothing is estimated.
# Where the package has code for an equation, the cell calls that code. The errata at the end list what lecture notes get
# wrong.

# %%
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from jaxgen import diffusion, objectives
from jaxgen.distributions import MultivariateNormal, Normal
from jaxgen.game import create_state
from jaxgen.models import vae
from jaxgen.models.vae.ladder import merged

rng = np.random.default_rng(0)
CHECKED = {}


def agree(number, left, right, tolerance=1e-9):
    """Compares both sides of an equation, and keeps the largest difference."""
    difference = np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)).max()
    assert difference < tolerance, f"the sides of equation {number} differ by {difference}"
    CHECKED[number] = max(difference, CHECKED.get(number, 0.0))


def at_most(number, smaller, larger):
    """Checks an inequality."""
    agree(number, np.maximum(np.asarray(smaller) - np.asarray(larger), 0), 0.0)


def table(*shape):
    """Random positive numbers whose sum over the last axis is 1."""
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def kl(q, p):
    """The Kullback-Leibler divergence over the last axis, in nats."""
    return (q * np.log(q / p)).sum(-1)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # E f(e) = WEIGHTS @ f(NODES) for e ~ N(0, 1): exact for polynomials up to degree 79


def state_of(params):
    """A state with parameters and nothing else, for a loss to read."""
    return create_state(jax.random.key(0), params, {}, {})


# %% [markdown]
# ## 1. The evidence lower bound
#
# A model draws $z \sim p(z)$ and $x \sim p(x | z)$. Its posterior $p(z | x) = p(z)\, p(x | z) / p(x)$ needs the evidence
# $p(x) = \sum_z p(z)\, p(x | z)$, which is out of reach for a large model. So $q(z | x)$ stands in for it. With the
# definition of the divergence and $p(z | x) = p(x, z) / p(x)$:
#
# $$KL(q(z | x) \| p(z | x)) = E_q \log q(z | x) - E_q \log p(x, z) + \log p(x) \tag{1}$$
#
# The first two terms, with their signs turned, are the bound. The divergence is at least 0, so the bound is at most the
# evidence, and the gap is how far q is from the posterior:
#
# $$\log p(x) = ELBO + KL(q(z | x) \| p(z | x)), \qquad ELBO = E_q \log p(x, z) - E_q \log q(z | x) \tag{2}$$
#
# $$ELBO = E_q \log p(x | z) - KL(q(z | x) \| p(z)) \tag{3}$$

# %%
p_z, p_x_given_z, q_z_given_x = table(4), table(4, 5), table(5, 4)
p_xz = p_x_given_z.T * p_z  # [x, z]
p_x = p_xz.sum(1)
p_z_given_x = p_xz / p_x[:, None]
gap = kl(q_z_given_x, p_z_given_x)


def expected(f):
    """The mean of f over q(z | x), of each x."""
    return (q_z_given_x * f).sum(1)


elbo = expected(np.log(p_xz)) - expected(np.log(q_z_given_x))
agree(1, gap, expected(np.log(q_z_given_x)) - expected(np.log(p_xz)) + np.log(p_x))
agree(2, np.log(p_x), elbo + gap)
at_most(2, elbo, np.log(p_x))
agree(3, elbo, expected(np.log(p_x_given_z.T)) - kl(q_z_given_x, p_z))


# %% [markdown]
# `objectives.elbo` is the negative of (3) at samples of z. If q is the posterior then $\log p(x | z) + \log p(z) - \log q(z |
# x) = \log p(x)$ at *every* z. So the loss of a linear model with a known posterior has to be the evidence, whatever the key.


# %%
class LinearVAE(nn.Module):
    """p(x | z) = N(W z, s^2 I), and q(z | x) = N(V x, diag(d^2))."""

    def setup(self):
        normal = nn.initializers.normal()
        self.W, self.V = self.param("W", normal, (3, 2)), self.param("V", normal, (2, 3))
        self.s, self.d = self.param("s", normal, ()), self.param("d", normal, (2,))

    def encode(self, x, *, train=False):
        mean = x @ self.V.T
        return Normal(mean, jnp.broadcast_to(self.d, mean.shape))

    def decode(self, z, *, train=False):
        mean = z @ self.W.T
        return Normal(mean, jnp.broadcast_to(self.s, mean.shape))


# Columns of W at right angles make a posterior whose covariance is diagonal.
W, s = np.linalg.qr(rng.normal(size=(3, 2)))[0] * [0.8, 1.5], 0.6
precision = (W**2).sum(0) / s**2 + 1
exact = {"W": W, "V": W.T / s**2 / precision[:, None], "s": np.array(s), "d": precision**-0.5}
x = rng.normal(size=(6, 3)) @ np.linalg.cholesky(W @ W.T + s**2 * np.eye(3)).T
evidence = stats.multivariate_normal.logpdf(x, np.zeros(3), W @ W.T + s**2 * np.eye(3))
model = LinearVAE()


def loss_of(objective, parameters, key=0, **others):
    """The values of a loss on the x above, and its metrics."""
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), {"model": parameters, **others})
    batch = {"image": jnp.asarray(x, jnp.float32)}
    return objective(params, state_of(params), batch, jax.random.key(key), train=True)


for key in range(3):
    agree(2, -loss_of(objectives.elbo(model, analytic_kl=False), exact, key)[0], evidence, 1e-4)

# %% [markdown]
# For $q = N(\mu, \mathrm{diag}(\sigma^2))$ and $p(z) = N(0, I)$ the divergence has a closed form (`Normal.kl`):
#
# $$KL = \tfrac 1 2 \sum_j \left(\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2\right) \tag{4}$$
#
# A *loss* is minimised. So the sum $\frac 1 2 \sum (1 + \log \sigma^2 - \mu^2 - \sigma^2)$ of the paper, which is part of the
# bound, gets a minus sign in the loss:
#
# $$-ELBO = -E_q \log p(x | z) - \tfrac 1 2 \sum_j \left(1 + \log \sigma_j^2 - \mu_j^2 - \sigma_j^2\right) \tag{5}$$
#
# The expectation is a mean over $z = \mu + \sigma \epsilon$, $\epsilon \sim N(0, I)$. Then the law of $\epsilon$ does not
# depend on the parameters, and the gradient passes through z:
#
# $$\nabla_{\mu, \sigma} E_{N(\mu, \sigma^2)} f(z) = E_{\epsilon} \nabla_{\mu, \sigma} f(\mu + \sigma \epsilon) \tag{6}$$

# %%
mu, sigma = rng.normal(size=(5, 2)), rng.uniform(0.3, 2, size=(5, 2))
z = mu[..., None] + sigma[..., None] * NODES
closed = 0.5 * (mu**2 + sigma**2 - 1 - np.log(sigma**2)).sum(1)
log_ratio = stats.norm.logpdf(z, mu[..., None], sigma[..., None]) - stats.norm.logpdf(z)
agree(4, closed, (log_ratio @ WEIGHTS).sum(1))
agree(4, closed, Normal(jnp.asarray(mu), jnp.asarray(sigma)).kl(Normal(0.0, 1.0)).sum(1), 1e-5)

other = {**exact, "V": 0.7 * exact["V"], "d": 1.4 * exact["d"]}
mean, width = x @ other["V"].T, other["d"]
expected_log_likelihood = stats.norm.logpdf(x, mean @ W.T, s).sum(1) - (W**2 * width**2).sum() / (2 * s**2)
loss = -expected_log_likelihood - 0.5 * (1 + np.log(width**2) - mean**2 - width**2).sum(1)
ratio = width / exact["d"]
gap = (0.5 * (((mean - x @ exact["V"].T) / exact["d"]) ** 2 + ratio**2 - 1) - np.log(ratio)).sum(1)
agree(5, -loss + gap, evidence)
agree(5, loss_of(objectives.elbo(model, samples=20000), other)[0], loss, 0.2)  # an estimate: five standard errors are less

# f(z) = z^4 - 2 z^3 + z, whose mean under N(m, d^2) is m^4 + 6 m^2 d^2 + 3 d^4 - 2 (m^3 + 3 m d^2) + m
m, d = 0.7, 1.3
slope = np.polynomial.Polynomial([1, 0, -6, 4])
of_mean = 4 * m**3 + 12 * m * d**2 - 6 * m**2 - 6 * d**2 + 1
of_width = 12 * m**2 * d + 12 * d**3 - 12 * m * d
through_z = [WEIGHTS @ slope(m + d * NODES), WEIGHTS @ (slope(m + d * NODES) * NODES)]
agree(6, [of_mean, of_width], through_z)

# %% [markdown]
# With k samples the weights $w_i = p(x, z_i) / q(z_i | x)$ make a bound that lies between the ELBO and the evidence, and
# rises with k (Burda et al. 2015), because their mean is an unbiased estimate of $p(x)$ and the logarithm is concave:
#
# $$E_q \tfrac 1 k \sum_{i=1}^k w_i = p(x) \tag{7}$$
#
# $$L_k = E_q \log \tfrac 1 k \sum_{i=1}^k w_i, \qquad ELBO = L_1 \le L_k \le L_{k+1} \le \log p(x) \tag{8}$$

# %%
weights = p_xz / q_z_given_x  # [x, z]


def bound(k):
    """The mean of the k weights, and that of its logarithm, over all k-tuples of values of z."""
    tuples = np.array(list(itertools.product(range(4), repeat=k)))
    probability = q_z_given_x[:, tuples].prod(2)
    average = weights[:, tuples].mean(2)
    return (probability * average).sum(1), (probability * np.log(average)).sum(1)


bounds = [bound(k)[1] for k in range(1, 7)]
for k in range(1, 7):
    agree(7, bound(k)[0], p_x)
agree(8, bounds[0], elbo)
for smaller, larger in itertools.pairwise([*bounds, np.log(p_x)]):
    at_most(8, smaller, larger)
for k in (1, 10):
    agree(8, -loss_of(objectives.importance_weighted(model, samples=k), exact)[0], evidence, 1e-4)

# %% [markdown]
# The beta-VAE asks for the largest likelihood whose divergence stays below $\delta$. Its Lagrangian is a game: the model
# descends it, the multiplier $\beta = \mathrm{softplus}(\rho)$ ascends it (`objectives.constrained_elbo`):
#
# $$\mathcal L = -E_q \log p(x | z) + \beta\, (KL(q(z | x) \| p(z)) - \delta) \tag{9}$$

# %%
rho, delta = 0.4, 1.7
model_loss, multiplier_loss = objectives.constrained_elbo(model, delta=delta)
rate = 0.5 * (mean**2 + width**2 - 1 - np.log(width**2)).sum(1)
values, aux = loss_of(model_loss, other, multiplier=rho)
agree(9, values, -aux.metrics["log_likelihood"] + np.logaddexp(0, rho) * (rate - delta), 1e-4)
ascent = jax.grad(lambda rho: loss_of(multiplier_loss, other, multiplier=rho)[0].mean())(rho)
agree(9, -ascent, (rate - delta).mean() / (1 + np.exp(-rho)), 1e-5)

# %% [markdown]
# ## 2. Hierarchies
#
# Let the latents form a chain: the model draws $z_T$ first and x last, and the posterior goes the other way:
#
# $$p(x, z_{1:T}) = p(z_T)\, p(x | z_1) \prod_{t=2}^{T} p(z_{t-1} | z_t), \qquad q(z_{1:T} | x) = q(z_1 | x) \prod_{t=2}^{T}
# q(z_t | z_{t-1}) \tag{10}$$
#
# Put into (2), with $z_0 = x$, every latent gives the difference of two logarithms. Only the last one is a divergence that
# can be taken in closed form: of the others, $z_{t+1}$ is drawn after $z_t$ (`models.vae.MarkovVAE`,
# `objectives.hierarchical_elbo`):
#
# $$ELBO = E_q \log p(x | z_1) - \sum_{t=1}^{T-1} E_q \log \frac{q(z_t | z_{t-1})}{p(z_t | z_{t+1})} - E_q KL(q(z_T | z_{T-1})
# \| p(z_T)) \tag{11}$$

# %%
p3, p2, p1, px = table(3), table(3, 4), table(4, 2), table(2, 5)  # p(z3), p(z2 | z3), p(z1 | z2), p(x | z1)
q1, q2, q3 = table(5, 2), table(2, 4), table(4, 3)  # q(z1 | x), q(z2 | z1), q(z3 | z2)
joint = np.einsum("c,cb,ba,ax->xabc", p3, p2, p1, px)
posterior = np.einsum("xa,ab,bc->xabc", q1, q2, q3)
agree(10, joint.sum(), 1.0)
agree(10, posterior.sum((1, 2, 3)), 1.0)
chain = (posterior * np.log(joint / posterior)).sum((1, 2, 3))
at_most(11, chain, np.log(joint.sum((1, 2, 3))))
first = np.einsum("xa,ax->x", q1, np.log(px))
under_z1 = np.einsum("xab,xab->x", posterior.sum(3), np.log(q1)[:, :, None] - np.log(p1).T[None])
under_z2 = np.einsum("abc,xabc->x", np.log(q2)[:, :, None] - np.log(p2).T[None], posterior)
agree(11, chain, first - under_z1 - under_z2 - posterior.sum((1, 3)) @ kl(q3, p3))


# %%
class Linear(nn.Module):
    """The law N(a x, s^2)."""

    a: float
    s: float

    @nn.compact
    def __call__(self, x, *, train=False):
        return Normal(self.a * x + 0 * self.param("nothing", nn.initializers.zeros, ()), jnp.full_like(x, self.s))


class Same(nn.Module):
    """The law of the pixels, as the decoder gave it."""

    def __call__(self, law):
        return law


# x = w z_1 + s e and z_1 = v z_2 + t e, with the posterior of each latent given the one below.
w, v, s, t = 1.4, 0.9, 0.6, 0.7
first, second = w**2 / s**2 + 1 / (v**2 + t**2), v**2 / t**2 + 1
up = (Linear(w / s**2 / first, first**-0.5), Linear(v / t**2 / second, second**-0.5))
markov = vae.MarkovVAE(up, (Linear(v, t),), Linear(w, s), Same())
y = jnp.asarray(rng.normal(size=(6, 1)), jnp.float32)
params = {"model": markov.init(jax.random.key(0), y)["params"]}
for key in range(3):
    loss = objectives.hierarchical_elbo(markov, analytic_kl=False)
    values, _ = loss(params, state_of(params), {"image": y}, jax.random.key(key), train=True)
    agree(11, -values, stats.norm.logpdf(y[:, 0], 0, np.sqrt(w**2 * (v**2 + t**2) + s**2)), 1e-5)

# %% [markdown]
# A posterior that goes from the top down, as in the ladder VAE and in NVAE, draws every group after the groups above it.
# (Here $z_1$ is the top, as NVAE counts.) Then all the divergences are taken given what was drawn, and have closed forms:
#
# $$ELBO = E_q \log p(x | z) - KL(q(z_1 | x) \| p(z_1)) - \sum_{l=2}^{L} E_{q(z_{<l} | x)} KL(q(z_l | z_{<l}, x) \| p(z_l |
# z_{<l})) \tag{12}$$
#
# The ladder's posterior of a layer is the product of the law that the image gives and the law from above, normalised:
#
# $$N(\mu_1, \sigma_1^2)\, N(\mu_2, \sigma_2^2) \propto N\left(\frac{\mu_1 \sigma_1^{-2} + \mu_2 \sigma_2^{-2}}{\sigma_1^{-2}
# + \sigma_2^{-2}}, \frac{1}{\sigma_1^{-2} + \sigma_2^{-2}}\right) \tag{13}$$
#
# NVAE moves the law from above by $\Delta\mu$ and a factor $\Delta\sigma$, and then no mean is left in the divergence:
#
# $$KL(N(\mu + \Delta\mu, \sigma^2 \Delta\sigma^2) \| N(\mu, \sigma^2)) = \tfrac 1 2 \left(\frac{\Delta\mu^2}{\sigma^2} +
# \Delta\sigma^2 - \log \Delta\sigma^2 - 1\right) \tag{14}$$

# %%
p1, p2, px = table(3), table(3, 4), table(3, 4, 5)  # p(z1), p(z2 | z1), p(x | z1, z2)
q1, q2 = table(5, 3), table(5, 3, 4)  # q(z1 | x), q(z2 | z1, x)
joint = np.einsum("a,ab,abx->xab", p1, p2, px)
posterior = q1[:, :, None] * q2
left = (posterior * np.log(joint / posterior)).sum((1, 2))
agree(12, left, np.einsum("xab,abx->x", posterior, np.log(px)) - kl(q1, p1) - (q1 * kl(q2, p2)).sum(1))

(m1, m2), (d1, d2) = rng.normal(size=(2, 4)), rng.uniform(0.5, 2, size=(2, 4))
law = merged(Normal(jnp.asarray(m1), jnp.asarray(d1)), Normal(jnp.asarray(m2), jnp.asarray(d2)))
grid = np.linspace(-3, 3, 7)[:, None]
product = stats.norm.logpdf(grid, m1, d1) + stats.norm.logpdf(grid, m2, d2)
log_density = stats.norm.logpdf(grid, np.asarray(law.mean), np.asarray(law.std))
agree(13, np.diff(product, axis=0), np.diff(log_density, axis=0), 1e-4)  # equal up to a constant

shift, factor = rng.normal(size=5), rng.uniform(0.3, 2, size=5)
above = Normal(jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.uniform(0.3, 2, size=5)))
moved = Normal(above.mean + shift, above.std * factor)
closed = 0.5 * (shift**2 / np.asarray(above.std) ** 2 + factor**2 - np.log(factor**2) - 1)
agree(14, moved.kl(above), closed, 1e-4)

# %% [markdown]
# ## 3. The information bottleneck
#
# A code z of x is drawn by an encoder $p(z | x)$, without a look at the label: $Y \leftrightarrow X \leftrightarrow Z$ is a
# Markov chain. So the label's law given the code mixes those of the inputs that may have made the code, and cannot be
# computed for real data:
#
# $$p(y | z) = \frac{\sum_x p(x)\, p(y | x)\, p(z | x)}{\sum_x p(x)\, p(z | x)} \tag{15}$$
#
# The code shall know much of y and little of x: $\max I(Z; Y) - \beta\, I(Z; X)$. A decoder $q(y | z)$ takes the place of
# $p(y | z)$, and a fixed $r(z)$ that of the marginal $p(z)$. Both bounds have their gaps as a term:
#
# $$I(Z; Y) = E \log q(y | z) + H(Y) + E_z KL(p(y | z) \| q(y | z)) \ge E \log q(y | z) + H(Y) \tag{16}$$
#
# $$I(Z; X) = E_x KL(p(z | x) \| r(z)) - KL(p(z) \| r(z)) \le E_x KL(p(z | x) \| r(z)) \tag{17}$$

# %%
p_x, p_y_given_x, p_z_given_x = table(6), table(6, 3), table(6, 4)
q_y_given_z, r_z = table(4, 3), table(4)
p_xyz = np.einsum("x,xy,xz->xyz", p_x, p_y_given_x, p_z_given_x)
p_z, p_y = p_xyz.sum((0, 1)), p_xyz.sum((0, 2))
p_y_given_z = p_xyz.sum(0).T / p_z[:, None]
agree(15, p_y_given_z, np.einsum("x,xy,xz->zy", p_x, p_y_given_x, p_z_given_x) / (p_x @ p_z_given_x)[:, None])


def information(joint):
    """The mutual information of the two variables of a table, in nats."""
    return kl(joint.ravel(), np.outer(joint.sum(1), joint.sum(0)).ravel())


log_score = (p_xyz.sum(0).T * np.log(q_y_given_z)).sum()
entropy = -(p_y * np.log(p_y)).sum()
rate = p_x @ kl(p_z_given_x, r_z)
agree(16, information(p_xyz.sum(0)), log_score + entropy + p_z @ kl(p_y_given_z, q_y_given_z))
at_most(16, log_score + entropy, information(p_xyz.sum(0)))
agree(17, information(p_xyz.sum(1)), rate - kl(p_z, r_z))
at_most(17, information(p_xyz.sum(1)), rate)

# %% [markdown]
# What is left without the constant $H(Y)$ is the loss (`objectives.bottleneck`), where the second sum of (17) is a divergence
# of two normal laws, here with a full covariance $L L^\top$:
#
# $$J_{IB} = E\left[-\log q(y | z)\right] + \beta\, KL(N(\mu, L L^\top) \| N(0, I)) \tag{18}$$
#
# $$KL(N(\mu, L L^\top) \| N(0, I)) = \tfrac 1 2 \left(|\mu|^2 + \|L\|_F^2 - K - 2 \sum_j \log L_{jj}\right) \tag{19}$$


# %%
class LinearBottleneck(nn.Module):
    """p(z | x) = N(V x, L L^T), and q(y | z) a softmax of U z; no parameter is trained."""

    V: tuple
    L: tuple
    U: tuple

    @nn.compact
    def __call__(self, x):
        return self.decode(self.encode(x).mean)

    def encode(self, x, *, train=False):
        mean = x @ jnp.asarray(self.V).T
        return MultivariateNormal(mean, jnp.broadcast_to(jnp.asarray(self.L), (len(x), 2, 2)))

    def decode(self, z, *, train=False):
        return z @ jnp.asarray(self.U).T


V, L, U = rng.normal(size=(2, 3)), np.array([[0.9, 0.0], [0.5, 0.7]]), rng.normal(size=(4, 2))
label = np.arange(6) % 4
mean = x @ V.T
closed = 0.5 * ((mean**2).sum(1) + (L**2).sum() - 2 - 2 * np.log(np.diag(L)).sum())
noise = np.stack(np.meshgrid(NODES, NODES), axis=-1).reshape(-1, 2)
logits = (mean[:, None] + noise @ L.T) @ U.T
log_q = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
cross_entropy = -log_q[np.arange(6), :, label] @ np.outer(WEIGHTS, WEIGHTS).ravel()
coder, beta = LinearBottleneck(*(tuple(map(tuple, matrix.tolist())) for matrix in (V, L, U))), 0.3
batch = {"image": jnp.asarray(x, jnp.float32), "label": jnp.asarray(label)}
loss = objectives.bottleneck(coder, beta=beta, samples=20000)
values, aux = loss({"model": {}}, state_of({"model": {}}), batch, jax.random.key(0), train=True)
agree(18, values, cross_entropy + beta * closed, 0.05)  # an estimate: five standard errors are less
agree(19, aux.metrics["rate"], closed, 1e-4)
covariance = L @ L.T
by_matrices = 0.5 * (np.trace(covariance) + (mean**2).sum(1) - 2 - np.linalg.slogdet(covariance)[1])
agree(19, closed, by_matrices)

# %% [markdown]
# ## 4. Diffusion is a hierarchy whose posterior is fixed
#
# The *forward* process q adds noise: $q(x_t | x_{t-1}) = N(\sqrt{\alpha_t}\, x_{t-1}, \beta_t I)$, $\alpha_t = 1 - \beta_t$.
# It has nothing to learn. The *reverse* process $p_\theta$ is the model. With $\bar\alpha_t = \alpha_1 \cdots \alpha_t$ the
# noise of many steps adds up to $q(x_t | x_0) = N(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I)$. Since $x_0$ is known in
# training, (11) is turned into divergences from what the step back would be if $x_0$ were known (Ho et al. 2020, equation 5):
#
# $$-ELBO = KL(q(x_T | x_0) \| p(x_T)) + \sum_{t=2}^{T} E_q KL(q(x_{t-1} | x_t, x_0) \| p_\theta(x_{t-1} | x_t)) - E_q \log
# p_\theta(x_0 | x_1) \tag{20}$$
#
# By Bayes' rule that step back is normal (`diffusion.posterior`):
#
# $$\tilde\mu_t(x_t, x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\, (1 -
# \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t
# \tag{21}$$
#
# With $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ it is a function of the noise:
#
# $$\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} \left(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon\right) \tag{22}$$

# %%
betas = np.array([0.1, 0.25, 0.4])
schedule = diffusion.from_betas(betas)
alphas = 1 - betas
bar = np.concatenate([[1.0], np.cumprod(alphas)])  # bar[t], with bar[0] = 1
x0, noise = rng.normal(size=(2, 6, 1))
for step in (2, 3):
    beta, alpha = betas[step - 1], alphas[step - 1]
    xt = np.sqrt(bar[step]) * x0 + np.sqrt(1 - bar[step]) * noise
    mean = np.sqrt(bar[step - 1]) * beta / (1 - bar[step]) * x0 + np.sqrt(alpha) * (1 - bar[step - 1]) / (1 - bar[step]) * xt
    variance = (1 - bar[step - 1]) / (1 - bar[step]) * beta
    found, found_variance = diffusion.posterior(schedule, step, jnp.asarray(x0), jnp.asarray(xt))
    agree(21, found, mean, 1e-5)
    agree(21, found_variance, variance, 1e-6)
    before = np.linspace(-2, 2, 5)  # Bayes' rule: the product of what leads to x_{t-1} and what leads away from it
    product = stats.norm.logpdf(before, np.sqrt(bar[step - 1]) * x0, np.sqrt(1 - bar[step - 1]))
    product = product + stats.norm.logpdf(xt, np.sqrt(alpha) * before, np.sqrt(beta))
    agree(21, np.diff(product), np.diff(stats.norm.logpdf(before, mean, np.sqrt(variance))))
    agree(22, mean, (xt - beta / np.sqrt(1 - bar[step]) * noise) / np.sqrt(alpha))

# (20) for a chain of two steps of one number, and a reverse process N(c_t x_t, v_t).
c, v2 = (0.8, 0.7), (0.3, 0.5)
start = 0.9
x1 = np.sqrt(bar[1]) * start + np.sqrt(1 - bar[1]) * NODES[:, None]  # [40, 1]
x2 = np.sqrt(alphas[1]) * x1 + np.sqrt(betas[1]) * NODES  # [40, 40]
log_p = (
    stats.norm.logpdf(x2)
    + stats.norm.logpdf(x1, c[1] * x2, np.sqrt(v2[1]))
    + stats.norm.logpdf(start, c[0] * x1, np.sqrt(v2[0]))
)
log_q = stats.norm.logpdf(x1, np.sqrt(bar[1]) * start, np.sqrt(1 - bar[1])) + stats.norm.logpdf(
    x2, np.sqrt(alphas[1]) * x1, np.sqrt(betas[1])
)


def kl_of_normals(m, variance, m_p, variance_p):
    """The divergence of two normal laws of one number."""
    return 0.5 * (np.log(variance_p / variance) + (variance + (m - m_p) ** 2) / variance_p - 1)


at_x2 = np.sqrt(bar[2]) * start + np.sqrt(1 - bar[2]) * NODES
back = np.sqrt(bar[1]) * betas[1] / (1 - bar[2]) * start + np.sqrt(alphas[1]) * (1 - bar[1]) / (1 - bar[2]) * at_x2
parts = kl_of_normals(np.sqrt(bar[2]) * start, 1 - bar[2], 0.0, 1.0)
parts += WEIGHTS @ kl_of_normals(back, (1 - bar[1]) / (1 - bar[2]) * betas[1], c[1] * at_x2, v2[1])
parts -= WEIGHTS @ stats.norm.logpdf(start, c[0] * x1[:, 0], np.sqrt(v2[0]))
agree(20, WEIGHTS @ (log_q - log_p) @ WEIGHTS, parts)

# %% [markdown]
# ## Pictures
#
# Left: the bounds (8) of one x of the table, from the ELBO up to the evidence. Right: the information bottleneck of the table
# of part 3, for encoders from a sharp one to one that ignores x. What the code knows is a point; the bars reach to the bounds
# (16) and (17), by a decoder and a marginal that are a quarter wrong.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
worst = int(np.argmax(np.log(p_xz.sum(1)) - elbo))
left.plot(range(1, 7), [values[worst] for values in bounds], marker="o", label="$L_k$")
left.axhline(np.log(p_xz.sum(1))[worst], color="black", linestyle="--", label="$\\log p(x)$")
left.set(xlabel="samples k", ylabel="nats", title="The bound rises with k")
left.legend()

right.set(xlabel="$I(Z; X)$, and the bound above it (orange), nats", ylabel="$I(Z; Y)$, and the bound below it (blue)")
right.set_title("What a code keeps, and what it knows of the label")
for sharpness in np.linspace(0, 1, 9):
    code = sharpness * np.eye(6) + (1 - sharpness) / 6  # [x, z]: z is x, or anything
    joint = np.einsum("x,xy,xz->xyz", p_x, p_y_given_x, code)
    marginal = joint.sum((0, 1))
    label_of_code = joint.sum(0).T / marginal[:, None]
    decoder, prior = 0.75 * label_of_code + 0.25 / 3, 0.75 * marginal + 0.25 / 6
    known, kept = information(joint.sum(0)), information(joint.sum(1) + 1e-300)
    lower = (joint.sum(0).T * np.log(decoder)).sum() + entropy
    upper = p_x @ (np.where(code > 0, code, 1.0) * np.log(np.where(code > 0, code, 1.0) / prior) * (code > 0)).sum(1)
    at_most(16, lower, known)
    at_most(17, kept, upper)
    right.plot([kept, upper], [known, known], color="tab:orange")
    right.plot([kept, kept], [lower, known], color="tab:blue")
    right.plot(kept, known, "ko", markersize=4)
# %% [markdown]
# ## Errata
#
# The lecture notes that these models are often learnt from have these slips. The equation says what is right.
#
# | slip | right | equation |
# | --- | --- | --- |
# | the loss of a VAE has $+\frac 1 2 \sum (1 + \log \sigma^2 - \mu^2 - \sigma^2)$ | a loss has a minus there | (5) |
# | the chain's posterior conditions every latent on x | $q(z_1 \| x) \prod_t q(z_t \| z_{t-1})$: only the first sees x | (10) |
# | a posterior from the top down has the prior's factors | its factors are $q(z_l \| z_{<l}, x)$ | (12) |
# | its sum of divergences begins at $l = 1$ | at $l = 2$, since the term of $z_1$ stands before it | (12) |
# | the bottleneck's decoder is written $q(z \| y)$ | it approximates $p(y \| z)$ by $q(y \| z)$ | (16) |
# | $p_\theta$ is called the forward process | q adds noise (forward), $p_\theta$ takes it away (reverse) | (20) |
# | the factors of $x_0$ and $x_t$ in the posterior mean are mixed up | as in the equation | (21) |
# | the reverse mean divides by $\sqrt{\bar\alpha_t}$ | by $\sqrt{\alpha_t}$ | (22) |

# %%
CHECKED
