"""The rule by which the probability of augmentations changes: against a loop by hand, and on all devices."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ways import WAYS, stepper

import jaxgen
from jaxgen.game import merging
from jaxgen.losses.adaptive_augmentation import Adaptive

RULE = Adaptive(lambda key, x, p: x, target=0.25, interval=3, images=100)


def test_the_defaults_are_the_papers() -> None:
    assert Adaptive(RULE.pipe)[1:] == (0.6, 4, 500_000)


def test_the_probability_is_that_of_a_loop_by_hand() -> None:
    """As in the authors' loop: after every third step, by the sign of the mean sign, and never below 0."""
    rng, kept, p, signs = np.random.default_rng(0), RULE.begun(), 0.0, []
    seen = []
    for step in range(40):
        logits = rng.normal(size=8) + (1 if step < 18 else -0.5)
        kept = RULE.moved(kept, jnp.int32(step))
        assert float(kept["p"]) == pytest.approx(p, abs=1e-6)
        kept = RULE.noted(kept, jnp.asarray(logits, jnp.float32))
        signs.append(np.sign(logits))
        if (step + 1) % 3 == 0:
            p = max(p + np.sign(np.mean(signs) - 0.25) * 8 * 3 / 100, 0.0)
            signs = []
        seen.append(p)
    assert max(seen) > 1, "it is not bounded from above"
    assert seen[-1] == 0
    assert len(set(np.round(seen, 4))) > 5


def test_within_a_step_it_moves_once() -> None:
    kept = RULE.noted(RULE.begun(), jnp.ones(8))
    once = RULE.moved(kept, jnp.int32(3))
    more = RULE.noted(once, jnp.ones(8))
    assert float(once["p"]) == float(RULE.moved(more, jnp.int32(3))["p"]) == pytest.approx(0.08)
    assert float(RULE.moved(more, jnp.int32(5))["p"]) == pytest.approx(0.08)
    assert float(RULE.moved(more, jnp.int32(6))["p"]) == pytest.approx(0.16)


def test_signs_of_maps_are_means_and_padding_does_not_count() -> None:
    maps = jnp.array([[1.0, -2.0, 0.0, 3.0], [-1.0, -1.0, -1.0, 5.0]]).reshape(2, 2, 2, 1)
    kept = RULE.noted(RULE.begun(), maps)
    assert (float(kept["signs"]), float(kept["count"])) == (0.25 - 0.5, 2)
    kept = RULE.noted(kept, maps, jnp.array([1, 0]))
    assert (float(kept["signs"]), float(kept["count"])) == (0.25 - 0.5 + 0.25, 3)


def test_at_the_target_and_without_images_it_stays() -> None:
    kept = RULE.noted({**RULE.begun(), "p": jnp.float32(0.5)}, jnp.array([1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0]))
    assert float(RULE.moved(kept, jnp.int32(3))["p"]) == 0.5
    assert float(RULE.moved({**RULE.begun(), "p": jnp.float32(0.5)}, jnp.int32(3))["p"]) == 0.5


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_all_devices_and_micro_batches_keep_the_same(way: str, accumulate: int) -> None:
    """Steps of 16 examples with padding; the loss sees the probability of its step."""

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        now = RULE.moved(state.vars["augmentation"], state.step)
        kept = RULE.noted(now, batch["x"], batch["mask"])
        return params["model"] * batch["x"], jaxgen.Aux({"augmentation": kept}, {"p": now["p"]})

    players = {"model": jaxgen.Player(loss, optax.sgd(0.0), merge={"augmentation": merging.same})}
    x = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32) + 0.5
    mask = np.ones((7, 16), np.int32)
    mask[3, 5:] = 0
    batches = [{"x": a, "mask": b} for a, b in zip(x, mask, strict=True)]
    params, vars = {"model": jnp.float32(1.0)}, {"augmentation": RULE.begun()}
    step = stepper(players, way, batches[0], params=params, vars=vars, accumulate=accumulate)
    state, _, _ = step(*batches)
    expected = RULE.begun()
    for i, batch in enumerate(batches):
        expected = RULE.noted(RULE.moved(expected, jnp.int32(i)), jnp.asarray(batch["x"]), jnp.asarray(batch["mask"]))
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(state.vars["augmentation"][name]), value, atol=1e-5, err_msg=name)
    assert float(expected["p"]) > 0
