"""Bounds on the evidence of a latent variable model: the ELBO, its constrained form, and the importance-weighted bound.

A model is any linen module with `encode(x, train) -> q(z | x)` and `decode(z, train) -> p(x | z)`. The likelihood has an
element-wise `log_prob`. The posterior has `sample_and_log_prob(keys [B], samples=k) -> (z [k, B, ...], log q [k, B])` and, for
an analytic KL, `kl(prior)`. So it needs no density of any z but its own samples (`distributions.FlowPosterior`).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.distributions import Normal, sum_event
from jaxgen.evaluate import Measure
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params, Schedule, Vars

PRIOR = Normal(0.0, 1.0)


class Terms(NamedTuple):
    """The terms of a bound for k samples of each example."""

    log_likelihood: Float[Array, "k b"]
    log_prior: Float[Array, "k b"]
    log_posterior: Float[Array, "k b"]

    @property
    def log_weights(self) -> Float[Array, "k b"]:
        """$log w = log p(x | z) + log p(z) - log q(z | x)$."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def elbo(
    model: nn.Module,
    *,
    beta: float | Schedule = 1.0,
    samples: int = 1,
    analytic_kl: bool = True,
    prior: Normal = PRIOR,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""The negative evidence lower bound, with a weight on the KL.

    $-\frac 1 k \sum_{i=1}^k \log p(x | z_i) + \beta\, KL(q(z | x) \| p(z))$, $z_i \sim q(z | x)$.

    Args:
      model: a latent variable model.
      beta: the weight, or a schedule of the step; 1 gives the ELBO.
      samples: the number of samples k.
      analytic_kl: whether the KL is taken in closed form; otherwise $\frac 1 k \sum_i \log q(z_i | x) - \log p(z_i)$.
      prior: the prior p(z).
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `elbo` (that of beta = 1), `log_likelihood` and `kl`, in nats.

    Source: Kingma & Welling 2013, equations 3 and 7; Higgins et al. 2017, equation 4.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        q, terms, vars = evidence(model, params, state.vars, batch[feature], own, samples, prior, name, train)
        likelihood = terms.log_likelihood.mean(0)
        kl = sum_event(q.kl(prior)) if analytic_kl else (terms.log_posterior - terms.log_prior).mean(0)
        weight = beta(state.step) if callable(beta) else beta
        metrics = {"elbo": likelihood - kl, "log_likelihood": likelihood, "kl": kl}
        return weight * kl - likelihood, Aux(vars, metrics)

    return loss


def free_energy(
    model: nn.Module,
    *,
    beta: float | Schedule = 1.0,
    samples: int = 1,
    prior: Normal = PRIOR,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""The free energy with an inverse temperature on the model's joint density, by samples.

    $\frac 1 k \sum_{i=1}^k \log q(z_i | x) - \beta\, [\log p(x | z_i) + \log p(z_i)]$, $z_i \sim q(z | x)$. While beta is small
    the posterior is drawn to a wide density, where the ELBO with a weight on the KL would draw it to a point.

    Args:
      model: a latent variable model.
      beta: the inverse temperature, or a schedule of the step; 1 gives the negative ELBO with a sampled KL.
      samples: the number of samples k.
      prior: the prior p(z).
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `elbo` (that of beta = 1), `log_likelihood` and `kl`, in nats.

    Source: Rezende & Mohamed 2015, equation 20.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        _, terms, vars = evidence(model, params, state.vars, batch[feature], own, samples, prior, name, train)
        likelihood, log_prior, log_posterior = (term.mean(0) for term in terms)
        weight = beta(state.step) if callable(beta) else beta
        metrics = {
            "elbo": likelihood + log_prior - log_posterior,
            "log_likelihood": likelihood,
            "kl": log_posterior - log_prior,
        }
        return log_posterior - weight * (likelihood + log_prior), Aux(vars, metrics)

    return loss


def constrained_elbo(
    model: nn.Module,
    *,
    delta: float,
    samples: int = 1,
    prior: Normal = PRIOR,
    name: str = "model",
    multiplier: str = "multiplier",
    feature: str = "image",
) -> tuple[LossFn, LossFn]:
    r"""Maximal likelihood under $E_x KL(q(z | x) \| p(z)) < \delta$, as a game against a Lagrange multiplier.

    The model descends $-E \log p(x | z) + \beta (KL - \delta)$ and the multiplier ascends it, with $\beta =
    \mathrm{softplus}(\rho) \ge 0$: at the end either the constraint holds with equality or beta is zero (Karush-Kuhn-Tucker).

    Args:
      model: a latent variable model.
      delta: the bound on the KL, in nats.
      samples: the number of samples of z for each example.
      prior: the prior p(z).
      name: the model's parameters.
      multiplier: the parameters' name of rho, a scalar.
      feature: the batch's feature x.

    Returns:
      The losses of the model and of the multiplier.

    Source: Higgins et al. 2017, equations 2 to 4, where beta is the multiplier that is then fixed by hand.
    """

    def beta_of(params: Params) -> Array:
        return jax.nn.softplus(params[multiplier])

    def model_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        beta = lax.stop_gradient(beta_of(params))
        inner = elbo(model, beta=lambda step: beta, samples=samples, prior=prior, name=name, feature=feature)
        values, aux = inner(params, state, batch, key, train=train)
        return values - beta * delta, aux._replace(metrics={**aux.metrics, "beta": beta})

    def multiplier_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        q, _ = apply(model, params, state.vars, batch[feature], key=key, name=name, method="encode", train=train)
        excess = sum_event(q.kl(prior)) - delta
        return -beta_of(params) * excess, Aux({}, {"kl_excess": excess})

    return model_loss, multiplier_loss


def importance_weighted(
    model: nn.Module,
    *,
    samples: int,
    chunk: int | None = None,
    prior: Normal = PRIOR,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""The negative importance-weighted bound, $-\log \frac 1 k \sum_{i=1}^k w_i$, to train on.

    Its reparameterised gradient is the weighted average of the samples' ones (equation 14).

    Args:
      model: a latent variable model.
      samples: the number of samples k; 1 is the ELBO with a sampled KL.
      chunk: samples at once, which bounds the memory: the others are recomputed in the backward pass. It divides k.
      prior: the prior p(z).
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `bound`, in nats.

    Source: Burda et al. 2015, equations 8 and 14.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, own = batch[feature], keys.per_example(key, batch)
        bound, vars = importance_weighted_bound(
            model, params, state.vars, x, own, samples=samples, chunk=chunk, prior=prior, name=name, train=train
        )
        return -bound, Aux(vars, {"bound": bound})

    return loss


def importance_weighted_bound(
    model: nn.Module,
    params: Params,
    vars: Vars,
    x: Float[Array, "b *event"],
    key: Key,
    *,
    samples: int,
    chunk: int | None = None,
    prior: Normal = PRIOR,
    name: str = "model",
    train: bool = False,
) -> tuple[Float[Array, " b"], Vars]:
    r"""$L_k = \log \frac 1 k \sum_{i=1}^k \frac{p(x | z_i) p(z_i)}{q(z_i | x)}$, which rises to $\log p(x)$ with k.

    Args:
      model: a latent variable model.
      params: parameters by name.
      vars: variables by name.
      x: a batch.
      key: the key of the samples: one key, or a key for each example, `[B]` (`keys.per_example`).
      samples: the number of samples k.
      chunk: samples at once; 5,000 samples of 28x28 pixels then take the memory of `chunk`. It divides k.
      prior: the prior p(z).
      name: the parameters' name.
      train: whether batch statistics are those of the batch.

    Returns:
      The bound of each example, in nats, and updated variables.

    Raises:
      ValueError: if `chunk` does not divide `samples`.

    Source: Burda et al. 2015, equation 8.
    """
    chunk = min(chunk or samples, samples)
    if samples % chunk:
        raise ValueError(f"{samples} importance samples cannot be cut into chunks of {chunk}")
    encode_key, decode_key = (keys.fold_in(key, i) for i in range(2))
    q, vars = apply(model, params, vars, x, key=encode_key, name=name, method="encode", train=train)

    def part(vars: Vars, key: Key) -> tuple[Vars, Float[Array, " b"]]:
        terms, vars = _terms(model, params, vars, q, x, key, chunk, prior, name, train)
        return vars, jax.nn.logsumexp(terms.log_weights, axis=0)

    def numbered(vars: Vars, number: Array) -> tuple[Vars, Float[Array, " b"]]:
        return part(vars, keys.fold_in(decode_key, number))

    if chunk == samples:
        vars, total = part(vars, decode_key)
    else:
        vars, totals = lax.scan(jax.checkpoint(numbered), vars, jnp.arange(samples // chunk))
        total = jax.nn.logsumexp(totals, axis=0)
    return total - math.log(samples), vars


def evidence(
    model: nn.Module,
    params: Params,
    vars: Vars,
    x: Float[Array, "b *event"],
    key: Key,
    samples: int,
    prior: Normal,
    name: str,
    train: bool,
) -> tuple[Any, Terms, Vars]:
    """The posterior, the terms of its k samples, and updated variables."""
    encode_key, decode_key = (keys.fold_in(key, i) for i in range(2))
    q, vars = apply(model, params, vars, x, key=encode_key, name=name, method="encode", train=train)
    terms, vars = _terms(model, params, vars, q, x, decode_key, samples, prior, name, train)
    return q, terms, vars


def importance_weighted_nll(model: nn.Module, *, samples: int, chunk: int = 50, name: str = "model") -> Measure:
    """The negative of `importance_weighted_bound` as an evaluated value, in nats.

    Args:
      model: a latent variable model.
      samples: the number of samples k.
      chunk: samples at once, at most; a divisor of k is taken.
      name: the parameters' name.

    Returns:
      A measure of `nll`.
    """

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, at_once = keys.per_example(key, batch), math.gcd(samples, chunk)
        bound, _ = importance_weighted_bound(
            model, state.params, state.vars, batch["image"], own, samples=samples, chunk=at_once, name=name
        )
        return {"nll": -bound}

    return measure


def _terms(
    model: nn.Module,
    params: Params,
    vars: Vars,
    q: Any,
    x: Float[Array, "b *event"],
    key: Key,
    samples: int,
    prior: Normal,
    name: str,
    train: bool,
) -> tuple[Terms, Vars]:
    k, b = samples, x.shape[0]
    noise, layers = (keys.fold_in(key, i) for i in range(2))
    z, log_posterior = q.sample_and_log_prob(noise, samples=k)
    # The samples lie along the batch axis, so that the decoder is one large matrix product and not k small ones.
    flat = z.reshape(k * b, *z.shape[2:])
    p, vars = apply(model, params, vars, flat, key=layers, name=name, method="decode", train=train)
    targets = jnp.broadcast_to(x, (k, *x.shape)).reshape(k * b, *x.shape[1:])
    log_likelihood = sum_event(p.log_prob(targets)).reshape(k, b)
    log_prior = sum_event(prior.log_prob(flat)).reshape(k, b)
    return Terms(log_likelihood, log_prior, log_posterior), vars
