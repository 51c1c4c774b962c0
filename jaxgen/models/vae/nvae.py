r"""NVAE: a deep hierarchical VAE of convolutions, whose groups of latents are maps (Vahdat and Kautz 2020).

The chain is $p(z_1) \prod_{l > 1} p(z_l | z_{<l})\, p(x | z)$, z_1 at the coarsest scale, and the posterior goes the same way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.distributions import Normal, sum_event
from jaxgen.errors import SizeError
from jaxgen.models.vae.ladder import Group, Inferred
from jaxgen.models.vae.nvae_cells import DecoderCell, EncoderCell, NormedConv
from jaxgen.models.vae.nvae_flows import ShiftFlows
from jaxgen.types import Key

BOUND = 5.0
LEAST_STD = 1e-2
"""The bounds of means and log deviations, and the number that is added to a deviation, as in the authors' code."""

Choose = Callable[[int, Array, Normal, Array], Array]
"""`choose(l, state, prior, raw) -> z`: the latents of group l by the decoder's state, their prior and its raw numbers."""


def soft_clamped(x: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$5 \tanh(x / 5)$, which keeps x between -5 and 5."""
    return BOUND * jnp.tanh(x / BOUND)


def clamped_normal(raw: Float[Array, "*b c2"]) -> Normal:
    r"""The normal law of raw means and log deviations, $\mu = 5 \tanh(m / 5)$, $\sigma = \exp(5 \tanh(s / 5)) + 0.01$.

    Args:
      raw: the numbers m and s, one after the other along the last axis.

    Returns:
      The law, in float32. Of zeros its deviation is 1.01, which so is that of the prior of the first group.

    Source: github.com/NVlabs/NVAE, distributions.py (`Normal`).

    >>> law = clamped_normal(jnp.array([100.0, 0.0]))
    >>> law.mean.item(), round(law.std.item(), 6)
    (5.0, 1.01)
    """
    mean, log_std = jnp.split(soft_clamped(raw.astype(jnp.float32)), 2, axis=-1)
    return Normal(mean, jnp.exp(log_std) + LEAST_STD)


class NVAE(nn.Module):
    r"""The network: an encoder upwards, then a decoder downwards that both the prior and the posterior follow.

    The decoder begins with a learned map. At each group its state gives the prior, and together with what the encoder saw at
    that place the posterior; the latents are then joined to the state. With `residual` the raw numbers of the posterior are
    added to those of the prior, $q = N(\mu_p + \Delta\mu, \sigma_p \Delta\sigma)$, before they are clamped.

    Batch normalisation takes the statistics of the batch in training: with micro-batches those of a micro-batch, which is
    another training. In evaluation and sampling it takes running averages of the encoded data, which fit samples less well, all
    the more at a low temperature (`analysis.batch_statistics`).

    Source: Vahdat & Kautz 2020, figures 2 and 3; github.com/NVlabs/NVAE, model.py.

    Fields:
      shape: the shape (H, W, C) of an image.
      likelihood: the layer from the decoder's numbers to a distribution of images.
      outputs: the numbers that it wants for a pixel.
      groups: the numbers of groups of latents by scale, the coarsest first.
      channels: channels at the full size; they double where the sides halve.
      latents: channels of a group of latents.
      cells: cells of a group, of the encoder and of the decoder.
      blocks: halvings before the finest latents, and doublings behind them.
      block_cells: cells of each of these blocks.
      flows: pairs of steps that bend each group's posterior.
      residual: whether the posterior is relative to the prior.
      squeeze_excite: whether cells scale their channels at the end.
      padding: black pixels on every side that the network sees and the likelihood does not; 2 for MNIST.
      dtype: the dtype of the computation; parameters, normalisations' statistics and laws are float32.
    """

    shape: tuple[int, int, int]
    likelihood: nn.Module
    outputs: int
    groups: Sequence[int] = (5, 10)
    channels: int = 32
    latents: int = 20
    cells: int = 2
    blocks: int = 2
    block_cells: int = 3
    flows: int = 0
    residual: bool = True
    squeeze_excite: bool = True
    padding: int = 0
    dtype: Any = jnp.float32

    @property
    def scale_of_group(self) -> tuple[int, ...]:
        """The number of the scale of each group, 0 for the coarsest."""
        return tuple(scale for scale, n in enumerate(self.groups) for _ in range(n))

    @property
    def coarsest(self) -> tuple[int, int]:
        """The sides of the maps of the first group."""
        factor = 2 ** (self.blocks + len(self.groups) - 1)
        sides = [n + 2 * self.padding for n in self.shape[:2]]
        if any(n % factor for n in sides):
            raise SizeError(
                f"{self.blocks} blocks and {len(self.groups)} scales of latents do not halve sides of "
                f"{sides[0]}x{sides[1]} evenly; take images or a padding by which {factor} divides the sides, fewer blocks, or "
                "fewer scales."
            )
        return sides[0] // factor, sides[1] // factor

    def setup(self) -> None:
        """Makes the layers. Lists are in the order of use: upwards for the encoder, downwards for the rest."""
        scales, of = len(self.groups), self.scale_of_group
        some = {"squeeze_excite": self.squeeze_excite, "dtype": self.dtype}
        widths = [self.channels * 2 ** (self.blocks + scales - 1 - scale) for scale in range(scales)]

        def conv(n: int, size: int = 1) -> NormedConv:
            return NormedConv(n, (size, size), dtype=self.dtype)

        self.stem = conv(self.channels, 3)
        pre, post = [], []
        for block in range(self.blocks):
            width = self.channels * 2**block
            pre += [EncoderCell(width, **some) for _ in range(self.block_cells - 1)]
            pre.append(EncoderCell(2 * width, halves=True, **some))
            width = self.channels * 2 ** (self.blocks - 1 - block)
            post.append(DecoderCell(width, 3, doubles=True, **some))
            post += [DecoderCell(width, 3, **some) for _ in range(self.block_cells - 1)]
        self.pre, self.post = pre, post
        self.up = [EncoderCell(widths[scale], **some) for scale in reversed(of) for _ in range(self.cells)]
        self.halve = [EncoderCell(widths[scale - 1], halves=True, **some) for scale in range(scales - 1, 0, -1)]
        self.top = conv(widths[0])
        self.down = [DecoderCell(widths[scale], **some) for scale in of[1:] for _ in range(self.cells)]
        self.double = [DecoderCell(widths[scale], doubles=True, **some) for scale in range(1, scales)]
        self.seen = [conv(widths[scale]) for scale in of[1:]]
        self.joined = [conv(widths[scale]) for scale in of]
        self.posteriors = [conv(2 * self.latents, 3) for _ in of]
        self.priors = [conv(2 * self.latents) for _ in of[1:]]
        if self.flows:
            self.bends = [ShiftFlows(self.flows, self.dtype) for _ in of]
        self.start = self.param("start", nn.initializers.uniform(1.0), (*self.coarsest, widths[0]), jnp.float32)
        self.image = conv(self.outputs, 3)

    def infer(self, x: Float[Array, "b h w c"], *, key: Key | None = None, train: bool = False) -> Inferred:
        """A sample of all groups, their densities, and the likelihood.

        Args:
          x: the images, in the pixels of the likelihood.
          key: the key of the samples: one, or a key for each example, `[B]`; None is the module's key "sample".
          train: whether batch statistics are those of the batch.

        Returns:
          The likelihood and the groups, in the order in which they are drawn. The KL is in closed form, but log q - log p at
          the sample where flows bend the posterior.
        """
        key = self.make_rng("sample") if key is None else key
        seen = self._upwards(x, train)
        groups: list[Group] = []

        def inferred(number: int, state: Array, prior: Normal, raw: Array) -> Array:
            features = seen[number] if number == 0 else seen[number] + self.seen[number - 1](state)
            own = self.posteriors[number](features).astype(jnp.float32)
            law = clamped_normal(raw + own if self.residual else own)
            z = law.sample(keys.fold_in(key, number))
            log_q = law.log_prob(z)
            if self.flows:
                z = self.bends[number](z)
            log_p = prior.log_prob(z)
            groups.append(Group(z, sum_event(log_q), sum_event(log_p), log_q - log_p if self.flows else law.kl(prior)))
            return z

        likelihood = self._downwards(x.shape[0], inferred, train)
        return Inferred(likelihood, tuple(groups))

    def generate(
        self,
        n: int,
        *,
        key: Key | None = None,
        temperature: float | Array = 1.0,
        kept: Sequence[Float[Array, "..."]] = (),
        train: bool = False,
    ) -> tuple[Any, tuple[Array, ...]]:
        """Draws latents by their priors, and gives the likelihood.

        Args:
          n: the number of images.
          key: the key of the latents: one, or a key for each image, `[n]`; None is the module's key "sample".
          temperature: the factor of the deviations of all priors.
          kept: the latents of the first groups; only those after them are drawn.
          train: whether batch statistics are those of the batch.

        Returns:
          The likelihood, and the latents of the groups.
        """
        key = self.make_rng("sample") if key is None else key
        drawn: list[Array] = []

        def chosen(number: int, state: Array, prior: Normal, raw: Array) -> Array:
            law = Normal(prior.mean, temperature * prior.std)
            drawn.append(kept[number] if number < len(kept) else law.sample(keys.fold_in(key, number)))
            return drawn[-1]

        likelihood = self._downwards(n, chosen, train)
        return likelihood, tuple(drawn)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Any:
        """The likelihood at a sample with a fixed key; what `init` traces."""
        return self.infer(x, key=jax.random.key(0), train=train).likelihood

    def _upwards(self, x: Array, train: bool) -> list[Array]:
        """The features of the encoder at each group, the coarsest first."""
        black, white = getattr(self.likelihood, "pixels", (0.0, 1.0))
        x = 2 * (x - black) / (white - black) - 1
        sides = ((self.padding, self.padding),) * 2
        s = self.stem(jnp.pad(x, ((0, 0), *sides, (0, 0)), constant_values=-1.0))
        for cell in self.pre:
            s = cell(s, train=train)
        of, seen = self.scale_of_group[::-1], []
        for i, scale in enumerate(of):
            if i and of[i - 1] != scale:
                s = self.halve[of[0] - of[i - 1]](s, train=train)
            for cell in self.up[i * self.cells : (i + 1) * self.cells]:
                s = cell(s, train=train)
            seen.append(s)
        seen[-1] = nn.elu(self.top(nn.elu(seen[-1])))
        return seen[::-1]

    def _downwards(self, n: int, choose: Choose, train: bool) -> Any:
        """The likelihood, by the latents that are chosen."""
        of = self.scale_of_group
        s = jnp.broadcast_to(self.start.astype(self.dtype), (n, *self.start.shape))
        raw: Array = jnp.zeros((n, *self.coarsest, 2 * self.latents), jnp.float32)
        for i, scale in enumerate(of):
            if i:
                if of[i - 1] != scale:
                    s = self.double[scale - 1](s, train=train)
                for cell in self.down[(i - 1) * self.cells : i * self.cells]:
                    s = cell(s, train=train)
                raw = self.priors[i - 1](nn.elu(s)).astype(jnp.float32)
            z = choose(i, s, clamped_normal(raw), raw)
            s = self.joined[i](jnp.concatenate([s, z.astype(self.dtype)], axis=-1))
        for cell in self.post:
            s = cell(s, train=train)
        s = self.image(nn.elu(s))
        p = self.padding
        return self.likelihood(s[:, p : s.shape[1] - p, p : s.shape[2] - p])


def adaptive_groups(finest: int, scales: int, *, least: int = 1) -> tuple[int, ...]:
    """Groups by scale, half as many at every coarser one.

    Args:
      finest: the groups at the finest scale.
      scales: the number of scales.
      least: groups of a scale at least.

    Returns:
      The numbers of groups, the coarsest scale first.

    Source: github.com/NVlabs/NVAE, utils.py (`groups_per_scale`), `--ada_groups`.

    >>> adaptive_groups(10, 2), adaptive_groups(5, 4, least=2)
    ((5, 10), (2, 2, 2, 5))
    """
    return tuple(max(finest // 2**scale, least if scale else 1) for scale in reversed(range(scales)))
