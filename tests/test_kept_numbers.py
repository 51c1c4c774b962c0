"""What training computes is kept: each experiment's first steps, evaluated values and samples, at tiny size and from seed 0.

A change of the contract or of an experiment's wiring changes none of these numbers. One that means to change them writes the
file anew (`XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/test_kept_numbers.py`), and its commit says why.
Between processors and versions of JAX rounding differs, so the values are held to a tolerance; the digest of the state is held
only in the environment that the file was written in.
"""

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import contract
import jax
import numpy as np
import pytest

import jaxgen
from jaxgen.experiments import names

FILE = Path(__file__).parent / "kept" / "numbers.json"
DEFAULT = ("lenet",)
"""Run by default; the others are slow."""
CLOCK = ("examples_per_second",)


def environment() -> str:
    """What bits depend on: the version of JAX, the kind of processor, how many devices share it, and which passes XLA runs."""
    info = Path("/proc/cpuinfo")
    lines = sorted(set(info.read_text(encoding="utf-8").splitlines())) if info.is_file() else []
    kind = "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features")))
    passes = "few passes" if jax.config.values["jax_disable_most_optimizations"] else "all passes"
    machine = f"{platform.machine()} {hashlib.sha256(kind.encode()).hexdigest()[:8]}"
    return f"jax {jax.__version__}, {machine}, {jax.device_count()} devices, {passes}"


def numbers(name: str) -> dict[str, Any]:
    """What three steps of an experiment give: lines of metrics, norms of parameters, the spread of samples, and the digest."""
    made = contract.make(name, steps=3)._replace(pictures={})
    run = jaxgen.fit(made, seed=0, log_every=1, quiet=True)
    lines = [{n: v for n, v in line.items() if n not in CLOCK} for line in run.history]
    found: dict[str, Any] = {
        "lines": lines,
        "norms": {path: float(np.linalg.norm(tree)) for path, tree in sorted(leaves(run.state.params).items())},
        "digest": run.digest(),
    }
    if made.sample is not None:
        drawn = run.sample(4, track=lambda x, **_: x)
        found["samples"] = [float(drawn.mean()), float(drawn.std())]
    return found


def leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by their paths."""
    flat = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x).reshape(-1) for path, x in flat}


def test_every_experiment_has_its_numbers() -> None:
    assert sorted(json.loads(FILE.read_text(encoding="utf-8"))) == sorted(names())


@pytest.mark.parametrize("name", [name if name in DEFAULT else contract.slow(name) for name in names()])
def test_the_numbers_are_what_they_were(name: str) -> None:
    kept, found = json.loads(FILE.read_text(encoding="utf-8"))[name], numbers(name)
    digest = kept.pop("digests").get(environment())
    assert digest is None or found["digest"] == digest
    del found["digest"]
    there, here = leaves(kept), leaves(found)
    assert there.keys() == here.keys()
    for path, value in there.items():
        if value.dtype.kind in "fi":
            np.testing.assert_allclose(here[path], value, rtol=1e-4, atol=1e-5, err_msg=path)


def write() -> None:
    """Keeps the numbers of now, and the digests of this machine beside those of others where the numbers stayed."""
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    kept = {}
    for name in sys.argv[1:] or names():
        found = numbers(name)
        digest = found.pop("digest")
        others = {where: bits for where, bits in before.get(name, {}).get("digests", {}).items() if where != environment()}
        kept[name] = {**found, "digests": {**others, environment(): digest}}
        print(name, digest[:8])
    FILE.write_text(json.dumps({**before, **kept}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        write()
