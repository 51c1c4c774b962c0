"""The VQ-VAE: its grids of codes, its two halves, and what passes through the codebook."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.vqvae import VQVAE, Decoder, Encoder
from jaxgen.models.vqvae.networks import ResidualStack
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA

K, D = 7, 3
SHAPES = pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (10, 6, 2)], ids=str)
KINDS = pytest.mark.parametrize("kind", [VectorQuantiser, VectorQuantiserEMA], ids=lambda kind: kind.__name__)


def model(
    shape: tuple[int, int, int] = (8, 8, 2), kind: Any = VectorQuantiserEMA, channels: tuple[int, ...] = (4,), **options: Any
) -> VQVAE:
    options = {"blocks": 0, "width": 5, **options}
    own = {"dtype": options["dtype"]} if "dtype" in options else {}
    return VQVAE(Encoder(channels, **options), Decoder(shape, channels[::-1], **options), kind(K, D), **own)


X = normal(5, 8, 8, 2)


def variables(module: VQVAE) -> Any:
    """Parameters, and a codebook of vectors that the encoder makes of X, so that all codes are chosen."""
    made = filled(module, X)
    z = vectors(module, made).reshape(-1, D)
    book = z[:: len(z) // K][:K]
    if "codebook" in made:
        averages = jax.tree.map(jnp.zeros_like, made["codebook"]["quantiser"])
        return {**made, "codebook": {"quantiser": {**averages, "vectors": book}}}
    return {"params": {**made["params"], "quantiser": {"codebook": book}}}


@functools.partial(jax.jit, static_argnums=0, static_argnames=("train", "method", "mutable"))
def apply(module: VQVAE, *inputs: Any, **how: Any) -> Any:
    return module.apply(*inputs, **how)


@jax.jit(static_argnums=0)
def vectors(module: VQVAE, v: Any) -> jax.Array:
    """What the encoder makes of X."""
    bound = module.bind(v)
    return bound.head(bound.encoder(X))


def book_of(tree: Any) -> np.ndarray:
    averages = tree.get("codebook")
    return np.asarray(averages["quantiser"]["vectors"] if averages else tree["params"]["quantiser"]["codebook"])


@SHAPES
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_images_of_any_sides_have_a_grid_of_codes(shape: tuple[int, int, int], levels: int) -> None:
    module = model(shape, channels=(4,) * levels, blocks=0)
    x = jnp.zeros((2, *shape))
    (images, quantised), made = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    grid = tuple(-(-side // 2**levels) for side in shape[:2])
    assert module.grid == grid
    assert (images.shape, images.dtype) == ((2, *shape), jnp.float32)
    assert quantised.codes.shape == (2, *grid)
    codes = jax.eval_shape(lambda v, x: module.apply(v, x, method="encode"), made, x)
    assert (codes.shape, codes.dtype) == ((2, *module.grid), jnp.int32)
    decoded = jax.eval_shape(lambda v, c: module.apply(v, c, method="decode"), made, codes)
    assert decoded.shape == (2, *module.decoder.shape)


@KINDS
def test_codes_are_those_of_the_nearest_vectors_and_images_are_decoded_from_them(kind: Any) -> None:
    module = model(kind=kind)
    v, x = variables(module), X
    images, quantised = apply(module, v, x)
    codes = apply(module, v, x, method="encode")
    assert len(np.unique(codes)) == K
    assert codes.dtype == jnp.int32
    distances = ((np.asarray(vectors(module, v), np.float64)[..., None, :] - book_of(v)) ** 2).sum(-1)
    np.testing.assert_array_equal(codes, distances.argmin(-1))
    np.testing.assert_array_equal(quantised.codes, codes)
    # z + (e - z) rounds.
    np.testing.assert_allclose(images, apply(module, v, codes, method="decode"), atol=1e-5)
    np.testing.assert_array_equal(apply(module, v, x, method="reconstruct"), apply(module, v, codes, method="decode"))
    assert np.isnan(apply(module, v, codes.at[0].set(K), method="decode")[0]).all()
    assert module.quantiser.codes == K


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_only_training_on_reconstructions_moves_the_codebook(method: str) -> None:
    module = model()
    v, x = variables(module), X
    for train in (True, False):
        _, after = apply(module, v, x, train=train, method=method, mutable="codebook")
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after["codebook"], v["codebook"])), strict=True))
    _, after = apply(module, v, x, mutable="codebook")
    np.testing.assert_array_equal(book_of(after), book_of(v))
    (images, _), after = apply(module, v, x, train=True, mutable="codebook")
    assert not np.array_equal(book_of(after), book_of(v))
    # The images are those of the codebook before the step.
    np.testing.assert_array_equal(images, apply(module, v, x)[0])


def test_examples_that_fill_a_batch_up_leave_the_codebook() -> None:
    module = model()
    v, x = variables(module), X
    _, alone = apply(module, v, x[:3], train=True, mutable="codebook")
    _, masked = apply(module, v, x, jnp.array([1.0, 1, 1, 0, 0]), train=True, mutable="codebook")
    np.testing.assert_allclose(book_of(masked), book_of(alone), rtol=1e-5)


@KINDS
def test_the_gradient_of_the_images_passes_straight_through_the_codes(kind: Any) -> None:
    module = model(kind=kind)
    v, x, weight = variables(module), X, normal(5, 8, 8, 2, seed=1)

    def images(params: Any) -> jax.Array:
        return (weight * apply(module, {**v, "params": params}, x)[0]).sum()

    grads = jax.jit(jax.grad(images))(v["params"])
    e = apply(module, v, x)[1].vectors
    by_vectors = jax.jit(jax.grad(lambda e: (weight * module.bind(v).decoder(e)).sum()))(e)
    np.testing.assert_allclose(grads["head"]["bias"], by_vectors.sum((0, 1, 2)), rtol=1e-4, atol=1e-5)
    if kind is VectorQuantiser:  # the codebook learns by the quantiser's loss alone
        assert not np.any(grads["quantiser"]["codebook"])


@KINDS
def test_every_parameter_matters(kind: Any) -> None:
    module = model(kind=kind, channels=(4, 6), blocks=1)
    v, x = variables(module), X

    def loss(params: Any) -> jax.Array:
        images, quantised = apply(module, {**v, "params": params}, x)
        return ((images - x) ** 2).mean() + quantised.loss.mean()

    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(jax.jit(jax.grad(loss))(v["params"])))


def test_a_bfloat16_network_keeps_its_codebook_and_its_images_in_float32() -> None:
    half, full = model(dtype=jnp.bfloat16), model()
    v, x = variables(full), X
    made = jax.eval_shape(half.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype("float32"), np.dtype("int32")}
    images, quantised = apply(half, v, x)
    assert (images.dtype, quantised.vectors.dtype) == (jnp.float32, jnp.float32)
    codes = apply(full, v, x, method="encode")
    assert (quantised.codes == codes).mean() > 0.9
    scale = float(jnp.abs(images).max())
    np.testing.assert_allclose(*(apply(m, v, codes, method="decode") for m in (half, full)), atol=0.05 * scale)


def test_a_residual_stack_ends_with_a_relu() -> None:
    x = normal(2, 4, 4, 3)
    np.testing.assert_array_equal(ResidualStack(0, 5).apply({}, x), np.maximum(x, 0))
    stack = ResidualStack(1, 5)
    v = filled(stack, x)
    centre = jax.tree.map(jnp.zeros_like, v["params"])
    centre["conv3_0"]["kernel"] = centre["conv3_0"]["kernel"].at[1, 1].set(v["params"]["conv3_0"]["kernel"][1, 1])
    centre["conv1_0"] = v["params"]["conv1_0"]
    w3, w1, b1 = (np.asarray(a) for a in (centre["conv3_0"]["kernel"][1, 1], *map(centre["conv1_0"].get, ("kernel", "bias"))))
    inner = np.maximum(np.maximum(x, 0) @ w3, 0)
    np.testing.assert_allclose(stack.apply({"params": centre}, x), np.maximum(x + inner @ w1[0, 0] + b1, 0), atol=1e-5)
