"""What tells an array, a state and a record from others."""

import numpy as np
import pytest

from jaxgen import hashes


def test_every_bit_every_shape_and_every_type_tells() -> None:
    array = np.arange(6, dtype=np.float32)
    others = [array.reshape(2, 3), array.view(np.int32), -array, array[:5], np.float32(0)]
    assert len({hashes.leaves({"a": x})["a"] for x in [array, *others]}) == 6


def test_the_leaf_that_changed_is_named() -> None:
    tree = {"params": {"kernel": np.ones((2, 2)), "bias": np.zeros(2)}}
    written = hashes.leaves(tree)
    hashes.verify(tree, written)
    tree["params"]["bias"][1] = 1e-300
    with pytest.raises(ValueError, match=r"^params/bias is not what was written$"):
        hashes.verify(tree, written)


def test_a_signature_is_of_names_and_values_in_any_order() -> None:
    assert hashes.signature({"a": 1, "b": [2]}) == hashes.signature({"b": [2], "a": 1})
    assert len({hashes.signature(meta) for meta in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {})}) == 5
