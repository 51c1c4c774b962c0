"""A class as a text of one token."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.models.diffusion import Captioned, ClassToken

KEY = jax.random.key(0)


def test_it_is_a_row_of_a_table_and_always_there() -> None:
    module, label = ClassToken(10, 6), jnp.array([3, 10, 0])
    variables = module.init(KEY, label)
    table = variables["params"]["embed"]["embedding"]
    vectors, there = module.apply(variables, label)
    assert table.shape == (11, 6)
    np.testing.assert_array_equal(vectors, table[label][:, None])
    assert there.shape == (3, 1)
    assert there.all()


def test_a_withheld_class_is_no_class() -> None:
    module = ClassToken(10, 6)
    vectors, _ = module.apply(module.init(KEY, jnp.zeros(1, jnp.int32)), jnp.array([-1, 11]))
    assert jnp.isnan(vectors).all()


def test_its_numbers_are_512_of_1001_classes_in_latent_diffusion() -> None:
    shapes = jax.eval_shape(ClassToken(1000, 512).init, KEY, jnp.zeros(1, jnp.int32))
    assert [leaf.shape for leaf in jax.tree.leaves(shapes)] == [(1001, 512)]


def test_its_vectors_begin_as_those_of_torch() -> None:
    table = ClassToken(1000, 64).init(KEY, jnp.zeros(1, jnp.int32))["params"]["embed"]["embedding"]
    assert 0.98 < float(table.std()) < 1.02


class Looking(nn.Module):
    """The sum of the vectors that are there."""

    @nn.compact
    def __call__(self, x: Any, time: Any, *, context: Any, mask: Any, train: bool = False) -> Any:
        return x + (context * mask[..., None].astype(x.dtype)).sum((1, 2)).reshape(-1, 1)


def test_a_network_looks_at_it() -> None:
    model, label = Captioned(Looking(), ClassToken(3, 8)), jnp.array([0, 2])
    x, time = jnp.ones((2, 4)), jnp.ones(2)
    variables = model.init(KEY, x, time, label)
    table = variables["params"]["encoder"]["embed"]["embedding"]
    expected = x + table[label].sum(1, keepdims=True)
    np.testing.assert_allclose(model.apply(variables, x, time, label), expected, rtol=1e-5)
