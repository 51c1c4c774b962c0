"""Trains the diffusion systems by their first commands, and puts them side by side on a page.

python -m experiments.benchmarks.side_by_side --out PAGE                    # all of them, on digits
python -m experiments.benchmarks.side_by_side ddpm edm --out PAGE           # these two

The page has samples of every system, its figures (bits per dimension where it has a likelihood), and the Fréchet distance in
the features of a LeNet, which is trained first, against the network evaluations of a sample. What is trained is kept: the same
command goes on where it was stopped.
"""

from pathlib import Path
from typing import Annotated

import tyro

from experiments.benchmarks.first_commands import commands, installed, spent
from jaxgen.commands.command_line import Mistakes
from jaxgen.commands.page import page
from jaxgen.experiments import find

SYSTEMS = (
    *("ncsn", "ddpm", "improved_ddpm", "analytic_dpm", "score_sde", "vdm", "edm", "consistency", "autoguidance"),
    *("flow_matching", "reflow", "dit", "classifier_guidance", "classifier_free_guidance", "latent_diffusion"),
)
"""The experiments, each after those that it may stand on."""


def main(
    systems: Annotated[tuple[str, ...], tyro.conf.Positional] = SYSTEMS,
    *,
    out: Path,
    folder: Path = Path("side_by_side"),
    sampling_steps: tuple[int, ...] = (5, 10, 25, 50),
    n: int = 360,
) -> None:
    """Trains, and makes the page.

    Args:
      systems: the experiments, in the order of the page.
      out: the folder of the page.
      folder: the folder of the runs.
      sampling_steps: the numbers of sampling steps, for those that have such a flag.
      n: the number of samples that are measured; by default as many as digits has test images.
    """
    for name in systems:
        find(name)  # refuses a name that there is none of
    folder.mkdir(parents=True, exist_ok=True)
    for command in dict.fromkeys(command for name in ("lenet", *systems) for command in commands(name)):
        print(f"python -m {command}", flush=True)
        spent(installed(command), folder)
    runs = tuple(folder / "runs" / name for name in systems)
    page(runs, out=out, extractor=folder / "runs" / "lenet", sampling_steps=sampling_steps, n=n)


if __name__ == "__main__":
    with Mistakes():
        tyro.cli(main)
