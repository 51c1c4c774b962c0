"""CLIP against PyTorch: the loss as the paper's pseudo-code has it, and the encoders as the authors wrote them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.losses.contrastive import clip_loss
from jaxgen.models.clip import CLIP
from jaxgen.models.clip.resnet import AttentionPool
from jaxgen.models.transformers import TextTransformer, VisionTransformer

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers


def tensor(a: jax.Array):
    return torch.from_numpy(np.array(a)).requires_grad_()


def figure_3(image, text, t):
    """`image` and `text` are the projected features, `t` the log of the inverse temperature."""
    logits = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T * t.exp()
    labels = torch.arange(len(image))
    over_texts = F.cross_entropy(logits, labels, reduction="none")
    over_images = F.cross_entropy(logits.T, labels, reduction="none")
    return (over_texts + over_images) / 2


@pytest.mark.parametrize("t", [0.0, float(np.log(1 / 0.07)), float(np.log(100))])
def test_loss_and_its_gradients_are_those_of_the_pseudo_code(t: float) -> None:
    arrays = (3 * normal(24, 16), 0.2 * normal(24, 16, seed=1), jnp.float32(t))
    inputs = [tensor(a) for a in arrays]
    theirs = figure_3(*inputs)
    theirs.mean().backward()
    ours, pull = jax.vjp(lambda u, v, t: clip_loss(u, v, jnp.exp(t)), *arrays)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
    for grad, other in zip(pull(jnp.full(24, 1 / 24)), inputs, strict=True):
        np.testing.assert_allclose(grad, other.grad, rtol=1e-4, atol=1e-5)


def mapped(a, p: dict):
    """A linear layer, its kernel's further axes flattened."""
    inputs = a.shape[-1]
    y = a @ tensor(p["kernel"]).reshape(inputs, -1)
    return y + tensor(p["bias"]).reshape(-1) if "bias" in p else y


def norm(a, p: dict):
    q = p["LayerNorm_0"]
    return F.layer_norm(a, a.shape[-1:], tensor(q["scale"]), tensor(q["bias"]), eps=1e-5)


def transformer(x, params: dict, heads: int, causal: bool):
    """By `torch.nn.MultiheadAttention`, as the authors' residual blocks."""
    n, width = x.shape[1:]
    mask = torch.full((n, n), float("-inf")).triu(1) if causal else None
    for name in sorted(params):
        p = params[name]
        attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        qkv = [p["attention"][part] for part in ("query", "key", "value")]
        with torch.no_grad():
            attention.in_proj_weight.copy_(torch.cat([tensor(a["kernel"]).reshape(width, width).T for a in qkv]))
            attention.in_proj_bias.copy_(torch.cat([tensor(a["bias"]).reshape(-1) for a in qkv]))
            attention.out_proj.weight.copy_(tensor(p["attention"]["out"]["kernel"]).reshape(width, width).T)
            attention.out_proj.bias.copy_(tensor(p["attention"]["out"]["bias"]))
        y = norm(x, p["attention_norm"])
        x = x + attention(y, y, y, need_weights=False, attn_mask=mask)[0]
        hidden = mapped(norm(x, p["mlp_norm"]), p["mlp_in"])
        x = x + mapped(hidden * torch.sigmoid(1.702 * hidden), p["mlp_out"])
    return x


def test_both_encoders_are_the_authors() -> None:
    model = CLIP(VisionTransformer(4, 8, 2, 2, 6), TextTransformer(20, 9, 8, 2, 2, 6))
    x, tokens = normal(3, 12, 8, 3), jnp.array([[1, 5, 6, 7, 2, 0, 0], [1, 9, 2, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]], jnp.int32)
    variables = filled(model, x, tokens)
    u, v, _ = model.apply(variables, x, tokens)
    p = variables["params"]["image"]
    kernel = tensor(jnp.transpose(p["patches"]["kernel"], (3, 2, 0, 1)))
    y = F.conv2d(tensor(jnp.transpose(x, (0, 3, 1, 2))), kernel, stride=4).flatten(2).transpose(1, 2)
    y = torch.cat([tensor(p["class_token"]).expand(3, 1, 8), y], dim=1) + tensor(p["positions"])
    y = transformer(norm(y, p["norm_before"]), p["transformer"], 2, causal=False)
    np.testing.assert_allclose(u, mapped(norm(y[:, 0], p["norm"]), p["projection"]).detach(), rtol=1e-4, atol=1e-4)

    p = variables["params"]["text"]
    ids = torch.from_numpy(np.array(tokens)).long()
    y = F.embedding(ids, tensor(p["embed"]["embedding"])) + tensor(p["positions"])[:7]
    y = norm(transformer(y, p["transformer"], 2, causal=True), p["norm"])
    y = y[torch.arange(3), torch.tensor([4, 2, 1])]
    np.testing.assert_allclose(v, mapped(y, p["projection"]).detach(), rtol=1e-4, atol=1e-4)


def test_attention_pooling_is_the_authors() -> None:
    pool, x = AttentionPool(2, 5), normal(3, 2, 3, 8)
    variables = filled(pool, x)
    p = variables["params"]
    y = tensor(x).reshape(3, 6, 8).permute(1, 0, 2)
    y = torch.cat([y.mean(0, keepdim=True), y]) + tensor(p["positions"])[:, None]
    weights = [tensor(p[name]["kernel"]).reshape(8, 8).T for name in ("query", "key", "value")]
    theirs, _ = F.multi_head_attention_forward(
        query=y[:1],
        key=y,
        value=y,
        embed_dim_to_check=8,
        num_heads=2,
        q_proj_weight=weights[0],
        k_proj_weight=weights[1],
        v_proj_weight=weights[2],
        in_proj_weight=None,
        in_proj_bias=torch.cat([tensor(p[name]["bias"]).reshape(-1) for name in ("query", "key", "value")]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=tensor(p["out"]["kernel"]).T,
        out_proj_bias=tensor(p["out"]["bias"]),
        use_separate_proj_weight=True,
        need_weights=False,
    )
    np.testing.assert_allclose(pool.apply(variables, x), theirs[0].detach(), rtol=1e-4, atol=1e-5)
