"""The U-Net against SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM) of EDM's authors, with the same random weights.

JAXGEN_EDM=/path/of/a/checkout/of/NVlabs/edm pytest -m peers tests/peers/test_unet_edm_peers.py
"""

from typing import Any

import authors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.models.diffusion import SkipPyramid, presets
from jaxgen.nn import BINOMIAL, BOX

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
networks = authors.edm()

pytestmark = pytest.mark.peers

X, TIME = normal(2, 16, 16, 3), normal(2, seed=2)
CLASSES, AUGMENT = 3, normal(2, 9, seed=4)
LABEL = jnp.array([1, CLASSES])  # the second is "unlabelled"


def numpy(p: Any) -> np.ndarray:
    return p.detach().numpy()


def linear(layer: Any) -> dict[str, Any]:
    return {"kernel": numpy(layer.weight).T, **({} if layer.bias is None else {"bias": numpy(layer.bias)})}


def conv(layer: Any) -> dict[str, Any]:
    return {"kernel": numpy(layer.weight).transpose(2, 3, 1, 0), "bias": numpy(layer.bias)}


def group_norm(layer: Any) -> dict[str, Any]:
    return {"GroupNorm_0": {"scale": numpy(layer.weight), "bias": numpy(layer.bias)}}


def attention(block: Any) -> dict[str, Any]:
    """Their queries, keys and values are neighbouring channels of one convolution."""
    channels, heads = block.out_channels, block.num_heads
    kernel = numpy(block.qkv.weight).reshape(heads, channels // heads, 3, channels)
    bias = numpy(block.qkv.bias).reshape(heads, channels // heads, 3)
    layers = {
        name: {"kernel": kernel[:, :, i].transpose(2, 0, 1), "bias": bias[:, :, i]}
        for i, name in enumerate(("query", "key", "value"))
    }
    out = {"kernel": numpy(block.proj.weight)[..., 0, 0].T.reshape(heads, -1, channels), "bias": numpy(block.proj.bias)}
    return {"GroupNorm_0": group_norm(block.norm2), "Attention_0": {**layers, "out": out}}


def residual(block: Any) -> dict[str, Any]:
    kind = "AdaptiveGroupNorm_0" if block.adaptive_scale else "AdditiveGroupNorm_0"
    projects = block.skip is not None and block.skip.weight is not None
    return {
        "GroupNorm_0": group_norm(block.norm0),
        "Conv_0": conv(block.conv0),
        kind: {"Dense_0": linear(block.affine), "GroupNorm_0": group_norm(block.norm1)},
        "Conv_1": conv(block.conv1),
        **({"Conv_2": conv(block.skip)} if projects else {}),
    }


def copied(theirs: Any) -> dict[str, Any]:
    """Their weights as parameters of ours."""
    params: dict[str, Any] = {"Dense_1": linear(theirs.map_layer0), "Dense_0": linear(theirs.map_layer1)}
    counts: dict[str, int] = {}

    def put(kind: str, layer: dict[str, Any]) -> None:
        params[f"{kind}_{counts.get(kind, 0)}"] = layer
        counts[kind] = counts.get(kind, 0) + 1

    if theirs.map_label is not None:
        own = linear(theirs.map_label)
        if "bias" in own:
            params["label"] = own
        else:
            params["Embed_0"] = {"embedding": np.concatenate([own["kernel"], np.zeros_like(own["kernel"][:1])])}
    if theirs.map_augment is not None:
        params["augment"] = linear(theirs.map_augment)
    for name, layer in [*theirs.enc.items(), *theirs.dec.items()]:
        if isinstance(layer, networks.UNetBlock):
            put("ConditionalResidualBlock", residual(layer))
            if layer.num_heads:
                put("SelfAttention", attention(layer))
        elif "aux_residual" in name:
            put("ResidualPyramid", {"Conv_0": conv(layer)})
        elif "aux_skip" in name:
            put("SkipPyramid", {"Conv_0": conv(layer)})
        elif "norm" in name:
            put("GroupNorm", group_norm(layer))
        elif layer.weight is not None:
            put("Conv", conv(layer))
    if hasattr(theirs, "out_norm"):
        put("GroupNorm", group_norm(theirs.out_norm))
        put("Conv", conv(theirs.out_conv))
    return params


def randomised(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            fan_in = max(p[0].numel(), 1)
            p.copy_((p == 1).float() + torch.randn(p.shape, generator=generator) / (fan_in**0.5 if p.ndim > 1 else 4))
    return model.eval()


def compare(ours: Any, theirs: Any, x: jax.Array = X) -> float:
    """The largest difference of outputs, which are compared with labels and labels of augmentation where there are any."""
    params = copied(randomised(theirs))
    told: dict[str, Any] = {} if theirs.map_label is None else {"label": LABEL}
    told |= {} if theirs.map_augment is None else {"augment": AUGMENT}
    shapes = jax.eval_shape(lambda key: ours.init(key, x, TIME, **told), jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes["params"])
    constants = {}
    if "constants" in shapes:
        constants = {"constants": {"time": {"frequencies": jnp.array(numpy(theirs.map_noise.freqs))}}}
    found = jax.jit(ours.apply)({"params": params, **constants}, x, TIME, **told)
    tensor = lambda a: torch.from_numpy(np.array(a))
    own = tensor(jax.nn.one_hot(LABEL, CLASSES)) if "label" in told else None
    with torch.no_grad():
        augment = tensor(AUGMENT) if "augment" in told else None
        expected = theirs(tensor(x).permute(0, 3, 1, 2), tensor(TIME), own, augment).permute(0, 2, 3, 1).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return float(np.abs(found - expected).max())


SONG = {"model_channels": 16, "channel_mult": [2, 2], "num_blocks": 2, "attn_resolutions": [8]}
OURS = (16, (2, 2), 2, (1,))
TAPS = {"box": BOX, "binomial": BINOMIAL}
NCSNPP = {"embedding_type": "fourier", "channel_mult_noise": 2, "encoder_type": "residual", "resample_filter": [1, 3, 3, 1]}


@pytest.mark.parametrize("labels", [0, CLASSES])
def test_ddpmpp_is_song_unet(labels: int) -> None:
    theirs = networks.SongUNet(16, 3, 3, label_dim=labels, augment_dim=9 if labels else 0, **SONG)
    print(compare(presets.ddpmpp(*OURS, classes=labels), theirs))


@pytest.mark.parametrize("labels", [0, CLASSES])
def test_ncsnpp_is_song_unet(labels: int) -> None:
    theirs = networks.SongUNet(16, 3, 3, label_dim=labels, augment_dim=9 if labels else 0, **SONG, **NCSNPP)
    print(compare(presets.ncsnpp(*OURS, classes=labels), theirs))


def test_three_levels_and_another_filter_are_song_unet() -> None:
    sizes = {"model_channels": 16, "channel_mult": [1, 2, 2], "num_blocks": 1, "attn_resolutions": [8]}
    theirs = networks.SongUNet(16, 3, 2, **sizes, **{**NCSNPP, "resample_filter": [1, 1]})
    print(compare(presets.ncsnpp(16, (1, 2, 2), 1, (1,), taps=BOX, outputs=2), theirs))


@pytest.mark.parametrize("taps", TAPS)
def test_the_input_skips_of_song_unet(taps: str) -> None:
    theirs = networks.SongUNet(16, 3, 3, **SONG, encoder_type="skip", resample_filter=list(TAPS[taps]))
    print(compare(presets.ddpmpp(*OURS, taps=TAPS[taps], pyramid=SkipPyramid), theirs))


@pytest.mark.parametrize("labels", [0, CLASSES])
def test_adm_is_dhariwal_unet(labels: int) -> None:
    sizes = {"model_channels": 32, "channel_mult": [1, 2, 4], "num_blocks": 1, "attn_resolutions": [8, 4]}
    theirs = networks.DhariwalUNet(16, 3, 3, label_dim=labels, augment_dim=9 if labels else 0, **sizes)
    print(compare(presets.adm(32, (1, 2, 4), 1, (1, 2), classes=labels, outputs=3), theirs))


@pytest.mark.parametrize("mode", ["DDPM++", "NCSN++", "ADM"])
def test_the_sizes_of_edms_networks(mode: str) -> None:
    """The numbers of parameters, apart from the vector of "unlabelled" that ours has and theirs has not."""
    cifar = {"model_channels": 128, "channel_mult": [2, 2, 2], "augment_dim": 9}
    theirs, ours = {
        "DDPM++": (networks.SongUNet(32, 3, 3, 10, **cifar), presets.ddpmpp(multipliers=(2, 2, 2), classes=10)),
        "NCSN++": (networks.SongUNet(32, 3, 3, 10, **cifar, **NCSNPP), presets.ncsnpp(multipliers=(2, 2, 2), classes=10)),
        "ADM": (networks.DhariwalUNet(64, 3, 3, 1000, augment_dim=9), presets.adm(outputs=3)),
    }[mode]
    side = 64 if mode == "ADM" else 32
    example = (jnp.zeros((1, side, side, 3)), jnp.zeros(1), jnp.zeros(1, jnp.int32))
    shapes = jax.eval_shape(lambda key: ours.init(key, *example, augment=jnp.zeros((1, 9))), jax.random.key(0))["params"]
    count = sum(p.size for p in jax.tree.leaves(shapes))
    assert count - (768 if mode == "ADM" else 0) == sum(p.numel() for p in theirs.parameters())
    print(mode, count)
