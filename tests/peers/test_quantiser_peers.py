"""Quantisers against the usual PyTorch programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers

X, TARGET = normal(8, 3, 3, 4), normal(8, 3, 3, 4, seed=1)


def tensor(a):
    return torch.from_numpy(np.array(a))


def test_values_and_straight_through_gradients_are_torchs() -> None:
    layer = VectorQuantiser(6, 4, commitment=0.25)
    codebook = layer.init(jax.random.key(0), X)["params"]["codebook"]

    def ours(codebook: jax.Array, x: jax.Array) -> tuple:
        out = layer.apply({"params": {"codebook": codebook}}, x)
        return (out.loss + ((out.vectors - TARGET) ** 2).mean((1, 2, 3))).mean(), out

    (loss, out), grads = jax.value_and_grad(ours, (0, 1), has_aux=True)(codebook, X)

    x, book = tensor(X).requires_grad_(), tensor(codebook).requires_grad_()
    codes = torch.cdist(x.reshape(-1, 4), book).argmin(1)
    e = F.embedding(codes, book).reshape(x.shape)
    theirs = F.mse_loss(e, x.detach()) + 0.25 * F.mse_loss(x, e.detach())
    passed = x + (e - x).detach()
    theirs = theirs + F.mse_loss(passed, tensor(TARGET))
    theirs.backward()
    np.testing.assert_array_equal(out.codes.ravel(), codes)
    np.testing.assert_allclose(loss, theirs.detach(), rtol=1e-5)
    np.testing.assert_allclose(grads[0], book.grad, atol=1e-6)
    np.testing.assert_allclose(grads[1], x.grad, atol=1e-6)


def test_running_averages_are_those_of_a_torch_program() -> None:
    """The update of the usual PyTorch ports, with the averages debiased as the authors' code does."""
    layer = VectorQuantiserEMA(6, 4, decay=0.9)
    variables = layer.init(jax.random.key(0), X)
    book = tensor(variables["codebook"]["vectors"])
    counts, sums = torch.zeros(6), torch.zeros(6, 4)
    for i in range(1, 21):
        batch = normal(8, 3, 3, 4, seed=i)
        flat = tensor(batch).reshape(-1, 4)
        one_hot = F.one_hot(torch.cdist(flat, book).argmin(1), 6).float()
        _, variables = layer.apply(variables, batch, train=True, mutable=["codebook"])
        counts = 0.9 * counts + 0.1 * one_hot.sum(0)
        sums = 0.9 * sums + 0.1 * one_hot.T @ flat
        n, m = counts / (1 - 0.9**i), sums / (1 - 0.9**i)
        book = m / ((n + 1e-5) / (n.sum() + 6e-5) * n.sum())[:, None]
        np.testing.assert_allclose(variables["codebook"]["vectors"], book, atol=1e-5)
    assert jnp.isfinite(variables["codebook"]["vectors"]).all()


@pytest.mark.parametrize("averages", [False, True])
def test_a_hundred_steps_are_those_of_haiku(averages: bool) -> None:
    """The code of the paper's authors, from the same codebook and with the same batches."""
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    layer = (VectorQuantiserEMA if averages else VectorQuantiser)(16, 4, commitment=0.25)
    variables = layer.init(jax.random.key(0), X)

    def quantised(x: jax.Array) -> dict:
        more = {"decay": 0.99} if averages else {}
        kind = hk.nets.VectorQuantizerEMA if averages else hk.nets.VectorQuantizer
        return kind(4, 16, 0.25, **more)(x, is_training=True)

    theirs = hk.transform_with_state(quantised)
    params, state = theirs.init(jax.random.PRNGKey(0), X)
    (name,) = {name for part in (params, state) for name, leaves in part.items() if "embeddings" in leaves}
    book = (variables["codebook"]["vectors"] if averages else variables["params"]["codebook"]).T
    (state if averages else params)[name]["embeddings"] = book
    run = jax.jit(lambda state, x: theirs.apply(params, state, None, x))
    for i in range(100):
        x = normal(8, 3, 3, 4, seed=i)
        expected, state = run(state, x)
        ours, updated = layer.apply(variables, x, train=True, mutable=["codebook"])
        variables = variables | updated
        np.testing.assert_array_equal(ours.codes, expected["encoding_indices"])
        np.testing.assert_allclose(ours.vectors, expected["quantize"], atol=1e-5)
        np.testing.assert_allclose(ours.loss.mean(), expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(ours.perplexity, expected["perplexity"], rtol=1e-5)
        if averages:
            np.testing.assert_allclose(variables["codebook"]["vectors"], state[name]["embeddings"].T, atol=1e-5)
