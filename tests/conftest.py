"""What several test modules share."""

import subprocess

import pytest
from kills import artifacts
from tree import TINY, Tree

from progsem.jobs import compiled

compiled.forget_outdated()


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Tree:
    """A copy of the repository after one run of the tiny study. Whoever uses it leaves that study finished."""
    tree = Tree.copied(tmp_path_factory.mktemp("workflow") / "progsem")
    tree.snakemake("--cores", "2", *TINY)
    tree.undisturbed = artifacts(tree)
    return tree


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, encoding="utf-8"
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a file system: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
