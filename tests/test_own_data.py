"""Arrays, losses and other values of the user's own in stock experiments: trained on, recorded, gone on with, loaded."""

import importlib
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from experiments import stacked_modes
from jaxgen import data, values
from jaxgen.errors import UserError
from jaxgen.experiments import names
from jaxgen.losses import adversarial, penalty
from jaxgen.nn import VectorQuantiserEMA, likelihoods
from jaxgen.runs import run_record, workdir

RNG = np.random.default_rng(0)


def pictures(n: int = 40, seed: int = 0) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1)).astype(np.uint8)
    return data.from_arrays({"image": image, "label": np.arange(n) % 3}, name="mine", classes=("a", "b", "c"))


def given(name: str) -> Any:
    """What an experiment can be trained on, in memory: a source, or a pair."""
    if name == "modes":
        label = np.arange(60) % 3
        points = np.eye(3, 2)[label] + 0.01 * RNG.normal(size=(60, 2))
        return data.from_arrays({"point": points.astype(np.float32), "label": label}, name="three points")
    if name == "clip":
        rows = {
            "image": RNG.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8),
            "caption": np.array(["a red one", "a blue two"] * 20),
        }
        return data.from_arrays(rows, name="captioned")
    if name in ("pix2pix", "spade"):
        return segmented(), segmented(12)
    if name in ("classifier_guidance", "adda"):  # of the classes of the run that it stands on
        digits = {"label": tuple(map(str, range(10)))}
        return pictures()._replace(classes=digits), pictures(12, 1)._replace(classes=digits)
    return pictures(), pictures(12, 1)


def segmented(n: int = 40) -> data.Source:
    rows = {"image": (n, 8, 8, 3), "segmentation": (n, 8, 8, 1)}
    return data.from_arrays(
        {name: RNG.integers(0, 5, shape).astype(np.uint8) for name, shape in rows.items()}, name="segmented"
    )


def make(name: str, dataset: Any, **flags: Any) -> jaxgen.Experiment:
    own = {
        "clip": {"vocabulary": 300, "pairs": None, "batch_size": 4},
        "cycada": {"target": pictures(30, 2)},
        "adda": {"target": given("classifier_guidance")},
        "cyclegan": {"target": pictures(30, 2)},
        "munit": {"target": pictures(30, 2)},
        "style_transfer": {"target": pictures(30, 2)},
        "spade": {"classes": 5},
    }
    flags = flags | own.get(name, {})
    return contract.make(name, dataset=dataset, steps=1, **flags)


@pytest.mark.parametrize("name", contract.alone(names()))
def test_every_experiment_takes_sources(name: str) -> None:
    made = make(name, given(name))
    source = given(name)
    train = source[0] if type(source) is tuple else data.load(source, "train")
    expected = train.length
    if name == "gan":
        expected -= train.length // 6  # held out for the width of its Parzen windows
    if name == "stacked_modes":
        expected = stacked_modes.STACKS
    stream = next(iter(made.train.streams.values())) if isinstance(made.train, data.Joined) else made.train
    assert stream.epoch_steps * stream.batch_size == pytest.approx(expected)
    shapes = jax.eval_shape(lambda: made.initial(jax.random.key(0)))
    assert jax.tree.leaves(shapes)
    if name == "modes":  # the class means are the modes
        assert made.evaluators


@pytest.mark.parametrize("name", names())
def test_the_command_line_takes_names_alone(name: str) -> None:
    from jaxgen.commands.command_line import parse

    function = importlib.import_module(f"experiments.{name}").experiment
    default = inspect.signature(function).parameters["dataset"].default
    assert parse(function, ["--dataset", default, "--validation", "0.1"]).own["dataset"] == default
    with pytest.raises(UserError, match=r"--dataset is 3; give"):
        function(dataset=3)


def test_of_one_source_a_tenth_is_the_test_split() -> None:
    source = data.from_arrays({"image": np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)})
    train, test = (data.load(source, split).gather(np.arange(n))["image"].ravel() for split, n in (("train", 36), ("test", 4)))
    assert sorted([*train, *test]) == list(range(40))
    assert data.load(source, "test[:3]").length == 3
    with pytest.raises(UserError, match="have the splits train and test, and no 'unlabelled'"):
        data.load(source, "unlabelled")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.bool_])
def test_images_are_bytes_whatever_they_come_as(kind: Any) -> None:
    image = RNG.integers(0, 2, (10, 2, 2, 1))
    train = data.load(data.from_arrays({"image": image.astype(kind)}), "train")
    assert set(np.unique(train.gather(np.arange(9))["image"])) <= {0, 255}


def test_arrays_take_the_names_of_their_classes() -> None:
    text = data.from_arrays({"label": np.array(["b", "a"])}, classes=("b", "a"))
    assert (text.gather(np.arange(2))["label"].tolist(), text.classes) == ([0, 1], {"label": ("b", "a")})
    hot = data.from_arrays({"label": np.eye(3)[[2, 0]]}, classes=("a", "b", "c"))
    assert hot.gather(np.arange(2))["label"].tolist() == [2, 0]
    two = data.from_arrays({"label": np.arange(2), "colour": np.arange(2)}, classes={"colour": ["red", "blue"]})
    assert two.classes == {"colour": ("red", "blue")}
    with pytest.raises(UserError, match="names for the classes of 'label', and no such array"):
        data.from_arrays({"image": np.zeros((2, 2, 2, 1), np.uint8)}, classes=("a", "b"))


def fit(experiment: jaxgen.Experiment, folder: Path) -> jaxgen.Run:
    return jaxgen.fit(experiment, workdir=folder, quiet=True)


def test_a_run_on_sources_goes_on_and_is_loaded_with_the_same_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = fit(contract.make("vae", dataset=(pictures(), pictures(12, 1)), steps=1), folder)
    assert "--dataset mine mine" in repr(run)
    recorded = json.loads((folder / "run.json").read_text())["flags"]["dataset"]
    assert recorded["value"] == "mine mine"
    assert fit(contract.make("vae", dataset=(pictures(), pictures(12, 1)), steps=2), folder).position == 2
    for other in ((pictures(seed=2), pictures(12, 1)), (pictures(), pictures(12, 2)), (pictures(39), pictures(12, 1))):
        with pytest.raises(UserError, match=r"The data changed since the run in .* \(mine"):
            fit(contract.make("vae", dataset=other, steps=3), folder)
    loaded = jaxgen.load(folder)
    assert loaded.sample(3).shape == (3, 8, 8, 1)
    with pytest.raises(
        UserError, match=r"given in Python \(mine mine .*give the same again: `jaxgen\.load\(.*, dataset=\.\.\.\)`"
    ):
        loaded.evaluate()
    again = jaxgen.load(folder, dataset=(pictures(), pictures(12, 1)))
    assert again.evaluate(track=lambda x, **_: x)["test"]["loss"] == pytest.approx(run_loss(again), rel=1e-5)
    with pytest.raises(UserError, match="The data changed"):
        jaxgen.load(folder, dataset=(pictures(), pictures(12, 2))).evaluate()


def run_loss(run: jaxgen.Run) -> float:
    return next(line["loss"] for line in reversed(run.history) if line["split"] == "test" and "loss" in line)


def least_squares(scale: float = 1.0) -> adversarial.AdversarialLoss:
    return adversarial.AdversarialLoss(
        lambda real, fake: scale * ((real - 1) ** 2 + fake**2), lambda fake: scale * (fake - 1) ** 2
    )


OWN = {
    "gan": ("loss", lambda: least_squares(), lambda: least_squares(2.0)),
    "dcgan": ("loss", lambda: least_squares(), lambda: adversarial.hinge),
    "wgan": ("penalty", lambda: penalty.r1(2.0), lambda: penalty.r1(3.0)),
    "vae": ("likelihood", lambda: likelihoods.GaussianLikelihood(std=0.2), lambda: likelihoods.GaussianLikelihood(std=0.3)),
    "autoencoder": (
        "likelihood",
        lambda: likelihoods.GaussianLikelihood(std=0.2),
        lambda: likelihoods.HeteroscedasticGaussianLikelihood(),
    ),
    "vqvae": ("quantiser", lambda: VectorQuantiserEMA(8, 4), lambda: VectorQuantiserEMA(8, 4, decay=0.5)),
    "lenet": ("optimizer", lambda: optax.lion(1e-4), lambda: optax.lion(1e-3)),
}


@pytest.mark.parametrize("name", OWN)
def test_a_value_of_ones_own_is_on_record_and_needed_again(name: str, tmp_path: Path) -> None:
    flag, own, other = OWN[name]
    dataset = pictures(), pictures(12, 1)
    folder = tmp_path / "run"
    experiment = make(name, dataset, **{flag: own()})
    if name in ("gan", "vae"):  # the others take long to compile
        fit(experiment, folder)
        assert fit(make(name, dataset, **{flag: own()}), folder).position == 1
    else:
        folder.mkdir()
        workdir.Workdir(folder, run_record.describe(experiment, 0)).write()
    with pytest.raises(UserError, match=rf"differs in --{flag} \(\S+ \([0-9a-f]{{8}}\) there, \S+ \([0-9a-f]{{8}}\) here\)"):
        fit(make(name, dataset, **{flag: other()}), folder)
    with pytest.raises(UserError, match=rf"value of --{flag} that only Python has .* `jaxgen\.load\(.*, experiment=made\)`"):
        jaxgen.load(folder)
    if name in ("gan", "vae"):
        assert jaxgen.load(folder, experiment=make(name, dataset, **{flag: own()})).sample(2).shape == (2, 8, 8, 1)
        with pytest.raises(UserError, match=f"differs in --{flag}"):
            jaxgen.load(folder, experiment=make(name, dataset, **{flag: other()}))


def choices(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The flags of an experiment whose choices are the names in a table of its module."""
    module = importlib.import_module(f"experiments.{name}")
    tables = [table for table in vars(module).values() if isinstance(table, dict) and table]
    found = []
    for flag, kind in typing.get_type_hints(inspect.unwrap(module.experiment)).items():
        if typing.get_origin(kind) is tuple:  # several names, none of which is the whole value
            continue
        named = [one for one in (kind, *typing.get_args(kind)) if typing.get_origin(one) is typing.Literal]
        if named and (name, flag) not in (("clip", "encoder"), (name, "dataset")):  # its table is of Adam's numbers
            found += [(flag, table) for table in tables if set(table) == set(typing.get_args(named[0]))]
    return found


@pytest.mark.parametrize("name", contract.alone(names(), long=("ddpm", "score_sde")))
def test_a_flag_whose_choices_name_values_takes_the_values_too(name: str) -> None:
    for flag, table in choices(name):
        for choice, value in table.items():
            named, itself = (make(name, given(name), **{flag: one}) for one in (choice, value))
            shapes = [jax.eval_shape(lambda made=made: made.initial(jax.random.key(0))) for made in (named, itself)]
            assert jax.tree.map(lambda x: x.shape, shapes[0]) == jax.tree.map(lambda x: x.shape, shapes[1])
        with pytest.raises(UserError, match=rf"--{flag.replace('_', '-')} is nothing; give one of {', '.join(table)}, or a"):
            make(name, given(name), **{flag: "nothing"})


def test_the_tables_are_found() -> None:
    assert {name: sorted(flag for flag, _ in choices(name)) for name in names() if choices(name)} == {
        "autoencoder": ["likelihood"],
        "cyclegan": ["loss"],
        "dcgan": ["loss"],
        "ddpm": ["modulation", "parameterisation", "schedule", "variance", "weighting"],
        "dit": ["schedule", "variance"],
        "flow_matching": ["law"],
        "gan": ["loss"],
        "glow": ["mixing"],
        "improved_ddpm": ["schedule", "variance"],
        "made": ["optimizer"],
        "modes": ["method"],
        "munit": ["loss"],
        "ncsn": ["modulation"],
        "latent_autoencoder": ["loss"],
        "pix2pix": ["loss"],
        "planar_flow": ["optimizer", "transform"],
        "regularised_autoencoder": ["corruption"],
        "spade": ["loss"],
        "score_sde": ["predictor", "sde", "weighting"],
        "stacked_autoencoder": ["corruption"],
        "vae": ["activation", "decoder_activation", "likelihood", "optimizer"],
        "vdm": ["gamma"],
        "vib": ["covariance"],
    }


def helper(x: Any) -> Any:
    return 2 * x


def calling(x: Any) -> Any:
    return helper(x) + 1


SAME = [
    lambda: lambda x: x + 1,
    lambda: least_squares(3.0),
    lambda: likelihoods.GaussianLikelihood(std=0.5),
    lambda: jax.jit(lambda x: x * 2),
    lambda: np.arange(3),
    lambda: {"a": (1, jnp.ones(2)), "b": calling},
    lambda: penalty.gradient_penalty(4.0),
    lambda: optax.adam(0.1),
    lambda: pictures(),
]


@pytest.mark.parametrize("value", SAME)
def test_the_same_value_has_the_same_fingerprint(value: Any) -> None:
    assert values.fingerprint(value()) == values.fingerprint(value())


def test_other_values_have_other_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    of = [value() for value in SAME]
    of += [
        lambda x: x + 2,
        least_squares(4.0),
        likelihoods.GaussianLikelihood(std=0.6),
        np.arange(4),
        np.arange(3.0),
        pictures(seed=1),
    ]
    of += [penalty.gradient_penalty(5.0), optax.adam(0.2), adversarial.minimax, adversarial.non_saturating, calling]
    found = list(map(values.fingerprint, of))
    assert len(set(found)) == len(found)
    monkeypatch.setitem(globals(), "helper", lambda x: 3 * x)
    helper.__module__ = __name__
    assert values.fingerprint(calling) != found[-1]  # what a function calls is a part of it
