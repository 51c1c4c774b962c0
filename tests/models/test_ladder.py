"""Hierarchical VAEs: the merge of two laws, the layers' densities, and the networks of the paper's sizes."""

from typing import Any

import flax.linen as nn
import hierarchies
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxgen.distributions import Normal
from jaxgen.models import vae

MEANS, WIDTHS = st.floats(-3, 3), st.floats(0.2, 5)


@given(MEANS, MEANS, WIDTHS, WIDTHS)
def test_the_merge_is_the_product_of_the_densities(m: float, n: float, s: float, t: float) -> None:
    found = vae.merged(Normal(jnp.float32(m), jnp.float32(s)), Normal(jnp.float32(n), jnp.float32(t)))
    x = np.linspace(-2, 2, 5)
    product = stats.norm.logpdf(x, m, s) + stats.norm.logpdf(x, n, t)
    own = stats.norm.logpdf(x, found.mean, found.std)
    np.testing.assert_allclose(own - own[0], product - product[0], rtol=1e-3, atol=1e-3)


def test_the_merge_is_that_of_the_authors_code() -> None:
    # LadderMergeLayer, in variances: (mu_t / v_t + mu_l / v_l) / (1 / v_t + 1 / v_l), 1 / (1 / v_t + 1 / v_l).
    mu_t, v_t, mu_l, v_l = (np.random.default_rng(i).uniform(0.3, 2, (4, 3)) for i in range(4))
    found = vae.merged(Normal(mu_t, np.sqrt(v_t)), Normal(mu_l, np.sqrt(v_l)))
    precision = v_t**-1 + v_l**-1
    np.testing.assert_allclose(found.mean, (mu_t * v_t**-1 + mu_l * v_l**-1) / precision, rtol=1e-6)
    np.testing.assert_allclose(np.square(found.std), precision**-1, rtol=1e-6)


@pytest.mark.parametrize("model", [hierarchies.ladder(), hierarchies.markov()], ids=["ladder", "markov"])
def test_the_key_of_the_module_and_of_the_caller_draw_samples(model: Any) -> None:
    params = model.init(jax.random.key(0), hierarchies.X)
    a, b = (model.apply(params, hierarchies.X, method="infer", rngs={"sample": jax.random.key(i)}) for i in range(2))
    assert [group.z.shape for group in a.groups] == [(6, 3), (6, 3)]
    assert (np.asarray(a.groups[0].z) != np.asarray(b.groups[0].z)).all()
    own = jax.random.split(jax.random.key(3), 6)
    whole = model.apply(params, hierarchies.X, key=own, method="infer")
    part = model.apply(params, hierarchies.X[2:4], key=own[2:4], method="infer")
    for i in range(2):
        np.testing.assert_allclose(part.groups[i].z, whole.groups[i].z[2:4], rtol=1e-5)
    # No two layers share their noise.
    noise = [(np.asarray(group.z) - np.asarray(group.z).mean(0)) for group in whole.groups]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.99


@pytest.mark.parametrize("layer", [0, 1])
def test_layers_above_are_kept_and_those_below_follow_the_prior(layer: int) -> None:
    model = hierarchies.ladder()
    params = model.init(jax.random.key(0), hierarchies.X)
    z = jnp.ones((4000, 3))
    p, values = model.apply(params, z, layer=layer, key=jax.random.key(1), method="decode_from")
    assert len(values) == layer + 1
    np.testing.assert_array_equal(values[layer], z)
    np.testing.assert_allclose(p.mean, values[0] @ (hierarchies.W * hierarchies.BASIS).T, atol=1e-5)
    if layer:
        noise = np.asarray(values[0] - z @ (hierarchies.V * hierarchies.R).T) / hierarchies.TAU
        assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01


def gaussian(units: int, width: int, batch_norm: bool) -> vae.GaussianMLP:
    return vae.GaussianMLP(units, vae.MLP(width, batch_norm=batch_norm), batch_norm)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_gaussian_layer_by_hand(batch_norm: bool) -> None:
    model = gaussian(2, 3, batch_norm)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32)
    made = model.init(jax.random.key(0), x, train=True)
    found, _ = model.apply(made, x, train=True, mutable=["batch_stats"])

    def normalised(h: np.ndarray) -> np.ndarray:
        return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) if batch_norm else h

    params = made["params"]
    h = np.asarray(x)
    for i in range(2):
        h = normalised(h @ np.asarray(params["mlp"][f"Dense_{i}"]["kernel"]))
        h = np.where(h > 0, h, 0.01 * h)
    mean, raw = (normalised(h @ np.asarray(params[f"Dense_{i}"]["kernel"])) for i in range(2))
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)
    np.testing.assert_allclose(np.square(found.std), np.log1p(np.exp(raw + (0 if batch_norm else 1))) + 1e-5, rtol=1e-3)


def count(inference: str, batch_norm: bool) -> int:
    latents, hidden = (64, 32, 16), (512, 256, 128)
    up = tuple(gaussian(n, w, batch_norm) for n, w in zip(latents, hidden, strict=True))
    down, own = (tuple(gaussian(n, w, batch_norm) for n, w in zip(latents[:2], hidden[1:], strict=True)) for _ in range(2))
    parts = (up, down, vae.PixelMLP(vae.MLP(512, batch_norm=batch_norm), (28, 28, 1)), Bare())
    model: nn.Module = vae.MarkovVAE(*parts) if inference == "bottom-up" else vae.LadderVAE(*parts, own)
    made = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(made["params"]))


class Bare(nn.Module):
    def __call__(self, raw: jax.Array) -> jax.Array:
        return raw


@pytest.mark.parametrize("batch_norm", [True, False])
def test_parameters_of_the_papers_sizes(batch_norm: bool) -> None:
    # A dense layer has a bias, or after it batch normalisation has a scale and a shift.
    more = 2 if batch_norm else 1

    def law(n: int, width: int, units: int) -> int:
        return (n + more) * width + (width + more) * width + 2 * (width + more) * units

    up = law(784, 512, 64) + law(64, 256, 32) + law(32, 128, 16)
    down = law(32, 256, 64) + law(16, 128, 32)
    decoder = (64 + more) * 512 + (512 + more) * 512 + 513 * 784
    assert count("ladder", batch_norm) == up + 2 * down + decoder
    # The first layer of the chain from below sees samples, of which there are as many as means.
    assert count("bottom-up", batch_norm) == up + down + decoder
