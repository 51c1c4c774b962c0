"""The variants of CycleGAN, what it refuses, and prepared sets."""

from pathlib import Path
from typing import Any

import contract
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen.commands.main import main


def grey(n: int = 8, level: int = 0) -> data.Source:
    image = np.random.default_rng(n).integers(level, level + 128, (n, 8, 8, 1)).astype(np.uint8)
    return data.from_arrays({"image": image}, name=f"grey {level}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"loss": "non_saturating", "layers": 0, "blocks": 1, "bf16": True, "ema": 0.9, "direction": "b_to_a", "pool": 2},
        {"gan": 0.0, "flip": True, "jitter": 2, "identity": 0.0, "classifier_steps": 0},
        {"pool": 0, "cycle": (10.0, 0.0)},
    ],
    ids=contract.titled,
)
def test_variants(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("cyclegan", flags, tmp_path)


@pytest.mark.slow
def test_a_run_translates_folders_in_both_directions_without_its_data(tmp_path: Path) -> None:
    made = make("cyclegan", dataset=(grey(), grey(3)), target=(grey(6, 100), grey(4, 100)), layers=0, width=1, steps=1)
    jaxgen.fit(made._replace(evaluators={}, pictures={}), workdir=tmp_path / "run", quiet=True)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("x", "y"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (8, 8)).astype(np.uint8)).save(folder / f"{name}.png")
    found = {}
    for direction in ("a-to-b", "b-to-a"):
        out = tmp_path / direction
        main(["translate", str(tmp_path / "run"), str(folder), "--out", str(out), "--direction", direction.replace("-", "_")])
        assert sorted(path.name for path in out.glob("*")) == ["x.png", "y.png"]
        found[direction] = np.asarray(Image.open(out / "x.png"))
    assert np.abs(found["a-to-b"].astype(int) - found["b-to-a"]).max() > 1
    run = jaxgen.load(tmp_path / "run", anew={"direction": "b_to_a"})
    given = np.asarray(Image.open(folder / "x.png"))[None, ..., None]
    module, variables = run.network("b_to_a")
    expected = (module.apply(variables, jnp.asarray(2 * (given / np.float32(255)) - 1)) + 1) / 2
    np.testing.assert_allclose(run.sample(1, given={"image": given}), expected, atol=1e-5)


@pytest.mark.slow
def test_on_prepared_digits_of_two_kinds(shared: str) -> None:
    """MNIST of 28x28 and USPS of 16x16, both at 32x32."""
    made = make("cyclegan", dataset="mnist", target="usps", data_dir=shared, side=32, steps=2)
    run = jaxgen.fit(made._replace(evaluators={}, pictures={}, final={}), quiet=True)
    assert run.sample(2).shape == (2, 32, 32, 1)
    assert set(made.protocol) == {"cycle", "accuracy_translated"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"side": 10}, "Images of 10x10 cannot be translated .* give a --side that is a multiple of 4, 8 or more"),
        ({"layers": 3}, "Images of 8x8 are too small for a discriminator of 3 layers; give fewer --layers"),
        ({"gan": 0.0, "cycle": (0.0, 0.0)}, "nothing is trained; give one of them a weight"),
    ],
)
def test_what_it_refuses(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(jaxgen.UserError, match=told):
        jaxgen.fit(make("cyclegan", dataset=(grey(), grey()), target=(grey(), grey()), **flags), quiet=True)
