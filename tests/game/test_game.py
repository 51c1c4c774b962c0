"""The train step against steps written by hand, bit for bit."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxgen.game import Aux, Player, TrainState, averaged, create_state, make_train_step
from jaxgen.reduction import compute, merge, reduce

KEY = jax.random.key(3)
X = jax.random.normal(jax.random.key(1), (6, 12, 4))


class Net(nn.Module):
    width: int
    normalised: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.tanh(nn.Dense(8)(x))
        if self.normalised:
            h = nn.BatchNorm(use_running_average=not train)(h)
        return nn.Dense(self.width)(h)


NET, CRITIC = Net(4), Net(1)


def run(step, state, batches):
    step = jax.jit(step)
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def noisy(p, state, batch, key, *, train):
    target = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    return ((NET.apply({"params": p["model"]}, batch["x"]) - target) ** 2).sum(-1), Aux()


def start(players, **options) -> TrainState:
    params = {"model": NET.init(KEY, X[0])["params"]}
    return create_state(KEY, params, {}, players, **options)


def test_one_player_is_the_textbook_step() -> None:
    players = {"model": Player(noisy, optax.adam(1e-2))}
    ours, _ = run(make_train_step(players), start(players), [{"x": x} for x in X])

    params, tx = start(players).params["model"], optax.adam(1e-2)
    opt = tx.init(params)

    @jax.jit
    def textbook(params, opt, x, step):
        key = jax.random.fold_in(jax.random.fold_in(KEY, step), 0)

        def loss(params):
            target = x + 0.1 * jax.random.normal(key, x.shape)
            return jnp.mean(((NET.apply({"params": params}, x) - target) ** 2).sum(-1))

        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        return optax.apply_updates(params, updates), opt

    for step, x in enumerate(X):
        params, opt = textbook(params, opt, x, step)
    chex.assert_trees_all_equal(ours.params["model"], params)
    chex.assert_trees_all_equal(ours.opt["model"], opt)
    assert int(ours.step) == len(X)


def discriminate(p, state, batch, key, *, train):
    fake = NET.apply({"params": p["generator"]}, jax.random.normal(key, batch["x"].shape))
    real_logit, fake_logit = (CRITIC.apply({"params": p["discriminator"]}, v)[:, 0] for v in (batch["x"], fake))
    return jax.nn.softplus(-real_logit) + jax.nn.softplus(fake_logit), Aux()


def generate(p, state, batch, key, *, train):
    fake = NET.apply({"params": p["generator"]}, jax.random.normal(key, batch["x"].shape))
    return jax.nn.softplus(-CRITIC.apply({"params": p["discriminator"]}, fake)[:, 0]), Aux()


@pytest.mark.parametrize("every", [1, 3])
def test_two_players_are_the_alternating_step(every: int) -> None:
    players = {
        "discriminator": Player(discriminate, optax.adam(1e-2)),
        "generator": Player(generate, optax.sgd(1e-2), every=every),
    }
    params = {"discriminator": CRITIC.init(KEY, X[0])["params"], "generator": NET.init(KEY, X[0])["params"]}
    ours, _ = run(make_train_step(players), create_state(KEY, params, {}, players), [{"x": x} for x in X])

    d, g = params["discriminator"], params["generator"]
    dtx, gtx = optax.adam(1e-2), optax.sgd(1e-2)
    dopt, gopt = dtx.init(d), gtx.init(g)

    @jax.jit
    def alternate(d, g, dopt, gopt, x, step):
        key = jax.random.fold_in(KEY, step)
        dkey, gkey = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        loss = lambda d: jnp.mean(discriminate({"discriminator": d, "generator": g}, None, {"x": x}, dkey, train=True)[0])
        updates, dopt = dtx.update(jax.grad(loss)(d), dopt, d)
        d = optax.apply_updates(d, updates)
        loss = lambda g: jnp.mean(generate({"discriminator": d, "generator": g}, None, {"x": x}, gkey, train=True)[0])

        def move(g, gopt):
            updates, gopt = gtx.update(jax.grad(loss)(g), gopt, g)
            return optax.apply_updates(g, updates), gopt

        if every == 1:
            g, gopt = move(g, gopt)
        else:
            g, gopt = lax.cond((step + 1) % every == 0, move, lambda g, o: (g, o), g, gopt)
        return d, g, dopt, gopt

    for step, x in enumerate(X):
        d, g, dopt, gopt = alternate(d, g, dopt, gopt, x, step)
    # To the last digit only: the two are programs of their own, whose sums XLA may order differently.
    chex.assert_trees_all_close(ours.params["discriminator"], d, rtol=1e-6)
    chex.assert_trees_all_close(ours.params["generator"], g, rtol=1e-6)
    chex.assert_trees_all_close(ours.opt["discriminator"], dopt, rtol=1e-6)


def test_a_skipped_turn_has_no_value_and_changes_nothing() -> None:
    players = {"model": Player(noisy, optax.sgd(0.1), every=2)}
    state = start(players)
    step = jax.jit(make_train_step(players))
    after, metrics = step(state, {"x": X[0]})
    chex.assert_trees_all_equal(after.params, state.params)
    assert compute(metrics) == {}
    after, metrics = step(after, {"x": X[1]})
    assert not np.array_equal(after.params["model"]["Dense_0"]["kernel"], state.params["model"]["Dense_0"]["kernel"])
    assert set(compute(metrics)) == {"loss", "grad_norm"}


def plain(p, state, batch, key, *, train):
    values = ((NET.apply({"params": p["model"]}, batch["x"]) - 2 * batch["x"]) ** 2).sum(-1)
    return values, Aux({}, {"first": values, "scalar": values.mean()})


@pytest.mark.parametrize("accumulate", [2, 3, 12])
@pytest.mark.parametrize("masked", [False, True])
def test_accumulation_keeps_the_gradient_of_the_whole_batch(accumulate: int, masked: bool) -> None:
    players = {"model": Player(plain, optax.sgd(0.1))}
    # A mask so uneven that the micro-batches hold different numbers of examples, and some none.
    mask = {"mask": jnp.array([1.0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0])} if masked else {}
    batches = [{"x": x, **mask} for x in X]
    whole, expected = run(make_train_step(players), start(players), batches)
    parts, got = run(make_train_step(players, accumulate=accumulate), start(players), batches)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for name in ("loss", "first", "grad_norm"):
        assert compute(got)[name] == pytest.approx(compute(expected)[name], rel=1e-5)


def test_accumulation_moves_each_player_once_a_step_and_in_order() -> None:
    players = {
        "discriminator": Player(
            lambda p, s, b, k, *, train: (p["discriminator"] * p["generator"] * b["x"], Aux()), optax.sgd(1.0)
        ),
        "generator": Player(lambda p, s, b, k, *, train: (p["discriminator"] * p["generator"] * b["x"], Aux()), optax.sgd(1.0)),
    }
    state = create_state(KEY, {"discriminator": jnp.float32(1), "generator": jnp.float32(1)}, {}, players)
    state, _ = make_train_step(players, accumulate=4)(state, {"x": jnp.ones(8)})
    # The discriminator moves by the mean gradient 1 to 0; the generator then sees 0 and stays.
    assert (state.params["discriminator"].item(), state.params["generator"].item()) == (0.0, 1.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batch_statistics_are_carried(accumulate: int) -> None:
    net = Net(4, normalised=True)
    variables = net.init(KEY, X[0])

    def loss(p, state, batch, key, *, train):
        own = {"params": p["model"], "batch_stats": state.vars["model"]["batch_stats"]}
        out, new = net.apply(own, batch["x"], train=train, mutable=["batch_stats"])
        return (out**2).sum(-1), Aux({"model": {"batch_stats": new["batch_stats"]}})

    players = {"model": Player(loss, optax.sgd(0.1))}
    state = create_state(KEY, {"model": variables["params"]}, {"model": {"batch_stats": variables["batch_stats"]}}, players)
    after, _ = run(make_train_step(players, accumulate=accumulate), state, [{"x": X[0]}])
    mean = after.vars["model"]["batch_stats"]["BatchNorm_0"]["mean"]
    h = nn.tanh(nn.Dense(8).apply({"params": variables["params"]["Dense_0"]}, X[0]))
    # flax's running mean with momentum 0.99, over the micro-batches in turn: rows 0, 2, 4 ... and then 1, 3, 5 ...
    expected = jnp.zeros(8)
    for part in range(accumulate):
        expected = 0.99 * expected + 0.01 * h[part::accumulate].mean(0)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-7)


def test_ema_is_the_textbook_average_of_the_trained_parameters_alone() -> None:
    players = {"model": Player(noisy, optax.sgd(0.05))}
    params = {"model": NET.init(KEY, X[0])["params"], "teacher": {"w": jnp.ones(3)}}
    state = create_state(KEY, params, {}, players, ema=0.9)
    assert set(state.ema) == {"model"}
    step = jax.jit(make_train_step(players, ema=0.9))
    total = jax.tree.map(jnp.zeros_like, params["model"])
    for x in X:
        state, _ = step(state, {"x": x})
        total = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, total, state.params["model"])
    # Started from zero and divided by the sum of the weights: what the debiased recursion is.
    expected = jax.tree.map(lambda e: e / (1 - 0.9 ** len(X)), total)
    for a, b in zip(jax.tree.leaves(state.ema["model"]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_equal(state.params["teacher"], params["teacher"])
    assert averaged(state).params["model"] is state.ema["model"]
    assert averaged(state).params["teacher"] is state.params["teacher"]


def test_ema_decay_may_be_a_schedule_of_the_step() -> None:
    players = {"model": Player(noisy, optax.sgd(0.05))}
    decay = lambda step: jnp.where(step < 2, 0.0, 1.0)
    state, after_two = start(players, ema=decay), None
    step = jax.jit(make_train_step(players, ema=decay))
    for i, x in enumerate(X):
        state, _ = step(state, {"x": x})
        after_two = state.params if i == 1 else after_two
    chex.assert_trees_all_equal(state.ema, after_two)


def test_state_can_be_donated() -> None:
    players = {"model": Player(noisy, optax.adam(1e-2))}
    state = start(players, ema=0.9)
    step = jax.jit(make_train_step(players, ema=0.9), donate_argnums=0)
    frozen = jnp.ones(3)
    state = create_state(KEY, {**state.params, "teacher": frozen}, {}, players, ema=0.9)
    state, _ = step(state, {"x": X[0]})
    state, _ = step(state, {"x": X[1]})
    assert int(state.step) == 2
    # What the caller still holds was copied, not taken.
    assert frozen.sum() == 3
    assert jax.random.key_data(KEY).shape == (2,)


def test_a_player_without_parameters_is_named() -> None:
    with pytest.raises(ValueError, match="player 'critic' has no parameters; init made \\['model'\\]"):
        create_state(KEY, {"model": {}}, {}, {"critic": Player(noisy, optax.sgd(0.1))})


def test_bfloat16_computation_keeps_float32_parameters_and_reductions() -> None:
    net = nn.Dense(4, dtype=jnp.bfloat16)
    loss = lambda p, s, b, k, *, train: ((net.apply({"params": p["model"]}, b["x"]) ** 2).sum(-1), Aux())
    players = {"model": Player(loss, optax.adam(1e-2))}
    state = create_state(KEY, {"model": net.init(KEY, X[0])["params"]}, {}, players, ema=0.9)
    state, metrics = run(make_train_step(players, ema=0.9), state, [{"x": x} for x in X])
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.ema))} == {jnp.dtype("float32")}
    assert metrics["loss"].total.dtype == jnp.float32


def test_padding_does_not_reach_the_gradient() -> None:
    players = {"model": Player(plain, optax.sgd(0.1))}
    batch = {"x": X[0].at[8:].set(1e3), "mask": jnp.arange(12) < 8}
    padded, metrics = run(make_train_step(players), start(players), [batch])
    short, expected = run(make_train_step(players), start(players), [{"x": X[0][:8]}])
    assert compute(metrics)["loss"] == pytest.approx(compute(expected)["loss"], rel=1e-6)
    for a, b in zip(jax.tree.leaves(padded.params), jax.tree.leaves(short.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_reduce_refuses_losses_that_are_not_one_value_an_example() -> None:
    with pytest.raises(ValueError, match="one value an example"):
        reduce(jnp.ones((3, 2)))


def test_means_merge_exactly() -> None:
    a, b = reduce(jnp.arange(3.0)), reduce(jnp.array([10.0, 0.0]), jnp.array([1, 0]))
    merged = merge({"x": a}, {"x": b})
    assert compute(merged)["x"] == pytest.approx((0 + 1 + 2 + 10) / 4)
    assert compute({"x": reduce(jnp.ones(2), jnp.zeros(2))}) == {}
