r"""The simplest adversarial game, in which the players circle: data at 0, all samples at $\theta$, and $D(x) = \psi x$.

Each player is one number. The game's only equilibrium is $\psi = \theta = 0$. What a method of training does near it is in the
eigenvalues of the velocities' Jacobian there: it converges where their real parts are below zero, and circles where they are
zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgen.losses.adversarial import AdversarialLoss


class Game(NamedTuple):
    r"""A game of the two numbers $(\psi, \theta)$.

    Fields:
      loss: the losses of the two players.
      gamma: the weight of the penalty $\frac \gamma 2 \psi^2$ of the discriminator, which R1 and R2 both are here; 0 for none.
    """

    loss: AdversarialLoss
    gamma: float = 0.0

    def velocity(self, point: Float[Array, "2"]) -> Float[Array, "2"]:
        r"""The direction of gradient descent, $(-\partial_\psi L_D, -\partial_\theta L_G)$ at $(\psi, \theta)$."""

        def of_discriminator(psi: Float[Array, ""], theta: Float[Array, ""]) -> Float[Array, ""]:
            loss = self.loss.discriminator(jnp.zeros(1, theta.dtype), (psi * theta)[None])
            return loss[0] + self.gamma / 2 * psi**2

        def of_generator(psi: Float[Array, ""], theta: Float[Array, ""]) -> Float[Array, ""]:
            return self.loss.generator((psi * theta)[None])[0]

        psi, theta = point
        return -jnp.stack([jax.grad(of_discriminator)(psi, theta), jax.grad(of_generator, argnums=1)(psi, theta)])


def rates(game: Game) -> np.ndarray:
    r"""The eigenvalues `[2]` of the velocities' Jacobian at the equilibrium.

    Without a penalty they are $\pm i f'(0)$, with f' the slope of the losses at a logit of 0: 1/2 of minimax and of the
    non-saturating loss, 1 of the Wasserstein loss. With one they are $-\frac \gamma 2 \pm \sqrt{\gamma^2 / 4 - f'(0)^2}$.

    Args:
      game: the game.

    Returns:
      Complex numbers, in units of one over the time of the flow.

    Source: Mescheder et al. 2018, sections 2 and 4.

    >>> from jaxgen.losses import adversarial
    >>> [complex(rate) for rate in rates(Game(adversarial.wasserstein, gamma=2.0)).round(3)]
    [(-1+0j), (-1+0j)]
    """
    jacobian = jax.jacobian(game.velocity)(jnp.zeros(2, jnp.float32))
    return np.linalg.eigvals(np.asarray(jacobian, np.float64)).astype(np.complex128)


def walk(
    game: Game, start: Float[Array, "2"], *, learning_rate: float, steps: int, alternating: bool = False
) -> Float[Array, "steps 2"]:
    r"""The path of gradient descent, $(\psi, \theta)$ after every step.

    Players that move at once are driven outwards, by $1 + h^2 f'(0)^2$ a step near the equilibrium in the squared radius;
    players in turn stay on a closed curve.

    Args:
      game: the game.
      start: the first $(\psi, \theta)$.
      learning_rate: the rate h of both players.
      steps: the number of steps.
      alternating: whether the generator sees the discriminator's new value.

    Returns:
      The points.

    Source: Mescheder et al. 2018, section 2.
    """

    def step(point: Float[Array, "2"], _: None) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        psi = point[0] + learning_rate * game.velocity(point)[0]
        seen = jnp.stack([psi, point[1]]) if alternating else point
        moved = jnp.stack([psi, point[1] + learning_rate * game.velocity(seen)[1]])
        return moved, moved

    return lax.scan(step, start, length=steps)[1]
