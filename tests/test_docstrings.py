"""Docstrings: arguments, fields and first lines begin with a noun that says what the thing is; the words are today's."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREPOSITIONS = "of at in by as on to from for with without after before between beside over into within along per like"
QUESTIONS = "how where which what who whose when why if that also only so because likewise then"
VERBS = (
    "use uses draw draws show shows take takes give gives get gets make makes let lets tell tells told run runs read reads "
    "wrap wraps say says compute computes computed recompute add adds added apply applied change changes cut divides drawn "
    "filled finish has have learn learns mirror need needs pass passed pool print train wait write keep keeps is are was does"
)
PRONOUNS = "it its they them their those he his"
BARE = set(f"{PREPOSITIONS} {QUESTIONS} {VERBS} {PRONOUNS} none no".split())

RIDDLES = {"what", "which", "how", "where", "who", "of", "by", "from", "in", "for"}
"""First words of a first line that names no thing: "What a loop asks of a stream" instead of "The methods of a stream"."""

ARCHAIC = {
    r"\btold\b": "is conditioned on, gets, is reported",
    r"\bbeside\b": "next to, with, in addition to",
    r"\bwhatever (becomes|else|origin|kind)\b": "of any kind, even if",
    r"\b(becomes|became|become) of\b": "the state, the result",
    r"\bin whose (eyes|features)\b": "the network whose features are compared",
    r"\blikewise\b": "the same, said once more",
    r"\blets? go\b": "releases",
    r"\bheld? against\b": "compared with",
    r"\bat hand\b": "available",
    r"\bhas to be said of\b": "the warning about",
    r"\b(is|are|be) had\b": "is computed, comes from, free",
    r"\bin the manner of\b": "as in",
    r"\b(is|are) through\b": "has ended, at the end of",
    r"\bwithout a word\b": "without a message, without communication",
    r"\b[Oo]ne (value|row|vector|logit|line|file) an? \w+": "one value per example",
}
"""Turns that a reader of today's English stumbles over, and what to write instead."""

FILES = [*sorted((ROOT / "jaxgen").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]


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


def documented(path: Path) -> Iterator[tuple[int, ast.AST, str]]:
    """The line, the node and the docstring of a file's module, classes and functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield 1, tree, ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node, ast.get_docstring(node) or ""


def constants(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the first line of the text below every constant and type of a file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for before, node in itertools.pairwise(body):
        if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(node, ast.Expr):
            yield node.lineno, str(ast.literal_eval(node.value)).partition("\n")[0]


def is_riddle(first_line: str) -> bool:
    """Whether a first line begins with a question or a preposition, and so names no thing."""
    return re.split(r"[\s,;:.]", first_line)[0].lower() in RIDDLES


def archaic(docstring: str) -> list[str]:
    """The turns of `ARCHAIC` in a docstring's prose: code, flags, names of arguments and doctests do not count."""
    prose = re.sub(r"^ *(>>>|\.\.\.).*$|`[^`]*`|--\w+|^ *\w+:", "", docstring, flags=re.MULTILINE)
    return [f"{found[0]!r} (better: {better})" for turn, better in ARCHAIC.items() if (found := re.search(turn, prose))]


def without_a_noun(description: str) -> bool:
    """Whether a description begins with a word that is no noun phrase's, or with a symbol alone."""
    first = re.split(r"[\s,;:.]", description)[0].lower()
    return first in BARE or first[:1] in "$`([{\"'" or re.fullmatch(r"[a-z0-9]", first.replace("a", "an")) is not None


@pytest.mark.parametrize(
    "description",
    [
        "of k classes.",
        "at first.",
        "use the best.",
        "how many.",
        "`[B]`.",
        "$\\lambda$.",
        "k; 1 is none.",
        "None is no label.",
        "its number.",
    ],
)
def test_what_has_no_noun_is_noticed(description: str) -> None:
    assert without_a_noun(description)


@pytest.mark.parametrize("description", ["the logits of k classes.", "a function.", "whether to use it.", "examples at once."])
def test_a_noun_and_whether_are_right(description: str) -> None:
    assert not without_a_noun(description)


@pytest.mark.parametrize("first_line", ["What `fit` runs.", "How to run.", "Of the features.", "Where the caches lie."])
def test_a_first_line_that_names_no_thing_is_noticed(first_line: str) -> None:
    assert is_riddle(first_line)


@pytest.mark.parametrize("first_line", ["The methods of a stream.", "Reads a file.", "Whether it fits.", "Whatsoever."])
def test_a_thing_a_verb_and_whether_are_right(first_line: str) -> None:
    assert not is_riddle(first_line)


def test_archaic_turns_are_noticed_in_prose_alone() -> None:
    assert archaic("A model that is told the class.")
    assert archaic("Fields:\n  a: the folder beside it.")
    assert not archaic("The flag --told, `Told`.\n\nArgs:\n  told: the conditions.\n\n>>> bar.beside(1)\n")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_argument_says_what_it_is(path: Path) -> None:
    wrong = [f"{path}:{number}: {name}: {text}" for number, name, text in described(path) if without_a_noun(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_first_line_names_a_thing(path: Path) -> None:
    heads = [(number, node, doc.partition("\n")[0]) for number, node, doc in documented(path) if doc]
    wrong = [f"{path}:{number}: {head}" for number, _, head in heads if is_riddle(head)]
    wrong += [f"{path}:1: {head}" for _, node, head in heads if isinstance(node, ast.Module) and head.startswith("Whether")]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_constant_and_every_result_is_a_thing(path: Path) -> None:
    results = [
        (number, line.strip())
        for number, _, doc in documented(path)
        for line in re.findall(r"^ *(?:Returns|Yields):\n(.+)", doc, flags=re.MULTILINE)
    ]
    wrong = [f"{path}:{number}: {line}" for number, line in [*constants(path), *results] if is_riddle(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_are_in_the_words_of_today(path: Path) -> None:
    wrong = [f"{path}:{number}: {turn}" for number, _, doc in documented(path) for turn in archaic(doc)]
    assert not wrong, "\n".join(wrong)
