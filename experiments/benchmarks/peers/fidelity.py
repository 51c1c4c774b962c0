"""The Fréchet distance and Inception's features against torch-fidelity.

python -m experiments.benchmarks.peers.fidelity --json fidelity.json    # 8 minutes on 2 cores
"""

import time
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.benchmarks.alone import alone, rate
from experiments.benchmarks.pairing import pair, report
from jaxgen.metrics import frechet
from jaxgen.models.cnn.inception_v3 import InceptionV3, prepare

EXAMPLES, DIMENSION, IMAGES = 50_000, 2_048, 32


def features() -> tuple[np.ndarray, np.ndarray]:
    """Two sets of normal features."""
    return tuple(np.random.default_rng(seed).normal(size=(EXAMPLES, DIMENSION)).astype(np.float32) for seed in (0, 1))  # type: ignore[return-value]


def images() -> np.ndarray:
    """Noise of CIFAR-10's size."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3)).astype(np.uint8)


def distance() -> float:
    """Seconds of one distance, with all that is compiled for it."""
    first, second = features()
    start = time.perf_counter()
    frechet.distance(frechet.moments(first), frechet.moments(second))
    return time.perf_counter() - start


def peer_distance() -> float:
    """Seconds of torch-fidelity's."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_metric

    first, second = map(torch.from_numpy, features())
    start = time.perf_counter()
    fid_features_to_metric(first, second)
    return time.perf_counter() - start


def extract() -> float:
    """Images a second of the network with random weights, which cost what the reference's cost."""
    model, given = InceptionV3(), jnp.asarray(images())
    variables = model.init(jax.random.key(0), prepare(given[:1]))
    network: Any = model.apply
    apply = jax.jit(lambda batch: network(variables, prepare(batch)).features)
    return rate(lambda: jax.block_until_ready(apply(given)), IMAGES, calls=3, warm=1)


def peer_extract() -> float:
    """Images a second of torch-fidelity's network, with PyTorch's initial weights in place of those that it would download."""
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    network = theirs.FeatureExtractorInceptionV3
    with mock.patch.object(theirs, "load_state_dict_from_url"), mock.patch.object(network, "load_state_dict"):
        model = network("random", ["2048"])
    given = torch.from_numpy(images()).permute(0, 3, 1, 2).contiguous()

    def apply() -> None:
        with torch.no_grad():
            model(given)

    return rate(apply, IMAGES, calls=3, warm=1)


def main(*, rounds: int = 3, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures both in alternation.

    Args:
      rounds: the number of processes of each.
      json_file: file that the tables are added to.
    """
    distances = {"torch-fidelity": alone(peer_distance), "jaxgen": alone(distance)}
    report(f"Frechet distance of {EXAMPLES:,} x {DIMENSION:,} features", "s", pair(distances, rounds=rounds), json_file)
    networks = {"torch-fidelity": alone(peer_extract), "jaxgen": alone(extract)}
    report(f"InceptionV3's features, batch {IMAGES}", "images/s", pair(networks, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
