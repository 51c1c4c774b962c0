"""Patches, positions and their interpolation against PyTorch and diffusers."""

import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import (
    PatchEmbedding,
    RelativePositionBias,
    bicubic,
    bicubic_antialiased,
    bilinear,
    from_patches,
    interpolate,
    sinusoidal_2d,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers


def tensor(a):
    return torch.from_numpy(np.array(a))


@pytest.mark.parametrize("size", [(7, 5), (14, 20), (3, 4), (8, 3), (24, 7)])
@pytest.mark.parametrize(
    ("rule", "mode", "antialias"),
    [(bilinear, "bilinear", False), (bicubic, "bicubic", False), (bicubic_antialiased, "bicubic", True)],
)
def test_interpolation_is_torchs(size: tuple[int, int], rule, mode: str, antialias: bool) -> None:
    x = normal(2, 7, 8, 3)
    theirs = F.interpolate(tensor(x).permute(0, 3, 1, 2), size=size, mode=mode, antialias=antialias, align_corners=False)
    np.testing.assert_allclose(interpolate(x, size, rule), theirs.permute(0, 2, 3, 1), atol=1e-5)


def test_patch_embedding_is_torchs_convolution_and_patches_are_folded_as_by_torch() -> None:
    layer, x = PatchEmbedding(5, 4), normal(2, 8, 12, 3)
    p = filled(layer, x)["params"]
    theirs = F.conv2d(tensor(x).permute(0, 3, 1, 2), tensor(p["kernel"]).permute(3, 2, 0, 1), tensor(p["bias"]), stride=4)
    np.testing.assert_allclose(layer.apply({"params": p}, x), theirs.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)
    patches = normal(2, 6, 4 * 4 * 3)
    columns = tensor(patches).reshape(2, 6, 16, 3).permute(0, 3, 2, 1).reshape(2, 48, 6)
    folded = F.fold(columns, (8, 12), 4, stride=4).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(from_patches(patches, (2, 3), 4), folded)


def test_sines_and_cosines_are_those_of_diffusers() -> None:
    embeddings = pytest.importorskip("diffusers.models.embeddings", reason="diffusers is not installed (the extra `peers`)")
    square = embeddings.get_2d_sincos_pos_embed(16, 5, base_size=5, cls_token=True, extra_tokens=1, output_type="pt")
    np.testing.assert_allclose(sinusoidal_2d((5, 5), 16, tokens=1), square, atol=1e-6)
    grid = torch.stack(torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="xy"))  # columns first, as there
    theirs = embeddings.get_2d_sincos_pos_embed_from_grid(16, grid.flatten(1), output_type="pt")
    np.testing.assert_allclose(sinusoidal_2d((4, 6), 16), theirs, atol=1e-6)


@pytest.mark.parametrize("grid", [(3, 4), (6, 5)])
def test_relative_biases_are_those_of_the_code_of_beit(grid: tuple[int, int]) -> None:
    """Written as in BEiT's code: a window's coordinates, their differences, and a table that is interpolated with torch."""
    layer = RelativePositionBias(2, (3, 4), class_token=True, rule=bilinear)
    variables = filled(layer)
    table = tensor(variables["params"]["table"])
    old, new = ((2 * n - 1 for n in size) for size in ((3, 4), grid))
    inner = F.interpolate(table[:-3].reshape(1, *old, 2).permute(0, 3, 1, 2), size=tuple(new), mode="bilinear")
    table = torch.cat([inner.permute(0, 2, 3, 1).reshape(-1, 2), table[-3:]])
    coordinates = torch.stack(torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")).flatten(1)
    relative = (coordinates[:, :, None] - coordinates[:, None, :]).permute(1, 2, 0).contiguous()
    relative[:, :, 0] += grid[0] - 1
    relative[:, :, 1] += grid[1] - 1
    relative[:, :, 0] *= 2 * grid[1] - 1
    index = torch.zeros((grid[0] * grid[1] + 1,) * 2, dtype=torch.long)
    index[1:, 1:] = relative.sum(-1)
    index[0, 0:], index[0:, 0], index[0, 0] = len(table) - 3, len(table) - 2, len(table) - 1
    expected = table[index.view(-1)].view(*index.shape, -1).permute(2, 0, 1)
    np.testing.assert_allclose(layer.apply(variables, grid)[0], expected, atol=1e-5)
    assert layer.apply(variables, grid).dtype == jnp.float32
