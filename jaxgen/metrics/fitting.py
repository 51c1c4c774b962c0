"""Training of the small networks by which sets of images are judged."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import data
from jaxgen.game import LossFn, Player, TrainState, create_state, make_train_step
from jaxgen.progress import Track
from jaxgen.types import Batch, Key, Params

CHUNK = 20
"""Training steps in a call."""


def fitted(
    model: nn.Module,
    loss: LossFn,
    source: data.Source,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    read: Callable[[Mapping[str, np.ndarray]], dict[str, Any]],
    description: str,
    track: Track,
) -> Params:
    """The parameters of a network of images after its training by Adam, whose rate falls to zero along a cosine.

    Args:
      model: the network, `[B, H, W, C] -> ...`.
      loss: the loss, of parameters by the name "model".
      source: the examples, whose `image` holds bytes.
      steps: training steps.
      batch_size: images in a step.
      learning_rate: the learning rate at the start.
      seed: the seed of the initial parameters, of the order of the images, and of what the loss draws.
      read: a function of several steps' batches, which gives the features that the loss gets.
      description: the description of the progress.
      track: a function that shows the progress.

    Returns:
      The parameters.
    """
    rate = optax.cosine_decay_schedule(learning_rate, max(steps, 1))
    players = {"model": Player(loss, optax.adam(rate))}
    step = make_train_step(players)

    @jax.jit
    def several(state: TrainState, batches: Batch) -> TrainState:
        return jax.lax.scan(lambda state, batch: (step(state, batch)[0], None), state, batches)[0]

    @jax.jit
    def begin(key: Key) -> Params:
        return {"model": model.init(key, jnp.zeros((1, *source.shape("image"))))["params"]}

    init_key, key = jax.random.split(jax.random.key(seed))
    state = create_state(key, begin(init_key), {}, players)
    stream = data.shuffled(source, batch_size)
    starts = range(0, steps, CHUNK)
    for start in track(starts, description=description, total=len(starts)):
        batches = stream.read(start, seed=seed, steps=min(CHUNK, steps - start))
        state = several(state, read(batches))
    return state.params["model"]
