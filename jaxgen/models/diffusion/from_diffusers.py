"""The weights of diffusers' U-Nets and diffusion Transformers as parameters of ours."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxgen.errors import UserError


def from_diffusers(state_dict: Mapping[str, Any], *, heads: int = 1, head_width: int | None = None) -> dict[str, Any]:
    """The parameters of a `UNet` of a `UNet2DModel` or a `UNet2DConditionModel`, such as that of Stable Diffusion 1.

    `safetensors.numpy.load_file` reads the state of a file. The `UNet` has the fields that the model's configuration
    says, such as `presets.stable_diffusion()` with `heads=8` for Stable Diffusion 1. A table of n classes is that of a `UNet`
    with `classes=n - 1`, whose last one is "unlabelled". The blocks are named as in a network without `remat`.

    Args:
      state_dict: the weights by the names that diffusers gives them.
      heads: the number of attention heads.
      head_width: the channels of a head, whose number follows from it, as in `UNet`; None for the number in `heads`.

    Returns:
      The parameters, `{"Conv_0": {"kernel": ..., "bias": ...}, ...}`, in float32.

    Raises:
      UserError: if there are weights of layers that `UNet` has not.
    """
    source = Weights("U-Net", state_dict, heads, head_width)
    params: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def put(kind: str, layer: dict[str, Any]) -> None:
        params[f"{kind}_{counts.get(kind, 0)}"] = layer
        counts[kind] = counts.get(kind, 0) + 1

    def resnets(place: str) -> None:
        """The blocks of one size, then what changes the size."""
        j = 0
        while source.has(f"{place}.resnets.{j}"):
            put("ConditionalResidualBlock", source.block(f"{place}.resnets.{j}"))
            if source.has(f"{place}.attentions.{j}"):
                put(*source.attention(f"{place}.attentions.{j}"))
            j += 1
        for change in (f"{place}.downsamplers.0", f"{place}.upsamplers.0"):
            if source.has(f"{change}.conv"):
                put("Conv", source.conv(f"{change}.conv"))
            elif source.has(f"{change}.conv1"):
                put("ConditionalResidualBlock", source.block(change))

    params["Dense_1"] = source.dense("time_embedding.linear_1")
    params["Dense_0"] = source.dense("time_embedding.linear_2")
    if source.has("class_embedding"):
        params["Embed_0"] = {"embedding": source.take("class_embedding.weight")}
    put("Conv", source.conv("conv_in"))
    for place in (*source.numbered("down_blocks"), "mid_block", *source.numbered("up_blocks")):
        resnets(place)
    params["GroupNorm_0"] = source.group_norm("conv_norm_out")
    put("Conv", source.conv("conv_out"))
    if rest := source.rest():
        raise UserError(
            f"A UNet has no layers for {len(rest)} of the weights, such as {rest[0]!r}; only models of residual blocks, "
            "attention and cross-attention, with convolutions or blocks that resample, can be read."
        )
    return params


def dit_from_diffusers(state_dict: Mapping[str, Any], *, heads: int) -> dict[str, Any]:
    """The parameters of a `DiT` of a `DiTTransformer2DModel`, such as "facebook/DiT-XL-2-256".

    `safetensors.numpy.load_file` reads the state of a file. For that one the network is `dit_presets.dit_xl()`. diffusers keeps
    a copy of the embeddings of time and class in each block, where the network has one; the copies have to be equal.

    Two details of diffusers differ from the authors' code, whose weights these are: its frequencies of the time end at 1/10000,
    as those of `Sinusoidal(256, cosines_first=True)`, and its second norm of a block has an epsilon of `norm_eps`, 1e-5. `DiT`
    has the authors' by default. All of them count times from 0.

    Args:
      state_dict: the weights by the names that diffusers gives them.
      heads: the number of attention heads, `num_attention_heads` of the model's configuration: 16 for XL.

    Returns:
      The parameters, `{"patches": {"kernel": ..., "bias": ...}, ...}`, in float32.

    Raises:
      UserError: if weights are missing, there are weights of layers that `DiT` has not, the heads do not divide the width, or
        the blocks have embeddings of their own.
    """
    source = Weights("DiT", state_dict, heads)

    def embeddings(place: str) -> dict[str, Any]:
        return {
            "time_in": source.dense(f"{place}.timestep_embedder.linear_1"),
            "time_out": source.dense(f"{place}.timestep_embedder.linear_2"),
            "label": {"embedding": source.take(f"{place}.class_embedder.embedding_table.weight")},
        }

    def block(place: str) -> dict[str, Any]:
        return {
            "attention": source.heads_of(f"{place}.attn1"),
            "mlp_in": source.dense(f"{place}.ff.net.0.proj"),
            "mlp_out": source.dense(f"{place}.ff.net.2"),
            "modulation": {"dense": source.dense(f"{place}.norm1.linear")},
        }

    patches = source.conv("pos_embed.proj")
    if (width := patches["bias"].size) % heads:
        raise UserError(f"A width of {width} cannot be cut into {heads} heads; give those of the model's configuration.")
    places = source.numbered("transformer_blocks")
    shared, *copies = [embeddings(f"{place}.norm1.emb") for place in places or ["transformer_blocks.0"]]
    params = {
        "patches": patches,
        **shared,
        "transformer": {f"block_{i}": block(place) for i, place in enumerate(places)},
        "modulation": {"dense": source.dense("proj_out_1")},
        "out": source.dense("proj_out_2"),
    }
    if rest := source.rest():
        raise UserError(f"A DiT has no layers for {len(rest)} of the weights, such as {rest[0]!r}; give the state of one.")
    for i, copy in enumerate(copies, start=1):
        if not all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(shared), jax.tree.leaves(copy), strict=True)):
            raise UserError(
                f"The block {i} of these weights has other embeddings of time and class than the block 0, and a DiT has one "
                "for all blocks; give weights that were converted from the authors' or trained with shared embeddings."
            )
    return params


class Weights:
    """Weights by name, of which each layer is taken once, in the layout of ours."""

    def __init__(self, kind: str, state_dict: Mapping[str, Any], heads: int = 1, head_width: int | None = None) -> None:
        self.kind = kind
        self.weights = {name: np.asarray(value, np.float32) for name, value in state_dict.items()}
        self.left = set(self.weights)
        self.heads, self.head_width = heads, head_width

    def has(self, place: str) -> bool:
        return any(name.startswith(f"{place}.") for name in self.weights)

    def numbered(self, place: str) -> list[str]:
        numbers = {int(name.split(".")[1]) for name in self.weights if name.startswith(f"{place}.")}
        return [f"{place}.{i}" for i in sorted(numbers)]

    def rest(self) -> list[str]:
        return sorted(self.left)

    def take(self, name: str) -> np.ndarray:
        if name not in self.weights:
            raise UserError(f"A {self.kind} of diffusers has weights {name!r}, and these do not; give the whole state of one.")
        self.left.discard(name)
        return self.weights[name]

    def dense(self, place: str) -> dict[str, Any]:
        bias = {"bias": self.take(f"{place}.bias")} if f"{place}.bias" in self.weights else {}
        return {"kernel": self.take(f"{place}.weight").T, **bias}

    def conv(self, place: str) -> dict[str, Any]:
        kernel = self.take(f"{place}.weight")
        # The 1x1 convolutions around the Transformers of later models are saved as matrices.
        kernel = kernel.reshape(*kernel.shape, *(1,) * (4 - kernel.ndim))
        return {"kernel": kernel.transpose(2, 3, 1, 0), "bias": self.take(f"{place}.bias")}

    def norm(self, place: str) -> dict[str, Any]:
        return {"scale": self.take(f"{place}.weight"), "bias": self.take(f"{place}.bias")}

    def group_norm(self, place: str) -> dict[str, Any]:
        return {"GroupNorm_0": self.norm(place)}

    def block(self, place: str) -> dict[str, Any]:
        """A residual block; it scales and shifts if it gets twice as many numbers as it has channels."""
        first, condition = self.conv(f"{place}.conv1"), self.dense(f"{place}.time_emb_proj")
        kind = "AdditiveGroupNorm_0" if len(condition["bias"]) == len(first["bias"]) else "AdaptiveGroupNorm_0"
        shortcut = f"{place}.conv_shortcut"
        return {
            "GroupNorm_0": self.group_norm(f"{place}.norm1"),
            "Conv_0": first,
            kind: {"Dense_0": condition, "GroupNorm_0": self.group_norm(f"{place}.norm2")},
            "Conv_1": self.conv(f"{place}.conv2"),
            **({"Conv_2": self.conv(shortcut)} if self.has(shortcut) else {}),
        }

    def attention(self, place: str) -> tuple[str, dict[str, Any]]:
        """Attention alone, or a Transformer."""
        if not self.has(f"{place}.transformer_blocks"):
            return "SelfAttention", {"GroupNorm_0": self.group_norm(f"{place}.group_norm"), "Attention_0": self.heads_of(place)}
        layers: dict[str, Any] = {
            "GroupNorm_0": self.group_norm(f"{place}.norm"),
            "Conv_0": self.conv(f"{place}.proj_in"),
            "Conv_1": self.conv(f"{place}.proj_out"),
        }
        k = 0
        while self.has(f"{place}.transformer_blocks.{k}"):
            layers[f"TransformerBlock_{k}"] = self.transformer_block(f"{place}.transformer_blocks.{k}")
            k += 1
        return "SpatialTransformer", layers

    def transformer_block(self, place: str) -> dict[str, Any]:
        return {
            "attention_norm": {"LayerNorm_0": self.norm(f"{place}.norm1")},
            "attention": self.heads_of(f"{place}.attn1"),
            "cross_attention_norm": {"LayerNorm_0": self.norm(f"{place}.norm2")},
            "cross_attention": self.heads_of(f"{place}.attn2"),
            "mlp_norm": {"LayerNorm_0": self.norm(f"{place}.norm3")},
            "mlp_in": self.dense(f"{place}.ff.net.0.proj"),
            "mlp_out": self.dense(f"{place}.ff.net.2"),
        }

    def heads_of(self, place: str) -> dict[str, Any]:
        """Queries, keys, values and output, cut into heads."""
        out = self.dense(f"{place}.to_out.0")
        channels = len(out["kernel"])
        heads = self.heads if self.head_width is None else max(channels // self.head_width, 1)

        def cut(place: str) -> dict[str, Any]:
            return {name: value.reshape(*value.shape[:-1], heads, -1) for name, value in self.dense(place).items()}

        found = {name: cut(f"{place}.{own}") for name, own in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"))}
        return {**found, "out": {**out, "kernel": out["kernel"].reshape(heads, -1, channels)}}
