"""Small experiments that the tests of the loop share: quick to compile, and together they use every part of the contract."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.devices import collectives
from jaxgen.nn import BatchNorm

ARRAYS = {"image": np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1)).astype(np.uint8)}


class Net(nn.Module):
    width: int
    normalised: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.tanh(nn.Dense(16)(x))
        if self.normalised:
            h = BatchNorm()(h, train=train)
        return nn.Dense(self.width)(h)


def flat(batch):
    return batch["image"].reshape(batch["image"].shape[0], -1)


@jaxgen.recorded
def regression(
    *,
    steps: int = 20,
    batch_size: int = 6,
    ema: float | None = None,
    accumulate: int = 1,
    learning_rate: float = 0.01,
    cosine: bool = False,
    streamed: bool = False,
    noise: float = 0.1,
    poison: int = -1,
) -> jaxgen.Experiment:
    """One noisy player with batch statistics; at step `poison` its loss is not finite."""
    net = Net(16, normalised=True)
    source = data.from_arrays(ARRAYS, name="noise")
    if streamed:
        rows = [{"image": image} for image in ARRAYS["image"]]
        source = data.from_examples(rows, name="noise", fingerprint=source.fingerprint)
    transform = data.chain(data.scale(), data.binarize())

    def loss(params, state, batch, key, *, train):
        x = flat(batch)
        variables = {"params": params["model"], **state.vars["model"]}
        out, new = net.apply(variables, x + noise * jax.random.normal(key, x.shape), train=train, mutable=["batch_stats"])
        values = ((out - x) ** 2).sum(-1)
        values = values + jnp.where(state.step == poison, jnp.nan, 0.0)
        return values, jaxgen.Aux({"model": dict(new)} if train else {}, {"squared": values})

    rate = optax.cosine_decay_schedule(learning_rate, steps) if cosine else optax.constant_schedule(learning_rate)
    player = jaxgen.Player(loss, optax.adam(rate))
    return jaxgen.Experiment(
        train=data.shuffled(source, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(net, jnp.zeros((1, 16)))},
        evaluators={"test": jaxgen.mean_over(source, jaxgen.loss_of(player), batch_size=16, transform=transform)},
        pictures={"noise": lambda state, key: jaxgen.Picture(ARRAYS["image"][:4] / 255, 2, "Noise")},
        sample=lambda state, key, given: jax.random.uniform(key, (len(given["index"]), 4, 4, 1)),
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
    )


@jaxgen.recorded
def adversarial(*, steps: int = 20, every: int = 3, ema: float | None = None, accumulate: int = 1) -> jaxgen.Experiment:
    """Two players, one of them moving now and then, a frozen part, and two unpaired streams."""
    generator, critic = Net(16), Net(1)

    def fake(params, batch, key):
        return (
            generator.apply({"params": params["generator"]}, jax.random.normal(key, flat(batch["a"]).shape)) * params["frozen"]
        )

    def judge(params, x):
        return critic.apply({"params": params["discriminator"]}, x)[:, 0]

    def discriminate(params, state, batch, key, *, train):
        real, made = judge(params, flat(batch["a"])), judge(params, fake(params, batch, key))
        return jax.nn.softplus(-real) + jax.nn.softplus(made), jaxgen.Aux({}, {"real": real})

    def generate(params, state, batch, key, *, train):
        return jax.nn.softplus(-judge(params, fake(params, batch, key))), jaxgen.Aux()

    inputs = jnp.zeros((1, 16))
    networks = {"generator": jaxgen.Network(generator, inputs), "discriminator": jaxgen.Network(critic, inputs)}

    def init(key):
        params, vars = jaxgen.initialize(networks)(key)
        return {**params, "frozen": jnp.float32(0.5)}, vars

    return jaxgen.Experiment(
        train=paired(4),
        players={
            "discriminator": jaxgen.Player(discriminate, optax.adam(1e-2)),
            "generator": jaxgen.Player(generate, optax.adam(1e-2), every=every),
        },
        steps=steps,
        networks=networks,
        init=init,
        ema=ema,
        accumulate=accumulate,
    )


class Coder(nn.Module):
    """An autoencoder with batch statistics, and a variable that follows its codes as a codebook does."""

    def setup(self):
        self.dense, self.norm, self.out = nn.Dense(3), BatchNorm(), nn.Dense(16)
        self.centre = self.variable("codebook", "centre", jnp.zeros, 3)

    def encode(self, x, *, train=False):
        code = self.norm(self.dense(x), train=train)
        if train and not self.is_initializing():
            self.centre.value = 0.9 * self.centre.value + 0.1 * collectives.mean(code.mean(0))
        return code - self.centre.value

    def decode(self, code, *, train=False):
        return self.out(code)

    def __call__(self, x, *, train=False):
        return self.decode(self.encode(x, train=train))


@jaxgen.recorded
def coder(*, steps: int = 6, ema: float | None = None, learning_rate: float = 0.03) -> jaxgen.Experiment:
    """The first of two stages: an autoencoder."""
    model = Coder()

    def loss(params, state, batch, key, *, train):
        out, vars = objectives.apply(model, params, state.vars, flat(batch), train=train)
        return ((out - flat(batch)) ** 2).sum(-1), jaxgen.Aux(vars)

    return jaxgen.Experiment(
        train=data.shuffled(data.from_arrays(ARRAYS, name="noise"), 8, data.scale()),
        players={"model": jaxgen.Player(loss, optax.adam(learning_rate))},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, 16)))},
        ema=ema,
    )


@jaxgen.recorded
def latent(*, run: str, steps: int = 8, trained: bool = False, ema: float | None = None) -> jaxgen.Experiment:
    """The second stage: a model of the codes. With `trained` it hands new variables of the frozen network on."""
    part, net = jaxgen.frozen(run, experiment=coder), Net(3)
    source = data.from_arrays(ARRAYS, name="noise")

    def loss(params, state, batch, key, *, train):
        code, vars = objectives.apply(
            part.module, params, state.vars, flat(batch), name="coder", method="encode", train=train and trained
        )
        values = ((net.apply({"params": params["model"]}, code) - code) ** 2).sum(-1)
        return values, jaxgen.Aux(vars)

    def sample(state, key, given):
        n = len(given["index"])
        code = net.apply({"params": state.params["model"]}, jax.random.normal(key, (n, 3)))
        images, _ = objectives.apply(part.module, state.params, state.vars, code, name="coder", method="decode")
        return images.reshape(n, 4, 4, 1)

    player = jaxgen.Player(loss, optax.adam(1e-2))
    return jaxgen.Experiment(
        train=data.shuffled(source, 8, data.scale()),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(net, jnp.zeros((1, 3)))},
        frozen={"coder": part},
        evaluators={"test": jaxgen.mean_over(source, jaxgen.loss_of(player), batch_size=16, transform=data.scale())},
        sample=sample,
        ema=ema,
    )


def paired(batch_size: int) -> data.Stream:
    """Two unpaired streams."""
    stream = data.shuffled(data.from_arrays(ARRAYS, name="noise"), batch_size, data.scale())
    return data.join(a=stream, b=stream)


def fit(experiment: jaxgen.Experiment, workdir: Path | None = None, **options: Any) -> jaxgen.Run:
    """`jaxgen.fit` at the size of these games."""
    intervals = {"log_every": 5, "evaluate_every": 10, "save_every": 5, "quiet": True}
    return jaxgen.fit(experiment, workdir=workdir, **(intervals | options))
