"""LPIPS against the package of the paper's authors, with its own weights of the channels and a random VGG-16.

pip install --no-deps lpips && pytest -m peers tests/peers/test_lpips_peers.py
"""

import sys
import types
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import authors

from jaxgen.models.cnn.lpips import LPIPS, from_torch
from jaxgen.models.cnn.vgg import VGG16

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

X, Y = np.random.default_rng(0).uniform(-1, 1, size=(2, 2, 48, 40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def theirs() -> Any:
    models = types.SimpleNamespace(vgg16=lambda **_: authors.torchvisions_vgg(VGG16))
    stub: Any = types.ModuleType("torchvision")
    stub.models = models
    with mock.patch.dict(sys.modules, {"torchvision": stub, "torchvision.models": models}):  # type: ignore[dict-item]
        package = pytest.importorskip("lpips", reason="`pip install --no-deps lpips`")
        torch.manual_seed(0)
        return package.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()


def nchw(x: np.ndarray) -> Any:
    return torch.from_numpy(x).permute(0, 3, 1, 2).clone()


def test_the_distance_and_its_gradient(theirs: Any) -> None:
    params = from_torch({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert float(params["weight0"].min()) >= 0

    def distance(x: Any) -> Any:
        a, b = (LPIPS().apply({"params": params}, image) for image in (x, jnp.asarray(Y)))
        return jnp.square(a - b).sum(-1)

    x = nchw(X).requires_grad_()
    expected = theirs(x, nchw(Y)).flatten()
    expected.sum().backward()
    np.testing.assert_allclose(distance(jnp.asarray(X)), expected.detach().numpy(), rtol=1e-4)
    found = jax.grad(lambda x: distance(x).sum())(jnp.asarray(X))
    wanted = x.grad.permute(0, 2, 3, 1).numpy()
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
