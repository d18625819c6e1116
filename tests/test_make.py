"""`make` with a study by its name, and without a home or a name of one's own."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tree import HANGS, Tree

BY_ID = ("unshare", "--user", "--map-user=54321", "--map-group=54321")  # a user whom the system has no name for
NAMES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Path:
    """What `make env` would make, as far as the tests need it: the commands, of the sources where they are run."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("progsem", "snakemake"):
        (folder / name).write_text(
            f'#!/bin/sh\nPYTHONPATH=src exec {sys.executable} -m {name} "$@"\n', encoding="utf-8"
        )
        (folder / name).chmod(0o755)
    return folder


def make(tree: Tree, commands: Path, *arguments: str, before=(), environment=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*before, "make", "--no-print-directory", "-o", "env", f"BIN={commands}", *arguments],
        cwd=tree.root,
        env=tree.environment() if environment is None else environment,
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
    )


def test_a_study_by_its_name(tree, commands, tmp_path):
    before = tree.files()
    report = tree.root / "results" / "report.zip"
    for target, said in (("plan", "nothing to be done"), ("figures", "Nothing to be done"), ("report", "")):
        answer = make(tree, commands, target, "STUDY=tiny")
        assert answer.returncode == 0, answer.stderr
        assert said in answer.stdout + answer.stderr
    assert "report/report.html" in zipfile.ZipFile(report).namelist()
    report.unlink()
    own = tmp_path / "my own.yaml"
    shutil.copy(tree.root / "studies" / "tiny.yaml", own)
    assert "nothing to be done" in make(tree, commands, "plan", f"STUDY={own}").stdout
    assert "nothing to be done" not in make(tree, commands, "plan").stdout  # config.yaml alone
    assert tree.files() == before


@pytest.mark.parametrize("target", ["plan", "figures", "report"])
def test_a_misspelt_study(target, tree, commands):
    answer = make(tree, commands, target, "STUDY=tinny")
    line, of_make = answer.stderr.splitlines()
    assert answer.returncode == 2 and answer.stdout == "" and re.match(r"make(\[\d+\])?: \*\*\*", of_make)
    assert line.startswith("progsem: given the study 'tinny'") and "did you mean 'tiny'?" in line and "full-cpu" in line


@pytest.mark.parametrize(
    "content, said",
    [
        (b'figures: {title: "abc', "line 1, column 22: not valid YAML"),
        (b"- a\n", "given list, expected sections such as `lm:`"),
        (b"figures: {title: caf\xe9}\n", "not valid YAML"),
        (b"lm: {layers: three}\n", "lm.layers: given 'three', expected an integer"),
        (None, "Is a directory"),
    ],
)
def test_a_study_that_cannot_be_read(content, said, tree, commands, tmp_path):
    """One line before Snakemake starts, which would end in a traceback."""
    own = tmp_path / "own.yaml"
    if content is None:
        own.mkdir()
    else:
        own.write_bytes(content)
    answer = make(tree, commands, "figures", f"STUDY={own}")
    line, of_make = answer.stderr.splitlines()
    assert answer.returncode == 2 and answer.stdout == "" and re.match(r"make(\[\d+\])?: \*\*\*", of_make)
    assert line.startswith("progsem: ") and str(own) in line and said in line


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_without_a_home_or_a_name(home, tree, commands):
    """As in a container or on a compute node: Snakemake reads the workflow, and draws the figures if they are gone."""
    if subprocess.run([*BY_ID, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    environment = {name: value for name, value in tree.environment().items() if name not in NAMES}
    environment |= {} if home is None else {"HOME": home}
    figures, elsewhere = (tree.root / "results" / name for name in ("figures", "elsewhere"))
    shutil.copytree(figures, elsewhere)
    if home:
        shutil.rmtree(figures)
    try:
        answer = make(tree, commands, "figures", "STUDY=tiny", before=BY_ID, environment=environment)
        assert answer.returncode == 0, answer.stderr[-3000:]
        assert "Traceback" not in answer.stderr and "not a writable directory" not in answer.stderr
        assert ("Drawing figures" in answer.stderr) == (home is not None)
        assert (figures / "training.png").exists()
        assert not os.path.exists("/nonexistent") and not (tree.root / "~").exists()
    finally:
        shutil.rmtree(figures, ignore_errors=True)
        elsewhere.rename(figures)
