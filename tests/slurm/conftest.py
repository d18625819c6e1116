"""Tests on a real scheduler, which take minutes, root and Debian's packages: `make test-slurm` runs them."""

import os

import pytest
from cluster import Cluster, problem

TOLD = "told"  # the property of a test's report whose lines stand at the end of the tests' output


@pytest.fixture(scope="session")
def cluster():
    """A running cluster; skips, with the reason, where there can be none."""
    reason = problem(install=True)
    if reason:
        pytest.skip(f"no SLURM: {reason}")
    with Cluster() as running:
        yield running


@pytest.fixture
def tell(request):
    """Say something at the end of the tests' output: how long things took, which is nothing to assert."""
    return lambda line: request.node.user_properties.append((TOLD, line))


def pytest_terminal_summary(terminalreporter):
    """What the tests told, and why there was no SLURM; from their reports, as tests may run in other processes."""
    lines = {}  # in order, each once
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        lines |= {line: None for name, line in report.user_properties if name == TOLD}
    for report in terminalreporter.getreports("skipped"):
        if "no SLURM: " in str(report.longrepr[2]):
            lines[f"tests on SLURM skipped: {report.longrepr[2].split('no SLURM: ')[1]}"] = None
    if lines:
        terminalreporter.section("SLURM")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def outside_of_jobs(monkeypatch):
    """As on a login node, also where these tests are themselves a job of some cluster."""
    for name in os.environ:
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SNAKEMAKE_")):
            monkeypatch.delenv(name)
