"""How many steps go into one call."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

import jaxgen
from jaxgen.nn import Conv, ConvTranspose
from jaxgen.training import program

X = jnp.zeros((4, 8, 8, 3))


def steps_in_a_call(layer: nn.Module, *, frozen: bool = False) -> int:
    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        y = layer.apply({"params": params["layer"]}, batch["image"])
        return (y * params["scale"]).mean((1, 2, 3)), jaxgen.Aux()

    params = {"layer": layer.init(jax.random.key(0), X)["params"], "scale": jnp.ones(())}
    players = {"scale" if frozen else "layer": jaxgen.Player(loss, optax.sgd(0.1))}
    state = jaxgen.create_state(jax.random.key(0), params, {}, players)
    step = jaxgen.make_train_step(players)
    return program.trace(lambda state, batch: step(state, batch), state, {"image": X})[1]


@pytest.mark.parametrize("layer", [Conv(4, (3, 3)), Conv(4, (4, 4), (2, 2)), ConvTranspose(4, (4, 4), (2, 2))], ids=repr)
def test_convolutions_of_this_package_go_into_a_loop(layer: nn.Module) -> None:
    assert steps_in_a_call(layer) > 1


@pytest.mark.parametrize(
    "layer", [nn.Conv(4, (3, 3)), nn.Conv(4, (4, 4), (2, 2)), nn.ConvTranspose(4, (4, 4), (2, 2))], ids=repr
)
def test_xlas_gradient_in_a_kernel_does_not_go_into_a_loop_on_a_cpu(layer: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_in_a_call(layer) == 1
    assert steps_in_a_call(layer, frozen=True) > 1  # a convolution that is not trained is fast
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert steps_in_a_call(layer) > 1
