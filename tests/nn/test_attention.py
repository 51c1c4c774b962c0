"""Attention against its formula, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.nn import Attention, attend


def formula(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    logits = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    if mask is not None:
        logits = np.where(mask[:, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhnm,bmhd->bnhd", weights, v)


@pytest.mark.parametrize("masked", [None, "queries", "keys"])
def test_attend(masked: str | None) -> None:
    q, k, v = normal(2, 5, 3, 4), 3 * normal(2, 6, 3, 4, seed=1), normal(2, 6, 3, 4, seed=2)
    mask = {
        None: None,
        "queries": jnp.tril(jnp.ones((1, 5, 6), bool)),
        "keys": jnp.arange(6)[None, None] < jnp.array([3, 6])[:, None, None],
    }[masked]
    expected = formula(*(np.asarray(x, np.float64) for x in (q, k, v)), None if mask is None else np.asarray(mask))
    np.testing.assert_allclose(attend(q, k, v, mask), expected, atol=1e-5)


def test_softmax_of_half_precision_is_in_float32() -> None:
    # 300 keys of one logit: each weight is below the resolution of bfloat16 next to the others' sum.
    q, k, v = (
        jnp.zeros((1, 1, 1, 2), jnp.bfloat16),
        jnp.zeros((1, 300, 1, 2), jnp.bfloat16),
        jnp.ones((1, 300, 1, 2), jnp.bfloat16),
    )
    out = attend(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1.0, atol=0.01)


def test_attention_to_itself_and_to_a_context() -> None:
    layer, x, context = Attention(2), normal(2, 5, 8), normal(2, 3, 6, seed=1)
    for given in ((x,), (x, context)):
        variables = layer.init(jax.random.key(0), *given)
        p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
        to = np.asarray(given[-1], np.float64)
        q = np.einsum("bnc,chd->bnhd", np.asarray(x, np.float64), p["query"]["kernel"]) + p["query"]["bias"]
        k, v = (np.einsum("bnc,chd->bnhd", to, p[name]["kernel"]) + p[name]["bias"] for name in ("key", "value"))
        expected = np.einsum("bnhd,hdc->bnc", formula(q, k, v), p["out"]["kernel"]) + p["out"]["bias"]
        np.testing.assert_allclose(layer.apply(variables, *given), expected, atol=1e-5)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="8 channels cannot be cut into 3 heads"):
        Attention(3).init(jax.random.key(0), normal(1, 2, 8))
