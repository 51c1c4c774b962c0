"""Whatever bytes lie in a run's folder or in a dataset's: they are read as they were written, or refused in a sentence."""

import contextlib
import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxgen
from jaxgen import best, data
from jaxgen.errors import DamagedError
from jaxgen.runs import journal, load, workdir

FUZZ = settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
FEW = settings(FUZZ, max_examples=25)
MANY = settings(FUZZ, max_examples=600, derandomize=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    from experiments.vae import experiment

    folder = tmp_path_factory.mktemp("fuzzed") / "run"
    made = experiment(hidden=(), latents=2, batch_size=4, steps=1, nll_samples=1)
    jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}), workdir=str(folder), quiet=True)
    return folder


@contextlib.contextmanager
def changed(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def damage(draw: Any, content: bytes) -> bytes:
    """The content with a cut, a flipped bit, or bytes put in or taken out."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    kind = draw(st.sampled_from(["cut", "flip", "insert", "delete", "replace"]))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
    if kind == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at:]
    if kind == "delete":
        return content[:at] + content[at + draw(st.integers(1, 9)) :]
    return draw(st.binary(max_size=200))


def of_the_right_types(record: dict[str, Any]) -> bool:
    return (
        type(record["format"]) is int
        and type(record["seed"]) is int
        and 0 <= record["seed"] < 2**32
        and isinstance(record["flags"], dict)
        and isinstance(record["experiment"], str | None)
        and isinstance(best.from_json(record["best"]), str | best.Largest | None)
    )


def is_read_or_refused(folder: Path, content: bytes) -> None:
    with changed(folder / "run.json", content), contextlib.suppress(jaxgen.UserError):
        record = workdir.read(folder).record
        assert repr(record) == repr(json.loads(content))
        assert of_the_right_types(record)


@FUZZ
@given(value=JSON | st.dictionaries(st.sampled_from(["format", "seed", "flags", "experiment", "data"]), JSON))
def test_any_json_as_a_record(trained: Path, value: Any) -> None:
    is_read_or_refused(trained, json.dumps(value).encode())


@FUZZ
@given(name=st.sampled_from(["format", "seed", "flags", "experiment", "file", "steps", "data", "best"]), value=JSON)
def test_a_record_with_a_changed_value(trained: Path, name: str, value: Any) -> None:
    record = json.loads((trained / "run.json").read_text())
    is_read_or_refused(trained, json.dumps({**record, name: value}).encode())


@FUZZ
@given(choices=st.data())
def test_damaged_bytes_of_a_record(trained: Path, choices: st.DataObject) -> None:
    is_read_or_refused(trained, damage(choices.draw, (trained / "run.json").read_bytes()))


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}", b'{"format": 1e999}', b"\xff\xfe", b"NaN"]
)
def test_extreme_records(trained: Path, content: bytes) -> None:
    is_read_or_refused(trained, content)


@FEW
@given(choices=st.data(), value=JSON)
def test_a_run_with_changed_flags_is_refused_or_the_same(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, choices: st.DataObject, value: Any
) -> None:
    record = json.loads((trained / "run.json").read_text())
    name = choices.draw(st.sampled_from(sorted(record["flags"])))
    content = json.dumps({**record, "flags": {**record["flags"], name: value}}).encode()
    # In a folder of its own: a text may be a --data-dir to prepare a set in.
    with changed(trained / "run.json", content), contextlib.chdir(tmp_path_factory.mktemp("here")):
        try:
            run = jaxgen.load(trained)
        except jaxgen.UserError:
            return
    # Nothing was put right in silence: what it was built with is what is written.
    used = run.experiment.config.flags[name]
    assert json.dumps(used) == json.dumps(value)
    assert type(used) is (tuple if isinstance(value, list) else type(value))
    assert run.digest() == load.digest(trained)


@FEW
@given(choices=st.data())
def test_a_run_with_damaged_bytes_is_refused_or_the_same(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, choices: st.DataObject
) -> None:
    whole = load.digest(trained)
    content = damage(choices.draw, (trained / "run.json").read_bytes())
    here = contextlib.chdir(tmp_path_factory.mktemp("here"))
    with changed(trained / "run.json", content), here, contextlib.suppress(jaxgen.UserError):
        run = jaxgen.load(trained)
        assert run.digest() == whole
        assert run.seed == json.loads(content)["seed"]


LINES = st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=6).map(b"\n".join)


@FUZZ
@given(content=LINES, until=st.none() | st.integers(0, 9))
def test_any_bytes_as_metrics(tmp_path_factory: pytest.TempPathFactory, content: bytes, until: int | None) -> None:
    file = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    good = [{"step": 1, "split": "train", "loss": 0.5}, {"step": 2, "split": "test", "loss": 0.25}]
    first, second = (json.dumps(line).encode() for line in good)
    file.write_bytes(first + b"\n" + content + b"\n" + second + b"\n")
    lines = journal.read_jsonl(file, until=until)
    for line in lines:
        assert isinstance(line["step"], int)
        assert isinstance(line["split"], str)
        assert until is None or line["step"] <= until
    kept = [line for line in good if until is None or line["step"] <= until]
    assert [line for line in lines if line in good] == kept
    # A run goes on from it: the writer opens it, and what it then writes is read.
    writer = journal.JsonLines(file, start=5)
    writer.scalars(6, "train", {"loss": 0.125})
    writer.close()
    assert journal.read_jsonl(file)[-1] == {"step": 6, "split": "train", "loss": 0.125}


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)


def png() -> bytes:
    import io

    out = io.BytesIO()
    Image.new("RGB", (4, 4), 9).save(out, "png")
    return out.getvalue()


@settings(FUZZ, max_examples=150)
@given(choices=st.data())
def test_any_files_as_a_dataset(tmp_path_factory: pytest.TempPathFactory, choices: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("dataset")
    good = png()
    for split in choices.draw(st.sampled_from([["train"], ["train", "test"]])):
        (root / split).mkdir()
        for name in choices.draw(st.lists(NAMES, max_size=4, unique=True)):
            suffix = choices.draw(st.sampled_from([".png", ".PNG", ".jpg", ".webp", ".txt", ""]))
            kind = choices.draw(st.sampled_from(["good", "good", "damaged", "random", "folder", "link"]))
            path = root / split / (name + suffix)
            with contextlib.suppress(OSError):  # two names that the file system takes for one
                if kind == "folder":
                    path.mkdir()
                    (path / "0.png").write_bytes(good)
                elif kind == "link":
                    path.symlink_to("nowhere")
                else:
                    path.write_bytes(
                        {"good": good, "random": choices.draw(st.binary(max_size=60))}.get(kind) or damage(choices.draw, good)
                    )
    budget = choices.draw(st.sampled_from([0.0, 1.0]))
    try:
        source = data.load(str(root), "train", cache_budget=budget)
        rows = source.gather(np.arange(source.length))
    except jaxgen.UserError:
        return
    assert rows["image"].shape[0] == source.length
    assert rows["image"].dtype == np.uint8
    if "label" in rows:
        assert set(rows["label"].tolist()) <= set(range(len(source.classes["label"])))
    again = data.load(str(root), "train", cache_budget=1.0 - budget)
    np.testing.assert_array_equal(again.gather(np.arange(source.length))["image"], rows["image"])


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


@pytest.mark.parametrize(
    "experiment",
    ["os", "bomb", "bomb.py", "./bomb.py", "experiments.bomb", "experiments.../bomb", "experiments./bomb", "experiments.",
     "experiments", "experiments.os", "experiments.vae.os", "experiments.\0", "experiments.\ud800", "", "__main__", "jaxgen"],
)  # fmt: skip
def test_a_folder_makes_no_code_run(experiment: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "exploded"
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    code = f"open({str(mark)!r}, 'w').close()\ndef experiment(**flags): open({str(mark)!r}, 'w').close()\n"
    for place in (folder, folder / "experiments", folder / "checkpoints", tmp_path):
        place.mkdir(exist_ok=True)
        for name in ("bomb.py", "conftest.py", "sitecustomize.py", "__init__.py"):
            (place / name).write_text(code)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "experiment": experiment, "file": str(folder / "bomb.py")}))
    known = set(sys.modules)
    for cwd in (tmp_path, folder):
        monkeypatch.chdir(cwd)
        with pytest.raises(jaxgen.UserError):
            jaxgen.load(folder)
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - known if "bomb" in name}


def test_pickles_are_not_loaded(trained: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(mark))
    pickle.loads(pickle.dumps(Bomb(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()  # it is one
    names = [p.relative_to(trained) for p in sorted(trained.rglob("*")) if p.is_file()]
    for name in names:
        folder = tmp_path / "run"
        shutil.copytree(trained, folder)
        (folder / name).write_bytes(bomb)
        with contextlib.suppress(jaxgen.UserError):
            jaxgen.load(folder)
        shutil.rmtree(folder)
    assert not mark.exists()


def test_no_pickle_in_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "0.png").write_bytes(png())
    data.load(str(tmp_path / "set"), "train")
    cached = next((tmp_path / "cache").glob("*/image.npy"))
    mark = tmp_path / "exploded"
    np.save(cached, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(jaxgen.UserError, match="is damaged"):
        data.load(str(tmp_path / "set"), "train")
    cached.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(jaxgen.UserError, match="is damaged"):
        data.load(str(tmp_path / "set"), "train")
    assert not mark.exists()


def _checkpoint_survives(trained: Path, folder: Path, draw: Any) -> None:
    whole = load.digest(trained)
    params = jaxgen.load_params(trained)
    shutil.copytree(trained, folder)
    try:
        files = sorted(p for p in (folder / "checkpoints").rglob("*") if p.is_file() and p.stat().st_size)
        file = draw(st.sampled_from(files))
        file.write_bytes(damage(draw, file.read_bytes()))
        for read in (load.digest, lambda path: jaxgen.load(path).digest()):
            with contextlib.suppress(jaxgen.UserError):
                assert read(folder) == whole
        with contextlib.suppress(jaxgen.UserError):
            jax.tree.map(np.testing.assert_array_equal, jaxgen.load_params(folder), params)
    finally:
        shutil.rmtree(folder)


@settings(FUZZ, max_examples=12)
@given(choices=st.data())
def test_a_damaged_checkpoint_is_refused_or_the_same(trained: Path, tmp_path_factory: Any, choices: st.DataObject) -> None:
    _checkpoint_survives(trained, tmp_path_factory.mktemp("damaged") / "run", choices.draw)


def test_arrays_of_another_run_are_not_taken_for_its_own(trained: Path, tmp_path: Path) -> None:
    for name in ("run", "other"):
        shutil.copytree(trained, tmp_path / name)
    run = jaxgen.load(trained)
    other = run.state._replace(params=jax.tree.map(lambda p: p + 1, run.state.params))
    checkpoints = workdir.read(tmp_path / "other").checkpoints(keep=2)
    checkpoints.save(other, {"nothing": np.zeros(1)}, step=2, meta=dict(checkpoints.meta(1)))
    checkpoints.close()
    # Whole, and by itself in order: only what the checkpoint says of its arrays tells.
    state = tmp_path / "run" / "checkpoints" / "1" / "state"
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "other" / "checkpoints" / "2" / "state", state)
    for read in (load.digest, jaxgen.load, jaxgen.load_params):
        with pytest.raises(DamagedError):
            read(tmp_path / "run")


@pytest.mark.slow
@MANY
@given(choices=st.data())
def test_damaged_checkpoints_in_length(trained: Path, tmp_path_factory: Any, choices: st.DataObject) -> None:
    _checkpoint_survives(trained, tmp_path_factory.mktemp("damaged") / "run", choices.draw)
