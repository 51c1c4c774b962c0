"""Files of InceptionV3's weights: what they are told apart by, and what is said of those that are none."""

import hashlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen import UserError
from jaxgen.measuring import inception_v3


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Zeros by the names and shapes that PyTorch's modules have."""
    leaves = jax.tree.leaves_with_path(inception_v3._network())
    shapes = {inception_v3._torch_name([k.key for k in path[1:]]): leaf.shape for path, leaf in leaves}
    return {name: np.zeros(inception_v3._torch_shape(shape), np.float32) for name, shape in shapes.items()}


def test_names_and_shapes_are_the_conversions(tensors: dict[str, np.ndarray]) -> None:
    assert len(tensors) == 94 * 5 + 2  # convolutions with their normalisations, and the logits
    # torchvision's count, less its auxiliary classifier, and with eight classes more.
    parameters = sum(a.size for key, a in tensors.items() if "running" not in key)
    assert parameters == 27_161_264 - 3_326_696 + 8 * 2049
    parts = {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}
    assert {key.removeprefix("Mixed_5c.branch1x1.") for key in tensors if key.startswith("Mixed_5c.branch1x1.")} == parts
    assert tensors["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert tensors["Mixed_6b.branch7x7_2.conv.weight"].shape == (128, 128, 1, 7)
    assert tensors["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)
    assert tensors["fc.weight"].shape == (1008, 2048)
    assert tensors["fc.bias"].shape == (1008,)


def test_kernels_and_matrices_are_turned_around(tensors: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    wide, matrix = "Mixed_6b.branch7x7_2.conv.weight", "fc.weight"
    given = {**tensors, **{key: rng.normal(size=tensors[key].shape).astype(np.float32) for key in (wide, matrix)}}
    given["Mixed_5b.branch1x1.bn.num_batches_tracked"] = np.int64(7)
    params = inception_v3.convert(given, "these")["params"]
    kernel = params["Mixed_6b"]["branch7x7_2"]["kernel"]
    assert kernel.shape == (1, 7, 128, 128)
    assert kernel[0, 5, 17, 99] == given[wide][99, 17, 0, 5]
    assert params["fc"]["kernel"][33, 44] == given[matrix][44, 33]


def test_the_first_wrong_tensor_is_named(tensors: dict[str, np.ndarray]) -> None:
    key = "Mixed_7a.branch3x3_1.bn.bias"
    missing = {k: a for k, a in tensors.items() if k != key}
    with pytest.raises(UserError, match=rf"^mine has no tensor {key}; give the weights of 2015-12-05 as"):
        inception_v3.convert(missing, "mine")
    with pytest.raises(UserError, match=r"^mine has a tensor AuxLogits\.fc\.bias, of which InceptionV3 knows nothing; give"):
        inception_v3.convert({**tensors, "AuxLogits.fc.bias": np.zeros(1000)}, "mine")
    with pytest.raises(
        UserError, match=r"^mine has a tensor fc.weight of shape \[1000, 2048\], which InceptionV3 has of \[1008, 2048\]"
    ):
        inception_v3.convert({**tensors, "fc.weight": np.zeros((1000, 2048))}, "mine")
    with pytest.raises(UserError, match=r"^mine has no tensor Conv2d_1a_3x3\.bn\.bias; "):
        inception_v3.convert({}, "mine")


def test_version_is_the_files_hash(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    found = inception_v3.load(tmp_path / "a.safetensors")
    digest = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert (found.name, found.version) == ("inception", f"{inception_v3.INCEPTION_VERSION}-{digest[:8]}")
    assert not inception_v3.is_reference(found)
    assert inception_v3.is_reference(found._replace(version="9-6726825d"))
    assert not inception_v3.is_reference(found._replace(name="lenet", version="1-6726825d"))
    with pytest.raises(
        UserError, match=r"^The network sees grey or coloured images, and these have 4 channels; give 1 or 3\.$"
    ):
        found.apply(jnp.zeros((1, 8, 8, 4), jnp.uint8))


@pytest.mark.parametrize("keep", [0, 5, 100, -3])
def test_a_truncated_file_is_no_file_of_weights(keep: int, tmp_path: Path) -> None:
    save_file({"fc.bias": np.zeros(1008, np.float32)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(whole[:keep])
    with pytest.raises(
        UserError, match=r"b\.safetensors cannot be read as tensors by their names \(.+\); restore it from a copy\.$"
    ):
        inception_v3.load(tmp_path / "b.safetensors")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^There is no file .*none\.pth; give one of InceptionV3's weights, such as pt_inception-2015"
    ):
        inception_v3.load(tmp_path / "none.pth")
    with pytest.raises(UserError, match=r"^There is no file "):
        inception_v3.load(tmp_path)


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.pth", "a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("a.pth", "a.pt"):
        with pytest.raises(UserError, match=r"takes PyTorch to be read; `pip install torch`, or make a \.safetensors of it"):
            inception_v3.load(tmp_path / name)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        UserError, match=r'takes another package to be read; install it by `pip install "jaxgen\[metrics\]"`\.$'
    ):
        inception_v3.load(tmp_path / "a.safetensors")
