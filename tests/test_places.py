"""From where this package is used: beside a clone, beside a user's own folder `experiments`, as a module, as a file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgen
from jaxgen import experiments

ROOT = Path(__file__).parents[1]
TINY = ["--batch-size", "8", "--hidden", "8", "--latents", "2", "--nll-samples", "4", "--quiet"]


def python(*args: str, cwd: Path, path: Path | None = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=300, env=env)


@pytest.fixture(params=["package", "namespace", "file"])
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with something of the user's that is called `experiments`, of each kind that Python can import."""
    if request.param == "file":
        (tmp_path / "experiments.py").write_text("mine = True\n")
        return tmp_path
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.py").write_text("mine = True\n")
    if request.param == "package":
        (tmp_path / "experiments" / "__init__.py").write_text("")
    return tmp_path


def test_beside_experiments_of_the_users_ours_are_found(beside: Path) -> None:
    code = """
import sys
import experiments
from jaxgen.runs import rebuild, run_record, workdir
from jaxgen.commands.main import main
from jaxgen.experiments import vae
main(["list"])
main(["reproduce"])
made = vae.experiment(steps=0, hidden=(8,), latents=2)
print(made.config.name, rebuild.find_experiment(None, workdir.Workdir("W", run_record.describe(made, 0))).__module__)
assert not hasattr(experiments, "vae")
"""
    got = python("-c", code, cwd=beside)
    assert got.returncode == 0, got.stderr
    assert "jaxgen run vae " in got.stdout
    assert "gan_parzen" in got.stdout
    assert got.stdout.splitlines()[-1] == "experiments.vae jaxgen.experiments.vae"


@pytest.mark.slow
def test_runs_of_either_command_go_on_by_the_other(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    # In the clone `experiments` is ours; beside another one `jaxgen run` is.
    for steps, cwd, command in ((2, ROOT, ["experiments.vae"]), (4, tmp_path, ["jaxgen", "run", "vae"])):
        got = python("-m", *command, *TINY, "--steps", str(steps), "--workdir", str(tmp_path / "W"), cwd=cwd)
        assert got.returncode == 0, got.stderr
        assert json.loads((tmp_path / "W" / "run.json").read_text())["experiment"] == "experiments.vae"
    assert jaxgen.load(tmp_path / "W").position == 4


def test_a_clone_called_jaxgen_is_no_empty_namespace_from_its_parent(tmp_path: Path) -> None:
    clone = tmp_path / "jaxgen"
    for name in ("jaxgen", "experiments"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    # What `pip install -e` writes in setuptools' mode "compat", which setup.py asks for: a line with the clone's folder.
    assert '"editable_wheel": {"mode": "compat"}' in (ROOT / "setup.py").read_text(encoding="utf-8")
    # The environment that runs these tests may itself hold such a line, of another clone: that is taken out first.
    code = f"""
import pathlib, site, sys
sys.path = [place for place in sys.path if not pathlib.Path(place, "jaxgen", "__init__.py").exists()]
site.addsitedir({str(tmp_path / "site")!r})
import jaxgen
print(jaxgen.__file__, jaxgen.__version__)
"""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "jaxgen.pth").write_text(f"{clone}\n")
    got = python("-c", code, cwd=tmp_path, path=None)
    assert got.stdout.split() == [str(clone / "jaxgen" / "__init__.py"), jaxgen.__version__], got.stderr


def test_an_experiment_of_the_users_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    shutil.copy(ROOT / "experiments" / "vae.py", tmp_path / "experiments" / "vae.py")
    got = python("-m", "experiments.vae", *TINY, "--steps", "1", "--workdir", "W", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    record = json.loads((tmp_path / "W" / "run.json").read_text())
    assert (record["experiment"], record["file"]) == ("vae.py", str(tmp_path / "experiments" / "vae.py"))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["experiments.vea"], "There is no experiment 'vea'; perhaps you meant vae"),
        (["experiments.ledgr"], "There is no experiment 'ledgr'"),
        (["jaxgen.experiments.vea"], "No module named jaxgen.experiments.vea"),  # Python's own answer
    ],
)
def test_a_module_that_is_not_there(args: list[str], sentence: str, tmp_path: Path) -> None:
    got = python("-m", *args, cwd=tmp_path)
    assert sentence in got.stderr.splitlines()[-1]
    assert "Traceback" not in got.stderr


def test_the_package_alone_lists_its_experiments(tmp_path: Path) -> None:
    got = python("-m", "experiments", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert [line.split()[2] for line in got.stdout.splitlines()] == [f"experiments.{name}" for name in experiments.names()]


def test_every_experiment_is_listed_and_found_by_both_names() -> None:
    assert experiments.names() == sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))
    for name in experiments.names():
        assert experiments.find(name) is experiments.find(f"experiments.{name}")
        assert experiments.summary(name)
    assert experiments.recorded_name(ROOT / "experiments" / "benchmarks" / "guard.py") == "experiments.benchmarks.guard"
    assert experiments.recorded_name(ROOT / "experiments_of_mine" / "vae.py") is None


def test_the_version_is_said_once() -> None:
    from jaxgen import version

    got = subprocess.run([sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert got.stdout.strip().splitlines()[-1] == jaxgen.__version__ == version.installed()["jaxgen"], got.stderr
