"""Distributions and layers against PyTorch."""

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.distributions import Bernoulli, DiscretizedLogistic, Normal
from jaxgen.models.autoencoders import mlp
from jaxgen.models.vae import VAE
from jaxgen.nn import BernoulliLikelihood, Conv, ConvTranspose, ResidualBlock
from jaxgen.nn.conv import convolve, convolve_transpose
from jaxgen.objectives import elbo

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
F = torch.nn.functional

pytestmark = pytest.mark.peers


def tensor(a: jax.Array, *order: int):
    return torch.from_numpy(np.array(a.transpose(*order) if order else a)).requires_grad_()


def nchw(a: jax.Array):
    return tensor(a, 0, 3, 1, 2)


def nhwc(a) -> np.ndarray:
    return a.detach().permute(0, 2, 3, 1).numpy()


LOCATIONS, WIDTHS = 10 * normal(64), jnp.exp(4 * normal(64, seed=1))
X = LOCATIONS + 5 * WIDTHS * normal(64, seed=2)


def test_log_prob_of_a_normal_is_torchs_and_so_are_its_gradients() -> None:
    x, mean, std = inputs = [tensor(a) for a in (X, LOCATIONS, WIDTHS)]
    theirs = torch.distributions.Normal(mean, std).log_prob(x)
    theirs.sum().backward()
    ours, pull = jax.vjp(lambda x, mean, std: Normal(mean, std).log_prob(x), X, LOCATIONS, WIDTHS)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
    for grad, other in zip(pull(jnp.ones(64)), inputs, strict=True):
        np.testing.assert_allclose(grad, other.grad, rtol=1e-4, atol=1e-5)


def test_kl_of_normals_is_torchs_and_so_are_its_gradients() -> None:
    arguments = (LOCATIONS, WIDTHS, LOCATIONS[::-1], WIDTHS[::-1])
    mean_p, std_p, mean_q, std_q = inputs = [tensor(a) for a in arguments]
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean_p, std_p), torch.distributions.Normal(mean_q, std_q)
    )
    theirs.sum().backward()
    ours, pull = jax.vjp(lambda a, b, c, d: Normal(a, b).kl(Normal(c, d)), *arguments)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
    for grad, other in zip(pull(jnp.ones(64)), inputs, strict=True):
        np.testing.assert_allclose(grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_log_prob_of_a_bernoulli_is_torchs_and_so_is_its_gradient(scale: float) -> None:
    logits, x = scale * normal(64), jnp.arange(64.0) % 2
    theirs_logits = tensor(logits)
    theirs = torch.distributions.Bernoulli(logits=theirs_logits).log_prob(tensor(x))
    theirs.sum().backward()
    ours, pull = jax.vjp(lambda logits: Bernoulli(logits).log_prob(x), logits)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=3e-7 * scale)
    np.testing.assert_allclose(pull(jnp.ones(64))[0], theirs_logits.grad, atol=1e-6)


def test_log_prob_of_a_fraction_is_torchs_cross_entropy() -> None:
    logits, x = 3 * normal(64), jax.nn.sigmoid(normal(64, seed=1))
    theirs = -F.binary_cross_entropy_with_logits(tensor(logits), tensor(x), reduction="none")
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x), theirs.detach(), rtol=1e-5, atol=1e-6)


def test_log_prob_of_a_level_is_a_difference_of_torchs_sigmoids_in_double_precision() -> None:
    grid = np.linspace(-1, 1, 256)
    loc, log_scale = normal(16), normal(16, seed=1) - 2
    a, b = (
        torch.sigmoid((torch.tensor(grid)[:, None] + sign / 255 - tensor(loc).double()) / tensor(log_scale).double().exp())
        for sign in (1, -1)
    )
    upper, lower = a.detach().numpy(), b.detach().numpy()
    upper[-1], lower[0] = 1, 0
    ours = np.exp(DiscretizedLogistic(loc, log_scale).log_prob(jnp.array(grid, jnp.float32)[:, None]))
    np.testing.assert_allclose(ours, upper - lower, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("size", "stride", "pads"), [(3, 1, 1), (4, 2, 1), (1, 1, 0), (5, 1, 2), (3, 2, 1), (2, 2, 0)])
def test_convolution_is_torchs_and_so_are_its_gradients(size: int, stride: int, pads: int) -> None:
    x, kernel = normal(2, 8, 10, 3), normal(size, size, 3, 5, seed=1)
    theirs_x, theirs_kernel = nchw(x), tensor(kernel, 3, 2, 0, 1)
    theirs = F.conv2d(theirs_x, theirs_kernel, stride=stride, padding=pads)
    theirs.pow(2).sum().backward()
    ours, pull = jax.vjp(lambda x, k: convolve(x, k, (stride, stride), ((pads, pads), (pads, pads))), x, kernel)
    by_x, by_kernel = pull(2 * ours)
    np.testing.assert_allclose(ours, nhwc(theirs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_x, nhwc(theirs_x.grad), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(by_kernel, theirs_kernel.grad.permute(2, 3, 1, 0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "stride", "pads"), [(4, 2, 1), (3, 1, 1), (5, 1, 2), (2, 2, 0), (6, 4, 1)])
def test_transposed_convolution_is_torchs_and_so_are_its_gradients(size: int, stride: int, pads: int) -> None:
    x, kernel = normal(2, 4, 5, 3), normal(size, size, 3, 5, seed=1)
    theirs_x, theirs_kernel = nchw(x), tensor(kernel, 2, 3, 0, 1)
    theirs = F.conv_transpose2d(theirs_x, theirs_kernel, stride=stride, padding=pads)
    theirs.pow(2).sum().backward()
    ours, pull = jax.vjp(lambda x, k: convolve_transpose(x, k, (stride, stride)), x, kernel)
    by_x, by_kernel = pull(2 * ours)
    np.testing.assert_allclose(ours, nhwc(theirs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_x, nhwc(theirs_x.grad), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(by_kernel, theirs_kernel.grad.permute(2, 3, 0, 1), rtol=1e-4, atol=1e-3)


def test_layers_are_torchs_with_the_same_parameters() -> None:
    x = normal(2, 8, 8, 3)
    down, up = Conv(5, (4, 4), (2, 2)), ConvTranspose(5, (4, 4), (2, 2))
    p, q = filled(down, x)["params"], filled(up, x)["params"]
    theirs = F.conv2d(nchw(x), tensor(p["kernel"], 3, 2, 0, 1), tensor(p["bias"]), stride=2, padding=1)
    np.testing.assert_allclose(down.apply({"params": p}, x), nhwc(theirs), rtol=1e-4, atol=1e-4)
    theirs = F.conv_transpose2d(nchw(x), tensor(q["kernel"], 2, 3, 0, 1), tensor(q["bias"]), stride=2, padding=1)
    np.testing.assert_allclose(up.apply({"params": q}, x), nhwc(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resize", [-2, 1, 2])
def test_residual_block_is_the_one_written_in_torch(resize: int) -> None:
    x = 2 + 3 * normal(2, 6, 8, 64)
    block = ResidualBlock(48, resize=resize)
    params = filled(block, x)
    p = params["params"]

    def norm(a, name: str, groups: int):
        q = p[name]["GroupNorm_0"]
        return F.group_norm(a, groups, tensor(q["scale"]), tensor(q["bias"]), eps=1e-6)

    def conv(a, name: str, pads: int):
        return F.conv2d(a, tensor(p[name]["kernel"], 3, 2, 0, 1), tensor(p[name]["bias"]), padding=pads)

    def resized(a):
        if resize == 2:
            return F.interpolate(a, scale_factor=2, mode="nearest")
        return F.avg_pool2d(a, 2) if resize == -2 else a

    y = conv(resized(F.silu(norm(nchw(x), "GroupNorm_0", 16))), "Conv_0", 1)
    y = conv(F.silu(norm(y, "GroupNorm_1", 12)), "Conv_1", 1)
    theirs = y + conv(resized(nchw(x)), "Conv_2", 0)
    np.testing.assert_allclose(block.apply(params, x), nhwc(theirs), rtol=1e-3, atol=1e-3)


def test_mean_loss_of_a_vae_is_that_of_the_usual_torch_program() -> None:
    model = VAE(mlp.Encoder((8,)), mlp.Decoder((4, 4, 1), (8,)), BernoulliLikelihood(), 2)
    x = (normal(32, 4, 4, 1) > 0).astype(jnp.float32)
    params = filled(model, x)["params"]

    def dense(a, layer: dict):
        return a @ tensor(layer["kernel"]) + tensor(layer["bias"])

    torch.manual_seed(0)
    flat = tensor(x).reshape(32, 16).repeat(4000, 1, 1)
    raw = dense(torch.tanh(dense(flat[0], params["encoder"]["Dense_0"])), params["head"])
    mean, log_std = raw[:, :2], raw[:, 2:]
    z = mean + log_std.exp() * torch.randn(4000, 32, 2)
    logits = dense(torch.tanh(dense(z, params["decoder"]["Dense_0"])), params["decoder"]["Dense_1"])
    entropies = F.binary_cross_entropy_with_logits(logits, flat, reduction="none").sum(-1)
    theirs = entropies.mean(0) - 0.5 * (1 + 2 * log_std - mean**2 - (2 * log_std).exp()).sum(-1)
    error = entropies.std(0) / np.sqrt(4000)

    loss, _ = lg.values(elbo(model, samples=4000), {"model": params}, np.asarray(x))
    difference = np.abs(np.asarray(loss) - theirs.detach().numpy())
    np.testing.assert_array_less(difference, 5 * np.sqrt(2) * error.detach().numpy())
