"""Networks are values: what an experiment begins from, and what a run hands out to be applied."""

from pathlib import Path
from typing import Any

import contract
import flax.linen as nn
import games
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.errors import UserError
from jaxgen.experiments import names
from jaxgen.network import begin_with
from jaxgen.runs.run import begin

KEY = jax.random.key(0)


def same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def outputs(run: jaxgen.Run) -> dict[str, Any]:
    """What each network of a run says of its example inputs."""
    found = {}
    for name, network in run.experiment.networks.items():
        module, variables = run.network(name)
        found[name] = module.apply(variables, *network.inputs, rngs={"sample": KEY})
    return found


@pytest.mark.parametrize("name", contract.one_a_family(names()))
def test_a_run_hands_out_every_network_of_every_experiment(name: str) -> None:
    """Traced; of a trained and loaded run, by `contract.hold`."""
    experiment = contract.make(name)
    assert experiment.networks
    shapes = jax.eval_shape(lambda: outputs(jaxgen.Run(experiment, begin(experiment, 0), 0, 0)))
    assert shapes.keys() == experiment.networks.keys()
    for name, network in experiment.networks.items():
        assert {leaf.shape[0] for leaf in jax.tree.leaves(shapes[name]) if leaf.ndim} >= {len(network.inputs[0])}


def test_a_network_comes_with_the_averages_of_its_parameters_and_of_its_variables(tmp_path: Path) -> None:
    games.fit(games.regression(steps=5, ema=0.9), tmp_path)
    run = jaxgen.load(tmp_path, experiment=games.regression)
    module, variables = run.network()
    same(variables, {"params": run.state.ema["model"], **run.state.ema_vars["model"]})
    current = run.state.vars["model"]["batch_stats"]
    assert not np.allclose(*(jax.tree.leaves(stats)[0] for stats in (variables["batch_stats"], current)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16)), jnp.float32)
    by_hand = games.Net(16, normalised=True).apply({"params": run.state.ema["model"], **run.state.ema_vars["model"]}, x, False)
    np.testing.assert_array_equal(module.apply(variables, x, False), by_hand)


def test_a_file_is_read_where_a_run_begins_and_not_where_only_shapes_are_asked_for() -> None:
    read: list[str] = []

    def held() -> Any:
        read.append("file")
        return {"model": np.arange(3.0, dtype=np.float32)}

    def init(key: Any) -> Any:
        return begin_with(held, {"model": jax.random.normal(key, (3,))}), {}

    made = games.regression()._replace(init=init, players={}, networks={})
    params = begin(made, 0).params["model"]
    assert (params.tolist(), read) == ([0.0, 1.0, 2.0], ["file"])
    spec = jax.eval_shape(lambda: begin(made, 0)).params["model"]
    assert (spec.shape, spec.dtype, read) == ((3,), np.float32, ["file"])


def test_networks_of_one_player_and_frozen_parts_are_found() -> None:
    run = games.fit(games.adversarial(steps=1))
    same(run.network("generator")[1], {"params": run.state.params["generator"]})
    with pytest.raises(UserError, match=r"no network 'frozen'; it has generator, discriminator\."):
        run.network("frozen")
    joint = jaxgen.fit(contract.make("gan", steps=0), quiet=True)
    same(joint.network("generator")[1], {"params": joint.state.params["game"]["generator"]})


class Centred(nn.Module):
    """Starts from the mean of its first batch (as ActNorm does)."""

    @nn.compact
    def __call__(self, x):
        return x - self.param("mean", lambda key: x.mean(0)) + jax.random.normal(self.make_rng("sample"), x.shape)


def test_a_network_starts_from_its_example_inputs_and_each_from_a_key_of_its_own() -> None:
    x = jnp.asarray([[1.0, 2.0], [3.0, 6.0]])
    networks = {
        "centred": jaxgen.Network(Centred(), x),
        "a": jaxgen.Network(nn.Dense(2), x),
        "b": jaxgen.Network(nn.Dense(2), x),
    }
    params, vars = jaxgen.initialize(networks)(KEY)
    np.testing.assert_array_equal(params["centred"]["mean"], [2.0, 4.0])
    assert not vars
    for i, name in ((1, "a"), (2, "b")):
        own = jax.random.split(jax.random.fold_in(KEY, i))[0]
        np.testing.assert_array_equal(params[name]["kernel"], nn.Dense(2).init({"params": own}, x)["params"]["kernel"])
