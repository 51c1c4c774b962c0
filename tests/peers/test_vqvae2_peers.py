"""The VQ-VAE-2 and the PixelSNAIL against the classes of rosinality/vq-vae-2-pytorch, with the same parameters.

JAXGEN_VQVAE2=/path/of/a/checkout/of/rosinality/vq-vae-2-pytorch pytest -m peers tests/peers/test_vqvae2_peers.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen.game import TrainState
from jaxgen.models.autoregressive import PixelSNAIL
from jaxgen.models.vqvae import TwoLevelVQVAE
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA
from jaxgen.objectives import vector_quantisation

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

# Theirs is the older of PyTorch's two weight normalisations.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")]

K, D, CHANNELS, WIDTH = 9, 4, 8, 5


@pytest.fixture(scope="module")
def theirs() -> Any:
    return authors.vqvae2()


def tensor(a: Any) -> Any:
    return torch.from_numpy(np.array(a))


def nchw(a: Any) -> Any:
    return tensor(a).permute(0, 3, 1, 2)


def put(layer: Any, ours: Any, *, transposed: bool = False) -> None:
    """Copies a convolution."""
    order = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
    with torch.no_grad():
        layer.weight.copy_(tensor(ours["kernel"]).permute(order))
        layer.bias.copy_(tensor(ours["bias"]))


def put_stack(sequence: Any, params: Any, names: list[str]) -> None:
    """Copies an encoder or a decoder of theirs, whose layers follow one another; the blocks stand where "stack" is."""
    ours: list[Any] = []
    for name in names:
        if name == "stack":
            count = len(params["stack"]) // 2
            ours += [params["stack"][f"{kind}_{i}"] for i in range(count) for kind in ("conv3", "conv1")]
        else:
            ours.append(params[name])
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    layers = [layer for layer in sequence.modules() if isinstance(layer, kinds)]
    for layer, own in zip(layers, ours, strict=True):
        put(layer, own, transposed=isinstance(layer, torch.nn.ConvTranspose2d))


def copied(theirs: Any, params: Any, books: dict[str, Any]) -> Any:
    """Their VQ-VAE with our parameters."""
    model = theirs.VQVAE(3, CHANNELS, 2, WIDTH, D, K)
    put_stack(model.enc_b, params["encoder"], ["down0", "down1", "last", "stack"])
    put_stack(model.enc_t, params["top_encoder"], ["down0", "last", "stack"])
    put_stack(model.dec_t, params["top_decoder"], ["first", "stack", "up0"])
    put_stack(model.dec, params["decoder"], ["first", "stack", "up0", "up1"])
    put(model.quantize_conv_t, params["top_head"])
    put(model.quantize_conv_b, params["head"])
    put(model.upsample_t, params["enlarge"], transposed=True)
    for quantize, book in ((model.quantize_t, books["top"]), (model.quantize_b, books["bottom"])):
        quantize.embed.copy_(tensor(book).T)
    return model


def test_images_codes_loss_and_gradients_are_those_of_their_vqvae(theirs: Any) -> None:
    x = 0.5 * normal(3, 16, 16, 3)
    books = (VectorQuantiserEMA(K, D), VectorQuantiserEMA(K, D))
    model = TwoLevelVQVAE.of((16, 16, 3), *books, channels=(CHANNELS // 2, CHANNELS), blocks=2, width=WIDTH)
    variables = filled(model, x)
    averages = {name: {**book, "steps": jnp.int32(0)} for name, book in variables["codebook"].items()}
    # Codebooks about the vectors that the encoder makes, so that many codes are chosen.
    bound = model.bind({"params": variables["params"], "codebook": averages})
    maps, z = bound._top(x, False)
    averages["top_quantiser"]["vectors"] = z.reshape(-1, D)[:K] + 0.01
    e = model.bind({"params": variables["params"], "codebook": averages}).top_quantiser(z).vectors
    averages["quantiser"]["vectors"] = bound._bottom(maps, e, False).reshape(-1, D)[:: 48 // K][:K]
    params = {"model": variables["params"]}
    state = TrainState(jnp.array(0), jax.random.key(0), params, {}, {"model": {"codebook": averages}}, {})
    loss = vector_quantisation(model)

    def ours(own: Any) -> Any:
        values, aux = loss({"model": own}, state, {"image": x}, jax.random.key(0), train=False)
        return values.mean(), aux.metrics

    (value, metrics), grads = jax.jit(jax.value_and_grad(ours, has_aux=True))(params["model"])
    images, quantised = model.apply({"params": params["model"], "codebook": averages}, x)

    other = copied(
        theirs, params["model"], {"top": averages["top_quantiser"]["vectors"], "bottom": averages["quantiser"]["vectors"]}
    ).eval()
    decoded, difference = other(nchw(x))
    *_, top, bottom = other.encode(nchw(x))
    assert len(np.unique(top)) > 2
    assert len(np.unique(bottom)) > 2
    np.testing.assert_array_equal(quantised["top"].codes, top)
    np.testing.assert_array_equal(quantised["bottom"].codes, bottom)
    np.testing.assert_allclose(images, decoded.detach().permute(0, 2, 3, 1), atol=1e-4)
    np.testing.assert_allclose(images, other.decode_code(top, bottom).detach().permute(0, 2, 3, 1), atol=1e-4)
    total = torch.nn.functional.mse_loss(decoded, nchw(x)) + 0.25 * difference.mean()
    total.backward()
    np.testing.assert_allclose(value, total.detach(), rtol=1e-4)
    np.testing.assert_allclose(metrics["quantisation"].mean(), 0.25 * difference.mean().detach(), rtol=1e-4)
    for own, layer in (
        (grads["encoder"]["down0"], other.enc_b.blocks[0]),
        (grads["top_encoder"]["down0"], other.enc_t.blocks[0]),
        (grads["head"], other.quantize_conv_b),
        (grads["top_decoder"]["first"], other.dec_t.blocks[0]),
    ):
        scale = float(layer.weight.grad.abs().max())
        np.testing.assert_allclose(
            own["kernel"], layer.weight.grad.permute(2, 3, 1, 0), rtol=1e-3, atol=1e-4 * scale, err_msg=str(layer)
        )


def weighted(conv: Any, ours: Any) -> None:
    """Copies a layer with weight normalisation: ours has a `scale` beside a `layer`."""
    v, g = tensor(ours["layer"]["kernel"]), tensor(ours["scale"])
    with torch.no_grad():
        conv.weight_v.copy_(v.permute(3, 2, 0, 1) if v.ndim == 4 else v.T)
        conv.weight_g.copy_(g.reshape(conv.weight_g.shape))
        if conv.bias is not None:
            conv.bias.copy_(tensor(ours["layer"]["bias"]))


def gated(block: Any, ours: Any) -> None:
    def conv(layer: Any, own: Any) -> None:
        inner = layer.conv.conv if hasattr(layer.conv, "conv") else layer.conv
        weighted(inner, own["conv"]["layer"] if "conv" in own else own)

    conv(block.conv1, ours["first"])
    conv(block.conv2, ours["second"])
    if "attended" in ours:
        weighted(block.aux_conv.conv, ours["attended"])
    if "condition" in ours:
        weighted(block.condition.conv, ours["condition"])


def snail(theirs: Any, params: Any, model: PixelSNAIL, grid: tuple[int, int]) -> Any:
    """Their PixelSNAIL with our parameters."""
    told = {"n_cond_res_block": model.residuals_above, "cond_res_channel": model.width} if model.above else {}
    sizes = (model.codes, model.channels, model.kernel, model.blocks, model.residuals, model.width)
    other = theirs.PixelSNAIL(grid, *sizes, attention=model.attention, dropout=0.0, **told)
    weighted(other.horizontal.conv.conv, params["first_rows"])
    weighted(other.vertical.conv.conv, params["first_left"])
    for i, part in enumerate(other.blocks):
        own = params[f"parts_{i}"]
        for j, block in enumerate(part.resblocks):
            gated(block, own[f"causal_{j}"])
        if model.attention:
            gated(part.key_resblock, own["to_key"])
            gated(part.query_resblock, own["to_query"])
            gated(part.out_resblock, own["out"])
            for name in ("query", "key", "value"):
                weighted(getattr(part.causal_attention, name), own["attend"][name])
        else:
            weighted(part.out.conv, own["out"])
    if model.above:
        weighted(other.cond_resnet.blocks[0].conv, params["enter_above"])
        for i, block in enumerate(other.cond_resnet.blocks[1:]):
            gated(block, params[f"blocks_above_{i}"])
    weighted(other.out[-1].conv, params["logits"])
    return other.eval()


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("above", [0, 5])
def test_logits_are_those_of_their_pixelsnail(attention: bool, above: int, theirs: Any) -> None:
    rng = np.random.default_rng(0)
    codes = jnp.array(rng.integers(0, 5, (2, 6, 8)), jnp.int32)
    told = (None, jnp.array(rng.integers(0, 5, (2, 3, 4)), jnp.int32)) if above else ()
    model = PixelSNAIL(5, 32, 6, blocks=2, residuals=2, attention=attention, heads=8, above=above, residuals_above=2)
    variables = filled(model, codes, *told)
    other = snail(theirs, variables["params"], model, (6, 8))
    logits, _ = other(tensor(codes).long(), **({"condition": tensor(told[1]).long()} if above else {}))
    found = model.apply(variables, codes, *told)
    assert float(jnp.abs(found).max()) > 0.5
    np.testing.assert_allclose(found, logits.detach().permute(0, 2, 3, 1), atol=1e-4)


def count(shapes: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_the_defaults_have_their_numbers_of_parameters(theirs: Any) -> None:
    """Theirs: images of 256x256 with grids of 32x32 and 64x64 codes."""
    model = TwoLevelVQVAE.of((256, 256, 3), VectorQuantiser(512, 64), VectorQuantiser(512, 64))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))["params"]
    with torch.device("meta"):
        first = theirs.VQVAE()
        top = theirs.PixelSNAIL([32, 32], 512, 256, 5, 4, 4, 256)
        bottom = theirs.PixelSNAIL([64, 64], 512, 256, 5, 4, 4, 256, attention=False, n_cond_res_block=3, cond_res_channel=256)
    assert model.grids == ((32, 32), (64, 64))
    assert count(shapes) - 2 * 512 * 64 == sum(p.numel() for p in first.parameters())
    grids = (jnp.zeros((1, 32, 32), jnp.int32), jnp.zeros((1, 64, 64), jnp.int32))
    for prior, told, other in (
        (PixelSNAIL(512), (grids[0],), top),
        (PixelSNAIL(512, attention=False, above=512), (grids[1], None, grids[0]), bottom),
    ):
        made = jax.eval_shape(prior.init, jax.random.key(0), *told)["params"]
        assert count(made) == sum(p.numel() for p in other.parameters())
