"""DCGAN at 32x32 against plain PyTorch: a step of both players with Adam, batches of 64.

python -m experiments.benchmarks.peers.dcgan --json dcgan.json          # 3 minutes on 2 cores
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.alone import alone, rate, steps
from experiments.benchmarks.pairing import pair, report
from jaxgen import objectives
from jaxgen.losses import adversarial
from jaxgen.models.gan import dcgan

BATCH, CHANNELS, LATENTS = 64, (64, 128, 256), 100


def networks() -> tuple[dcgan.Generator, dcgan.Discriminator]:
    """Three doublings and three halvings."""
    return dcgan.Generator((32, 32, 3), CHANNELS[::-1]), dcgan.Discriminator(CHANNELS)


def peer_networks() -> tuple[Any, Any]:
    """The same layers in PyTorch, with its memory layout for convolutions."""
    import torch
    from torch import nn

    generator: Any = nn.Sequential(nn.ConvTranspose2d(LATENTS, CHANNELS[-1], 4, 1, 0, bias=False))
    discriminator: Any = nn.Sequential(nn.Conv2d(3, CHANNELS[0], 4, 2, 1), nn.LeakyReLU(0.2, True))
    for wide, narrow in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True):
        generator.extend([nn.BatchNorm2d(wide), nn.ReLU(True), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)])
    generator.extend([nn.BatchNorm2d(CHANNELS[0]), nn.ReLU(True), nn.ConvTranspose2d(CHANNELS[0], 3, 4, 2, 1), nn.Tanh()])
    for narrow, wide in pairwise(CHANNELS):
        layers = [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, True)]
        discriminator.extend(layers)
    discriminator.extend([nn.Conv2d(CHANNELS[-1], 1, 4, 1, 0), nn.Flatten()])
    return generator.to(memory_format=torch.channels_last), discriminator.to(memory_format=torch.channels_last)


def ours() -> float:
    """Images a second of the jitted step."""
    generator, discriminator = networks()
    against, towards = objectives.adversarial(generator, discriminator, adversarial.non_saturating, latents=LATENTS)
    optimizer = optax.adam(2e-4, b1=0.5)
    players = {"discriminator": jaxgen.Player(against, optimizer), "generator": jaxgen.Player(towards, optimizer)}
    game = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, 32, 32, 3))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, LATENTS))),
    }
    batch = {"image": jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, 32, 32, 3)), jnp.float32)}
    return rate(steps(players, game, batch), BATCH, calls=10)


def peer() -> float:
    """Images a second of PyTorch's step, which draws fakes once for both players."""
    import torch
    from torch import nn

    generator, discriminator = peer_networks()
    entropy = nn.BCEWithLogitsLoss()
    up = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    down = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999))
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    real, fake = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step() -> None:
        down.zero_grad()
        drawn = generator(torch.randn(BATCH, LATENTS, 1, 1))
        (entropy(discriminator(x), real) + entropy(discriminator(drawn.detach()), fake)).backward()
        down.step()
        up.zero_grad()
        entropy(discriminator(drawn), real).backward()
        up.step()

    return rate(step, BATCH, calls=10)


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both in alternation.

    Args:
      rounds: the number of processes of each.
      json_file: file that the table is added to.
    """
    contenders = {"PyTorch": alone(peer), "jaxgen": alone(ours)}
    title = f"DCGAN 32x32 {CHANNELS}, batch {BATCH}: a step of both players"
    report(title, "images/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
