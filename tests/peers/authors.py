"""Authors' repositories, run beside ours from a checkout that an environment variable names; nothing of them is kept here."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest


def checkout(variable: str, repository: str) -> Path:
    """The folder of a checkout; tests that ask for it where the variable is not set are skipped."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} does not name a checkout of {repository}", allow_module_level=True)
    return Path(folder)


def edm() -> Any:
    """The module `training.networks` of github.com/NVlabs/edm, whose licence is non-commercial."""
    path = checkout("JAXGEN_EDM", "github.com/NVlabs/edm") / "training" / "networks.py"
    # Their classes can be pickled with their source; without that they need no other file of theirs.
    persistence = ModuleType("torch_utils.persistence")
    persistence.persistent_class = lambda kind: kind  # type: ignore[attr-defined]
    package = ModuleType("torch_utils")
    package.persistence = persistence  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, {"torch_utils": package, "torch_utils.persistence": persistence}):
        spec = importlib.util.spec_from_file_location("edm_networks", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def guided_diffusion() -> Any:
    """The module `guided_diffusion.unet` of github.com/openai/guided-diffusion."""
    folder = checkout("JAXGEN_GUIDED_DIFFUSION", "github.com/openai/guided-diffusion")
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        return importlib.import_module("guided_diffusion.unet")


def improved_diffusion(module: str) -> Any:
    """A module of github.com/openai/improved-diffusion: `gaussian_diffusion`, `respace` or `resample`."""
    folder = checkout("JAXGEN_IMPROVED_DIFFUSION", "github.com/openai/improved-diffusion")
    # Their counts are of the type that numpy called `int` then.
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        return importlib.import_module(f"improved_diffusion.{module}")


def vdm() -> Any:
    """The module `model_vdm` of github.com/google-research/vdm."""
    folder = checkout("JAXGEN_VDM", "github.com/google-research/vdm")
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        return importlib.import_module("model_vdm")


def vqvae2() -> Any:
    """The classes `VQVAE` and `PixelSNAIL` of github.com/rosinality/vq-vae-2-pytorch."""
    folder = checkout("JAXGEN_VQVAE2", "github.com/rosinality/vq-vae-2-pytorch")
    # Their quantiser adds up what several processes count; here there is one.
    alone = ModuleType("distributed")
    alone.all_reduce = lambda tensor: tensor  # type: ignore[attr-defined]
    found = ModuleType("vq_vae_2")
    for name in ("vqvae", "pixelsnail"):
        with mock.patch.dict(sys.modules, {"distributed": alone}):
            spec = importlib.util.spec_from_file_location(f"vq_vae_2_{name}", folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        vars(found).update({kind: value for kind, value in vars(module).items() if kind in ("VQVAE", "PixelSNAIL")})
    return found
