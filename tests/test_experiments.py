"""Every experiment holds the contract, and opens as a reader expects. New ones join by existing; variants: `variants/`."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import contract
import pytest

import experiments

NAMES = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]


@pytest.mark.parametrize("name", contract.one_a_family(NAMES, long=("clip", "pix2pix")))
def test_experiment(name: str, tmp_path: Path) -> None:
    contract.hold(name, {}, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_experiment_opens_with_its_command_and_documents_every_flag(name: str) -> None:
    module = importlib.import_module(f"experiments.{name}")
    assert f"python -m experiments.{name}" in (module.__doc__ or "")
    documented = inspect.getdoc(module.experiment).partition("Args:")[2]
    for flag, parameter in inspect.signature(module.experiment).parameters.items():
        assert f"  {flag}: " in documented, f"--{flag} is not documented"
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    last = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(last).endswith("jaxgen.run_experiment(experiment)")
