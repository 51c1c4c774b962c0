"""What a step that is not finite went wrong in: the player, the leaf and the operation, found without a cost beforehand."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from games import ARRAYS, adversarial, fit, regression
from jax import lax

import jaxgen
from jaxgen import hashes
from jaxgen.commands.main import main
from jaxgen.errors import NotFiniteError, UserError
from jaxgen.runs import workdir
from jaxgen.runs.journal import read_jsonl
from jaxgen.training.not_finite import replay
from jaxgen.training.origins import origins

ZERO_AND_ONE = jnp.array([0.0, 1.0])


def operations(function, *args) -> list[tuple[str, str]]:
    return [(finding.operation, finding.kind) for finding in origins(function, *args)]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: jnp.log(x).sum(), [("log", "inf")]),
        (lambda x: (jnp.log(x) * x).sum(), [("log", "inf"), ("mul", "nan")]),
        (lambda x: jnp.sqrt(-x).sum(), [("sqrt", "nan")]),
        (lambda x: jnp.exp(100 * x), [("exp", "inf")]),
        (lambda x: x / x, [("div", "nan")]),
        (jax.jit(lambda x: 1 / x), [("div", "inf")]),
        (jax.grad(lambda x: jnp.sqrt(x).sum()), [("div", "inf")]),
        (jax.grad(lambda x: jnp.where(x > 0, jnp.log(x), 0.0).sum()), [("div", "nan")]),
        (jax.checkpoint(lambda x: jnp.log(x)), [("log", "inf")]),
        (jax.vmap(jnp.log), [("log", "inf")]),
        (lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.log, x), [("log", "inf")]),
        (lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.log(c), x + 1), [("log", "inf"), ("log", "nan")]),
        (lambda x: lax.scan(lambda c, a: (c + a, jnp.log(a)), 0.0, x)[1], [("log", "inf")]),
        (lambda x: lax.scan(lambda c, a: (c + a, jnp.log(a)), 0.0, x, reverse=True)[1], [("log", "inf")]),
        (lambda x: lax.while_loop(lambda c: c[0] > -1, lambda c: c - 1, x) / (x - x), [("div", "nan")]),
        # What was written down is nobody's fault, nor is what does not reach the result.
        (lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)), []),
        (lambda x: jnp.where(x > 0, jnp.log(x), 0.0), []),
        (lambda x: lax.scan(lambda c, a: (c, a), 0.0, x[:0])[0] + x, []),
        (lambda x: jnp.where(x > 0, x, -jnp.inf) * 0, [("mul", "nan")]),
    ],
)
def test_the_operation_is_found(function, expected: list[tuple[str, str]]) -> None:
    assert operations(function, ZERO_AND_ONE) == expected


def test_an_origin_says_where_and_of_what() -> None:
    def function(x):
        y = jnp.log(x)  # the line
        return y.sum()

    (finding,) = origins(function, ZERO_AND_ONE)
    line = function.__code__.co_firstlineno + 1
    assert f"{Path(__file__).name}:{line}" in finding.place
    assert (finding.result, finding.inputs) == ("float32[2]", "float32[2] from 0 to 1")


def test_interpreting_computes_what_jax_does() -> None:
    """A whole step is finite there too, and a value that it makes is JAX's, as an operation's inputs tell."""
    experiment = regression(accumulate=2, ema=0.9)
    state, batch = fit(experiment, None).state, experiment.train.read(3, seed=0)
    step = jaxgen.make_train_step(experiment.players, ema=0.9, accumulate=2)
    batch = experiment.train.transform(jax.tree.map(lambda x: x[0], batch), jax.random.key(0))
    assert origins(step, state, batch) == []
    weight = float(step(state, batch)[0].params["model"]["Dense_0"]["kernel"][2, 3])

    def watched(state, batch):
        return jnp.log(step(state, batch)[0].params["model"]["Dense_0"]["kernel"][2, 3] - np.nextafter(weight, np.inf))

    (finding,) = origins(watched, state, batch)
    assert finding.operation == "log"
    assert float(finding.inputs) == pytest.approx(0.0, abs=1e-6)


def logarithmic(experiment: jaxgen.Experiment, player: str, at: int) -> jaxgen.Experiment:
    """The game with a logarithm of zero in a player's loss at one step."""
    chosen = experiment.players[player]

    def loss(params, state, batch, key, *, train):
        values, aux = chosen.loss(params, state, batch, key, train=train)
        zero = jnp.where(state.step == at, 0.0, 1.0) * jax.tree.leaves(params[player])[0].ravel()[0] ** 2
        return values + jnp.log(zero + jnp.where(state.step == at, 0.0, 1.0)), aux

    return experiment._replace(players={**experiment.players, player: chosen._replace(loss=loss)})


@jaxgen.recorded
def broken(*, steps: int = 20, player: str = "discriminator", at: int = 12) -> jaxgen.Experiment:
    return logarithmic(adversarial(steps=steps), player, at)


@pytest.mark.parametrize(
    ("player", "at", "per_call"),
    [
        ("discriminator", 12, 4),
        pytest.param("generator", 11, 1, marks=pytest.mark.slow),
        pytest.param("generator", 14, 4, marks=pytest.mark.slow),
        pytest.param("discriminator", 0, 1, marks=pytest.mark.slow),
    ],
)
def test_the_step_and_the_player_are_named_and_the_step_can_be_replayed(
    tmp_path: Path, player: str, at: int, per_call: int
) -> None:
    with pytest.raises(NotFiniteError) as caught:
        fit(broken(player=player, at=at), tmp_path, steps_per_call=per_call)
    sentence = rf"Not finite in step {at + 1}: player '{player}', its loss and the gradient, first in {player}/Dense_0/bias"
    assert re.search(sentence, str(caught.value))
    assert f"jaxgen replay {tmp_path}" in str(caught.value)
    lines = "\n".join(replay(tmp_path, experiment=broken))
    assert re.search(sentence, lines)
    assert "log made inf in float32[]" in lines
    assert "training/test_not_finite.py" in lines


def test_replay_repeats_the_step_bit_for_bit(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        fit(broken(at=12), tmp_path)
    unbroken = fit(broken(at=12, steps=12))
    folder = workdir.read(tmp_path)
    incidents = folder.incidents()
    tree = incidents.tree(12)
    incidents.close()
    assert hashes.digest(tree, 12) == unbroken.digest()


def test_labels_of_64_bits_are_kept_as_the_step_saw_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARRAYS, "label", np.arange(50))
    with pytest.raises(NotFiniteError):
        fit(broken(at=12), tmp_path)
    assert "log made inf" in "".join(replay(tmp_path, experiment=broken))


def test_a_step_that_is_finite_by_now_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        fit(broken(at=12), tmp_path)
    mended = lambda **flags: adversarial(steps=flags["steps"])
    assert "Repeated here it is finite" in replay(tmp_path, experiment=mended)[-1]


def test_a_run_that_was_finite_has_nothing_to_replay(tmp_path: Path, capsys) -> None:
    fit(regression(steps=5), tmp_path)
    with pytest.raises(UserError, match="there is nothing to replay"):
        replay(tmp_path, experiment=regression)
    assert not (tmp_path / "not_finite").exists()
    with pytest.raises(SystemExit, match="2"):
        main(["replay", str(tmp_path / "nowhere")])
    assert "holds no run" in capsys.readouterr().err


def exploding(update: float, **flags) -> jaxgen.Experiment:
    """An optimizer whose own arithmetic overflows at one step, of a gradient that is finite."""
    base = regression(**flags)

    def explode(updates, count, params=None):
        return jax.tree.map(lambda u: u * jnp.where(count == 12, update, 1.0), updates), count + 1

    tx = optax.chain(base.players["model"].tx, optax.GradientTransformation(lambda p: jnp.zeros((), jnp.int32), explode))
    return base._replace(players={"model": base.players["model"]._replace(tx=tx)})


def test_an_optimizer_that_overflows_is_blamed(tmp_path: Path) -> None:
    with pytest.raises(
        NotFiniteError, match=r"step 13: player 'model', what its optimizer or its loss wrote, first in params/"
    ):
        fit(exploding(np.inf), tmp_path)


def test_a_parameter_that_no_loss_has_seen_yet_is_not_saved(tmp_path: Path) -> None:
    """The last step's update: no later loss would tell."""
    with pytest.raises(NotFiniteError, match=r"Not finite in step 13"):
        fit(exploding(np.inf, steps=13), tmp_path)
    assert jaxgen.load(tmp_path, experiment=lambda **flags: exploding(1.0, **flags)).position == 10


@pytest.mark.parametrize("workdir", [False, True])
def test_data_that_are_not_finite_are_blamed(tmp_path: Path, workdir: bool) -> None:
    base = regression()
    poisoned = lambda e, k: {**e, "image": jnp.where(e["index"] == 7, jnp.nan, 1.0) * e["image"]}
    stream = base.train._replace(example_transform=jaxgen.data.chain(base.train.example_transform, poisoned))
    with pytest.raises(NotFiniteError, match="the data, in image"):
        fit(base._replace(train=stream), tmp_path if workdir else None)


def test_skipped_steps_leave_no_trace_but_their_number(tmp_path: Path) -> None:
    run = fit(broken(at=12), tmp_path, skip_not_finite=1, steps_per_call=4)
    assert int(run.state.step) == 20
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.tree.map(np.asarray, run.state.params)))
    counts = [line["skipped"] for line in read_jsonl(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    assert counts == [0, 0, 1, 1]
    # Before the skipped step nothing differs from a run that knows no skipping, and the step itself changes nothing.
    before, after = fit(broken(at=12, steps=12)), fit(broken(at=12, steps=13), skip_not_finite=1)
    for a, b in zip(jax.tree.leaves(before.state.params), jax.tree.leaves(after.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_more_skipped_steps_than_allowed_stop_the_run_even_over_a_resume(tmp_path: Path) -> None:
    often = lambda steps: regression(steps=steps)._replace(players={"model": often_nan()})
    fit(often(10), tmp_path / "run", skip_not_finite=3)
    with pytest.raises(NotFiniteError, match=r"Not finite in step 13"):
        fit(often(30), tmp_path / "run", skip_not_finite=3)


def often_nan() -> jaxgen.Player:
    """Not finite in steps 3, 6, 9, 12 ..., counted from 0."""
    base = regression().players["model"]

    def loss(params, state, batch, key, *, train):
        values, aux = base.loss(params, state, batch, key, train=train)
        return values + jnp.where((state.step % 3 == 0) & (state.step > 0), jnp.nan, 0.0), aux

    return base._replace(loss=loss)


def test_a_run_that_stopped_goes_on_when_it_may_skip(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        fit(broken(at=12), tmp_path)
    run = fit(broken(at=12), tmp_path, skip_not_finite=1)
    assert run.position == 20
    assert fit(broken(at=12, steps=25), tmp_path).position == 25  # and without it, once past the step


@pytest.mark.parametrize("kind", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_on_eight_devices_too(tmp_path: Path, kind: str) -> None:
    experiment = logarithmic(regression(batch_size=8), "model", 12)
    with pytest.raises(
        NotFiniteError, match=r"Not finite in step 13: player 'model', its loss and the gradient, first in model/"
    ):
        fit(experiment, tmp_path, parallel=kind)


def test_a_device_that_errs_once_is_not_trusted(tmp_path: Path, monkeypatch) -> None:
    from jaxgen.training import loop

    values = iter([{"loss": 1.0}, {"loss": float("nan")}])
    monkeypatch.setattr(loop, "compute", lambda window: next(values))
    with pytest.raises(NotFiniteError, match=r"finite when repeated, so the device is not to be trusted"):
        fit(regression(), tmp_path)
