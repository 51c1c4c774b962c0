"""The network of variational diffusion models against the authors' formulas and their sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import variational
from parameters import filled, normal

from jaxgen.models.diffusion import UNet, presets, waves


def count(model: Any) -> int:
    shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)), jnp.zeros(1)), jax.random.key(0))
    return sum(p.size for p in jax.tree.leaves(shapes))


def test_the_papers_networks_have_the_parameters_of_the_authors_code() -> None:
    """Theirs, counted by their code, has 30,578,179; a flag that is always zero has one row of a kernel."""
    assert count(presets.vdm()) == 30_578_179 - 4 * 128


@pytest.mark.slow
def test_the_network_for_augmented_images_has_the_parameters_of_the_authors_code() -> None:
    assert count(presets.vdm(256, attention_levels=(0,), dropout=0.05)) == 139_276_803 - 4 * 256


@pytest.mark.parametrize("attend", [False, True])
def test_the_network_is_the_authors(attend: bool) -> None:
    model = presets.vdm(16, 1, attention_levels=(0,) if attend else (), outputs=2)
    z, t = normal(2, 4, 4, 2), jnp.array([0.1, 0.9])
    variables = filled(model, z, t)
    own = jax.tree.map(np.float64, variables["params"]["network"])
    expected = variational.score_unet(own, np.asarray(z, np.float64), np.asarray(t, np.float64), 1, attend=attend)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, z, t), expected, atol=2e-4)


def test_it_begins_with_the_input_and_all_maps_keep_their_size() -> None:
    model = presets.vdm(4, 0, outputs=1)
    z, t = normal(1, 5, 3, 1), jnp.array([0.5])
    assert isinstance(model.network, UNet)
    variables = jax.jit(model.init)(jax.random.key(0), z, t)
    np.testing.assert_array_equal(model.apply(variables, z, t), z)
    shift = variables["params"]["network"]["ConditionalResidualBlock_0"]["AdditiveGroupNorm_0"]["Dense_0"]
    assert list(shift) == ["kernel"]
    assert not np.asarray(shift["kernel"]).any()


def test_waves_are_the_authors() -> None:
    z = normal(3, 2, 2, 3)
    np.testing.assert_allclose(waves(z, (6, 7)), variational.fourier(np.asarray(z, np.float64)), atol=2e-4)
    assert presets.vdm().powers == (6, 7)


def test_a_network_without_waves_sees_z_alone() -> None:
    model = presets.vdm(16, 0, powers=(), outputs=2)
    shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 4, 4, 2)), jnp.zeros(1)), jax.random.key(0))
    assert shapes["params"]["network"]["Conv_0"]["kernel"].shape == (3, 3, 2, 16)
