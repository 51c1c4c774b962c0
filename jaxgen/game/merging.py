"""Rules by which the replicas and the micro-batches of a step merge the variables that a loss returns.

Under `jit` a step sees the global batch, and there is nothing to merge over replicas. Under `pmap` each replica makes variables
of its own, which must be the same on all of them after the step. With `accumulate` the micro-batches take turns: each gets the
variables that the one before it left. A player says which rule its variables have, `Player(loss, tx, merge={"pool": whole})`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.devices import collectives
from jaxgen.errors import UserError
from jaxgen.types import Array, PyTree, Vars


class Merge(NamedTuple):
    """A rule for variables.

    Fields:
      over_replicas: the function `(before, after) -> merged` of the variables before the step and those that a replica made.
      micro_batches: whether the micro-batches of a step may write them one after another.
    """

    over_replicas: Callable[[PyTree, PyTree], PyTree]
    micro_batches: bool = True


def _mean(before: PyTree, after: PyTree) -> PyTree:
    return jax.tree.map(lambda x: collectives.mean(x) if jnp.issubdtype(x.dtype, jnp.inexact) else x, after)


def _total(before: PyTree, after: PyTree) -> PyTree:
    def added(old: Array, new: Array) -> Array:
        return old + collectives.total(new - old)

    return jax.tree.map(added, before, after)


def _same(before: PyTree, after: PyTree) -> PyTree:
    return after


mean = Merge(_mean)
"""The mean of the replicas, as of batch statistics; whole numbers, such as a number of steps, stay as each replica has them."""

total = Merge(_total)
"""The value before the step with what all replicas have added to it, as of counts and sums that grow. An average that decays is
no such sum: it makes its sums global by `collectives.total` before it decays, and is `same`."""

same = Merge(_same)
"""The value of each replica, because all have computed the same: from gathered examples (`collectives.gather`), from sums over
the replicas, and from draws with the keys of the examples. Examples are an EMA codebook and the history of a loss."""

whole = same._replace(micro_batches=False)
"""The value that is the same on all replicas and written once a step, from the whole batch: an image pool or a queue. It
refuses `accumulate`."""


def over_replicas(before: Vars, after: Vars, rules: Mapping[str, Merge]) -> dict[str, Any]:
    """The variables of all replicas after a player's turn; where there is one replica, those that it made.

    Args:
      before: the variables before the turn, by name.
      after: the variables that the loss returned, by name.
      rules: the rules by the name of a variable, or by that of a network's collection; all others are `mean`.

    Returns:
      The merged variables.
    """
    if not collectives.named():
        return dict(after)

    def merged(name: str, new: PyTree) -> PyTree:
        old = before.get(name)
        if name in rules or not isinstance(new, Mapping):
            return rules.get(name, mean).over_replicas(old, new)
        of = old if isinstance(old, Mapping) else {}
        return {part: rules.get(part, mean).over_replicas(of.get(part), x) for part, x in new.items()}

    return {name: merged(name, new) for name, new in after.items()}


def check_names(vars: Vars, player: str, rules: Mapping[str, Merge]) -> None:
    """Refuses rules for variables that there are not.

    Args:
      vars: the variables by name.
      player: the name of the player.
      rules: the player's rules by name.

    Raises:
      ValueError: if a name is neither that of a variable nor that of a network's collection.
    """
    known = {*vars, *(part for tree in vars.values() if isinstance(tree, Mapping) for part in tree)}
    for name in rules:
        if name not in known:
            raise ValueError(f"player {player!r} says how {name!r} is merged, which is no variable; there are {sorted(known)}")


def check_micro_batches(player: str, rules: Mapping[str, Merge], accumulate: int) -> None:
    """Refuses micro-batches where variables are written once a step.

    Args:
      player: the name of the player.
      rules: the player's rules by name.
      accumulate: the number of micro-batches.

    Raises:
      UserError: if there are several micro-batches and a rule that has none.
    """
    refusing = [repr(name) for name, rule in rules.items() if not rule.micro_batches]
    if accumulate > 1 and refusing:
        raise UserError(
            f"--accumulate {accumulate} cuts a batch into micro-batches, and {' and '.join(refusing)} of player {player!r} "
            "can be written only once a step, from the whole batch; leave --accumulate out."
        )
