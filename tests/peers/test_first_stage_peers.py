"""Latent diffusion's first stages with diffusers' weights against diffusers, on images of 16x16 and few channels, in float32.

The weights are random, are written to safetensors files by diffusers, and are read back from these.
"""

from pathlib import Path
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen import objectives
from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.losses import adversarial
from jaxgen.models.first_stage import from_diffusers, presets

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")
safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed; it comes with diffusers")

pytestmark = pytest.mark.peers

GROUPS = 8


def randomised(model: Any) -> Any:
    """Their model with weights that are all random, those of norms and biases too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            fan_in = max(p[0].numel(), 1)
            p.copy_((p == 1).float() + torch.randn(p.shape, generator=generator) / (fan_in**0.5 if p.ndim > 1 else 4))
    return model.eval()


def halves(channels: tuple[int, ...], attention: tuple[int, ...]) -> dict[str, Any]:
    """The blocks of both halves of theirs, the largest maps first on the way down and last on the way up."""
    levels = range(len(channels))
    down = tuple("AttnDownEncoderBlock2D" if i in attention else "DownEncoderBlock2D" for i in levels)
    up = tuple("AttnUpDecoderBlock2D" if i in attention else "UpDecoderBlock2D" for i in reversed(levels))
    return {"down_block_types": down, "up_block_types": up, "block_out_channels": channels, "norm_num_groups": GROUPS}


def state_of(model: Any, folder: Path) -> dict[str, Any]:
    model.save_pretrained(folder)
    return safetensors.load_file(folder / "diffusion_pytorch_model.safetensors")


def channels_first(x: Any) -> Any:
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


def check(found: Any, expected: Any) -> None:
    expected = expected.permute(0, 2, 3, 1).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    print("largest difference", np.abs(found - expected).max())


def check_shapes(ours: Any, params: Any, x: Any, theirs: Any) -> None:
    shapes = jax.eval_shape(lambda key: ours.init(key, x), jax.random.key(0))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    assert sum(p.size for p in jax.tree.leaves(params)) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("multipliers", "attention"), [((1, 2), ()), ((1, 2, 2), (2,)), ((1, 1, 2), (0, 2))], ids=["f2", "f4", "two_levels_attend"]
)
def test_an_autoencoder_kl_is_diffusers(multipliers: tuple[int, ...], attention: tuple[int, ...], tmp_path: Path) -> None:
    channels = tuple(16 * m for m in multipliers)
    theirs = randomised(
        diffusers.AutoencoderKL(3, 3, **halves(channels, attention), layers_per_block=2, latent_channels=4, act_fn="silu")
    )
    ours = presets.kl(16, multipliers, 4, attention_levels=attention, groups=GROUPS)
    x, params = normal(2, 16, 16, 3), jax.tree.map(jnp.asarray, from_diffusers(state_of(theirs, tmp_path)))
    check_shapes(ours, params, x, theirs)
    with torch.no_grad():
        posterior = theirs.encode(channels_first(x)).latent_dist
        side = 16 // 2 ** (len(multipliers) - 1)
        z = normal(2, side, side, 4)
        images = theirs.decode(channels_first(z)).sample
    q = jax.jit(lambda x: ours.apply({"params": params}, x, method="posterior"))(x)
    check(q.mean, posterior.mean)
    check(q.std, posterior.std)
    _, kl = jax.jit(lambda x: ours.apply({"params": params}, x, method="bottleneck"))(x)
    np.testing.assert_allclose(kl, posterior.kl().numpy(), rtol=1e-4)
    check(jax.jit(lambda z: ours.apply({"params": params}, z, method="from_latents"))(z), images)


@pytest.mark.parametrize(("multipliers", "attention"), [((1, 2), ()), ((1, 2, 2), (2,))], ids=["f2", "f4"])
def test_a_vq_model_is_diffusers(multipliers: tuple[int, ...], attention: tuple[int, ...], tmp_path: Path) -> None:
    channels = tuple(16 * m for m in multipliers)
    made = diffusers.VQModel(
        3, 3, **halves(channels, attention), layers_per_block=2, latent_channels=3, num_vq_embeddings=32, vq_embed_dim=3
    )
    theirs = randomised(made)
    ours = presets.vq(16, multipliers, 3, 32, attention_levels=attention, groups=GROUPS)
    x, params = normal(2, 16, 16, 3), jax.tree.map(jnp.asarray, from_diffusers(state_of(theirs, tmp_path)))
    check_shapes(ours, params, x, theirs)
    with torch.no_grad():
        latents = theirs.encode(channels_first(x)).latents
        images = theirs.decode(latents).sample
        unquantised = theirs.decode(latents, force_not_quantize=True).sample
    assert (images - unquantised).abs().max() > 0.1
    call = lambda method, *inputs: jax.jit(lambda *a: ours.apply({"params": params}, *a, method=method))(*inputs)
    z = call("to_latents", x)
    check(z, latents)
    check(call("from_latents", z), images)
    check(call("decode", z), unquantised)


def test_older_files_name_the_layers_of_attention_otherwise(tmp_path: Path) -> None:
    theirs = randomised(diffusers.AutoencoderKL(3, 3, **halves((16, 32), ()), layers_per_block=1, latent_channels=4))
    state = state_of(theirs, tmp_path)
    older = {}
    for name, value in state.items():
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            name = name.replace(f".{new}.", f".{old}.")
        older[name] = value
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in older
    jax.tree.map(np.testing.assert_array_equal, from_diffusers(older), from_diffusers(state))


def test_what_is_no_first_stage_is_refused(tmp_path: Path) -> None:
    theirs = randomised(diffusers.AutoencoderKL(3, 3, **halves((16, 32), ()), layers_per_block=1, latent_channels=4))
    state = state_of(theirs, tmp_path)
    with pytest.raises(UserError, match=r"has no layers for 1 of the weights, such as 'decoder\.conv_more\.weight'"):
        from_diffusers({**state, "decoder.conv_more.weight": np.zeros(3)})
    with pytest.raises(UserError, match=r"has weights 'quant_conv\.weight', and these do not"):
        from_diffusers({name: value for name, value in state.items() if name != "quant_conv.weight"})


def test_the_adaptive_weight_and_the_hinge_loss_are_those_of_pytorchs_autograd() -> None:
    """The formulas of the authors' code (taming-transformers, vqperceptual.py), on networks of one layer."""
    rng = np.random.default_rng(0)
    kernel, judge = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(3, 1)).astype(np.float32)
    z, x = (rng.normal(size=(5, 2, 2, n)).astype(np.float32) for n in (4, 3))

    last = torch.tensor(kernel, requires_grad=True)
    made = torch.tensor(z) @ last
    nll = (torch.tensor(x) - made).abs().sum() / len(x)
    fake, real = torch.tanh(made) @ torch.tensor(judge), torch.tanh(torch.tensor(x)) @ torch.tensor(judge)
    norms = [torch.norm(torch.autograd.grad(value, last, retain_graph=True)[0]) for value in (nll, -fake.mean())]
    weight = torch.clamp(norms[0] / (norms[1] + 1e-4), 0.0, 1e4)
    hinge = 0.5 * (torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean())

    class Autoencoder(linen.Module):
        def setup(self) -> None:
            self.out = linen.Dense(3, use_bias=False)

        def bottleneck(self, x: Any, key: Any = None, mask: Any = None, *, train: bool = False) -> Any:
            return jnp.array(z), jnp.zeros(len(z))

        def decode(self, z: Any, *, train: bool = False) -> Any:
            return self.out(z)

    class Discriminator(linen.Module):
        @linen.compact
        def __call__(self, x: Any, *, train: bool = False) -> Any:
            return linen.Dense(1, use_bias=False, name="head")(jnp.tanh(x))

    own = {"autoencoder": {"out": {"kernel": jnp.array(kernel)}}, "discriminator": {"head": {"kernel": jnp.array(judge)}}}
    state = TrainState(jnp.int32(0), jax.random.key(0), own, {}, {}, {})
    losses = objectives.latent_autoencoder(Autoencoder(), Discriminator(), adversarial.hinge, gan=0.8, last=("out", "kernel"))
    (values, aux), (judged, _) = (loss(own, state, {"image": jnp.array(x)}, jax.random.key(1), train=True) for loss in losses)
    np.testing.assert_allclose(aux.metrics["adaptive_weight"], weight.item(), rtol=1e-5)
    np.testing.assert_allclose(values.mean(), (nll + 0.8 * weight * -fake.mean()).item(), rtol=1e-5)
    np.testing.assert_allclose(judged.mean(), hinge.item(), rtol=1e-5)
