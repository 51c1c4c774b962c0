"""The command line: what a newcomer types, and what it answers to a mistake."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxgen.commands import command_line
from jaxgen.commands.main import main
from jaxgen.runs.journal import read_jsonl

ROOT = Path(__file__).parents[2]
TINY = ["--batch-size", "8", "--hidden", "8", "--latents", "2", "--nll-samples", "4"]


def python(*args: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def vae(args: list[str]) -> None:
    from experiments.vae import experiment

    command_line.run_experiment(experiment, args)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    vae([*TINY, "--steps", "3", "--quiet", "--workdir", str(tmp_path / "run")])
    return tmp_path / "run"


def refused(capsys, command, args: list[str], code: int = 2) -> str:
    with pytest.raises(SystemExit) as caught:
        command(args)
    assert caught.value.code == code
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return re.sub(r"[\s│─╭╮╰╯]+", " ", out.out + out.err)


def test_the_main_job_from_an_empty_directory(tmp_path: Path) -> None:
    got = python("-m", "experiments.vae", *TINY, "--steps", "3", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert "Traceback" not in got.stderr
    run = next((tmp_path / "runs").iterdir())
    assert run.name == "vae-latents=2-hidden=8-batch_size=8-nll_samples=4"
    assert {p.name for p in run.iterdir()} == {*("run.json", "checkpoints", "metrics.jsonl", "samples", "tensorboard", ".lock")}
    assert {"elbo", "nll"} <= {k for line in read_jsonl(run / "metrics.jsonl") if line["split"] == "test" for k in line}
    assert f"jaxgen sample {run.relative_to(tmp_path)}" in re.sub(r"\s+", " ", got.stderr)


def test_help_names_every_flag_and_its_default(capsys) -> None:
    text = refused(capsys, vae, ["--help"], code=0)
    for flag in ("--beta FLOAT", "--workdir", "--steps INT", "--seed INT", "--data-dir"):
        assert flag in text
    assert "Weight of the KL; 1 is the ELBO. (default: 1.0)" in text


def test_sample_evaluate_digest(trained: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    main(["sample", str(trained), "--n", "9", "--out", str(tmp_path / "new" / "grid.png")])
    assert (tmp_path / "new" / "grid.png").stat().st_size > 0
    main(["sample", str(trained), "--n", "9", "--out", str(tmp_path / "x.npy")])
    assert np.load(tmp_path / "x.npy").shape == (9, 8, 8, 1)
    main(["evaluate", str(trained), "--json", str(tmp_path / "values.json")])
    assert "test/nll" in capsys.readouterr().out
    assert '"nll"' in (tmp_path / "values.json").read_text()
    main(["digest", str(trained)])
    assert re.fullmatch(r"[0-9a-f]{64}\n", capsys.readouterr().out)


def test_list_and_data(capsys, tmp_path: Path) -> None:
    main(["list"])
    assert "jaxgen run vae " in capsys.readouterr().out
    main(["data", "prepare", "digits", "--data-dir", str(tmp_path)])
    assert "digits/1.0.0 train: 1,437 examples" in capsys.readouterr().out
    main(["data", "list", "--data-dir", str(tmp_path)])  # other tests prepare sets in the session's folder
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert (
        "digits 1.0.0 train 1,437, test 360 label int64, image 8x8x1 uint8" in told or "image 8x8x1 uint8, label int64" in told
    )
    assert re.search(
        r"\d+ kB in .*digits/1\.0\.0 Made when they are first used: captioned_digits, chalk_digits, coloured_digits, gaussian_",
        told,
    )


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--bta", "4"], "Perhaps you meant: --beta FLOAT"),
        (["--beta", "four"], "'four' is no number; give one such as 0.001 or 1e-3"),
        (["--network", "mpl"], "invalid choice 'mpl'.*mlp"),
        (["--dataset", "mnst"], "There is no dataset 'mnst'.*nearest names are .*mnist"),
        (["--dataset", "mnist"], r"'mnist' is not prepared in .*jaxgen\[tf\]"),
        (["--data-dir", "nowhere", "--dataset", "mnist"], "is not prepared in nowhere, which does not exist"),
        (["--seed", "-1"], "--seed is -1; give a number from 0"),
        (["--batch-size", "0"], "--batch-size is 0; give 1 or more"),
        (["--accumulate", "3"], "A batch of 128 cannot be cut into 3"),
        (["--steps", "-1"], "--steps is -1"),
        (["--log-every", "0"], "--log-every is 0"),
        (["--likelihood", "gaussian", "--binarization", "dynamic"], "makes binary images"),
        (
            ["--workdir", "/proc/nothing"],
            r"Writing to the workdir /proc/nothing failed \(no such file or directory\): choose another",
        ),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(args: list[str], sentence: str, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(sentence, refused(capsys, vae, [*args, "--quiet"])), sentence


def test_mistakes_with_a_run(trained: Path, tmp_path: Path, capsys) -> None:
    assert "holds no run" in refused(capsys, main, ["sample", str(tmp_path / "nowhere")])
    assert "--n is 0" in refused(capsys, main, ["sample", str(trained), "--n", "0"])
    assert "name a .png or a .npy" in refused(capsys, main, ["sample", str(trained), "--out", str(tmp_path / "x.doc")])
    assert "no checkpoint of step 7" in refused(capsys, main, ["evaluate", str(trained), "--step", "7"])
    assert "differs in --batch-size" in refused(capsys, vae, ["--workdir", str(trained), "--quiet"])
    (trained / "run.json").write_text("{")
    assert "is damaged" in refused(capsys, main, ["digest", str(trained)])
    (trained / "run.json").write_text('{"format": 99}')
    assert "newer jaxgen" in refused(capsys, main, ["digest", str(trained)])


def test_a_copy_of_an_experiment_runs_outside_of_the_repository(tmp_path: Path) -> None:
    text = (ROOT / "experiments" / "vae.py").read_text().replace("beta: float = 1.0", "beta: float = 2.5")
    (tmp_path / "my_vae.py").write_text(text)
    got = python("my_vae.py", *TINY, "--steps", "2", "--workdir", "w", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    resumed = python("my_vae.py", *TINY, "--steps", "3", "--workdir", "w", cwd=tmp_path)
    assert "Resuming w at step 2 of 3" in resumed.stderr
    # A run folder alone never makes a file run: it names the file, and the user does.
    refusal = python("-m", "jaxgen", "sample", "w", cwd=tmp_path)
    assert refusal.returncode == 2
    assert f"--experiment {tmp_path / 'my_vae.py'}" in refusal.stderr
    sampled = python("-m", "jaxgen", "sample", "w", "--experiment", "my_vae.py", "--out", "s.png", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    assert (tmp_path / "s.png").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_exit_with_their_codes(tmp_path: Path, signum: int, code: int) -> None:
    command = [sys.executable, "-m", "experiments.vae", *TINY, "--log-every", "10", "--save-every", "1000000"]
    command += ["--evaluate-every", "1000000", "--steps", "1000000", "--workdir", "w"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ)
    metrics = tmp_path / "w" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    try:
        while not (metrics.exists() and read_jsonl(metrics)) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signum)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()  # if it heard nothing, it would train for hours
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "which is saved; the same command goes on from there" in err
    saved = int(re.search(r"Stopped at step ([\d,]+)", err)[1].replace(",", ""))
    assert [int(p.name) for p in (tmp_path / "w" / "checkpoints").iterdir()] == [saved]
