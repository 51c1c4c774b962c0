"""CLIP's loss against its definition in double precision, on one device and on many."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from parameters import normal

from jaxgen.devices import collectives
from jaxgen.losses.contrastive import clip_logits, clip_loss, normalize

SCALE = jnp.array(14.3)
loss_of = jax.jit(clip_loss)


def by_definition(u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    """Figure 3 of the paper, written out pair by pair."""
    u, v = np.float64(u), np.float64(v)
    cosine = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in v] for a in u]
    e = np.exp(scale * np.array(cosine))
    n = len(u)
    return np.array([-0.5 * np.log(e[i, i] / e[i].sum()) - 0.5 * np.log(e[i, i] / e[:, i].sum()) for i in range(n)])


@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (7, 4)])
def test_loss_is_the_papers(n: int, d: int) -> None:
    for seed, scale in enumerate([0.01, 1.0, 14.3, 100.0]):
        u, v = 10 * normal(n, d, seed=seed), 0.1 * normal(n, d, seed=seed + 100)
        expected = by_definition(np.asarray(u), np.asarray(v), scale)
        np.testing.assert_allclose(loss_of(u, v, jnp.float32(scale)), expected, rtol=2e-5, atol=2e-4)


def test_embeddings_of_any_length_and_precision_count_by_their_direction() -> None:
    u, v = normal(6, 8), normal(6, 8, seed=1)
    whole = loss_of(u, v, SCALE)
    np.testing.assert_allclose(loss_of(1e3 * u, 1e-3 * v, SCALE), whole, rtol=1e-5)
    half = loss_of(u.astype(jnp.bfloat16), v.astype(jnp.bfloat16), SCALE)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, whole, rtol=0.05, atol=0.05)
    assert np.isfinite(jax.jit(jax.grad(lambda x: (normalize(x) * u).sum()))(jnp.zeros((6, 8)))).all()


def test_scale_of_no_value_gives_the_entropy_of_a_guess_and_a_large_one_tells_pairs() -> None:
    u = jnp.eye(5)
    np.testing.assert_allclose(loss_of(u, u, jnp.array(0.0)), np.log(5), rtol=1e-6)
    assert loss_of(u, u, jnp.array(100.0)).max() < 1e-6
    np.testing.assert_allclose(loss_of(u, jnp.roll(u, 1, 0), jnp.array(100.0)), 100, rtol=1e-5)


def test_padding_is_nobodys_negative_and_spoils_no_gradient() -> None:
    u, v = normal(7, 4), normal(7, 4, seed=1)
    mask = jnp.array([1.0] * 5 + [0.0] * 2)

    def masked(u: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.where(mask > 0, clip_loss(u, v, SCALE, mask), 0.0).sum()

    np.testing.assert_allclose(loss_of(u, v, SCALE, mask)[:5], loss_of(u[:5], v[:5], SCALE), rtol=1e-6)
    whole = jax.jit(jax.grad(lambda u, v: clip_loss(u, v, SCALE).sum(), argnums=(0, 1)))(u[:5], v[:5])
    for g, h in zip(jax.jit(jax.grad(masked, argnums=(0, 1)))(u, v), whole, strict=True):
        np.testing.assert_allclose(g[:5], h, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(g[5:], 0)


def test_a_micro_batch_of_padding_alone_is_finite() -> None:
    u, v = normal(3, 4), normal(3, 4, seed=1)
    values, pull = jax.vjp(lambda u, v: clip_loss(u, v, SCALE, jnp.zeros(3)), u, v)
    assert np.isfinite(values).all()
    for g in pull(jnp.zeros(3)):
        np.testing.assert_array_equal(g, 0)


def mean_and_gradient(params: tuple, x: jax.Array, y: jax.Array, size: int) -> tuple:
    """The share in the global mean of what this program sees, its gradient, and the values."""

    def share(params: tuple) -> tuple[jax.Array, jax.Array]:
        a, b, t = params
        values = clip_loss(jnp.tanh(x @ a), y @ b, jnp.exp(t))
        return values.sum() / size, values

    (mean, values), grads = jax.value_and_grad(share, has_aux=True)(params)
    return collectives.total(mean), collectives.total(grads), values


def on_replicas(params: tuple, x: jax.Array, y: jax.Array, devices: int) -> tuple:
    parts = [a.reshape(devices, -1, a.shape[-1]) for a in (x, y)]
    step = jax.pmap(
        lambda p, x, y: mean_and_gradient(p, x, y, devices * x.shape[0]),
        axis_name=collectives.AXIS,
        in_axes=(None, 0, 0),
        devices=jax.devices()[:devices],
    )
    mean, grads, values = step(params, *parts)
    for a in jax.tree.leaves((mean, grads)):  # every replica has the same total
        np.testing.assert_array_equal(np.asarray(a), np.broadcast_to(np.asarray(a[0]), a.shape))
    return mean[0], jax.tree.map(lambda g: g[0], grads), values.reshape(-1)


def on_a_mesh(params: tuple, x: jax.Array, y: jax.Array, devices: int) -> tuple:
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    x, y = jax.device_put((x, y), NamedSharding(mesh, P("data")))
    params = jax.device_put(params, NamedSharding(mesh, P()))
    return jax.jit(mean_and_gradient, static_argnums=3)(params, x, y, x.shape[0])


@pytest.mark.parametrize("run", [on_replicas, on_a_mesh])
@pytest.mark.parametrize("devices", [8])
def test_loss_and_gradient_over_many_devices_are_those_of_one(run: Callable, devices: int) -> None:
    assert len(jax.devices()) >= devices
    params = (normal(6, 4), normal(5, 4, seed=1), jnp.array(1.2))
    x, y = normal(16, 6, seed=2), normal(16, 5, seed=3)
    mean, grads, values = jax.jit(mean_and_gradient, static_argnums=3)(params, x, y, 16)
    many_mean, many_grads, many_values = run(params, x, y, devices)
    np.testing.assert_allclose(many_values, values, rtol=1e-5)
    np.testing.assert_allclose(many_mean, mean, rtol=1e-6)
    for g, h in zip(jax.tree.leaves(many_grads), jax.tree.leaves(grads), strict=True):
        assert np.abs(h).max() > 1e-3
        np.testing.assert_allclose(g, h, rtol=1e-4, atol=1e-6)


def test_replicas_mask_each_others_padding() -> None:
    u, v, mask = normal(8, 4), normal(8, 4, seed=1), jnp.array([1.0] * 5 + [0.0] * 3)
    cut = [a.reshape(2, 4, *a.shape[1:]) for a in (u, v, mask)]
    step = jax.pmap(lambda u, v, m: clip_loss(u, v, SCALE, m), axis_name=collectives.AXIS, devices=jax.devices()[:2])
    np.testing.assert_allclose(step(*cut).reshape(-1)[:5], loss_of(u[:5], v[:5], SCALE), rtol=1e-5)


def test_partners_lie_at_the_replicas_offset() -> None:
    u = jnp.eye(8)
    step = jax.pmap(lambda u: clip_logits(u, u, SCALE)[0::2], axis_name=collectives.AXIS, devices=jax.devices()[:4])
    to_text, partner = step(u.reshape(4, 2, 8))
    np.testing.assert_array_equal(partner.reshape(-1), np.arange(8))
    np.testing.assert_array_equal(to_text.reshape(8, 8).argmax(1), np.arange(8))
