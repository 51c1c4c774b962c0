"""The notebooks run, at small size, what they define is what they say, and a Jupyter shows their pictures."""

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make, slow

import jaxgen
from jaxgen.devices import collectives

FOLDER = Path(__file__).parents[1] / "notebooks"


def shortened(name: str, steps: int) -> str:
    """A notebook's text with another number of steps."""
    text, found = re.subn(r"^STEPS = \d+", f"STEPS = {steps}", (FOLDER / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    trains = re.search(r"\bSTEPS\b|jaxgen\.fit\(", text) is not None
    assert found == trains, "a notebook that trains says once, in a line `STEPS = ...`, how long"
    return text


def run(name: str, steps: int) -> dict[str, Any]:
    """The names that a notebook leaves, run with another number of steps."""
    text = shortened(name, steps)
    names: dict[str, Any] = {"__name__": "notebook"}
    exec(compile(text, name, "exec"), names)
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*")), ids=lambda path: path.name)
def test_notebooks_are_kept_as_paired_text(path: Path) -> None:
    if path.is_dir() or path.suffix == ".ipynb":  # a user's own pair, which git ignores
        pytest.skip("no text")
    assert "formats: ipynb,py:percent" in path.read_text(encoding="utf-8")


@pytest.mark.slow  # by default it is executed as Jupyter does, below
def test_a_new_loss() -> None:
    names = run("a_new_loss.py", 20)
    assert set(names["final"]) == {"VAE stock", "VAE tilted, t = 0.3", "GAN stock", "GAN tilted, t = 1"}
    assert all(np.isfinite(value) for values in names["final"].values() for value in values.values())
    for axes in names["figure"].axes:
        assert len(axes.get_lines()) == 2
        assert all(len(line.get_xdata()) == 10 for line in axes.get_lines())

    values = jnp.array([1.0, 2.0, 5.0, 8.0])
    plain = lambda params, state, batch, key, *, train: (params * batch, jaxgen.Aux())

    def risk(t: float, batch: jax.Array = values) -> jax.Array:
        return names["tilted"](plain, t)(1.0, None, batch, None, train=True)[0]

    assert risk(1e-4).item() == pytest.approx(4.0, abs=0.01)  # the mean
    assert risk(50.0).item() == pytest.approx(8.0, abs=0.05)  # the worst
    over_replicas = jax.pmap(lambda batch: risk(0.3, batch), axis_name=collectives.AXIS)(values.reshape(2, 2))
    np.testing.assert_allclose(over_replicas, risk(0.3), rtol=1e-6)


@pytest.mark.slow
def test_the_adversarial_game() -> None:
    names = run("the_adversarial_game.py", 300)
    for mean, value in names["values"].items():
        assert value["best"] == pytest.approx(value["2 JSD - log 4"], abs=1e-5)
        assert value["learnt"] <= value["best"] + 1e-6, "no discriminator beats the best one"
        assert value["learnt"] == pytest.approx(value["best"], abs=0.02), f"at the mean {mean}"
    assert names["values"][0.0]["best"] == pytest.approx(-np.log(4), abs=1e-5)
    minimax, wasserstein = (slope[-1].item() for slope in names["slopes"].values())
    assert minimax < 1e-3 < 0.999 < wasserstein
    assert [len(axes.get_lines()) for axes in names["figure"].axes] == [6, 3, 2]
    for weight, limits in names["limits"].items():
        for mean, (distance, most) in limits.items():
            assert distance == pytest.approx(mean, abs=1e-4)
            assert names["found"][weight][mean] <= most + 0.05, "no critic with the penalty finds more"
    assert names["found"][1.0][3.0] == pytest.approx(names["limits"][1.0][3.0][1], rel=0.05)
    assert [rate.real.max() for rate in names["rates"].values()] == pytest.approx([0.0, 0.0, -0.15], abs=1e-6)
    assert all(0 <= captured <= 25 for captured in names["captured"].values())


@pytest.mark.slow
def test_flows_of_the_plane() -> None:
    names = run("flows_of_the_plane.py", 1500)
    for (energy, steps), value in names["divergence"].items():
        assert value > -0.02, "no law is nearer than the density itself"
        assert value < {2: 2.5, 8: 1.5, 32: 1.0}[steps], f"{energy} by {steps} steps"
    # The mass of the wave of U2 is its length, with the slopes of both walls, times that of a normal law across.
    mass = (8 + np.sqrt(np.pi / 5)) * 0.4 * np.sqrt(2 * np.pi)
    assert np.exp(names["log_constant"](names["ENERGIES"]["U2"])) == pytest.approx(mass, rel=1e-3)


@pytest.mark.slow
def test_transport_and_inference() -> None:
    names = run("transport_and_inference.py", 1500)
    assert names["dual"] == pytest.approx(names["prices"].cost, rel=1e-9)
    assert names["quantiles"] == pytest.approx(names["prices"].cost, rel=1e-9)
    assert names["distance"] < 0.25, "all eight modes"
    for epsilon, variance in names["variances"].items():
        assert variance == pytest.approx(1.5**2 / 4 + epsilon**2 / 3, rel=0.1)
        assert float(names["adjusted"][epsilon].covariance[0, 0]) == pytest.approx(1.5**2 / 4, rel=0.1)


def test_every_equation_of_the_bounds_is_checked_by_the_cell_that_follows_it() -> None:
    cells = re.split(r"^# %%", (FOLDER / "the_bounds_derived.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    waiting: set[str] = set()
    for cell in cells:
        if cell.startswith(" [markdown]"):
            waiting |= set(re.findall(r"\\tag\{(\d+)\}", cell))
        else:
            waiting -= set(re.findall(r"\b(?:agree|at_most)\((\d+), ", cell))
        if cell.startswith(" [markdown]\n# ##"):
            # A part is over, and so are its equations but for those of its own heading.
            assert waiting <= set(re.findall(r"\\tag\{(\d+)\}", cell)), f"unchecked: {waiting}"
    assert not waiting
    assert equations("".join(cells)) == list(range(1, 23))


def equations(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\\tag\{(\d+)\}", text)]


@pytest.mark.slow  # by default it is executed as Jupyter does, below, and stops at sides that differ
def test_the_bounds_derived() -> None:
    checked = run("the_bounds_derived.py", 0)["CHECKED"]
    assert sorted(checked) == equations((FOLDER / "the_bounds_derived.py").read_text(encoding="utf-8"))
    assert {number for number, difference in checked.items() if difference > 1e-3} == {5, 18}, "means over samples"


PICTURES = {
    "a_new_loss.py": 2,
    "flows_of_the_plane.py": 1,
    "the_adversarial_game.py": 4,
    "the_bounds_derived.py": 1,
    "transport_and_inference.py": 4,
}


OFTEN = ("the_bounds_derived.py",)
"""What is executed by default."""


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else slow(name) for name in sorted(p.name for p in FOLDER.glob("*.py"))]
)
def test_a_notebook_executed_as_jupyter_does_shows_its_pictures(name: str, tmp_path: Path, monkeypatch) -> None:
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from PIL import Image

    # In a folder beside the clone, with an `experiments` of the user's: where a notebook of one's own lies.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    notebook = jupytext.reads(shortened(name, 2), fmt="py:percent")
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pngs = [output["data"]["image/png"] for output in shown if "image/png" in output.get("data", {})]
    assert len(pngs) == PICTURES[name]
    for png in pngs:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("L"))
        assert image.std() > 10, "an empty picture"
    texts = ["".join(output.get("data", {}).get("text/plain", "")) for output in shown]
    assert not any("<Figure" in text and "image/png" not in output["data"] for text, output in zip(texts, shown, strict=True))
    assert all(len(text) < 2000 for text in texts), "a cell prints a whole state"
    assert any("Run of experiments.vae" in text for text in texts) or name != "a_new_loss.py"


def test_a_run_and_an_experiment_show_themselves_in_short() -> None:
    made = make("vae", steps=1)
    run_of_it = jaxgen.fit(made, quiet=True)
    assert repr(made).startswith("Experiment(experiments.vae, 1 steps, players: model, data: digits")
    first, second, third = repr(run_of_it).splitlines()
    assert first.startswith("Run of experiments.vae --latents 2 --hidden 8")
    assert "step 1 of 1, seed 0, in memory; parameters: model " in second
    assert third.startswith("  test elbo ")
    assert "<td>nll</td>" in run_of_it._repr_html_()
    pictures = run_of_it.pictures()
    assert repr(pictures["samples"]).startswith("Picture of 64 images of 8x8x1, 16 in a row: Samples")
    assert pictures["samples"]._repr_png_().startswith(b"\x89PNG")
    assert pictures._repr_html_().count("<img") == len(pictures)
