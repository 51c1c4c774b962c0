r"""Vector quantisation: vectors are replaced by the nearest of K learned ones, whose numbers are discrete codes.

The codebook is learned by the gradient of a loss (`VectorQuantiser`) or as running averages of the vectors that chose each code
(`VectorQuantiserEMA`). Source of both: van den Oord et al. 2017.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen.devices import collectives
from jaxgen.errors import SizeError
from jaxgen.keys import draw
from jaxgen.types import Key


class Quantised(NamedTuple):
    """The quantised batch, its codes and its loss.

    Fields:
      vectors: the vectors of the codes. Their gradient is passed on to the input unchanged (straight through).
      codes: the numbers of the codes, one for each vector of the input.
      loss: the loss of each example, to be added to that of the reconstruction. It is a mean over the example's numbers.
      perplexity: the exponential of the entropy of the codes' frequencies in the whole batch: how many codes are in use.
    """

    vectors: Float[Array, "b *shape d"]
    codes: Int[Array, "b *shape"]
    loss: Float[Array, " b"]
    perplexity: Float[Array, ""]


def nearest(x: Float[Array, "*shape d"], codebook: Float[Array, "k d"]) -> Int[Array, "*shape"]:
    r"""The number of the nearest vector, $\arg\min_k \|x - e_k\|^2$; the first of equally near ones.

    Args:
      x: vectors.
      codebook: the K vectors $e_k$.

    Source: van den Oord et al. 2017, equation 1.
    """
    # |x|^2 is the same for all codes. Products in less than float32 would choose other codes.
    x = x.astype(jnp.float32)
    return ((codebook**2).sum(1) - 2 * jnp.matmul(x, codebook.T, precision="highest")).argmin(-1)


def vectors_of(codes: Int[Array, "*shape"], codebook: Float[Array, "k d"]) -> Float[Array, "*shape d"]:
    """The vectors of codes; nan for a number that is no code.

    Args:
      codes: numbers from 0 to K - 1.
      codebook: the K vectors.
    """
    there = (codes >= 0) & (codes < len(codebook))
    return jnp.where(there[..., None], codebook[jnp.where(there, codes, 0)], jnp.nan)


def perplexity(counts: Float[Array, " k"]) -> Float[Array, ""]:
    r"""$\exp H(p)$ of frequencies p: one if a single code is in use, K if all are equally.

    It grows with the number of vectors that are counted, so perplexities are comparable for equal numbers only.

    Args:
      counts: the number of times that each code was chosen.

    >>> perplexity(jnp.array([3.0, 3.0, 0.0])).round(4).item()
    2.0
    """
    p = counts / jnp.maximum(counts.sum(), 1)
    return jnp.exp(jax.scipy.special.entr(p).sum())


def straight_through(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The value y with the gradient of x. Source: Bengio et al. 2013, section 4."""
    return x + lax.stop_gradient(y - x)


def gumbel_softmax(logits: Float[Array, "*shape k"], temperature: float | Array, key: Key) -> Float[Array, "*shape k"]:
    r"""A code drawn from a categorical distribution, relaxed so that it has a gradient: $\mathrm{softmax}((l + g) / \tau)$.

    The largest entry is that of code k with probability $\mathrm{softmax}(l)_k$ at any temperature. The others vanish as the
    temperature falls.

    Args:
      logits: unnormalised log-probabilities l of the K codes.
      temperature: the temperature tau, above zero.
      key: the key of the Gumbel noise g, or a key for each example.

    Returns:
      Weights of the codes, which add up to one.

    Source: Jang et al. 2017, equation 2; Maddison et al. 2017.
    """
    noise = draw(jax.random.gumbel, key, logits.shape)
    return jax.nn.softmax((logits.astype(jnp.float32) + noise) / temperature, axis=-1)


class VectorQuantiser(nn.Module):
    r"""Quantises vectors by a codebook that is a parameter.

    The loss is $\|\mathrm{sg}(x) - e\|^2 + \beta \|x - \mathrm{sg}(e)\|^2$, as a mean over the numbers of each example. The
    first term draws the codes to the vectors that chose them, the second (the commitment) draws the vectors to their codes.

    Fields:
      codes: the number K of codes.
      features: the dimension D of the vectors.
      commitment: the weight beta of the commitment.
      codebook_init: the initializer of the codebook, `[K, D]`.

    Source: van den Oord et al. 2017, equation 3.
    """

    codes: int
    features: int
    commitment: float = 0.25
    codebook_init: nn.initializers.Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", 1, 0)

    def setup(self) -> None:
        """Makes the codebook."""
        self.codebook = self.param("codebook", self.codebook_init, (self.codes, self.features), jnp.float32)

    def __call__(
        self, x: Float[Array, "b *shape d"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Quantised:
        """Quantises a batch.

        Args:
          x: vectors; the last axis is theirs.
          mask: a mask that is zero for the examples that only fill the batch up; they are not counted.
          train: whether the codebook is trained, which is done here by the gradient of the loss alone.

        Returns:
          The quantised batch.
        """
        x = _checked(x, self.features)
        codes = nearest(x, self.codebook)
        e = vectors_of(codes, self.codebook)
        loss = _mean((lax.stop_gradient(x) - e) ** 2) + self.commitment * _mean((x - lax.stop_gradient(e)) ** 2)
        return Quantised(straight_through(x, e), codes, loss, perplexity(_choices(x, codes, mask, self.codes)[0]))

    def lookup(self, codes: Int[Array, "b *shape"]) -> Float[Array, "b *shape d"]:
        """The vectors of codes, such as those that a prior has drawn; nan for a number that is no code."""
        return vectors_of(codes, self.codebook)


class VectorQuantiserEMA(nn.Module):
    r"""Quantises vectors by a codebook of running averages.

    Let $n_k$ be the number of the batch's vectors that chose code k, and $s_k$ their sum. A training step makes

    $$N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) s_k, \quad
    e_k = \hat m_k / \tilde n_k, \quad
    \tilde n_k = \frac{\hat N_k + \epsilon}{\sum_j \hat N_j + K \epsilon} \sum_j \hat N_j,$$

    where a hat divides by $1 - \gamma^t$ after t steps, because the averages begin at zero. The batch itself is quantised by
    the codebook before the step. The loss is the commitment alone, $\beta \|x - \mathrm{sg}(e)\|^2$.

    The averages lie in the collection `codebook`, which has to be mutable in training, like the statistics of a `BatchNorm`.
    Counts and sums are those of the global batch: replicas add them up before the division, so all have the same codebook.

    With gradient accumulation the layer sees a batch as several micro-batches. If `micro_batches` gives their number, it
    adds up their counts and sums, and moves after the last one to where the whole batch would have moved it. Without it, it
    moves once for each micro-batch, which is another algorithm. The perplexity is always that of a micro-batch.

    The average of a code that is never chosen is zero. With `restart`, such a code becomes one of the batch's vectors (of the
    last micro-batch's), drawn with the rng "sample" from those of all replicas, the same on all of them. Its averages become
    those of a code that was chosen by this vector once a step.

    Fields:
      codes: the number K of codes.
      features: the dimension D of the vectors.
      commitment: the weight beta of the commitment.
      decay: the decay gamma of the averages.
      epsilon: the number that smooths the counts.
      restart: the number of steps in a row without being chosen after which a code is restarted; None never restarts one.
      micro_batches: the number of micro-batches of a step, the `accumulate` of `make_train_step`.
      codebook_init: the initializer of the codebook, `[K, D]`.

    Source: van den Oord et al. 2017, appendix A.1; the division by $1 - \gamma^t$ and the smoothing are those of the authors'
    code (`VectorQuantizerEMA` of Sonnet and Haiku).
    """

    codes: int
    features: int
    commitment: float = 0.25
    decay: float = 0.99
    epsilon: float = 1e-5
    restart: int | None = None
    micro_batches: int = 1
    codebook_init: nn.initializers.Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", 1, 0)

    def setup(self) -> None:
        """Makes the codebook and its averages."""
        shape = (self.codes, self.features)

        def variable(name: str, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
            return self.variable("codebook", name, jnp.zeros, shape, dtype)

        self.vectors: Any = self.variable(
            "codebook", "vectors", lambda: self.codebook_init(self.make_rng("params"), shape, jnp.float32)
        )
        self.counts, self.sums = variable("counts", shape[:1]), variable("sums", shape)
        self.steps = variable("steps", (), jnp.int32)
        if self.restart is not None:
            self.unused = variable("unused", shape[:1], jnp.int32)
        if self.micro_batches > 1:
            self.part = variable("part", (), jnp.int32)
            self.part_counts, self.part_sums = variable("part_counts", shape[:1]), variable("part_sums", shape)

    def __call__(
        self, x: Float[Array, "b *shape d"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Quantised:
        """Quantises a batch.

        Args:
          x: vectors; the last axis is theirs.
          mask: a mask that is zero for the examples that only fill the batch up; they are not counted.
          train: whether the codebook moves.

        Returns:
          The quantised batch.
        """
        x = _checked(x, self.features)
        codes = nearest(x, self.vectors.value)
        e = vectors_of(codes, self.vectors.value)
        counts, sums = _choices(x, codes, mask, self.codes)
        if train and not self.is_initializing():
            self._move(x, mask, counts, sums)
        return Quantised(straight_through(x, e), codes, self.commitment * _mean((x - e) ** 2), perplexity(counts))

    def lookup(self, codes: Int[Array, "b *shape"]) -> Float[Array, "b *shape d"]:
        """The vectors of codes, such as those that a prior has drawn; nan for a number that is no code."""
        return vectors_of(codes, self.vectors.value)

    def _move(self, x: Array, mask: Array | None, counts: Array, sums: Array) -> None:
        """Takes a step of the averages and the codebook, or notes a micro-batch for it."""
        ends: Array | bool = True
        if self.micro_batches > 1:
            counts, sums = counts + self.part_counts.value, sums + self.part_sums.value
            ends = self.part.value == self.micro_batches - 1
            self.part_counts.value, self.part_sums.value = jnp.where(ends, 0, counts), jnp.where(ends, 0, sums)
            self.part.value = jnp.where(ends, 0, self.part.value + 1)

        steps = self.steps.value + 1
        known = 1 - jnp.float32(self.decay) ** steps.astype(jnp.float32)
        new_counts, new_sums = (
            self.decay * old.value + (1 - self.decay) * now for old, now in ((self.counts, counts), (self.sums, sums))
        )
        dead = jnp.zeros(self.codes, bool)
        if self.restart is not None:
            unused = jnp.where(counts > 0, 0, self.unused.value + 1)
            dead = unused >= self.restart
            self.unused.value = jnp.where(ends, jnp.where(dead, 0, unused), self.unused.value)
            others = _drawn(x, mask, self.make_rng("sample"), self.codes)
            new_counts = jnp.where(dead, known, new_counts)
            new_sums = jnp.where(dead[:, None], known * others, new_sums)
        debiased, total = new_counts / known, (new_counts / known).sum()
        smoothed = (debiased + self.epsilon) / (total + self.codes * self.epsilon) * total
        vectors = new_sums / known / smoothed[:, None]
        if self.restart is not None:
            vectors = jnp.where(dead[:, None], others, vectors)
        new = ((self.vectors, vectors), (self.counts, new_counts), (self.sums, new_sums), (self.steps, steps))
        for variable, value in new:
            variable.value = jnp.where(ends, value, variable.value)


def _checked(x: Array, features: int) -> Array:
    if x.shape[-1] != features:
        raise SizeError(
            f"Vectors of {x.shape[-1]} numbers cannot be quantised by codes of {features}; give both the same size."
        )
    return x.astype(jnp.float32)


def _mean(x: Array) -> Float[Array, " b"]:
    """The mean over all of an example."""
    return x.mean(tuple(range(1, x.ndim)))


def _weights(x: Array, mask: Array | None) -> Array:
    """One for each vector, `[B * ...]`; zero for those of examples that the mask leaves out."""
    mask = jnp.ones(len(x)) if mask is None else mask.astype(jnp.float32)
    return jnp.broadcast_to(mask.reshape(-1, *[1] * (x.ndim - 2)), x.shape[:-1]).ravel()


def _choices(x: Array, codes: Array, mask: Array | None, k: int) -> tuple[Array, Array]:
    """The number of vectors of the global batch that chose each code, `[K]`, and their sums, `[K, D]`."""
    # By a product and not by a scatter, which adds in another order each time on a GPU.
    chosen = jax.nn.one_hot(codes.ravel(), k) * _weights(x, mask)[:, None]
    sums = jnp.matmul(chosen.T, lax.stop_gradient(x).reshape(-1, x.shape[-1]), precision="highest")
    return collectives.total((chosen.sum(0), sums))


def _drawn(x: Array, mask: Array | None, key: Key, n: int) -> Array:
    """Vectors of the global batch, drawn at random with replacement: `[n, D]`, the same on all replicas."""
    # The key of the first replica, since each has one of its own.
    data = collectives.gather(jax.random.key_data(key)[None])[0]
    key = jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
    weights, x = _weights(x, mask), lax.stop_gradient(x).reshape(-1, x.shape[-1])
    until = jnp.cumsum(collectives.gather(weights))
    # A product of floats may round up to the total, behind which there is no vector.
    at = jnp.minimum(jax.random.uniform(key, (n,)) * until[-1], jnp.nextafter(until[-1], 0.0))
    rows = jnp.searchsorted(until, at, side="right") - collectives.offset(x)
    here = (rows >= 0) & (rows < len(x))
    return collectives.total(jnp.where(here[:, None], x[jnp.where(here, rows, 0)], 0))
