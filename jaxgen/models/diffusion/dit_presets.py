"""The diffusion Transformers of the paper: functions that set fields of `DiT` and do nothing else.

They are for ImageNet's 1,000 classes and latents of four channels with learned variances, so that they have 8 outputs. All take
further fields by name, `dit_s(patch=8, classes=10, outputs=2)`. The paper has patches with a side of 2, 4 and 8. The number of
parameters hardly depends on it, but half the side means four times as many positions.

Training by Adam with averages keeps five numbers of four bytes for each parameter: the parameter, its gradient, its two moments
and its average. These are 0.7, 2.6, 9.2 and 13.5 GB for S, B, L and XL. Activations come on top: with `remat` the inputs of the
blocks, which are depth x positions x width numbers an image, 16.5 MB in bfloat16 for XL/2 at 256 positions, and the
intermediate values of a single block.

Source: Peebles & Xie 2023, table 1 (widths, depths, heads), and the authors' code, models.py.
"""

from typing import Any

from jaxgen.models.diffusion.dit import DiT


def dit_s(patch: int = 2, **fields: Any) -> DiT:
    """DiT-S, of 33 million parameters.

    Args:
      patch: the side of a patch.
      **fields: other fields of `DiT`.
    """
    return _dit(patch, 384, 12, 6, fields)


def dit_b(patch: int = 2, **fields: Any) -> DiT:
    """DiT-B, of 130 million parameters; the arguments are those of `dit_s`."""
    return _dit(patch, 768, 12, 12, fields)


def dit_l(patch: int = 2, **fields: Any) -> DiT:
    """DiT-L, of 458 million parameters; the arguments are those of `dit_s`."""
    return _dit(patch, 1024, 24, 16, fields)


def dit_xl(patch: int = 2, **fields: Any) -> DiT:
    """DiT-XL, of 675 million parameters; the arguments are those of `dit_s`."""
    return _dit(patch, 1152, 28, 16, fields)


def _dit(patch: int, width: int, depth: int, heads: int, fields: dict[str, Any]) -> DiT:
    own: dict[str, Any] = {"classes": 1000, "outputs": 8, **fields}
    return DiT(patch, width, depth, heads, **own)
