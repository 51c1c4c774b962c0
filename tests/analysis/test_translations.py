"""Translations as a value: what samples and pictures show, and what a network is shown of a frozen translator."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import data
from jaxgen.analysis.translations import PAIRS, shown_translated, translation_model, translations_by_class
from jaxgen.errors import UserError
from jaxgen.network import FrozenNetwork


class Gain(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return self.param("gain", nn.initializers.ones_init(), ()) * x


def state_of(**gains: float) -> jaxgen.TrainState:
    params = {name: {"gain": jnp.float32(gain)} for name, gain in gains.items()}
    return jaxgen.TrainState(jnp.int32(3), jax.random.key(0), params, {}, {}, {})


def grey(levels: Any, label: Any = None) -> data.Source:
    image = np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 2, 2, 1))
    rows = {"image": image, **({} if label is None else {"label": np.asarray(label)})}
    return data.from_arrays(rows, name="grey", **({} if label is None else {"classes": ("x", "y", "z")}))


TEST = {"a": grey([0, 255, 51]), "b": grey([102, 204])}
STATE = state_of(a_to_b=-1.0, b_to_a=0.5)


def test_samples_are_translations_of_the_domain_that_the_way_begins_in() -> None:
    model = translation_model((Gain(), Gain()), TEST)
    for way, expected in (("a_to_b", [1.0, 0.0, 0.8]), ("b_to_a", [0.45, 0.65])):
        given = jaxgen.given(len(expected), model.conditions(way))
        for made in (model.sample(way)(STATE, jax.random.key(0), given), model.by(way)(STATE, given["image"])):
            np.testing.assert_allclose(made[:, 0, 0, 0], expected, atol=1e-6)


def test_the_picture_has_the_way_there_and_back_of_both_domains() -> None:
    picture = translation_model((Gain(), Gain()), TEST).pictures()["translations"](STATE, jax.random.key(0))
    shown = np.asarray(picture.images)[:, 0, 0, 0].reshape(-1, 3)
    assert picture.columns == 12
    expected = [[0, 1, 0.75], [1, 0, 0.25], [0.2, 0.8, 0.65], [1, 1, 1], [0.4, 0.45, 0.55], [0.8, 0.65, 0.35]]
    np.testing.assert_allclose(shown, [*expected, [1, 1, 1], [1, 1, 1]], atol=0.005)


def part(side: int = 2) -> FrozenNetwork:
    whence = ("0" * 64, "runs/t", Path("runs/t"), "a_to_b", "last", 1, Path("runs/t"))
    return FrozenNetwork(Gain(), {}, {}, *whence, None, (jnp.zeros((1, side, side, 1)),))


def test_a_network_is_shown_translations_in_0_1_that_do_not_learn() -> None:
    shown = shown_translated(part(), (2, 2, 1), name="by")
    state, x = state_of(by=0.5), jnp.full((3, 2, 2, 1), 0.9)
    np.testing.assert_allclose(shown(state, x), np.full((3, 2, 2, 1), 0.7), rtol=1e-5)
    of = lambda params: shown(state._replace(params=params), x).sum()
    assert float(jax.grad(of)(state.params)["by"]["gain"]) == 0
    with pytest.raises(
        UserError, match=r"^--translator runs/t translates images of 4x4x1, and those of --dataset are 2x2x1 here"
    ):
        shown_translated(part(4), (2, 2, 1))


def test_images_of_each_class_stand_beside_their_translations() -> None:
    """Seven of class x, of which six are shown, none of class y and one of class z."""
    test = grey([10, 20, 30, 40, 50, 60, 70, 255], [0] * 7 + [2])
    picture = translations_by_class(test, lambda state, x: 1 - x, classes=3)(STATE, jax.random.key(0))
    shown = np.asarray(picture.images)[:, 0, 0, 0].reshape(3, PAIRS, 2)
    assert picture.columns == 2 * PAIRS
    levels = np.array([10, 20, 30, 40, 50, 60]) / 255
    np.testing.assert_allclose(shown[0], np.stack([levels, 1 - levels], axis=1), atol=1e-6)
    assert (shown[1] == 1).all()
    np.testing.assert_allclose(shown[2, 0], [1, 0], atol=1e-6)
    assert (shown[2, 1:] == 1).all()
    assert picture.caption.endswith("step 3")
