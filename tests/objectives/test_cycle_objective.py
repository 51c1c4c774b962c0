"""The losses of CycleGAN against those written by hand in numpy, and the pools of translations."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import keys, objectives
from jaxgen.game import merging
from jaxgen.losses import adversarial
from jaxgen.models.translation import empty_pool, exchange
from jaxgen.objectives.cycle import DISCRIMINATORS, POOLS, TRANSLATORS

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(5, 4, 3, 2)).astype(np.float32) for _ in range(2))
BATCH = {"a": {"image": jnp.array(A)}, "b": {"image": jnp.array(B)}}
SHAPES = {**dict.fromkeys(TRANSLATORS, 2), **dict.fromkeys(DISCRIMINATORS, 1)}


class Pixelwise(nn.Module):
    """A matrix at every pixel."""

    outputs: int

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return nn.Dense(self.outputs)(x)


def game(loss: Any = None, *, pool: int | None = None, **options: Any) -> Any:
    translator, discriminator = Pixelwise(2), Pixelwise(1)
    losses = objectives.cycle_translation(
        (translator, translator),
        (discriminator, discriminator),
        loss or adversarial.least_squares(),
        exchange=None if pool is None else exchange,
        **options,
    )
    networks = {name: jaxgen.Network(Pixelwise(n), jnp.zeros((1, 4, 3, 2))) for name, n in SHAPES.items()}
    params, vars = jaxgen.initialize(networks)(jax.random.key(1))
    if pool is not None:
        vars = {**vars, POOLS: {domain: empty_pool((4, 3, 2), pool) for domain in "ab"}}
    return losses, jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, vars, {})


def by(state: Any, name: str, x: np.ndarray) -> np.ndarray:
    own = state.params[name]["Dense_0"]
    return x.astype(np.float64) @ np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"], np.float64)


def mean(x: np.ndarray) -> np.ndarray:
    return x.mean((1, 2, 3))


def terms_of(state: Any, x: np.ndarray, there: str, back: str, judge: str) -> dict[str, np.ndarray]:
    made = by(state, there, x)
    return {
        "cycle": mean(abs(by(state, back, made) - x)),
        "identity": mean(abs(by(state, back, x) - x)),
        "adversarial": mean((by(state, judge, made) - 1) ** 2),
    }


def by_hand(state: Any) -> dict[str, dict[str, np.ndarray]]:
    """G turns a into b; what it makes is judged by the discriminator of b, and brought back by F."""
    return {
        "a": terms_of(state, A, "a_to_b", "b_to_a", "discriminator_b"),
        "b": terms_of(state, B, "b_to_a", "a_to_b", "discriminator_a"),
    }


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {"a": (10, 5, 1), "b": (10, 5, 1)}),
        ({"cycle": (2.0, 3.0), "identity": 0.25, "gan": 0.5}, {"a": (2, 0.5, 0.5), "b": (3, 0.75, 0.5)}),
        ({"cycle": (4.0, 0.0), "identity": 0.0}, {"a": (4, 0, 1), "b": (0, 0, 1)}),
        ({"gan": 0.0}, {"a": (10, 5, 0), "b": (10, 5, 0)}),
    ],
)
def test_the_translators_loss(options: Any, weights: Any) -> None:
    losses, state = game(**options)
    values, aux = losses.translators(state.params, state, BATCH, jax.random.key(0), train=True)
    expected = by_hand(state)
    names = ("cycle", "identity", "adversarial")
    total = sum(w * expected[d][name] for d in "ab" for w, name in zip(weights[d], names, strict=True))
    np.testing.assert_allclose(values, total, rtol=1e-5)
    assert not aux.vars
    for name, value in aux.metrics.items():
        term, _, domain = name.rpartition("_")
        np.testing.assert_allclose(value, expected[domain][term], rtol=1e-5)
    left_out = {name for name in ("identity", "gan") if options.get(name) == 0}
    shown = {name for name in names if {"adversarial": "gan"}.get(name, name) not in left_out}
    assert set(aux.metrics) == {f"{name}_{domain}" for name in shown for domain in "ab"}


def test_half_of_each_discriminators_loss_on_its_images_and_on_translations_into_its_domain() -> None:
    losses, state = game()
    values, aux = losses.discriminators(state.params, state, BATCH, jax.random.key(0), train=True)
    total = 0.0
    for x, judge, other, way in ((A, "discriminator_a", B, "b_to_a"), (B, "discriminator_b", A, "a_to_b")):
        real, fake = by(state, judge, x), by(state, judge, by(state, way, other))
        total = total + mean((real - 1) ** 2 + fake**2) / 2
        np.testing.assert_allclose(aux.metrics[f"real_logit_{judge[-1]}"], mean(real), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(aux.metrics[f"fake_logit_{judge[-1]}"], mean(fake), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values, total, rtol=1e-5)
    assert not aux.vars


def test_other_losses() -> None:
    losses, state = game(adversarial.non_saturating, identity=0.0, cycle=(0.0, 0.0))
    values, _ = losses.translators(state.params, state, BATCH, jax.random.key(0), train=False)
    logits = [by(state, "discriminator_b", by(state, "a_to_b", A)), by(state, "discriminator_a", by(state, "b_to_a", B))]
    np.testing.assert_allclose(values, sum(mean(np.logaddexp(0, -x)) for x in logits), rtol=1e-5)


def test_what_is_measured_of_one_domain() -> None:
    losses, state = game()
    expected = by_hand(state)
    for domain, judge, there, other in (
        ("a", "discriminator_a", "a_to_b", "discriminator_b"),
        ("b", "discriminator_b", "b_to_a", "discriminator_a"),
    ):
        x = np.asarray(BATCH[domain]["image"])
        found = losses.terms[domain](state, BATCH[domain], jax.random.key(0))
        logits = {"real_logit": mean(by(state, judge, x)), "fake_logit": mean(by(state, other, by(state, there, x)))}
        assert set(found) == {*expected[domain], *logits}
        for name, value in {**expected[domain], **logits}.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
    losses, state = game(gan=0.0)
    assert set(losses.terms["a"](state, BATCH["a"], jax.random.key(0))) == {"cycle", "identity"}


def test_each_discriminator_is_shown_what_its_pool_gives() -> None:
    """Full pools of other images: about half of what is shown comes from the pool of its domain, by the examples' keys."""
    losses, state = game(pool=2)
    full = {d: {"images": jnp.full((2, 4, 3, 2), 7.0 * sign), "count": jnp.int32(2)} for d, sign in (("a", 1), ("b", -1))}
    state = state._replace(vars={POOLS: full})
    key = jax.random.key(3)
    batch = {d: {**part, "slot": jnp.arange(5)} for d, part in keys.by_example(key, BATCH).items()}
    _, aux = losses.discriminators(state.params, state, batch, key, train=True)
    assert set(aux.vars) == {POOLS}
    exchanged = []
    for domain, other, way in (("a", "b", "b_to_a"), ("b", "a", "a_to_b")):
        fakes = by(state, way, np.asarray(BATCH[other]["image"]))
        shown, pool = exchange(full[domain], jnp.asarray(fakes, jnp.float32), batch[other]["key"], train=True)
        exchanged.append(not np.allclose(shown, fakes, atol=1e-3))
        logits = mean(by(state, f"discriminator_{domain}", np.asarray(shown)))
        np.testing.assert_allclose(aux.metrics[f"fake_logit_{domain}"], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(aux.vars[POOLS][domain]["images"], pool["images"], rtol=1e-4, atol=1e-5)
    assert all(exchanged)
    # An evaluation shows what is new, and leaves the pools as they are.
    _, aux = losses.discriminators(state.params, state, batch, key, train=False)
    logits = mean(by(state, "discriminator_a", by(state, "b_to_a", B)))
    np.testing.assert_allclose(aux.metrics["fake_logit_a"], logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, dict(aux.vars[POOLS]), full)


def test_one_player_moves_both_translators_and_the_other_both_discriminators() -> None:
    losses, state = game(pool=3)
    players = {
        "translators": jaxgen.Player(losses.translators, optax.sgd(0.1), owns=TRANSLATORS),
        "discriminators": jaxgen.Player(
            losses.discriminators, optax.sgd(0.1), owns=DISCRIMINATORS, merge={POOLS: merging.whole}
        ),
    }
    start = jaxgen.create_state(jax.random.key(0), state.params, state.vars, players)
    for turns, moved in ((("translators",), TRANSLATORS), (("discriminators",), DISCRIMINATORS)):
        step = jaxgen.make_train_step({name: players[name] for name in turns})
        only = start._replace(opt={name: start.opt[name] for name in turns})
        after, _ = jax.jit(step)(only, BATCH)
        changed = {
            name
            for name in SHAPES
            if not np.allclose(after.params[name]["Dense_0"]["kernel"], start.params[name]["Dense_0"]["kernel"])
        }
        assert changed == set(moved)
    with pytest.raises(jaxgen.UserError, match=r"--accumulate 5 .*'pools' of player 'discriminators'"):
        jaxgen.make_train_step(players, accumulate=5)
