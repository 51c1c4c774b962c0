"""A discriminator of packs: each example gets the logit of its pack, in which channels follow one another."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import SizeError
from jaxgen.models.gan.packed import Packed


class Weighted(nn.Module):
    """A discriminator that weighs its channels, whose sum it takes over the pixels."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return jnp.einsum("bhwc,c->b", x, jnp.asarray(10.0 ** np.arange(x.shape[-1]), jnp.float32))


@pytest.mark.parametrize("packing", [1, 2, 3])
def test_a_pack_is_of_consecutive_examples_and_its_logit_is_that_of_each(packing: int) -> None:
    x = normal(6, 4, 2, 2)
    found = np.asarray(Packed(Weighted(), packing).apply({}, x))
    sums = np.asarray(x).sum((1, 2)).reshape(6 // packing, packing * 2)
    expected = sums @ 10.0 ** np.arange(packing * 2)
    np.testing.assert_allclose(found, expected.repeat(packing), rtol=1e-5)


def test_a_batch_that_leaves_a_pack_unfilled_is_refused() -> None:
    with pytest.raises(SizeError, match="5 examples cannot be judged in packs of 2; give a batch size of a multiple"):
        jax.eval_shape(lambda x: Packed(Weighted(), 2).apply({}, x), jnp.zeros((5, 4, 4, 1)))
