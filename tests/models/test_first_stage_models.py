"""Latent diffusion's first stages: their numbers of parameters, their latents, what is drawn and what is quantised."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError, UserError
from jaxgen.models.first_stage import Decoder, Encoder, from_diffusers, presets

X = normal(3, 8, 8, 1)

COUNTS = {
    "kl_f4": (presets.kl_f4, 55_312_063, (64, 64, 3)),
    "kl_f8": (presets.kl_f8, 83_653_863, (32, 32, 4)),
    "kl_f16": (presets.kl_f16, 69_610_963, (16, 16, 16)),
    "kl_f32": (presets.kl_f32, 103_880_131, (8, 8, 64)),
    "vq_f4": (presets.vq_f4, 55_322_782, (64, 64, 3)),
}
"""Presets, the numbers of parameters of diffusers' models of the same configuration, and the latents of 256x256 images."""


@pytest.mark.parametrize("name", COUNTS)
def test_presets_have_the_parameters_of_diffusers_and_the_papers_latents(name: str) -> None:
    make, count, shape = COUNTS[name]
    model, x = make(), jnp.zeros((1, 256, 256, 3))
    made = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, method="to_latents"), x)
    assert made[0].shape == (1, *shape)
    whole = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert whole[0].shape == x.shape
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(whole[1]["params"])) == count


def kl(**fields: Any) -> Any:
    return presets.kl(8, (1, 2), 2, images=1, blocks=1, **fields)


def vq(**fields: Any) -> Any:
    return presets.vq(8, (1, 2), 2, 16, images=1, blocks=1, **fields)


@functools.cache
def made(kind: Any) -> Any:
    variables = filled(kind(), X)
    if kind is vq:
        # Codes that the encoder's vectors are near to.
        z = kind().apply(variables, X, method="to_latents").reshape(-1, 2)
        book = {"quantiser": {"codebook": z[::3][:16] + 0.1}}
        variables = {"params": {**variables["params"], **book}}
    return variables


@functools.partial(jax.jit, static_argnames=("kind", "method"))
def _called(kind: Any, variables: Any, *inputs: Any, method: str) -> Any:
    return kind().apply(variables, *inputs, method=method)


def call(kind: Any, *inputs: Any, method: str) -> Any:
    return _called(kind, made(kind), *inputs, method=method)


def test_latents_are_means_without_a_key_and_draws_with_one() -> None:
    q, mean = call(kl, X, method="posterior"), call(kl, X, method="to_latents")
    assert mean.shape == (3, 4, 4, 2)
    np.testing.assert_array_equal(mean, q.mean)
    own = jax.random.split(jax.random.key(1), 3)
    drawn = call(kl, X, own, method="to_latents")
    noise = jax.vmap(lambda key: jax.random.normal(key, (4, 4, 2)))(own)
    np.testing.assert_allclose(drawn, q.mean + q.std * noise, rtol=1e-5, atol=1e-6)
    one = jax.random.key(3)
    np.testing.assert_allclose(
        call(kl, X, one, method="to_latents"), q.mean + q.std * jax.random.normal(one, (3, 4, 4, 2)), rtol=1e-5, atol=1e-6
    )


def test_the_cost_of_a_posterior_is_its_divergence_summed_over_the_latents() -> None:
    q = call(kl, X, method="posterior")
    z, cost = call(kl, X, method="bottleneck")
    np.testing.assert_array_equal(z, q.mean)
    expected = 0.5 * (q.mean**2 + q.std**2 - 1 - 2 * jnp.log(q.std)).sum((1, 2, 3))
    np.testing.assert_allclose(cost, expected, rtol=1e-5)


@pytest.mark.parametrize(("bias", "limit"), [(-1000.0, -30.0), (1000.0, 20.0), (3.0, 3.0)])
def test_log_variances_are_limited(bias: float, limit: float) -> None:
    """Means come first and log-variances after them."""
    variables = made(kl)
    flat = {"kernel": jnp.zeros((1, 1, 4, 4)), "bias": jnp.array([0.5, -0.5, bias, bias])}
    variables = {"params": {**variables["params"], "before": flat}}
    q = jax.jit(lambda x: kl().apply(variables, x, method="posterior"))(X)
    np.testing.assert_allclose(q.mean, jnp.broadcast_to(jnp.array([0.5, -0.5]), (3, 4, 4, 2)))
    np.testing.assert_allclose(q.std, math.exp(limit / 2), rtol=1e-5)


def test_a_codebook_is_a_part_of_the_decoder() -> None:
    z, codes = call(vq, X, method="to_latents"), call(vq, X, method="codes")
    np.testing.assert_array_equal(call(vq, X, jax.random.key(0), method="to_latents"), z)
    vectors, cost = call(vq, X, method="bottleneck")
    book = made(vq)["params"]["quantiser"]["codebook"]
    nearest = np.square(np.asarray(z)[..., None, :] - np.asarray(book)).sum(-1).argmin(-1)
    np.testing.assert_array_equal(codes, nearest)
    np.testing.assert_allclose(vectors, book[nearest], rtol=1e-5, atol=1e-6)
    # The whole squared distance draws the codes, and a quarter of it the vectors.
    np.testing.assert_allclose(cost, 1.25 * np.square(z - vectors).mean((1, 2, 3)), rtol=1e-4)
    assert np.abs(z - vectors).max() > 0.05
    images = call(vq, z, method="from_latents")
    np.testing.assert_allclose(images, call(vq, vectors, method="decode"), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(images, call(vq, X, method="__call__"), rtol=1e-5, atol=1e-6)
    assert np.abs(images - call(vq, z, method="decode")).max() > 1e-3


def test_what_a_posterior_draws_is_decoded_as_it_is() -> None:
    z = normal(3, 4, 4, 2)
    np.testing.assert_array_equal(call(kl, z, method="from_latents"), call(kl, z, method="decode"))
    mean = call(kl, X, method="to_latents")
    np.testing.assert_allclose(call(kl, X, method="__call__"), call(kl, mean, method="decode"), rtol=1e-4, atol=1e-5)


def test_maps_are_halved_with_a_row_and_a_column_of_zeros_after_the_last() -> None:
    """With kernels of zeros but one, a pixel of the small map is that pixel of the large one that the place of the one says."""
    encoder = Encoder(1, (1, 1), blocks=0)
    variables = jax.tree.map(jnp.zeros_like, filled(encoder, X))
    centre = np.zeros((3, 3, 1, 1))
    centre[1, 1] = 1
    for place in (0, 2):
        corner = np.zeros((3, 3, 1, 1))
        corner[place, place] = 1
        params = {**variables["params"], "Conv_0": {"kernel": jnp.asarray(centre), "bias": jnp.zeros(1)}}
        params["Conv_1"] = {"kernel": jnp.asarray(corner), "bias": jnp.zeros(1)}
        _, seen = encoder.apply({"params": params}, X, capture_intermediates=True)
        found = seen["intermediates"]["Conv_1"]["__call__"][0]
        expected = np.pad(np.asarray(X), ((0, 0), (0, 1), (0, 1), (0, 0)))[:, place::2, place::2]
        np.testing.assert_allclose(found, expected[:, :4, :4], atol=1e-6)


@pytest.mark.parametrize("attention", [(), (0,), (1,)])
def test_attention_follows_every_block_of_its_levels_and_the_middle_always(attention: tuple[int, ...]) -> None:
    shapes = jax.eval_shape(lambda: kl(attention_levels=attention).init(jax.random.key(0), X))["params"]
    count = lambda half, kind: sum(name.startswith(kind) for name in shapes[half])
    assert (count("encoder", "ResidualBlock"), count("decoder", "ResidualBlock")) == (4, 6)
    assert (count("encoder", "SelfAttention"), count("decoder", "SelfAttention")) == (
        1 + len(attention),
        1 + 2 * len(attention),
    )
    if attention:
        width = 8 * 2 ** attention[0]
        scales = [
            shapes["encoder"][name]["GroupNorm_0"]["GroupNorm_0"]["scale"] for name in ("SelfAttention_0", "SelfAttention_1")
        ]
        assert sorted(p.shape for p in scales) == sorted([(width,), (16,)])


def test_normalisation_has_32_groups_of_four_channels_or_more_and_an_epsilon_of_a_millionth() -> None:
    """A map that is nearly constant, which the epsilon alone keeps small."""
    decoder = Decoder(1, (8,), blocks=0)
    variables = jax.tree.map(jnp.zeros_like, filled(decoder, X[:, :4, :4].repeat(2, axis=-1)))
    params = variables["params"]
    scale = {"GroupNorm_0": {"GroupNorm_0": {"scale": jnp.ones(8), "bias": jnp.zeros(8)}}}
    first = {"Conv_0": {"kernel": params["Conv_0"]["kernel"].at[1, 1, 0, 0].set(1e-3), "bias": jnp.zeros(8)}}
    last = {"out": {"kernel": params["out"]["kernel"].at[1, 1, 0, 0].set(1.0), "bias": jnp.zeros(1)}}
    z = X[:, :4, :4].repeat(2, axis=-1)
    found = decoder.apply({"params": {**params, **scale, **first, **last}}, z)[..., 0]
    h = 1e-3 * np.asarray(z[..., 0])
    # Two groups of four channels, of which one is not zero.
    mean = h.mean((1, 2), keepdims=True) / 4
    variance = (np.square(h - mean).sum((1, 2), keepdims=True) + 3 * h[0].size * mean**2) / (4 * h[0].size)
    normalised = (h - mean) / np.sqrt(variance + 1e-6)
    np.testing.assert_allclose(found, normalised / (1 + np.exp(-normalised)), rtol=1e-3, atol=1e-5)


def test_sides_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(SizeError, match=r"^Images of 8x6 cannot be halved 2 times; give sides that 4 divides, or fewer levels"):
        jax.eval_shape(lambda: Encoder(2, (8, 8, 8)).init(jax.random.key(0), jnp.zeros((1, 8, 6, 1))))


@pytest.mark.parametrize("kind", [kl, vq], ids=lambda kind: kind.__name__)
def test_in_bfloat16_latents_and_images_are_float32(kind: Any) -> None:
    half = kind(dtype=jnp.bfloat16)
    z = half.apply(made(kind), X, method="to_latents")
    assert z.dtype == half.apply(made(kind), z, method="from_latents").dtype == jnp.float32
    np.testing.assert_allclose(z, call(kind, X, method="to_latents"), atol=0.1)


def state_of(params: Any) -> dict[str, np.ndarray]:
    """The parameters of `kl()` by the names of diffusers."""
    out: dict[str, np.ndarray] = {}

    def put(name: str, layer: Any) -> None:
        own = layer.get("GroupNorm_0", layer)
        kernel = own["scale"] if "scale" in own else own["kernel"]
        out[f"{name}.weight"] = np.asarray(kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel)
        out[f"{name}.bias"] = np.asarray(own["bias"])

    def block(name: str, layer: Any) -> None:
        for ours, theirs in (("GroupNorm_0", "norm1"), ("Conv_0", "conv1"), ("GroupNorm_1", "norm2"), ("Conv_1", "conv2")):
            put(f"{name}.{theirs}", layer[ours])
        if "Conv_2" in layer:
            put(f"{name}.conv_shortcut", layer["Conv_2"])

    def attention(name: str, layer: Any) -> None:
        put(f"{name}.group_norm", layer["GroupNorm_0"])
        heads = layer["Attention_0"]
        for ours, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v")):
            out[f"{name}.{theirs}.weight"] = np.asarray(heads[ours]["kernel"]).reshape(16, 16).T
            out[f"{name}.{theirs}.bias"] = np.asarray(heads[ours]["bias"]).ravel()
        out[f"{name}.to_out.0.weight"] = np.asarray(heads["out"]["kernel"]).reshape(16, 16).T
        out[f"{name}.to_out.0.bias"] = np.asarray(heads["out"]["bias"])

    encoder, decoder = params["encoder"], params["decoder"]
    for half, name in ((encoder, "encoder"), (decoder, "decoder")):
        put(f"{name}.conv_in", half["Conv_0"])
        put(f"{name}.conv_norm_out", half["GroupNorm_0"])
        put(f"{name}.conv_out", half["out"])
        attention(f"{name}.mid_block.attentions.0", half["SelfAttention_0"])
    for i, place in enumerate(
        ("down_blocks.0.resnets.0", "down_blocks.1.resnets.0", "mid_block.resnets.0", "mid_block.resnets.1")
    ):
        block(f"encoder.{place}", encoder[f"ResidualBlock_{i}"])
    places = [f"up_blocks.{level}.resnets.{i}" for level in range(2) for i in range(2)]
    for i, place in enumerate(("mid_block.resnets.0", "mid_block.resnets.1", *places)):
        block(f"decoder.{place}", decoder[f"ResidualBlock_{i}"])
    put("encoder.down_blocks.0.downsamplers.0.conv", encoder["Conv_1"])
    put("decoder.up_blocks.0.upsamplers.0.conv", decoder["Conv_1"])
    put("quant_conv", params["before"])
    put("post_quant_conv", params["after"])
    return out


def test_weights_by_the_names_of_diffusers_are_read() -> None:
    """The values are held against diffusers itself in tests/peers."""
    params = made(kl)["params"]
    state = state_of(params)
    jax.tree.map(np.testing.assert_array_equal, from_diffusers(state), dict(params))
    book = {"quantize.embedding.weight": np.ones((16, 2), np.float32)}
    assert from_diffusers({**state, **book})["quantiser"]["codebook"].shape == (16, 2)
    with pytest.raises(UserError, match=r"no layers for 1 of the weights, such as 'decoder\.more\.weight'"):
        from_diffusers({**state, "decoder.more.weight": np.zeros(1)})
