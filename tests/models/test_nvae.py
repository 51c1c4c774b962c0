"""NVAE: its laws, cells and flows by hand, and what the network does with groups, flows, padding and temperature.

The authors' own network, with the same numbers, is in `tests/peers/test_nvae_peers.py`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import slow
from parameters import filled, normal
from scipy import stats

from jaxgen.errors import SizeError
from jaxgen.models import vae
from jaxgen.models.vae.nvae_cells import Double, Halve, NormedConv
from jaxgen.nn import BernoulliLikelihood, LogisticMixtureLikelihood

X = normal(2, 4, 4, 6)


def test_the_laws_numbers_are_clamped_softly() -> None:
    raw = 4 * normal(3, 8)
    law = vae.clamped_normal(raw)
    mean, log_std = np.split(5 * np.tanh(np.asarray(raw) / 5), 2, axis=-1)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(law.std, np.exp(log_std) + 0.01, rtol=1e-5)
    other = vae.clamped_normal(normal(3, 8, seed=1))
    first, second = (law.mean - other.mean) / other.std, law.std / other.std
    np.testing.assert_allclose(law.kl(other), (first**2 + second**2) / 2 - 0.5 - np.log(second), rtol=1e-4)


def test_halving_takes_four_grids() -> None:
    variables = filled(Halve(10), X)
    h = np.asarray(X) / (1 + np.exp(-np.asarray(X)))
    grids = [h[:, 0::2, 0::2], h[:, 1::2, 1::2], h[:, 0::2, 1::2], h[:, 1::2, 0::2]]
    parts = []
    for i, grid in enumerate(grids):
        own = variables["params"][f"NormedConv_{i}"]
        v = np.asarray(own["conv"]["kernel"][0, 0])
        kernel = np.exp(own["norm"]["log_scale"]) * v / (np.linalg.norm(v, axis=0) + 1e-5)
        parts.append(grid @ kernel + own["conv"]["bias"])
    assert [part.shape[-1] for part in parts] == [2, 2, 2, 4]
    np.testing.assert_allclose(Halve(10).apply(variables, X), np.concatenate(parts, -1), rtol=1e-4, atol=1e-5)


def test_doubling_keeps_the_corners() -> None:
    variables = filled(Double(3), X)
    (kernel,) = vae.kernels_of(variables["params"]).values()
    found = Double(3).apply(variables, X)
    assert found.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(found[:, ::7, ::7], X[:, ::3, ::3] @ kernel[0, 0], rtol=1e-4, atol=1e-5)
    assert list(variables["params"]["NormedConv_0"]["conv"]) == ["kernel"]


@pytest.mark.parametrize("side", [4, 5])
def test_a_strided_convolution_pads_as_pytorch_does(side: int) -> None:
    x = normal(1, side, side, 2)
    variables = filled(NormedConv(3, (3, 3), (2, 2)), x)
    (kernel,) = vae.kernels_of(variables["params"]).values()
    found = NormedConv(3, (3, 3), (2, 2)).apply(variables, x)[0, 0, 0]
    corner = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))[0, :3, :3]
    np.testing.assert_allclose(found, np.einsum("hwi,hwio->o", corner, kernel) + variables["params"]["conv"]["bias"], rtol=1e-4)


CELLS = {
    "encoder": vae.EncoderCell(6),
    "halving": vae.EncoderCell(12, halves=True),
    "decoder": vae.DecoderCell(6),
    "doubling": vae.DecoderCell(3, 3, doubles=True),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_adds_a_tenth_of_its_branch(kind: str) -> None:
    cell = CELLS[kind].clone(squeeze_excite=False)
    variables = filled(cell, X, train=False)
    params = dict(variables["params"])
    last = "NormedConv_1" if "encoder" in kind or kind == "halving" else "BatchNorm_3"
    zeros = {**params, last: jax.tree.map(jnp.zeros_like, params[last])}
    if last == "BatchNorm_3":  # what comes out is the bias of the last normalisation
        bent = {
            **zeros,
            last: {
                "BatchNorm_0": {**zeros[last]["BatchNorm_0"], "bias": jnp.full(params[last]["BatchNorm_0"]["bias"].shape, 2.0)}
            },
        }
    else:
        bent = {
            **zeros,
            last: {**zeros[last], "conv": {**zeros[last]["conv"], "bias": jnp.full(params[last]["conv"]["bias"].shape, 2.0)}},
        }
    skip, more = (cell.apply({**variables, "params": own}, X, train=False) for own in (zeros, bent))
    np.testing.assert_allclose(more - skip, 0.2, rtol=1e-4)
    if kind in ("encoder", "decoder"):
        np.testing.assert_allclose(skip, X, rtol=1e-5, atol=1e-6)
    assert skip.shape == {"halving": (2, 2, 2, 12), "doubling": (2, 8, 8, 3)}.get(kind, X.shape)


def test_the_decoders_cell_widens_and_its_middle_sees_each_channel_alone() -> None:
    shapes = jax.tree.map(jnp.shape, filled(vae.DecoderCell(6), X, train=False)["params"])
    kernels = [shapes[f"Conv_{i}"] for i in range(3)]
    assert kernels == [{"kernel": (1, 1, 6, 36)}, {"kernel": (5, 5, 1, 36)}, {"kernel": (1, 1, 36, 6)}]
    assert jax.tree.map(jnp.shape, filled(vae.DecoderCell(6, 3), X, train=False)["params"])["Conv_1"]["kernel"] == (5, 5, 1, 18)


def test_running_statistics_move_by_a_twentieth() -> None:
    cell = vae.EncoderCell(6)
    variables = filled(cell, X, train=False)
    _, moved = cell.apply(variables, X, train=True, mutable=["batch_stats"])
    first, then = (v["batch_stats"]["BatchNorm_0"]["BatchNorm_0"]["mean"] for v in (variables, moved))
    np.testing.assert_allclose(then, 0.95 * first + 0.05 * X.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_flow_is_autoregressive_and_keeps_volumes(backwards: bool) -> None:
    z = normal(1, 3, 3, 2)
    flow = vae.ShiftFlow(backwards)
    variables = filled(flow, z)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda z: flow.apply(variables, z[None])[0]))(z[0]))
    if backwards:  # of the pixels, and not of the channels
        jacobian = jacobian[::-1, ::-1, :, ::-1, ::-1]
    matrix = jacobian.reshape(18, 18)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    assert (np.triu(matrix, 1) == 0).all()
    assert (np.tril(matrix, -1) != 0).sum() > 60


def test_the_second_flow_of_a_pair_goes_backwards() -> None:
    z = normal(1, 3, 3, 1)
    flows = vae.ShiftFlows(1)
    variables = filled(flows, z)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda z: flows.apply(variables, z[None])[0]))(z[0])).reshape(9, 9)
    assert abs(np.linalg.det(jacobian)) == pytest.approx(1, rel=1e-4)
    assert (np.triu(jacobian, 1) != 0).any()
    assert (np.tril(jacobian, -1) != 0).any()


FIELDS: dict[str, Any] = {"channels": 4, "latents": 2, "cells": 1, "blocks": 0, "squeeze_excite": False}
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 4, 4, 1)), jnp.float32)


@functools.cache
def made(**changed: Any) -> tuple[vae.NVAE, Any]:
    model = vae.NVAE((4, 4, 1), BernoulliLikelihood(), 1, **{"groups": (1, 2), **FIELDS, **changed})
    return model, filled(model, IMAGES)


@functools.cache
def inferred(seed: int = 0, **changed: Any) -> Any:
    model, variables = made(**changed)
    own = jax.random.split(jax.random.key(seed), 3)
    return called(model, variables, IMAGES, key=own)


def called(model: vae.NVAE, variables: Any, *inputs: Any, method: str = "infer", **told: Any) -> Any:
    """A method's result, compiled as a whole, which is quicker than one operation after another."""
    if method == "generate":
        return jax.jit(lambda variables, told: model.apply(variables, *inputs, method=method, **told))(variables, told)
    return jax.jit(lambda variables, x, told: model.apply(variables, x, method=method, **told))(variables, *inputs, told)


def without(variables: Any, *names: str) -> Any:
    params = {n: jax.tree.map(jnp.zeros_like, p) if n.startswith(names) else p for n, p in variables["params"].items()}
    return {**variables, "params": params}


def test_groups_are_maps_the_coarsest_first_with_their_densities() -> None:
    likelihood, groups = inferred()
    assert likelihood.logits.shape == IMAGES.shape
    assert [group.z.shape for group in groups] == [(3, 2, 2, 2), (3, 4, 4, 2), (3, 4, 4, 2)]
    z = np.asarray(groups[0].z)
    np.testing.assert_allclose(groups[0].log_p, stats.norm.logpdf(z, 0, 1.01).sum((1, 2, 3)), rtol=1e-4)
    assert all((np.asarray(group.kl) >= 0).all() for group in groups)


@pytest.mark.parametrize("flows", [0, slow(1)])
def test_the_kl_is_the_mean_of_the_densities_difference(flows: int) -> None:
    model, variables = made(flows=flows)

    @jax.jit
    def both(key: Any) -> Any:
        first = model.apply(variables, IMAGES, key=key, method="infer").groups[0]
        return first.kl.sum((1, 2, 3)), first.log_q - first.log_p

    kl, sampled = jax.lax.map(both, jax.random.split(jax.random.key(0), 600))
    if flows:
        np.testing.assert_allclose(kl, sampled, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_allclose(kl, kl[:1].repeat(600, 0), rtol=1e-4)
    error = np.asarray(sampled).std(0) / 600**0.5
    assert (abs(np.asarray(sampled).mean(0) - np.asarray(kl).mean(0)) < 5 * error + 1e-3).all()
    assert (np.asarray(kl).mean(0) > -3 * error).all()


def test_a_residual_posterior_of_zeros_is_the_prior() -> None:
    for residual in (True, False):
        model, variables = made(residual=residual)
        zero = without(variables, "posteriors")
        groups = called(model, zero, IMAGES, key=jax.random.key(0)).groups
        assert all(np.allclose(group.kl, 0, atol=1e-5) for group in groups[1:]) == residual
        np.testing.assert_allclose(groups[0].kl, 0, atol=1e-6)


def test_samples_go_the_way_of_the_posterior() -> None:
    """With the latents that were inferred, the generator gives the likelihood that the bound has."""
    model, variables = made()
    likelihood, groups = inferred()
    kept = tuple(group.z for group in groups)
    found, z = called(model, variables, 3, key=jax.random.key(0), kept=kept, method="generate")
    np.testing.assert_allclose(found.logits, likelihood.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(z[2], kept[2])
    some = [called(model, variables, 3, key=jax.random.key(i), kept=kept[:1], method="generate")[1] for i in range(2)]
    np.testing.assert_array_equal(some[0][0], some[1][0])
    assert (np.asarray(some[0][1]) != np.asarray(some[1][1])).all()


@pytest.mark.slow
@pytest.mark.slow  # to compile
def test_the_temperature_scales_all_deviations() -> None:
    model, variables = made()
    draw = functools.partial(called, model, variables, 3, key=jax.random.key(0), method="generate")
    cold, warm, hot = (draw(temperature=t)[1] for t in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(cold[0], 0)
    np.testing.assert_allclose(2 * warm[0], hot[0], rtol=1e-5)
    for i in (1, 2):
        kept = tuple(z for z in cold[:i])
        still, moved, more = (draw(temperature=t, kept=kept)[1][i] for t in (0.0, 0.5, 1.0))
        np.testing.assert_allclose(2 * (moved - still), more - still, rtol=1e-3, atol=1e-5)
        assert (np.asarray(more) != np.asarray(still)).all()


def test_noise_belongs_to_the_examples_and_the_groups() -> None:
    model, variables = made()
    own = jax.random.split(jax.random.key(0), 3)
    part = called(model, variables, IMAGES[1:2], key=own[1:2])
    _, groups = inferred()
    for a, b in zip(part.groups, groups, strict=True):
        np.testing.assert_allclose(a.z, b.z[1:2], rtol=1e-3, atol=1e-4)
    noise = called(model, without(variables, "priors"), 2, key=jax.random.key(0), method="generate")[1]
    assert not np.allclose(noise[1], noise[2])
    other = called(model, variables, IMAGES, rngs={"sample": jax.random.key(5)})
    assert (np.asarray(other.groups[0].z) != np.asarray(groups[0].z)).all()


def test_padding_is_black_and_is_cut_off() -> None:
    model, _ = made()
    wide = model.clone(padding=2)
    whole = model.clone(shape=(8, 8, 1))
    variables = filled(wide, IMAGES)
    found = called(wide, variables, IMAGES, key=jax.random.key(0))
    padded = jnp.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = called(whole, variables, padded, key=jax.random.key(0))
    np.testing.assert_allclose(found.likelihood.logits, expected.likelihood.logits[:, 2:6, 2:6], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.groups[0].kl, expected.groups[0].kl, rtol=1e-4)


@pytest.mark.slow
def test_bytes_reach_the_network_in_the_same_range_as_binary_pixels() -> None:
    head = LogisticMixtureLikelihood(1)
    model, variables = made()
    grey = model.clone(likelihood=head, outputs=head.numbers(1))
    own = filled(grey, IMAGES)
    own = {**own, "params": {**own["params"], **{n: p for n, p in variables["params"].items() if n != "image"}}}
    found = called(grey, own, 2 * IMAGES - 1, key=jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(found.groups[0].kl, inferred()[1][0].kl, rtol=1e-4, atol=1e-5)
    assert found.likelihood.loc.shape == (3, 4, 4, 1, 1)


@pytest.mark.slow
def test_half_precision_leaves_the_laws_in_full() -> None:
    model, variables = made()
    found = called(model.clone(dtype=jnp.bfloat16), variables, IMAGES, key=jax.random.key(0))
    assert {group.z.dtype for group in found.groups} == {jnp.dtype("float32")}
    assert found.likelihood.logits.dtype == jnp.float32


def test_sides_that_are_not_halved_evenly() -> None:
    model, _ = made()
    with pytest.raises(
        SizeError, match=r"0 blocks and 3 scales of latents do not halve sides of 6x6 evenly; .* which 4 divides"
    ):
        model.clone(shape=(6, 6, 1), groups=(1, 1, 1)).init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)))


# As many as the authors' networks have: tests/peers/test_nvae_peers.py.
@pytest.mark.parametrize(
    ("preset", "parameters", "groups"),
    [
        pytest.param(vae.nvae_mnist, 33_363_134, (5, 10), marks=pytest.mark.slow),
        pytest.param(vae.nvae_cifar10, 130_852_480, (30,), marks=pytest.mark.slow),
    ],
)
def test_parameters_of_the_presets(preset: Any, parameters: int, groups: tuple[int, ...]) -> None:
    model = preset()
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *model.shape)))["params"]
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)) == parameters
    assert model.groups == groups
