"""The process that tests/faults breaks: a run of a small experiment, with a fault at a chosen system call.

Started as a script it imports everything once and forks a process for each request on stdin, so that fifty restarts take a
minute. What the forked process does from there on is what `python breakable.py ARGS` or `jaxgen ARGS` does. A request is a line
of JSON; so is its answer.

A fault is `{"at": event, "match": regex, "nth": k, "do": action}`: at the k-th event whose path matches, counted from 1, and
before it happens, do one of ACTIONS. The events are Python's audit events of files that are opened to write, renamed, made or
removed, `fsync`, and `read`, `gather` and `evaluate` of the experiment below. Only what lies below the current folder counts.
"""

import datetime
import errno
import faulthandler
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
from games import ARRAYS, regression

import jaxgen
from jaxgen import data
from jaxgen.commands.main import main

IMPORTED = (
    "grain",
    "jaxgen.training.not_finite",
    "jaxgen.training.loop",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "orbax.checkpoint",
)
IMPORTED += ("PIL.PngImagePlugin", "tensorboardX.proto.event_pb2", "tensorboardX.record_writer")
EVENTS = {"os.rename": "rename", "os.mkdir": "mkdir", "os.remove": "remove", "os.rmdir": "rmdir", "os.truncate": "truncate"}


@jaxgen.recorded
def experiment(*, steps: int = 40, source: str = "memory", cache_budget: float = 4.0, rows: int = 1) -> jaxgen.Experiment:
    """`games.regression` with a second evaluator that is final, data from anywhere, and more of them.

    Args:
      steps: how many.
      source: memory, or a folder of grey images of 4x4.
      cache_budget: as everywhere; 0 reads from the folder.
      rows: how many times the images are repeated.
    """
    base = regression(steps=steps)
    if source == "memory":
        images = data.from_examples(Rows(rows), name="noise", fingerprint=f"noise {rows}")
    else:
        images = data.from_folder(source, grey=True)
    if cache_budget:
        images = data.cached(images)
    gather = images.gather
    images = images._replace(gather=lambda indices: sys.audit("faults.gather", "gather") or gather(indices))
    transform = data.chain(data.scale(), data.binarize())

    def evaluator(scale: float):
        inner = jaxgen.mean_over(images, jaxgen.loss_of(base.players["model"]), batch_size=5, transform=transform)

        def evaluate(state, key, track):
            def told(iterable, **options):
                for item in track(iterable, **options):
                    sys.audit("faults.evaluate", "evaluate")
                    yield item

            return {name: scale * value for name, value in inner(state, key, told).items()}

        return evaluate

    return base._replace(
        train=data.shuffled(images, 6, transform),
        evaluators={"test": evaluator(1.0), "other": evaluator(2.0)},
        final={"test": evaluator(3.0), "last": evaluator(4.0)},
    )


class Rows:
    """Examples as a dataset's reader gives them: in memory, and yet read."""

    def __init__(self, times: int) -> None:
        self.images = np.concatenate([ARRAYS["image"]] * times)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        sys.audit("faults.read", "read")
        return {"image": self.images[i]}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill(leave: int = 0) -> None:
    """Fills the disk below the current folder."""
    with open("ballast", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while os.statvfs(".").f_bavail * os.statvfs(".").f_frsize >= leave + size:
                    file.write(bytes(size))
            except OSError:
                pass


def turn_read_only() -> None:
    """Mounts the workdir over itself: what is opened from now on cannot be written."""
    subprocess.run("mount --bind run run && mount -o remount,bind,ro run", shell=True, check=True)


def caches() -> list[str]:
    found = os.walk(os.environ["JAXGEN_CACHE"])
    return [os.path.join(folder, name) for folder, _, names in found for name in names if name.endswith(".npy")]


def truncate() -> None:
    """Cuts the caches short, as a copy over them or a file system that was mended does."""
    for path in caches():
        os.truncate(path, 200)


def delete() -> None:
    for path in caches():
        os.remove(path)


def jump(days: float) -> None:
    """Sets the clock, for this process."""
    clock, nanoseconds, now = time.time, time.time_ns, datetime.datetime

    class Jumped(now):
        @classmethod
        def now(cls, tz=None):
            return now.now(tz) + datetime.timedelta(days=days)

        @classmethod
        def utcnow(cls):
            return now.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(days=days)

    time.time = lambda: clock() + days * 86400
    time.time_ns = lambda: nanoseconds() + int(days * 86400e9)
    datetime.datetime = Jumped


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def mistake() -> None:
    raise ValueError("a mistake of the user's own")


def send(signum: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), signum)
        time.sleep(0)


ACTIONS: dict[str, Any] = {
    "kill": kill,
    "terminate": lambda: send(signal.SIGTERM),
    "interrupt": lambda: send(signal.SIGINT),
    "fill": fill,
    "nearly fill": lambda: fill(20_000),
    "EIO": lambda: refuse(errno.EIO),
    "EROFS": lambda: refuse(errno.EROFS),
    "mistake": mistake,
    "back a day": lambda: jump(-1),
    "forward a year": lambda: jump(365),
    "interrupt twice": lambda: send(signal.SIGINT, 2),
    "terminate twice": lambda: send(signal.SIGTERM, 2),
    "hang up": lambda: send(signal.SIGHUP),
    "terminate, kill": lambda: (send(signal.SIGTERM), kill()),
    "truncate the cache": truncate,
    "delete the cache": delete,
    "turn read-only": turn_read_only,
    "wait a second": lambda: time.sleep(1),
    "wait": lambda: time.sleep(600),
}


def install(faults: list[dict[str, Any]], log: str | None) -> None:
    """Has each fault strike when its event comes; `log` is told of every event."""
    here, counts, inside = os.getcwd(), [0] * len(faults), [False]
    real = os.fsync

    def fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle if isinstance(handle, int) else handle.fileno()}")
        sys.audit("faults.fsync", path)
        real(handle)

    os.fsync = fsync
    log_handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else None

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return
            name = "open"
        elif event.startswith("faults."):
            name, path = event.removeprefix("faults."), args[0]
        elif event in EVENTS:
            name, path = EVENTS[event], args[1] if event == "os.rename" else args[0]
        else:
            return
        path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
        if (path.startswith("/") and not path.startswith(here)) or inside[0]:
            return
        inside[0] = True
        try:
            path = path.removeprefix(here + "/")
            if log_handle is not None:
                os.write(log_handle, f"{name} {path}\n".encode())
            for i, fault in enumerate(faults):
                if fault.get("at", name) == name and re.search(fault.get("match", ""), path):
                    counts[i] += 1
                    if counts[i] == fault.get("nth", 1):
                        ACTIONS[fault["do"]]()
        finally:
            inside[0] = False

    sys.addaudithook(hook)


def serve() -> dict[str, Any] | None:
    """Answers requests; returns one in the process that is to do it, and None at the end."""
    running: dict[int, int | None] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if "shell" in request:
            done = subprocess.run(request["shell"], shell=True, capture_output=True, text=True)
            answer = done.returncode, done.stdout + done.stderr
        elif "wait" in request:
            pid, deadline = request["wait"], time.monotonic() + request["seconds"]
            while running[pid] is None:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    running[pid] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() >= deadline:  # looked at first: to wait no time is to ask
                    break
                else:
                    time.sleep(0.005)
            answer = running[pid]
        else:
            pid = os.fork()
            if pid == 0:
                return request
            running[pid], answer = None, pid
        print(json.dumps(answer), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Makes this process the one that was asked for."""
    os.setpgid(0, 0)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    for target, path in enumerate((os.devnull, request["out"], request["err"])):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT if target else os.O_RDONLY)
        os.dup2(handle, target)
        os.close(handle)
    sys.argv = ["breakable.py", *request["args"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGUSR1)  # for a process that hangs
    install(request["faults"], request["log"])


def serve_or_run() -> None:
    if sys.argv[1:] == ["--serve"]:
        for module in IMPORTED:
            importlib.import_module(module)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("ready", flush=True)
        request = serve()
        if request is None:
            return
        become(request)
        if request["command"] == "jaxgen":
            main(request["args"])
            return
    jaxgen.run_experiment(experiment)


if __name__ == "__main__":
    serve_or_run()
