"""The suite notices what it is there to notice: each of these faults, put into a copy of the package, makes it fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from wiring import (
    mutations_of_adaptation,
    mutations_of_augmentation,
    mutations_of_autoencoders,
    mutations_of_autoguidance,
    mutations_of_collapse,
    mutations_of_consistency,
    mutations_of_denoising,
    mutations_of_diffusion,
    mutations_of_dit,
    mutations_of_flows,
    mutations_of_games,
    mutations_of_ladder_vae,
    mutations_of_latent_autoencoder,
    mutations_of_latent_diffusion,
    mutations_of_likelihoods,
    mutations_of_made,
    mutations_of_munit,
    mutations_of_nvae,
    mutations_of_pixelcnn_pp,
    mutations_of_reflow,
    mutations_of_spade,
    mutations_of_sprites,
    mutations_of_stacked_modes,
    mutations_of_style,
    mutations_of_stylegan,
    mutations_of_translation,
    mutations_of_transport,
    mutations_of_two_levels,
    mutations_of_vdm,
)

ROOT = Path(__file__).parents[1]
RESUMES = ("tests/game/test_trajectories.py", "a_resumed_run")
CHECKPOINTS = ("tests/runs/test_checkpoint.py", "")
DAMAGE = ("tests/runs/test_checkpoint_damage.py", "")
DURABLE = ("tests/test_disk.py", "")


class Mutation(NamedTuple):
    """A fault: in a file, a text and what it becomes; and the tests that must fail of it."""

    what: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, str] = RESUMES


RESTORED = "    return state._replace(key=jax.random.wrap_key_data(state.key))"


def forgetting(part: str) -> Mutation:
    """A part of a state that is not restored."""
    zeros = f"{RESTORED[:-1]}, {part}=jax.tree.map(np.zeros_like, state.{part}))"
    return Mutation(f"without {part}", "runs/serialization.py", RESTORED, zeros)


STALE = ("tests/training/test_loop.py", "lines_after_the_last")
MUTATIONS = [
    *map(forgetting, ("ema", "opt", "vars", "step", "params")),
    Mutation("another key", "runs/serialization.py", RESTORED, "    return state._replace(key=jax.random.key(7))"),
    Mutation("no position of the data", "training/loop.py", 'meta = {"position": self.step', 'meta = {"position": 0'),
    Mutation(
        "data that are one off", "training/program.py", "stream.read(call[0],", "stream.read(call[0] + (calls[0][0] > 0),"
    ),
    Mutation("no window", "training/loop.py", "self.parallel.place(window)", "self._empty_window()"),
    Mutation(
        "lines of a run that died", "runs/journal.py", "kept = read_jsonl(path, until=start)", "kept = read_jsonl(path)", STALE
    ),
    Mutation(
        "no fsync of a file",
        "disk.py",
        "            os.fsync(file.fileno())\n        os.replace",
        "        os.replace",
        DURABLE,
    ),
    Mutation("no fsync of its name", "disk.py", "    sync(path.parent)\n", "", DURABLE),
    Mutation("no rename", "disk.py", "os.replace(scratch, path)", "path.write_text(text)", DURABLE),
    Mutation("written in place", "disk.py", 'path.with_name(f"{path.name}.tmp")', "path", DURABLE),
    Mutation("lines after the checkpoint", "training/loop.py", "        self.journal.sync()\n", "", CHECKPOINTS),
    Mutation("no verification", "hashes.py", "if written.get(path, hashed) != hashed:", "if False:", DAMAGE),
    Mutation("no signature", "runs/checkpoint.py", "!= hashes.signature(meta)", "== ''", DAMAGE),
    Mutation("no way back", "runs/checkpoint.py", "if step == steps[0]:", "if True:", DAMAGE),
    Mutation("damaged ones lost", "runs/checkpoint.py", "os.replace(self.folder", "shutil.rmtree(self.folder", DAMAGE),
    Mutation("no lock", "disk.py", "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", DURABLE),
    Mutation(
        "remains", "runs/checkpoint.py", '"cleanup_tmp_directories": True', '"cleanup_tmp_directories": False', CHECKPOINTS
    ),
]

MUTATIONS += [
    Mutation(f"{Path(file).stem}: {what}", f"../{file}", text, becomes, (f"tests/{tests}", ""))
    for table in (
        mutations_of_adaptation,
        mutations_of_augmentation,
        mutations_of_autoencoders,
        mutations_of_autoguidance,
        mutations_of_likelihoods,
        mutations_of_games,
        mutations_of_ladder_vae,
        mutations_of_made,
        mutations_of_munit,
        mutations_of_nvae,
        mutations_of_pixelcnn_pp,
        mutations_of_denoising,
        mutations_of_diffusion,
        mutations_of_collapse,
        mutations_of_consistency,
        mutations_of_dit,
        mutations_of_flows,
        mutations_of_latent_autoencoder,
        mutations_of_latent_diffusion,
        mutations_of_reflow,
        mutations_of_spade,
        mutations_of_sprites,
        mutations_of_stacked_modes,
        mutations_of_style,
        mutations_of_stylegan,
        mutations_of_translation,
        mutations_of_transport,
        mutations_of_two_levels,
        mutations_of_vdm,
    )
    for (file, tests), changes in table.FAULTS.items()
    for what, text, becomes in changes
]


def run(folder: Path, tests: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    file, chosen = tests
    # Slow tests too: some faults are seen by these alone.
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "--no-header", "-m", "not peers", file, "-k", chosen]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=550)


def copied(folder: Path) -> Path:
    for name in ("jaxgen", "experiments", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tests", sorted({mutation.tests for mutation in MUTATIONS}))
def test_without_a_fault_they_pass(tests: tuple[str, str], tmp_path: Path) -> None:
    done = run(copied(tmp_path), tests)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_a_fault_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    file = copied(tmp_path) / "jaxgen" / mutation.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.text) == 1, "the code has changed: this fault must be put elsewhere"
    file.write_text(text.replace(mutation.text, mutation.becomes), encoding="utf-8")
    done = run(tmp_path, mutation.tests)
    assert done.returncode == 1, f"nobody noticed: {done.stdout[-2000:]}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_the_fault_can_be_put_in(mutation: Mutation) -> None:
    text = (ROOT / "jaxgen" / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.text) == 1
    compile(text.replace(mutation.text, mutation.becomes), mutation.file, "exec")
