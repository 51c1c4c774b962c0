"""NVAE against the authors' code (github.com/NVlabs/NVAE), which JAXGEN_NVAE names: cells, laws, flows and the whole network.

JAXGEN_NVAE=/path/of/a/checkout/of/NVlabs/NVAE pytest -m peers tests/peers/test_nvae_peers.py
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen.distributions import Normal
from jaxgen.losses.spectral import first_vectors, spectral_norms
from jaxgen.models import vae
from jaxgen.models.vae.nvae_cells import Double, Halve, NormedConv
from jaxgen.nn import BernoulliLikelihood, LogisticMixtureLikelihood, SqueezeExcite
from jaxgen.objectives import balance, sizes_by_resolution

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

theirs = authors.nvae()
X = normal(3, 8, 8, 8)


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)


def channels_first(x: Any) -> Any:
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


def channels_last(x: Any) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def put(into: Any, value: Any) -> None:
    with torch.no_grad():
        into.copy_(torch.tensor(np.asarray(value)).reshape(into.shape))


def conv(own: Any, module: Any) -> None:
    """A convolution of theirs takes our numbers, weight-normalised where it is."""
    layer = own.get("conv", own)
    put(module.weight, np.asarray(layer["kernel"]).transpose(3, 2, 0, 1))
    if "bias" in layer:
        put(module.bias, layer["bias"])
    assert (module.bias is None) == ("bias" not in layer)
    if "norm" in own:
        put(module.log_weight_norm, own["norm"]["log_scale"])


def norms(params: Any, stats: Any, modules: Any) -> None:
    names = sorted(name for name in params if name.startswith("BatchNorm"))
    for name, module in zip(names, modules, strict=True):
        put(module.weight, params[name]["BatchNorm_0"]["scale"])
        put(module.bias, params[name]["BatchNorm_0"]["bias"])
        put(module.running_mean, stats[name]["BatchNorm_0"]["mean"])
        put(module.running_var, stats[name]["BatchNorm_0"]["var"])


def excite(params: Any, module: Any) -> None:
    for name, layer in zip(("Dense_0", "Dense_1"), (module.se[0], module.se[2]), strict=True):
        put(layer.weight, np.asarray(params[name]["kernel"]).T)
        put(layer.bias, params[name]["bias"])


def cell(params: Any, stats: Any, module: Any) -> None:
    """A cell of theirs takes the numbers of ours, an encoder's or a decoder's."""
    if "Halve_0" in params:
        for i in range(4):
            conv(params["Halve_0"][f"NormedConv_{i}"], getattr(module.skip, f"conv_{i + 1}"))
    if "Double_0" in params:
        conv(params["Double_0"]["NormedConv_0"], module.skip[1])
    if "NormedConv_0" in params:
        for i, op in enumerate(module._ops):
            conv(params[f"NormedConv_{i}"], op.conv_0)
        norms(params, stats, [op.bn_act for op in module._ops])
    else:
        inside = list(module._ops[0].conv)
        first, wide, deep, last, end = inside[1:] if isinstance(inside[0], torch.nn.UpsamplingNearest2d) else inside
        for i, layer in enumerate((wide.conv[0], deep.conv[0], last)):
            conv(params[f"Conv_{i}"], layer)
        norms(params, stats, [first, wide.conv[1], deep.conv[1], end])
    if "excite" in params:
        excite(params["excite"], module.se)


ARCH = theirs.utils.get_arch_cells("res_mbconv")
CELLS = {
    "normal_enc": (lambda: vae.EncoderCell(8), 8),
    "down_enc": (lambda: vae.EncoderCell(16, halves=True), 16),
    "normal_dec": (lambda: vae.DecoderCell(8), 8),
    "up_dec": (lambda: vae.DecoderCell(4, doubles=True), 4),
    "normal_post": (lambda: vae.DecoderCell(8, 3), 8),
    "up_post": (lambda: vae.DecoderCell(4, 3, doubles=True), 4),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind: str, train: bool) -> None:
    made, features = CELLS[kind]
    ours = made()
    variables = filled(ours, X, train=False)
    module = theirs.model.Cell(8, features, kind, ARCH[kind], use_se=True).train(train)
    cell(variables["params"], variables["batch_stats"], module)
    found, moved = ours.apply(variables, X, train=train, mutable=["batch_stats"])
    expected = channels_last(module(channels_first(X)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    if train:
        own = moved["batch_stats"]["BatchNorm_0"]["BatchNorm_0"]
        first = next(layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d))
        np.testing.assert_allclose(own["mean"], first.running_mean, atol=1e-5)
        np.testing.assert_allclose(own["var"], first.running_var, rtol=0.02)  # PyTorch's is divided by n - 1


def test_squeeze_and_excitation() -> None:
    variables = filled(SqueezeExcite(), X)
    module = theirs.cells.SE(8, 8)
    excite(variables["params"], module)
    np.testing.assert_allclose(SqueezeExcite().apply(variables, X), channels_last(module(channels_first(X))), atol=1e-5)


def test_halving_and_doubling() -> None:
    variables = filled(Halve(18), X)
    module = theirs.cells.FactorizedReduce(8, 18)
    for i in range(4):
        conv(variables["params"][f"NormedConv_{i}"], getattr(module, f"conv_{i + 1}"))
    np.testing.assert_allclose(Halve(18).apply(variables, X), channels_last(module(channels_first(X))), atol=1e-5)
    variables = filled(Double(4), X)
    module = theirs.cells.get_skip_connection(8, -1, affine=False, channel_mult=2)
    conv(variables["params"]["NormedConv_0"], module[1])
    np.testing.assert_allclose(Double(4).apply(variables, X), channels_last(module(channels_first(X))), atol=1e-5)


def test_the_kernels_as_they_are_used_and_as_they_begin() -> None:
    ours = NormedConv(5, (3, 3))
    params = ours.init(jax.random.key(0), X)["params"]
    module = theirs.cells.Conv2D(8, 5, 3, padding=1, bias=True)
    conv(params, module)
    begun = torch.log(theirs.cells.norm(module.weight, dim=[1, 2, 3]) + 1e-2).detach()
    np.testing.assert_allclose(params["norm"]["log_scale"], begun, atol=1e-5)
    (kernel,) = vae.kernels_of(params).values()
    np.testing.assert_allclose(np.asarray(kernel).transpose(3, 2, 0, 1), module.normalize_weight().detach(), atol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
def test_flows(backwards: bool) -> None:
    z = normal(2, 4, 4, 3)
    ours = vae.ShiftFlow(backwards)
    params = filled(ours, z)["params"]
    module = theirs.model.CellAR(3, 8, 24, None, mirror=backwards)
    flow(params, module)
    found, log_det = module(channels_first(z), None)
    np.testing.assert_allclose(ours.apply({"params": params}, z), channels_last(found), atol=1e-5)
    assert (log_det == 0).all()


def flow(params: Any, module: Any) -> None:
    for i, layer in enumerate((module.conv.convz[0], module.conv.convz[2], module.mu.conv_0)):
        conv(params[f"NormedConv_{i}"], layer)


def test_the_law_and_its_kl() -> None:
    raw, other = 4 * normal(5, 6), 4 * normal(5, 6, seed=1)
    q, p = (theirs.distributions.Normal(*torch.tensor(np.asarray(r)).chunk(2, 1)) for r in (raw, other))
    ours = vae.clamped_normal(raw)
    np.testing.assert_allclose(ours.mean, q.mu, atol=1e-5)
    np.testing.assert_allclose(ours.std, q.sigma, rtol=1e-5)
    np.testing.assert_allclose(ours.kl(vae.clamped_normal(other)), q.kl(p), rtol=1e-4)
    z = normal(5, 3, seed=2)
    np.testing.assert_allclose(ours.log_prob(z), q.log_p(torch.tensor(np.asarray(z))), rtol=1e-4)


def test_the_mixture_of_logistics() -> None:
    m = 10
    # Where a level has less than 1e-5, theirs is the density at its middle; so the mixtures are wide, and are narrow elsewhere.
    raw = normal(2, 4, 4, 10 * m)
    levels = np.random.default_rng(0).integers(0, 254, (2, 4, 4, 3))
    levels[0, 0] = 0
    levels[1, 1] = 255
    ours = LogisticMixtureLikelihood(m)
    assert ours.numbers(3) == 10 * m
    by_kind = raw[..., m:].reshape(2, 4, 4, 3, 3, m)  # of them: by colour, then locations, scales and coefficients
    own = jnp.concatenate([raw[..., :m], *(by_kind[..., kind, :].reshape(2, 4, 4, -1) for kind in range(3))], axis=-1)
    law = theirs.distributions.DiscMixLogistic(channels_first(raw), m)
    expected = law.log_prob(channels_first(levels / 255).float())
    found = ours(own).log_prob(jnp.asarray(2 * levels / 255 - 1, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)


def arguments(**changed: Any) -> SimpleNamespace:
    own: dict[str, Any] = {"dataset": "mnist", "use_se": True, "res_dist": True, "num_x_bits": 8, "num_latent_scales": 2}
    own |= {"num_groups_per_scale": 2, "num_latent_per_group": 3, "ada_groups": True, "min_groups_per_scale": 1}
    own |= {"num_channels_enc": 4, "num_channels_dec": 4, "num_preprocess_blocks": 1, "num_preprocess_cells": 2}
    own |= {"num_cell_per_cond_enc": 1, "num_postprocess_blocks": 1, "num_postprocess_cells": 2}
    own |= {"num_cell_per_cond_dec": 1, "num_mixture_dec": 10, "num_nf": 0}
    return SimpleNamespace(**own | changed)


def copied(params: Any, stats: Any, module: Any, cells: int) -> None:
    """Their network takes the numbers of ours."""

    def some(name: str) -> Iterator[tuple[Any, Any]]:
        there = sorted((n for n in params if n.startswith(f"{name}_")), key=lambda n: int(n.rpartition("_")[2]))
        return iter([(params[n], stats.get(n)) for n in there])

    put(module.prior_ftr0, np.asarray(params["start"]).transpose(2, 0, 1))
    for name, layer in (("stem", module.stem), ("top", module.enc0[1]), ("image", module.image_conditional[1])):
        conv(params[name], layer)
    for name, tower in (("pre", module.pre_process), ("post", module.post_process)):
        for pair, one in zip(some(name), tower, strict=True):
            cell(*pair, one)
    up, halve, down, double, joined = (some(name) for name in ("up", "halve", "down", "double", "joined"))
    seen = list(some("seen"))[::-1]
    for one in module.enc_tower:
        if one.cell_type == "combiner_enc":
            conv(seen.pop(0)[0], one.conv)
        else:
            cell(*next(halve if one.cell_type == "down_enc" else up), one)
    for one in module.dec_tower:
        if one.cell_type == "combiner_dec":
            conv(next(joined)[0], one.conv)
        else:
            cell(*next(double if one.cell_type == "up_dec" else down), one)
    for (own, _), one in zip(some("posteriors"), module.enc_sampler, strict=True):
        conv(own, one)
    for (own, _), one in zip(some("priors"), module.dec_sampler, strict=True):
        conv(own, one[1])
    for (own, _), one in zip(some("bends"), module.nf_cells, strict=True):
        flow(own["ShiftFlow_0"], one.cell1)
        flow(own["ShiftFlow_1"], one.cell2)
    assert not seen
    assert not [*up, *halve, *down, *double, *joined]


def size(ours: vae.NVAE) -> int:
    made = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, *ours.shape)))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(made["params"]))


@pytest.mark.parametrize(("flows", "residual"), [(0, True), (1, False)])
@pytest.mark.parametrize("train", [False, True])
def test_the_whole_network(flows: int, residual: bool, train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"groups": (1, 2), "channels": 4, "latents": 3, "cells": 1, "blocks": 1, "block_cells": 2}
    ours = vae.NVAE((28, 28, 1), BernoulliLikelihood(), 1, flows=flows, residual=residual, padding=2, **options)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 28, 28, 1)), jnp.float32)
    variables = filled(ours, x)
    module = theirs.model.AutoEncoder(arguments(num_nf=flows, res_dist=residual), None, ARCH).train(train)
    copied(variables["params"], variables["batch_stats"], module, 1)
    noise = [normal(3, s, s, 3, seed=s) for s in (8, 16, 16)]
    mine, yours = iter(noise), iter(noise)
    monkeypatch.setattr(Normal, "sample", lambda law, key: law.mean + law.std * next(mine))
    monkeypatch.setattr(
        theirs.distributions, "sample_normal_jit", lambda mu, sigma: (mu + sigma * channels_first(next(yours)), None)
    )
    found, _ = ours.apply(variables, x, key=jax.random.key(0), train=train, method="infer", mutable=["batch_stats"])
    padded = channels_first(jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))))
    with torch.no_grad():
        logits, log_q, log_p, kl, per_channel = module(padded)
    scale = float(logits.abs().max())
    np.testing.assert_allclose(found.likelihood.logits, channels_last(logits)[:, 2:30, 2:30], atol=1e-4 * scale)
    for name, expected in (("log_q", log_q), ("log_p", log_p)):
        own = sum(np.asarray(getattr(group, name)) for group in found.groups)
        np.testing.assert_allclose(own, expected, rtol=2e-5)
    for group, expected, channels in zip(found.groups, kl, per_channel, strict=True):
        np.testing.assert_allclose(group.kl.sum((1, 2, 3)), expected, rtol=2e-4, atol=1e-3)
        np.testing.assert_allclose(group.kl.sum((1, 2)).mean(0), channels, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_samples(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = vae.NVAE((28, 28, 1), BernoulliLikelihood(), 1, (1, 2), 4, 3, 1, 1, 2, padding=2)
    variables = filled(ours, jnp.zeros((1, 28, 28, 1)))
    module = theirs.model.AutoEncoder(arguments(), None, ARCH).eval()
    copied(variables["params"], variables["batch_stats"], module, 1)
    noise = [normal(2, s, s, 3, seed=s) for s in (8, 16, 16)]
    mine, yours = iter(noise), iter(noise)
    monkeypatch.setattr(Normal, "sample", lambda law, key: law.mean + law.std * next(mine))
    monkeypatch.setattr(
        theirs.distributions, "sample_normal_jit", lambda mu, sigma: (mu + sigma * channels_first(next(yours)), None)
    )
    found, _ = ours.apply(variables, 2, key=jax.random.key(0), temperature=temperature, method="generate")
    with torch.no_grad():
        logits = module.sample(2, temperature)
    np.testing.assert_allclose(found.logits, channels_last(logits)[:, 2:30, 2:30], atol=2e-5 * float(logits.abs().max()))


PRESETS = {
    "mnist": (
        vae.nvae_mnist,
        {"num_groups_per_scale": 10, "num_latent_per_group": 20, "num_channels_enc": 32, "num_channels_dec": 32}
        | {"num_preprocess_blocks": 2, "num_preprocess_cells": 3, "num_postprocess_blocks": 2, "num_postprocess_cells": 3}
        | {"num_cell_per_cond_enc": 2, "num_cell_per_cond_dec": 2},
    ),
    "cifar10": (
        vae.nvae_cifar10,
        {"dataset": "cifar10", "num_groups_per_scale": 30, "num_latent_per_group": 20, "num_latent_scales": 1, "num_nf": 1}
        | {"num_channels_enc": 128, "num_channels_dec": 128, "ada_groups": False}
        | {"num_cell_per_cond_enc": 2, "num_cell_per_cond_dec": 2},
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_have_as_many_numbers(name: str) -> None:
    made, changed = PRESETS[name]
    module = theirs.model.AutoEncoder(arguments(**changed), None, ARCH)
    assert size(made()) == sum(p.numel() for p in module.parameters())
    shapes = jax.eval_shape(made().init, jax.random.key(0), jnp.zeros((1, *made().shape)))["params"]
    assert len(jax.eval_shape(vae.scales_of, shapes)) == len(module.all_bn_layers)
    # Theirs leaves out none but what is no `Conv2D`; ours are the same.
    assert len(jax.eval_shape(vae.kernels_of, shapes)) == len(module.all_conv_layers)
    assert made().groups == tuple(module.groups_per_scale[::-1])


def test_the_spectral_norms_and_the_largest_scales() -> None:
    ours = vae.NVAE((28, 28, 1), BernoulliLikelihood(), 1, (1, 2), 4, 3, 1, 1, 2, padding=2)
    variables = filled(ours, jnp.zeros((1, 28, 28, 1)))
    module = theirs.model.AutoEncoder(arguments(), None, ARCH).eval()
    copied(variables["params"], variables["batch_stats"], module, 1)
    module(torch.zeros(1, 1, 32, 32))
    module.num_power_iter = 100
    kernels = vae.kernels_of(variables["params"])
    found, _ = spectral_norms(kernels, first_vectors(kernels, jax.random.key(0), iterations=1000))
    exact = sum(np.linalg.svd(np.asarray(k).reshape(-1, k.shape[-1]), compute_uv=False)[0] for k in kernels.values())
    assert float(found) == pytest.approx(exact, rel=1e-4)
    assert float(module.spectral_norm_parallel()) == pytest.approx(exact, rel=1e-4)
    largest = sum(float(np.abs(scale).max()) for scale in vae.scales_of(variables["params"]).values())
    assert float(module.batchnorm_loss()) == pytest.approx(largest, rel=1e-5)


def test_the_balance_of_the_groups() -> None:
    alpha = theirs.utils.kl_balancer_coeff(2, [4, 2], fun="square")
    np.testing.assert_allclose(sizes_by_resolution((2, 4)), alpha, rtol=1e-6)
    kl = normal(5, 6) + 0.5  # by samples, so that some are below zero
    _, coefficients, _ = theirs.utils.kl_balancer(list(torch.tensor(np.asarray(kl)).T), 0.5, kl_balance=True, alpha_i=alpha)
    np.testing.assert_allclose(balance(jnp.abs(kl).mean(0), sizes_by_resolution((2, 4))), coefficients, rtol=1e-5)
