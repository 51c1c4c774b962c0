"""The variational information bottleneck's model: both covariances, and the classifier of the code."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.distributions import MultivariateNormal, Normal
from jaxgen.models.autoencoders import mlp
from jaxgen.models.bottleneck import Bottleneck, DiagonalPosterior, FullPosterior

KINDS = pytest.mark.parametrize("kind", [DiagonalPosterior, FullPosterior])


def model(kind: Any, latents: int = 3, dtype: Any = jnp.float32) -> Bottleneck:
    return Bottleneck(mlp.Encoder((8,), dtype=dtype), kind(latents, dtype=dtype), 5, dtype=dtype)


def test_diagonal_posterior_is_a_layer_with_the_papers_widths() -> None:
    h = normal(4, 6)
    variables = filled(DiagonalPosterior(3), h)
    q = DiagonalPosterior(3).apply(variables, h)
    layer = variables["params"]["moments"]
    out = np.asarray(h @ layer["kernel"] + layer["bias"], np.float64)
    np.testing.assert_allclose(q.mean, out[:, :3], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(q.std, np.log1p(np.exp(out[:, 3:] - 5)), rtol=1e-4)


def test_full_posterior_is_lower_triangular_with_the_papers_diagonal() -> None:
    h = normal(4, 6)
    variables = filled(FullPosterior(4), h)
    q = FullPosterior(4).apply(variables, h)
    assert isinstance(q, MultivariateNormal)
    assert q.mean.shape == (4, 4)
    np.testing.assert_array_equal(np.triu(q.scale, 1), 0)
    rho = (h @ variables["params"]["moments"]["kernel"] + variables["params"]["moments"]["bias"])[:, 4:]
    np.testing.assert_allclose(np.diagonal(q.scale, axis1=1, axis2=2), np.log1p(np.exp(rho - 5)), rtol=1e-4)
    # Each output of the other layer has a place of its own.
    lower = np.asarray(h @ variables["params"]["lower"]["kernel"] + variables["params"]["lower"]["bias"])
    assert lower.shape == (4, 6)
    below = np.asarray(q.scale)[:, np.tri(4, k=-1, dtype=bool)]
    np.testing.assert_allclose(np.sort(below), np.sort(lower), rtol=1e-4, atol=1e-6)


def test_full_covariance_without_what_lies_below_the_diagonal_is_the_diagonal_one() -> None:
    h = normal(4, 6)
    variables = filled(FullPosterior(3), h)
    zero = jax.tree.map(jnp.zeros_like, variables["params"]["lower"])
    full = FullPosterior(3).apply({"params": {**variables["params"], "lower": zero}}, h)
    diagonal = DiagonalPosterior(3).apply({"params": {"moments": variables["params"]["moments"]}}, h)
    np.testing.assert_array_equal(full.mean, diagonal.mean)
    np.testing.assert_array_equal(full.scale, np.asarray(diagonal.std)[:, :, None] * np.eye(3))
    np.testing.assert_allclose(full.kl(Normal()), diagonal.kl(Normal()).sum(1), rtol=1e-5)
    np.testing.assert_allclose(full.sample(jax.random.key(0)), diagonal.sample(jax.random.key(0)), rtol=1e-5)


def test_full_posterior_starts_diagonal() -> None:
    h = normal(4, 6)
    q, _ = FullPosterior(3).init_with_output(jax.random.key(0), h)
    np.testing.assert_array_equal(np.tril(q.scale, -1), 0)


def test_a_single_latent_has_no_covariance_to_learn() -> None:
    h = normal(4, 6)
    variables = filled(FullPosterior(1), h)
    full, diagonal = FullPosterior(1).apply(variables, h), DiagonalPosterior(1).apply(variables, h)
    np.testing.assert_array_equal(full.scale[:, :, 0], diagonal.std)


@KINDS
def test_the_call_classifies_the_mean_code_by_one_layer(kind: Any) -> None:
    net, x = model(kind), normal(4, 2, 2, 1)
    variables = filled(net, x)
    z, layer = net.apply(variables, x, method="encode").mean, variables["params"]["decoder"]
    np.testing.assert_allclose(net.apply(variables, x), z @ layer["kernel"] + layer["bias"], rtol=1e-4, atol=1e-6)


@KINDS
def test_distribution_and_logits_are_float32_in_half_precision_too(kind: Any) -> None:
    half, full, x = model(kind, dtype=jnp.bfloat16), model(kind), normal(4, 2, 2, 1)
    variables = filled(half, x)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    q, p = half.apply(variables, x, method="encode"), full.apply(variables, x, method="encode")
    assert {a.dtype for a in q} == {half.apply(variables, x).dtype} == {jnp.dtype(jnp.float32)}
    for ours, theirs in zip(q, p, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.05)
    assert jax.eval_shape(half.encoder.init_with_output, jax.random.key(0), x)[0].dtype == jnp.bfloat16
