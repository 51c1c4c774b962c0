"""PixelCNN++: shifted convolutions over images at several scales, with a mixture of logistics for each pixel."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.distributions import LogisticMixture
from jaxgen.errors import SizeError
from jaxgen.models.autoregressive.causal import GatedResidual
from jaxgen.models.autoregressive.label import check_label
from jaxgen.models.autoregressive.rows import margins
from jaxgen.nn import Conv, ConvTranspose, LogisticMixtureLikelihood, WeightNorm


def concatenated_elu(x: Float[Array, "*b c"]) -> Float[Array, "*b c2"]:
    """ELU of x and of -x, as twice as many channels.

    Args:
      x: maps.

    Source: Salimans et al. 2017, github.com/openai/pixel-cnn, nn.py; Shang et al. 2016 for ReLU.

    >>> concatenated_elu(jnp.array([2.0, 3.0]))[:2].tolist()
    [2.0, 3.0]
    """
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))


class ShiftedConv(nn.Module):
    """A convolution with weight normalisation that sees its own row and those above, and both sides or none of the right.

    It sees its own position too: a network is causal whose first layers move their outputs down, or to the right.

    Fields:
      features: the number of output channels.
      kernel: height and width of the kernel.
      right: whether it looks to the left alone; otherwise it sees as many columns on either side.
      strides: the steps in both directions.
      gain: the factor of the weights at the start.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Salimans et al. 2017, section 2.3, and github.com/openai/pixel-cnn, nn.py (`down_shifted_conv2d`,
    `down_right_shifted_conv2d`).
    """

    features: int
    kernel: tuple[int, int]
    right: bool = False
    strides: int = 1
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves whole maps."""
        height, width = self.kernel
        sides = {"left": width - 1} if self.right else {"left": (width - 1) // 2, "right": (width - 1) // 2}
        start = nn.initializers.variance_scaling(self.gain**2, "fan_in", "uniform")
        both = (self.strides, self.strides)
        own: dict[str, Any] = {"dtype": self.dtype, "parent": None}  # its parameters are those of the normalisation
        conv = Conv(self.features, self.kernel, both, padding="VALID", kernel_init=start, **own)
        return WeightNorm(conv, name="conv")(margins(x, top=height - 1, **sides))


class ShiftedConvTranspose(nn.Module):
    """The transposed convolution that doubles the sides after a `ShiftedConv` of stride two has halved them.

    Fields:
      features: the number of output channels.
      kernel: height and width of the kernel.
      right: whether it belongs to a convolution that looks to the left alone.
      dtype: the dtype of the computation; the parameters are float32.

    Source: github.com/openai/pixel-cnn, nn.py (`down_shifted_deconv2d`, `down_right_shifted_deconv2d`).
    """

    features: int
    kernel: tuple[int, int]
    right: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Enlarges whole maps."""
        height, width = self.kernel
        left = 0 if self.right else (width - 1) // 2
        pads = ((0, height - 2), (left, width - 2 - left))
        own: dict[str, Any] = {"dtype": self.dtype, "parent": None}
        return WeightNorm(ConvTranspose(self.features, self.kernel, (2, 2), padding=pads, **own), name="conv")(x)


class PixelCNNPlusPlus(nn.Module):
    r"""Two streams of gated residual blocks through a U: one sees the rows above, the other also the pixels to the left.

    $p(x | y) = \prod_i p(x_i | x_1 ... x_{i-1}, y)$ over pixels, row by row. A pixel has a mixture of logistics whose colours
    depend on one another linearly, so the network needs no order of the colours. On the way down blocks follow one another and
    convolutions of stride two halve the sides; on the way back every block gets the maps of its mirror image by a short cut.
    The second stream sees the first one in each block. The first layers shift their outputs; all others see their own position.

    Fields:
      head: the likelihood of a pixel.
      width: the channels of each stream.
      blocks: the number of residual blocks of a scale, on the way down.
      scales: the number of scales; each but the last halves the sides.
      classes: the number of classes that the model is conditioned on; 0 for an unconditional model.
      dropout: share of the values before a block's second convolution that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Salimans et al. 2017; github.com/openai/pixel-cnn, model.py.
    """

    head: LogisticMixtureLikelihood
    width: int = 160
    blocks: int = 5
    scales: int = 3
    classes: int = 0
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool = False
    ) -> LogisticMixture:
        """The laws of all pixels, each given the pixels before it and the colours before it.

        Args:
          x: images in [-1, 1].
          label: the classes of the images, for a model that is conditioned on them.
          train: whether values are dropped, which the rng "dropout" draws.

        Raises:
          SizeError: if the sides cannot be halved as often as there are scales below the first.
        """
        check_label(self.classes, label)
        factor = 2 ** (self.scales - 1)
        if x.shape[1] % factor or x.shape[2] % factor:
            raise SizeError(
                f"Sides of {x.shape[1]}x{x.shape[2]} are not halved evenly by {self.scales} scales; take fewer scales, or "
                f"images whose sides {factor} divides."
            )
        y = None if label is None else jax.nn.one_hot(label, self.classes, dtype=self.dtype)[:, None, None]
        conv = functools.partial(ShiftedConv, dtype=self.dtype)

        def block(name: str, h: Array, seen: Array | None, *, right: bool) -> Array:
            def made(gain: float) -> Callable[[int], nn.Module]:
                # Without a parent: it belongs to the block that makes it.
                return lambda features: conv(features, (2, 2 if right else 3), right, gain=gain, parent=None)

            layer = GatedResidual(
                self.width,
                self.width,
                dropout=self.dropout,
                dtype=self.dtype,
                activation=concatenated_elu,
                conv=(made(1.0), made(0.1)),
                name=name,
            )
            return layer(h, attended=seen, condition=y, train=train)

        # A channel of ones tells images from the zeros around them.
        x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1).astype(self.dtype)
        above = _down(conv(self.width, (2, 3), name="first_above")(x))
        row = _down(conv(self.width, (1, 3), name="first_row")(x))
        left = row + _right(conv(self.width, (2, 1), True, name="first_left")(x))
        maps = [(above, left)]
        for scale in range(self.scales):
            if scale:
                above = conv(self.width, (2, 3), strides=2, name=f"halve{scale}_above")(above)
                left = conv(self.width, (2, 2), True, strides=2, name=f"halve{scale}_left")(left)
                maps.append((above, left))
            for i in range(self.blocks):
                above = block(f"in{scale}_{i}_above", above, None, right=False)
                left = block(f"in{scale}_{i}_left", left, above, right=True)
                maps.append((above, left))
        above, left = maps.pop()
        for scale in reversed(range(self.scales)):
            if scale < self.scales - 1:
                double = functools.partial(ShiftedConvTranspose, self.width, dtype=self.dtype)
                above = double((2, 3), name=f"double{scale}_above")(above)
                left = double((2, 2), True, name=f"double{scale}_left")(left)
            for i in range(self.blocks + (scale < self.scales - 1)):
                cut_above, cut_left = maps.pop()
                above = block(f"out{scale}_{i}_above", above, cut_above, right=False)
                left = block(f"out{scale}_{i}_left", left, jnp.concatenate([above, cut_left], axis=-1), right=True)
        out = WeightNorm(Conv(self.head.numbers(x.shape[-1] - 1), (1, 1), dtype=self.dtype, parent=None), name="out")
        raw = out(jax.nn.elu(left))
        return self.head(raw.astype(jnp.float32))


def pixelcnn_pp_cifar10(**fields: Any) -> PixelCNNPlusPlus:
    """The paper's network for CIFAR-10, of 54 million parameters.

    Args:
      **fields: other fields of `PixelCNNPlusPlus`, such as the classes.

    Source: Salimans et al. 2017, section 3, and the defaults of github.com/openai/pixel-cnn, train.py.
    """
    return PixelCNNPlusPlus(LogisticMixtureLikelihood(10), **{"width": 160, "blocks": 5, "scales": 3, "dropout": 0.5, **fields})


def _down(y: Array) -> Array:
    """The maps one row lower, with zeros above."""
    return margins(y[:, :-1], top=1)


def _right(y: Array) -> Array:
    """The maps one column further right, with zeros to the left."""
    return margins(y[:, :, :-1], left=1)
