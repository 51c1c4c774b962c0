"""Maxout against the largest of its affine pieces."""

import jax
import jax.numpy as jnp
import numpy as np
from parameters import filled, normal

from jaxgen.nn import Maxout


def test_each_unit_is_the_largest_of_its_pieces() -> None:
    layer, x = Maxout(3, pieces=4), normal(5, 2)
    variables = filled(layer, x)
    kernel, bias = (np.asarray(variables["params"]["Dense_0"][k]) for k in ("kernel", "bias"))
    pieces = np.stack([np.asarray(x) @ kernel[:, i::4][:, :3] + bias[i::4][:3] for i in range(4)], -1)
    np.testing.assert_allclose(layer.apply(variables, x), pieces.max(-1), rtol=1e-5, atol=1e-6)


def test_maxout_can_be_the_absolute_value() -> None:
    layer = Maxout(1, pieces=2)
    params = {"Dense_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(2)}}
    x = normal(7, 1)
    np.testing.assert_allclose(layer.apply({"params": params}, x), jnp.abs(x))
    slope = jax.vmap(jax.grad(lambda x: layer.apply({"params": params}, x[None])[0, 0]))(x)
    np.testing.assert_allclose(slope, jnp.sign(x))
