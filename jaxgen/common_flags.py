"""Flags that many experiments have, described once; and the flags that every experiment has.

An experiment's docstring describes the flags that are its own. `jaxgen.recorded` adds the descriptions of those that are
listed here; where an experiment means something else by one of them, its docstring says so, and that counts.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from jaxgen.data import HeldOut
from jaxgen.errors import UserError
from jaxgen.flags import NonNegative, Seed, Share, checked

DESCRIPTIONS: Mapping[str, str] = {
    "dataset": "a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`).",
    "flip": "whether to train on mirror images too.",
    "latents": "dimension of z.",
    "channels": "feature maps, the largest first; each level halves the side.",
    "blocks": "residual blocks on a level.",
    "attention": "sides of the maps that attend to themselves; the smallest always do.",
    "dropout": "share of the activations that are dropped in training.",
    "timesteps": "the number of timesteps T.",
    "sampler": "the method by which images are drawn.",
    "steps": "training steps.",
    "batch_size": "examples in a step.",
    "learning_rate": "Adam's learning rate.",
    "cosine": "whether to let the learning rate fall to zero along a cosine over all steps.",
    "clip": "bound on the global norm of the gradient.",
    "ema": "decay of the parameter averages that are evaluated and sampled from, debiased: initial parameters have no part.",
    "accumulate": "micro-batches that a batch is cut into to save memory.",
    "bf16": "whether to compute in bfloat16; parameters and reductions stay in float32.",
    "remat": "whether to recompute feature maps in the backward pass to save memory.",
}
"""The descriptions of flags that several experiments have."""


@checked
def common(
    *,
    data_dir: str | None = None,
    cache_budget: NonNegative = 4.0,
    validation: Share = 0.0,
    validation_seed: Seed | None = None,
) -> HeldOut | None:
    """The flags that every experiment has, as keyword arguments.

    Args:
      data_dir: the folder of the prepared sets; by default $TFDS_DATA_DIR or TFDS's own folder.
      cache_budget: GiB that a split's decoded cache may take; 0 streams.
      validation: share of the training examples that is held out. These are evaluated in training and mark the best checkpoint;
        the test split is evaluated once, at the end.
      validation_seed: the seed of the choice of the held-out examples, 0 by default; it does not depend on the seed of the run.

    Returns:
      The share of the training examples to hold out for validation; None holds out nothing.
    """
    if validation_seed is not None and not validation:
        raise UserError("--validation-seed goes with --validation; give a share such as --validation 0.1, or leave it out.")
    return HeldOut(validation, validation_seed or 0) if validation else None


def described(doc: str | None, flags: Mapping[str, Any]) -> str | None:
    """A function's docstring with a description of every flag, in the order of the signature.

    Args:
      doc: the docstring, which describes the flags that are the function's own. Without one nothing is added.
      flags: the flags by name.

    Returns:
      The docstring.

    >>> print(described("A VAE.", {"steps": 1, "data_dir": None}))
    A VAE.
    <BLANKLINE>
    Args:
      steps: training steps.
      data_dir: the folder of the prepared sets; by default $TFDS_DATA_DIR or TFDS's own folder.
    """
    if doc is None:
        return None
    whole = inspect.cleandoc(doc)
    section = re.search(r"\n\nArgs:\n((?:  .*\n?)+)", whole)
    own = _entries(section[1] if section else "")
    known = {**DESCRIPTIONS, **_entries(_arguments(common)), **own}
    told = "\n".join(f"  {name}: {known[name]}" for name in flags if name in known)
    start, rest = (whole[: section.start()], whole[section.end() :]) if section else (whole, "")
    return f"{start}\n\nArgs:\n{told}\n{rest}".rstrip() if told else whole


def _arguments(function: Callable[..., Any]) -> str:
    section = re.search(r"Args:\n((?:  .*\n)+)", inspect.getdoc(function) or "")
    return section[1] if section else ""


def _entries(section: str) -> dict[str, str]:
    """The descriptions in a section of arguments, by name, with their further lines as they stand."""
    return {m[1]: m[2].rstrip() for m in re.finditer(r"^  (\w+): (.*\n?(?:    .*\n?)*)", section, flags=re.MULTILINE)}
