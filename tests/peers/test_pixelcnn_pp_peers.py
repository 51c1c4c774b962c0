"""PixelCNN++ against pclucas14/pixel-cnn-pp, a port of the authors' code, with the same weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled
from peers import authors

from jaxgen.models.autoregressive import PixelCNNPlusPlus
from jaxgen.nn import LogisticMixtureLikelihood

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

WIDTH, BLOCKS, K = 4, 2, 10


def kernel_of(params: Any) -> tuple[np.ndarray, np.ndarray]:
    """The normalised kernel and the bias of one of our layers."""
    params = params.get("conv", params)
    kernel = np.asarray(params["layer"]["kernel"], np.float64)
    lengths = np.sqrt((kernel**2).sum(tuple(range(kernel.ndim - 1))))
    return kernel * np.asarray(params["scale"]) / lengths, np.asarray(params["layer"]["bias"])


def places(colours: int) -> np.ndarray:
    """The place among our numbers of a pixel of each of theirs, which come colour by colour."""
    logits, of_part = np.arange(K), K * (1 + np.arange(3)[:, None] * colours + np.arange(colours))  # by part and colour
    if colours == 1:  # has no coefficients
        of_part = of_part[:2]
    by_colour = [of_part[:, c, None] + np.arange(K) for c in range(colours)]
    return np.concatenate([logits, *(part.reshape(-1) for part in by_colour)])


def load(layer: Any, params: Any, order: Any = slice(None)) -> None:
    """Copies a kernel and a bias into a layer of theirs, with the lengths that it takes itself."""
    kernel, bias = kernel_of(params)
    kernel, bias = kernel[..., order], bias[order]
    layer = next(one for one in layer.modules() if hasattr(one, "weight_v"))
    if isinstance(layer, torch.nn.Linear):
        weight = kernel[0, 0].T
    elif isinstance(layer, torch.nn.ConvTranspose2d):
        weight = kernel.transpose(2, 3, 0, 1)
    else:
        weight = kernel.transpose(3, 2, 0, 1)
    length = np.sqrt((weight**2).sum(tuple(range(1, weight.ndim)), keepdims=True))
    with torch.no_grad():
        for name, value in (("weight_v", weight), ("weight_g", length), ("bias", bias)):
            parameter = getattr(layer, name)
            parameter.copy_(torch.from_numpy(np.array(value, np.float32)).reshape(parameter.shape))


def load_block(block: Any, params: Any) -> None:
    load(block.conv_input, params["first"])
    load(block.conv_out, params["second"])
    assert ("attended" in params) == hasattr(block, "nin_skip")
    if "attended" in params:
        load(block.nin_skip, params["attended"])


@pytest.mark.filterwarnings("ignore")  # of functions that PyTorch has given up since
@pytest.mark.parametrize("colours", [1, 3])
def test_numbers_of_the_mixtures_and_their_likelihood_are_theirs(colours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, head = authors.pixel_cnn_pp(), LogisticMixtureLikelihood(K)
    theirs = peer.model.PixelCNN(BLOCKS, WIDTH, K, input_channels=colours).eval()
    model = PixelCNNPlusPlus(head, WIDTH, BLOCKS, dropout=0.0)
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 12, colours)) / 127.5 - 1
    x[0, 0, :2], x[0, 1, :2] = -1.0, 1.0
    variables = filled(model, jnp.zeros((1, 8, 12, colours)))
    params, used = variables["params"], {"first_above", "first_row", "first_left", "out"}
    load(theirs.u_init, params["first_above"])
    load(theirs.ul_init[0], params["first_row"])
    load(theirs.ul_init[1], params["first_left"])
    load(theirs.nin_out, params["out"], places(colours))
    for scale in range(3):
        for stream, short in (("above", "u"), ("left", "ul")):
            for way, blocks, place in (("in", theirs.up_layers, scale), ("out", theirs.down_layers, 2 - scale)):
                for i, block in enumerate(getattr(blocks[place], f"{short}_stream")):
                    load_block(block, params[f"{way}{scale}_{i}_{stream}"])
                    used.add(f"{way}{scale}_{i}_{stream}")
            if scale:
                load(getattr(theirs, f"downsize_{short}_stream")[scale - 1], params[f"halve{scale}_{stream}"])
                load(getattr(theirs, f"upsize_{short}_stream")[scale - 1], params[f"double{2 - scale}_{stream}"])
                used |= {f"halve{scale}_{stream}", f"double{2 - scale}_{stream}"}
    assert used == set(params)
    pixels = torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))
    raw = theirs(pixels)
    found = model.apply(variables, jnp.asarray(x, jnp.float32))
    numbers = raw.detach().numpy().transpose(0, 2, 3, 1)
    by_colour = numbers[..., K:].reshape(2, 8, 12, colours, -1, K)
    np.testing.assert_allclose(found.logits, numbers[..., :K], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.loc, by_colour[..., 0, :], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.log_scale, np.maximum(by_colour[..., 1, :], -7), rtol=1e-4, atol=1e-4)
    if colours == 3:
        np.testing.assert_allclose(found.coefficients, np.tanh(by_colour[..., 2, :]), rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    suffix = "_1d" if colours == 1 else ""
    nll = getattr(peer.utils, f"discretized_mix_logistic_loss{suffix}")(pixels, raw)
    assert -float(found.log_prob(jnp.asarray(x, jnp.float32)).sum()) == pytest.approx(float(nll), rel=1e-4)
