"""Attention and transformer blocks against those of PyTorch and diffusers, with the same parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import Attention, Transformer, TransformerBlock, causal_mask

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers

GELU = functools.partial(jax.nn.gelu, approximate=False)
X, CONTEXT = normal(2, 5, 8), normal(2, 7, 6, seed=1)


def tensor(a: Any):
    return torch.from_numpy(np.array(a))


def load(layer: Any, kernel: Any, bias: Any = None) -> None:
    """Copies a kernel `[in, ...]` into a linear layer or a parameter `[out, in]`."""
    inputs = layer.weight.shape[1] if hasattr(layer, "weight") else layer.shape[1]
    with torch.no_grad():
        (layer.weight if hasattr(layer, "weight") else layer).copy_(tensor(kernel).reshape(inputs, -1).T)
        if bias is not None:
            layer.bias.copy_(tensor(bias).reshape(-1))


def load_attention(theirs: Any, p: dict) -> None:
    """Copies the parameters of our attention into a `torch.nn.MultiheadAttention`."""
    with torch.no_grad():
        kernels = [tensor(p[name]["kernel"]).flatten(1).T for name in ("query", "key", "value")]
        if theirs.in_proj_weight is None:
            for name, kernel in zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), kernels, strict=True):
                getattr(theirs, name).copy_(kernel)
        else:
            theirs.in_proj_weight.copy_(torch.cat(kernels))
        theirs.in_proj_bias.copy_(torch.cat([tensor(p[name]["bias"]).flatten() for name in ("query", "key", "value")]))
    load(theirs.out_proj, p["out"]["kernel"], p["out"]["bias"])


def load_norm(theirs: Any, p: dict) -> None:
    with torch.no_grad():
        theirs.weight.copy_(tensor(p["LayerNorm_0"]["scale"]))
        theirs.bias.copy_(tensor(p["LayerNorm_0"]["bias"]))


@pytest.mark.parametrize("shape", [(2, 2, 5, 7), (1, 2, 5, 7), (2, 1, 1, 7)])
def test_attention_to_keys_and_values_with_a_bias_and_its_weights_are_torchs(shape: tuple[int, ...]) -> None:
    layer, values, bias = Attention(2), normal(2, 7, 4, seed=2), normal(*shape, seed=3)
    variables = filled(layer, X, CONTEXT, values)
    theirs = torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    load_attention(theirs, variables["params"])
    added = tensor(jnp.broadcast_to(bias, (2, 2, 5, 7))).reshape(4, 5, 7)
    y, weights = theirs(tensor(X), tensor(CONTEXT), tensor(values), attn_mask=added, average_attn_weights=False)
    ours, seen = layer.apply(variables, X, CONTEXT, values, bias=bias, mutable=["attention"])
    np.testing.assert_allclose(ours, y.detach(), atol=1e-5)
    np.testing.assert_allclose(seen["attention"]["weights"][0], weights.detach(), atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, X, CONTEXT, values, bias=bias), y.detach(), atol=1e-5)


def test_gradients_of_attention_with_a_bias_are_torchs() -> None:
    layer, bias = Attention(2), normal(1, 2, 5, 5, seed=3)
    variables = filled(layer, X)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    load_attention(theirs, variables["params"])
    x, b = tensor(X).requires_grad_(), tensor(bias).requires_grad_()
    added = b.expand(2, 2, 5, 5).reshape(4, 5, 5)
    y, _ = theirs(x, x, x, attn_mask=added)
    y.sin().sum().backward()
    grads = jax.grad(lambda x, bias: jnp.sin(layer.apply(variables, x, bias=bias)).sum(), (0, 1))(X, bias)
    np.testing.assert_allclose(grads[0], x.grad, atol=1e-5)
    np.testing.assert_allclose(grads[1], b.grad, atol=1e-5)


def test_dropped_weights_are_torchs_with_the_same_mask() -> None:
    layer = Attention(2, dropout=0.4)
    variables = filled(layer, X)
    key = jax.random.key(0)
    y, seen = layer.apply(variables, X, key=key, mutable=["attention"])
    kept = jax.random.bernoulli(key, jnp.float32(0.6), (2, 2, 5, 5))
    v = jnp.einsum("bnc,chd->bhnd", X, variables["params"]["value"]["kernel"]) + variables["params"]["value"]["bias"][:, None]
    mixed = (tensor(seen["attention"]["weights"][0]) * tensor(kept) / 0.6) @ tensor(v)
    out = variables["params"]["out"]
    expected = torch.einsum("bhnd,hdc->bnc", mixed, tensor(out["kernel"])) + tensor(out["bias"])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, X, key=key), expected, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("loop", [False, True])
def test_a_stack_is_torchs_encoder(causal: bool, loop: bool) -> None:
    model = Transformer(3, 2, causal, activation=GELU, loop=loop)
    variables = filled(model, X)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    for i, block in enumerate(theirs.layers):
        p = variables["params"][f"block_{i}"]
        load_attention(block.self_attn, p["attention"])
        load_norm(block.norm1, p["attention_norm"])
        load_norm(block.norm2, p["mlp_norm"])
        load(block.linear1, p["mlp_in"]["kernel"], p["mlp_in"]["bias"])
        load(block.linear2, p["mlp_out"]["kernel"], p["mlp_out"]["bias"])
    mask = ~tensor(causal_mask(5)[0]) if causal else None
    expected = theirs(tensor(X), mask=mask, is_causal=False).detach()
    np.testing.assert_allclose(model.apply(variables, X), expected, rtol=1e-5, atol=1e-5)
    if causal:
        cache, rows = model.init_cache(2, 5, 8), []
        for i in range(5):
            y, cache = model.apply(variables, X[:, i : i + 1], cache, i, method="step")
            rows.append(y)
        np.testing.assert_allclose(jnp.concatenate(rows, axis=1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("post_norm", [False, True])
def test_a_block_with_a_context_is_torchs_decoder_layer(post_norm: bool) -> None:
    block = TransformerBlock(2, activation=GELU, post_norm=post_norm)
    context = normal(2, 7, 8, seed=1)
    variables = filled(block, X, context=context)
    p = variables["params"]
    theirs = torch.nn.TransformerDecoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=not post_norm)
    load_attention(theirs.self_attn, p["attention"])
    load_attention(theirs.multihead_attn, p["cross_attention"])
    for norm, name in ((theirs.norm1, "attention"), (theirs.norm2, "cross_attention"), (theirs.norm3, "mlp")):
        load_norm(norm, p[f"{name}_norm"])
    load(theirs.linear1, p["mlp_in"]["kernel"], p["mlp_in"]["bias"])
    load(theirs.linear2, p["mlp_out"]["kernel"], p["mlp_out"]["bias"])
    seen = jnp.arange(7)[None, None] < jnp.array([4, 7])[:, None, None]
    expected = theirs(tensor(X), tensor(context), memory_key_padding_mask=~tensor(seen[:, 0])).detach()
    ours = block.apply(variables, X, context=context, context_mask=seen)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_gated_block_with_a_context_is_that_of_latent_diffusion() -> None:
    """diffusers' block of Stable Diffusion: no biases of queries, keys and values, and a gated MLP."""
    attention = pytest.importorskip("diffusers.models.attention", reason="diffusers is not installed (the extra `peers`)")
    bare = functools.partial(Attention, query_bias=False, key_bias=False, value_bias=False)
    block = TransformerBlock(2, activation=GELU, gated=True, attention=bare)
    variables = filled(block, X, context=CONTEXT)
    p = variables["params"]
    theirs = attention.BasicTransformerBlock(8, 2, 4, cross_attention_dim=6, activation_fn="geglu").eval()
    for layer, name in ((theirs.attn1, "attention"), (theirs.attn2, "cross_attention")):
        load(layer.to_q, p[name]["query"]["kernel"])
        load(layer.to_k, p[name]["key"]["kernel"])
        load(layer.to_v, p[name]["value"]["kernel"])
        with torch.no_grad():
            layer.to_out[0].weight.copy_(tensor(p[name]["out"]["kernel"]).reshape(8, 8).T)
            layer.to_out[0].bias.copy_(tensor(p[name]["out"]["bias"]))
    for norm, name in ((theirs.norm1, "attention"), (theirs.norm2, "cross_attention"), (theirs.norm3, "mlp")):
        load_norm(norm, p[f"{name}_norm"])
    load(theirs.ff.net[0].proj, p["mlp_in"]["kernel"], p["mlp_in"]["bias"])
    load(theirs.ff.net[2], p["mlp_out"]["kernel"], p["mlp_out"]["bias"])
    expected = theirs(tensor(X), encoder_hidden_states=tensor(CONTEXT)).detach()
    np.testing.assert_allclose(block.apply(variables, X, context=CONTEXT), expected, rtol=1e-5, atol=1e-5)
