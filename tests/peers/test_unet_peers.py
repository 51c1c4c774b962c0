"""The U-Net with diffusers' weights against diffusers, on images of 16x16 and few channels, in float32.

The weights are random, are written to safetensors files by diffusers, and are read back from these.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import UserError
from jaxgen.models.diffusion import from_diffusers, presets
from jaxgen.nn import Sinusoidal

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")
safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed; it comes with diffusers")

pytestmark = pytest.mark.peers

TIME = np.array([3, 900])
GROUPS = 8


def randomised(model: Any) -> Any:
    """Their model with weights that are all random, those of norms and biases too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            fan_in = max(p[0].numel(), 1)
            p.copy_((p == 1).float() + torch.randn(p.shape, generator=generator) / (fan_in**0.5 if p.ndim > 1 else 4))
    return model.eval()


def compare(
    ours: Any, theirs: Any, folder: Path, x: jax.Array, *, heads: int = 1, width: int | None = None, **told: Any
) -> float:
    """The largest difference of outputs; the numbers of parameters are equal."""
    randomised(theirs).save_pretrained(folder)
    state = safetensors.load_file(folder / "diffusion_pytorch_model.safetensors")
    params = from_diffusers(state, heads=heads, head_width=width)
    shapes = jax.eval_shape(lambda key: ours.init(key, x, jnp.asarray(TIME, jnp.float32), **told), jax.random.key(0))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    assert sum(p.size for p in jax.tree.leaves(params)) == sum(p.numel() for p in theirs.parameters())
    found = jax.jit(ours.apply)({"params": params}, x, jnp.asarray(TIME, jnp.float32), **told)
    names = {"context": "encoder_hidden_states", "label": "class_labels"}
    theirs_told = {names[name]: torch.from_numpy(np.array(value)) for name, value in told.items()}
    with torch.no_grad():
        image = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
        expected = theirs(image, torch.from_numpy(TIME), **theirs_told).sample.permute(0, 2, 3, 1).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return float(np.abs(found - expected).max())


def pixels(side: int, channels: int = 3) -> jax.Array:
    return normal(2, side, side, channels)


@pytest.mark.parametrize("padding", [0, 1])  # 0 pads one pixel at the end, as TensorFlow
def test_ddpm_is_diffusers_unet(padding: int, tmp_path: Path) -> None:
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=padding,
        freq_shift=1,
        flip_sin_to_cos=False,
        attention_head_dim=None,
        norm_num_groups=GROUPS,
        norm_eps=1e-6,
        num_class_embeds=4,
    )
    own = {"groups": GROUPS, "stride_padding": padding or "SAME", "classes": 3}
    ours = presets.ddpm(16, (1, 2, 2), 1, (1,), **own)
    print(compare(ours, theirs, tmp_path, pixels(16), label=jnp.array([1, 3])))


def test_adm_is_diffusers_unet_with_blocks_that_resample(tmp_path: Path) -> None:
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        out_channels=6,
        layers_per_block=2,
        block_out_channels=(16, 32, 48),
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
        freq_shift=0,
        flip_sin_to_cos=True,
        attention_head_dim=8,
        norm_num_groups=GROUPS,
        attn_norm_num_groups=GROUPS,  # they leave out the norm of the middle's attention otherwise
        norm_eps=1e-5,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=5,
    )
    ours = presets.adm(16, (1, 2, 3), 2, (1,), head_width=8, groups=GROUPS, classes=4)
    print(compare(ours, theirs, tmp_path, pixels(16), width=8, label=jnp.array([4, 0])))


def test_improved_ddpm_is_diffusers_unet_that_scales_and_shifts(tmp_path: Path) -> None:
    theirs = diffusers.UNet2DModel(
        sample_size=8,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=GROUPS,
        attn_norm_num_groups=GROUPS,
        resnet_time_scale_shift="scale_shift",
    )
    ours = presets.improved_ddpm(16, (1, 2), 1, (1,), groups=GROUPS)
    print(compare(ours, theirs, tmp_path, pixels(8), heads=4))


@pytest.mark.parametrize("linear", [False, True])
def test_stable_diffusion_is_diffusers_conditional_unet(linear: bool, tmp_path: Path) -> None:
    theirs = diffusers.UNet2DConditionModel(
        sample_size=16,
        layers_per_block=2,
        block_out_channels=(16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        cross_attention_dim=12,
        norm_num_groups=GROUPS,
        use_linear_projection=linear,
    )
    ours = presets.stable_diffusion(16, (1, 2, 2), 2, (0, 1), heads=4, groups=GROUPS)
    print(compare(ours, theirs, tmp_path, pixels(16, 4), heads=4, context=normal(2, 7, 12, seed=3)))


def test_a_model_with_other_layers_is_refused_with_their_names(tmp_path: Path) -> None:
    theirs = diffusers.UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(16, 16),
        down_block_types=("SkipDownBlock2D", "SkipDownBlock2D"),
        up_block_types=("SkipUpBlock2D", "SkipUpBlock2D"),
        norm_num_groups=4,
    )
    with pytest.raises(UserError, match="no layers for"):
        from_diffusers({name: p.detach().numpy() for name, p in theirs.state_dict().items()}, heads=2)
    with pytest.raises(UserError, match="linear_1"):
        from_diffusers({})


def test_the_embeddings_of_the_time_are_theirs() -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    for endpoint in (False, True):
        for cosines_first in (False, True):
            options = {"flip_sin_to_cos": cosines_first, "downscale_freq_shift": int(endpoint)}
            expected = get_timestep_embedding(torch.from_numpy(TIME), 32, **options).numpy()
            ours = Sinusoidal(32, endpoint=endpoint, cosines_first=cosines_first)(jnp.asarray(TIME, jnp.float32))
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
