"""The documents' code runs as it is printed."""

import importlib.util
import math
import pkgutil
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from games import fit

import jaxgen
from jaxgen import data, distributions, objectives
from jaxgen.errors import FewExamplesWarning

ROOT = Path(__file__).parents[1]


def blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), flags=re.S)


def test_readme_in_python(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, own, _ = blocks("README.md")
    # The run that the last line loads.
    fit(experiment_vae(steps=2), "runs/vae")
    quick = code.replace("steps=500", "steps=2, hidden=(8,), nll_samples=4")
    names: dict = {}
    exec(quick, names)
    assert names["images"].shape == (64, 8, 8, 1)
    exec(own.replace("steps=100", "steps=2"), names)
    assert names["run"].history[-1].keys() >= {"split", "discriminator_loss", "parzen"}
    assert names["run"].history[-1]["split"] == "test"


def test_readme_measures_sets_of_any_origin(tmp_path: Path, monkeypatch, capsys) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    (tmp_path / "REAL").mkdir()
    for i, image in enumerate(samples):
        Image.fromarray(image).save(tmp_path / "REAL" / f"{i:02}.png")
    *_, code = blocks("README.md")
    with pytest.warns(FewExamplesWarning):  # 20 pictures, where a user has thousands
        exec(code, {"samples": samples})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["frechet_pixels", "precision_pixels", "recall_pixels"]
    assert [line.split()[1] for line in lines[1:]] == ["1", "1"]


def experiment_vae(**flags) -> jaxgen.Experiment:
    from experiments.vae import experiment

    return experiment(hidden=(8,), nll_samples=4, **flags)


def test_contributing_adds_a_model_an_objective_a_dataset_and_a_metric(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    model_code, objective_code, data_code, metric_code = blocks("CONTRIBUTING.md")
    for code in (model_code, objective_code, data_code, metric_code):
        assert len([line for line in code.splitlines() if line.strip()]) <= 8

    names: dict = {"nn": nn, "math": math, "jaxgen": jaxgen, "data": data}
    names |= {"distributions": distributions, "objectives": objectives}
    exec(model_code, names)
    exec(objective_code, names)

    class Bottleneck(nn.Module):
        """The new model as the decoder of an autoencoder."""

        def setup(self) -> None:
            self.encoder, self.decoder = nn.Dense(3), names["Linear"]((8, 8, 1))

        def encode(self, x, *, train=False):
            return self.encoder(x.reshape(x.shape[0], -1))

        def __call__(self, x, *, train=False):
            return self.decoder(self.encode(x), train=train)

    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((70, 90, 3), np.uint8)).save(tmp_path / "photos" / "one.png")
    model = Bottleneck()
    names |= {
        "images": np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1)).astype(np.uint8),
        "labels": np.arange(12) % 3,
        "model": model,
        "networks": {"model": jaxgen.Network(model, jnp.zeros((1, 8, 8, 1)))},
        "players": {"model": jaxgen.Player(names["squared_error"](model), optax.adam(1e-3))},
    }
    exec(data_code.replace("10_000", "2"), names)
    assert names["run"].position == 2
    assert (tmp_path / "runs" / "mine" / "metrics.jsonl").exists()

    names["test"] = names["source"]
    exec(metric_code, names)
    values = names["evaluators"]["test"](names["run"].state, jax.random.key(0), lambda it, **_: it)
    assert 0 <= values["active"] <= 1


def test_the_documents_name_only_what_exists() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "jaxgen/README.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for module in set(re.findall(r"python -m (experiments[.\w]+)", text)):
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"{document} names {module}"
        for path in set(re.findall(r"`((?:tests|experiments|jaxgen)/[\w/]+\.\w+)`", text)):
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_the_documents_name_only_what_the_modules_define() -> None:
    files = [path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "jaxgen").rglob("*.py")]
    modules = [file.replace("/", ".").removesuffix(".__init__") for file in files]
    for document in ("CONTRIBUTING.md", "jaxgen/README.md"):
        text = re.sub("```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.S)
        for name in set(re.findall(r"`(?:jaxgen\.)?(\w+(?:\.\w+)+)`", text)):
            first, _, rest = name.partition(".")
            homes = [module for module in modules if module.endswith(f".{first}")]
            if homes and rest not in ("py", "json", "jsonl"):
                assert any(exists(f"{home}.{rest}") for home in homes), f"{document} names {name}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or what a module or a class defines."""
    owner, _, attribute = name.rpartition(".")
    return hasattr(pkgutil.resolve_name(owner), attribute) or importlib.util.find_spec(name) is not None
