"""Compiled kernels: kept while their sources stay the same, gone when a module that they take from changes."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tree import ROOT, Tree, tiny

from progsem.jobs import compiled
from progsem.study.plan import Plan

FORGET = "from progsem.jobs import compiled; compiled.forget_outdated()"


@pytest.fixture
def copied(tmp_path):
    """A copy of the package with one kernel in its cache, and a way to run Python in it."""
    root = Tree.copied(tmp_path / "progsem").root

    def run(code: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(root / "src")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)

    run(FORGET)
    kernel = root / "src" / "progsem" / "languages" / "karel" / "__pycache__" / "kernels._some-1.py311.nbi"
    kernel.parent.mkdir(exist_ok=True)
    kernel.write_bytes(b"compiled")
    return root / "src" / "progsem", kernel, run


def edit(path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")


@pytest.mark.parametrize("edited", [None, "plots/style.py", "measures/statistics.py"])
def test_kernels_stay_while_their_sources_do(copied, edited):
    package, kernel, run = copied
    if edited:
        edit(package / edited)
    run(FORGET)
    assert kernel.exists()


@pytest.mark.parametrize("edited", ["languages/karel/codes.py", "languages/karel/kernels.py"])
def test_kernels_go_with_their_sources(copied, edited):
    package, kernel, run = copied
    edit(package / edited)
    run(FORGET)
    assert not kernel.exists()
    kernel.write_bytes(b"compiled anew")
    run(FORGET)
    assert kernel.exists()


def test_every_module_with_a_kernel_is_watched():
    package = compiled._PACKAGE
    decorated = {path for path in package.rglob("*.py") if "\n@njit" in path.read_text(encoding="utf-8")}
    watched = {package.joinpath(*module.split(".")[1:]).with_suffix(".py") for module in compiled._with_kernels()}
    assert decorated and decorated <= watched


@pytest.fixture
def read_only(disk):
    """A copy of the sources, their compiled kernels included, where nothing can be written."""
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    shutil.copytree(ROOT / "src", disk / "src")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    return disk


def python(folder, arguments: list[str], **variables) -> subprocess.CompletedProcess:
    """Run Python with the sources in a folder, which is its user's home as well."""
    without = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    variables = without | {"PYTHONPATH": str(folder / "src"), "HOME": str(folder)} | variables
    return subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, encoding="utf-8")


def corpus(target) -> list[str]:
    """Arguments of a job with kernels, that writes into a folder."""
    names = {"train": ("0", "1"), "validation": ("2",), "test": ("3",)}
    outputs = [word for name, of in names.items() for word in ("--output", name, *(str(target / one) for one in of))]
    return ["-m", "progsem", "corpus", "--slice", Plan(tiny()).corpus.slice(), *outputs]


LINK = """
import numpy as np
from progsem.languages.karel import kernels
kernels._link(np.zeros(1, np.uint8), *np.zeros((2, 1), np.int64))
"""


def test_kernels_that_cannot_be_kept(read_only, tmp_path):
    """A shared clone, on a node without a home: one line, and the same bytes as where they are kept."""
    alone, kept, kernels = tmp_path / "alone", tmp_path / "kept", tmp_path / "kernels"
    answer = python(read_only, corpus(alone))
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert line.startswith("progsem: no folder for compiled kernels can be written") and "NUMBA_CACHE_DIR" in line
    answer = python(ROOT, corpus(kept), HOME=str(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in alone.iterdir()} == {
        path.name: path.read_bytes() for path in kept.iterdir()
    }
    answer = python(read_only, ["-c", LINK], NUMBA_CACHE_DIR=str(kernels))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert list(kernels.rglob("*.nbi"))


def test_every_kernel_does_without_its_cache(read_only):
    modules = compiled._with_kernels()
    code = f"import importlib\nfor name in {json.dumps(modules)}: importlib.import_module(name)"
    answer = python(read_only, ["-c", code])
    assert answer.returncode == 0 and answer.stderr.count("\n") == 1, answer.stderr
