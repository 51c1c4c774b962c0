"""Networks that grow: continuous in the level of detail, exact at its ends, with the parameters of the papers.

`tests/peers/test_genforce_peers.py` holds them against others'.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.models.gan import growing, progressive, stylegan

SHAPE, CHANNELS, N = (8, 8, 2), (4, 3, 2), 4


def variables(model: Any, *inputs: Any) -> Any:
    """Parameters that are not zero, with kernels of the size that the equalised rate has them in."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: normal(*leaf.shape, seed=leaf.size) if path[-1].key == "kernel" else leaf, filled(model, *inputs)
    )


def generator(kind: str) -> tuple[Any, Any, Any]:
    """A function of lod that gives images, the module and its variables."""
    z = normal(N, 5)
    model: Any = (
        progressive.Generator(SHAPE, CHANNELS)
        if kind == "progressive"
        else stylegan.Generator(SHAPE, CHANNELS, 5, mapping_depth=1)
    )
    own = variables(model, z)
    named = {} if kind == "progressive" else {"key": jax.random.split(jax.random.key(1), N)}
    return jax.jit(lambda lod: model.apply(own, z, lod=lod, **named)), model, own


@pytest.fixture(scope="module", params=["progressive", "style"])
def made(request: pytest.FixtureRequest) -> Any:
    return generator(request.param)


@pytest.fixture(scope="module", params=[False, True])
def judge(request: pytest.FixtureRequest) -> Any:
    model = progressive.Discriminator(CHANNELS, group=2, blur=request.param)
    x = normal(N, *SHAPE)
    own = variables(model, x)
    return jax.jit(lambda x, lod: model.apply(own, x, lod=lod)), model, own


def pooled(x: Any, side: int) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(len(x), side, x.shape[1] // side, side, x.shape[2] // side, -1).mean((2, 4))


def enlarged(x: Any, side: int) -> np.ndarray:
    return np.asarray(x).repeat(side // x.shape[1], 1).repeat(side // x.shape[2], 2)


def test_an_image_is_continuous_at_every_boundary_of_lod(made: Any) -> None:
    make, _, _ = made
    for lod in (0.0, 1.0, 2.0):
        at = np.asarray(make(jnp.float32(lod)))
        for near in (lod - 1e-4, lod + 1e-4):
            if 0 <= near <= 2:
                moved = np.abs(np.asarray(make(jnp.float32(near))) - at).max()
                assert 0 < moved < 1e-2 * np.abs(at).max()
        # And it is not the same image everywhere.
        assert np.abs(np.asarray(make(jnp.float32(1.0 if lod != 1 else 0.0))) - at).max() > 0.1


def test_between_two_levels_images_are_mixed_along_a_line(made: Any) -> None:
    make, _, _ = made
    for below in (0.0, 1.0):
        ends = [np.asarray(make(jnp.float32(lod))) for lod in (below, below + 1)]
        for a in (0.25, 0.5):
            mixed = (1 - a) * ends[0] + a * ends[1]
            np.testing.assert_allclose(make(jnp.float32(below + a)), mixed, rtol=1e-4, atol=1e-4)


def test_an_image_of_a_high_lod_has_the_detail_of_its_level(made: Any) -> None:
    make, _, _ = made
    for lod, side in ((1.0, 4), (2.0, 2)):
        image = np.asarray(make(jnp.float32(lod)))
        assert image.shape == (N, *SHAPE)
        np.testing.assert_allclose(enlarged(pooled(image, side), 8), image, rtol=1e-4, atol=1e-5)
    full = np.asarray(make(jnp.float32(0.0)))
    assert np.abs(enlarged(pooled(full, 4), 8) - full).max() > 0.1


def test_a_discriminator_is_continuous_and_sees_the_detail_of_its_level_alone(judge: Any) -> None:
    judged, _, _ = judge
    x = normal(N, *SHAPE)
    for lod in (0.0, 1.0, 2.0):
        at = np.asarray(judged(x, jnp.float32(lod)))
        for near in (lod - 1e-4, lod + 1e-4):
            if 0 <= near <= 2:
                assert 0 < np.abs(np.asarray(judged(x, jnp.float32(near))) - at).max() < 1e-2 * np.abs(at).max()
        coarse = enlarged(pooled(x, 8 >> int(lod)), 8)
        np.testing.assert_allclose(judged(jnp.asarray(coarse), jnp.float32(lod)), at, rtol=1e-3, atol=1e-4)
    fine = np.asarray(judged(x, jnp.float32(0.0)))
    assert np.abs(np.asarray(judged(jnp.asarray(enlarged(pooled(x, 4), 8)), jnp.float32(0.0))) - fine).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("lod", [0, 1.0, 1.5])
def test_a_lod_of_python_gives_the_same_as_a_traced_one(made: Any, judge: Any, lod: float) -> None:
    make, model, own = made
    named = {"key": jax.random.split(jax.random.key(1), N)} if isinstance(model, stylegan.Generator) else {}
    image = jax.jit(lambda: model.apply(own, normal(N, 5), lod=lod, **named))()
    np.testing.assert_allclose(image, make(jnp.float32(lod)), rtol=1e-4, atol=1e-5)
    judged, model, own = judge
    np.testing.assert_allclose(
        jax.jit(lambda: model.apply(own, image, lod=lod))(), judged(image, jnp.float32(lod)), rtol=1e-3, atol=1e-3
    )


def test_levels_that_are_not_used_have_no_gradient(made: Any) -> None:
    _, model, own = made

    def loss(params: Any) -> Any:
        return jnp.square(model.apply({**own, "params": params}, normal(N, 5), lod=jnp.float32(1.0))).sum()

    grads = jax.jit(jax.grad(loss))(own["params"])
    used = {name: any(np.abs(g).max() > 0 for g in jax.tree.leaves(tree)) for name, tree in grads.items()}
    assert not used["blocks_2"]
    assert not used["to_rgb_2"]
    assert used["blocks_1"]
    assert used["to_rgb_1"]
    assert not used["to_rgb_0"]  # a level that is whole hides the one before


@pytest.mark.parametrize("lod", [0.0, 0.25, 1.0, 1.6, 2.0])
def test_data_are_shown_at_the_level_of_detail(lod: float) -> None:
    x = normal(3, *SHAPE)
    below = int(lod)
    low, high = (enlarged(pooled(x, 8 >> min(level, 2)), 8) for level in (below, below + 1))
    expected = (1 - (lod - below)) * low + (lod - below) * high
    growth = growing.Growth(2, hold=1, fade=20)
    step = next(s for s in range(100) if float(growth.lod(s)) == pytest.approx(lod))
    np.testing.assert_allclose(growth.shown(x, step), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jit(growth.shown)(x, jnp.int32(step)), expected, atol=1e-5)


@pytest.mark.parametrize(("levels", "hold", "fade"), [(2, 4, 2), (1, 3, 0), (3, 1, 5), (0, 2, 2)])
def test_the_schedule_and_its_turning_points(levels: int, hold: int, fade: int) -> None:
    """Where another set of levels is used than in the step before, as by floor and ceil in the authors' code."""
    growth = growing.Growth(levels, hold, fade)
    steps = range((levels + 1) * (hold + fade) + 3)
    lod = [float(growth.lod(step)) for step in steps]
    assert lod[0] == levels
    assert lod[-1] == 0
    assert np.all(np.diff(lod) <= 0)
    assert lod[: hold + 1] == [levels] * (hold + 1 if fade or not levels else hold) + [levels - 1.0] * bool(levels and not fade)
    turns = tuple(step for step in steps[1:] if any(f(lod[step]) != f(lod[step - 1]) for f in (np.floor, np.ceil)))
    assert growth.turning_points == turns


def test_styles_are_mixed_from_one_layer_on_for_the_whole_batch() -> None:
    model = stylegan.Generator(SHAPE, CHANNELS, 5, mapping_depth=1, mixing=0.9)
    z = normal(N, 5)
    own = variables(model, z)
    cutoffs = jax.jit(jax.vmap(lambda key, lod: model.apply(own, key, lod, method="cutoff"), (0, None)))
    drawn = jax.random.split(jax.random.key(0), 2000)
    for lod, in_use in ((0.0, 6), (0.5, 6), (1.0, 4), (2.0, 2)):
        found = np.asarray(cutoffs(drawn, jnp.float32(lod)))
        mixed = found[found < 6]
        assert len(mixed) / 2000 == pytest.approx(0.9, abs=0.03)
        assert set(mixed) == set(range(1, in_use))
        counts = np.bincount(mixed, minlength=in_use)[1:]
        np.testing.assert_allclose(counts / counts.sum(), 1 / (in_use - 1), atol=0.05)

    keys = jax.random.split(jax.random.key(1), N)

    @jax.jit
    def images(whole: Any) -> Any:
        image, moved = model.apply(own, z, key=keys, whole=whole, train=True, mutable=["averages"])
        return image, moved["averages"]["average"]["mean"], model.apply(own, whole, 0.0, method="cutoff")

    @jax.jit
    def by_hand(cutoff: Any) -> Any:
        other = jnp.stack([jax.random.normal(jax.random.fold_in(keys[i], stylegan.SECOND), (5,)) for i in range(N)])
        one, two = (model.apply(own, x, method=lambda m, x: m.mapping(x)) for x in (z, other))
        w = jnp.stack([jnp.where(i < cutoff, one, two) for i in range(6)], axis=1)
        return model.apply(own, w, key=keys, method="synthesise"), one

    seen = set()
    for seed in range(4):
        image, mean, cutoff = images(jax.random.key(seed))
        expected, one = by_hand(cutoff)
        seen.add(int(cutoff))
        np.testing.assert_allclose(image, expected, rtol=1e-3, atol=1e-3)
        before = own["averages"]["average"]["mean"]
        np.testing.assert_allclose(mean, 0.995 * before + 0.005 * np.asarray(one).mean(0), rtol=1e-4, atol=1e-6)
    assert len(seen) > 1


def test_truncation_of_the_coarse_layers() -> None:
    model = stylegan.Generator(SHAPE, CHANNELS, 5, mapping_depth=1)
    z = normal(N, 5)
    own = variables(model, z)
    mean = np.asarray(own["averages"]["average"]["mean"])
    w = np.asarray(model.apply(own, z, method="styles"))
    assert np.ptp(w, axis=1).max() == 0
    cut = model.apply(own, z, psi=0.5, truncated=2, method="styles")
    np.testing.assert_allclose(cut[:, :2], mean + 0.5 * (w[:, :2] - mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cut[:, 2:], w[:, 2:])
    np.testing.assert_allclose(model.apply(own, z, psi=0.0, method="styles"), np.broadcast_to(mean, (N, 6, 5)), atol=1e-6)


def test_noise_belongs_to_its_example_and_its_layer() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    noise = stylegan.layer_noise(keys, (8, 8), 3, 3)
    assert [n.shape[1:3] for n in noise] == [(2, 2), (2, 2), (4, 4), (4, 4), (8, 8), (8, 8)]
    alone = stylegan.layer_noise(keys[2:], (8, 8), 3, 1)
    for both, one in zip(noise, alone, strict=True):
        np.testing.assert_array_equal(both[2:], one)
    numbers = np.concatenate([np.asarray(n).reshape(3, -1) for n in noise], axis=1)
    assert len(np.unique(numbers)) == numbers.size
    assert abs(numbers.std() - 1) < 0.1


@pytest.mark.slow
def test_half_precision_is_near() -> None:
    z, keys = normal(N, 5), jax.random.split(jax.random.key(1), N)
    pairs: list[Any] = [stylegan.Generator(SHAPE, CHANNELS, 5, 1, dtype=d) for d in (jnp.float32, jnp.bfloat16)]
    own = variables(pairs[0], z)
    whole, half = (jax.jit(lambda m=m: m.apply(own, z, lod=jnp.float32(0.5), key=keys))() for m in pairs)
    assert half.dtype == jnp.float32
    assert 1e-4 < np.abs(np.asarray(half - whole)).max() / np.abs(np.asarray(whole)).max() < 0.1


def count(model: Any, x: Any) -> int:
    shapes = jax.eval_shape(lambda key: model.init(key, x), jax.random.key(0))
    return sum(p.size for p in jax.tree.leaves(shapes["params"]))


def test_the_papers_networks_have_their_parameters() -> None:
    """Karras et al. 2019, section 2: 26.2 million in the generator with styles, 23.1 million in the traditional one."""
    z, x = jnp.zeros((1, 512)), jnp.zeros((1, 1024, 1024, 3))
    (style, critic), (plain, same) = stylegan.paper(), progressive.paper()
    assert (count(style, z), count(plain, z)) == (26_219_627, 23_079_115)
    assert count(critic, x) == count(same, x) == 23_087_249
    assert style.layers == 18


def test_sides_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(SizeError, match="Images of 12x12 can be halved 2 times, not 3; give 2 halvings by --channels or fewer"):
        progressive.Generator((12, 12, 1), (1, 1, 1, 1)).init(jax.random.key(0), normal(1, 2))
    with pytest.raises(SizeError, match="can be halved 2 times, not 3"):
        progressive.Discriminator((1, 1, 1, 1)).init(jax.random.key(0), normal(1, 12, 12, 1))
    with pytest.raises(SizeError, match="a power of two from 4, and not 12"):
        growing.channels_of(12)
    with pytest.raises(SizeError, match="--doublings 3 are more than the 2 of --channels; give as many or fewer"):
        growing.growth((1, 1, 1), doublings=3, hold=1, fade=1)
