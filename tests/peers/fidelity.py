"""torch-fidelity without torchvision, which it imports and whose builds go with one build of PyTorch alone."""

import sys
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import pytest

STANDING_IN = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")


def load() -> Any:
    """The package; a test that asks for it where it is not installed is skipped."""
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
    modules: dict[str, ModuleType] = {}
    for name in STANDING_IN:
        modules[name] = _Empty(name)
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(modules[parent], own, modules[name])
    # Only while it is imported: other packages ask whether torchvision is there.
    with mock.patch.dict(sys.modules, modules):
        before = set(sys.modules)
        reason = "torch-fidelity is not installed (pip install --no-deps torch-fidelity)"
        package = pytest.importorskip("torch_fidelity", reason=reason)
        added = {name: module for name, module in sys.modules.items() if name not in before}
    sys.modules.update(added)
    return package


class _Empty(ModuleType):
    """A module in which every name is there: an empty class, which may be inherited from and is never called."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
