"""LeNet against its layers written out, and its shapes at any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from scipy.signal import correlate

from jaxgen.models.cnn import LeNet


def shapes(model: LeNet, *shape: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    of = lambda method: jax.eval_shape(lambda v: model.apply(v, jnp.zeros(shape), method=method), variables).shape
    return of("embed"), of("__call__")


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (7, 13, 2), (1, 1, 1)], ids=str)
def test_images_of_any_size_have_features_and_logits(shape: tuple[int, ...]) -> None:
    assert shapes(LeNet(10), 2, *shape) == ((2, 128), (2, 10))
    assert shapes(LeNet(3, (4, 5, 6), (7, 9)), 2, *shape) == ((2, 9), (2, 3))


def test_it_is_its_layers_written_out() -> None:
    model, x = LeNet(3, (4, 5), (6,)), normal(2, 7, 6, 2)
    variables = filled(model, x)
    p = jax.tree.map(np.asarray, variables["params"])
    h = np.asarray(x, np.float64)
    for layer in ("convs_0", "convs_1"):
        kernel, b = p[layer]["kernel"], p[layer]["bias"]
        padded = np.pad(h, ((0, 0), (2, 2), (2, 2), (0, 0)))
        maps = [[correlate(image, kernel[..., o], "valid")[..., 0] + b[o] for o in range(len(b))] for image in padded]
        h = np.maximum(np.moveaxis(np.array(maps), 1, -1), 0)
        rows, columns = -(-h.shape[1] // 2), -(-h.shape[2] // 2)
        h = np.array(
            [[[im[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)) for j in range(columns)] for i in range(rows)] for im in h]
        )
    h = np.maximum(h.reshape(2, -1) @ p["denses_0"]["kernel"] + p["denses_0"]["bias"], 0)
    np.testing.assert_allclose(model.apply(variables, x, method="embed"), h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.apply(variables, x), h @ p["out"]["kernel"] + p["out"]["bias"], rtol=1e-4, atol=1e-5)


def test_dropout_is_of_the_features_in_training_alone() -> None:
    plain, model = LeNet(3, (4,), (50,)), LeNet(3, (4,), (50,), dropout=0.4)
    x = normal(2, 4, 4, 1)
    variables = filled(model, x)
    rngs = {"dropout": jax.random.key(0)}
    np.testing.assert_array_equal(model.apply(variables, x), plain.apply(variables, x))
    identity = jax.tree.map(lambda a: a, variables)
    identity["params"]["out"] = {"kernel": jnp.eye(50), "bias": jnp.zeros(50)}
    wide = LeNet(50, (4,), (50,), dropout=0.4)
    clean = wide.apply(identity, x, method="embed")
    dropped = wide.apply(identity, x, train=True, rngs=rngs)
    kept = np.isclose(dropped, clean / 0.6, rtol=1e-5)
    assert (kept | (np.asarray(dropped) == 0)).all()
    assert 0.4 < kept[np.asarray(clean) > 0].mean() < 0.8
    np.testing.assert_array_equal(wide.apply(identity, x, train=True, method="embed"), clean)


def test_bfloat16_gives_float32_that_is_close() -> None:
    half, full, x = LeNet(3, (4,), (6,), dtype=jnp.bfloat16), LeNet(3, (4,), (6,)), normal(2, 4, 4, 1)
    variables = filled(full, x)
    features = half.apply(variables, x, method="embed")
    assert features.dtype == half.apply(variables, x).dtype == jnp.float32
    reference = full.apply(variables, x, method="embed")
    assert 0 < np.abs(features - reference).max() < 0.02 * np.abs(reference).max()


def test_gradient_of_a_maximum_reaches_one_pixel_of_four() -> None:
    model, x = LeNet(2, (1,), (2,)), jnp.array(np.random.default_rng(0).permutation(16).reshape(1, 4, 4, 1), jnp.float32)
    variables = filled(model, x)
    identity = np.zeros((5, 5, 1, 1), np.float32)
    identity[2, 2] = 1
    variables["params"]["convs_0"] = {"kernel": jnp.array(identity), "bias": jnp.zeros(1)}
    variables["params"]["denses_0"] = {"kernel": jnp.ones((4, 2)), "bias": jnp.zeros(2)}
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x, method="embed").sum()))(x)
    assert sorted(np.asarray(gradient).ravel().tolist()) == [0.0] * 12 + [2.0] * 4


@pytest.mark.parametrize(("padding", "smallest"), [("SAME", 1), ("VALID", 13)])
def test_the_smallest_side_passes_and_a_smaller_one_does_not(padding: str, smallest: int) -> None:
    model = LeNet(3, (4, 5), (6,), padding=padding)
    assert model.smallest_side == smallest
    assert shapes(model, 1, smallest, smallest, 1) == ((1, 6), (1, 3))
    if padding == "VALID":
        variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
        assert variables["params"]["denses_0"]["kernel"].shape == (4 * 4 * 5, 6)
        with pytest.raises((ValueError, TypeError)):
            shapes(model, 1, smallest - 1, smallest - 1, 1)


def test_whole_maps_are_dropped_in_training_alone() -> None:
    """One unit for each of the 2x2 places of 40 maps, all 1: a map's four are there together, twice as large, or not."""
    model, plain = LeNet(2, (40,), (160,), map_dropout=0.5), LeNet(2, (40,), (160,))
    x = jnp.ones((30, 4, 4, 1))
    params = jax.tree.map(jnp.zeros_like, filled(model, x)["params"])
    params["convs_0"]["bias"] = jnp.ones(40)
    params["denses_0"]["kernel"] = jnp.eye(160)
    of = lambda model, train: np.asarray(
        model.apply({"params": params}, x, method="embed", train=train, rngs={"dropout": jax.random.key(0)})
    )
    np.testing.assert_array_equal(of(model, False), of(plain, True))
    maps = of(model, True).reshape(30, 4, 40)
    assert set(np.unique(maps)) == {0.0, 2.0}
    assert (maps == maps[:, :1]).all()
    assert maps.mean() == pytest.approx(1.0, abs=0.1)
