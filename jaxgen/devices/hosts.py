"""Several processes that train together, on one host or several."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen import progress
from jaxgen.errors import UserError
from jaxgen.flags import Count, Whole, checked


@checked
def join_hosts(
    *,
    coordinator: str | None = None,
    processes: Count | None = None,
    process: Whole | None = None,
    join_timeout: Count = 300,
) -> None:
    """Makes this process one of several that train together; to be called before anything of JAX runs.

    Args:
      coordinator: HOST:PORT of process 0; `auto` takes the address, the number of processes and this one's number from SLURM,
        Open MPI, TPU or GKE, as JAX detects them.
      processes: the number of processes that train together.
      process: the number of this process, from 0.
      join_timeout: the number of seconds to wait for the other processes.

    Raises:
      UserError: if a part is missing, or the others cannot be met.
      SystemExit: 2, with a sentence on stderr, if the others do not come in time.
    """
    if coordinator is None:
        if processes is not None or process is not None:
            raise UserError("--processes and --process need the --coordinator HOST:PORT at which they meet.")
        return
    explicit: dict[str, Any] = {}
    if coordinator == "auto":
        if processes is not None or process is not None:
            raise UserError("--coordinator auto detects --processes and --process; leave them out, or give the HOST:PORT.")
    else:
        if processes is None or process is None or process >= processes:
            raise UserError(
                "--coordinator HOST:PORT needs --processes N and --process I with 0 <= I < N; `auto` detects all three."
            )
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UserError(
                f"--coordinator is {coordinator}; give HOST:PORT, a free port from 1 to 65535 of process 0's host, such as "
                f"{(host or coordinator).partition(':')[0] or 'localhost'}:8476."
            )
        explicit = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    # Read only where the CPU is what trains.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    with _waiting(coordinator, processes, process, join_timeout):
        try:
            # Longer than ours: where JAX's own time runs out it ends the process by a stack of C++.
            jax.distributed.initialize(**explicit, initialization_timeout=join_timeout + 60)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"The processes could not meet at {coordinator} ({reason}); check the address and that all were started."
            ) from None


def find_devices() -> None:
    """Refuses a process whose JAX has no device, before anything is computed.

    Raises:
      UserError: naming `JAX_PLATFORMS` and what JAX says.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        # Where a platform has no plugin, JAX may end by an assertion without a text.
        reason = (str(error).splitlines() or [f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"])[0]
        raise UserError(f"JAX finds no device ({reason}); set JAX_PLATFORMS=cpu, or install JAX for yours.") from None


def shard() -> tuple[int, int]:
    """This host's number, and how many hosts there are."""
    return jax.process_index(), jax.process_count()


def is_main_host() -> bool:
    """Whether this is the host that writes and speaks."""
    return jax.process_index() == 0


def barrier(purpose: str) -> None:
    """Waits for the other hosts."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(purpose)


def max_over_hosts(number: int) -> int:
    """The largest of the hosts' numbers."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


@contextlib.contextmanager
def _waiting(coordinator: str, processes: int | None, process: int | None, timeout: float) -> Iterator[None]:
    """Says what is waited for, and ends the process by a sentence where it does not come."""
    met = threading.Event()
    who = (
        "the other processes" if processes is None else f"{processes - 1} other process{'es' * (processes != 2)} of {processes}"
    )
    missing = "process 0 has not begun, or not all have" if process else "not all of them have begun"

    def watch() -> None:
        if met.wait(min(5.0, timeout / 2)):
            return
        progress.say(f"Waiting for {who} to meet at {coordinator}, for {timeout:.0f} seconds at most (--join-timeout).")
        if met.wait(timeout - min(5.0, timeout / 2)):
            return
        progress.say(
            f"After {timeout:.0f} seconds the processes have not met at {coordinator}: {missing}, or the address cannot be "
            "reached; start all, each with its own --process, and the same --coordinator and --processes."
        )
        os._exit(2)  # JAX is deep in C++, where no exception of this thread reaches it

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        met.set()
