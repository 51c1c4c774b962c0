"""Masked convolutions: their receptive fields are those of a PixelCNN, by gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.nn import Conv, Masked, WeightNorm, raster_mask


def seen(layer: nn.Module, channels: int, side: int = 5) -> np.ndarray:
    """Whether each output `[h, w, o]` depends on each input `[h, w, c]`, by reverse mode."""
    x = normal(1, side, side, channels)
    variables = filled(layer, x)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x[None])[0]))(x[0])
    return np.asarray(jacobian) != 0


def masked(features: int, *, sees_itself: bool, colours: int = 1, size: int = 3, normed: bool = False, **options) -> nn.Module:
    layer = Conv(features, (size, size), **options)
    return Masked(WeightNorm(layer) if normed else layer, raster_mask(sees_itself=sees_itself, colours=colours))


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("sees_itself", [False, True])
@pytest.mark.parametrize("size", [3, 4, 5])
def test_a_pixel_sees_what_comes_before_it_and_itself_with_type_b_alone(size: int, sees_itself: bool, normed: bool) -> None:
    found = seen(masked(2, sees_itself=sees_itself, size=size, normed=normed), 2).any((2, 5)).reshape(25, 25)
    pixels = np.arange(25)
    assert not found[pixels[:, None] < pixels].any()
    assert (found[pixels, pixels] == sees_itself).all()
    # The neighbours to the left and above.
    assert all(found[i, i - 1] and found[i, i - 5] for i in range(6, 25) if i % 5)


@pytest.mark.parametrize("sees_itself", [False, True])
def test_backwards_a_pixel_sees_what_comes_after_it_and_the_order_of_colours_stays(sees_itself: bool) -> None:
    layer = Masked(Conv(4, (3, 3)), raster_mask(sees_itself=sees_itself, colours=2, backwards=True))
    found = seen(layer, 2, side=3)
    pixels = found.any((2, 5)).reshape(9, 9)
    assert not pixels[np.arange(9)[:, None] > np.arange(9)].any()
    assert pixels[4, 5]
    assert pixels[4, 7]
    inside = found[1, 1, :, 1, 1].reshape(2, 2, 2).any(1)
    np.testing.assert_array_equal(inside, [[sees_itself, False], [True, sees_itself]])


@pytest.mark.parametrize("sees_itself", [False, True])
def test_a_colour_sees_the_colours_before_it(sees_itself: bool) -> None:
    found = seen(masked(12, sees_itself=sees_itself, colours=3), 6, side=3)
    inside = found[1, 1, :, 1, 1].reshape(3, 4, 3, 2)  # of the same pixel, by colour
    for output in range(3):
        for source in range(3):
            before = source <= output if sees_itself else source < output
            assert (inside[output, :, source] == before).all()
    assert found[1, 1, :, 1, 0].all()
    assert found[1, 1, :, 0].all()
    assert not found[1, 1, :, 1, 2].any()
    assert not found[1, 1, :, 2].any()


def test_a_network_of_both_types_is_causal_in_pixels_and_colours() -> None:
    net = nn.Sequential(
        [
            masked(6, sees_itself=False, colours=3, size=5),
            nn.tanh,
            masked(9, sees_itself=True, colours=3, dilation=(2, 2)),
            nn.tanh,
            masked(3, sees_itself=True, colours=3, size=1),
        ]
    )
    order = seen(net, 3, side=4).reshape(48, 48)  # pixels row by row, and within each its colours
    assert not np.triu(order).any()
    assert order[47, 46]
    assert order[47, 44]
    assert order[46, 45]
    assert order[1, 0]


def test_the_mask_takes_nothing_from_what_is_stored() -> None:
    x, layer = normal(1, 4, 4, 1), masked(3, sees_itself=False)
    variables = filled(layer, x)
    kernel, bias = (variables["params"]["layer"][name] for name in ("kernel", "bias"))
    assert (kernel != 0).all()
    assert (layer.init(jax.random.key(0), x)["params"]["layer"]["kernel"] != 0).all()
    applied = {"kernel": kernel * raster_mask(sees_itself=False)(kernel.shape), "bias": bias}
    np.testing.assert_allclose(layer.apply(variables, x), Conv(3, (3, 3)).apply({"params": applied}, x), rtol=1e-5, atol=1e-6)


def test_a_mask_of_ones_and_of_a_dense_layer() -> None:
    x = normal(2, 4)
    layer = Masked(nn.Dense(3), lambda shape: np.tri(*shape[::-1]).T)
    variables = filled(layer, x)
    params = variables["params"]["layer"]
    np.testing.assert_allclose(
        layer.apply(variables, x), x @ jnp.asarray(np.triu(params["kernel"])) + params["bias"], rtol=1e-5, atol=1e-6
    )


def test_colours_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(SizeError, match="3 colours do not divide 4 and 6 channels"):
        masked(6, sees_itself=False, colours=3).init(jax.random.key(0), normal(1, 4, 4, 4))
