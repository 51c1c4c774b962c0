"""Running averages of vectors by hand, over micro-batches and over replicas; and noise that is injected by weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.devices import collectives
from jaxgen.nn import NoiseInjection, RunningMean, equalised_conv, equalised_dense


def move(mean: RunningMean, variables: Any, x: Any, mask: Any = None) -> Any:
    return mean.apply(variables, x, mask, method="move", mutable=["averages"])[1]


def test_it_moves_towards_the_mean_of_the_real_examples() -> None:
    mean = RunningMean(3, decay=0.9)
    variables = mean.init(jax.random.key(0))
    assert not mean.apply(variables).any()
    x, mask = normal(6, 3), jnp.array([1, 1, 1, 1, 0, 0], jnp.float32)
    variables = move(mean, variables, x)
    first = 0.1 * np.asarray(x).mean(0)
    np.testing.assert_allclose(mean.apply(variables), first, rtol=1e-5)
    variables = move(mean, variables, x.at[4:].set(1e4), mask)
    np.testing.assert_allclose(mean.apply(variables), 0.9 * first + 0.1 * np.asarray(x)[:4].mean(0), rtol=1e-5)
    # A batch without real examples has no mean.
    np.testing.assert_array_equal(move(mean, variables, x, 0 * mask)["averages"]["mean"], variables["averages"]["mean"])


def test_micro_batches_move_it_once_to_where_the_whole_batch_does() -> None:
    x = normal(6, 3)
    whole = RunningMean(3, decay=0.9)
    expected = move(whole, whole.init(jax.random.key(0)), x)["averages"]["mean"]
    cut = RunningMean(3, decay=0.9, micro_batches=2)
    variables = cut.init(jax.random.key(0))
    for factor in (1.0, 0.9 + 1.0):
        variables = move(cut, variables, x[::2])
        before = 0.0 if factor == 1.0 else expected
        np.testing.assert_allclose(variables["averages"]["mean"], before, rtol=1e-5)
        variables = move(cut, variables, x[1::2])
        np.testing.assert_allclose(variables["averages"]["mean"], factor * expected, rtol=1e-5)


def test_replicas_have_the_mean_of_all() -> None:
    x, mask = normal(8, 3), jnp.array([1, 1, 1, 1, 1, 0, 0, 0], jnp.float32)
    mean = RunningMean(3)
    variables = mean.init(jax.random.key(0))
    parts = x.reshape(4, 2, 3), mask.reshape(4, 2)
    moved = jax.pmap(lambda x, m: move(mean, variables, x, m), axis_name=collectives.AXIS)(*parts)["averages"]["mean"]
    np.testing.assert_allclose(moved, np.broadcast_to(0.005 * np.asarray(x)[:5].mean(0), (4, 3)), rtol=1e-4)


def test_noise_is_the_same_for_all_channels_but_for_their_weights() -> None:
    x, noise = normal(2, 3, 3, 4), normal(2, 3, 3, 1, seed=1)
    layer = NoiseInjection()
    assert not layer.init(jax.random.key(0), x, noise)["params"]["weight"].any()
    weight = jnp.array([0.0, 1.0, -2.0, 0.5])
    out = layer.apply({"params": {"weight": weight}}, x, noise)
    np.testing.assert_allclose(out, np.asarray(x) + np.asarray(noise) * np.asarray(weight), rtol=1e-6)
    np.testing.assert_array_equal(layer.apply({"params": {"weight": weight}}, x, None), x)


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_equalised_layers_draw_their_kernels_accordingly(multiplier: float) -> None:
    """Outputs have the gain times the size of the inputs; what is stored has the deviation 1 / lambda."""
    x = normal(64, 200)
    out, variables = equalised_dense(300, gain=1.5, multiplier=multiplier).init_with_output(jax.random.key(0), x)
    assert float(out.std()) == pytest.approx(1.5, rel=0.05)
    assert float(variables["params"]["layer"]["kernel"].std()) == pytest.approx(1 / multiplier, rel=0.05)
    if multiplier == 1.0:
        maps = normal(4, 8, 8, 32)
        out, variables = equalised_conv(64, (1, 1), gain=0.5).init_with_output(jax.random.key(0), maps)
        assert float(out.std()) == pytest.approx(0.5, rel=0.05)
        assert float(variables["params"]["layer"]["kernel"].std()) == pytest.approx(1.0, rel=0.1)
        assert set(equalised_conv(2, use_bias=False).init(jax.random.key(0), maps)["params"]["layer"]) == {"kernel"}
