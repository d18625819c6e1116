"""What several test modules share."""

import pytest
from kills import artifacts
from tree import TINY, Tree

from progsem import compiled

compiled.forget_outdated()


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Tree:
    """A copy of the repository after one run of the tiny study. Whoever uses it leaves that study finished."""
    tree = Tree.copied(tmp_path_factory.mktemp("workflow") / "progsem")
    tree.snakemake("--cores", "2", *TINY)
    tree.undisturbed = artifacts(tree)
    return tree
