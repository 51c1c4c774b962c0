"""CLIP against transformers': a training step with AdamW, of a small model and of one whose image tower is a ViT-S/16.

python -m experiments.benchmarks.peers.clip --json clip.json            # 10 minutes on 2 cores
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxgen
from experiments.benchmarks.alone import alone, rate, steps
from experiments.benchmarks.pairing import pair, report
from jaxgen import objectives
from jaxgen.models import clip, transformers


class Size(NamedTuple):
    """The sizes of a model and of its batch.

    Fields:
      name: the text in the table.
      side: the side of the images.
      patch: the side of a patch.
      text: the width, the number of blocks and of heads of the text tower.
      vocabulary: the number of tokens.
      length: the number of tokens of a caption.
      batch: the number of pairs in a batch.
    """

    name: str
    side: int
    patch: int
    text: tuple[int, int, int]
    vocabulary: int
    length: int
    batch: int


SIZES = (
    Size("CLIP, ViT 12 x 384 on 64x64 by 8, text 4 x 256, batch 32", 64, 8, (256, 4, 4), 1000, 32, 32),
    Size("CLIP, ViT-S/16 on 224x224, text 12 x 384, batch 8", 224, 16, (384, 12, 6), 16_384, 77, 8),
)


def network(size: Size) -> clip.CLIP:
    """An image tower of 12 blocks of width 384, and the text tower."""
    width, depth, heads = size.text
    image = transformers.VisionTransformer(size.patch, 384, 12, 6, 256)
    return clip.CLIP(image, transformers.TextTransformer(size.vocabulary, size.length, width, depth, heads, 256))


def peer_network(size: Size) -> Any:
    """The same sizes in transformers."""
    from transformers import CLIPConfig, CLIPModel

    width, depth, heads = size.text
    text = {
        "vocab_size": size.vocabulary,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "max_position_embeddings": size.length,
    }
    image = {
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": size.side,
        "patch_size": size.patch,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=256))


def ours(size: Size) -> float:
    """Pairs a second of the jitted step."""
    model, rng = network(size), np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.normal(size=(size.batch, size.side, size.side, 3)), jnp.float32),
        "tokens": jnp.asarray(rng.integers(3, size.vocabulary - 1, (size.batch, size.length)), jnp.int32),
    }
    networks = {"model": jaxgen.Network(model, batch["image"][:1], batch["tokens"][:1])}
    player = jaxgen.Player(objectives.contrastive(model), optax.adamw(1e-4))
    return rate(steps({"model": player}, networks, batch), size.batch)


def peer(size: Size) -> float:
    """Pairs a second of PyTorch's step."""
    import torch

    model = peer_network(size)
    images = torch.randn(size.batch, 3, size.side, size.side)
    tokens = torch.randint(0, size.vocabulary - 1, (size.batch, size.length))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, pixel_values=images, return_loss=True).loss.backward()
        optimizer.step()

    return rate(step, size.batch)


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both sizes, in alternation with the peer's.

    Args:
      rounds: the number of processes of each.
      json_file: file that the tables are added to.
    """
    for size in SIZES:
        contenders = {"transformers": alone(partial(peer, size)), "jaxgen": alone(partial(ours, size))}
        report(f"{size.name}: train step", "pairs/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
