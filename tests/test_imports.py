"""Imports run one way, in the package, the experiments and the notebooks."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = sorted(
    ".".join(file.parent.relative_to(ROOT / "jaxgen").parts)
    for file in (ROOT / "jaxgen").glob("*/**/__init__.py")
    if "__all__" in file.read_text(encoding="utf-8")
)

# Each room may import from the floors below it, and from itself.
FLOORS = [
    {"types", "errors", "version", "uncertainty", "traces", "progress", "best"},
    {"affine", "alarms", "flags", "reduction", "disk", "hashes", "pictures", "network", "experiments", "optimizers"},
    {"devices"},
    {"keys"},
    {"game", "data", "diffusion", "distributions"},
    {"nn", "losses", "samplers", "samples", "evaluate", "values", "common_flags"},
    {"models", "objectives", "experiment"},
    {"metrics", "analysis"},
    {"measuring"},
    {"runs"},
    {"training"},
    {"commands"},
    {"__init__", "__main__"},
]
NEVER = {
    "objectives": {"models"},
    "models": {"objectives", "game", "data"},
    "nn": {"game"},
    "distributions": {"game"},
    "diffusion": {"game"},
    "losses": {"game"},
    "samplers": {"models"},
    "metrics": {"experiment"},
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, the experiments and the notebooks, by its dotted name."""
    found = {}
    for folder in ("jaxgen", "experiments", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """The modules of this tree that a module imports, in its functions too."""
    path, found = modules()[name], set()
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in modules() else base for a in node.names}
    return frozenset(found & modules().keys())


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


PACKAGE = [name for name in modules() if name.split(".")[0] == "jaxgen"]


@pytest.mark.parametrize("name", PACKAGE)
def test_imports_run_one_way(name: str) -> None:
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    assert room(name) in floor, f"{room(name)} has no place in the order of rooms"
    for other in map(room, (n for n in imported(name) if n.startswith("jaxgen."))):
        if other != room(name):
            assert floor[other] < floor[room(name)], f"{name} imports {other}, which is not on a floor below"
            assert other not in NEVER.get(room(name), set()), f"{room(name)} must not know {other}"


def test_the_architecture_page_lists_the_floors() -> None:
    page = (ROOT / "jaxgen" / "README.md").read_text(encoding="utf-8")
    table = page.partition("## Which imports which")[2].split("```")[1]
    listed: list[set[str]] = []
    for floor, names in re.findall(r"^( ?\d+| *)  (\w+(?:, \w+)*)/?  ", table, flags=re.MULTILINE):
        if floor.strip():
            assert int(floor) == len(listed) + 1
            listed.append(set())
        listed[-1] |= set(names.split(", "))
    assert listed == FLOORS


def test_no_module_is_in_a_circle_of_imports() -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in imported(name) - {name}:
                # A package's __init__ gathers what its modules define; they may import one another by way of it.
                if not (modules()[other].stem == "__init__" and name.startswith(f"{other}.")):
                    visit(other, (*trail, name))
            done.add(name)

    for name in modules():
        visit(name, ())


@pytest.mark.parametrize("name", [n for n in PACKAGE if n != "jaxgen"])
def test_the_package_does_not_know_the_experiments(name: str) -> None:
    assert not [n for n in imported(name) if n.split(".")[0] in ("experiments", "notebooks")]
    assert "jaxgen" not in imported(name), "the rooms do not import the house that they are in"


@pytest.mark.parametrize("name", [n for n in modules() if n.split(".")[0] == "experiments" and n.count(".") == 1])
def test_experiments_do_not_know_one_another(name: str) -> None:
    others = {n for n in imported(name) if n.startswith("experiments.")}
    assert not others, f"{name} imports {others}; copying one file must stay the way to fork an experiment"


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_of_a_room_takes_the_name_of_what_another_exports(room: str) -> None:
    """An import of the file would put the module in the place of the function, if the function was there first."""
    folder = ROOT / "jaxgen" / Path(*room.split("."))
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    exported = [(str(node.module), alias.asname or alias.name) for node in imports for alias in node.names]
    own = f"jaxgen.{room}"
    assert not [(at, name) for at, name in exported if (folder / f"{name}.py").is_file() and at not in (own, f"{own}.{name}")]


def test_core_imports_neither_tensorflow_nor_torch() -> None:
    code = """
import sys
import jaxgen, experiments.vae
from jaxgen import data
assert data.load("digits", "test").length == 360
print(sorted({"tensorflow", "torch", "numpyro", "wandb"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_suite_is_collected_without_what_extras_install() -> None:
    code = """
import sys
import pytest

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in "torch torchvision diffusers transformers numpyro haiku pythae tensorflow wandb".split():
            raise ModuleNotFoundError(f"No module named '{name}'")

sys.meta_path.insert(0, Absent())
sys.exit(pytest.main(["--collect-only", "-q", "-n", "0", "-m", "peers", "-p", "no:cacheprovider", "tests/peers"]))
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), out.stdout[-2000:]
