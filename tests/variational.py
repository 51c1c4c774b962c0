"""The formulas of github.com/google-research/vdm (model_vdm.py), written in numpy; the parameters have our names."""

from typing import Any

import numpy as np
from scipy import special

from jaxgen.types import PyTree


def encode(k: np.ndarray, levels: int = 256) -> np.ndarray:
    return 2 * ((k + 0.5) / levels) - 1


def decode(z: np.ndarray, g_0: float, levels: int = 256) -> np.ndarray:
    """The logarithms of the levels' probabilities."""
    logits = -0.5 * ((z[..., None] - encode(np.arange(levels), levels)) * np.exp(-0.5 * g_0)) ** 2
    return special.log_softmax(logits, axis=-1)


def losses(
    k: np.ndarray, eps_0: np.ndarray, eps: np.ndarray, eps_hat: np.ndarray, g_0: float, g_1: float, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`VDM.__call__`: reconstruction, latent and diffusion loss; `weight` is g' / 2 or T expm1(g_t - g_s) / 2."""
    f, axes = encode(k), tuple(range(1, k.ndim))
    recon = -np.take_along_axis(decode(f + np.exp(0.5 * g_0) * eps_0, g_0), k[..., None], -1)[..., 0].sum(axes)
    var_1 = special.expit(g_1)
    klz = 0.5 * ((1 - var_1) * f**2 + var_1 - np.log(var_1) - 1).sum(axes)
    return recon, klz, weight * ((eps - eps_hat) ** 2).sum(axes)


def step(z_t: np.ndarray, eps_hat: np.ndarray, g_s: float, g_t: float, eps: np.ndarray) -> np.ndarray:
    """`VDM.sample`."""
    a, b, c = special.expit(-g_s), special.expit(-g_t), -np.expm1(g_s - g_t)
    sigma_t = np.sqrt(special.expit(g_t))
    return np.sqrt(a / b) * (z_t - sigma_t * c * eps_hat) + np.sqrt((1 - a) * c) * eps


def nnet(p: Any, t: np.ndarray) -> np.ndarray:
    """`NoiseSchedule_NNet` without the bias of its first layer."""
    hidden = 2 * (special.expit(2 * (t[:, None] - 0.5) * abs(p["u"]) + p["c"]) - 0.5)
    return abs(p["a"]) * t + (hidden * abs(p["v"])).sum(-1) / len(p["v"])


def fourier(z: np.ndarray, powers: range = range(6, 8)) -> np.ndarray:
    """`Base2FourierFeatures`."""
    w = np.tile(2.0 ** np.array(powers) * 2 * np.pi, z.shape[-1])
    h = np.repeat(z, len(powers), axis=-1) * w
    return np.concatenate([np.sin(h), np.cos(h)], axis=-1)


def swish(x: np.ndarray) -> np.ndarray:
    return x * special.expit(x)


def conv(p: Any, x: np.ndarray) -> np.ndarray:
    kernel = np.asarray(p["kernel"], np.float64)
    side, (_, h, w, _) = kernel.shape[0], x.shape
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    parts = (padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(side) for j in range(side))
    return sum(parts) + np.asarray(p["bias"])


def dense(p: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p.get("bias", 0.0))


def group_norm(p: Any, x: np.ndarray, groups: int) -> np.ndarray:
    p = p["GroupNorm_0"]
    y = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    y = (y - y.mean((1, 3), keepdims=True)) / np.sqrt(y.var((1, 3), keepdims=True) + 1e-6)
    return y.reshape(x.shape) * p["scale"] + p["bias"]


def resnet_block(p: Any, x: np.ndarray, cond: np.ndarray, groups: int) -> np.ndarray:
    wider = x.shape[-1] // p["Conv_0"]["kernel"].shape[-1]
    h = conv(p["Conv_0"], swish(group_norm(p["GroupNorm_0"], x, groups * wider)))
    h = h + dense(p["AdditiveGroupNorm_0"]["Dense_0"], cond)[:, None, None]
    h = conv(p["Conv_1"], swish(group_norm(p["AdditiveGroupNorm_0"]["GroupNorm_0"], h, groups)))
    return (conv(p["Conv_2"], x) if "Conv_2" in p else x) + h


def attention_block(p: Any, x: np.ndarray, groups: int) -> np.ndarray:
    y = group_norm(p["GroupNorm_0"], x, groups).reshape(len(x), -1, x.shape[-1])
    p = p["Attention_0"]
    q, k, v = (np.einsum("bnc,chd->bnhd", y, p[of]["kernel"]) + p[of]["bias"] for of in ("query", "key", "value"))
    weights = special.softmax(np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1]), axis=-1)
    out = np.einsum("bhnm,bmhd,hdc->bnc", weights, v, p["out"]["kernel"]) + p["out"]["bias"]
    return x + out.reshape(x.shape)


def score_unet(p: PyTree, z: np.ndarray, t: np.ndarray, layers: int, *, attend: bool = False) -> np.ndarray:
    """`ScoreUNet` with t = (g - gamma_min) / (gamma_max - gamma_min), without the flag that is always zero.

    Groups of normalisation are four channels each, as those of 128 channels are.
    """
    channels = p["Conv_0"]["kernel"].shape[-1]
    groups, half = channels // 4, channels // 2
    angles = 1000 * t[:, None] * np.exp(-np.log(10000) / (half - 1) * np.arange(half))
    cond = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    cond = swish(dense(p["Dense_0"], swish(dense(p["Dense_1"], cond))))
    blocks, attentions = iter(range(2 * layers + 3)), iter(range(2 * layers + 2))

    def block(h: np.ndarray, look: bool) -> np.ndarray:
        h = resnet_block(p[f"ConditionalResidualBlock_{next(blocks)}"], h, cond, groups)
        return attention_block(p[f"SelfAttention_{next(attentions)}"], h, groups) if look else h

    hs = [conv(p["Conv_0"], np.concatenate([z, fourier(z)], -1))]
    for _ in range(layers):
        hs.append(block(hs[-1], attend))
    h = block(block(hs[-1], True), False)
    for _ in range(layers + 1):
        h = block(np.concatenate([h, hs.pop()], -1), attend)
    return conv(p["Conv_1"], swish(group_norm(p["GroupNorm_0"], h, groups))) + z
