"""What several test modules share."""

import pytest
from kills import artifacts
from tree import TINY, Tree

from progsem import compiled

compiled.forget_outdated()

WHOLE_WORKFLOWS = {"tree", "cluster"}  # session fixtures that take a minute and all cores


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Under `pytest -n`, one worker takes all tests that share those fixtures, the others take the rest."""
    for item in items:
        if WHOLE_WORKFLOWS & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("whole workflows"))


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Tree:
    """A copy of the repository after one run of the tiny study. Whoever uses it leaves that study finished."""
    tree = Tree.copied(tmp_path_factory.mktemp("workflow") / "progsem")
    tree.snakemake("--cores", "2", *TINY)
    tree.undisturbed = artifacts(tree)
    return tree
