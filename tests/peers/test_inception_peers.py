"""InceptionV3 against torch-fidelity's, both with the same random weights."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fidelity
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen import UserError
from jaxgen.measuring import inception_v3
from jaxgen.models.cnn.inception_v3 import resize

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep the size of the activations from layer to layer."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        "conv.weight": lambda s: rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:])),
        "bn.weight": lambda s: rng.uniform(0.7, 1.3, s),
        "bn.bias": lambda s: 0.1 * rng.normal(size=s),
        "bn.running_mean": lambda s: 0.1 * rng.normal(size=s),
        "bn.running_var": lambda s: rng.uniform(0.7, 1.3, s),
        "fc.weight": lambda s: rng.normal(size=s) / np.sqrt(s[1]),
        "fc.bias": lambda s: rng.normal(size=s),
    }
    leaves = jax.tree.leaves_with_path(inception_v3._network())
    shapes = {inception_v3._torch_name([k.key for k in path[1:]]): inception_v3._torch_shape(x.shape) for path, x in leaves}
    of = lambda name: next(draw for end, draw in drawn.items() if name.endswith(end))
    return {name: of(name)(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, np.ndarray]]:
    """Their network, the file that it was made from, and what is in it."""
    fidelity.load()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    tensors, path = random_tensors(), tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({name: torch.from_numpy(a) for name, a in tensors.items()}, path)
    names = ["2048", "logits_unbiased", "logits"]
    # It takes a dictionary that names every tensor that it has, and no other.
    return FeatureExtractorInceptionV3("theirs", names, feature_extractor_weights_path=str(path)), path, tensors


def pictures(n: int, h: int, w: int, channels: int = 3) -> np.ndarray:
    """Random bytes of many scales, so that no two images look alike to a network."""
    rng = np.random.default_rng(h)
    coarse = rng.uniform(0, 1, (n, 4, 4, channels))
    smooth = np.asarray(jax.image.resize(coarse, (n, h, w, channels), "linear"))
    contrast = np.linspace(0.1, 1, n).reshape(-1, 1, 1, 1)
    return np.clip(255 * contrast * smooth + 80 * contrast[::-1] * rng.normal(size=(n, h, w, channels)), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("shape", [(32, 32), (299, 299), (45, 301)], ids=str)
def test_features_and_logits_are_theirs(both: tuple[Any, Path, dict[str, np.ndarray]], shape: tuple[int, int]) -> None:
    network, path, tensors = both
    images = pictures(3, *shape)
    with torch.no_grad():
        features, unbiased, logits = (a.numpy() for a in network(torch.from_numpy(images.transpose(0, 3, 1, 2))))
    ours = jax.jit(inception_v3.load(path).apply)(images)
    # What is compared tells images apart, and is neither vanishing nor exploding.
    for theirs in (features, unbiased):
        assert 1e-2 < theirs.std() < 1e2
        assert theirs.std(0).mean() > 0.02 * theirs.std()
    np.testing.assert_allclose(ours.features, features, rtol=1e-4, atol=1e-4 * features.std())
    np.testing.assert_allclose(ours.logits, unbiased, rtol=1e-4, atol=1e-4 * unbiased.std())
    np.testing.assert_allclose(np.asarray(ours.logits) + tensors["fc.bias"], logits, rtol=1e-4, atol=1e-4 * logits.std())


def test_a_grey_image_is_three_equal_channels_and_both_files_are_one(
    both: tuple[Any, Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    network, path, tensors = both
    save_file(tensors, tmp_path / "random.safetensors")
    grey = pictures(2, 8, 8, 1)
    with torch.no_grad():
        features = network(torch.from_numpy(grey.repeat(3, -1).transpose(0, 3, 1, 2)))[0].numpy()
    a, b = inception_v3.load(path), inception_v3.load(tmp_path / "random.safetensors")
    assert a.version != b.version
    np.testing.assert_allclose(jax.jit(b.apply)(grey).features, features, rtol=1e-4, atol=1e-4 * features.std())


@pytest.mark.parametrize("shape", [(32, 32), (8, 8), (299, 299), (45, 301), (512, 700), (1, 1)], ids=str)
def test_resizing_is_theirs(shape: tuple[int, int]) -> None:
    fidelity.load()
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as interpolate

    images = pictures(2, *shape).astype(np.float32)
    theirs = interpolate(torch.from_numpy(images.transpose(0, 3, 1, 2)), (299, 299), align_corners=False)
    np.testing.assert_allclose(
        resize(jnp.array(images), (299, 299)), theirs.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-4
    )


def test_a_file_that_brings_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"fc.bias": Code()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"fc.bias": Code()}))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "zip.pth").read_bytes()[:-20])
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    for name in ("zip", "plain", "cut", "list"):
        with pytest.raises(UserError, match=rf"{name}\.pth cannot be read as tensors by their names \(.+\); restore it"):
            inception_v3.load(tmp_path / f"{name}.pth")
    assert not (tmp_path / "ran").exists()
