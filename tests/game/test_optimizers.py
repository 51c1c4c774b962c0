"""Every optimizer of every experiment, on given gradients, against its authors' rule written out in numpy."""

import functools
import pkgutil
from collections.abc import Mapping

import contract
import jax
import jax.numpy as jnp
import numpy as np
import optimizer_rules as rules
import pytest
from contract import make

import experiments
from jaxgen import Player


@functools.cache
def players(experiment: str, flags: str = "") -> Mapping[str, Player]:
    return make(experiment, **eval(f"dict({flags})")).players


LONG = ("clip", "modes")
"""To build."""


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, marks=[pytest.mark.slow] * (key[0] in LONG or contract.stands_on_a_run(key[0])), id=" ".join(key))
        for key in rules.RULES
    ],
)
def test_an_optimizer_moves_as_its_authors_rule(key: tuple[str, str, str]) -> None:
    experiment, flags, player = key
    tx = players(experiment, flags)[player].tx
    rule = rules.RULES[key]
    single = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    state = tx.init(single(rules.start(rule)))
    for params, grads, expected in rules.moves(rule):
        got, state = tx.update(single(grads), state, single(params))
        for name, move in expected.items():
            largest = max(np.abs(move).max(), 1e-9)
            if name == "logit_scale" and experiment == "clip":
                continue  # held below a bound, for which a test of its own stands
            # A bound is applied to the parameter, whose last bit counts here.
            least = 1e-4 * largest if rule.limit is None else 2e-9
            np.testing.assert_allclose(got[name], move, rtol=1e-4, atol=least, err_msg=f"{name}, {rule.source}")


NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__) if not module.ispkg]


@pytest.mark.parametrize("name", contract.alone(NAMES))
def test_every_player_has_a_rule(name: str) -> None:
    # The GAN moves by pylearn2's rule, which torch does not have: tests/wiring/test_gan_facts.py.
    # Analytic-DPM measures, and has no parameter to move. Optax has rectified Adam's epsilon elsewhere than torch:
    # tests/wiring/test_consistency_facts.py.
    others = {("gan", "game"), ("analytic_dpm", "power"), ("consistency", "model")}
    ruled = {(experiment, player) for experiment, _, player in rules.RULES} | others
    assert {(name, player) for player in players(name)} <= ruled
