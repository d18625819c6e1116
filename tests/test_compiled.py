"""Compiled kernels: kept while their sources stay the same, gone when a module that they take from changes."""

import os
import subprocess
import sys

import pytest
from tree import Tree

FORGET = "from progsem import compiled; compiled.forget_outdated()"


@pytest.fixture
def copied(tmp_path):
    """A copy of the package with one kernel in its cache, and a way to run Python in it."""
    root = Tree.copied(tmp_path / "progsem").root

    def run(code: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(root / "src")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)

    run(FORGET)
    kernel = root / "src" / "progsem" / "karel" / "__pycache__" / "kernels._some-1.py311.nbi"
    kernel.parent.mkdir(exist_ok=True)
    kernel.write_bytes(b"compiled")
    return root / "src" / "progsem", kernel, run


def edit(path) -> None:
    path.write_text(path.read_text() + "\n# edited\n")


@pytest.mark.parametrize("edited", [None, "plots/style.py", "statistics.py"])
def test_kernels_stay_while_their_sources_do(copied, edited):
    package, kernel, run = copied
    if edited:
        edit(package / edited)
    run(FORGET)
    assert kernel.exists()


@pytest.mark.parametrize("edited", ["karel/codes.py", "karel/kernels.py", "lanes.py"])
def test_kernels_go_with_their_sources(copied, edited):
    package, kernel, run = copied
    edit(package / edited)
    run(FORGET)
    assert not kernel.exists()
    kernel.write_bytes(b"compiled anew")
    run(FORGET)
    assert kernel.exists()


def test_every_module_with_a_kernel_is_watched():
    from progsem import compiled

    package = compiled._PACKAGE
    decorated = {path for path in package.rglob("*.py") if "\n@njit" in path.read_text()}
    watched = {package.joinpath(*module.split(".")).with_suffix(".py") for module in compiled._with_kernels()}
    assert decorated and decorated <= watched
