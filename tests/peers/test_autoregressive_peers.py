"""Autoregressive models against masked convolutions and a GPT in PyTorch, with the same parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled

from jaxgen import objectives
from jaxgen.models.autoregressive import GatedPixelCNN, TransformerPrior

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers

K, C = 5, 6
CODES = jnp.array(np.random.default_rng(0).integers(0, K, (2, 7, 6)), jnp.int32)
LABEL = jnp.array([2, 0])


def tensor(a: Any) -> Any:
    return torch.from_numpy(np.array(a))


class MaskedConv(torch.nn.Module):
    """A convolution that keeps the size and whose kernel is masked."""

    def __init__(self, inputs: int, outputs: int, mask: np.ndarray, dilation: int = 1) -> None:
        super().__init__()
        pads = tuple(n // 2 * dilation for n in mask.shape)
        self.conv = torch.nn.Conv2d(inputs, outputs, mask.shape, padding=pads, dilation=dilation)
        self.mask = torch.from_numpy(mask.astype(np.float32))

    def forward(self, x: Any) -> Any:
        conv = self.conv
        return F.conv2d(x, conv.weight * self.mask, conv.bias, padding=conv.padding, dilation=conv.dilation)

    def load(self, p: dict) -> None:
        """Copies a kernel `[rows, columns, in, out]` without masked weights into the upper left corner of the masked one."""
        kernel = tensor(p["kernel"]).permute(3, 2, 0, 1)
        with torch.no_grad():
            self.conv.weight.fill_(1e3)  # what is masked counts for nothing
            self.conv.weight[:, :, : kernel.shape[2], : kernel.shape[3]] = kernel
            self.conv.bias.copy_(tensor(p["bias"]))


def vertical(size: int, *, sees_its_row: bool) -> np.ndarray:
    mask = np.ones((size, size))
    mask[size // 2 + sees_its_row :] = 0
    return mask


def horizontal(size: int, *, sees_itself: bool) -> np.ndarray:
    mask = np.ones((1, size))
    mask[:, size // 2 + sees_itself :] = 0
    return mask


class PixelCNN(torch.nn.Module):
    """Figure 2 of van den Oord et al. 2016, with a class in each gate, as the UvA tutorials have it but for the embedding."""

    def __init__(self, dilations: tuple[int, ...], first: int, kernel: int, embedding: int, classes: int) -> None:
        super().__init__()
        many = torch.nn.ModuleList
        self.embed = torch.nn.Embedding(K, embedding)
        self.first = many(
            [
                MaskedConv(embedding, C, vertical(first, sees_its_row=False)),
                MaskedConv(embedding, C, horizontal(first, sees_itself=False)),
            ]
        )
        self.vertical = many(MaskedConv(C, 2 * C, vertical(kernel, sees_its_row=True), d) for d in dilations)
        self.horizontal = many(MaskedConv(C, 2 * C, horizontal(kernel, sees_itself=True), d) for d in dilations)
        self.link = many(torch.nn.Conv2d(2 * C, 2 * C, 1) for _ in dilations)
        self.out = many(torch.nn.Conv2d(C, C, 1) for _ in dilations)
        self.classes = many(many(torch.nn.Embedding(classes or 1, 2 * C) for _ in range(2)) for _ in dilations)
        self.told, self.logits = classes > 0, torch.nn.Conv2d(C, K, 1)

    def forward(self, codes: Any, label: Any) -> Any:
        def gated(x: Any, table: Any) -> Any:
            value, gate = (x + table(label)[:, :, None, None] if self.told else x).chunk(2, dim=1)
            return torch.tanh(value) * torch.sigmoid(gate)

        x = self.embed(codes).permute(0, 3, 1, 2)
        v, h = (layer(x) for layer in self.first)
        parts = zip(self.vertical, self.horizontal, self.link, self.out, self.classes, strict=True)
        for down, right, link, out, tables in parts:
            y = down(v)
            v = gated(y, tables[0])
            h = h + out(gated(right(h) + link(y), tables[1]))
        return self.logits(F.elu(h)).permute(0, 2, 3, 1)

    def load(self, params: dict) -> None:
        def pointwise(layer: Any, p: dict) -> None:
            layer.weight.copy_(tensor(p["kernel"]).permute(3, 2, 0, 1))
            layer.bias.copy_(tensor(p["bias"]))

        with torch.no_grad():
            self.embed.weight.copy_(tensor(params["embed"]["embedding"]))
            for layer, name in zip(self.first, ("first_vertical", "first_horizontal"), strict=True):
                layer.load(params[name])
            for i in range(len(self.vertical)):
                p = params[f"blocks_{i}"]
                self.vertical[i].load(p["vertical_conv"])
                self.horizontal[i].load(p["horizontal_conv"])
                pointwise(self.link[i], p["link"])
                pointwise(self.out[i], p["out"])
                for table, name in zip(self.classes[i], ("vertical_class", "horizontal_class"), strict=True):
                    if self.told:
                        table.weight.copy_(tensor(p[name]["embedding"]))
            pointwise(self.logits, params["logits"])


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(("dilations", "first", "kernel"), [((1, 2, 1, 4, 1, 2, 1), 3, 3), ((1, 3), 7, 5)])
def test_a_gated_pixelcnn_is_the_one_of_masked_convolutions(
    dilations: tuple[int, ...], first: int, kernel: int, classes: int
) -> None:
    model = GatedPixelCNN(K, C, dilations, first, kernel, embedding=4, classes=classes)
    told = (LABEL,) if classes else ()
    variables = filled(model, CODES, *told)
    theirs = PixelCNN(dilations, first, kernel, 4, classes)
    theirs.load(variables["params"])
    logits = theirs(tensor(CODES).long(), tensor(LABEL).long())
    np.testing.assert_allclose(model.apply(variables, CODES, *told), logits.detach(), rtol=1e-4, atol=1e-5)

    nll = F.cross_entropy(logits.permute(0, 3, 1, 2), tensor(CODES).long(), reduction="none").sum((1, 2))
    params = {"model": variables["params"]}
    found = objectives.log_prob(model, params, {}, CODES, *told)
    np.testing.assert_allclose(-found, nll.detach(), rtol=1e-5)
    nll.sum().backward()
    grads = jax.grad(lambda p: -objectives.log_prob(model, {"model": p}, {}, CODES, *told).sum())(params["model"])
    last = grads[f"blocks_{len(dilations) - 1}"]["vertical_conv"]
    np.testing.assert_allclose(last["bias"], theirs.vertical[-1].conv.bias.grad, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(grads["embed"]["embedding"], theirs.embed.weight.grad, rtol=1e-3, atol=1e-4)


def test_the_network_of_the_uva_tutorials_has_as_many_weights_once_the_masked_ones_are_left_out() -> None:
    """There 852,160 are stored. Our only other ones are those that embed the 256 levels as one number each."""
    model = GatedPixelCNN(256, 64, first_kernel=3, embedding=1)
    shapes = jax.eval_shape(lambda key: model.init(key, CODES), jax.random.key(0))
    ours = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(shapes))
    masked = 64 * (3 * 2 + 2) + 7 * 128 * 64 * (
        3 + 1
    )  # of the first convolutions, whose centre is masked too, and of the blocks
    assert ours - 256 == 852_160 - masked


class GPT(torch.nn.Module):
    """Embeddings and positions, pre-norm blocks of `MultiheadAttention` with a causal mask, a norm and a linear layer."""

    def __init__(self, width: int, depth: int, heads: int, length: int, classes: int) -> None:
        super().__init__()
        self.embed, self.start = torch.nn.Embedding(K, width), torch.nn.Embedding(classes, width)
        self.positions = torch.nn.Parameter(torch.zeros(length, width))
        many = torch.nn.ModuleList
        self.attention = many(torch.nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(depth))
        self.mlp = many(
            torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.GELU("tanh"), torch.nn.Linear(4 * width, width))
            for _ in range(depth)
        )
        self.norms = many(torch.nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.logits = torch.nn.Linear(width, K)

    def forward(self, codes: Any, label: Any) -> Any:
        x = torch.cat([self.start(label)[:, None], self.embed(codes)[:, :-1]], dim=1) + self.positions
        later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), diagonal=1)
        for i, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            y = self.norms[2 * i](x)
            x = x + attention(y, y, y, attn_mask=later, need_weights=False)[0]
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.logits(self.norms[-1](x))

    def load(self, params: dict) -> None:
        def linear(layer: Any, p: dict) -> None:
            layer.weight.copy_(tensor(p["kernel"]).reshape(layer.weight.shape[1], -1).T)
            layer.bias.copy_(tensor(p["bias"]).reshape(-1))

        def norm(layer: Any, p: dict) -> None:
            layer.weight.copy_(tensor(p["LayerNorm_0"]["scale"]))
            layer.bias.copy_(tensor(p["LayerNorm_0"]["bias"]))

        with torch.no_grad():
            self.embed.weight.copy_(tensor(params["embed"]["embedding"]))
            self.start.weight.copy_(tensor(params["start"]["embedding"]))
            self.positions.copy_(tensor(params["positions"]["table"]))
            for i, attention in enumerate(self.attention):
                p = params["transformer"][f"block_{i}"]
                three = [p["attention"][name] for name in ("query", "key", "value")]
                attention.in_proj_weight.copy_(torch.cat([tensor(q["kernel"]).flatten(1).T for q in three]))
                attention.in_proj_bias.copy_(torch.cat([tensor(q["bias"]).flatten() for q in three]))
                linear(attention.out_proj, p["attention"]["out"])
                linear(self.mlp[i][0], p["mlp_in"])
                linear(self.mlp[i][2], p["mlp_out"])
                norm(self.norms[2 * i], p["attention_norm"])
                norm(self.norms[2 * i + 1], p["mlp_norm"])
            norm(self.norms[-1], params["norm"])
            linear(self.logits, params["logits"])


@pytest.mark.parametrize("classes", [0, 3])
def test_a_transformer_prior_is_a_gpt(classes: int) -> None:
    model = TransformerPrior(K, (7, 6), width=8, depth=3, heads=2, classes=classes)
    told = (LABEL,) if classes else ()
    variables = filled(model, CODES, *told)
    theirs = GPT(8, 3, 2, 42, classes or 1)
    theirs.load(variables["params"])
    logits = theirs(tensor(CODES).long().flatten(1), tensor(LABEL if classes else LABEL * 0).long()).detach()
    np.testing.assert_allclose(model.apply(variables, CODES, *told).reshape(2, 42, K), logits, rtol=1e-4, atol=1e-5)
