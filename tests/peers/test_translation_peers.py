"""The translators and the patch discriminator against the same networks of PyTorch's layers, with the same random parameters.

The structures are those of `UnetGenerator`, `ResnetGenerator(no_antialias=True, no_antialias_up=True)` and
`NLayerDiscriminator(no_antialias=True)` in models/networks.py of github.com/taesungp/contrastive-unpaired-translation.
"""

from typing import Any

import jax
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.translation import PatchDiscriminator, ResnetTranslator, UNetTranslator

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers


class UNet(torch.nn.Module):
    def __init__(self, downs: int, width: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downs = downs
        widths = [width * min(2**i, 8) for i in range(downs)]
        bias = [i in (0, downs - 1) for i in range(downs)]
        sides = zip([inputs, *widths], widths, bias, strict=False)
        self.down = torch.nn.ModuleList(torch.nn.Conv2d(a, b, 4, 2, 1, bias=with_bias) for a, b, with_bias in sides)
        self.down_norm = torch.nn.ModuleList(torch.nn.BatchNorm2d(n) for n in widths[1:-1])
        shown = [n if i == downs - 1 else 2 * n for i, n in enumerate(widths)]
        made = [outputs, *widths[:-1]]
        innermost_first = reversed(range(downs))
        self.up = torch.nn.ModuleList(
            torch.nn.ConvTranspose2d(shown[i], made[i], 4, 2, 1, bias=i == 0) for i in innermost_first
        )
        self.up_norm = torch.nn.ModuleList(torch.nn.BatchNorm2d(n) for n in reversed(made[1:]))

    def forward(self, x: Any) -> Any:
        maps = [self.down[0](x)]
        for i in range(1, self.downs):
            h = self.down[i](F.leaky_relu(maps[-1], 0.2))
            maps.append(self.down_norm[i - 1](h) if i < self.downs - 1 else h)
        h = maps.pop()
        for up, norm in zip(self.up, self.up_norm, strict=False):
            h = torch.cat([maps.pop(), norm(up(torch.relu(h)))], 1)
        return torch.tanh(self.up[-1](torch.relu(h)))


class Block(torch.nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = lambda: [torch.nn.ReflectionPad2d(1), torch.nn.Conv2d(channels, channels, 3), torch.nn.InstanceNorm2d(channels)]
        self.inner = torch.nn.Sequential(*conv(), torch.nn.ReLU(), *conv())

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


def resnet(blocks: int, width: int, inputs: int, outputs: int) -> Any:
    torch_nn, after = torch.nn, lambda channels: [torch.nn.InstanceNorm2d(channels), torch.nn.ReLU()]
    parts: list[Any] = [torch_nn.ReflectionPad2d(3), torch_nn.Conv2d(inputs, width, 7), *after(width)]
    for channels in (width, 2 * width):
        parts += [torch_nn.Conv2d(channels, 2 * channels, 3, 2, 1), *after(2 * channels)]
    parts += [Block(4 * width) for _ in range(blocks)]
    for channels in (4 * width, 2 * width):
        up = torch_nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1)
        parts += [up, *after(channels // 2)]
    return torch_nn.Sequential(*parts, torch_nn.ReflectionPad2d(3), torch_nn.Conv2d(width, outputs, 7), torch_nn.Tanh())


def patches(layers: int, width: int, inputs: int, *, instance: bool = False) -> Any:
    strides = [2] * layers + [1] if layers else [1, 1]
    size, pad = (4, 1) if layers else (1, 0)
    parts: list[Any] = []
    for i, stride in enumerate(strides):
        channels = width * min(2**i, 8)
        parts.append(torch.nn.Conv2d(inputs, channels, size, stride, pad, bias=instance or i == 0))
        norm = torch.nn.InstanceNorm2d if instance else torch.nn.BatchNorm2d
        parts += [norm(channels)] * (i > 0) + [torch.nn.LeakyReLU(0.2)]
        inputs = channels
    return torch.nn.Sequential(*parts, torch.nn.Conv2d(inputs, 1, size, 1, pad))


def pairs(module: Any, params: Any) -> list[tuple[Any, Any]]:
    """Each of PyTorch's layers with our parameters of it: those of one kind come in the order in which they are computed."""
    of = {
        kind: [m for m in module.modules() if isinstance(m, kind)]
        for kind in (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d)
    }
    # In a residual translator: `in`, then `down`, then the blocks, and `out` last; each by its number.
    order = {"in": 0, "down": 1, "conv": 1, "block": 2, "head": 3, "out": 3}
    place = lambda name: next((at for start, at in order.items() if name.startswith(start)), 1)
    number = lambda name: (place(name), int("".join(c for c in name if c.isdigit()) or 0))
    norms = sorted((n for n in params if "norm" in n), key=lambda n: (n[0] == "u", (-1) ** (n[0] == "u") * number(n)[1]))
    rest = sorted((name for name in params if "norm" not in name), key=number)
    downs, ups = [n for n in rest if not n.startswith("up")], [n for n in reversed(rest) if n.startswith("up")]
    names = [*downs, *ups, *norms]
    layers = [*of[torch.nn.Conv2d], *of[torch.nn.ConvTranspose2d], *of[torch.nn.BatchNorm2d]]
    return list(zip(layers, names, strict=True))


def copy(module: Any, variables: Any) -> None:
    """Gives PyTorch's layers our parameters and running statistics."""
    with torch.no_grad():
        for layer, name in pairs(module, variables["params"]):
            own = variables["params"][name]
            if isinstance(layer, torch.nn.BatchNorm2d):
                own, statistics = own["BatchNorm_0"], variables["batch_stats"][name]["BatchNorm_0"]
                layer.weight.copy_(tensor(own["scale"]))
                layer.running_mean.copy_(tensor(statistics["mean"]))
                layer.running_var.copy_(tensor(statistics["var"]))
            else:
                order = (2, 3, 0, 1) if isinstance(layer, torch.nn.ConvTranspose2d) else (3, 2, 0, 1)
                layer.weight.copy_(tensor(own["kernel"], *order))
            if layer.bias is not None:
                layer.bias.copy_(tensor(own["bias"]))


def gradients(module: Any, params: Any) -> dict[str, Any]:
    """The gradients of PyTorch's layers as our parameters have them."""
    found = {}
    for layer, name in pairs(module, params):
        if isinstance(layer, torch.nn.BatchNorm2d):
            found[name] = {"BatchNorm_0": {"scale": layer.weight.grad.numpy(), "bias": layer.bias.grad.numpy()}}
        else:
            order = (2, 3, 0, 1) if isinstance(layer, torch.nn.ConvTranspose2d) else (2, 3, 1, 0)
            found[name] = {"kernel": layer.weight.grad.permute(*order).numpy()}
            if layer.bias is not None:
                found[name]["bias"] = layer.bias.grad.numpy()
    return found


def tensor(a: Any, *order: int) -> Any:
    return torch.from_numpy(np.array(a.transpose(*order) if order else a))


def compare(ours: Any, theirs: Any, x: Any, *, tolerance: float = 1e-4) -> float:
    """Outputs in both modes, the running means and all gradients; the largest difference of outputs."""
    variables = {"batch_stats": {}, **filled(ours, x)}
    copy(theirs, variables)
    image = tensor(x, 0, 3, 1, 2).requires_grad_()

    theirs.eval()
    evaluated = theirs(image).detach().permute(0, 2, 3, 1).numpy()
    found = jax.jit(ours.apply)(variables, x)
    np.testing.assert_allclose(found, evaluated, atol=tolerance)

    theirs.train()
    out = theirs(image)
    dy = normal(*np.moveaxis(np.asarray(out.detach()), 1, -1).shape, seed=3)
    out.backward(tensor(dy, 0, 3, 1, 2))

    @jax.jit
    def forward_and_back(params: Any, x: Any) -> Any:
        def forward(params: Any, x: Any) -> Any:
            return ours.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])

        trained, pull, updated = jax.vjp(forward, params, x, has_aux=True)
        return trained, *pull(dy), updated

    trained, by_params, by_x, updated = forward_and_back(variables["params"], x)
    expected = out.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(trained, expected, atol=tolerance)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, float(np.abs(b).max())))
    close(by_x, image.grad.permute(0, 2, 3, 1).numpy())
    jax.tree.map(close, dict(by_params), gradients(theirs, variables["params"]))
    for layer, name in pairs(theirs, variables["params"]):
        if isinstance(layer, torch.nn.BatchNorm2d):
            close(updated["batch_stats"][name]["BatchNorm_0"]["mean"], layer.running_mean.numpy())
    return max(float(np.abs(found - evaluated).max()), float(np.abs(trained - expected).max()))


@pytest.mark.parametrize(("downs", "side"), [(1, 4), (5, 32)])
def test_the_unet(downs: int, side: int) -> None:
    x = normal(2, side, side, 2)
    compare(UNetTranslator(downs, width=3), UNet(downs, 3, 2, 3), x)


@pytest.mark.parametrize(("layers", "shape"), [(0, (5, 4)), (2, (16, 20)), (4, (64, 64))])
def test_the_patch_discriminator(layers: int, shape: tuple[int, int]) -> None:
    x = normal(2, *shape, 3)
    compare(PatchDiscriminator(layers, width=2), patches(layers, 2, 3), x)


@pytest.mark.parametrize(("blocks", "shape"), [(0, (8, 8)), (2, (16, 12)), (6, (20, 20))])
def test_the_residual_translator(blocks: int, shape: tuple[int, int]) -> None:
    x = normal(2, *shape, 2)
    compare(ResnetTranslator(blocks, width=3), resnet(blocks, 3, 2, 3), x)


@pytest.mark.parametrize(("layers", "shape"), [(0, (5, 4)), (2, (16, 20)), (3, (36, 32))])
def test_the_patch_discriminator_that_normalises_each_image(layers: int, shape: tuple[int, int]) -> None:
    x = normal(2, *shape, 3)
    compare(PatchDiscriminator(layers, width=2, instance=True), patches(layers, 2, 3, instance=True), x)
