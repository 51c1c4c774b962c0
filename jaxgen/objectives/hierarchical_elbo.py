"""Bounds of models whose latents form groups: the ELBO with weights, free bits and balancing, and one by importance weights.

A model is any linen module with `infer(x, key=keys, train=)` that returns the `likelihood` p(x | z) and `groups`, each with
`log_q [B]`, `log_p [B]` and the `kl [B, ...]` of its units, in closed form where there is one, at the same samples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.distributions import sum_event
from jaxgen.errors import UserError
from jaxgen.evaluate import Measure
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params, Schedule, Vars

LEAST_KL = 0.01
"""The nats that are added to a group's KL before groups are balanced, as in NVAE's code: no weight is zero."""


def balance(kl: Float[Array, " groups"], sizes: Sequence[float]) -> Float[Array, " groups"]:
    r"""Weights of the groups' KLs that keep all groups in use, $\gamma_l \propto (E_x |KL_l| + 0.01) / s_l$, of mean 1.

    A group of small KL is penalised less, so that it can begin to carry something. No gradient flows through the weights.

    Args:
      kl: the absolute value of the KL of each group, a mean over the batch; a sampled KL may be negative.
      sizes: the sizes s of the groups, by which NVAE's code divides.

    Returns:
      The weights.

    Source: Vahdat & Kautz 2020, appendix A; github.com/NVlabs/NVAE, utils.py.

    >>> balance(jnp.array([0.99, 2.99]), (1.0, 1.0)).tolist()
    [0.5, 1.5]
    """
    raw = lax.stop_gradient((kl + LEAST_KL) / jnp.array(sizes, jnp.float32))
    return raw / raw.mean()


def sizes_by_resolution(groups: Sequence[int]) -> tuple[float, ...]:
    r"""Sizes for `balance` by which finer maps are penalised less, $s \propto 4^i / n_i$ for the $n_i$ groups of scale i.

    Args:
      groups: the numbers n of groups of the scales, the coarsest first.

    Returns:
      A size for each group, the coarsest first; the least is 1.

    Source: github.com/NVlabs/NVAE, utils.py (`kl_balancer_coeff`, "square").

    >>> sizes_by_resolution((1, 2))
    (1.0, 2.0, 2.0)
    """
    raw = [4.0**i / n for i, n in enumerate(groups) for _ in range(n)]
    return tuple(size / min(raw) for size in raw)


def hierarchical_elbo(
    model: nn.Module,
    *,
    beta: float | Schedule = 1.0,
    weights: Sequence[float] | None = None,
    free_bits: float = 0.0,
    sizes: Sequence[float] | None = None,
    analytic_kl: bool = True,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""The negative ELBO of a hierarchy at one sample, $-\log p(x | z) + \sum_l \max(\lambda, E_x\, \beta w_l \gamma_l KL_l)$.

    Free bits are those of Kingma et al. 2016, equation 15: the KL of a group as a mean over the batch is not pushed below
    $\lambda$ (there without the weights). They and the balancing read the mean of the whole batch, over all replicas and
    without padding; with `accumulate` that of a micro-batch. They act in training only, since an evaluated value belongs to its
    example.

    Args:
      model: the model.
      beta: the weight of all KLs, or a schedule of the step (the warm-up).
      weights: a weight w of each group; None is 1.
      free_bits: the nats $\lambda$ of each group that cost nothing.
      sizes: the sizes of the groups for `balance`, which is used while beta is below 1; None does not balance.
      analytic_kl: whether the KL is taken in closed form where the model has one; otherwise log q - log p.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `elbo` (all weights 1), `log_likelihood`, `kl`, and `kl_1`, `kl_2`, ... of the groups, in nats.

    Raises:
      UserError: if there is not one weight, or one size, for each group.

    Source: Sønderby et al. 2016, equation 16 for the warm-up.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, own = batch[feature], keys.per_example(key, batch)
        likelihood, log_p, log_q, closed, vars = _terms(model, params, state.vars, x, own, name, train)
        kl = closed if analytic_kl else log_q - log_p
        for each, what in ((weights, "weights"), (sizes, "sizes")):
            if each is not None and len(each) != len(kl):
                raise UserError(f"the model has {len(kl)} groups of latents; give as many {what}, not {len(each)}.")
        weight = jnp.asarray(beta(state.step) if callable(beta) else beta)
        scaled = kl * weight * (1.0 if weights is None else jnp.asarray(weights)[:, None])
        if train and sizes is not None:
            balanced = balance(_batch_mean(jnp.abs(kl), batch), sizes)
            scaled = scaled * jnp.where(weight < 1, balanced, 1.0)[:, None]
        if train and free_bits:
            # The mean over the batch is max(lambda, mean), and so is its gradient.
            scaled = jnp.where(_batch_mean(scaled, batch)[:, None] > free_bits, scaled, free_bits)
        total = kl.sum(0)
        metrics = {"elbo": likelihood - total, "log_likelihood": likelihood, "kl": total}
        metrics |= {f"kl_{i + 1}": each for i, each in enumerate(kl)}
        return scaled.sum(0) - likelihood, Aux(vars, metrics)

    return loss


def hierarchical_bound(
    model: nn.Module,
    params: Params,
    vars: Vars,
    x: Float[Array, "b *event"],
    key: Key,
    *,
    samples: int,
    chunk: int | None = None,
    name: str = "model",
) -> Float[Array, " b"]:
    r"""$L_k = \log \frac 1 k \sum_{i=1}^k p(x, z^i_{1:L}) / q(z^i_{1:L} | x)$, for evaluation; it rises to $\log p(x)$ with k.

    Args:
      model: the model.
      params: parameters by name.
      vars: variables by name.
      x: a batch.
      key: the key of the samples: one key, or a key for each example, `[B]`.
      samples: the number of samples k.
      chunk: samples at once, which bounds the memory. It divides k.
      name: the parameters' name.

    Returns:
      The bound of each example, in nats.

    Raises:
      UserError: if `chunk` does not divide `samples`.

    Source: Burda et al. 2015, equation 8.
    """
    chunk = min(chunk or samples, samples)
    if samples % chunk:
        raise UserError(f"{samples} importance samples cannot be cut into chunks of {chunk}; give a chunk that divides them.")
    b = x.shape[0]
    own = key if key.ndim else jax.random.split(key, b)
    repeated = jnp.broadcast_to(x, (chunk, *x.shape)).reshape(chunk * b, *x.shape[1:])

    def part(number: Array) -> Float[Array, " b"]:
        # A sample's number, and not its place in a chunk, makes its key: the bound does not depend on the chunk.
        each = jax.vmap(lambda i: keys.fold_in(own, i))(number * chunk + jnp.arange(chunk)).reshape(-1)
        likelihood, log_p, log_q, _, _ = _terms(model, params, vars, repeated, each, name, False)
        return jax.nn.logsumexp((likelihood + (log_p - log_q).sum(0)).reshape(chunk, b), axis=0)

    totals = lax.map(part, jnp.arange(samples // chunk))
    return jax.nn.logsumexp(totals, axis=0) - math.log(samples)


def hierarchical_nll(model: nn.Module, *, samples: int, chunk: int = 50, name: str = "model") -> Measure:
    """The negative of `hierarchical_bound` as an evaluated value, in nats.

    Args:
      model: the model.
      samples: the number of samples k.
      chunk: samples at once, at most; a divisor of k is taken.
      name: the parameters' name.

    Returns:
      A measure of `nll`.
    """

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, at_once = keys.per_example(key, batch), math.gcd(samples, chunk)
        x = batch["image"]
        return {"nll": -hierarchical_bound(model, state.params, state.vars, x, own, samples=samples, chunk=at_once, name=name)}

    return measure


def _terms(
    model: nn.Module, params: Params, vars: Vars, x: Array, key: Key, name: str, train: bool
) -> tuple[Array, Array, Array, Array, Vars]:
    """The log-likelihood `[B]`; log p, log q and the closed KL of the groups `[groups, B]`; updated variables."""
    found: Any
    found, vars = apply(model, params, vars, x, name=name, method="infer", train=train, told={"key": key})
    likelihood = sum_event(found.likelihood.log_prob(x))
    log_p, log_q = (jnp.stack([getattr(group, part) for group in found.groups]) for part in ("log_p", "log_q"))
    return likelihood, log_p, log_q, jnp.stack([sum_event(group.kl) for group in found.groups]), vars


def _batch_mean(values: Float[Array, "groups b"], batch: Batch) -> Float[Array, " groups"]:
    """The means over the examples of all replicas, as constants; padding is left out."""
    mask = batch.get("mask")
    real = jnp.ones(values.shape[1], bool) if mask is None else mask.astype(bool)
    total, count = collectives.total((jnp.where(real, lax.stop_gradient(values), 0).sum(1), real.sum()))
    return total / jnp.maximum(count, 1).astype(jnp.float32)
