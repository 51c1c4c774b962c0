"""What marks the best checkpoint means the same at every step, or there is none."""

import json
import pkgutil
from pathlib import Path
from typing import Any

import contract
import jax
import jax.numpy as jnp
import optax
import pytest
from games import ARRAYS, fit, regression

import experiments
import jaxgen
from jaxgen import Largest, data
from jaxgen.commands.measuring import evaluate
from jaxgen.errors import UserError
from jaxgen.runs import run

NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__) if not module.ispkg]
CHANGING: dict[str, list[dict[str, Any]]] = {
    "vae": [{"beta_warmup": 1000}, {"max_kl": 2.0}],
    "modes": [{"method": "gan"}, {"method": "veegan"}, {"method": "ddpm"}],
}
"""By experiment: flags under which its objective changes in training, or another one is trained."""
OPPONENTS = ("discriminator", "critic", "multiplier")
CASES = [(name, flags) for name in NAMES for flags in [{}, *CHANGING.get(name, [])]]
GAMES = [
    "gan",
    "dcgan",
    "conditional_gan",
    "wgan",
    "pix2pix",
    "cyclegan",
    "latent_autoencoder",
    "progressive_gan",
    "stylegan",
    "stacked_modes",
    "spade",
    "adda",
    "cycada",
    "munit",
]
MEASURES = ("analytic_dpm", "consistency", "reflow", "style_transfer")
"""What trains nothing has no best step, nor what is trained to agree with itself, or with an encoder of the same run."""


def quiet(batches: Any, **_: Any) -> Any:
    return batches


OFTEN = ("vae", "vqvae", "vib", "lenet")
"""Those that are run by default: short to compile."""

OF_TWO_PLAYERS = ("hierarchical_code_prior", "stacked_autoencoder")
"""Experiments whose best value is that of what two players move: a prior for each level of codes, one network in two phases."""


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param(name, flags, marks=[pytest.mark.slow] * (name not in OFTEN))
        for name, flags in CASES
        if name not in (*GAMES, *MEASURES)
    ],
    ids=str,
)
def test_the_best_value_depends_on_the_model_alone(name: str, flags: dict[str, Any]) -> None:
    experiment = contract.make(name, **flags)
    state = run.begin(experiment, 0)
    players = experiment.players
    others = {n: jax.tree.map(lambda p: 2 * p + 1, state.params[n]) for n in players if n in OPPONENTS}
    assert len(others) == len(players) - (2 if name in OF_TWO_PLAYERS else 1)
    later = state._replace(step=state.step + 777, params={**state.params, **others}, ema={}, ema_vars={})
    values = [run.evaluate(experiment.evaluators, s._replace(ema={}, ema_vars={}), 0, quiet) for s in (state, later)]
    split, _, metric = experiment.best.partition("/")
    before, after = (found[split][metric] for found in values)
    assert before == pytest.approx(after, rel=1e-6)
    assert jnp.isfinite(before)
    # And it is the model's: another model has another value.
    owned = [own for n, player in players.items() if n not in OPPONENTS for own in player.owns or (n,)]
    # Each number by another amount: the logits of a classifier that begins at zero must not stay equal.
    model = {
        own: jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), state.params[own]) for own in owned
    }
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


@pytest.mark.parametrize("name", contract.alone([*GAMES, *MEASURES]))
def test_a_game_has_no_best_step(name: str) -> None:
    assert contract.make(name).best is None


def test_a_run_without_a_best_value_says_so(tmp_path: Path) -> None:
    experiment = contract.make("gan", steps=2)
    jaxgen.fit(experiment._replace(evaluators={}, final={}, pictures={}), workdir=str(tmp_path), quiet=True)
    for load in (jaxgen.load, jaxgen.load_params):
        with pytest.raises(UserError, match=r"no checkpoint is the best; choose one of step 2 by --step\.$"):
            load(tmp_path, best=True)
    assert jaxgen.load(tmp_path).position == 2


def scored(values: Any, best: Any, steps: int = 30) -> jaxgen.Experiment:
    """A game that is evaluated as the values say, one after another."""
    return regression(steps=steps)._replace(best=best, evaluators={"test/noise": lambda *_: {"score": next(values)}})


@pytest.mark.parametrize(
    ("best", "values", "step"),
    [
        ("test/noise/score", [3.0, float("nan"), 1.0, 2.0, 1.0, 4.0], 15),
        (Largest("test/noise/score"), [3.0, 4.0, float("nan"), 2.0, 4.0, float("inf")], 10),
        (Largest("test/noise/score"), [float("-inf"), float("nan"), -3.0, -2.5, -2.6, -9.0], 20),
        (Largest("test/noise/score"), [0, 1, 1, 0, 0, 1], 10),
    ],
)
def test_the_best_of_either_direction_is_kept_through_a_resume(tmp_path: Path, best: Any, values: list[Any], step: int) -> None:
    """Of equal values the earliest step is the best; what is not finite never is."""
    left = iter(values)
    for until in (15, 30):
        fit(scored(left, best, until), tmp_path, evaluate_every=5, keep=1)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [step, 30]
    assert jaxgen.load(tmp_path, experiment=regression, best=True).position == step
    frozen = jaxgen.frozen(tmp_path, best=True, experiment=regression)
    assert (frozen.step, frozen.asked) == (step, "best")


def test_the_value_of_a_final_evaluator_marks_the_best_of_the_steps_that_it_was_run_at(tmp_path: Path) -> None:
    """A value of `final` exists where a training ended, here at 10, 20 and 30."""
    values = iter([0.5, 0.75, 0.25])
    for until in (10, 20, 30):
        made = regression(steps=until)._replace(best=Largest("test/slow"), final={"test": lambda *_: {"slow": next(values)}})
        fit(made, tmp_path, keep=1)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [20, 30]
    assert jaxgen.load(tmp_path, experiment=regression, best=True).position == 20


def test_a_run_without_a_finite_value_says_which_value_and_which_direction(tmp_path: Path) -> None:
    fit(scored(iter([float("nan")] * 2), Largest("test/noise/score"), 20), tmp_path)
    with pytest.raises(
        UserError, match=r"no best checkpoint: the largest test/noise/score marks it, .* it has, 15, 20; choose"
    ):
        jaxgen.load(tmp_path, experiment=regression, best=True)


def test_a_record_that_names_no_value_is_damaged(tmp_path: Path) -> None:
    fit(scored(iter([1.0, 2.0]), Largest("test/noise/score"), 20), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["best"] == {"largest": "test/noise/score"}
    for best in ({"largest": 3}, {"smallest": "test/loss"}, {}, ["test/loss"], 1.0, True):
        (tmp_path / "run.json").write_text(json.dumps({**record, "best": best}))
        with pytest.raises(UserError, match=r"run\.json is damaged"):
            jaxgen.load(tmp_path, experiment=regression)


def test_with_a_validation_split_the_best_is_the_largest_of_the_held_out_examples() -> None:
    @jaxgen.recorded
    def game(*, dataset: Any) -> jaxgen.Experiment:
        source = data.load(dataset, "train")
        player = jaxgen.Player(
            lambda p, s, b, k, *, train: (p["model"] * b["image"].mean((1, 2, 3)), jaxgen.Aux()), optax.sgd(1.0)
        )
        return jaxgen.Experiment(data.shuffled(source, 5), {"model": player}, 1, best=Largest("test/photos/iou"))

    noise = (data.from_arrays(ARRAYS, name="noise"),) * 2
    assert game(dataset=noise).best == Largest("test/photos/iou")
    assert game(dataset=noise, validation=0.2).best == Largest("validation/photos/iou")


def test_the_command_says_which_value_marks_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lenet = contract.make("lenet", steps=2)._replace(best=Largest("test/error"), pictures={})
    jaxgen.fit(lenet, workdir=tmp_path, evaluate_every=1, quiet=True)
    evaluate(tmp_path, best=True)
    assert "(the largest test/error)" in capsys.readouterr().out
