"""Mistakes with subcommands, and an environment that lacks something: each is answered in a sentence, in any shell."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from contract import make
from mistakes import answered, files, refused, run

import jaxgen
from jaxgen.devices import hosts

ROOT = Path(__file__).parents[2]

COMMANDS = [
    ("jaxgen", "Missing subcommand.*sample, translate"),
    ("jaxgen smaple x", "^There is no subcommand 'smaple' of jaxgen; perhaps you meant sample"),
    ("jaxgen eval x", "^There is no subcommand 'eval' of jaxgen; perhaps you meant evaluate"),
    ("jaxgen Digest x", "^There is no subcommand 'Digest' of jaxgen; perhaps you meant digest"),
    ("jaxgen train", "^There is no subcommand 'train' of jaxgen; perhaps you meant run"),
    ("jaxgen generate", "^There is no subcommand 'generate' of jaxgen; perhaps you meant sample"),
    ("jaxgen data lst", "^There is no subcommand 'data lst' of jaxgen; perhaps you meant data list"),
    ("jaxgen data", "^There is no subcommand 'data' of jaxgen; perhaps you meant data list or data prepare"),
    ("jaxgen vae --beta 4", "^vae is an experiment; train it by `jaxgen run vae`"),
    ("jaxgen dcgna", "^There is no subcommand 'dcgna' of jaxgen; perhaps you meant `jaxgen run dcgan`"),
    ("jaxgen run vea", "^There is no experiment 'vea'; perhaps you meant vae or nvae .`jaxgen list` shows them"),
    ("jaxgen run VAE", "^There is no experiment 'VAE'; perhaps you meant vae"),
    ("jaxgen run experiments.ddmp", "^There is no experiment 'ddmp'; perhaps you meant ddpm"),
    ("jaxgen run ../vae", "^There is no experiment '../vae'; perhaps you meant vae"),
    ("jaxgen run my_vae.py", "^my_vae.py is a file; run it by `python my_vae.py`"),
    ("jaxgen run --steps 5", "^Name the experiment first: `jaxgen run NAME --steps 5`"),
    ("jaxgen run vae --latents 0", "^--latents is 0; give 1 or more"),
    ("jaxgen replay nowhere --experimnt x", "^There is no --experimnt of `jaxgen replay`; perhaps you meant --experiment"),
    ("jaxgen measure a b --metric frechet", "^There is no --metric of `jaxgen measure`; perhaps you meant --metrics"),
    ("jaxgen sample nowhere --bst", "^nowhere holds no run"),
    ("jaxgen data list --datadir D", "^There is no --datadir of `jaxgen data list`; perhaps you meant --data-dir"),
    ("jaxgen sample nowhere -n 3", "^-n is no flag; a flag begins with two dashes: --n"),
    ("jaxgen evaluate nowhere --extractor e", "^--extractor goes with --metrics; name one or more"),
    ("jaxgen evaluate nowhere --n 10", "^--n goes with --metrics"),
    ("jaxgen evaluate nowhere --split train", "^--split goes with --metrics"),
    ("jaxgen sample nowhere --best --step 3000", "^--best and --step 3000 name a checkpoint each; give one of them"),
    ("jaxgen evaluate nowhere --best --step 3", "^--best and --step 3 name a checkpoint each"),
    ("jaxgen sample", "Missing from jaxgen sample: PATH the run"),
    ("jaxgen sample nowhere", "^nowhere holds no run .*; check the path, or train one with --workdir nowhere"),
    ("jaxgen evaluate nowhere", "^nowhere holds no run"),
    ("jaxgen digest nowhere", "^nowhere holds no run"),
    ("jaxgen sample nowhere --n 0", "^--n is 0; give 1 or more"),
    ("jaxgen sample nowhere --step last", "'last' is no whole number"),
    ("jaxgen sample nowhere --step -1", "^--step is -1; give 0 or more, or None"),
    ("jaxgen data list --data-dir nowhere", "^There is no folder nowhere; check --data-dir"),
    ("jaxgen data prepare", "Missing from jaxgen data prepare: STR a TFDS name"),
    ("jaxgen data prepare nosuch", "^There is no dataset 'nosuch'"),
]


@pytest.mark.parametrize(("line", "sentence"), COMMANDS, ids=lambda text: text[:60])
def test_a_mistake_with_a_subcommand(
    line: str, sentence: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answered(line, sentence, capsys, tmp_path)


def test_wandb_is_not_installed(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    args = [*["--wandb", "mine", "--steps", "0", "--nll-samples", "1", "--quiet", "--workdir"], str(tmp_path / "run")]
    assert 'pip install "jaxgen[wandb]"' in refused(capsys, lambda: run("vae", args))


def test_tensorflow_is_not_installed(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    told = refused(capsys, lambda: run("jaxgen", ["data", "prepare", "mnist"]))
    assert "'mnist' is not prepared in" in told
    assert "nowhere, which does not exist, and preparing it needs TensorFlow" in told
    assert 'pip install "jaxgen[tf]"' in told
    assert files(tmp_path) == []


def test_jit_is_disabled() -> None:
    with jax.disable_jit(), pytest.raises(jaxgen.UserError, match=r"^JAX_DISABLE_JIT is set, .*; unset it"):
        jaxgen.fit(make("vae", steps=1), quiet=True)


def test_a_step_without_a_sampler(capsys: Any) -> None:
    with pytest.raises(jaxgen.UserError, match="This experiment has no sampler: its model generates nothing"):
        jaxgen.fit(make("autoencoder", steps=0)._replace(evaluators={}, final={}, pictures={}), quiet=True).sample(1)


@pytest.mark.parametrize(
    ("line", "environment", "sentence"),
    [
        ("-m experiments.vae --latents 0", {}, "--latents is 0; give 1 or more."),
        ("-m jaxgen sample nowhere", {}, "nowhere holds no run"),
        (
            "-m experiments.vae",
            {"JAX_PLATFORMS": "abacus"},
            "JAX finds no device (Unable to initialize backend 'abacus'",
        ),
        ("-m experiments.vae --data-dir D --dataset mnist", {"TFDS_DATA_DIR": "E"}, "'mnist' is not prepared in D, which does"),
    ],
)
def test_a_mistake_from_a_shell(line: str, environment: dict[str, str], sentence: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, *shlex.split(line)]
    got = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=env)
    assert got.returncode == 2, got.stderr
    assert got.stdout == ""
    assert got.stderr.startswith(sentence) or sentence in got.stderr.splitlines()[-1]
    assert len(got.stderr.splitlines()) == 1, got.stderr
    assert files(tmp_path) == []


def test_a_process_that_does_not_come_is_told_in_time(tmp_path: Path) -> None:
    line = "-m experiments.vae --coordinator localhost:8971 --processes 2 --process 0 --join-timeout 2"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    got = subprocess.run(
        [sys.executable, *shlex.split(line)], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=env
    )
    assert got.returncode == 2
    waiting, ended = got.stderr.splitlines()[-2:]
    assert waiting.startswith("Waiting for 1 other process of 2 to meet at localhost:8971, for 2 seconds at most")
    assert ended.startswith("After 2 seconds the processes have not met at localhost:8971: ")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "environment", "sentence"),
    [
        ("-m experiments.vae --hiden 4", {"PYTHONIOENCODING": "ascii"}, "--hidden"),
        ("-m jaxgen sample \u6f22\u5b57", {"PYTHONIOENCODING": "ascii"}, "\\u6f22\\u5b57 holds no run"),
        ("-m jaxgen run --help", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, "usage: jaxgen run"),
        ("-m jaxgen list", {"PYTHONIOENCODING": "ascii"}, "jaxgen run vae"),
    ],
)
def test_an_output_of_ascii_alone(line: str, environment: dict[str, str], sentence: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    got = subprocess.run([sys.executable, *shlex.split(line)], cwd=tmp_path, capture_output=True, timeout=300, env=env)
    text = (got.stdout + got.stderr).decode("ascii")
    assert sentence in text
    assert "Traceback" not in text


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda': no plugin.\nMore."), AssertionError()])
def test_an_accelerator_that_is_not_there(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def devices() -> None:
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    reason = "Unable to initialize backend 'cuda': no plugin." if str(error) else "JAX_PLATFORMS=cuda"
    with pytest.raises(jaxgen.UserError, match=rf"^JAX finds no device \({reason}\); set JAX_PLATFORMS=cpu"):
        hosts.find_devices()


def test_an_array_in_the_place_of_a_source_is_not_told_number_by_number() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--dataset is an array \[10, 8, 8, 1\]; give a text, or a value of Source"):
        make("vae", dataset=np.zeros((10, 8, 8, 1)))
