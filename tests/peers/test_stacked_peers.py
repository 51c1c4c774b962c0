"""The stacked denoising autoencoder next to the formulas of the deep learning tutorials (dA.py, SdA.py), in PyTorch.

The tutorials need Theano, which is no longer kept up. So their formulas are written out: tied weights, the cross-entropy summed
over a layer's inputs with its mean over the batch, plain gradient descent, and a softmax that begins at zero.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

from jaxgen import keys, objectives
from jaxgen.game import make_train_step
from jaxgen.runs import run

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

import torch
from torch.nn import functional

pytestmark = pytest.mark.peers

HIDDEN, PRETRAINING, RATE, FINE_RATE = (12, 9, 7), 5, 0.05, 0.1
RNG = np.random.default_rng(0)
BATCHES = [
    {
        "image": RNG.uniform(size=(10, 8, 8, 1)).astype(np.float32),
        "label": RNG.integers(0, 10, 10),
        "slot": np.arange(10, dtype=np.int32),
    }
    for _ in range(3 * PRETRAINING + 10)
]


class Theirs:
    def __init__(self, params: Any) -> None:
        take = lambda x: torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True)
        self.layers = [
            [take(params[f"layers_{i}"][name]) for name in ("kernel", "bias", "visible_bias")] for i in range(len(HIDDEN))
        ]
        self.top = [take(params["softmax"][name]) for name in ("kernel", "bias")]

    def below(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        for w, b, _ in self.layers[:layer]:
            x = torch.sigmoid(x @ w + b)
        return x

    def pretrain(self, x: torch.Tensor, mask: torch.Tensor, layer: int) -> float:
        h = self.below(x, layer).detach()
        w, b, b_prime = self.layers[layer]
        y = torch.sigmoid((mask * h) @ w + b)
        z = torch.sigmoid(y @ w.T + b_prime)
        cost = -(h * torch.log(z) + (1 - h) * torch.log(1 - z)).sum(1).mean()
        return self.descend(cost, self.layers[layer], RATE)

    def fine_tune(self, x: torch.Tensor, label: torch.Tensor) -> float:
        p = functional.softmax(self.below(x, len(HIDDEN)) @ self.top[0] + self.top[1], dim=1)
        cost = -torch.log(p)[torch.arange(len(label)), label].mean()
        # The biases of the decoders are no parameters of the classifier.
        return self.descend(cost, [*(p for layer in self.layers for p in layer[:2]), *self.top], FINE_RATE)

    def descend(self, cost: torch.Tensor, own: list[torch.Tensor], rate: float) -> float:
        grads = torch.autograd.grad(cost, own)
        with torch.no_grad():
            for p, g in zip(own, grads, strict=True):
                p -= rate * g
        return cost.item()


def test_pretraining_and_fine_tuning_step_by_step() -> None:
    levels = (0.1, 0.2, 0.3)
    made = make(
        "stacked_autoencoder",
        hidden=HIDDEN,
        corruption_levels=levels,
        pretraining_steps=PRETRAINING,
        pretraining_rate=RATE,
        learning_rate=FINE_RATE,
        steps=len(BATCHES),
    )
    state = run.begin(made, 0)
    theirs = Theirs(state.params["model"])
    step = jax.jit(make_train_step(made.players))
    sizes = (64, *HIDDEN)
    for i, batch in enumerate(BATCHES):
        layer = i // PRETRAINING
        x = torch.tensor(batch["image"].reshape(10, -1), dtype=torch.float64)
        if layer < len(HIDDEN):
            key = jax.random.fold_in(jax.random.fold_in(state.key, i), layer)
            own = keys.by_example(key, {name: jnp.asarray(value) for name, value in batch.items()})["key"]
            ones = jnp.ones((10, 8, 8, 1) if layer == 0 else (10, sizes[layer]))
            mask = np.asarray(objectives.masking(levels[layer])(own, ones)).reshape(10, -1)
            cost = theirs.pretrain(x, torch.tensor(mask, dtype=torch.float64), layer)
            name = f"layer{layer + 1}"
        else:
            cost = theirs.fine_tune(x, torch.tensor(batch["label"]))
            name = "classifier"
        state, metrics = step(state, batch)
        assert float(metrics[f"{name}/loss"].value) == pytest.approx(cost, rel=1e-5)
    for i, layer in enumerate(theirs.layers):
        for name, value in zip(("kernel", "bias", "visible_bias"), layer, strict=True):
            found = np.asarray(state.params["model"][f"layers_{i}"][name])
            np.testing.assert_allclose(found, value.detach().numpy(), atol=1e-5, err_msg=f"{i} {name}")
    for name, value in zip(("kernel", "bias"), theirs.top, strict=True):
        np.testing.assert_allclose(state.params["model"]["softmax"][name], value.detach().numpy(), atol=1e-5)
