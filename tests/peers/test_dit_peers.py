"""The diffusion Transformer with diffusers' weights against diffusers, on latents of 8x8 and a small width, in float32.

All weights are random, those of the layers that start at zero too, are written to a safetensors file by diffusers, and are read
back from it.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import UserError
from jaxgen.models.diffusion import DiT, dit_from_diffusers
from jaxgen.nn import Sinusoidal

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")
safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed; it comes with diffusers")

pytestmark = pytest.mark.peers

TIME, LABEL = np.array([0, 3, 900]), np.array([1, 4, 5])  # of 5 classes, and one example without any
THEIRS_OF_TIME = Sinusoidal(256, cosines_first=True)


def peer(patch: int = 2, depth: int = 3, outputs: int = 8, **config: Any) -> Any:
    """Their model, with random weights and one embedding for all blocks, as that of the weights that were published."""
    own = {"num_attention_heads": 4, "attention_head_dim": 8, "in_channels": 4, "sample_size": 8, "num_embeds_ada_norm": 5}
    own |= {"patch_size": patch, "num_layers": depth, "out_channels": outputs, "norm_eps": 1e-6} | config
    model = diffusers.DiTTransformer2DModel(**own)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / (p[0].numel() ** 0.5 if p.ndim > 1 else 4))
        for block in model.transformer_blocks[1:]:
            block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    return model.eval()


def saved(model: Any, folder: Path) -> dict[str, np.ndarray]:
    model.save_pretrained(folder)
    return safetensors.load_file(folder / "diffusion_pytorch_model.safetensors")


def expected_of(model: Any, x: jax.Array) -> np.ndarray:
    image = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(image, torch.from_numpy(TIME), torch.from_numpy(LABEL)).sample.permute(0, 2, 3, 1).numpy()


def found_of(ours: DiT, params: Any, x: jax.Array) -> np.ndarray:
    return np.asarray(jax.jit(ours.apply)({"params": params}, x, jnp.asarray(TIME, jnp.float32), jnp.asarray(LABEL)))


@pytest.mark.parametrize(("patch", "outputs", "remat"), [(2, 8, False), (4, 4, True)])
def test_dit_is_diffusers(patch: int, outputs: int, remat: bool, tmp_path: Path) -> None:
    theirs, x = peer(patch, outputs=outputs), normal(3, 8, 8, 4)
    params = dit_from_diffusers(saved(theirs, tmp_path), heads=4)
    ours = DiT(patch, 32, 3, 4, classes=5, outputs=outputs, time=THEIRS_OF_TIME, remat=remat)
    start = jax.eval_shape(lambda key: ours.init(key, x, jnp.zeros(3), jnp.asarray(LABEL)), jax.random.key(0))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start)
    expected = expected_of(theirs, x)
    assert np.abs(expected).max() > 0.5
    print(np.abs(found_of(ours, params, x) - expected).max())
    np.testing.assert_allclose(found_of(ours, params, x), expected, rtol=1e-4, atol=1e-4)


def test_the_networks_times_are_the_authors_and_not_diffusers(tmp_path: Path) -> None:
    """Theirs end at 1/10000; those of the authors, whose weights they are, do not. At time 0 the two are equal."""
    theirs, x = peer(), normal(3, 8, 8, 4)
    params = dit_from_diffusers(saved(theirs, tmp_path), heads=4)
    differs = np.abs(found_of(DiT(2, 32, 3, 4, classes=5, outputs=8), params, x) - expected_of(theirs, x)).max((1, 2, 3))
    assert differs[0] < 1e-4
    assert (differs[1:] > 1e-3).all()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    state = saved(peer(depth=2), tmp_path)
    with pytest.raises(UserError, match=r"^A DiT of diffusers has weights 'pos_embed.proj.weight', and these do not"):
        dit_from_diffusers({"conv_in.weight": np.zeros((4, 3, 3, 3))}, heads=4)
    with pytest.raises(UserError, match=r"^A DiT of diffusers has weights 'transformer_blocks.1.ff.net.2.weight'"):
        dit_from_diffusers({k: v for k, v in state.items() if k != "transformer_blocks.1.ff.net.2.weight"}, heads=4)
    with pytest.raises(UserError, match=r"^A DiT has no layers for 1 of the weights, such as 'caption.weight'"):
        dit_from_diffusers(state | {"caption.weight": np.zeros(3)}, heads=4)
    with pytest.raises(UserError, match=r"^A width of 32 cannot be cut into 3 heads"):
        dit_from_diffusers(state, heads=3)
    place = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"
    with pytest.raises(UserError, match=r"^The block 1 of these weights has other embeddings"):
        dit_from_diffusers(state | {place: state[place] + 1}, heads=4)
