"""Tests on a real scheduler, which take minutes, root and Debian's packages: only where this folder is asked for.

`make test-slurm` and continuous integration name it; a bare `pytest` passes it by.
"""

import os
import time
from pathlib import Path

import pytest
from cluster import Cluster, problem

HERE = Path(__file__).parent
_told: list[str] = []  # what stands at the end of the tests' output


def pytest_ignore_collect(collection_path, config):
    """Collect nothing here unless the command line names this folder or something in it."""
    asked = (Path(config.invocation_params.dir, str(argument).split("::")[0]).resolve() for argument in config.args)
    return None if any(path == HERE or HERE in path.parents for path in asked) else True


@pytest.fixture(scope="session")
def cluster():
    """A running cluster; skips, with the reason, where there can be none."""
    reason = problem(install=True)
    if reason:
        _told.append(f"tests on SLURM skipped: {reason}")
        pytest.skip(reason)
    began = time.monotonic()
    with Cluster() as running:
        _told.append(f"SLURM was up after {time.monotonic() - began:.1f} s")
        yield running


@pytest.fixture
def tell():
    """Say something at the end of the tests' output: how long things took, which is nothing to assert."""
    return _told.append


def pytest_terminal_summary(terminalreporter):
    if _told:
        terminalreporter.section("SLURM")
        for line in _told:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def outside_of_jobs(monkeypatch):
    """As on a login node, also where these tests are themselves a job of some cluster."""
    for name in os.environ:
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SNAKEMAKE_")):
            monkeypatch.delenv(name)
