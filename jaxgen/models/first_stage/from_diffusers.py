"""The weights of diffusers' autoencoders as parameters of ours."""

from collections.abc import Mapping
from typing import Any

from jaxgen.errors import UserError
from jaxgen.models.diffusion.from_diffusers import Weights

RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The layers of attention by their names in older files, such as that of Stable Diffusion 1, and by those of today."""


def from_diffusers(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a `KLAutoencoder` of an `AutoencoderKL`, or of a `VQAutoencoder` of a `VQModel`.

    `safetensors.numpy.load_file` reads the state of a file. The fields of the autoencoder are those that the model's
    configuration says, such as `presets.kl_f8()` for Stable Diffusion 1.

    Args:
      state_dict: the weights by the names that diffusers gives them.

    Returns:
      The parameters, `{"encoder": ..., "before": ..., "after": ..., "decoder": ...}`, in float32; of a `VQModel` also those of
      the `quantiser`.

    Raises:
      UserError: if there are weights of layers that these autoencoders have not, or if some are missing.
    """
    parts: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}, "": {}}
    for name, value in state_dict.items():
        part, _, own = name.partition(".")
        place, own = (part, own) if part in ("encoder", "decoder") else ("", name)
        parts[place][_of_today(own)] = value
    sources = {part: Weights("first stage", weights) for part, weights in parts.items()}
    outer = sources[""]
    params: dict[str, Any] = {
        "encoder": _half(sources["encoder"], "down_blocks", middle_first=False),
        "before": outer.conv("quant_conv"),
        "after": outer.conv("post_quant_conv"),
        "decoder": _half(sources["decoder"], "up_blocks", middle_first=True),
    }
    if outer.has("quantize"):
        params["quantiser"] = {"codebook": outer.take("quantize.embedding.weight")}
    if rest := [f"{part}.{name}" if part else name for part, source in sources.items() for name in source.rest()]:
        raise UserError(
            f"A first stage has no layers for {len(rest)} of the weights, such as {rest[0]!r}; only autoencoders of residual "
            "blocks and attention can be read."
        )
    return params


def _half(source: Weights, levels: str, *, middle_first: bool) -> dict[str, Any]:
    """The layers of an encoder or a decoder, numbered as they are called."""
    params: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def put(kind: str, layer: dict[str, Any]) -> None:
        params[f"{kind}_{counts.get(kind, 0)}"] = layer
        counts[kind] = counts.get(kind, 0) + 1

    def blocks(place: str) -> None:
        """The blocks of one size, then what changes the size."""
        j = 0
        while source.has(f"{place}.resnets.{j}"):
            put("ResidualBlock", _block(source, f"{place}.resnets.{j}"))
            if source.has(f"{place}.attentions.{j}"):
                put(*source.attention(f"{place}.attentions.{j}"))
            j += 1
        for change in (f"{place}.downsamplers.0.conv", f"{place}.upsamplers.0.conv"):
            if source.has(change):
                put("Conv", source.conv(change))

    put("Conv", source.conv("conv_in"))
    places = source.numbered(levels)
    for place in ("mid_block", *places) if middle_first else (*places, "mid_block"):
        blocks(place)
    return {**params, "GroupNorm_0": source.group_norm("conv_norm_out"), "out": source.conv("conv_out")}


def _block(source: Weights, place: str) -> dict[str, Any]:
    """A residual block."""
    shortcut = f"{place}.conv_shortcut"
    return {
        "GroupNorm_0": source.group_norm(f"{place}.norm1"),
        "Conv_0": source.conv(f"{place}.conv1"),
        "GroupNorm_1": source.group_norm(f"{place}.norm2"),
        "Conv_1": source.conv(f"{place}.conv2"),
        **({"Conv_2": source.conv(shortcut)} if source.has(shortcut) else {}),
    }


def _of_today(name: str) -> str:
    """The name of a weight in today's files."""
    place, _, kind = name.rpartition(".")
    above, _, layer = place.rpartition(".")
    return f"{above}.{RENAMED[layer]}.{kind}" if ".attentions." in name and layer in RENAMED else name
