"""Blocks of rows on devices: none is lost, each device has its part, and no value depends on how many there are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from jaxgen import data
from jaxgen.metrics import blocks, distances, frechet, kernel, ms_ssim, neighbours, parzen, sliced_wasserstein

DEVICES = jax.devices()
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(n, 5)).astype(np.float32) + 3 for n in (61, 61))
IMAGES, OTHERS = (RNG.integers(0, 256, (29, 32, 32, 2)).astype(np.uint8) for _ in range(2))
PATCHES = [
    sliced_wasserstein.over(data.from_arrays({"image": x}, name="some"), seed=0, patches=4, batch_size=11)
    for x in (IMAGES, OTHERS)
]

VALUES: dict[str, Callable[[], Any]] = {
    "moments": lambda: frechet.moments(A, rows=7),
    "kernel": lambda: kernel.mmd(A, B, np.arange(20), np.arange(25)),
    "manifolds": lambda: neighbours.manifolds(A, B, k=3),
    "two_sample": lambda: neighbours.two_sample(A, B),
    "parzen": lambda: parzen.log_density(A, B, 0.5),
    "ms_ssim": lambda: ms_ssim.ms_ssim(IMAGES, OTHERS, scales=2),
    "diversity": lambda: ms_ssim.diversity(IMAGES, pairs=50, seed=0, scales=2),
    "sliced": lambda: sliced_wasserstein.sliced(A, B, projections=50, seed=0),
    "descriptors": lambda: sliced_wasserstein.descriptors(IMAGES, np.random.default_rng(0), patches=3),
    "patches": lambda: sliced_wasserstein.of_patches(*PATCHES, seed=0, projections=10),
}


def on(devices: list[jax.Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: devices)


@given(n=st.integers(0, 100), size=st.integers(1, 20), devices=st.integers(1, 8))
def test_every_row_is_in_one_block_and_blocks_divide_but_for_the_last(n: int, size: int, devices: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        on(DEVICES[:devices], patch)
        spans = blocks.spans(n, size)
    assert [row for span in spans for row in range(n)[span]] == list(range(n))
    lengths = [span.stop - span.start for span in spans]
    assert all(0 < length <= size * devices for length in lengths)
    assert all(length % devices == 0 for length in lengths[:-1])
    assert len(lengths) <= n // (size * devices) + 2


def test_a_device_has_its_part_of_the_rows_and_the_whole_of_the_columns() -> None:
    x = np.arange(48, dtype=np.float32).reshape(16, 3)
    parts = blocks.cut(x).addressable_shards
    assert {part.device for part in parts} == set(DEVICES)
    assert all(part.data.shape == (2, 3) for part in parts)
    np.testing.assert_array_equal(np.concatenate([part.data for part in sorted(parts, key=lambda p: p.index[0].start)]), x)
    for left in (blocks.cut(x[:15]), blocks.whole(x[:15])):
        assert left.is_fully_replicated
        assert left.sharding.device_set == set(DEVICES)


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("size", [1, 3])
def test_no_value_depends_on_the_devices(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blocks that are smaller than the sets, so that there are several, and a last one that does not divide."""
    for module, constant in (
        (kernel, "ROWS"),
        (distances, "ROWS"),
        (parzen, "ROWS"),
        (sliced_wasserstein, "ROWS"),
        (ms_ssim, "PAIRS"),
    ):
        monkeypatch.setattr(module, constant, size)
    found = []
    for devices in (1, 3, 8):
        on(DEVICES[:devices], monkeypatch)
        found.append(jax.tree.leaves(VALUES[name]()))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6 * np.abs(one).max())


def rows(*shape: int) -> jax.Array:
    return blocks.cut(np.ones(shape, np.float32))


def columns(*shape: int) -> jax.Array:
    return blocks.whole(np.ones(shape, np.float32))


NEAREST = blocks._apart(distances._nearest, blocks._mesh(), (P("rows"), P(), P("rows"), P("rows"), P()))


@pytest.mark.parametrize(
    ("program", "given"),
    [
        pytest.param(
            NEAREST,
            (
                rows(16, 5),
                columns(24, 5),
                rows(16, 4),
                blocks.cut(np.zeros((16, 4), np.int32)),
                blocks.whole(np.array(0, np.int32)),
            ),
            id="nearest",
        ),
        pytest.param(parzen._add, (rows(16), rows(16, 5), columns(24, 5), columns()), id="parzen"),
        pytest.param(jax.jit(partial(ms_ssim._ms_ssim, scales=2)), (rows(16, 32, 32, 1),) * 2, id="ms_ssim"),
        pytest.param(jax.jit(partial(sliced_wasserstein._pyramid, levels=2)), (rows(16, 32, 32, 1),), id="pyramid"),
    ],
)
def test_devices_work_without_a_word_between_them(program: Any, given: tuple[jax.Array, ...]) -> None:
    compiled = program.lower(*given).compile()
    assert not [word for word in ("all-gather", "all-reduce", "all-to-all", "collective") if word in compiled.as_text()]
    for out in jax.tree.leaves(compiled(*given)):
        assert out.addressable_shards[0].data.shape[0] * len(DEVICES) == out.shape[0] == 16


def test_devices_project_their_own_rows() -> None:
    compiled = sliced_wasserstein._along.lower(rows(16, 5), columns(5, 8)).compile()
    assert "all-" not in compiled.as_text()
    assert compiled(rows(16, 5), columns(5, 8)).sharding.spec == P(None, "rows")
