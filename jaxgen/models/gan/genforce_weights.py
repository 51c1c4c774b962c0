"""Weights of progressive GAN and StyleGAN from PyTorch, in the layout of genforce, which has converted the authors'.

Its files hold several networks, of which `generator_smooth`, the average, is taken before `generator`.
Source: github.com/genforce/genforce, models/pggan_*.py and stylegan_*.py, synthesize.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.models.gan import progressive, stylegan
from jaxgen.types import Params, Vars

Tensors = Mapping[str, np.ndarray]


def progressive_generator(tensors: Tensors, module: progressive.Generator, latents: int, *, name: str = "the file") -> Params:
    """The parameters of progressive GAN's generator.

    Args:
      tensors: the tensors by name: `layer0.weight`, or `generator.layer0.weight`.
      module: the generator.
      latents: the dimension of z.
      name: the name of the place that they are from, for messages.

    Returns:
      The parameters.

    Raises:
      UserError: if a tensor is missing or has another shape than the module's.
    """
    of = _Network(tensors, ("generator_smooth.", "generator."), name)
    params: dict[str, Any] = {}
    for level in range(len(module.channels)):
        if level:
            block: dict[str, Any] = {"conv0": of.conv(f"layer{2 * level}")}
        else:
            # Their dense layer is a convolution of one pixel that is padded: it sees its kernel turned round.
            kernel = of["layer0.weight"][:, :, ::-1, ::-1].transpose(1, 2, 3, 0)
            dense = {"layer": {"kernel": kernel.reshape(len(kernel), -1)}}
            block = {"dense": dense, "bias": of["layer0.bias"]}
        params[f"blocks_{level}"] = {**block, "conv1": of.conv(f"layer{2 * level + 1}")}
        params[f"to_rgb_{level}"] = {"conv": of.conv(f"output{level}")}
    return of.fitting(params, module, jnp.zeros((1, latents)))[0]


def stylegan_generator(
    tensors: Tensors, module: stylegan.Generator, *, fused: int = 128, name: str = "the file"
) -> tuple[Params, Vars]:
    """The parameters of StyleGAN's generator, and the running average of w.

    Args:
      tensors: the tensors by name: `synthesis.layer0.const`, or `generator.synthesis.layer0.const`.
      module: the generator, for which z is as wide as w.
      fused: the side of the maps from which on the authors enlarge by a transposed convolution, which sees its kernel turned
        round.
      name: the name of the place that they are from, for messages.

    Returns:
      The parameters, and the variables, whose collection is `averages`.

    Raises:
      UserError: if a tensor is missing or has another shape than the module's.
    """
    of = _Network(tensors, ("generator_smooth.", "generator."), name)
    params: dict[str, Any] = {"mapping": {f"dense{i}": of.dense(f"mapping.dense{i}") for i in range(module.mapping_depth)}}
    for level in range(len(module.channels)):
        block: dict[str, Any] = {}
        for i in range(2):
            own = f"synthesis.layer{2 * level + i}"
            if level == i == 0:
                block["constant"] = of[f"{own}.const"][0].transpose(1, 2, 0)
            else:
                turned = i == 0 and min(module.shape[:2]) >> len(module.channels) - 1 - level >= fused
                block[f"conv{i}"] = of.conv(own, bias=False, turned=turned)
            noise = {"weight": of[f"{own}.apply_noise.weight"]}
            block[f"layer{i}"] = {"bias": of[f"{own}.bias"], "noise": noise, "style": of.dense(f"{own}.style")}
        params[f"blocks_{level}"] = block
        params[f"to_rgb_{level}"] = {"conv": of.conv(f"synthesis.output{level}")}
    found, variables = of.fitting(params, module, jnp.zeros((1, module.latents)))
    averages = {"average": {**variables["averages"]["average"], "mean": jnp.asarray(of["truncation.w_avg"])}}
    return found, {"averages": averages}


def discriminator(
    tensors: Tensors, module: progressive.Discriminator, shape: tuple[int, ...], *, name: str = "the file"
) -> Params:
    """The parameters of the discriminator of either.

    Args:
      tensors: the tensors by name: `input0.weight`, or `discriminator.input0.weight`.
      module: the discriminator.
      shape: the shape (H, W, C) of the images.
      name: the name of the place that they are from, for messages.

    Returns:
      The parameters.

    Raises:
      UserError: if a tensor is missing or has another shape than the module's.
    """
    of = _Network(tensors, ("discriminator.",), name)
    params: dict[str, Any] = {}
    last = len(module.channels) - 1
    for level in range(last + 1):
        number = last - level  # theirs are counted from the largest map
        params[f"from_rgb_{level}"] = {"conv": of.conv(f"input{number}")}
        if level:
            params[f"blocks_{level}"] = {f"conv{i}": of.conv(f"layer{2 * number + i}") for i in range(2)}
            continue
        dense = of.dense(f"layer{2 * number + 1}")
        # Theirs flattens maps with the channels first.
        kernel = dense["layer"]["kernel"]
        side = round((len(kernel) / module.channels[0]) ** 0.5)
        turned = kernel.reshape(module.channels[0], side, side, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)
        head = {"conv": of.conv(f"layer{2 * number}"), "dense0": {"layer": {**dense["layer"], "kernel": turned}}}
        params["blocks_0"] = {**head, "dense1": of.dense(f"layer{2 * number + 2}")}
    return of.fitting(params, module, jnp.zeros((1, *shape)))[0]


class _Network:
    """The tensors of one of the networks of a file."""

    def __init__(self, tensors: Tensors, prefixes: tuple[str, ...], name: str):
        self.tensors, self.name = tensors, name
        self.prefix = next((p for p in prefixes if any(key.startswith(p) for key in tensors)), "")

    def __getitem__(self, key: str) -> np.ndarray:
        if self.prefix + key not in self.tensors:
            raise UserError(
                f"{self.name} has no {self.prefix + key}; give a file of genforce's of this network, with as many levels and "
                "layers."
            )
        return np.asarray(self.tensors[self.prefix + key], np.float32)

    def conv(self, key: str, *, bias: bool = True, turned: bool = False) -> dict[str, Any]:
        weight = self[f"{key}.weight"].transpose(2, 3, 1, 0)
        kernel = {"kernel": weight[::-1, ::-1] if turned else weight}
        return {"layer": {**kernel, "bias": self[f"{key}.bias"]} if bias else kernel}

    def dense(self, key: str) -> dict[str, Any]:
        return {"layer": {"kernel": self[f"{key}.weight"].T, "bias": self[f"{key}.bias"]}}

    def fitting(self, params: Params, module: Any, inputs: jax.Array) -> tuple[Params, Vars]:
        """The parameters on the device, and the other variables as they begin; a `UserError` if a shape is another one."""
        variables = jax.eval_shape(module.init, jax.random.key(0), inputs)
        own = dict(jax.tree_util.tree_leaves_with_path(variables["params"]))
        for path, value in jax.tree_util.tree_leaves_with_path(params):
            if path not in own or own[path].shape != value.shape:
                expected = list(own[path].shape) if path in own else "none"
                raise UserError(
                    f"{self.name} has {jax.tree_util.keystr(path, simple=True, separator='/')} of {list(value.shape)}, and the "
                    f"network {expected}; give the network the sides, channels and latents of the file."
                )
        others = {name: value for name, value in variables.items() if name != "params"}
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), others)
        return jax.tree.map(jnp.asarray, params), zeros
