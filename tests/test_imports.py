"""Imports run one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxgen"

# Each room may import from the rooms before it, and from itself.
ORDER = [
    {
        "types",
        "averages",
        "errors",
        "flags",
        "reduction",
        "uncertainty",
        "durable",
        "hashes",
        "version",
        "experiments",
        "waiting",
        "memory",
        "traces",
    },
    {"logs", "best", "progress", "pictures", "replicas", "exports"},
    {"keys", "merging"},
    {"game", "network", "distributions", "nn", "diffusion"},
    {"parallel", "distributed", "serialization", "parts"},
    {"data"},
    {"conditions", "draws"},
    {"losses", "models"},
    {"objectives", "analysis", "samplers", "metrics"},
    {"evaluate", "values"},
    {"experiment", "preserved"},
    {"checkpoint", "dispatch", "signals"},
    {"workdir", "run_record", "rebuild", "figures", "chosen"},
    {"run", "parents"},
    {"loading"},
    {"extractors", "forensics"},
    {"reports"},
    {"loop"},
    {"arguments"},
    {"cli"},
    {"commands"},
    {"__init__", "__main__"},
]
DATA = [
    {"pixels", "labels", "decode", "builders", "transforms"},
    {"source"},
    {"views", "compatibility", "cache", "stand_in", "stream", "text", "palette"},
    {"stamps", "splits"},
    {"files", "folder"},
    {"tfds_prepare"},
    {"tfds_source"},
    {"by_name"},
    {"load"},
    {"convert"},
    {"__init__"},
]
NEVER = {
    "objectives": {"models"},
    "models": {"objectives", "game", "data"},
    "nn": {"game"},
    "distributions": {"game"},
    "diffusion": {"game"},
    "losses": {"game"},
    "samplers": {"models"},
}


def rooms() -> list[tuple[str, Path]]:
    return [(p.relative_to(PACKAGE).parts[0].removesuffix(".py"), p) for p in sorted(PACKAGE.rglob("*.py"))]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxgen":
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("jaxgen.")}
    return found


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda v: str(v.name if isinstance(v, Path) else v))
def test_imports_run_one_way(room: str, path: Path) -> None:
    levels = {name: i for i, names in enumerate(ORDER) for name in names}
    assert room in levels, f"{room} has no place in the order of rooms"
    for other in imported(path) - {room}:
        assert levels[other] <= levels[room], f"{path} imports {other}, which comes after {room}"
        assert other not in NEVER.get(room, set()), f"{room} must not know {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "data").glob("*.py")), ids=lambda path: path.stem)
def test_imports_within_data_run_one_way(path: Path) -> None:
    levels = {name: i for i, names in enumerate(DATA) for name in names}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jaxgen.data"):
            rest = node.module.split(".")[2:]
            for other in rest[:1] or [alias.name for alias in node.names]:
                assert levels[other] < levels[path.stem], f"{path} imports {other}, which comes after"


def test_no_cycle_between_rooms() -> None:
    edges: dict[str, set[str]] = {}
    for room, path in rooms():
        edges.setdefault(room, set()).update(imported(path) - {room})
    done: set[str] = set()

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, f"cycle: {' -> '.join((*trail, room))}"
        if room not in done:
            for other in edges.get(room, ()):
                visit(other, (*trail, room))
            done.add(room)

    for room in edges:
        visit(room, ())


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
