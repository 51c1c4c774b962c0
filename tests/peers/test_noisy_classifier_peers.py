"""The classifier of noisy images against EncoderUNetModel of its authors, with the same random weights.

JAXGEN_GUIDED_DIFFUSION=/path/of/openai/guided-diffusion pytest -m peers tests/peers/test_noisy_classifier_peers.py
"""

from typing import Any

import authors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.models.diffusion import presets

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
unet = authors.guided_diffusion()

pytestmark = pytest.mark.peers

X, TIME = normal(2, 16, 16, 3), jnp.array([3.0, 900.0])


def numpy(p: Any) -> np.ndarray:
    return p.detach().numpy()


def linear(layer: Any) -> dict[str, Any]:
    return {"kernel": numpy(layer.weight).T, "bias": numpy(layer.bias)}


def conv(layer: Any) -> dict[str, Any]:
    return {"kernel": numpy(layer.weight).transpose(2, 3, 1, 0), "bias": numpy(layer.bias)}


def group_norm(layer: Any) -> dict[str, Any]:
    return {"GroupNorm_0": {"scale": numpy(layer.weight), "bias": numpy(layer.bias)}}


def projections(qkv: Any, out: Any, heads: int, *, legacy: bool) -> dict[str, Any]:
    """Queries, keys and values: within each head in the legacy order, else the heads within each."""
    kernel, bias = numpy(qkv.weight)[..., 0], numpy(qkv.bias)
    channels = kernel.shape[1]
    cut = (heads, 3, channels // heads) if legacy else (3, heads, channels // heads)
    kernel, bias = kernel.reshape(*cut, channels), bias.reshape(cut)
    layers = {}
    for i, name in enumerate(("query", "key", "value")):
        own, of_bias = (kernel[:, i], bias[:, i]) if legacy else (kernel[i], bias[i])
        layers[name] = {"kernel": own.transpose(2, 0, 1), "bias": of_bias}
    last = numpy(out.weight)[..., 0]
    return {**layers, "out": {"kernel": last.T.reshape(heads, -1, len(last)), "bias": numpy(out.bias)}}


def residual(block: Any) -> dict[str, Any]:
    projects = isinstance(block.skip_connection, torch.nn.Conv2d)
    return {
        "GroupNorm_0": group_norm(block.in_layers[0]),
        "Conv_0": conv(block.in_layers[2]),
        "AdaptiveGroupNorm_0": {"Dense_0": linear(block.emb_layers[1]), "GroupNorm_0": group_norm(block.out_layers[0])},
        "Conv_1": conv(block.out_layers[3]),
        **({"Conv_2": conv(block.skip_connection)} if projects else {}),
    }


def copied(theirs: Any, *, legacy: bool) -> dict[str, Any]:
    norm, _, pool = theirs.out
    params: dict[str, Any] = {
        "Dense_1": linear(theirs.time_embed[0]),
        "Dense_0": linear(theirs.time_embed[2]),
        "GroupNorm_0": group_norm(norm),
        "AttentionPool_0": {
            "positions": numpy(pool.positional_embedding).T,
            **projections(pool.qkv_proj, pool.c_proj, pool.num_heads, legacy=False),
        },
    }
    blocks = attentions = 0
    for part in (layer for place in [*theirs.input_blocks, theirs.middle_block] for layer in place):
        if isinstance(part, unet.ResBlock):
            params[f"ConditionalResidualBlock_{blocks}"] = residual(part)
            blocks += 1
        elif isinstance(part, unet.AttentionBlock):
            own = projections(part.qkv, part.proj_out, part.num_heads, legacy=legacy)
            params[f"SelfAttention_{attentions}"] = {"GroupNorm_0": group_norm(part.norm), "Attention_0": own}
            attentions += 1
        else:
            params["Conv_0"] = conv(part)
    return params


@pytest.mark.parametrize("legacy", [True, False])
def test_the_classifier_is_theirs(legacy: bool) -> None:
    theirs = unet.EncoderUNetModel(
        image_size=16,
        in_channels=3,
        model_channels=32,
        out_channels=5,
        num_res_blocks=1,
        attention_resolutions=(2, 4),
        channel_mult=(1, 2, 2),
        num_head_channels=16,
        use_scale_shift_norm=True,
        resblock_updown=True,
        use_new_attention_order=not legacy,
        pool="attention",
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            fan_in = max(p[0].numel(), 1)
            p.copy_((p == 1).float() + torch.randn(p.shape, generator=generator) / (fan_in**0.5 if p.ndim > 1 else 4))
    ours = presets.noisy_classifier(32, (1, 2, 2), 1, (1, 2), head_width=16, groups=32, classes=5)
    params = copied(theirs, legacy=legacy)
    shapes = jax.eval_shape(lambda key: ours.init(key, X, TIME), jax.random.key(0))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    found = jax.jit(ours.apply)({"params": params}, X, TIME)
    with torch.no_grad():
        image = torch.from_numpy(np.array(X)).permute(0, 3, 1, 2)
        expected = theirs.eval()(image, torch.from_numpy(np.array(TIME))).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    print(np.abs(found - expected).max())
