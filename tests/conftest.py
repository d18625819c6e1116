"""What several test modules share."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import browser as browsers
import pytest
from kills import artifacts
from tree import ROOT, TINY, Tree

from progsem.jobs import compiled

compiled.forget_outdated()

# The modules that take longest, in the order in which they begin, so that processes which share the tests end
# together. While one of them makes the tiny study, another has modules to run that do without it.
LONGEST = (
    *("test_slurm", "test_extend", "test_workflow", "test_own_models", "test_locales", "test_kills", "test_edits"),
    *("test_corruption", "test_figures", "test_variants", "test_own_programs", "test_rectangles", "test_streams"),
    *("test_make", "test_parallel", "test_module", "test_report", "test_train", "test_disk", "test_housekeeping"),
)


# Folders of tests that need more than a Python: a scheduler, other packages.
APART = ("slurm", "interop")


def pytest_ignore_collect(collection_path, config):
    """Pass by what is apart, unless the command line names such a folder or something in it, as continuous integration
    and `make test-slurm` do.
    """
    if collection_path.parent != ROOT / "tests" or collection_path.name not in APART:
        return None
    asked = (Path(config.invocation_params.dir, str(argument).split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(collection_path) for path in asked) else True


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A copy of the repository after one run of the tiny study, which nobody changes.

    Processes that share the tests share it: the first to need it makes it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "finished"
    with open(shared.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            made = Tree.copied(tmp_path_factory.mktemp("made") / "progsem")
            # Kernels are compiled beside their sources: where they are copied from, once for all copies.
            shutil.rmtree(made.root / "src")
            (made.root / "src").symlink_to(ROOT / "src")
            made.snakemake("--cores", "2", *TINY)
            made.root.rename(shared)
    return shared


@pytest.fixture(scope="module")
def tree(finished, tmp_path_factory) -> Tree:
    """A module's own copy of the repository with the tiny study. Whoever uses it leaves that study finished."""
    tree = Tree(tmp_path_factory.mktemp("workflow") / "progsem")
    shutil.copytree(finished, tree.root)
    tree.undisturbed = artifacts(tree)
    return tree


@pytest.fixture(scope="module")
def browser():
    """A real browser; the tests that ask for it are skipped where there is none."""
    if reason := browsers.problem():
        pytest.skip(reason)
    with browsers.Browser() as running:
        yield running


@pytest.fixture(scope="module")
def one_thread():
    """Tensors are computed by one thread, as in a job."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
