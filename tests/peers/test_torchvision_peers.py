"""The trunks of VGG, ResNet and GoogLeNet against torchvision's, whose random weights they take.

pip install --no-deps torchvision, of the version that belongs to the PyTorch that is there: its other dependencies stay out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import cnn
from jaxgen.models.cnn import vgg

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch

pytestmark = pytest.mark.peers


def torchvision_models() -> Any:
    """The package's models; of its compiled operators none is needed, and those that it asks for by name are declared."""
    try:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:  # they are there
        pass
    return pytest.importorskip("torchvision.models")


models = torchvision_models()
SIDE = 64


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)


def seen(theirs: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return theirs(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def randomised(theirs: torch.nn.Module) -> torch.nn.Module:
    """With statistics and gains that are not those of the start."""
    torch.manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return theirs.eval()


def conv(module: torch.nn.Conv2d) -> dict[str, jax.Array]:
    bias = {} if module.bias is None else {"bias": jnp.asarray(module.bias.detach().numpy())}
    return {"kernel": jnp.asarray(module.weight.detach().permute(2, 3, 1, 0).numpy()), **bias}


def norm(module: torch.nn.BatchNorm2d) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and statistics."""
    array = lambda x: jnp.asarray(x.detach().numpy())
    own = {"scale": array(module.weight), "bias": array(module.bias)}
    return {"BatchNorm_0": own}, {"BatchNorm_0": {"mean": array(module.running_mean), "var": array(module.running_var)}}


def compare(ours: Any, params: Any, statistics: Any, theirs: torch.nn.Module, images: np.ndarray) -> None:
    own = jax.eval_shape(lambda: ours.init(jax.random.key(0), jnp.asarray(images)))
    variables = {"params": params, **({"batch_stats": statistics} if statistics else {})}
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, own), "every number has its place"
    out, expected = np.asarray(ours.apply(variables, jnp.asarray(images))), seen(theirs, images)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    print(f"largest error over the largest value: {np.abs(out - expected).max() / np.abs(expected).max():.1e}")


@pytest.mark.parametrize(
    ("name", "stages", "batch_norm"), [("vgg16", vgg.VGG16, False), ("vgg19", vgg.VGG19, False), ("vgg16_bn", vgg.VGG16, True)]
)
def test_vgg(name: str, stages: vgg.Stages, batch_norm: bool, images: np.ndarray) -> None:
    theirs = randomised(getattr(models, name)(weights=None).features)
    convs = [m for m in theirs if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in theirs if isinstance(m, torch.nn.BatchNorm2d)]
    params, statistics = {}, {}
    places = [f"{i}_{j}" for i, stage in enumerate(stages) for j in range(len(stage))]
    for n, place in enumerate(places):
        params[f"conv{place}"] = conv(convs[n])
        if batch_norm:
            params[f"norm{place}"], statistics[f"norm{place}"] = norm(norms[n])
    assert len(convs) == len(places)
    compare(cnn.VGG(stages, batch_norm), params, statistics, theirs, images)


@pytest.mark.parametrize(
    ("name", "blocks", "bottleneck", "large"),
    [
        ("resnet18", (2, 2, 2, 2), False, True),
        ("resnet34", (3, 4, 6, 3), False, True),
        ("resnet50", (3, 4, 6, 3), True, True),
        ("resnet18", (2, 2, 2, 2), False, False),
    ],
)
def test_resnet(name: str, blocks: tuple[int, ...], bottleneck: bool, large: bool, images: np.ndarray) -> None:
    whole = getattr(models, name)(weights=None)
    if not large:
        whole.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    stem = [whole.conv1, whole.bn1, whole.relu, *([whole.maxpool] if large else [])]
    stages = [whole.layer1, whole.layer2, whole.layer3, whole.layer4]
    theirs = randomised(torch.nn.Sequential(*stem, *stages))
    params: dict[str, Any] = {"stem": conv(whole.conv1)}
    statistics: dict[str, Any] = {}
    params["stem_norm"], statistics["stem_norm"] = norm(whole.bn1)
    for i, stage in enumerate(stages):
        for j, block in enumerate(stage):
            own, seen_there = {}, {}
            layers = [(str(k), getattr(block, f"conv{k + 1}"), getattr(block, f"bn{k + 1}")) for k in range(2 + bottleneck)]
            if block.downsample is not None:
                layers.append(("_shortcut", *block.downsample))
            for place, convolution, normalisation in layers:
                own[f"conv{place}"] = conv(convolution)
                own[f"norm{place}"], seen_there[f"norm{place}"] = norm(normalisation)
            params[f"stage{i}_{j}"], statistics[f"stage{i}_{j}"] = own, seen_there
    compare(cnn.ResNet(blocks=blocks, bottleneck=bottleneck, large=large), params, statistics, theirs, images)


def test_googlenet(images: np.ndarray) -> None:
    whole = models.googlenet(weights=None, aux_logits=False, init_weights=False, transform_input=False)
    blocks = [(0, 0, whole.inception3a), (0, 1, whole.inception3b)]
    blocks += [(1, j, getattr(whole, f"inception4{letter}")) for j, letter in enumerate("abcde")]
    blocks += [(2, 0, whole.inception5a), (2, 1, whole.inception5b)]
    parts = (
        *(whole.conv1, whole.maxpool1, whole.conv2, whole.conv3, whole.maxpool2, whole.inception3a, whole.inception3b),
        *(whole.maxpool3, *(block for stage, _, block in blocks if stage == 1), whole.maxpool4),
        *(block for stage, _, block in blocks if stage == 2),
    )
    theirs = randomised(torch.nn.Sequential(*parts))
    params: dict[str, Any] = {}
    statistics: dict[str, Any] = {}

    def unit(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        own, there = norm(module.bn)
        return {"conv": conv(module.conv), "norm": own}, {"norm": there}

    for i, module in enumerate((whole.conv1, whole.conv2, whole.conv3)):
        params[f"stem{i}"], statistics[f"stem{i}"] = unit(module)
    for i, j, block in blocks:
        branches = {"one": block.branch1, "three_in": block.branch2[0], "three": block.branch2[1]}
        branches |= {"five_in": block.branch3[0], "five": block.branch3[1], "pooled": block.branch4[1]}
        both = {name: unit(module) for name, module in branches.items()}
        params[f"block{i}_{j}"] = {name: one for name, (one, _) in both.items()}
        statistics[f"block{i}_{j}"] = {name: other for name, (_, other) in both.items()}
    compare(cnn.GoogLeNet(torchvision=True), params, statistics, theirs, images)
