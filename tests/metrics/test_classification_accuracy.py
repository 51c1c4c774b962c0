"""The classification accuracy score: of labels that say something, of labels that say nothing, and of labels that are wrong."""

import numpy as np
import pytest

from jaxgen import UserError, data
from jaxgen.metrics.classification_accuracy import Recipe, recogniser, score

QUICK = Recipe(channels=(8,), hidden=(16,), dropout=0.2, steps=40, batch_size=64, learning_rate=5e-3)


def squares(n: int, *, classes: int = 4, seed: int = 0, turn: int = 0) -> data.Source:
    """Noise with a bright quarter, which is the class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    images = rng.integers(0, 100, (n, 6, 6, 1))
    for image, y in zip(images, label, strict=True):
        image[3 * (y // 2) :, 3 * (y % 2) :][:3, :3] += 100
    return data.from_arrays({"image": images.astype(np.uint8), "label": (label + turn) % classes}, name="squares")


@pytest.mark.slow
@pytest.mark.trains
def test_real_digits_are_told_apart_and_shuffled_labels_are_chance() -> None:
    train, test = (data.load("digits", split) for split in ("train", "test"))
    assert score(train, test, classes=10) > 0.93
    arrays = train.gather(np.arange(train.length))
    rng = np.random.default_rng(0)
    shuffled = data.from_arrays({"image": arrays["image"], "label": rng.permutation(arrays["label"])}, name="shuffled")
    # Ten classes, about as many images of each; the guess of a network that learnt noise scatters around a tenth.
    assert abs(score(shuffled, test, classes=10, recipe=Recipe(steps=400)) - 0.1) < 0.07


@pytest.mark.trains
def test_samples_of_another_class_are_taken_at_their_word() -> None:
    test = squares(703, seed=1)  # more than are looked at together
    train, seen = squares(2600), []
    recorded = train._replace(gather=lambda indices: seen.extend(indices.tolist()) or train.gather(indices))
    assert 0.95 < score(recorded, test, classes=4, recipe=QUICK) <= 1
    # Before an epoch ends no image is seen twice, but for the first, of which shapes and labels are asked.
    assert len(set(seen)) >= 40 * 64 > len(seen) - 12
    assert score(squares(400, turn=1), test, classes=4, recipe=QUICK) < 0.05


@pytest.mark.slow
@pytest.mark.trains
def test_it_is_its_recipes_seed() -> None:
    train, test = squares(64), squares(300, seed=1)
    once, again = (score(train, test, classes=4, recipe=QUICK._replace(steps=2)) for _ in range(2))
    one, other = (score(train, test, classes=4, recipe=QUICK._replace(steps=0, seed=seed)) for seed in (0, 1))
    assert once == again
    assert one != other


@pytest.mark.trains
def test_an_untrained_classifier_is_at_chance_and_every_test_image_counts_once() -> None:
    test = squares(7, seed=2)
    value = score(squares(64), test, classes=4, recipe=QUICK._replace(steps=0))
    assert value * 7 == pytest.approx(round(value * 7))


def test_what_cannot_be_scored_is_refused() -> None:
    plain = data.from_arrays({"image": np.zeros((3, 6, 6, 1), np.uint8)}, name="plain")
    with pytest.raises(
        UserError, match=r"^plain has no labels, of which a classifier is made; give a conditional model's samples\.$"
    ):
        score(plain, squares(5), classes=4)
    with pytest.raises(UserError, match=r"^plain has no labels"):
        score(squares(5), plain, classes=4)
    wide = data.from_arrays({"image": np.zeros((3, 6, 8, 1), np.uint8), "label": np.zeros(3, np.int64)}, name="wide")
    with pytest.raises(UserError, match=r"^One model cannot take every image: wide of 6x8x1, squares of 6x6x1; bring"):
        score(wide, squares(5), classes=4)
    with pytest.raises(UserError, match=r"^The labels of squares hold \d, and there are the classes 0 to 2; give it those\.$"):
        score(squares(64), squares(5), classes=3, recipe=QUICK)
    named = [squares(5)._replace(classes={"label": tuple(names)}) for names in ("abcd", "abce")]
    with pytest.raises(UserError, match=r"^A label means different things"):
        score(*named, classes=4)


@pytest.mark.trains
def test_a_recogniser_names_the_classes_of_images() -> None:
    test = squares(503, seed=1)  # more than are looked at together
    rows = test.gather(np.arange(503))
    predict = recogniser(squares(2600), classes=4, recipe=QUICK)
    found = predict(rows["image"])
    assert found.shape == (503,)
    assert (found == rows["label"]).mean() > 0.95
    np.testing.assert_array_equal(predict(rows["image"][500:]), found[500:])
