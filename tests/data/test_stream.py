"""The stream: a pure function of the seed and the position."""

import itertools
import random
import threading
import time
from collections.abc import Mapping

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen import data
from jaxgen.errors import UserError

SIZES = {"n": st.integers(1, 40), "size": st.integers(1, 60), "seed": st.integers(0, 2**32)}


def numbers(n: int) -> data.Source:
    x = np.arange(n)
    return data.from_arrays({"x": x * 10, "image": np.full((n, 2, 2, 1), x[:, None, None, None], np.uint8), "t": x.astype("S")})


def order(stream: data.Shuffled, start: int, steps: int, seed: int = 0) -> np.ndarray:
    return np.concatenate([stream.read(p, seed=seed)["index"][0] for p in range(start, start + steps)])


def assert_same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype


@given(**SIZES)
def test_every_example_comes_exactly_once_an_epoch(n: int, size: int, seed: int) -> None:
    steps = -(-3 * n // size)
    seen = order(data.shuffled(numbers(n), size), 0, steps, seed)
    assert seen.shape == (steps * size,)
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_the_order_is_the_seeds_and_every_epochs_own() -> None:
    stream = data.shuffled(numbers(100), 20)
    once, twice = order(stream, 0, 10), order(data.shuffled(numbers(100), 20), 0, 10)
    np.testing.assert_array_equal(once, twice)
    assert (once[:100] != once[100:]).any()
    assert (once != order(stream, 0, 10, seed=1)).any()
    assert (once[:100] != np.arange(100)).any()


def test_the_batch_size_does_not_change_the_order() -> None:
    np.testing.assert_array_equal(*(order(data.shuffled(numbers(30), size), 0, 60 // size) for size in (4, 15)))


@given(**SIZES)
def test_features_belong_to_their_index(n: int, size: int, seed: int) -> None:
    batch = data.shuffled(numbers(n), size).read(5, seed=seed)
    np.testing.assert_array_equal(batch["x"], batch["index"] * 10)
    np.testing.assert_array_equal(batch["image"][..., 0, 0, 0], batch["index"])
    np.testing.assert_array_equal(batch["slot"], [range(size)])
    assert batch.keys() == {"x", "image", "index", "slot"}  # text stays on the host


@given(position=st.integers(0, 100), steps=st.integers(1, 7), **SIZES)
def test_several_steps_are_as_many_reads_of_one(position: int, steps: int, n: int, size: int, seed: int) -> None:
    stream = data.shuffled(numbers(n), size)
    single = [stream.read(p, seed=seed) for p in range(position, position + steps)]
    joined = {name: np.concatenate([batch[name] for batch in single]) for name in single[0]}
    assert_same(stream.read(position, seed=seed, steps=steps), joined)


@given(hosts=st.sampled_from([1, 2, 4]), local=st.integers(1, 9), steps=st.integers(1, 3), n=SIZES["n"], seed=SIZES["seed"])
def test_the_hosts_shards_make_up_the_global_batch(hosts: int, local: int, steps: int, n: int, seed: int) -> None:
    stream = data.shuffled(numbers(n), hosts * local)
    shards = [stream.read(3, seed=seed, steps=steps, shard=(host, hosts)) for host in range(hosts)]
    assert {shard["x"].shape for shard in shards} == {(steps, local)}
    joined = {name: np.concatenate([shard[name] for shard in shards], axis=1) for name in shards[0]}
    assert_same(stream.read(3, seed=seed, steps=steps), joined)


def test_the_transform_of_the_shards_is_that_of_the_global_batch() -> None:
    stream = data.shuffled(numbers(30), 8, data.dequantize())

    def transformed(host: int, hosts: int) -> np.ndarray:
        batch = {name: a[0] for name, a in stream.read(2, seed=0, shard=(host, hosts)).items()}
        made = stream.transform(batch, jax.random.key(1))
        assert made.keys() == {"x", "image", "index", "slot"}
        np.testing.assert_array_equal(made["slot"], batch["slot"])
        return np.asarray(made["image"])

    whole = transformed(0, 1)
    assert len(np.unique(whole)) == whole.size
    np.testing.assert_array_equal(np.concatenate([transformed(host, 4) for host in range(4)]), whole)


def test_a_batch_that_the_hosts_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"^A batch of 10 examples cannot be cut for 4 hosts; give a multiple of 4\.$"):
        data.shuffled(numbers(30), 10).read(0, seed=0, shard=(0, 4))


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^A batch size of 0 holds no example; give 1 or more\.$"):
        data.shuffled(numbers(3), 0)


@given(st.permutations(range(12)), st.booleans())
def test_positions_may_be_read_in_any_order(positions: list[int], joined: bool) -> None:
    stream = data.shuffled(numbers(25), 7)
    anyhow = {p: stream.read(p, seed=4)["index"] for p in positions}
    np.testing.assert_array_equal(np.concatenate([anyhow[p][0] for p in range(12)]), order(stream, 0, 12, seed=4))


def test_a_batch_may_be_larger_than_the_set() -> None:
    (batch,) = data.shuffled(numbers(3), 10).read(1, seed=0)["index"]
    assert np.bincount(batch).tolist() in ([3, 3, 4], [3, 4, 3], [4, 3, 3])


def test_joined_streams_over_one_source_are_not_paired() -> None:
    stream = data.join(a=data.shuffled(numbers(50), 10), b=data.shuffled(numbers(50), 10))
    batches = stream.read(0, seed=0, steps=5)
    a, b = (batches[name]["index"].ravel() for name in "ab")
    assert sorted(a) == sorted(b) == list(range(50))
    assert (a == b).mean() < 0.2
    np.testing.assert_array_equal(a, order(stream.streams["a"], 0, 5))


def test_joined_streams_draw_independently() -> None:
    stream = data.join(a=data.shuffled(numbers(50), 10, data.dequantize()), b=data.shuffled(numbers(50), 10, data.dequantize()))
    batch = {"image": np.zeros((10, 2, 2, 1), np.uint8), "slot": np.arange(10)}
    made = stream.transform({"a": batch, "b": batch}, jax.random.key(0))
    assert made.keys() == {"a", "b"}
    assert (np.asarray(made["a"]["image"]) != np.asarray(made["b"]["image"])).mean() > 0.99


def test_joined_streams_may_differ_in_size_and_are_cut_for_hosts_each() -> None:
    stream = data.join(a=data.shuffled(numbers(50), 8), b=data.shuffled(numbers(12), 4))
    shards = [stream.read(1, seed=3, steps=2, shard=(host, 2)) for host in range(2)]
    for name, batch in stream.read(1, seed=3, steps=2).items():
        assert_same(batch, {f: np.concatenate([shard[name][f] for shard in shards], axis=1) for f in batch})
    assert (stream.batch_size, stream.epoch_steps, stream.names) == (12, 6.25, ("arrays", "arrays"))
    assert stream.fingerprint == f"{numbers(50).fingerprint}+{numbers(12).fingerprint}"


def test_prefetch_keeps_the_order() -> None:
    def read(i: int) -> int:
        time.sleep(random.Random(i).random() / 100)
        return i * i

    assert list(data.prefetch(read, range(40), threads=4, depth=8)) == [i * i for i in range(40)]
    assert list(data.prefetch(read, [])) == []


def test_prefetch_reads_ahead() -> None:
    ahead = threading.Event()
    chunks = data.prefetch(lambda i: ahead.set() if i == 1 else i, range(5))
    assert next(chunks) == 0
    assert ahead.wait(timeout=30)


def test_prefetch_raises_what_the_reader_raised_at_its_place() -> None:
    def read(i: int) -> int:
        if i == 5:
            raise UserError("The image 5.png cannot be read.")
        return i

    chunks = data.prefetch(read, range(10))
    assert list(itertools.islice(chunks, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError) as caught:
        next(chunks)
    assert str(caught.value) == "The image 5.png cannot be read."


@given(n=st.integers(1, 40), size=st.integers(1, 60))
def test_in_order_every_example_comes_once_and_padding_is_masked(n: int, size: int) -> None:
    batches = list(data.in_order(numbers(n), size))
    assert len(batches) == -(-n // size)
    assert {batch["x"].shape for batch in batches} == {(size,)}
    mask, index, x = (np.concatenate([batch[name] for batch in batches]) for name in ("mask", "index", "x"))
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < n)
    np.testing.assert_array_equal(index[:n], np.arange(n))
    np.testing.assert_array_equal(x[:n], 10 * np.arange(n))
    assert batches[0].keys() == {"x", "image", "index", "mask"}


def test_the_first_examples_are_what_an_evaluation_sees() -> None:
    transform = data.chain(data.scale(), data.binarize_statically())
    few, many = (data.examples(numbers(30), n, transform) for n in (3, 1000))
    assert (few["image"].shape, many["image"].shape) == ((3, 2, 2, 1), (30, 2, 2, 1))
    assert many["index"].tolist() == list(range(30))
    np.testing.assert_array_equal(few["image"], many["image"][:3])


def test_an_evaluation_holds_a_few_batches_at_a_time() -> None:
    read: list[int] = []
    source = numbers(100)
    watched = source._replace(gather=lambda indices: read.append(int(indices[0])) or source.gather(indices))
    chunks = data.prefetch(lambda batch: batch, data.in_order(watched, 2))
    assert next(chunks)["index"].tolist() == [0, 1]
    time.sleep(0.2)
    assert len(read) < 10
    assert sum(1 for _ in chunks) == 49
