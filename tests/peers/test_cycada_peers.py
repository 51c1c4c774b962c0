"""CyCADA and ADDA against the code of Hoffman et al. 2018, whose random weights ours take.

JAXGEN_CYCADA=/path/of/cycada_release JAXGEN_CYCADA_CYCLEGAN=/path/of/its/fork/of/CycleGAN pytest -m peers \
    tests/peers/test_cycada_peers.py
"""

from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from peers import authors

import jaxgen
from jaxgen import objectives
from jaxgen.losses import adversarial
from jaxgen.models.cnn import LeNet

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
RATE = 1e-3
OURS = LeNet(10, (20, 50), (500,), dropout=0.5, padding="VALID", map_dropout=0.5)


def tensor(x: np.ndarray) -> Any:
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def dense(layer: Any) -> dict[str, Any]:
    return {"kernel": jnp.array(layer.weight.detach().numpy().T), "bias": jnp.array(layer.bias.detach().numpy())}


def conv(layer: Any) -> dict[str, Any]:
    kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
    return {"kernel": jnp.array(kernel), "bias": jnp.array(layer.bias.detach().numpy())}


def of_lenet(theirs: Any) -> dict[str, Any]:
    """Their parameters as ours; theirs flatten channels first."""
    first = dense(theirs.fc_params)
    first["kernel"] = first["kernel"].reshape(50, 4, 4, 500).transpose(1, 2, 0, 3).reshape(800, 500)
    return {
        "convs_0": conv(theirs.conv_params[0]),
        "convs_1": conv(theirs.conv_params[3]),
        "denses_0": first,
        "out": dense(theirs.classifier[2]),
    }


def filled(net: Any) -> Any:
    """The network with biases that are not zero."""
    torch.manual_seed(0)
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    return net


def test_the_classifier() -> None:
    theirs = filled(authors.cycada().LeNet()).eval()
    x = RNG.normal(size=(5, 28, 28, 1)).astype(np.float32)
    expected = theirs(tensor(x)).detach().numpy()
    np.testing.assert_allclose(OURS.apply({"params": of_lenet(theirs)}, jnp.array(x)), expected, rtol=1e-4, atol=1e-5)


class TwoLogits(nn.Module):
    """Their discriminator, whose two scores stand for the one logit that is their difference."""

    @nn.compact
    def __call__(self, scores: Any, *, train: bool = False) -> Any:
        h = nn.relu(nn.Dense(500, name="Dense_0")(scores))
        h = nn.relu(nn.Dense(500, name="Dense_1")(h))
        both = nn.Dense(2, name="Dense_2")(h)
        return both[:, 1] - both[:, 0]


class Loader(list[Any]):
    """Batches as a loader has them."""

    dataset = range(1)


def test_adda_makes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's steps of both players, with the turns in which the target rests; without dropout, which draws otherwise."""
    code = authors.cycada()
    rng, steps = np.random.default_rng(0), 20
    monkeypatch.setattr(code.AddaNet, "load_src_net", lambda self, path: None)
    net = code.AddaNet(src_weights_init="none")
    for part in (net.src_net, net.tgt_net, net.discriminator):
        filled(part)
    net.tgt_net.load_state_dict(net.src_net.state_dict())
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    layers = [layer for layer in net.discriminator if isinstance(layer, torch.nn.Linear)]
    params = {
        "source": of_lenet(net.src_net),
        "model": of_lenet(net.tgt_net),
        "discriminator": {f"Dense_{i}": dense(layer) for i, layer in enumerate(layers)},
    }
    shift = np.array([0, 1]).reshape(2, 1, 1, 1, 1)
    images = [rng.normal(size=(2, 8, 28, 28, 1)) + shift for _ in range(steps)]
    pairs = [tuple(x.astype(np.float32)) for x in images]
    moved: list[Any] = []
    opt = [torch.optim.Adam(part.parameters(), lr=RATE) for part in (net.tgt_net, net.discriminator)]
    monkeypatch.setattr(opt[0], "step", lambda step=opt[0].step: moved.append(step()))
    sources, targets = (Loader((tensor(x), None) for x in side) for side in zip(*pairs, strict=True))
    code.train(sources, targets, net, *opt, 0)

    network = OURS.clone(dropout=0.0, map_dropout=0.0)
    losses = objectives.adversarial_adaptation(network, network, TwoLogits())
    told_apart = lambda state, metrics: metrics["discriminator/accuracy"] > 0.6
    players = {
        "discriminator": jaxgen.Player(losses[0], optax.adam(RATE)),
        "model": jaxgen.Player(losses[1], optax.adam(RATE), when=told_apart),
    }
    state = jaxgen.create_state(jax.random.key(0), params, {}, players)
    step, turns_of_ours = jax.jit(jaxgen.make_train_step(players)), 0
    for x, y in pairs:
        state, metrics = step(state, {"source": {"image": jnp.array(x)}, "target": {"image": jnp.array(y)}})
        turns_of_ours += int(metrics["model/loss"].weight > 0)
    assert turns_of_ours == len(moved)
    assert 1 < len(moved) < steps
    found = of_lenet(net.tgt_net)
    for layer in found:
        for name, theirs in found[layer].items():
            # Where a gradient is near zero, Adam makes a whole step of its sign.
            np.testing.assert_allclose(state.params["model"][layer][name], theirs, atol=2e-4)
            before = params["model"][layer][name]
            ours, authors_ = np.asarray(state.params["model"][layer][name]) - before, theirs - before
            assert np.mean(np.abs(ours - authors_)) < 0.02 * np.mean(np.abs(authors_))


class Pixelwise(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return nn.Dense(self.outputs)(x)


class OfAll(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return nn.Dense(10)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


@pytest.mark.parametrize("known", [0.9, 1.1])
def test_the_translators_descend_the_same_loss(known: float) -> None:
    """Networks of one layer; their gate is the classifier's loss of the step before, ours that on the batch itself."""
    code = authors.cycada_translation()
    x, y = (RNG.normal(size=(6, 4, 4, 3)).astype(np.float32) for _ in range(2))
    label = np.arange(6) % 10
    torch.manual_seed(0)
    theirs = code.model.__new__(code.model)
    theirs.opt = SimpleNamespace(lambda_identity=0.5, lambda_A=1.0, lambda_B=3.0)
    theirs.isTrain, theirs.device = True, "cpu"
    nets = {"G_A": 3, "G_B": 3, "D_A": 1, "D_B": 1}
    for name, outputs in nets.items():
        setattr(theirs, f"net{name}", torch.nn.Conv2d(3, outputs, 1))
    theirs.netCLS = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
    theirs.criterionGAN = code.networks.GANLoss(use_lsgan=True)
    theirs.criterionCycle = theirs.criterionIdt = torch.nn.L1Loss()
    theirs.criterionCLS = torch.nn.CrossEntropyLoss()
    theirs.real_A, theirs.real_B, theirs.input_A_label = tensor(x), tensor(y), torch.from_numpy(label)
    theirs.loss_CLS = torch.tensor(known)
    theirs.forward()
    theirs.backward_G()

    def pixelwise(net: Any) -> dict[str, Any]:
        kernel = net.weight.detach().numpy()[:, :, 0, 0].T
        return {"Dense_0": {"kernel": jnp.array(kernel), "bias": jnp.array(net.bias.detach().numpy())}}

    names = {"a_to_b": "G_A", "b_to_a": "G_B", "discriminator_b": "D_A", "discriminator_a": "D_B"}
    params: dict[str, Any] = {ours: pixelwise(getattr(theirs, f"net{name}")) for ours, name in names.items()}
    params["classifier"] = {"Dense_0": dense(theirs.netCLS[1])}
    on_batch = float(torch.nn.functional.cross_entropy(theirs.pred_real_A.detach(), theirs.input_A_label))
    losses = objectives.cycle_translation(
        (Pixelwise(3), Pixelwise(3)),
        (Pixelwise(1), Pixelwise(1)),
        adversarial.least_squares(),
        cycle=(1.0, 3.0),
        identity=0.5,
        gan=(2.0, 1.0),
        further=objectives.semantic_consistency(OfAll(), limit=on_batch / known),
    )
    # Their first weight of the identity is that of the cycle of domain b, for images of b; the labels are as ours.
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    batch = {"a": {"image": jnp.array(x), "label": jnp.array(label)}, "b": {"image": jnp.array(y)}}

    def mean(params: Any) -> Any:
        return losses.translators(params, state, batch, jax.random.key(0), train=True)[0].mean()

    value, grads = jax.value_and_grad(mean)(params)
    assert float(theirs.loss_sem_AB.detach()) == 0 if known > 1 else float(theirs.loss_sem_AB.detach()) > 0
    assert float(value) == pytest.approx(float(theirs.loss_G.detach()), rel=1e-5)
    for ours, name in (("a_to_b", "G_A"), ("b_to_a", "G_B")):
        expected = getattr(theirs, f"net{name}").weight.grad.numpy()[:, :, 0, 0].T
        np.testing.assert_allclose(grads[ours]["Dense_0"]["kernel"], expected, rtol=1e-4, atol=1e-5)
