"""A mixture of logistics on the levels of a byte, whose colours depend on one another."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgen import keys
from jaxgen.distributions.logistic import DiscretizedLogistic


class LogisticMixture(NamedTuple):
    r"""Pixels that are independent of one another; the colours of a pixel are drawn one after another, of one component.

    $p(x) = \sum_m \pi_m \prod_c \mathrm{logistic}(x_c; \mu_{cm} + \sum_{d < c} a_{cdm} x_d, s_{cm})$, rounded to levels that
    are spread evenly over [-1, 1]. All probabilities of a pixel sum to one. NVAE's code takes all above 0.99 for the highest
    level, by which level 254 has the mass of level 255 as well.

    Source: Salimans et al. 2017, sections 2.1 and 2.2; github.com/openai/pixel-cnn, nn.py.

    Fields:
      logits: logits of $\pi$, `[..., m]`.
      loc: mu, `[..., c, m]`.
      log_scale: log s, `[..., c, m]`.
      coefficients: a for the pairs (1, 0), (2, 0), (2, 1) ... of a colour and an earlier one, `[..., c (c - 1) / 2, m]`.
      levels: number of values.

    >>> mixture = LogisticMixture(jnp.zeros(2), jnp.array([[-0.5, 0.5]]), jnp.zeros((1, 2)), jnp.zeros((0, 2)))
    >>> round(jnp.exp(jax.vmap(mixture.log_prob)(jnp.linspace(-1, 1, 256)[:, None])).sum().item(), 4)
    1.0
    """

    logits: Float[Array, "*b m"]
    loc: Float[Array, "*b c m"]
    log_scale: Float[Array, "*b c m"]
    coefficients: Float[Array, "*b pairs m"]
    levels: int = 256

    @property
    def mean(self) -> Float[Array, "*b c"]:
        """The mean of the components' means, within [-1, 1]; the levels' ends are left out of account."""
        share = jax.nn.softmax(self.logits)[..., None, :]
        means: list[Array] = []
        for c in range(self.loc.shape[-2]):
            means.append(self._shifted(c, means))
        return jnp.clip((jnp.stack(means, -2) * share).sum(-1), -1.0, 1.0)

    def log_prob(self, x: Float[Array, "*b c"]) -> Float[Array, "*b"]:
        """The log-probability of each pixel, over its colours."""
        seen = [x[..., c, None] for c in range(x.shape[-1])]
        total = jax.nn.log_softmax(self.logits)
        for c, value in enumerate(seen):
            total = total + DiscretizedLogistic(self._shifted(c, seen), self.log_scale[..., c, :], self.levels).log_prob(value)
        return jax.nn.logsumexp(total, axis=-1)

    def sample(self, key: Key[Array, "..."]) -> Float[Array, "*b c"]:
        """Levels in [-1, 1], drawn with one key, or with a key for each example, `[B]`."""
        gumbel = keys.draw(jax.random.gumbel, keys.fold_in(key, 0), self.logits.shape)
        chosen = jax.nn.one_hot((self.logits + gumbel).argmax(-1), self.logits.shape[-1])
        drawn: list[Array] = []
        for c in range(self.loc.shape[-2]):
            loc, log_scale = ((part * chosen).sum(-1) for part in (self._shifted(c, drawn), self.log_scale[..., c, :]))
            value = DiscretizedLogistic(loc, log_scale, self.levels).sample(keys.fold_in(key, c + 1))
            drawn.append(value[..., None])
        return jnp.concatenate(drawn, -1)

    def _shifted(self, c: int, earlier: list[Array]) -> Float[Array, "*b m"]:
        """The locations of one colour, given the colours before it, each `[..., 1]` or `[..., m]`."""
        first = c * (c - 1) // 2
        shifts = (self.coefficients[..., first + d, :] * earlier[d] for d in range(c))
        return sum(shifts, start=self.loc[..., c, :])
