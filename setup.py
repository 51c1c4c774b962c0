"""Metadata, dependencies and extras; the tools are configured in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name="jaxgen",
    version=runpy.run_path(str(ROOT / "jaxgen" / "version.py"))["__version__"],
    description="A functional JAX/Flax codebase for generative and representation models",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["jaxgen", "jaxgen.*", "experiments", "experiments.*"]),
    package_data={
        "jaxgen": ["py.typed", "README.md"],
        "experiments.ledger": ["README.md", "results/*.json", "results/*/*.jsonl"],
        "experiments.benchmarks": ["README.md", "results/*.json"],
    },
    install_requires=[
        "jax>=0.10",
        "flax>=0.12.7",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "jaxtyping>=0.3",
        "numpy>=2.0",
        # Data: TFDS reads array_record without TensorFlow; it uses importlib_resources and does not declare it.
        "tensorflow-datasets>=4.9.10",
        "array-record>=0.8",
        "importlib_resources>=6",
        "grain>=0.2.12",
        "pillow>=10",
        "scikit-learn>=1.5",  # holds the UCI digits, so that the first run downloads nothing
        "sentencepiece>=0.2",  # captions as tokens; has no dependencies
        # What a run shows.
        "tyro>=1.0",
        "tqdm>=4.66",
        "matplotlib>=3.10.7",
        "tensorboardX>=2.6.2.2",
    ],
    extras_require={
        # Preparing official TFDS sets (mnist, cifar10 ...) from their raw downloads.
        "tf": ["tensorflow>=2.18"],
        "wandb": ["wandb>=0.18"],
        # Optimal transport between samples, and weights of networks from elsewhere (safetensors).
        "metrics": ["POT>=0.9.5", "safetensors>=0.5"],
        "notebooks": ["jupytext>=1.16", "jupyterlab>=4", "ipykernel>=6"],
        "test": [
            "pytest>=8",
            "chex>=0.1.90",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "beartype>=0.20",
            "POT>=0.9.5",
            "safetensors>=0.5",
            "ruff>=0.8",
            "mypy>=1.13",
            # The notebooks are executed as a user's Jupyter would.
            "jupytext>=1.16",
            "nbclient>=0.10",
            "ipykernel>=6",
        ],
        # Outside implementations that the oracle tests (`pytest -m peers`) compare with. Two more come by
        # `pip install --no-deps torch-fidelity lpips`: torchvision would come along and replace PyTorch, and they do without.
        "peers": ["torch>=2.5", "numpyro>=0.19", "diffusers>=0.30"],
        # What `experiments.benchmarks.peers` measures against; torch-fidelity comes as above.
        "benchmarks": ["torch>=2.5", "diffusers>=0.30", "transformers>=4.50", "pythae>=0.1.2"],
    },
    # An editable install puts the clone on Python's path. Setuptools' other way, a finder of its own, comes last: from the
    # folder that a clone called `jaxgen` lies in, `import jaxgen` would find the clone's folder, as an empty namespace.
    options={"editable_wheel": {"mode": "compat"}},
    entry_points={"console_scripts": ["jaxgen = jaxgen.commands.main:main"]},
)
