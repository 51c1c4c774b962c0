"""Penalties on a critic's gradient in its input, and limits of its weights: they keep it smooth.

A penalty is `(critic, real, fake, key, step) -> [B]`, with a critic `x [B, ...] -> [B]` that looks at each example by itself
(so no batch normalisation, which mixes them). It already bears its weight, and is added to the discriminator's loss.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.distributions import sum_event
from jaxgen.types import Key, PyTree

Critic = Callable[[Float[Array, "b *event"]], Float[Array, " b"]]


@runtime_checkable
class Penalty(Protocol):
    """`penalty(critic, real, fake, key, step) -> [B]`.

    `key` is a key for each example, `[B]`, as the objective gives it, or one key: `jaxgen.keys.draw` takes either. `step` is
    None in an evaluation, which has no course of time.
    """

    def __call__(
        self,
        critic: Critic,
        real: Float[Array, "b *event"],
        fake: Float[Array, "b *event"],
        key: Key,
        step: Array | None,
    ) -> Float[Array, " b"]: ...


def gradient_penalty(weight: float = 10.0, target: float = 1.0) -> Penalty:
    r"""$\lambda\, (\|\nabla f(\hat x)\|_2 / \gamma - 1)^2$ at $\hat x = u\, x + (1 - u)\, G(z)$, $u \sim U[0, 1]$ by example.

    Args:
      weight: the weight $\lambda$ of the penalty.
      target: the norm $\gamma$ that the gradient is to have.

    Returns:
      The penalty.

    >>> penalty = gradient_penalty(10.0)
    >>> penalty(lambda x: 3 * x[:, 0], jnp.ones((1, 2)), jnp.zeros((1, 2)), jax.random.key(0), None).item()
    40.0

    Source: Gulrajani et al. 2017, equation 3 and algorithm 1; the target: Karras et al. 2018, appendix A.1.
    """

    def penalty(
        critic: Critic, real: Float[Array, "b *event"], fake: Float[Array, "b *event"], key: Key, step: Array | None
    ) -> Float[Array, " b"]:
        u = keys.draw(jax.random.uniform, key, (real.shape[0], *[1] * (real.ndim - 1))).astype(real.dtype)
        squared = squared_gradient(critic, u * real + (1 - u) * fake)
        # The root has no derivative at 0, where a critic of dead rectifiers is.
        norm = jnp.sqrt(jnp.maximum(squared, 1e-12))
        return weight * (norm / target - 1) ** 2

    return penalty


def r1(gamma: float = 10.0) -> Penalty:
    r"""$\frac \gamma 2 \|\nabla f(x)\|_2^2$ at the data. Source: Mescheder et al. 2018, equation 9.

    Args:
      gamma: the weight $\gamma$ of the penalty.

    Returns:
      The penalty.
    """
    return lambda critic, real, fake, key, step: gamma / 2 * squared_gradient(critic, real)


def r2(gamma: float = 10.0) -> Penalty:
    r"""$\frac \gamma 2 \|\nabla f(G(z))\|_2^2$ at the samples. Source: Mescheder et al. 2018, equation 10.

    Args:
      gamma: the weight $\gamma$ of the penalty.

    Returns:
      The penalty.
    """
    return lambda critic, real, fake, key, step: gamma / 2 * squared_gradient(critic, fake)


def lazily(penalty: Penalty, every: int) -> Penalty:
    r"""The penalty times n in every n-th step and zero in the others, in which it costs nothing: on average it is the same.

    Args:
      penalty: the penalty to apply now and then.
      every: the interval n; the steps are 0, n, 2n ...

    Returns:
      The lazy penalty. An evaluation sees the penalty itself.

    Source: Karras et al. 2020 (StyleGAN2), section 3.1 and appendix B. There the penalty has an update of its own after every
    n-th step, so that n steps are n + 1 updates, for which they set Adam's rate and betas to $c \alpha, \beta_1^c, \beta_2^c$
    with $c = n / (n + 1)$. Here it is a part of the loss of the n-th step: n steps are n updates, and Adam needs no correction.
    """

    def lazy(
        critic: Critic, real: Float[Array, "b *event"], fake: Float[Array, "b *event"], key: Key, step: Array | None
    ) -> Float[Array, " b"]:
        if step is None:
            return penalty(critic, real, fake, key, step)
        return lax.cond(
            step % every == 0,
            lambda: every * penalty(critic, real, fake, key, step),
            lambda: jnp.zeros(real.shape[0], real.dtype),
        )

    return lazy


def squared_gradient(critic: Critic, x: Float[Array, "b *event"]) -> Float[Array, " b"]:
    r"""$\|\nabla f(x)\|_2^2$ of each example."""
    # One backward pass for all: no example's value depends on another's input.
    return sum_event(jax.grad(lambda x: critic(x).sum())(x) ** 2)


def clip_weights(limit: float) -> optax.GradientTransformation:
    r"""Cuts every parameter to [-c, c] as it moves: `optax.chain(optax.sgd(5e-5), clip_weights(0.01))`.

    It comes last in the chain, since it turns an update u into $\mathrm{clip}(\theta + u, -c, c) - \theta$.

    Args:
      limit: the limit c.

    Returns:
      The transformation.

    Raises:
      ValueError: where `update` is called without the parameters.

    Source: Arjovsky et al. 2017, algorithm 1, line 7.
    """
    return _projected(lambda p: jnp.clip(p, -limit, limit))


def max_norm(limit: float) -> optax.GradientTransformation:
    r"""Shortens the weights that lead to a unit to a norm of c as they move: `optax.chain(optax.sgd(0.1), max_norm(2))`.

    $w \leftarrow w \min(1, c / \|w\|)$ for every column of a kernel `[inputs, units]`; biases are left alone. It comes last
    in the chain.

    Args:
      limit: the limit c.

    Returns:
      The transformation.

    Raises:
      ValueError: where `update` is called without the parameters.

    Source: Srivastava et al. 2014, section 5.1; Goodfellow et al. 2013.
    """

    def shortened(p: Array) -> Array:
        if p.ndim < 2:
            return p
        norm = jnp.sqrt((p**2).sum(tuple(range(p.ndim - 1)), keepdims=True))
        return p * (limit / jnp.maximum(norm, limit))

    return _projected(shortened)


def _projected(project: Callable[[Array], Array]) -> optax.GradientTransformation:
    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        if params is None:
            raise ValueError("a projection needs the parameters that it projects; give them to update()")
        return jax.tree.map(lambda u, p: project(p + u) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
