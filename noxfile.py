"""The tests with the oldest packages that setup.py allows, and with the newest there are: `pip install "nox[uv]"`, then `nox`.

Arguments behind `--` go to pytest: `nox -- tests/training/test_loop.py`.
"""

import nox

nox.options.default_venv_backend = "uv"


@nox.session
@nox.parametrize("resolution", ["lowest-direct", "highest"])
def tests(session: nox.Session, resolution: str) -> None:
    """Installs one end of what is supported, and runs the suite on it."""
    session.install("--resolution", resolution, "-e", ".[test]")
    session.run("pytest", *session.posargs)
