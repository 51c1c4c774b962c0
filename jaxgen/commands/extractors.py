"""The feature extractor that a user names: the run of a trained LeNet, or a file of InceptionV3's weights."""

from pathlib import Path

from jaxgen import hashes
from jaxgen.errors import UserError
from jaxgen.measuring import inception_v3, lenet
from jaxgen.measuring.features import Extractor
from jaxgen.runs import load

LENET = "experiments.lenet"
WEIGHTS = (".pth", ".pt", ".safetensors")


def find(path: Path) -> Extractor:
    """The extractor of a path.

    Args:
      path: the workdir of a run of `experiments.lenet`, or a file of InceptionV3's weights.

    Returns:
      The extractor; nothing is downloaded.

    Raises:
      UserError: if there is none.
    """
    if path.suffix in WEIGHTS and not path.is_dir():
        return inception_v3.load(path)
    trained = load.load(path)
    config = trained.experiment.config
    if config is None or config.name != LENET:
        raise UserError(
            f"{path} is a run of {config.name if config else 'an experiment without flags'}, which extracts no features; give "
            f"a run of {LENET}, or a file of InceptionV3's weights ({', '.join(WEIGHTS)})."
        )
    _, variables = trained.network("model")
    params, (images,) = variables["params"], trained.experiment.networks["model"].inputs
    return lenet.extractor(params, shape=images.shape[1:], weights=hashes.digest(params, 0)[:8])
