"""DDPM's U-Net for 32x32 images against diffusers': a training step with Adam, and DDIM with 20 steps; batches of 8.

python -m experiments.benchmarks.peers.unet --json unet.json            # 12 minutes on 2 cores
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.alone import alone, rate, steps
from experiments.benchmarks.pairing import pair, report
from jaxgen import diffusion, objectives, samplers
from jaxgen.models.diffusion import UNet
from jaxgen.types import Array, Key, Params

BATCH, SHAPE, SAMPLING_STEPS = 8, (32, 32, 3), 20


def network() -> UNet:
    """The paper's network of 35.7M parameters, without dropout."""
    return UNet(dropout=0.0)


def peer_network() -> Any:
    """Diffusers', in the memory layout in which PyTorch convolves fastest on a CPU."""
    import torch
    from diffusers import UNet2DModel

    model: Any = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    return model.to(memory_format=torch.channels_last)


def trains() -> float:
    """Images a second of the jitted training step."""
    model = network()
    loss = objectives.denoising_score_matching(model, diffusion.linear(1000), diffusion.EPSILON, weight=objectives.uniform)
    networks = {"model": jaxgen.Network(model, jnp.zeros((1, *SHAPE)), jnp.zeros(1))}
    batch = {"image": jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, *SHAPE)), jnp.float32)}
    return rate(steps({"model": jaxgen.Player(loss, optax.adam(1e-4))}, networks, batch), BATCH)


def peer_trains() -> float:
    """Images a second of PyTorch's step."""
    import torch

    model = peer_network()
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    level = torch.randint(0, 1000, (BATCH,))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> None:
        loss = ((model(x, level).sample - x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return rate(step, BATCH)


def samples() -> float:
    """Images a second of DDIM in one compiled program."""
    model = network()
    params = model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros(1))["params"]
    chain = diffusion.spaced(diffusion.linear(1000), SAMPLING_STEPS)
    sample = samplers.ddim(chain)

    @jax.jit
    def draw(params: Params, key: Key) -> Array:
        clip = (-1.0, 1.0)
        denoise = objectives.denoiser_of(model, {"model": params}, {}, diffusion.EPSILON, clip=clip)
        first, rest = jax.random.split(key)
        noise = samplers.noise(first, (BATCH, *SHAPE), chain.level(chain.steps))
        return sample(denoise, noise, rest, trajectory=0).x

    return rate(lambda: jax.block_until_ready(draw(params, jax.random.key(0))), BATCH, calls=3, warm=1)


def peer_samples() -> float:
    """Images a second of diffusers' scheduler, which calls the network step by step."""
    import torch
    from diffusers import DDIMScheduler

    model = peer_network().eval()
    scheduler: Any = DDIMScheduler(1000, clip_sample=True)
    scheduler.set_timesteps(SAMPLING_STEPS)

    def draw() -> None:
        with torch.no_grad():
            x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
            for level in scheduler.timesteps:
                x = scheduler.step(model(x, level).sample, level, x).prev_sample

    return rate(draw, BATCH, calls=3, warm=1)


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both in alternation.

    Args:
      rounds: the number of processes of each.
      json_file: file that the tables are added to.
    """
    what = f"U-Net of 35.7M parameters, 32x32, batch {BATCH}"
    training = {"diffusers": alone(peer_trains), "jaxgen": alone(trains)}
    report(f"{what}: train step", "images/s", pair(training, rounds=rounds), json_file)
    sampling = {"diffusers": alone(peer_samples), "jaxgen": alone(samples)}
    report(f"{what}: DDIM, {SAMPLING_STEPS} steps", "images/s", pair(sampling, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
