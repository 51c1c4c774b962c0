"""Stacks of grey images: three independent images of the set, a channel each."""

import numpy as np
import pytest

from jaxgen import UserError, data


def numbered(n: int, **others: np.ndarray) -> data.Source:
    """Images of 2x3 whose pixels say which image and which pixel they are."""
    image = 8 * np.arange(n)[:, None, None, None] + np.arange(6).reshape(1, 2, 3, 1)
    return data.from_arrays({"image": image.astype(np.uint8), **others}, name="numbers")


def test_each_channel_is_an_image_of_the_set_as_it_is() -> None:
    stacks = data.stacked(numbered(10, label=np.arange(10)), 500)
    rows = stacks.gather(np.arange(500))
    assert set(rows) == {"image", "drawn"}
    assert rows["image"].shape == (500, 2, 3, 3)
    which = rows["image"] // 8
    assert (which == which[:, :1, :1]).all()
    np.testing.assert_array_equal(which[:, 0, 0], rows["drawn"])
    np.testing.assert_array_equal(rows["image"] % 8, np.broadcast_to(np.arange(6).reshape(2, 3, 1), (500, 2, 3, 3)))
    assert (stacks.length, stacks.name) == (500, "500 stacks of numbers")


def test_the_three_are_drawn_uniformly_and_independently() -> None:
    which = data.stacked(numbered(5), 20_000).gather(np.arange(20_000))["image"][:, 0, 0] // 8
    counts = np.bincount(which @ [25, 5, 1], minlength=125)
    # A chi-squared variable of 124 degrees of freedom: its mean and five of its standard deviations.
    assert ((counts - 160) ** 2 / 160).sum() < 124 + 5 * np.sqrt(2 * 124)


def test_they_are_the_same_at_each_reading_and_others_by_another_seed_or_length() -> None:
    source = numbered(10)
    stacks = data.stacked(source, 50)
    some = np.array([7, 3, 7])
    np.testing.assert_array_equal(stacks.gather(some)["image"], stacks.gather(np.arange(50))["image"][some])
    others = [data.stacked(source, 50, seed=1), data.stacked(source, 51), data.stacked(numbered(11), 50)]
    assert len({one.fingerprint for one in (stacks, *others)}) == 4
    assert data.stacked(source, 50).fingerprint == stacks.fingerprint
    assert (others[0].gather(np.arange(50))["image"] != stacks.gather(np.arange(50))["image"]).any()


def test_images_in_colour_are_refused() -> None:
    source = data.from_arrays({"image": np.zeros((2, 2, 2, 3), np.uint8)}, name="photos")
    with pytest.raises(UserError, match="Stacks are made of grey images; those of photos have 3 channels"):
        data.stacked(source, 5)
