"""LPIPS against its formula in numpy; `tests/peers/test_lpips_peers.py` holds it against the package `lpips`."""

from typing import Any

import jax
import jax.numpy as jnp
import lpips_files
import numpy as np
import pytest

from jaxgen.errors import SizeError, UserError
from jaxgen.models.cnn import lpips
from jaxgen.models.cnn.vgg import VGG

STAGES = ((3, 4), (5,))
HELD = lpips_files.drawn(STAGES)
PARAMS = lpips.from_torch(dict(reversed(HELD.items())), STAGES)  # the names say the order
X, Y = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, size=(2, 3, 8, 12, 3)), jnp.float32)


def vectors(x: Any) -> Any:
    return lpips.LPIPS(STAGES).apply({"params": PARAMS}, x)


def by_hand(x: Any, y: Any) -> np.ndarray:
    """Equation 1 of the paper: per layer the mean over places of the weighted squared difference of unit vectors."""
    total = np.zeros(len(x))
    mean, std = jnp.array([0.485, 0.456, 0.406]), jnp.array([0.229, 0.224, 0.225])
    maps = [VGG(STAGES).apply({"params": PARAMS["trunk"]}, ((a + 1) / 2 - mean) / std, method="maps") for a in (x, y)]
    for i in range(len(STAGES)):
        a, b = (np.asarray(of[i], np.float64) for of in maps)
        a, b = (m / (np.sqrt((m**2).sum(-1, keepdims=True)) + 1e-10) for m in (a, b))
        total += ((a - b) ** 2 * HELD[f"lin{i}.model.1.weight"].ravel()).sum(-1).mean((1, 2))
    return total


def test_the_squared_distance_of_the_vectors_is_that_of_the_paper() -> None:
    a, b = vectors(X), vectors(Y)
    assert a.shape == (3, 8 * 12 * 4 + 4 * 6 * 5)
    np.testing.assert_allclose(jnp.square(a - b).sum(-1), by_hand(X, Y), rtol=1e-4)


def test_the_convolutions_see_the_numbers_of_the_file() -> None:
    assert [HELD[f"net.slice{s}.weight"].shape[0] for s in ("1.0", "1.2", "2.5")] == [3, 4, 5]
    for name, layer in {"1.0": "conv0_0", "1.2": "conv0_1", "2.5": "conv1_0"}.items():
        np.testing.assert_array_equal(PARAMS["trunk"][layer]["kernel"], HELD[f"net.slice{name}.weight"].transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(PARAMS["trunk"][layer]["bias"], HELD[f"net.slice{name}.bias"])


def test_torchvisions_names_are_known_too() -> None:
    renamed = {f"features.{n.split('.', 2)[2]}" if n.startswith("net.") else n: tensor for n, tensor in HELD.items()}
    assert "features.5.weight" in renamed
    jax.tree.map(np.testing.assert_array_equal, lpips.from_torch(renamed, STAGES), PARAMS)


def test_a_grey_image_is_one_of_three_equal_channels() -> None:
    np.testing.assert_array_equal(vectors(X[..., :1]), vectors(jnp.repeat(X[..., :1], 3, axis=-1)))


def test_the_gradient_is_finite_where_maps_are_zero_and_images_are_the_same() -> None:
    """Biases far below zero: the first maps are zero in all places."""
    dark = {**PARAMS, "trunk": {**PARAMS["trunk"], "conv0_1": {**PARAMS["trunk"]["conv0_1"], "bias": jnp.full(4, -1e6)}}}
    for params in (dark, PARAMS):
        found = lambda x, params=params: lpips.LPIPS(STAGES).apply({"params": params}, x)
        distance = lambda x, found=found: jnp.square(found(x) - found(X)).sum()
        assert distance(X) == 0
        assert np.isfinite(jax.grad(distance)(X)).all()


def test_small_images_are_refused() -> None:
    with pytest.raises(SizeError, match=r"^Images of 8x3 are too small for LPIPS; take images whose sides are 4 or longer\."):
        vectors(X[:, :, :3])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"net.slice2.5.weight": None}, r"^f\.pth has 2 convolutions with names of VGG, and VGG-16 has 3; give the tensors of"),
        (
            {"lin1.model.1.weight": None},
            r"^f\.pth has no lin1\.model\.1\.weight; give the tensors of `lpips\.LPIPS\(net=\"vgg\"\)",
        ),
        (
            {"lin1.model.1.weight": np.ones(4)},
            r"^The tensors of f\.pth have other shapes than those of VGG-16; give the tensors",
        ),
        ({"net.slice2.5.weight": np.ones((5, 3, 3, 3))}, r"^The tensors of f\.pth have other shapes"),
    ],
    ids=["a convolution", "a weight", "another weight", "another convolution"],
)
def test_other_files_are_refused(change: dict[str, Any], sentence: str) -> None:
    held = {name: tensor for name, tensor in {**HELD, **change}.items() if tensor is not None}
    with pytest.raises(UserError, match=sentence):
        lpips.from_torch(held, STAGES, name="f.pth")
