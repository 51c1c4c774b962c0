"""The rows of the ledger: figures of publications, the commands that measure them, and the origin of each setting."""

from ..row import Row
from . import classifiers, diffusion, games, likelihoods

ROWS: dict[str, Row] = {**likelihoods.ROWS, **games.ROWS, **diffusion.ROWS, **classifiers.ROWS}
