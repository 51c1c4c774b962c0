"""What every test stands on: CPU, strict types, and no file outside of a temporary folder."""

import ctypes
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Simulated devices, for what must not depend on how many there are.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import pytest
from hypothesis import settings

# The first example of a property compiles, and a busy machine is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell's background job ignores Ctrl-C and has its children ignore it, and tests send it to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

STRICT = {"distributions", "diffusion", "nn", "models", "losses", "objectives", "samplers", "metrics", "analysis", "data"}
"""Rooms whose tests run without implicit dtype promotion; optax's Adam promotes, so training does not."""

SHARED = Path(os.environ.get("JAXGEN_TEST_DATA", Path(__file__).parents[2] / "shared" / "tensorflow_datasets"))
"""Prepared TFDS sets for the tests that need real images; they skip where it is absent."""

collect_ignore_glob = ["*conftest.py"]
"""Holds no examples; two of them in one call would be two modules of one name."""


def pytest_configure(config: pytest.Config) -> None:
    """Programs that run for a moment are compiled for long: without most of XLA's passes it takes a third less, and without
    its fusion emitters, which later versions cannot leave out, a third less again.

    `pytest -m slow` and `pytest -m peers` compile as users do.
    """
    # Tracing makes many objects and little garbage: by Python's own thresholds a seventh of the time goes into looking for it.
    gc.set_threshold(50_000, 20, 100)
    if "not slow" in config.option.markexpr:
        if jax.__version_info__ < (0, 11) and "fusion_emitters" not in os.environ["XLA_FLAGS"]:
            os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
        # Workers fill the cores already; parts compiled side by side only cost what it takes to part them.
        if "codegen_split" not in os.environ["XLA_FLAGS"]:
            os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # for processes that tests start
        jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")


@pytest.fixture(scope="session", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Datasets and caches of the session, so that a test neither reads nor fills the user's own."""
    base = tmp_path_factory.mktemp("home")
    os.environ["JAXGEN_CACHE"] = str(base / "cache")
    # Programs and prepared sets are those of all workers of the session: a resumed run compiles what its first part did.
    together = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["TFDS_DATA_DIR"] = str(together / "tensorflow_datasets")
    jax.config.update("jax_compilation_cache_dir", str(together / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


MOST = 2 << 30
"""Bytes of memory above which a process of tests gives back what it can."""


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """Gives back the memory of programs that no later file of tests runs.

    JAX keeps every program that it has compiled, and the C library keeps the memory of those that are dropped: a process would
    grow to 6 GB and more, until the system ends it.
    """
    yield
    pages = Path("/proc/self/statm")
    if pages.is_file() and int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MOST:
        jax.clear_caches()
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)


@pytest.fixture(autouse=True)
def strict_dtypes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Makes an implicit promotion an error, unless a test trains (`@pytest.mark.trains`)."""
    strict = request.path.parent.name in STRICT and "trains" not in request.keywords
    with jax.numpy_dtype_promotion("strict" if strict else "standard"):
        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 5, 10, 15 and 20, the last in the middle of a window of metrics."""
    from games import fit, regression

    folder = tmp_path_factory.mktemp("written") / "run"
    fit(regression(steps=20, ema=0.9), folder, log_every=7, keep=4)
    return folder


@pytest.fixture
def run_folder(written: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(written, tmp_path / "run"))


@pytest.fixture
def shared() -> str:
    """The folder of prepared sets."""
    if not SHARED.is_dir():
        pytest.skip(f"prepared TFDS sets are absent ({SHARED}; JAXGEN_TEST_DATA names another folder)")
    return str(SHARED)
