"""The extractor of a trained LeNet, for images of few pixels; networks of large photographs were not trained on such images."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from jaxgen.errors import UserError
from jaxgen.measuring.features import Extractor, Outputs
from jaxgen.models.cnn import LeNet

LENET_VERSION = "1"
"""The version of this code, raised whenever the same weights give other features."""


def extractor(params: Mapping[str, Any], *, shape: tuple[int, int, int], weights: str) -> Extractor:
    """The features of a LeNet before its logits, and its logits.

    Args:
      params: the parameters of the LeNet.
      shape: the shape H, W and C of the images that it was trained on; the extractor takes no others.
      weights: a hash of the parameters, for the version.

    Returns:
      The extractor `lenet`, whose version is that of this code and of the weights.

    Raises:
      UserError: if the parameters are no LeNet's of such images. The extractor itself raises it for images of another shape.
    """
    kept = network(params)
    model = next((m for m in (kept, kept.clone(padding="VALID")) if _takes(m, params, shape)), None)
    if model is None:
        raise UserError(f"These parameters are not of a LeNet for images of {_told(shape)}; give the shape it was trained on.")

    def apply(images: UInt8[Array, "n h w c"]) -> Outputs:
        if images.shape[1:] != shape:
            raise UserError(
                f"The LeNet was trained on images of {_told(shape)}, and these are of {_told(images.shape[1:])}; "
                "train one on these by `python -m experiments.lenet`."
            )
        features: Any = model.apply({"params": params}, images.astype(jnp.float32) / 255, method="embed")
        logits: Any = model.apply({"params": params}, features, method="classify")
        return Outputs(features, logits)

    return Extractor("lenet", f"{LENET_VERSION}-{weights}", "none", apply)


def network(params: Mapping[str, Any]) -> LeNet:
    """The network whose parameters these are, by their shapes; of the padding they say nothing.

    Raises:
      UserError: if they are no LeNet's.
    """
    try:
        convs = tuple(
            params[f"convs_{i}"]["kernel"].shape[-1] for i in range(sum(name.startswith("convs_") for name in params))
        )
        denses = tuple(params[f"denses_{i}"]["kernel"].shape[-1] for i in range(sum(n.startswith("denses_") for n in params)))
        return LeNet(params["out"]["kernel"].shape[-1], convs, denses)
    except (KeyError, TypeError, AttributeError):
        raise UserError("These parameters are no LeNet's; give the folder of a run of experiments.lenet.") from None


def _takes(model: LeNet, params: Mapping[str, Any], shape: tuple[int, int, int]) -> bool:
    """Whether these are the parameters that the network has for images of a shape."""
    if min(shape[:2]) < model.smallest_side:
        return False
    expected = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))["params"]
    found: bool = jax.tree.map(jnp.shape, dict(params)) == jax.tree.map(jnp.shape, expected)
    return found


def _told(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
