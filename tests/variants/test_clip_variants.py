"""CLIP's variants, and its data: a prepared set with captions, and the words about sets without."""

from pathlib import Path
from typing import Any

import contract
import jax
import numpy as np
import pytest
from contract import make

import jaxgen
from experiments import clip

VARIANTS: list[Any] = [
    contract.slow({"encoder": "resnet"}),
    contract.slow({"encoder": "resnet", "ema": 0.9, "flip": True, "crop": 0, "weight_decay": 0.0}),
    contract.slow({"encoder": "vit", "bf16": True, "remat": True}),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=contract.titled)
def test_variant(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("clip", flags, tmp_path)


def test_emoji_are_described_retrieved_and_sorted_into_groups(shared: str) -> None:
    experiment = make("clip", dataset="emoji", data_dir=shared, encoder="vit", patch=16, vocabulary=400)
    params, vars = experiment.initial(jax.random.key(0))
    state = jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)
    values = experiment.evaluators["test"](state, jax.random.key(2), lambda batches, **_: batches)
    for k in (1, 5, 10):
        assert values[f"chance_at_{k}"] == pytest.approx(k / 40, rel=1e-4)
        assert 0 <= values[f"image_to_text_at_{k}"] <= 1
    assert values["zero_shot_group_chance"] == pytest.approx(1 / 9)
    assert values["zero_shot_group_commonest"] > 0.3  # people
    assert experiment.pictures["retrieved"](state, jax.random.key(2)).images.shape == (50, 68, 68, 3)


def test_prompts_of_a_class_agree_on_it_and_leave_the_rest_open() -> None:
    from jaxgen.data.builders.captioned_digits import ATTRIBUTES

    described = clip.prompts("captioned_digits", ATTRIBUTES)
    for name, values in ATTRIBUTES.items():
        assert len(described[name]) == len(values)
        for value, sentences in zip(values, described[name], strict=True):
            assert len(sentences) == 40
            assert all(value in sentence for sentence in sentences)
            for other in set(ATTRIBUTES) - {name}:
                assert len({next(v for v in ATTRIBUTES[other] if v in s) for s in sentences}) >= 2
    assert clip.prompts("mnist", {"label": ["0", "1"]})["label"][1][1] == "a photo of a 1"


def test_gains_biases_and_the_temperature_do_not_decay() -> None:
    experiment = make("clip")
    params, _ = jax.eval_shape(experiment.initial, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(clip.decayed(params["model"]))
    kept = {jax.tree_util.keystr(path) for path, decays in leaves if not decays}
    assert "['logit_scale']" in kept
    assert all(path.endswith(("['bias']", "['scale']", "['logit_scale']")) for path in kept)
    shrinking = {jax.tree_util.keystr(path) for path, decays in leaves if decays}
    assert all(path.endswith(("kernel']", "embedding']", "positions']", "class_token']")) for path in shrinking)


def test_a_frame_tells_right_from_wrong() -> None:
    from jaxgen import data

    source = data.from_arrays(
        {"image": np.full((3, 4, 4, 3), 255, np.uint8) * np.arange(3, dtype=np.uint8)[:, None, None, None]}
    )
    pictures = clip.framed(source, np.array([[2, 1]]), np.array([[True, False]]))
    np.testing.assert_allclose(pictures[:, 0, 0], [[0.1, 0.7, 0.2], [1, 1, 1]])
    np.testing.assert_allclose(pictures[:, 2:-2, 2:-2].mean((1, 2, 3)), [254 / 255, 1.0])


def test_a_set_without_captions_is_told_so() -> None:
    with pytest.raises(jaxgen.UserError, match=r"digits.*has no text 'caption'.*captioned_digits or emoji"):
        make("clip", dataset="digits")
