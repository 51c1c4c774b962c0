"""The loop: what a run reports is what happened; that a resumed run is the unbroken one is in `game/test_trajectories.py`."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from games import ARRAYS, adversarial, fit, regression

import jaxgen
from jaxgen import hashes
from jaxgen.errors import NotFiniteError, UserError
from jaxgen.runs import load
from jaxgen.runs import run as runs
from jaxgen.runs.journal import read_jsonl
from jaxgen.runs.serialization import to_tree

TIMED = ("examples_per_second",)


def lines(workdir: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMED} for line in read_jsonl(workdir / "metrics.jsonl")]


def test_streamed_and_cached_data_give_the_same_run() -> None:
    assert fit(regression()).digest() == fit(regression(streamed=True)).digest()


def test_the_summary_counts_the_steps_of_this_command(tmp_path: Path, capsys) -> None:
    for steps, trained in ((20, 20), (35, 15)):
        fit(regression(steps=steps), tmp_path / "run", quiet=False, steps_per_call=2)
        assert f"Trained {trained} steps in " in capsys.readouterr().err


def test_a_run_is_reproducible_and_its_seed_matters() -> None:
    assert fit(regression(), seed=1).digest() == fit(regression(), seed=1).digest()
    assert fit(regression(), seed=1).digest() != fit(regression(), seed=2).digest()


def test_without_a_workdir_the_run_is_the_same_and_no_file_appears(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = fit(regression())
    assert list(tmp_path.iterdir()) == []
    assert run.digest() == fit(regression(), tmp_path / "run").digest()
    assert [line["split"] for line in run.history] == ["train", "train", "test", "train", "train", "test"]


def stop_at(workdir: Path, experiment: jaxgen.Experiment, step: int) -> None:
    """Interrupts a run with Ctrl-C when it has drawn the batch of a step."""
    import _thread

    read = experiment.train.read
    reads = []

    class Interrupting:
        def __getattr__(self, name):
            return getattr(experiment.train, name)

        def read(self, position, **options):
            reads.append(position)
            if position == step:
                _thread.interrupt_main()
            return read(position, **options)

    with pytest.raises(KeyboardInterrupt):
        fit(experiment._replace(train=Interrupting()), workdir, steps_per_call=1)


def test_ctrl_c_saves_and_the_next_start_goes_on(tmp_path: Path) -> None:
    whole = fit(regression(), steps_per_call=1)
    stop_at(tmp_path / "run", regression(), step=12)
    step = jaxgen.load(tmp_path / "run", experiment=regression).position
    assert 5 <= step < 20
    assert fit(regression(), tmp_path / "run", steps_per_call=1).digest() == whole.digest()


def test_final_evaluators_run_once_when_training_is_through_and_again_if_they_were_cut_short(tmp_path: Path) -> None:
    import _thread

    calls = []

    def final(state, key, track):
        calls.append(int(state.step))
        for _ in track(range(3), description="evaluating"):
            if len(calls) == 1:
                _thread.interrupt_main()
        return {"nll": 1.0}

    with pytest.raises(KeyboardInterrupt):
        fit(regression(steps=10)._replace(final={"test": final}), tmp_path)
    for _ in range(2):
        fit(regression(steps=10)._replace(final={"test": final}), tmp_path)
    assert calls == [10, 10]
    assert [set(line) - {"step", "split"} for line in lines(tmp_path) if line["split"] == "test"] == [
        {"loss", "loss_stderr", "squared", "squared_stderr"},
        {"nll"},
    ]


def test_lines_after_the_last_checkpoint_and_torn_lines_are_dropped_on_resume(tmp_path: Path) -> None:
    fit(regression(steps=10), tmp_path)
    before = lines(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 15, "split": "train", "loss": 0.0}) + "\n" + '{"step": 16, "spl')
    fit(regression(steps=20), tmp_path)
    after = lines(tmp_path)
    assert after[: len(before)] == before
    assert [(line["step"], line["split"]) for line in after[len(before) :]] == [(15, "train"), (20, "train"), (20, "test")]


def test_training_metrics_are_means_over_the_window(tmp_path: Path) -> None:
    each = fit(regression(steps=10), log_every=1).history
    windows = fit(regression(steps=10), log_every=5).history
    losses = [line["loss"] for line in each if line["split"] == "train"]
    expected = [np.mean(losses[:5]), np.mean(losses[5:])]
    np.testing.assert_allclose([line["loss"] for line in windows if line["split"] == "train"], expected, rtol=1e-5)


def test_the_evaluation_is_exact_whatever_the_batch_size() -> None:
    run = fit(regression(steps=3))
    source = jaxgen.data.from_arrays(ARRAYS)
    measure = lambda state, batch, key: {"sum": batch["image"].reshape(batch["image"].shape[0], -1).sum(-1)}
    transform = jaxgen.data.chain(jaxgen.data.scale(), jaxgen.data.binarize())
    values = []
    for size in (1, 7, 16, 50, 64):
        evaluator = jaxgen.mean_over(source, measure, batch_size=size, transform=transform)
        values.append(evaluator(run.state, jax.random.key(0), lambda it, **_: it)["sum"])
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_sums_over_a_split_are_exact_whatever_the_batch_size() -> None:
    run = fit(regression(steps=1))
    bits = np.unpackbits(ARRAYS["image"].reshape(len(ARRAYS["image"]), -1), axis=1)
    source = jaxgen.data.from_arrays({"image": ARRAYS["image"], "bits": bits.astype(np.float32)})
    for size in (1, 7, 16, 50, 64):
        summed = jaxgen.sum_over(source, lambda state, batch, key: {"bits": batch["bits"]}, batch_size=size)
        found = summed(run.state, jax.random.key(0), lambda it, **_: it)
        assert found["bits"].dtype == np.float64
        np.testing.assert_array_equal(found["bits"], bits.sum(0))


def test_joined_evaluators_give_the_values_of_all() -> None:
    seen = []
    each = [lambda state, key, track, i=i: seen.append(i) or {f"value{i}": float(i)} for i in range(3)]
    assert jaxgen.joined(*each)(None, None, None) == {"value0": 0.0, "value1": 1.0, "value2": 2.0}
    assert seen == [0, 1, 2]


def test_evaluation_uses_the_averages() -> None:
    run = fit(regression(ema=0.9))
    seen = {}
    measure = lambda state, batch, key: {"p": state.params["model"]["Dense_0"]["bias"].sum() * batch["mask"]}
    evaluator = jaxgen.mean_over(jaxgen.data.from_arrays(ARRAYS), measure, batch_size=50)
    seen = runs.evaluate({"test": evaluator}, run.state, 0, lambda it, **_: it)["test"]["p"]
    assert seen == pytest.approx(float(run.state.ema["model"]["Dense_0"]["bias"].sum()), rel=1e-5)
    assert seen != pytest.approx(float(run.state.params["model"]["Dense_0"]["bias"].sum()), rel=1e-5)


def test_a_value_that_is_not_finite_stops_the_run_and_spares_the_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(
        NotFiniteError, match=r"Not finite in step 13: player 'model', its loss .*Lower the learning rate"
    ) as caught:
        fit(regression(poison=12), tmp_path)
    assert caught.value.exit_code == 3
    run = jaxgen.load(tmp_path, experiment=regression)
    assert run.position == 10
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.params))


def test_a_skipped_turn_is_no_nan() -> None:
    run = fit(adversarial(every=5, steps=4), log_every=2)
    assert "generator/loss" not in run.history[0]
    assert "discriminator/loss" in run.history[0]


def test_a_run_resumes_only_with_its_own_flags(tmp_path: Path) -> None:
    fit(regression(steps=5), tmp_path)
    digest, record = load.digest(tmp_path), (tmp_path / "run.json").read_text()
    with pytest.raises(UserError, match=r"differs in --batch-size \(6 there, 12 here\), --ema \(None there, 0.9 here\)"):
        fit(regression(steps=5, batch_size=12, ema=0.9), tmp_path)
    with pytest.raises(UserError, match=r"--seed \(0 there, 3 here\)"):
        fit(regression(steps=5), tmp_path, seed=3)
    with pytest.raises(UserError, match="the experiment"):
        fit(adversarial(steps=5)._replace(config=adversarial().config._replace(function=json.dumps)), tmp_path)
    with pytest.raises(UserError, match="is at step 5 already, so --steps 3 would go back"):
        fit(regression(steps=3), tmp_path)
    assert load.digest(tmp_path) == digest
    assert (tmp_path / "run.json").read_text() == record


def test_changed_data_is_refused(tmp_path: Path, monkeypatch) -> None:
    fit(regression(steps=5), tmp_path)
    monkeypatch.setitem(ARRAYS, "image", 255 - ARRAYS["image"])
    with pytest.raises(UserError, match="The data changed since the run"):
        fit(regression(steps=10), tmp_path)


def test_a_schedule_that_depends_on_the_steps_is_named(tmp_path: Path, capsys) -> None:
    fit(regression(steps=5, cosine=True), tmp_path / "cosine")
    fit(regression(steps=10, cosine=True), tmp_path / "cosine", quiet=False)
    assert "learning_rate depends on --steps" in capsys.readouterr().err
    fit(regression(steps=5), tmp_path / "constant")
    fit(regression(steps=10), tmp_path / "constant", quiet=False)
    assert "depends on --steps" not in capsys.readouterr().err


def test_a_finished_run_has_nothing_to_do(tmp_path: Path, capsys) -> None:
    first = fit(regression(steps=10), tmp_path)
    before = lines(tmp_path)
    again = fit(regression(steps=10), tmp_path, quiet=False)
    assert "nothing to do" in capsys.readouterr().err
    assert again.digest() == first.digest()
    assert lines(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "options", "sentence"),
    [
        ({}, {"log_every": 0}, "--log-every is 0; give 1 or more."),
        ({}, {"steps_per_call": 0}, "--steps-per-call is 0; give 1 or more."),
        ({"steps": -1}, {}, "--steps is -1; give 0 or more."),
        (
            {"batch_size": 7, "accumulate": 2},
            {},
            "A batch of 7 cannot be cut into 2 .* nearest batch sizes that can are 6 and 8",
        ),
    ],
)
def test_impossible_flags_are_refused(flags: dict, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fit(regression(**flags), **options)


def test_pictures_and_checkpoints_lie_where_the_page_says(tmp_path: Path) -> None:
    fit(regression(), tmp_path)
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("samples/*")}
    assert names == {"samples/noise_00000010.png", "samples/noise_00000020.png"}
    assert json.loads((tmp_path / "run.json").read_text())["flags"]["batch_size"] == 6
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 1


def test_the_last_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    values = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    scored = lambda state, key, track: {"loss": next(values)}
    experiment = regression(steps=25)._replace(evaluators={"test": scored})
    fit(experiment, tmp_path, evaluate_every=5, keep=2)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [10, 20, 25]
    assert jaxgen.load(tmp_path, experiment=regression, best=True).position == 10
    assert jaxgen.load(tmp_path, experiment=regression, step=20).position == 20
    with pytest.raises(UserError, match=r"has no checkpoint of step 15; it has 10, 20, 25"):
        jaxgen.load(tmp_path, experiment=regression, step=15)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    fit(regression(steps=5), tmp_path)
    with pytest.raises(UserError, match=r"does not fit this experiment: .* is absent there"):
        jaxgen.load(tmp_path, experiment=lambda **flags: regression(**flags)._replace(ema=0.9))


def test_a_frozen_part_comes_from_another_run(tmp_path: Path) -> None:
    teacher = fit(regression(steps=5, ema=0.9), tmp_path / "teacher")
    params = jaxgen.load_params(tmp_path / "teacher")
    np.testing.assert_array_equal(params["model"]["Dense_0"]["kernel"], teacher.state.ema["model"]["Dense_0"]["kernel"])

    def init(key):
        own, vars = regression().initial(key)
        return {**own, "teacher": params["model"]}, vars

    experiment = regression(steps=5)._replace(init=init)
    for _ in range(2):  # twice: the loaded arrays are copied, not given away to the step
        student = fit(experiment)
        for a, b in zip(jax.tree.leaves(student.state.params["teacher"]), jax.tree.leaves(params["model"]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_digest_covers_every_part_of_a_state() -> None:
    run = fit(adversarial(ema=0.9))
    tree = to_tree(run.state)
    digests = {run.digest()}
    leaves, structure = jax.tree.flatten(tree)
    for i, leaf in enumerate(leaves):
        changed = np.array(leaf)
        changed.reshape(-1).view(np.uint8)[0] ^= 1
        altered = jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]])
        digests.add(hashes.digest(altered, run.position))
    digests.add(hashes.digest(tree, run.position + 1))
    assert len(digests) == len(leaves) + 2
