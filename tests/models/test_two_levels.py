"""The VQ-VAE-2: its two grids of codes, which level sees which, and what passes through the codebooks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.vqvae import TwoLevelVQVAE
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA

K, D, E = 6, 3, 2
X = normal(4, 8, 8, 2)


def model(shape: tuple[int, int, int] = (8, 8, 2), kind: Any = VectorQuantiserEMA, **options: Any) -> TwoLevelVQVAE:
    options = {"channels": (8,), "blocks": 0, "width": 5, **options}
    return TwoLevelVQVAE.of(shape, kind(K, E), kind(K, D), **options)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("train", "method", "mutable"))
def apply(module: TwoLevelVQVAE, *inputs: Any, **how: Any) -> Any:
    return module.apply(*inputs, **how)


@functools.cache
def variables(kind: Any = VectorQuantiserEMA) -> Any:
    """Parameters, and codebooks about the vectors that the encoders make of X, so that many codes are chosen."""
    module = model(kind=kind)
    made = filled(module, X)

    def with_books(top: jax.Array, bottom: jax.Array) -> Any:
        if kind is VectorQuantiser:
            books = {"top_quantiser": {"codebook": top}, "quantiser": {"codebook": bottom}}
            return {"params": {**made["params"], **books}}
        zeros = jax.tree.map(jnp.zeros_like, made["codebook"])
        books = {"top_quantiser": top, "quantiser": bottom}
        return {**made, "codebook": {name: {**zeros[name], "vectors": book} for name, book in books.items()}}

    @jax.jit
    def books() -> Any:
        first = module.bind(with_books(jnp.zeros((K, E)), jnp.zeros((K, D))))
        maps, z = first._top(X, False)
        top = z.reshape(-1, E)[:K]
        e = module.bind(with_books(top, jnp.zeros((K, D)))).top_quantiser(z).vectors
        return top, first._bottom(maps, e, False).reshape(-1, D)[:: 64 // K][:K]

    return with_books(*books())


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 20, 3), (5, 7, 2)], ids=str)
@pytest.mark.parametrize("levels", [1, 2])
def test_images_of_any_sides_have_two_grids_of_codes(shape: tuple[int, int, int], levels: int) -> None:
    module, x = model(shape, channels=(4,) * levels), jnp.zeros((2, *shape))
    (images, quantised), made = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    bottom = tuple(-(-side // 2**levels) for side in shape[:2])
    top = tuple(-(-side // 2) for side in bottom)
    assert module.grids == (top, bottom)
    assert (images.shape, images.dtype) == ((2, *shape), jnp.float32)
    assert [quantised[level].codes.shape for level in ("top", "bottom")] == [(2, *top), (2, *bottom)]
    codes = jax.eval_shape(lambda v: module.apply(v, x, method="encode"), made)
    assert [(c.shape, c.dtype) for c in (codes.top, codes.bottom)] == [((2, *top), jnp.int32), ((2, *bottom), jnp.int32)]
    assert jax.eval_shape(lambda v: module.apply(v, *codes_of(codes), method="decode"), made).shape == (2, *shape)


def codes_of(shapes: Any) -> list[jax.Array]:
    return [jnp.zeros(c.shape, jnp.int32) for c in shapes]


def test_codes_are_the_nearest_and_images_are_decoded_from_them() -> None:
    module, v = model(), variables()
    images, quantised = apply(module, v, X)
    codes = apply(module, v, X, method="encode")
    for level, name, size in (("top", "top_quantiser", E), ("bottom", "quantiser", D)):
        own = np.asarray(getattr(codes, level))
        assert len(np.unique(own)) > 2
        np.testing.assert_array_equal(own, quantised[level].codes)
        book = np.asarray(v["codebook"][name]["vectors"])
        assert book.shape == (K, size)
        np.testing.assert_allclose(quantised[level].vectors, book[own], atol=1e-5)
    decoded = apply(module, v, *codes, method="decode")
    np.testing.assert_allclose(images, decoded, atol=1e-5)
    np.testing.assert_array_equal(apply(module, v, X, method="reconstruct"), decoded)
    for level in range(2):
        wrong = [c.at[0, 0, 0].set(K) if i == level else c for i, c in enumerate(codes)]
        assert np.isnan(apply(module, v, *wrong, method="decode")[0]).any()


def test_the_bottom_sees_the_decoded_top_and_the_images_see_both() -> None:
    module, v = model(), variables()
    maps, z = jax.jit(lambda v: module.bind(v)._top(X, False))(v)
    e = module.bind(v).top_quantiser(z).vectors
    bottom = jax.jit(lambda e: module.bind(v)._bottom(maps, e, False))
    assert np.abs(bottom(e + 1) - bottom(e)).max() > 0.1
    top, low = apply(module, v, *apply(module, v, X, method="encode"), method="lookup")
    for moved in ((top + 1, low), (top, low + 1)):
        images = [apply(module, v, *vectors, method="decode_vectors") for vectors in (moved, (top, low))]
        assert np.abs(images[0] - images[1]).max() > 0.1


def test_only_training_on_reconstructions_moves_both_codebooks_and_masked_examples_leave_them() -> None:
    module, v = model(), variables()
    for how in ({"train": True, "method": "encode"}, {"train": False}):
        _, after = apply(module, v, X, mutable="codebook", **how)
        jax.tree.map(np.testing.assert_array_equal, after["codebook"], v["codebook"])
    (images, _), after = apply(module, v, X[:3], train=True, mutable="codebook")
    for name in ("top_quantiser", "quantiser"):
        assert not np.array_equal(after["codebook"][name]["vectors"], v["codebook"][name]["vectors"])
    np.testing.assert_array_equal(images, apply(module, v, X[:3])[0])
    _, masked = apply(module, v, X, jnp.array([1.0, 1, 1, 0]), train=True, mutable="codebook")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), masked["codebook"], after["codebook"])


def test_the_gradient_passes_straight_through_both_levels_and_every_parameter_matters() -> None:
    module, v, weight = model(kind=VectorQuantiser), variables(VectorQuantiser), normal(4, 8, 8, 2, seed=1)
    quantised, shapes = apply(module, v, X)[1], jax.eval_shape(lambda: v["params"])
    top, low = quantised["top"].vectors, quantised["bottom"].vectors

    @jax.jit
    def gradients(params: Any) -> Any:
        def images(params: Any) -> jax.Array:
            return (weight * module.apply({"params": params}, X)[0]).sum()

        def loss(params: Any) -> jax.Array:
            decoded, quantised = module.apply({"params": params}, X)
            return ((decoded - X) ** 2).mean() + sum(q.loss.mean() for q in quantised.values())

        def of_vectors(top: jax.Array, low: jax.Array) -> jax.Array:
            return (weight * module.apply({"params": params}, top, low, method="decode_vectors")).sum()

        return jax.grad(images)(params), jax.grad(loss)(params), jax.grad(of_vectors, argnums=(0, 1))(top, low)

    images, loss, vectors = gradients(v["params"])
    np.testing.assert_allclose(images["head"]["bias"], vectors[1].sum((0, 1, 2)), rtol=1e-4, atol=1e-5)
    # The top codes reach the image directly, and by the bottom codes that were chosen in their light.
    assert np.abs(images["top_head"]["bias"] - vectors[0].sum((0, 1, 2))).max() > 1e-3
    assert np.abs(images["top_decoder"]["first"]["kernel"]).max() > 0
    assert not np.any(images["quantiser"]["codebook"])
    assert jax.tree.structure(loss) == jax.tree.structure(shapes)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(loss))


def test_a_bfloat16_network_keeps_its_codebooks_and_its_images_in_float32() -> None:
    half, v = model(dtype=jnp.bfloat16), variables()
    images, quantised = apply(half, v, X)
    assert {images.dtype, *(q.vectors.dtype for q in quantised.values())} == {np.dtype("float32")}
    codes = apply(model(), v, X, method="encode")
    found = (apply(module, v, *codes, method="decode") for module in (half, model()))
    np.testing.assert_allclose(*found, atol=0.05 * float(jnp.abs(images).max()))
