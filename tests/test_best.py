"""What marks the best checkpoint means the same at every step, or there is none."""

import pkgutil
from pathlib import Path
from typing import Any

import contract
import jax
import jax.numpy as jnp
import pytest

import experiments
import jaxgen
from jaxgen import run
from jaxgen.errors import UserError

NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__) if not module.ispkg]
CHANGING: dict[str, list[dict[str, Any]]] = {
    "vae": [{"beta_warmup": 1000}, {"max_kl": 2.0}],
    "modes": [{"method": "gan"}, {"method": "ddpm"}],
}
"""By experiment: flags under which its objective changes in training, or another one is trained."""
OPPONENTS = ("discriminator", "critic", "multiplier")
CASES = [(name, flags) for name in NAMES for flags in [{}, *CHANGING.get(name, [])]]
GAMES = ["gan", "dcgan", "conditional_gan", "wgan", "pix2pix"]


def quiet(batches: Any, **_: Any) -> Any:
    return batches


LONG = ("clip", "ddpm")
"""To compile."""


@pytest.mark.parametrize(
    ("name", "flags"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] in LONG)) for case in CASES if case[0] not in GAMES],
    ids=str,
)
def test_the_best_value_depends_on_the_model_alone(name: str, flags: dict[str, Any]) -> None:
    experiment = contract.make(name, **flags)
    state = run.begin(experiment, 0)
    players = experiment.players
    others = {n: jax.tree.map(lambda p: 2 * p + 1, state.params[n]) for n in players if n in OPPONENTS}
    assert len(others) == len(players) - 1
    later = state._replace(step=state.step + 777, params={**state.params, **others}, ema={}, ema_vars={})
    values = [run.evaluate(experiment.evaluators, s._replace(ema={}, ema_vars={}), 0, quiet) for s in (state, later)]
    split, _, metric = experiment.best.partition("/")
    before, after = (found[split][metric] for found in values)
    assert before == pytest.approx(after, rel=1e-6)
    assert jnp.isfinite(before)
    # And it is the model's: another model has another value.
    model = {n: jax.tree.map(lambda p: p + 0.1, state.params[n]) for n in players if n not in OPPONENTS}
    other = state._replace(params={**state.params, **model}, ema={}, ema_vars={})
    assert run.evaluate(experiment.evaluators, other, 0, quiet)[split][metric] != pytest.approx(before, rel=1e-6)


def test_the_loss_of_a_changing_objective_would_not_do() -> None:
    for flags in CHANGING["vae"]:
        experiment = contract.make("vae", **flags)
        state = run.begin(experiment, 0)
        more = {n: state.params[n] + 1 for n in experiment.players if n in OPPONENTS}
        later = state._replace(step=state.step + 777, params={**state.params, **more})
        losses = [run.evaluate(experiment.evaluators, s, 0, quiet)["test"]["loss"] for s in (state, later)]
        assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", GAMES)
def test_a_game_has_no_best_step(name: str) -> None:
    assert contract.make(name).best is None


def test_a_run_without_a_best_value_says_so(tmp_path: Path) -> None:
    experiment = contract.make("gan", steps=2)
    jaxgen.fit(experiment._replace(evaluators={}, final={}, pictures={}), workdir=str(tmp_path), quiet=True)
    for load in (jaxgen.load, jaxgen.load_params):
        with pytest.raises(UserError, match=r"no checkpoint is the best; choose one of step 2 by --step\.$"):
            load(tmp_path, best=True)
    assert jaxgen.load(tmp_path).position == 2
