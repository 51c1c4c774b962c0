"""Authors' repositories, run beside ours from a checkout that an environment variable names; nothing of them is kept here."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


def augment_pipe(variable: str, repository: str) -> Any:
    """The class `AugmentPipe` of github.com/NVlabs/edm or github.com/NVlabs/stylegan2-ada-pytorch, of non-commercial licences.

    Their classes can be pickled with their source, which is left out.
    """
    folder = checkout(variable, repository)
    importlib.import_module("torch")  # here, since what is imported below is forgotten again
    persistence = ModuleType("torch_utils.persistence")
    persistence.persistent_class = lambda kind: kind  # type: ignore[attr-defined]
    stubs = mock.patch.dict(sys.modules, {"torch_utils.persistence": persistence})
    with stubs, mock.patch.object(sys, "path", [str(folder), *sys.path]):
        found = importlib.import_module("training.augment").AugmentPipe
        for name in [name for name in sys.modules if name.partition(".")[0] in ("training", "torch_utils", "dnnlib")]:
            sys.modules.pop(name)  # names that the other repository has too
    return found


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


def made() -> Any:
    """The module `made` of github.com/karpathy/pytorch-made."""
    folder = checkout("JAXGEN_MADE", "github.com/karpathy/pytorch-made")
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        found = importlib.import_module("made")
    sys.modules.pop("made")  # a name that others may have too
    return found


def pixel_cnn_pp() -> SimpleNamespace:
    """The modules `model` and `utils` of github.com/pclucas14/pixel-cnn-pp, a port of openai/pixel-cnn to PyTorch.

    One line of theirs prints as Python 2 did; it is left out.
    """
    folder = checkout("JAXGEN_PIXELCNN_PP", "github.com/pclucas14/pixel-cnn-pp")
    found = {name: ModuleType(name) for name in ("utils", "layers", "model")}
    with mock.patch.dict(sys.modules, found):
        for name, module in found.items():
            text = (folder / f"{name}.py").read_text(encoding="utf-8").replace("print e\n", "pass\n")
            exec(compile(text, str(folder / f"{name}.py"), "exec"), vars(module))
    return SimpleNamespace(**found)


def vdm() -> Any:
    """The module `model_vdm` of github.com/google-research/vdm."""
    folder = checkout("JAXGEN_VDM", "github.com/google-research/vdm")
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        return importlib.import_module("model_vdm")


def rectified_flow() -> tuple[Any, Any]:
    """The modules `losses` and `sde_lib` of github.com/gnobitab/RectifiedFlow, whose networks are functions here."""
    folder = checkout("JAXGEN_RECTIFIED_FLOW", "github.com/gnobitab/RectifiedFlow") / "ImageGeneration"
    package, utils = ModuleType("models"), ModuleType("models.utils")
    utils.get_model_fn = lambda model, train: model  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    stubs = {"models": package, "models.utils": utils}
    with mock.patch.dict(sys.modules, stubs), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        return importlib.import_module("losses"), importlib.import_module("sde_lib")


def edm2(name: str) -> Any:
    """A file of github.com/NVlabs/edm2, whose licence is non-commercial: `training/phema` or `generate_images`."""
    folder = checkout("JAXGEN_EDM2", "github.com/NVlabs/edm2")
    spec = importlib.util.spec_from_file_location(f"edm2_{Path(name).name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    names = ("click", "dnnlib", "torch_utils", "torch_utils.distributed", "tqdm")
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names}):
        spec.loader.exec_module(module)
    return module


def disentanglement_lib(metric: str) -> Any:
    """A metric's module of github.com/google-research/disentanglement_lib, such as `mig`, without TensorFlow.

    Its functions take their settings from gin, whose decorators do nothing here.
    """
    folder = checkout("JAXGEN_DISENTANGLEMENT_LIB", "github.com/google-research/disentanglement_lib")
    gin, gin_tf, six = ModuleType("gin"), ModuleType("gin.tf"), ModuleType("six")
    gin.configurable = lambda *args, **options: lambda function: function  # type: ignore[attr-defined]
    gin.REQUIRED, gin.tf = None, gin_tf  # type: ignore[attr-defined]
    moves = ModuleType("six.moves")
    moves.range = range  # type: ignore[attr-defined]
    stubs = {"gin": gin, "gin.tf": gin_tf, "six": six, "six.moves": moves}
    import sklearn.ensemble  # noqa: F401  here, since what is imported below is forgotten again

    with mock.patch.object(sys, "path", [str(folder), *sys.path]), mock.patch.dict(sys.modules, stubs):
        return importlib.import_module(f"disentanglement_lib.evaluation.metrics.{metric}")


def nvae() -> SimpleNamespace:
    """The modules of github.com/NVlabs/NVAE, whose licence is non-commercial.

    They are called `model`, `distributions`, `utils`, `cells` and `flows`. Their normalisation with swish needs a GPU, and is
    here PyTorch's with swish behind it; their swish is written for an older PyTorch.
    """
    folder = checkout("JAXGEN_NVAE", "github.com/NVlabs/NVAE")
    torch = importlib.import_module("torch")

    class NormSwish(torch.nn.BatchNorm2d):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.silu(super().forward(x))

    stubs = {name: ModuleType(name) for name in ("tensorboardX", "thirdparty.swish", "thirdparty.inplaced_sync_batchnorm")}
    stubs["tensorboardX"].SummaryWriter = None  # type: ignore[attr-defined]
    stubs["thirdparty.swish"].Swish = SimpleNamespace(apply=torch.nn.functional.silu)  # type: ignore[attr-defined]
    stubs["thirdparty.inplaced_sync_batchnorm"].SyncBatchNormSwish = NormSwish  # type: ignore[attr-defined]
    names = {"model": "model", "distributions": "distributions", "utils": "utils"}
    names |= {"cells": "neural_operations", "flows": "neural_ar_operations"}
    # What they compile by TorchScript, which PyTorch has given up, runs as it is written.
    script = mock.patch.object(torch.jit, "script", lambda function: function)
    with script, mock.patch.dict(sys.modules, stubs), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        found = {ours: importlib.import_module(theirs) for ours, theirs in names.items()}
        for theirs in names.values():  # names that others may have too
            sys.modules.pop(theirs)
    found["cells"].SYNC_BN = False
    return SimpleNamespace(**found)


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


def diffaugment() -> Any:
    """The module `DiffAugment_pytorch` of github.com/mit-han-lab/data-efficient-gans."""
    path = checkout("JAXGEN_DIFFAUGMENT", "github.com/mit-han-lab/data-efficient-gans") / "DiffAugment_pytorch.py"
    spec = importlib.util.spec_from_file_location("diffaugment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def adain() -> tuple[Any, Any]:
    """The modules `net` and `function` of github.com/naoto0804/pytorch-AdaIN."""
    folder = checkout("JAXGEN_ADAIN", "github.com/naoto0804/pytorch-AdaIN")
    found = {}
    with mock.patch.dict(sys.modules):
        for name in ("function", "net"):  # the second imports the first by its bare name
            spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = found[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found[name])
    return found["net"], found["function"]


def genforce() -> SimpleNamespace:
    """The generators and discriminators `PGGAN...` and `StyleGAN...` of github.com/genforce/genforce."""
    folder = checkout("JAXGEN_GENFORCE", "github.com/genforce/genforce") / "models"
    package = ModuleType("genforce_models")
    package.__path__ = [str(folder)]  # without their __init__, which imports much more
    kinds = {"pggan": "PGGAN", "stylegan": "StyleGAN"}
    with mock.patch.dict(sys.modules, {"genforce_models": package}):
        found = {
            f"{kinds[kind]}{part.title()}": importlib.import_module(f"genforce_models.{kind}_{part}")
            for kind in kinds
            for part in ("generator", "discriminator")
        }
    return SimpleNamespace(**{name: getattr(module, name) for name, module in found.items()})


def torchvisions_vgg(stages: Any) -> SimpleNamespace:
    """What torchvision's VGG is to others, its `features`, of random weights: torchvision brings a PyTorch of its own."""
    torch = importlib.import_module("torch")
    layers, below = [], 3
    for stage in stages:
        for channels in stage:
            layers += [torch.nn.Conv2d(below, channels, 3, padding=1), torch.nn.ReLU()]
            below = channels
        layers.append(torch.nn.MaxPool2d(2))
    return SimpleNamespace(features=torch.nn.Sequential(*layers))


def spade() -> SimpleNamespace:
    """The modules of github.com/NVlabs/SPADE, whose licence is non-commercial: `networks` and `pix2pix_model`.

    Their synchronised batch normalisation is another repository's, and is here PyTorch's on one device. What they save and
    load with is not needed.
    """
    folder = checkout("JAXGEN_SPADE", "github.com/NVlabs/SPADE")
    torch = importlib.import_module("torch")
    names = ("models.networks.sync_batchnorm", "torchvision", "dill", "util.coco")
    stubs: dict[str, Any] = {name: mock.MagicMock() for name in names}
    stubs["models.networks.sync_batchnorm"].SynchronizedBatchNorm2d = torch.nn.BatchNorm2d
    with mock.patch.dict(sys.modules, stubs), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        networks = importlib.import_module("models.networks")
        return SimpleNamespace(networks=networks, pix2pix_model=importlib.import_module("models.pix2pix_model"))


def cycada() -> SimpleNamespace:
    """The classes `LeNet` and `AddaNet` and the function `train` of ADDA of github.com/jhoffman/cycada_release.

    What loads sets, and what is for photographs, is not needed.
    """
    folder = checkout("JAXGEN_CYCADA", "github.com/jhoffman/cycada_release") / "cycada"
    packages = {name: ModuleType(name) for name in ("cycada", "cycada.models", "cycada.tools")}
    for name, package in packages.items():
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    stubs = ("torchvision", "cycada.data", "cycada.data.data_loader", "cycada.tools.test_task_net")
    with mock.patch.dict(sys.modules, {**packages, **{name: mock.MagicMock() for name in stubs}}):
        importlib.import_module("cycada.models.task_net")
        adda_net = importlib.import_module("cycada.models.adda_net")
        tools = importlib.import_module("cycada.tools.train_adda_net")
        return SimpleNamespace(
            LeNet=importlib.import_module("cycada.models.task_net").LeNet, AddaNet=adda_net.AddaNet, train=tools.train
        )


def cycada_translation() -> Any:
    """The modules `networks` and `cycle_gan_semantic_model` of github.com/jhoffman/pytorch-CycleGAN-and-pix2pix."""
    folder = checkout("JAXGEN_CYCADA_CYCLEGAN", "github.com/jhoffman/pytorch-CycleGAN-and-pix2pix")
    package = ModuleType("models")
    package.__path__ = [str(folder / "models")]  # without their __init__, which finds models by name
    with mock.patch.dict(sys.modules, {"models": package}), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        found = [importlib.import_module(f"models.{name}") for name in ("networks", "cycle_gan_semantic_model")]
        for name in [name for name in sys.modules if name == "util" or name.startswith("util.")]:  # names of others too
            sys.modules.pop(name)
    return SimpleNamespace(networks=found[0], model=found[1].CycleGANSemanticModel)


def munit() -> SimpleNamespace:
    """The modules of github.com/NVlabs/MUNIT, whose licence is non-commercial: `networks` and `trainer`.

    What they load data and weights with is written for an older PyTorch, and not needed.
    """
    folder = checkout("JAXGEN_MUNIT", "github.com/NVlabs/MUNIT")
    importlib.import_module("torch")  # here, since what is imported below is forgotten again
    utils = mock.MagicMock()
    with mock.patch.dict(sys.modules, {"utils": utils}), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        found = {name: importlib.import_module(name) for name in ("networks", "trainer")}
        for name in found:  # names that others may have too
            sys.modules.pop(name)
    return SimpleNamespace(**found)
