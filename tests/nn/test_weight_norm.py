"""Weight normalisation and the equalised learning rate against numpy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import Conv, ConvTranspose, Equalised, LogWeightNorm, WeightNorm, by_log_scale

X = normal(2, 5, 4, 3)


class Wrapped(nn.Module):
    """A wrapper in a network, in which the layer keeps its name and place."""

    wrapper: type[nn.Module]
    layer: type[nn.Module]
    options: dict

    @nn.compact
    def __call__(self, x):
        return self.wrapper(self.layer(6, **self.options, name="it"), name="it_wrapped")(x)


LAYERS = [(Conv, {"kernel_size": (3, 3)}), (ConvTranspose, {"kernel_size": (4, 4), "strides": (2, 2)}), (nn.Dense, {})]


@pytest.mark.parametrize(("layer", "options"), LAYERS)
def test_weight_norm_has_directions_and_lengths(layer, options) -> None:
    net = Wrapped(WeightNorm, layer, options)
    params = filled(net, X)["params"]
    assert set(params) == {"it", "it_wrapped"}
    assert set(params["it"]) == {"kernel", "bias"}
    v, g = np.asarray(params["it"]["kernel"], np.float64), np.asarray(params["it_wrapped"]["scale"])
    kernel = v / np.sqrt((v**2).sum(tuple(range(v.ndim - 1)))) * g
    expected = layer(6, **options).apply({"params": {**params["it"], "kernel": jnp.asarray(kernel, jnp.float32)}}, X)
    np.testing.assert_allclose(net.apply({"params": params}, X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "options"), LAYERS)
def test_weight_norm_starts_as_the_layer(layer, options) -> None:
    net = Wrapped(WeightNorm, layer, options)
    params = jax.jit(net.init)(jax.random.key(0), X)["params"]
    np.testing.assert_allclose(
        net.apply({"params": params}, X), layer(6, **options).apply({"params": params["it"]}, X), rtol=1e-4, atol=1e-6
    )


def test_the_outermost_transforms_first() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4, use_bias=False, name="it")
            return Equalised(WeightNorm(layer, name="inner"), gain=3.0)(x), WeightNorm(
                Equalised(layer, gain=3.0), name="outer"
            )(x)

    x = normal(2, 5)
    params = filled(Net(), x)["params"]
    first, second = Net().apply({"params": params}, x)
    v = params["it"]["kernel"] / jnp.sqrt(jnp.square(params["it"]["kernel"]).sum(0))
    np.testing.assert_allclose(first, x @ (v * params["inner"]["scale"]), rtol=1e-4)
    np.testing.assert_allclose(second, x @ (v * params["outer"]["scale"]) * 3 / np.sqrt(5), rtol=1e-4)


def test_an_output_without_a_direction_stays_zero_and_finite() -> None:
    x, layer = normal(2, 5), WeightNorm(nn.Dense(2))
    params = filled(layer, x)["params"]
    params["layer"]["kernel"] = params["layer"]["kernel"].at[:, 0].set(0.0)
    loss = lambda params: jnp.square(layer.apply({"params": params}, x)).sum()
    grads = jax.grad(loss)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    np.testing.assert_array_equal(layer.apply({"params": params}, x)[:, 0], params["layer"]["bias"][0])


@pytest.mark.parametrize(("multiplier", "gain"), [(1.0, np.sqrt(2)), (0.01, 1.0)])
def test_equalised_scales_what_is_stored(multiplier: float, gain: float) -> None:
    conv = Conv(6, (3, 3), kernel_init=nn.initializers.normal(1 / multiplier))
    layer = Equalised(conv, gain=gain, multiplier=multiplier)
    params = filled(layer, X)["params"]["layer"]
    used = {"kernel": params["kernel"] * multiplier * gain / np.sqrt(27), "bias": multiplier * params["bias"]}
    found = layer.apply({"params": {"layer": params}}, X)
    np.testing.assert_allclose(found, Conv(6, (3, 3)).apply({"params": used}, X), rtol=1e-4, atol=1e-5)
    # Outputs start with the gain times the size of the inputs.
    x = normal(4, 8, 8, 32)
    wide = Equalised(Conv(64, (3, 3), padding="VALID", kernel_init=conv.kernel_init), gain=gain, multiplier=multiplier)
    out, variables = wide.init_with_output(jax.random.key(0), x)
    assert float(out.std()) == pytest.approx(gain, rel=0.05)
    # What is stored is what was drawn.
    assert float(variables["params"]["layer"]["kernel"].std()) == pytest.approx(1 / multiplier, rel=0.05)


@pytest.mark.parametrize(("layer", "options"), LAYERS)
def test_lengths_by_their_logarithms(layer, options) -> None:
    net = Wrapped(LogWeightNorm, layer, options)
    params = filled(net, X)["params"]
    v, s = np.asarray(params["it"]["kernel"], np.float64), np.asarray(params["it_wrapped"]["log_scale"])
    kernel = np.exp(s) * v / (np.sqrt((v**2).sum(tuple(range(v.ndim - 1)))) + 1e-5)
    expected = layer(6, **options).apply({"params": {**params["it"], "kernel": jnp.asarray(kernel, jnp.float32)}}, X)
    np.testing.assert_allclose(net.apply({"params": params}, X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_logarithms_of_lengths_begin_with_a_gain(gain: float) -> None:
    made = LogWeightNorm(nn.Dense(4), gain).init(jax.random.key(0), X)["params"]
    lengths = np.linalg.norm(np.asarray(made["layer"]["kernel"]), axis=0)
    np.testing.assert_allclose(np.exp(made["log_scale"]), gain * (lengths + 1e-2), rtol=1e-5)


def test_a_kernel_of_zeros_has_a_gradient() -> None:
    found = jax.grad(lambda v: by_log_scale(v, jnp.zeros(2)).sum())(jnp.zeros((3, 2)))
    assert np.isfinite(np.asarray(found)).all()
