"""The files of a run's checkpoints, to damage and to change."""

import json
from pathlib import Path
from typing import Any

from games import fit, regression

import jaxgen
from jaxgen import hashes


def files(folder: Path, step: int) -> list[Path]:
    """All files of a checkpoint."""
    return sorted(p for p in (folder / "checkpoints" / str(step)).rglob("*") if p.is_file())


def data_files(folder: Path, step: int) -> list[Path]:
    """The files of the state's arrays: which of them are read is the storage's affair."""
    state = folder / "checkpoints" / str(step) / "state"
    return [p for p in state.rglob("*") if p.is_file() and p.parent.name == "d"]


def resume(folder: Path, **options: Any) -> jaxgen.Run:
    """Goes on with the run of the fixture `written`."""
    return fit(regression(steps=20, ema=0.9), folder, log_every=7, keep=4, **options)


def rewritten(folder: Path, step: int, **change: Any) -> None:
    """Changes what a checkpoint says of itself and signs it, as another version would have written it."""
    (path,) = (p for p in files(folder, step) if "meta" in p.parts and b'"position"' in p.read_bytes())
    meta = {**json.loads(path.read_text()), **change}
    meta.pop("signature")
    path.write_text(json.dumps({**meta, "signature": hashes.signature(meta)}))
