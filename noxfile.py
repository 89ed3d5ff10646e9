"""Checks in separate environments: ``pipx run nox -s <name>``.

``.ci/run`` runs the checks that every change must pass; these are further combinations.
"""

from configparser import ConfigParser

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests"]


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests with the newest packages."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest packages that setup.cfg allows."""
    setup = ConfigParser()
    setup.read("setup.cfg")
    required = setup["options"]["install_requires"].split()
    session.install("-e", ".[test]", *(line.replace(">=", "==") for line in required))
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def bolts(session: nox.Session) -> None:
    """Run the tests of lightning-bolts with the real package."""
    session.install("-e", ".[bolts]", "pytest>=8", "hypothesis>=6.100", "mlxtend>=0.23")
    session.run("pytest", "tests/integrations/test_bolts.py", *session.posargs)


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or reference is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "site")


@nox.session(python="3.11")
def mutation(session: nox.Session) -> None:
    """Run mutation tests of the clustering package."""
    session.install("-e", ".[test]", "mutmut==3.8.1")
    session.run("mutmut", "run", *session.posargs, env={"OMP_NUM_THREADS": "1"})
    session.run("mutmut", "results")
