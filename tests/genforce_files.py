"""Tensors by the names and of the shapes that files of genforce have, whose smallest map is 4x4."""

from collections.abc import Sequence

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def generator(channels: Sequence[int], latents: int, colours: int = 3) -> Shapes:
    """Progressive GAN's generator; the channels are those of the smallest map first."""
    found: Shapes = {"layer0.weight": (channels[0], latents, 4, 4)}
    for level, c in enumerate(channels):
        if level:
            found[f"layer{2 * level}.weight"] = (c, channels[level - 1], 3, 3)
        found[f"layer{2 * level + 1}.weight"] = (c, c, 3, 3)
        found |= {f"layer{2 * level + i}.bias": (c,) for i in range(2)}
        found |= {f"output{level}.weight": (colours, c, 1, 1), f"output{level}.bias": (colours,)}
    return found


def styled_generator(channels: Sequence[int], latents: int, colours: int = 3, *, depth: int = 1) -> Shapes:
    """StyleGAN's generator."""
    found = generator(channels, latents, colours) | {"layer0.const": (1, channels[0], 4, 4)}
    del found["layer0.weight"]
    for level, c in enumerate(channels):
        for i in range(2):
            own = f"layer{2 * level + i}"
            found |= {f"{own}.style.weight": (2 * c, latents), f"{own}.style.bias": (2 * c,), f"{own}.apply_noise.weight": (c,)}
    mapping: Shapes = {"truncation.w_avg": (latents,)}
    for i in range(depth):
        mapping |= {f"mapping.dense{i}.weight": (latents, latents), f"mapping.dense{i}.bias": (latents,)}
    return mapping | {f"synthesis.{name}": shape for name, shape in found.items()}


def discriminator(channels: Sequence[int], colours: int = 3) -> Shapes:
    """The discriminator of either."""
    found: Shapes = {}
    last = len(channels) - 1
    for number, c in enumerate(reversed(channels)):
        found |= {f"input{number}.weight": (c, colours, 1, 1), f"input{number}.bias": (c,)}
        if number < last:
            below = channels[last - number - 1]
            found |= {f"layer{2 * number}.weight": (c, c, 3, 3), f"layer{2 * number + 1}.weight": (below, c, 3, 3)}
            found |= {f"layer{2 * number}.bias": (c,), f"layer{2 * number + 1}.bias": (below,)}
    c = channels[0]
    found |= {f"layer{2 * last}.weight": (c, c + 1, 3, 3), f"layer{2 * last}.bias": (c,)}
    found |= {f"layer{2 * last + 1}.weight": (c, 16 * c), f"layer{2 * last + 1}.bias": (c,)}
    return found | {f"layer{2 * last + 2}.weight": (1, c), f"layer{2 * last + 2}.bias": (1,)}


def drawn(shapes: Shapes, *, prefix: str = "", seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal tensors of these shapes."""
    rng = np.random.default_rng(seed)
    return {prefix + name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
