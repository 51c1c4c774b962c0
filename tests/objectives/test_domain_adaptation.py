"""The losses of ADDA and the semantic terms of CyCADA against those written by hand in numpy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import objectives
from jaxgen.losses import adversarial
from jaxgen.types import Batch

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=(6, 2, 2, 1)).astype(np.float32) for _ in range(2))
LABEL = np.array([0, 1, 2, 2, 1, 0])
BATCH: Batch = {"source": {"image": jnp.array(X)}, "target": {"image": jnp.array(Y)}}


class Scores(nn.Module):
    """A matrix of all pixels; in training `noise` is added to the scores."""

    noise: float = 0.0

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        scores = nn.Dense(3)(x.reshape(len(x), -1))
        return scores + self.noise * jax.random.normal(self.make_rng("dropout"), scores.shape) if train else scores


class Judge(nn.Module):
    @nn.compact
    def __call__(self, scores: Any, *, train: bool = False) -> Any:
        return nn.Dense(1)(scores)[:, 0]


def game(noise: float = 0.0, **options: Any) -> Any:
    scores = Scores(noise)
    losses = objectives.adversarial_adaptation(scores, scores, Judge(), **options)
    networks = {name: jaxgen.Network(Scores(), jnp.zeros((1, 2, 2, 1))) for name in ("source", "model")}
    networks["discriminator"] = jaxgen.Network(Judge(), jnp.zeros((1, 3)))
    params, vars = jaxgen.initialize(networks)(jax.random.key(1))
    return losses, jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, vars, {})


def dense(state: Any, name: str, x: np.ndarray) -> np.ndarray:
    own = state.params[name]["Dense_0"]
    flat = x.reshape(len(x), -1).astype(np.float64)
    return flat @ np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"], np.float64)


def judged(state: Any, name: str, x: np.ndarray) -> np.ndarray:
    return dense(state, "discriminator", dense(state, name, x))[:, 0]


def log1p(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def test_the_discriminator_learns_which_scores_are_of_the_source_and_the_classifier_hides_it() -> None:
    (of_discriminator, of_model), state = game()
    on_source, on_target = judged(state, "source", X), judged(state, "model", Y)
    values, aux = of_discriminator(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(values, (log1p(-on_source) + log1p(on_target)) / 2, rtol=1e-5)
    right = ((on_source > 0).astype(float) + (on_target < 0)) / 2
    assert 0 < right.mean() < 1
    np.testing.assert_allclose(aux.metrics["accuracy"], right)
    np.testing.assert_allclose(aux.metrics["real_probability"], 1 / (1 + np.exp(-on_source)), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["fake_probability"], 1 / (1 + np.exp(-on_target)), rtol=1e-5)
    values, aux = of_model(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(values, log1p(-on_target), rtol=1e-5)
    assert not aux.metrics


def test_a_tie_counts_for_the_target() -> None:
    (of_discriminator, _), state = game()
    zero = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    _, aux = of_discriminator(zero.params, zero, BATCH, jax.random.key(0), train=False)
    assert set(np.asarray(aux.metrics["accuracy"]).tolist()) == {0.5}


def test_other_losses_and_streams() -> None:
    loss = adversarial.least_squares()
    (of_discriminator, of_model), state = game(loss=loss, domains=("here", "there"))
    batch = {"here": BATCH["source"], "there": BATCH["target"]}
    on_source, on_target = judged(state, "source", X), judged(state, "model", Y)
    values, _ = of_discriminator(state.params, state, batch, jax.random.key(0), train=False)
    np.testing.assert_allclose(values, ((on_source - 1) ** 2 + on_target**2) / 2, rtol=1e-4)
    np.testing.assert_allclose(
        of_model(state.params, state, batch, jax.random.key(0), train=False)[0], (on_target - 1) ** 2, rtol=1e-4
    )


def test_the_source_is_shown_as_asked_and_the_target_is_not() -> None:
    (of_discriminator, _), state = game(shown=lambda state, x: 3 * x)
    values, _ = of_discriminator(state.params, state, BATCH, jax.random.key(0), train=False)
    expected = (log1p(-judged(state, "source", 3 * X)) + log1p(judged(state, "model", Y))) / 2
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_both_classifiers_draw_in_training_each_by_itself() -> None:
    (of_discriminator, of_model), state = game(noise=1.0)
    clean = of_discriminator(state.params, state, BATCH, jax.random.key(0), train=False)[1].metrics
    drawn = of_discriminator(state.params, state, BATCH, jax.random.key(0), train=True)[1].metrics
    kernel = np.asarray(state.params["discriminator"]["Dense_0"]["kernel"])[:, 0]
    logit = lambda p: np.log(np.asarray(p, np.float64) / (1 - np.asarray(p, np.float64)))
    moved = {name: logit(drawn[name]) - logit(clean[name]) for name in ("real_probability", "fake_probability")}
    for by in moved.values():
        assert (np.abs(by) > 1e-3).all()
        assert np.abs(by).max() < 6 * np.linalg.norm(kernel)
    assert not np.allclose(moved["real_probability"], moved["fake_probability"])
    values = [of_model(state.params, state, BATCH, jax.random.key(0), train=train)[0] for train in (False, True)]
    assert not np.allclose(*values)


def test_neither_player_moves_the_classifier_of_the_source() -> None:
    (of_discriminator, of_model), state = game()
    players = {
        "discriminator": jaxgen.Player(of_discriminator, optax.sgd(0.1)),
        "model": jaxgen.Player(of_model, optax.sgd(0.1)),
    }
    start = jaxgen.create_state(jax.random.key(0), state.params, state.vars, players)
    for name in players:
        step = jaxgen.make_train_step({name: players[name]})
        after, _ = jax.jit(step)(start._replace(opt={name: start.opt[name]}), BATCH)
        same = {n: jax.tree.all(jax.tree.map(np.array_equal, after.params[n], start.params[n])) for n in start.params}
        assert same == {n: n != name for n in start.params}


def further(limit: float = 1.0, mask: Any = None, **of: Any) -> dict[str, np.ndarray]:
    """The semantic terms of translations that are 2 x and -y."""
    terms = objectives.semantic_consistency(Scores(), limit=limit, name="source")
    _, state = game()
    a = {"image": jnp.array(X), "label": jnp.array(LABEL), **({} if mask is None else {"mask": jnp.array(mask)}), **of}
    batch = {"a": a, "b": {"image": jnp.array(Y)}}
    found = terms(state.params, state, batch, {"a": 2 * jnp.array(X), "b": -jnp.array(Y)})
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def entropy(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    return np.log(np.exp(scores).sum(1)) - scores[np.arange(len(label)), label]


def test_translations_are_of_the_label_and_of_the_class_that_the_image_is_taken_for() -> None:
    _, state = game()
    found = further(limit=100.0)
    taken_for = dense(state, "source", Y).argmax(1)
    assert len(set(taken_for)) > 1
    np.testing.assert_allclose(found["semantic_a"], entropy(dense(state, "source", 2 * X), LABEL), rtol=1e-4)
    np.testing.assert_allclose(found["semantic_b"], entropy(dense(state, "source", -Y), taken_for), rtol=1e-4)


def test_there_are_no_terms_where_the_classifier_errs_on_real_images_of_domain_a() -> None:
    """The mean over real examples, to which one of padding, of any label, does not belong."""
    _, state = game()
    known = entropy(dense(state, "source", X), LABEL)
    for mask in (None, np.array([1, 1, 0, 1, 1, 1.0])):
        mean = known.mean() if mask is None else known[mask > 0].mean()
        label = LABEL if mask is None else np.where(mask > 0, LABEL, -1)
        for factor, there in ((0.99, False), (1.01, True)):
            found = further(mean * factor, mask, label=jnp.array(label))
            assert (found["semantic_b"] > 0).all() == there
            assert (found["semantic_a"][label >= 0] > 0).all() == there
            assert not np.isnan(found["semantic_b"]).any()


def test_the_translators_descend_the_further_terms_too() -> None:
    class Pixelwise(nn.Module):
        outputs: int = 1

        @nn.compact
        def __call__(self, x: Any, *, train: bool = False) -> Any:
            return nn.Dense(self.outputs)(x)

    seen: dict[str, Any] = {}

    def more(params: Any, state: Any, batch: Batch, made: Any) -> dict[str, Any]:
        seen.update(made)
        return {f"bright_{d}": made[d].mean((1, 2, 3)) for d in "ab"}

    pair = (Pixelwise(), Pixelwise())
    game = lambda **options: objectives.cycle_translation(pair, pair, adversarial.least_squares(), **options)
    networks = {
        name: jaxgen.Network(Pixelwise(), jnp.zeros((1, 2, 2, 1)))
        for name in ("a_to_b", "b_to_a", "discriminator_a", "discriminator_b")
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(1))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, {}, {})
    batch = {"a": {"image": jnp.array(X)}, "b": {"image": jnp.array(Y)}}
    plain, aux = game().translators(params, state, batch, jax.random.key(0), train=True)
    values, metrics = game(further=more).translators(params, state, batch, jax.random.key(0), train=True)
    for domain, x, way in (("a", X, "a_to_b"), ("b", Y, "b_to_a")):
        own = params[way]["Dense_0"]
        np.testing.assert_allclose(seen[domain], x * np.asarray(own["kernel"])[0, 0] + np.asarray(own["bias"]), rtol=1e-5)
    bright = sum(np.asarray(seen[d]).mean((1, 2, 3)) for d in "ab")
    np.testing.assert_allclose(values, np.asarray(plain) + bright, rtol=1e-4, atol=1e-5)
    assert set(metrics.metrics) == {*aux.metrics, "bright_a", "bright_b"}
    # Of two weights of the discriminators the first is that of translations of domain a.
    found = [game(gan=gan).translators(params, state, batch, jax.random.key(0), train=True)[0] for gan in (1.0, (2.0, 1.0))]
    np.testing.assert_allclose(found[1] - found[0], aux.metrics["adversarial_a"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gan", [0.0, (0.0, 0.0)])
def test_without_a_weight_there_are_no_adversarial_terms(gan: Any) -> None:
    module = Scores()
    losses = objectives.cycle_translation((module, module), (module, module), adversarial.least_squares(), gan=gan)
    assert set(losses.terms) == {"a", "b"}
