"""A network whose answer is known: what an experiment of diffusion does with it can be written out by hand."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxgen
from jaxgen.models.diffusion import UNet

NUMBERS = ("constant", "of_x", "of_time", "of_label", "of_augment", "in_training", "v")


class Affine(UNet):
    """The U-Net's flags, and the answer `constant + of_x x + of_time time + of_label label + in_training`, all 0 at the start.

    `of_augment` is added times the sum of a label of augmentation, where there is one.
    `in_training` counts where the network is applied with `train=True`. A network of twice the channels also answers `v`.
    """

    @nn.compact
    def __call__(
        self,
        x: Any,
        time: Any,
        label: Any = None,
        context: Any = None,
        mask: Any = None,
        augment: Any = None,
        *,
        train: bool = False,
    ) -> Any:
        assert context is None
        assert mask is None
        return answer(self, x, time, label, train, augment)


def answer(network: Any, x: Any, time: Any, label: Any, train: bool, augment: Any = None) -> Any:
    """The answer of a network with these numbers as parameters, called within its `__call__`."""
    p = {name: network.param(name, nn.initializers.zeros_init(), ()) for name in NUMBERS}
    told = p["constant"] + p["of_time"] * time
    if label is not None:
        told = told + p["of_label"] * label.astype(jnp.float32)
    if augment is not None:
        told = told + p["of_augment"] * augment.sum(-1)
    out = told.reshape(-1, *(1,) * (x.ndim - 1)) + p["of_x"] * x
    out = out + p["in_training"] if train else out
    return jnp.concatenate([out, p["v"] + 0 * x], axis=-1) if network.outputs == 2 * x.shape[-1] else out


class Loss:
    """The loss of an experiment with an affine network, always with the same keys: for the same levels and the same noise."""

    def __init__(self, experiment: jaxgen.Experiment) -> None:
        self.loss = jax.jit(experiment.players["model"].loss, static_argnames="train")

    def __call__(
        self, images: np.ndarray, *, train: bool = True, label: Any = None, vars: Any = None, **numbers: float
    ) -> np.ndarray:
        """The values of the examples, in double precision."""
        batch = {"image": np.asarray(images, np.float32), **({} if label is None else {"label": label})}
        state = state_of(**numbers)._replace(vars=vars or {})
        values, aux = self.loss(state.params, state, batch, jax.random.key(5), train=train)
        self.vars = aux.vars
        self.noise_error = np.asarray(aux.metrics["noise_error"], np.float64)
        return np.asarray(values, np.float64)


def state_of(**numbers: float) -> jaxgen.TrainState:
    """A state of which no step will be made, of an affine network with these numbers and 0 for the others."""
    assert numbers.keys() <= set(NUMBERS)
    params = {"model": {name: jax.device_put(np.float32(numbers.get(name, 0.0))) for name in NUMBERS}}
    return jaxgen.TrainState(jax.device_put(np.int32(0)), jax.random.key(0), params, {}, {}, {}, {})


def recording(made: list[Affine]) -> Callable[..., Affine]:
    """What takes the place of `UNet` in an experiment; it notes the networks that are made."""

    def make(*args: Any, **flags: Any) -> Affine:
        made.append(Affine(*args, **flags))
        return made[-1]

    return make
