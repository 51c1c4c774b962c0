"""The choice of a run's checkpoint: the last, the best, or that of a step."""

from jaxgen.best import described
from jaxgen.errors import UserError
from jaxgen.runs import workdir
from jaxgen.runs.checkpoint import Checkpoints
from jaxgen.runs.preserved import listed


def choose(checkpoints: Checkpoints, folder: workdir.Workdir, *, step: int | None = None, best: bool = False) -> int:
    """The step of the checkpoint that is asked for."""
    one_of(best, step)
    there, path = checkpoints.steps(), folder.path
    if not there:
        raise UserError(f"The run in {path} has no checkpoint yet; train it, with a smaller --save-every if need be.")
    steps = listed(there)
    if best and step is None and folder.best is None:
        raise UserError(
            f"The experiment of {path} evaluates no value by which its steps could be compared (an adversarial loss depends on "
            f"the opponent), so that no checkpoint is the best; choose one of step {steps} by --step."
        )
    if best and step is None and folder.best is not None:
        found = checkpoints.best()
        if found is None:
            raise UserError(
                f"The run in {path} has no best checkpoint: {described(folder.best)} marks it, and no finite value was "
                f"reported at the steps that it has, {steps}; choose one by --step."
            )
        return found
    step_chosen = there[-1] if step is None else step
    if step_chosen not in there:
        raise UserError(f"The run in {path} has no checkpoint of step {step:,}; it has {steps}.")
    return step_chosen


def one_of(best: bool, step: int | None) -> None:
    """Refuses to take two checkpoints at once."""
    if best and step is not None:
        raise UserError(f"--best and --step {step} name a checkpoint each; give one of them.")
