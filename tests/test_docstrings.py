"""Docstrings: the line of an argument or a field begins with a noun that says what the thing is, or with "whether"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TO_REWRITE = {"cli.py", "dispatch.py", "evaluate.py", "experiment.py", "loop.py", "run.py"}
"""Files of the package whose docstrings do not keep to it yet."""

PREPOSITIONS = "of at in by as on to from for with without after before between beside over into within along per like"
QUESTIONS = "how where which what who whose when why if that also only so because likewise then"
VERBS = (
    "use uses draw draws show shows take takes give gives get gets make makes let lets tell tells told run runs read reads "
    "wrap wraps say says compute computes computed recompute add adds added apply applied change changes cut divides drawn "
    "filled finish has have learn learns mirror need needs pass passed pool print train wait write keep keeps is are was does"
)
BARE = set(f"{PREPOSITIONS} {QUESTIONS} {VERBS} none no".split())


def described(path: Path) -> Iterator[tuple[int, str, str]]:
    """The line, the name and the description of every argument and field in a file's docstrings."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            indent = None
            for number in range(node.body[0].lineno, node.body[0].end_lineno + 1):
                line = lines[number - 1]
                own = len(line) - len(line.lstrip())
                if line.strip() in ("Args:", "Fields:"):
                    indent = own + 2
                elif line.strip() and indent is not None and own < indent:
                    indent = None
                elif own == indent and (found := re.match(r"\s*(\*{0,2}\w+): (.+)", line)):
                    yield number, found[1], found[2]


def without_a_noun(description: str) -> bool:
    """Whether a description begins with a word that is no noun phrase's, or with a symbol alone."""
    first = re.split(r"[\s,;:.]", description)[0].lower()
    return first in BARE or first[:1] in "$`([{\"'" or re.fullmatch(r"[a-z0-9]", first.replace("a", "an")) is not None


@pytest.mark.parametrize(
    "description",
    ["of k classes.", "at first.", "use the best.", "how many.", "`[B]`.", "$\\lambda$.", "k; 1 is none.", "None is no label."],
)
def test_what_has_no_noun_is_noticed(description: str) -> None:
    assert without_a_noun(description)


@pytest.mark.parametrize("description", ["the logits of k classes.", "a function.", "whether to use it.", "examples at once."])
def test_a_noun_and_whether_are_right(description: str) -> None:
    assert not without_a_noun(description)


@pytest.mark.parametrize("path", sorted((ROOT / "jaxgen").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "jaxgen")))
def test_every_argument_says_what_it_is(path: Path) -> None:
    if path.name in TO_REWRITE and path.parent.name == "jaxgen":
        pytest.skip("it is still to be rewritten")
    wrong = [f"{path}:{number}: {name}: {text}" for number, name, text in described(path) if without_a_noun(text)]
    assert not wrong, "\n".join(wrong)
