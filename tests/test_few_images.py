"""Test sets of a handful of images: every experiment draws, evaluates and saves what there is."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make, slow
from test_experiments import NAMES

import jaxgen
from jaxgen import data, pictures
from jaxgen.analysis import latent_space
from jaxgen.experiment import of_split
from jaxgen.runs.journal import read_jsonl

SIZES = (1, 2, 10, 20)
OF_POINTS = ("modes",)
"""Its sets are made by a formula, and their size is not the user's."""


def cut(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Leaves n examples of every test set."""
    whole = data.load

    def load(dataset: str, split: str, **how: object) -> data.Source:
        source = whole(dataset, split, **how)
        # Evenly spaced, so that there are classes to tell apart.
        return data.take(source, np.linspace(0, source.length - 1, n).astype(int)) if split.startswith("test") else source

    # `data.train_and_test` calls the one, and experiments the other.
    for module in (data, importlib.import_module("jaxgen.data.load")):
        monkeypatch.setattr(module, "load", load)


LONG = (
    "analytic_dpm",
    "autoguidance",
    "classifier_free_guidance",
    "classifier_guidance",
    "clip",
    "consistency",
    "cyclegan",
    "ddpm",
    "dit",
    "edm",
    "flow_matching",
    "glow",
    "hierarchical_code_prior",
    "improved_ddpm",
    "ladder_vae",
    "latent_autoencoder",
    "latent_diffusion",
    "ncsn",
    "nvae",
    "realnvp",
    "reflow",
    "score_sde",
    "spade",
    "vdm",
    "vqvae2",
    "wgan",
)
"""To compile."""


# Larger sets fail where the smallest does.
@pytest.mark.parametrize("n", [n if n == 1 else slow(n) for n in SIZES])
@pytest.mark.parametrize("name", [slow(name) if name in LONG else name for name in NAMES if name not in OF_POINTS])
def test_every_experiment_of_few_test_images(
    name: str, n: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    cut(monkeypatch, n)
    made = make(name, steps=1, pairs=None) if name == "clip" else make(name, steps=1)
    domains = of_split(made.splits, "test")
    assert {source.length for source in domains.values()} == {n}
    jaxgen.fit(made, workdir=tmp_path, quiet=True)
    assert "failed" not in capsys.readouterr().err
    splits = [line["split"] for line in read_jsonl(tmp_path / "metrics.jsonl")]
    assert sum(map(splits.count, domains)) == len(made.evaluators) + len(made.final)
    drawn = {path.name for path in (tmp_path / "samples").iterdir()}
    assert drawn == {f"{picture}_00000001.png" for picture in made.pictures}


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 20, 31, 32, 40])
def test_an_album_of_as_many_images_as_there_are(n: int) -> None:
    x = jax.random.uniform(jax.random.key(0), (n, 2, 2, 1))
    album = latent_space.album(lambda _, x: x.reshape(len(x), -1), lambda _, z: z.reshape(-1, 2, 2, 1), x)
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {}, {}, {}, {})
    shown = min(n, 32)
    drawn = {name: picture(state, jax.random.key(0)) for name, picture in album.items()}
    for picture in drawn.values():
        assert len(picture.images) % picture.columns == 0
        assert pictures.encode(picture).startswith(b"\x89PNG")
    columns = drawn["reconstructions"].columns
    rows = np.asarray(drawn["reconstructions"].images).reshape(-1, 2, columns, 4)
    for row in (rows[:, 0], rows[:, 1]):  # the decoder undoes the encoder
        np.testing.assert_allclose(row.reshape(-1, 4)[:shown], x[:shown].reshape(shown, 4), rtol=1e-6)
        assert (row.reshape(-1, 4)[shown:] == 1).all()
    lines = np.asarray(drawn["interpolations"].images).reshape(-1, 16, 4)
    ends = np.concatenate([lines[:, 0], lines[:, -1]])
    np.testing.assert_allclose(np.unique(ends, axis=0), np.unique(x[:16].reshape(-1, 4), axis=0), rtol=1e-6)
