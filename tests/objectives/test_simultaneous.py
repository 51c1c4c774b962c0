"""Players that move at once: each one's gradient is its own, at the parameters from before the step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.game import Aux, Player, create_state, make_train_step
from jaxgen.objectives import simultaneous

TX = {"x": optax.sgd(0.1), "y": optax.sgd(0.3, 0.9), "z": optax.sgd(0.2)}
KEY = jax.random.key(3)
STATE = create_state(KEY, {}, {}, {})
BATCH = {"weight": jnp.asarray([1.0, 3.0])}


def quadratic(player: str, params: Any, batch: Any) -> jax.Array:
    """A loss that every part enters: its own as a square, the others through products."""
    others = sum(p for name, p in params.items() if name != player)
    return batch["weight"] * (params[player] ** 2 + params[player] * others + others**3)


def loss_of(player: str) -> Any:
    return lambda params, state, batch, key, *, train: (
        quadratic(player, {name: params[name] for name in TX if name in params}, batch),
        Aux(metrics={"noise": jax.random.normal(key, (2,))}),
    )


@pytest.mark.parametrize("part", ["game", None])
@pytest.mark.parametrize("names", [("x", "y"), ("y", "x"), ("x", "y", "z")])
def test_all_move_from_the_parameters_before_the_step(names: tuple[str, ...], part: str | None) -> None:
    """Whether the parameters are parts of one player's, or networks that it owns."""
    start = {name: jnp.asarray(v) for name, v in zip(names, (0.5, -1.5, 2.0), strict=False)}
    tx = optax.multi_transform({name: TX[name] for name in names}, {name: name for name in names})
    loss = simultaneous({name: loss_of(name) for name in names}, name=part)
    players = {"game": Player(loss, tx, owns=() if part else names)}
    state, step = create_state(jax.random.key(0), {part: start} if part else start, {}, players), make_train_step(players)
    own, speed = {name: float(v) for name, v in start.items()}, dict.fromkeys(names, 0.0)
    for _ in range(3):
        state, metrics = step(state, BATCH)
        before = dict(own)
        for name in names:
            others = sum(v for other, v in before.items() if other != name)
            gradient = 2 * (2 * before[name] + others)  # the mean weight is 2
            speed[name] = (0.9 if name == "y" else 0.0) * speed[name] + gradient
            own[name] = before[name] - {"x": 0.1, "y": 0.3, "z": 0.2}[name] * speed[name]
            assert float(metrics[f"{name}/loss"].value) == pytest.approx(
                float(quadratic(name, before, {"weight": 2.0})), rel=1e-4
            )
        assert float(metrics["loss"].value) == pytest.approx(sum(float(metrics[f"{n}/loss"].value) for n in names), rel=1e-5)
        moved = state.params[part] if part else state.params
        np.testing.assert_allclose([float(moved[n]) for n in names], [own[n] for n in names], rtol=1e-4)


def test_a_player_may_have_several_parts() -> None:
    """Its loss is counted once, and its gradient is that in all of its parts."""
    params = {"x": jnp.asarray(0.5), "y": jnp.asarray(-1.5), "z": jnp.asarray(2.0)}
    loss = simultaneous({"x": loss_of("x"), "z": loss_of("z")}, owns={"x": ("x", "y")})
    mean = lambda own: loss({"game": own}, STATE, BATCH, KEY, train=True)[0].mean()
    gradient = jax.grad(mean)(params)
    x, y, z = 0.5, -1.5, 2.0
    # The mean weight is 2, and x's loss is x^2 + x (y + z) + (y + z)^3.
    np.testing.assert_allclose(gradient["x"], 2 * (2 * x + y + z), rtol=1e-5)
    np.testing.assert_allclose(gradient["y"], 2 * (x + 3 * (y + z) ** 2), rtol=1e-5)
    np.testing.assert_allclose(gradient["z"], 2 * (2 * z + x + y), rtol=1e-5)
    assert set(loss({"game": params}, STATE, BATCH, KEY, train=True)[1].metrics) == {"x/loss", "x/noise", "z/loss", "z/noise"}


def test_all_losses_get_the_same_key_and_frozen_parameters_are_seen() -> None:
    loss = simultaneous({"x": loss_of("x"), "y": loss_of("y")})
    params = {"game": {"x": jnp.asarray(1.0), "y": jnp.asarray(2.0)}, "z": jnp.asarray(5.0)}
    values, aux = loss(params, STATE, BATCH, KEY, train=True)
    np.testing.assert_array_equal(aux.metrics["x/noise"], aux.metrics["y/noise"])
    flat = {"x": 1.0, "y": 2.0, "z": 5.0}
    np.testing.assert_allclose(values, quadratic("x", flat, BATCH) + quadratic("y", flat, BATCH), rtol=1e-6)
    gradient = jax.grad(lambda p: loss(p, STATE, BATCH, KEY, train=True)[0].sum())(params)
    # The frozen part gets no such gradient by a player's turn: only `params["game"]` is differentiated there.
    assert float(gradient["game"]["x"]) == pytest.approx(4 * (2 * 1.0 + 7.0))
    assert float(gradient["game"]["y"]) == pytest.approx(4 * (2 * 2.0 + 6.0))


def test_losses_with_variables_are_refused() -> None:
    def counted(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return batch["weight"], Aux({"x": {"count": 1}})

    with pytest.raises(ValueError, match=r"^players that move at once have no variables; 'x' returned \['x'\]$"):
        simultaneous({"x": counted})({"game": {"x": 1.0}}, STATE, BATCH, KEY, train=True)
