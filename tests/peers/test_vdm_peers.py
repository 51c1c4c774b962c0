"""Variational diffusion against the authors' code (github.com/google-research/vdm), which JAXGEN_VDM names.

JAXGEN_VDM=/path/of/a/checkout/of/google-research/vdm pytest -m peers tests/peers/test_vdm_peers.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen import keys
from jaxgen.diffusion import EPSILON, Level, denoiser, time_by_gamma, timed
from jaxgen.models.diffusion import presets
from jaxgen.objectives import vdm_bound
from jaxgen.samplers.variational import table_of_gamma

pytestmark = pytest.mark.peers

theirs = authors.vdm()
LAYERS, LOW, HIGH = 1, -13.3, 5.0
MODEL = presets.vdm(128, LAYERS, outputs=3, dropout=0.0)
LEVELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
IMAGES = jnp.asarray(2 * (LEVELS + 0.5) / 256 - 1, jnp.float32)
VARIABLES = filled(MODEL, IMAGES, jnp.zeros(4))
MEANING = timed(EPSILON, time_by_gamma(LOW, HIGH))


def config(steps: int) -> Any:
    return theirs.VDMConfig(
        vocab_size=256,
        sample_softmax=False,
        antithetic_time_sampling=True,
        with_fourier_features=True,
        with_attention=False,
        gamma_type="learnable_scalar",
        gamma_min=LOW,
        gamma_max=HIGH,
        sm_n_timesteps=steps,
        sm_n_embd=128,
        sm_n_layer=LAYERS,
        sm_pdrop=0.0,
    )


def copied() -> dict[str, Any]:
    """Our parameters by their names."""
    own = VARIABLES["params"]["network"]

    def block(p: Any) -> dict[str, Any]:
        norm = p["AdditiveGroupNorm_0"]
        named = {"GroupNorm_0": p["GroupNorm_0"]["GroupNorm_0"], "GroupNorm_1": norm["GroupNorm_0"]["GroupNorm_0"]}
        named |= {"conv1": p["Conv_0"], "conv2": p["Conv_1"], "cond_proj": norm["Dense_0"]}
        if "Conv_2" in p:
            named["nin_shortcut"] = {**p["Conv_2"], "kernel": p["Conv_2"]["kernel"][0, 0]}
        return named

    attention = own["SelfAttention_0"]["Attention_0"]
    flat = {"kernel": (128, 128), "bias": (128,)}
    looks = {
        theirs: {name: value.reshape(flat[name]) for name, value in attention[ours].items()}
        for theirs, ours in {"q": "query", "k": "key", "v": "value", "proj_out": "out"}.items()
    }
    names = [f"down.block_{i}" for i in range(LAYERS)] + ["mid.block_1", "mid.block_2"]
    names += [f"up.block_{i}" for i in range(LAYERS + 1)]
    first = own["Dense_1"]
    return {
        "conv_in": own["Conv_0"],
        "conv_out": own["Conv_1"],
        "GroupNorm_0": own["GroupNorm_0"]["GroupNorm_0"],
        "dense0": {**first, "kernel": jnp.concatenate([first["kernel"], jnp.ones((1, 512))])},
        "dense1": own["Dense_0"],
        "mid.attn_1": {"GroupNorm_0": own["SelfAttention_0"]["GroupNorm_0"]["GroupNorm_0"], **looks},
        **{name: block(own[f"ConditionalResidualBlock_{i}"]) for i, name in enumerate(names)},
    }


def whole() -> dict[str, Any]:
    """All parameters of their model; their fixed schedule takes no number that is not an array."""
    return {"params": {"score_model": copied(), "gamma": {"w": jnp.array([HIGH - LOW]), "b": jnp.array([LOW])}}}


def network(z: jax.Array, time: jax.Array) -> jax.Array:
    return MODEL.apply(VARIABLES, z, time)


def test_the_network_is_theirs() -> None:
    z, gamma = normal(4, 8, 8, 3), jnp.array([-13.0, -5.0, 0.0, 4.9])
    expected = theirs.ScoreUNet(config(0)).apply({"params": copied()}, z, gamma, jnp.zeros(4))
    np.testing.assert_allclose(network(z, (gamma - LOW) / (HIGH - LOW)), expected, atol=2e-4)


@pytest.mark.parametrize("steps", [0, 1000])
def test_the_parts_of_the_bound_are_theirs(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rest, offset = normal(*IMAGES.shape, seed=1), normal(*IMAGES.shape, seed=2), jnp.float32(0.1373)
    numbers = iter((first, rest))
    with monkeypatch.context() as patch:
        patch.setattr(theirs.jax.random, "normal", lambda *args, **options: next(numbers))
        patch.setattr(theirs.jax.random, "uniform", lambda *args, **options: offset)
        own = {"sample": jax.random.key(0)}
        out = theirs.VDM(config(steps)).apply(whole(), jnp.asarray(LEVELS), jnp.zeros(4), rngs=own)
    again = iter((first, rest))
    monkeypatch.setattr(keys, "draw", lambda *args, **options: next(again))
    found = vdm_bound(
        denoiser(network, MEANING),
        lambda t: LOW + (HIGH - LOW) * t,
        IMAGES,
        jax.random.key(0),
        (offset + jnp.arange(4) / 4) % 1,
        steps=steps or None,
    )
    np.testing.assert_allclose(found.decoder, out.loss_recon, rtol=1e-4)
    np.testing.assert_allclose(found.prior, out.loss_klz, rtol=1e-4)
    np.testing.assert_allclose(found.transitions, out.loss_diff, rtol=2e-3 if steps else 1e-4)


def test_each_step_of_a_walk_is_theirs() -> None:
    """From their state, since waves of short length make much of a last digit."""
    steps, key, z = 5, jax.random.key(8), normal(4, 8, 8, 3)
    model, denoise = theirs.VDM(config(steps)), denoiser(network, MEANING)
    table = jax.tree.map(jnp.asarray, table_of_gamma(jnp.linspace(LOW, HIGH, steps + 1)))
    for i in range(steps):
        level = Level(*(jnp.full(4, of[i], jnp.float32) for of in table.level))
        drawn = jax.random.normal(jax.random.fold_in(key, i), z.shape)
        ours = table.x[i] * z + table.data[i, 0] * denoise(z, level).x0 + jnp.sqrt(table.variance[i]) * drawn
        z = model.apply(whole(), i, steps, z, jnp.zeros(4), key, method=model.sample)
        np.testing.assert_allclose(ours, z, rtol=1e-3, atol=1e-3)
