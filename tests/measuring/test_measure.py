"""Measurements of two sets: what is in the protocol, what is not, and that no value depends on how it was computed."""

import json
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.measuring import images, measure, protocol
from jaxgen.measuring.features import Extractor, Outputs, extract
from jaxgen.metrics import frechet, inception_score
from jaxgen.samples.conditions import Conditions, given
from jaxgen.types import Batch

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 200, (90, 4, 4, 1)).astype(np.uint8)
FAKE = RNG.integers(40, 256, (70, 4, 4, 1)).astype(np.uint8)
WEIGHTS = RNG.normal(size=(16, 5)).astype(np.float32)
EXTRACTOR_OF_ANY = Extractor("mean", "1", "none", lambda x: Outputs(x.mean((1, 2)), x.mean((1, 2))))
ALL = ("frechet", "score", "precision_recall", "density_coverage", "two_sample")


def project(x: jax.Array) -> Outputs:
    features = jnp.matmul(x.reshape(len(x), -1).astype(jnp.float32) / 255, jnp.asarray(WEIGHTS))
    return Outputs(features, 3 * features[:, :3])


EXTRACTOR = Extractor("projection", "1-abcd", "none", project)


def of(x: np.ndarray, name: str = "some") -> data.Source:
    return data.from_arrays({"image": x}, name=name)


def through(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float32) / 255 @ WEIGHTS


def test_values_are_those_of_the_features() -> None:
    found = measure.measure(of(REAL, "real"), of(FAKE), ALL, extractor=EXTRACTOR, seed=3, checkpoint="best")
    a, b = through(REAL), through(FAKE)
    expected = frechet.distance(frechet.moments(a), frechet.moments(b))
    assert found["frechet_projection"].value == pytest.approx(expected, rel=1e-5)
    score = found["score_projection"]
    assert (score.value, score.std) == pytest.approx(inception_score.score(3 * b[:, :3]), rel=1e-4)
    assert found["precision_projection"].protocol == protocol.Protocol(
        metric="precision_projection",
        extractor="projection 1-abcd",
        resizer="none",
        real=f"real {data.contents(of(REAL))}",
        n_real=90,
        n_fake=70,
        seed=3,
        checkpoint="best",
        settings=(("k", 3),),
    )
    assert {name.removesuffix("_projection") for name in found} == {
        "frechet",
        "score",
        "precision",
        "recall",
        "density",
        "coverage",
        "two_sample",
        "two_sample_real",
        "two_sample_fake",
    }


@pytest.mark.parametrize("batch_size", [1, 16, 33, 1000])
def test_features_depend_neither_on_the_batch_nor_on_the_devices(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for devices in (jax.devices(), jax.devices()[:1], jax.devices()[:3]):
        monkeypatch.setattr(jax, "local_devices", lambda devices=devices: devices)
        with extract(of(REAL), EXTRACTOR, batch_size=batch_size) as features:
            np.testing.assert_allclose(features.features, through(REAL), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(features.logits, 3 * through(REAL)[:, :3], rtol=1e-5, atol=1e-5)


def test_a_network_may_do_with_its_batch_what_it_does_on_one_device() -> None:
    def pool(x: jax.Array) -> Outputs:
        pooled = x.reshape(len(x), 2, 2, 2, 2).max((2, 4)).reshape(-1, 4).astype(jnp.float32)
        return Outputs(pooled, pooled)

    with extract(of(REAL), EXTRACTOR._replace(apply=pool)) as features:
        np.testing.assert_array_equal(features.features[:, 0], REAL[:, :2, :2].max((1, 2, 3)))


def test_the_floor_is_of_real_images_and_says_how_many() -> None:
    others = RNG.integers(0, 200, (100, 4, 4, 1)).astype(np.uint8)
    given = measure.measure(of(REAL), of(FAKE), ["frechet"], extractor=EXTRACTOR, others=of(others))["frechet_projection"]
    assert given.floor_n == 70
    assert given.floor is not None
    assert given.floor < given.value / 5
    halves = measure.measure(of(REAL), of(FAKE), ["frechet"], extractor=EXTRACTOR)["frechet_projection"]
    assert halves.floor_n == 45
    assert halves.floor is not None
    assert halves.floor < halves.value / 2
    exactly = measure.measure(of(REAL), of(FAKE), ["frechet"], extractor=EXTRACTOR, others=of(REAL))["frechet_projection"]
    assert exactly.floor_n == 70
    same = measure.measure(of(REAL), of(np.concatenate([REAL] * 2)), ["frechet"], extractor=EXTRACTOR, others=of(REAL))
    assert same["frechet_projection"].floor == pytest.approx(0, abs=1e-5)


def test_only_the_weights_of_the_convention_make_an_fid() -> None:
    for version, name in {"1-6726825d": "fid", "1-6726825e": "frechet_inception"}.items():
        extractor = EXTRACTOR._replace(name="inception", version=version)
        found = measure.measure(of(REAL), of(FAKE), ["frechet"], extractor=extractor)
        assert list(found) == [name]
        assert found[name].protocol.metric == name
        assert found[name].protocol.extractor == f"inception {version}"


def test_transport_of_as_many_as_it_says() -> None:
    found = measure.measure(of(REAL), of(FAKE), ["wasserstein", "sinkhorn"], extractor=EXTRACTOR, settings={"n": 60})
    a, b = (through(x)[np.random.default_rng(0).permutation(len(x))[:60]].astype(np.float64) for x in (REAL, FAKE))
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    assert found["wasserstein_projection"].value == pytest.approx(np.sqrt(cost[rows, columns].mean()), rel=1e-5)
    assert found["wasserstein_projection"].protocol.settings == (("n", 60), ("p", 2))
    assert 0 < found["sinkhorn_projection"].value < cost[rows, columns].mean()
    with pytest.raises(UserError, match="All real images have the same features"):
        measure.measure(of(REAL[:1].repeat(20, 0)), of(FAKE), ["sinkhorn"])


@pytest.mark.trains
def test_a_classifier_learns_from_labelled_samples() -> None:
    label = np.arange(120) % 3
    bright = (FAKE[:1] // 8 + 100 * label[:, None, None, None]).astype(np.uint8)
    real = data.from_arrays({"image": bright, "label": label}, name="real")
    quick = {"channels": (4,), "hidden": (16,), "dropout": 0.0, "steps": 120, "batch_size": 60, "learning_rate": 1e-2}
    for turn, expected in ((0, 1.0), (1, 0.0)):
        fake = data.from_arrays({"image": bright, "label": (label + turn) % 3}, name="fake")
        found = measure.measure(real, fake, ["classification_accuracy"], settings=quick)["classification_accuracy"]
        assert found.value == pytest.approx(expected, abs=0.1)
        assert found.floor == pytest.approx(1.0, abs=0.1)
        assert found.protocol.extractor == ""
        assert dict(found.protocol.settings) == quick
        assert protocol.from_json(json.dumps({"measurements": protocol.to_json({"a": found})}), "f")["a"] == found
    for sets in ((of(bright), real), (real, of(bright))):
        with pytest.raises(UserError, match="no labels"):
            measure.measure(*sets, ["classification_accuracy"], settings=quick)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_pictures_are_looked_at_without_a_network() -> None:
    real, fake = (RNG.integers(0, 256, (12, 34, 34, 1)).astype(np.uint8) for _ in range(2))
    few = {"n": 10, "patches": 6, "repeats": 1, "projections": 5, "pairs": 6}
    blind = EXTRACTOR_OF_ANY._replace(apply=None)
    found = measure.measure(of(real), of(fake), ["sliced_wasserstein", "ms_ssim"], extractor=blind, settings=few)
    assert set(found) == {"sliced_wasserstein", "sliced_wasserstein_34", "sliced_wasserstein_17", "ms_ssim"}
    levels = [found[f"sliced_wasserstein_{side}"].value for side in (34, 17)]
    assert found["sliced_wasserstein"].value == pytest.approx(np.mean(levels))
    assert -1 < found["ms_ssim"].value < 0.2  # noise is like nothing
    same = measure.measure(of(real), of(real[:1].repeat(12, 0)), ["ms_ssim"], extractor=EXTRACTOR_OF_ANY, settings=few)
    assert same["ms_ssim"].value == pytest.approx(1, abs=1e-5)
    for metric in ("sliced_wasserstein", "ms_ssim"):
        with pytest.raises(UserError, match="some: "):
            measure.measure(of(REAL), of(FAKE), [metric])
        with pytest.raises(UserError, match="bring them to one shape"):
            measure.measure(of(real), of(fake[:, :20]), [metric], extractor=EXTRACTOR_OF_ANY._replace(resizer="some"))


def test_pixels_are_features_too_and_classify_nothing() -> None:
    found = measure.measure(of(REAL), of(FAKE), ["two_sample"])
    assert found["two_sample_pixels"].protocol.extractor == "pixels 1"
    with pytest.raises(UserError, match="a network that classifies"):
        measure.measure(of(REAL), of(FAKE), ["score"])


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(UserError, match="kernel asks for 1,000 images of either set, and there are 90 of some"):
        measure.measure(of(REAL), of(FAKE), ["kernel"])
    with pytest.raises(UserError, match="bring them to one shape"):
        measure.measure(of(REAL), of(FAKE[:, :3]), ["frechet"])
    with pytest.raises(UserError, match="precision_recall asks for 4 images of either set, and there are 3 to hold"):
        measure.measure(of(REAL), of(FAKE[:3]), ["precision_recall"])
    with pytest.raises(UserError, match="score asks for 10 images"):
        measure.measure(of(REAL), of(FAKE[:3]), ["score"], extractor=EXTRACTOR)


def test_progress_is_shown_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    steps = Counter[str]()

    def track(iterable, *, description: str, total: int | None = None):
        for item in iterable:
            steps[description] += 1
            yield item

    few = {"size": 20, "subsets": 3}
    metrics = ["kernel", "precision_recall", "two_sample"]
    measure.measure(of(REAL, "real"), of(FAKE, "fake"), metrics, settings=few, batch_size=40, track=track)
    # Of the values and, in one block each, of their floor.
    assert steps == {
        "pixels of real": 3,
        "pixels of fake": 2,
        "kernel distance": 2 * 3,
        "radii of balls": 2 * 2,
        "balls that hold samples": 2,
        "nearest neighbours": 2 * 4,
    }


def test_settings_are_part_of_the_protocol() -> None:
    few = measure.measure(of(REAL), of(FAKE), ["kernel"], settings={"size": 20, "subsets": 3})["kernel_pixels"]
    assert few.protocol.settings == (("size", 20), ("subsets", 3))
    assert few.floor is not None
    more = measure.measure(of(REAL), of(FAKE), ["kernel"], settings={"size": 50, "subsets": 3})["kernel_pixels"]
    assert more.floor is None  # a half of the real images is 45
    with pytest.raises(UserError, match=r"size is 50 and"):
        protocol.difference(more, few)


FIELDS = [f for f in protocol.Protocol._fields if f != "settings"]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_protocol_keeps_values_apart(field: str) -> None:
    one = protocol.Measurement(1.0, protocol.Protocol("m", "e", "r", "d", 1, 2, 3, "last"))
    assert protocol.difference(one, one._replace(value=0.25)) == 0.75
    other = one._replace(protocol=one.protocol._replace(**{field: 99}))
    with pytest.raises(UserError, match=f"{field} is"):
        protocol.difference(one, other)


def test_json_carries_all_of_it() -> None:
    found = measure.measure(of(REAL), of(FAKE), ["kernel", "frechet"], settings={"size": 20, "subsets": 3})
    text = json.dumps({"measurements": protocol.to_json(found)})
    assert protocol.from_json(text, "file") == found
    for broken in ("", "[]", "{}", '{"measurements": {"a": 1}}', text.replace('"n_fake"', '"fake"')):
        with pytest.raises(UserError, match="file holds no measurements"):
            protocol.from_json(broken, "file")


class TestDrawn:
    """Sets of samples."""

    @staticmethod
    def sample(state: float, key: jax.Array, given: Batch) -> jax.Array:
        return state * jax.random.uniform(key, (len(given["index"]), 2, 2, 1))

    def test_a_larger_set_begins_with_the_smaller_one(self) -> None:
        with (
            images.drawn(self.sample, 1.0, jax.random.key(0), 300, name="few") as few,
            images.drawn(
                self.sample, 1.0, jax.random.key(0), 510, name="many", conditions=Conditions.of_classes("abc")
            ) as many,
        ):
            assert (few.length, many.length) == (300, 510)
            first = np.arange(300)
            np.testing.assert_array_equal(few.gather(first)["image"], many.gather(first)["image"])
            all_of_them = many.gather(np.arange(510))
            assert len(np.unique(all_of_them["image"].reshape(510, -1), axis=0)) > 500
            np.testing.assert_array_equal(all_of_them["label"], np.arange(510) % 3)
            assert many.classes == {"label": ("a", "b", "c")}
            assert "label" not in few.gather(first)

    @pytest.mark.parametrize("n", [1, 250, 740, 760, 2100])
    def test_devices_draw_chunks_of_their_own_and_the_set_is_the_same(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def walk(state: float, key: jax.Array, given: Batch) -> jax.Array:
            traced.append(isinstance(key, jax.core.Tracer))
            step = lambda i, x: x + state * jax.random.uniform(jax.random.fold_in(key, i), x.shape) / 4
            return jax.lax.fori_loop(0, 4, step, jnp.zeros((len(given["index"]), 2, 2, 1)))

        traced: list[bool] = []
        chunks = [walk(1.0, jax.random.fold_in(jax.random.key(7), i), given(250)) for i in range(-(-n // 250))]
        expected = images.to_bytes(np.concatenate(chunks)[:n])
        assert len(np.unique(expected.reshape(n, -1), axis=0)) > 0.99 * n
        for devices in (1, 3, 8):
            monkeypatch.setattr(jax, "local_devices", lambda devices=devices: jax.devices()[:devices])
            traced.clear()
            with images.drawn(walk, 1.0, jax.random.key(7), n, name="w") as drawn:
                np.testing.assert_array_equal(drawn.gather(np.arange(n))["image"], expected)
            # One program for all devices, or a call for each chunk.
            assert traced == ([True] if devices > 1 and n > 250 else [False] * len(chunks))

    def test_what_is_no_image_is_said(self) -> None:
        with (
            pytest.raises(UserError, match="are points"),
            images.drawn(lambda state, key, given: jnp.zeros((5, 2)), 1.0, jax.random.key(0), 5, name="w"),
        ):
            pass
        with (
            pytest.raises(UserError, match="not finite"),
            images.drawn(lambda state, key, given: jnp.full((5, 2, 2, 1), jnp.nan), 1.0, jax.random.key(0), 5, name="w"),
        ):
            pass


class TestRead:
    """Sets that a user names."""

    def test_arrays_of_bytes_and_of_floats_are_one_set(self, tmp_path: Path) -> None:
        np.save(tmp_path / "bytes.npy", REAL)
        np.save(tmp_path / "floats.npy", REAL[..., 0].astype(np.float32) / 255)
        np.savez(tmp_path / "both.npz", image=REAL, label=np.arange(90) % 4)
        for name in ("bytes.npy", "floats.npy", "both.npz"):
            np.testing.assert_array_equal(images.read(tmp_path / name).gather(np.arange(90))["image"], REAL)
        np.testing.assert_array_equal(images.read(tmp_path / "both.npz").gather(np.arange(9))["label"], np.arange(9) % 4)

    def test_a_folder(self, tmp_path: Path) -> None:
        from PIL import Image

        for i, x in enumerate(REAL[:3]):
            Image.fromarray(np.repeat(x, 3, axis=-1)).save(tmp_path / f"{i}.png")
        np.testing.assert_array_equal(images.read(tmp_path).gather(np.arange(3))["image"][..., :1], REAL[:3])

    @pytest.mark.parametrize(
        ("array", "sentence"),
        [
            (np.zeros((3, 4)), "shape .* give images"),
            (np.zeros((0, 4, 4, 1)), "shape .* give images"),
            (np.full((3, 4, 4, 1), 2.0), "from 2.0 to 2.0; give floats from 0 to 1"),
            (np.full((3, 4, 4, 1), np.nan), "give floats from 0 to 1"),
            (np.full((3, 4, 4, 1), -1), "holds int64"),
            (np.array([{"a": 1}], object), "cannot be read as an array"),
        ],
    )
    def test_what_is_no_set_is_said(self, array: np.ndarray, sentence: str, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        with pytest.raises(UserError, match=sentence):
            images.read(tmp_path / "x.npy")

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
        (tmp_path / "x.txt").write_text("x")
        np.savez(tmp_path / "other.npz", pictures=REAL)
        for name, sentence in {
            "torn.npz": "cannot be read as an array",
            "x.txt": "is no set of images",
            "absent": "is no set of images",
            "other.npz": "has no array `image`",
        }.items():
            with pytest.raises(UserError, match=sentence):
                images.read(tmp_path / name)
