"""What samples are made from: by default, given in Python, and typed."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from games import ARRAYS
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen.commands.main import main
from jaxgen.data import text
from jaxgen.measuring import images
from jaxgen.samples import draws
from jaxgen.samples.conditions import Conditions, given

QUIET: dict[str, Any] = {"track": lambda x, **_: x}
NAMES = ("cat", "dog", "eel")
CAPTIONS = ["a red one", "a blue two", "two red ones", "a blue one"]


@jaxgen.recorded
def told(*, dataset: str | data.Given = "digits", by: str = "label", steps: int = 1) -> jaxgen.Experiment:
    """A model whose samples show what they were made from: a class as a grey value, an image negated, the tokens of a text."""
    train, test = data.train_and_test(dataset)
    conditions = {
        "label": lambda: Conditions.of_classes(NAMES),
        "image": lambda: Conditions(test),
        "caption": lambda: captions(),
        "nothing": lambda: None,
    }[by]()

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return jnp.broadcast_to(params["model"] ** 2, len(batch["image"])), jaxgen.Aux()

    def sample(state: Any, key: Any, given: Any) -> Any:
        n = len(given["index"])
        noise = 0.001 * jax.random.uniform(key, (n, 4, 4, 1))
        if "image" in given:
            return 1 - given["image"] / 255 - noise
        shade = (
            given["label"] / 4 if "label" in given else given["tokens"].sum(-1) / 5000 if "tokens" in given else jnp.ones(n) / 2
        )
        return shade[:, None, None, None] + noise

    return jaxgen.Experiment(
        train=data.shuffled(train, 8),
        players={"model": jaxgen.Player(loss, optax.sgd(0.1))},
        steps=steps,
        init=lambda key: ({"model": jnp.float32(1)}, {}),
        splits={"train": train, "test": test},
        sample=sample,
        given=conditions,
        best=None,
    )


def captions() -> Conditions:
    tokenizer = data.train_tokenizer(CAPTIONS, 280)
    mapped = text.tokenised(tokenizer, 8)["example_map"]
    return Conditions(
        data.map_examples(data.from_arrays({"caption": np.array(CAPTIONS)}), mapped, name="t"), example_map=mapped
    )


def small() -> data.Given:
    source = data.from_arrays({"image": ARRAYS["image"][:20]}, name="small")
    return data.part(source, 0, 15), data.part(source, 15)


def run(by: str, **flags: Any) -> jaxgen.Run:
    return jaxgen.fit(told(dataset=small(), by=by, **flags), quiet=True)


def shades(samples: np.ndarray) -> np.ndarray:
    return samples[:, 0, 0, 0]


class TestDefaults:
    """Without a wish of the user, samples go through what the experiment names."""

    def test_each_class_in_turn_across_chunks(self) -> None:
        drawn = shades(run("label").sample(130, **QUIET))
        np.testing.assert_allclose(drawn, np.arange(130) % 3 / 4, atol=0.002)

    def test_an_image_for_each_sample_and_then_the_first_again(self) -> None:
        drawn = run("image").sample(7, **QUIET)
        np.testing.assert_allclose(drawn, 1 - ARRAYS["image"][[15, 16, 17, 18, 19, 15, 16]] / 255, atol=0.002)

    def test_a_model_that_is_told_nothing_gets_the_numbers_alone(self) -> None:
        assert sorted(given(3)) == ["index"]
        np.testing.assert_allclose(run("nothing").sample(3, **QUIET), 0.5, atol=0.002)

    def test_measured_samples_have_the_class_that_they_were_made_from(self) -> None:
        made = run("label")
        conditions = made.experiment.given
        with images.drawn(made.experiment.sample, made.state, jax.random.key(0), 300, name="s", conditions=conditions) as set_:
            rows = set_.gather(np.arange(300))
        np.testing.assert_allclose(rows["image"][:, 0, 0, 0], rows["label"] / 4 * 255, atol=1)
        assert set_.classes == {"label": NAMES}


class TestGiven:
    """What a user gives in Python."""

    def test_classes_by_number_and_by_name(self) -> None:
        drawn = shades(run("label").sample(given={"label": [2, "dog", "0"]}, **QUIET))
        np.testing.assert_allclose(drawn, [0.5, 0.25, 0], atol=0.002)

    def test_they_are_gone_through_again_for_more_samples(self) -> None:
        drawn = shades(run("label").sample(70, given={"label": ["eel", "cat"]}, **QUIET))
        np.testing.assert_allclose(drawn, np.arange(70) % 2 / -2 + 0.5, atol=0.002)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_images_as_an_array_of_bytes_or_of_floats(self, scaled: bool) -> None:
        array = ARRAYS["image"][:3] / (255 if scaled else 1)
        drawn = run("image").sample(given={"image": array if scaled else array.astype(np.uint8)}, **QUIET)
        np.testing.assert_allclose(drawn, 1 - ARRAYS["image"][:3] / 255, atol=0.002)

    @pytest.mark.parametrize("scaled", [False, True])
    def test_a_source_of_bytes_or_of_floats(self, scaled: bool) -> None:
        image = ARRAYS["image"][:2].astype(np.uint8)
        source = data.from_arrays({"image": image / np.float32(255) if scaled else image})
        drawn = run("image").sample(given=source, **QUIET)
        np.testing.assert_allclose(drawn, 1 - ARRAYS["image"][:2] / 255, atol=0.002)

    def test_captions_are_read_by_the_tokenizer_of_the_data(self) -> None:
        made = run("caption")
        np.testing.assert_allclose(
            made.sample(2, given={"caption": CAPTIONS[2:]}, **QUIET), made.sample(4, **QUIET)[2:], atol=0.003
        )

    def test_the_noise_is_the_same_whatever_is_given(self) -> None:
        made = run("label")
        first, other = made.sample(3, given={"label": [0]}, **QUIET), made.sample(3, given={"label": [1]}, **QUIET)
        np.testing.assert_allclose(first + 0.25, other, atol=1e-6)

    @pytest.mark.parametrize(
        ("by", "wish", "sentence"),
        [
            ("label", {"label": ["cow"]}, "There is no label cow; this model knows cat, dog, eel"),
            ("label", {"label": [3]}, "There is no label 3; this model knows cat, dog, eel"),
            ("label", {"label": [-1]}, "There is no label -1"),
            ("label", {"label": [0.5]}, "There is no label 0.5"),
            ("label", {"image": ARRAYS["image"]}, "made from label, and not from image"),
            ("caption", {"label": [1]}, "made from tokens or a caption, and not from label"),
            ("nothing", {"label": [1]}, "made from nothing but noise"),
            ("image", {"image": np.zeros((2, 8, 8, 1), np.uint8)}, "is 8x8x1, and this model was trained on 4x4x1"),
            ("image", {"image": np.full((2, 4, 4, 1), np.nan)}, "image of what is given"),
            ("image", {"image": np.zeros((0, 4, 4, 1), np.uint8)}, "length above zero"),
        ],
    )
    def test_what_does_not_suit_the_model_is_refused(self, by: str, wish: dict[str, Any], sentence: str) -> None:
        with pytest.raises(jaxgen.UserError, match=sentence):
            run(by).sample(2, given=wish, **QUIET)

    @pytest.mark.parametrize("label", [-1, 3])
    def test_a_source_whose_label_is_no_class_is_refused(self, label: int) -> None:
        with pytest.raises(jaxgen.UserError, match=f"There is no label {label}, which arrays has; this model knows cat"):
            run("label").sample(given=data.from_arrays({"label": np.array([0, label])}), **QUIET)

    def test_a_source_of_fractions_is_no_source_of_classes(self) -> None:
        with pytest.raises(jaxgen.UserError, match="whole numbers"):
            run("caption").sample(given=data.from_arrays({"tokens": np.full((2, 8), 0.5)}), **QUIET)

    def test_a_source_whose_classes_are_others_is_refused(self) -> None:
        source = data.from_arrays({"label": np.array(["cow", "dog"])})
        with pytest.raises(jaxgen.UserError, match="this model knows cat, dog, eel"):
            run("label").sample(given=source, **QUIET)


def test_devices_get_the_rows_of_their_own_chunks() -> None:
    made = run("image")
    assert made.experiment.sample is not None
    assert made.experiment.given is not None
    parts = draws.chunks(
        made.experiment.sample, made.state, jax.random.key(0), 9, size=2, name="m", conditions=made.experiment.given, **QUIET
    )
    np.testing.assert_allclose(np.concatenate([*parts]), 1 - ARRAYS["image"][15 + np.arange(9) % 5] / 255, atol=0.002)


class TestCommands:
    """What is typed: `jaxgen sample` and `jaxgen translate`."""

    @pytest.fixture
    def pictures(self, tmp_path: Path) -> Path:
        """Pictures of the digits' size in two folders."""
        folder = tmp_path / "in"
        for name, shade in (("a/one.png", 10), ("a/two.png", 60), ("b/one.jpg", 200)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), shade, np.uint8)).save(folder / name)
        return folder

    @pytest.fixture
    def trained(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Trains, loads by the experiment itself, and types commands in the folder of the runs."""
        monkeypatch.chdir(tmp_path)

        def make(by: str) -> None:
            made = told(dataset=small(), by=by)
            jaxgen.fit(made, workdir="run", quiet=True)
            monkeypatch.setattr("jaxgen.runs.load.load", lambda *_, **options: jaxgen.load("run", experiment=made))

        return make

    def test_classes_are_typed_by_number_or_name(self, trained: Any) -> None:
        trained("label")
        main(["sample", "run", "--label", "eel", "1", "--n", "4", "--out", "s.npy"])
        np.testing.assert_allclose(shades(np.load("s.npy")), [0.5, 0.25, 0.5, 0.25], atol=0.002)
        main(["sample", "run", "--label", "eel", "--out", "s.npy"])
        assert np.load("s.npy").shape == (64, 4, 4, 1)

    def test_captions_are_typed_in_quotes(self, trained: Any) -> None:
        trained("caption")
        main(["sample", "run", "--caption", CAPTIONS[1], "--n", "2", "--out", "s.npy"])
        expected = jaxgen.load("run", experiment=told(dataset=small(), by="caption")).sample(2, **QUIET)
        np.testing.assert_allclose(shades(np.load("s.npy")), [shades(expected)[1]] * 2, atol=0.003)

    def test_pictures_are_translated_under_their_names(self, trained: Any, pictures: Path, capsys: Any) -> None:
        trained("image")
        main(["translate", "run", str(pictures), "--out", "out"])
        assert capsys.readouterr().out == "3 pictures in out\n"
        found = {
            str(path.relative_to("out")): np.asarray(Image.open(path)).mean() for path in sorted(Path("out").rglob("*.png"))
        }
        assert found == pytest.approx({"a/one.png": 245, "a/two.png": 195, "b/one.png": 55}, abs=1)

    def test_each_given_picture_is_used_once(self, trained: Any, pictures: Path) -> None:
        trained("image")
        main(["sample", "run", "--given", str(pictures / "a"), "--out", "s.npy"])
        np.testing.assert_allclose(shades(np.load("s.npy")) * 255, [245, 195], atol=1)

    @pytest.mark.parametrize(
        ("by", "command", "sentence"),
        [
            ("image", "translate run in --out run", "run is not empty; name a new folder"),
            ("image", "translate run nowhere --out out", "nowhere is neither a folder of pictures nor a file"),
            ("image", "translate run large --out out", "by --resize"),
            ("label", "translate run in --out out", "made from label, and from no images"),
            ("nothing", "translate run in --out out", "made from nothing but noise, and from no images"),
            ("nothing", "sample run --label 3", "made from nothing but noise"),
            ("image", "sample run --given in --label 3", "--given does not go with --label"),
            ("label", "sample run --resize", "--resize goes with --given"),
            ("label", "sample run --label cow", "There is no label cow"),
        ],
    )
    def test_mistakes_end_in_a_sentence(
        self, trained: Any, pictures: Path, by: str, command: str, sentence: str, capsys: Any
    ) -> None:
        trained(by)
        Path("large").mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save("large/a.png")
        with pytest.raises(SystemExit) as end:
            main(command.split())
        assert end.value.code != 0
        assert sentence in capsys.readouterr().err

    def test_larger_pictures_are_resized_on_request(self, trained: Any) -> None:
        trained("image")
        Path("large").mkdir()
        Image.fromarray(np.full((12, 8), 55, np.uint8)).save("large/a.png")
        main(["translate", "run", "large", "--out", "out", "--resize"])
        assert np.asarray(Image.open("out/a.png")).shape == (4, 4)


def test_a_run_without_its_data_is_given_images_and_refuses_those_of_the_data(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = small()
    arrays = {
        f"{split}_image": source.gather(np.arange(source.length))["image"]
        for split, source in (("train", first), ("test", second))
    }
    np.savez("set.npz", **arrays)
    jaxgen.fit(told(dataset="set.npz", by="image"), workdir="run", quiet=True)
    Path("set.npz").unlink()
    loaded = jaxgen.load("run", experiment=told)
    drawn = loaded.sample(given={"image": ARRAYS["image"][:2]}, **QUIET)
    np.testing.assert_allclose(drawn, 1 - ARRAYS["image"][:2] / 255, atol=0.002)
    with pytest.raises(jaxgen.UserError, match=r"set\.npz"):
        loaded.sample(2, **QUIET)


def test_what_is_given_is_no_data_of_the_run(tmp_path: Path) -> None:
    before = told(dataset=small(), by="label").config
    assert before is not None
    assert [one.source.name for one in before.opened] == ["small[0:15]", "small[15:20]"]
