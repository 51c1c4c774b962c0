"""`jaxgen evaluate --metrics`, `measure` and `compare`: numbers with their protocol from the command line."""

import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from contract import make
from mistakes import refused

import jaxgen
from jaxgen.commands import measuring
from jaxgen.commands.main import main
from jaxgen.errors import FewExamplesWarning
from jaxgen.measuring import images, measure, protocol, table

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measuring") / "run"
    jaxgen.fit(make("vae", steps=3), workdir=str(folder), quiet=True, save_every=2)
    return folder


def test_the_command_line_knows_every_metric() -> None:
    assert set(get_args(measuring.MetricName)) == set(table.METRICS)


def test_samples_of_a_run_against_its_dataset(trained: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    args = ["evaluate", str(trained), "--metrics", "frechet", "precision_recall", "--n", "300", "--seed", "5"]
    main([*args, "--json", str(tmp_path / "a.json")])
    out = capsys.readouterr().out
    assert "frechet_pixels" in out
    assert re.search(
        r"precision_pixels +[\d.]+   \(no standard error\)   real against real [\d.]+ \(n = 300\)   \(k 3\)\n", out
    )
    assert re.search(r"of 300 samples and 360 examples of digits/1.0.0 test \w+ \(seed 5, checkpoint: last\)\n", out)
    found = protocol.from_json((tmp_path / "a.json").read_text(), "a.json")
    assert set(found) == {"frechet_pixels", "precision_pixels", "recall_pixels"}
    # By hand: the same samples through the same functions.
    run = jaxgen.load(trained)
    again = run.measure(["frechet"], n=300, seed=5)
    assert again["frechet_pixels"] == found["frechet_pixels"]
    assert run.measure(["frechet"], n=300, seed=6)["frechet_pixels"].value != found["frechet_pixels"].value
    train = run.measure(["frechet"], n=300, seed=5, split="train")["frechet_pixels"]
    assert train.protocol.n_real == 1437
    assert found["frechet_pixels"].floor is not None
    assert found["frechet_pixels"].floor < found["frechet_pixels"].value


def test_evaluated_figures_carry_their_protocol_too(trained: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    for name, flags in {"a": [], "b": ["--seed", "7"]}.items():
        main(["evaluate", str(trained), *flags, "--json", str(tmp_path / f"{name}.json")])
    out = capsys.readouterr().out
    assert re.search(r"test/nll +[\d.]+ \+- [\d.]+   \(binarization none, likelihood None, nll_samples 4\)\n", out)
    assert re.search(r"test/loss +[\d.]+ \+- [\d.]+\n", out)  # what is trained on is no figure
    assert re.search(r"  of 360 examples of digits/1.0.0 test \w+ \(seed 0, checkpoint: last\)\n", out)
    first, second = (protocol.from_json((tmp_path / f"{name}.json").read_text(), name)["test/nll"] for name in "ab")
    assert first.protocol.settings == (("binarization", "none"), ("likelihood", None), ("nll_samples", 4))
    assert (first.protocol.n_real, first.protocol.n_fake, first.protocol.checkpoint) == (360, 0, "last")
    assert first.value == jaxgen.load(trained).evaluate()["test"]["nll"] != second.value
    said = refused(capsys, lambda: main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]))
    assert "seed is 7 and 0" in said


def test_compare_takes_one_protocol_only(trained: Path, tmp_path: Path, capsys) -> None:
    for name, flags in {"a": [], "b": ["--step", "2"], "c": ["--n", "299"], "d": ["--best"]}.items():
        args = ["evaluate", str(trained), "--metrics", "frechet", "--n", "300", *flags]
        main([*args, "--json", str(tmp_path / f"{name}.json")])
    capsys.readouterr()
    main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
    assert "frechet_pixels" in (out := capsys.readouterr().out)
    assert out.strip().endswith("+0")

    def compared(other: str) -> str:
        return refused(capsys, lambda: main(["compare", str(tmp_path / "a.json"), str(tmp_path / other)]))

    assert "checkpoint is step 2 and last" in compared("b.json")
    assert "n_fake is 299 and 300" in compared("c.json")
    assert "checkpoint is best and last" in compared("d.json")
    assert "failed (no such file or directory)" in compared("absent.json")
    (tmp_path / "other.json").write_text("{}")
    assert "holds no measurements" in compared("other.json")
    (tmp_path / "empty.json").write_text('{"measurements": {}}')
    assert "no metric in common" in compared("empty.json")


def test_arrays_and_folders_that_are_of_no_run(tmp_path: Path, capsys) -> None:
    from PIL import Image

    real, fake = (RNG.integers(low, 256, (60, 6, 6, 3)).astype(np.uint8) for low in (0, 60))
    np.save(tmp_path / "real.npy", real)
    (tmp_path / "fake").mkdir()
    for i, x in enumerate(fake):
        Image.fromarray(x).save(tmp_path / "fake" / f"{i:03}.png")
    main(["measure", str(tmp_path / "real.npy"), str(tmp_path / "fake"), "--metrics", "frechet", "two_sample"])
    out = capsys.readouterr().out
    with pytest.warns(FewExamplesWarning, match="60 examples in 108 dimensions"):
        value = measure.measure(images.of_arrays(real), images.of_arrays(fake), ["frechet"])["frechet_pixels"].value
    assert f"{value:.5g}" in out
    assert "two_sample_pixels" in out


def test_ranges_hold_in_python_too(trained: Path) -> None:
    run = jaxgen.load(trained)
    for sentence, call in {
        "^--n is 0; give 1 or more": lambda: run.sample(0),
        "^--seed is -1; give a number from 0": lambda: run.evaluate(seed=-1),
        "^--n is -5; give 1 or more": lambda: run.measure(["frechet"], n=-5),
    }.items():
        with pytest.raises(jaxgen.UserError, match=sentence):
            call()


def test_mistakes(trained: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """All are said before a sample is drawn: that may take hours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "drawn", None)
    monkeypatch.setitem(sys.modules, "ot", None)
    np.save("x.npy", RNG.integers(0, 256, (30, 8, 8, 1)).astype(np.uint8))
    for args, sentence in {
        f"evaluate {trained} --metrics fid": "invalid choice 'fid'",
        f"evaluate {trained} --metrics frechet --n 0": "--n is 0; give 1 or more",
        f"evaluate {trained} --metrics frechet --n 20 --extractor nowhere": "nowhere holds no run",
        f"evaluate {trained} --metrics frechet --n 20 --extractor {trained}": "which extracts no features; give a run of",
        f"evaluate {trained} --metrics frechet --n 20 --extractor x.pth": "x.pth",
        f"evaluate {trained} --metrics score --n 20": "a network that classifies",
        f"evaluate {trained} --metrics kernel --n 20": "kernel asks for 1,000 images of either set, and there are 360 of",
        f"evaluate {trained} --metrics frechet --json {tmp_path}": "which is no file in a folder that exists",
        f"evaluate {trained} --metrics classification_accuracy --n 20": "The samples have no labels",
        f"evaluate {trained} --metrics ms_ssim --n 20": "images of 8x8 have 0 scales",
        f"evaluate {trained} --metrics sliced_wasserstein --n 20": "images of 8x8 are smaller than",
        f"evaluate {trained} --metrics frechet --n 1": "frechet asks for 2 images of either set, and there are 1 to hold",
        f"evaluate {trained} --metrics sinkhorn --n 20": 'pip install "jaxgen[metrics]"',
        f"evaluate {trained} --metrics wasserstein --n 20": 'pip install "jaxgen[metrics]"',
        f"evaluate {trained} --metrics frechet --seed -1": "--seed is -1",
        f"evaluate {trained} --seed -1": "--seed is -1",
        "measure x.npy x.npy --metrics two_sample --seed -1": "--seed is -1",
        "measure x.npy absent.npy --metrics frechet": "absent.npy is no set of images",
        "measure x.npy x.npy": "metrics",
    }.items():
        assert sentence in refused(capsys, lambda args=args: main(args.split())), args
