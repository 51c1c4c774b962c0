"""Networks with chosen parameters, of which a test reads what they were given: codes off the pixels, pixels off the logits.

And the facts that the experiments of such networks share. All of them work on digits of 8x8 pixels, with one feature map
(`channels=(1,)`) of 4x4 units.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from wiring.conftest import Measured

import jaxgen
from jaxgen import data
from jaxgen.types import Batch

UNITS = 16
"""The generator's map has as many units, and each is one number that the generator was given."""
SHRUNK, OFFSET = 0.1, 0.7
"""A unit is this times its number, and this more, so that rectifiers let numbers down to -7 through."""


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The default of each flag."""
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def shapes(experiment: jaxgen.Experiment) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters and variables by path, such as `generator/Dense_0/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(experiment.initial, jax.random.key(0)))
    return {_path(path[1:]): leaf.shape for path, leaf in leaves}


def state_of(experiment: jaxgen.Experiment, values: Mapping[str, Any], *, step: int = 0) -> jaxgen.TrainState:
    """A state whose parameters and variables are zero but for those given by path; running variances are one."""
    left = dict(values)

    def leaf(path: Any, spec: jax.ShapeDtypeStruct) -> jax.Array:
        name = _path(path[1:])
        plain = 1.0 if name.endswith(("/var", "/sigma", "/u")) else 0.0
        return jnp.broadcast_to(jnp.asarray(left.pop(name, plain), jnp.float32), spec.shape)

    made = jax.eval_shape(experiment.initial, jax.random.key(0))
    params, vars = jax.tree_util.tree_map_with_path(leaf, made)
    assert not left, f"the networks have no {sorted(left)}"
    return jaxgen.TrainState(jnp.int32(step), jax.random.key(1), params, {}, vars, {})


def told(experiment: jaxgen.Experiment, player: str, state: jaxgen.TrainState, batch: Batch, *, train: bool = False) -> Any:
    """A player's values and metrics, as arrays."""

    @jax.jit
    def loss(state: jaxgen.TrainState) -> Any:
        values, aux = experiment.players[player].loss(state.params, state, batch, jax.random.key(7), train=train)
        return values, dict(aux.metrics)

    return jax.tree.map(np.asarray, loss(state))


def images(n: int) -> Batch:
    """Images in [-1, 1] of which each pixel is another number."""
    return {"image": jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (n, 8, 8, 1)), jnp.float32)}


def first_pixel(batch: Batch) -> np.ndarray:
    """What a readable discriminator's logit is."""
    return np.asarray(batch["image"])[:, 0, 0, 0]


class Readable(NamedTuple):
    """The parameters of a readable generator and discriminator.

    Fields:
      generator: the path of the generator's network.
      discriminator: the path of the discriminator's network.
      statistics: the path of the generator's running statistics.
      inputs: numbers that the generator's dense layer is given; the first 16 of them are shown.
      maps: channels that the discriminator is given; the first is the image.
    """

    generator: str = "generator"
    discriminator: str = "discriminator"
    statistics: str = "generator/batch_stats"
    inputs: int = UNITS
    maps: int = 1

    def made(self, mean: float = 0.0, variance: float = 1.0) -> dict[str, Any]:
        """A generator each of whose units shows a number, after running statistics with this mean and variance."""
        one = np.zeros((4, 4, 1, 1))
        one[1, 1] = 1
        norm = "BatchNorm_0/BatchNorm_0"
        return {
            f"{self.generator}/Dense_0/kernel": np.eye(self.inputs, UNITS),
            f"{self.generator}/{norm}/scale": SHRUNK,
            f"{self.generator}/{norm}/bias": OFFSET,
            f"{self.generator}/ConvTranspose_0/kernel": one,
            f"{self.statistics}/{norm}/mean": mean,
            f"{self.statistics}/{norm}/var": variance,
        }

    def judged(self, gain: float = 1.0, *, label: float = 0.0) -> dict[str, Any]:
        """A discriminator whose logit is `gain` times the first pixel, and `label` more for each class."""
        kernel = np.zeros((4, 4, self.maps, 1))
        kernel[1, 1, 0] = 1
        kernel[1, 1, 1:, 0] = label * np.arange(self.maps - 1)
        head = np.zeros((UNITS, 1))
        head[0] = gain
        # An offset of two, taken off again, keeps the leaky rectifier above zero.
        return {
            f"{self.discriminator}/down0/kernel": kernel,
            f"{self.discriminator}/down0/bias": 2.0,
            f"{self.discriminator}/head/kernel": head,
            f"{self.discriminator}/head/bias": -2.0 * gain,
        }


def numbers(samples: jax.Array) -> np.ndarray:
    """The 16 numbers behind each sample in [0, 1], `[n, 16]`."""
    pixels = 2 * np.asarray(samples, np.float64)[:, ::2, ::2, 0] - 1
    return unit(pixels.reshape(len(pixels), UNITS))


def unit(pixel: np.ndarray) -> np.ndarray:
    """The number behind a generated pixel in [-1, 1]."""
    return (np.arctanh(pixel) - OFFSET) / SHRUNK


def moves(tx: Any, gradients: list[float]) -> list[float]:
    """How an optimizer moves one weight, which starts at zero, at each of these gradients."""
    weight = {"kernel": jnp.zeros((1, 1))}
    state, found = tx.init(weight), []
    for gradient in gradients:
        update, state = tx.update({"kernel": jnp.full((1, 1), gradient)}, state, weight)
        weight = jax.tree.map(jnp.add, weight, update)
        found.append(float(update["kernel"][0, 0]))
    return found


def assert_pixels_of_tanh(experiment: jaxgen.Experiment, evaluation: Measured, **others: Any) -> None:
    """Black is -1 and white is 1, in training and in evaluation.

    Args:
      experiment: the experiment.
      evaluation: what its evaluator reads.
      **others: the features of two examples beside their images.
    """
    both = jnp.asarray([0, 255], jnp.uint8)
    batch = {"image": both.reshape(2, 1, 1, 1), "slot": jnp.arange(2), **others}
    assert experiment.train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [-1, 1]
    assert evaluation.transform({"image": both, "index": 0}, jax.random.key(0))["image"].tolist() == [-1, 1]


def assert_splits(experiment: jaxgen.Experiment, evaluation: Measured, *features: str) -> None:
    """The whole training split trains, and the whole test split is evaluated, under its name."""
    for source, split in ((experiment.train.source, "train"), (evaluation.source, "test")):
        whole = data.load("digits", split)
        assert source.length == whole.length
        rows = np.arange(whole.length)
        for feature in features:
            np.testing.assert_array_equal(source.gather(rows)[feature], whole.gather(rows)[feature])
    assert list(experiment.evaluators) == ["test"]


def assert_normal(found: np.ndarray) -> None:
    """The numbers follow N(0, 1)."""
    assert stats.kstest(np.ravel(found), "norm").pvalue > 0.01


def assert_codes_of_both_players(experiment: jaxgen.Experiment, evaluation: Measured, state: Any, batch: Batch) -> None:
    """Both players train, and are evaluated, on codes of N(0, 1), of which the discriminator's probability tells a number.

    The running mean and variance of `state` are 0.5 and 4: with the statistics of the batch it would be another law.
    """
    _, judged = told(experiment, "discriminator", state, batch)
    generated, _ = told(experiment, "generator", state, batch)
    evaluated = jax.jit(evaluation.measure)(state, batch, jax.random.key(2))["fake_probability"]
    for probability in (judged["fake_probability"], np.exp(-generated), np.asarray(evaluated)):
        logit = np.log(probability / (1 - probability)).astype(np.float64)
        assert_normal(2 * unit(logit) + 0.5)


def assert_watched(experiment: jaxgen.Experiment, state: Any, *, drawn: Callable[..., jax.Array] | None = None) -> None:
    """The evaluation tells how far samples lie apart against test images, the alarm watches it, and advises flags there are.

    Args:
      experiment: the experiment.
      state: a state whose samples differ.
      drawn: the sampler; by default the experiment's.
    """
    assert_advised(experiment, "test/diversity")
    key, test = jax.random.key(3), experiment.splits["test"]
    found = experiment.evaluators["test"](state, key, lambda items, **_: items)
    rows = [
        (drawn or experiment.sample)(state, jax.random.fold_in(key, start), jaxgen.given(64, experiment.given, start=start))
        for start in range(0, 256, 64)
    ]
    real = test.gather(np.linspace(0, test.length - 1, min(256, test.length)).astype(int))["image"] / 255
    samples, images = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (np.concatenate(rows), real))
    expected = samples.var(0, ddof=1).sum() / images.var(0, ddof=1).sum()
    assert expected > 1e-4
    assert found["diversity"] == pytest.approx(expected, rel=1e-4)
    assert found["diversity_stderr"] > 0


def assert_advised(experiment: jaxgen.Experiment, *values: str) -> None:
    """The alarms watch these values, and advise flags of the experiment or of every training, the rate among them."""
    assert [alarm.value for alarm in experiment.alarms] == list(values)
    known = {*experiment.config.flags, *inspect.signature(jaxgen.fit).parameters}
    for alarm in experiment.alarms:
        assert (alarm.share, alarm.below) > (0, 0)
        advised = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", alarm.sentence)}
        assert advised
        assert advised <= known
        assert alarm.sentence.endswith(".")


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
