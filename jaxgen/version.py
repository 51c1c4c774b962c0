"""The version of this package, said once: `setup.py`, `jaxgen --version` and the records of runs read it here."""

__version__ = "0.1.0"
