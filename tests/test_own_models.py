"""The recipes of docs/own.md on models: each is run as it stands there, in a folder with the tiny study."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kills import artifacts
from tree import HANGS, ROOT, jobs_as_forks

from progsem.plots.figures import read_rows
from progsem.storage.files import read_json

PAGE = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?:bash|python)\n.*?^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> list[str]:
    """Shell scripts, each of which runs a block of code under a heading."""
    found = []
    for block in BLOCK.findall(PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]):
        kind, _, code = block.removeprefix("```").removesuffix("```").partition("\n")
        found.append(code if kind == "bash" else f"python - <<'END'\n{code}END\n")
    return found


def run(tree, script: str) -> str:
    """What a script says that is run where the results are; it has to succeed."""
    variables = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    variables |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(tree.root / "src")}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tree.root,
        env=tree.environment() | variables | jobs_as_forks(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def as_before(tree):
    """Nothing of the tiny study is another afterwards; figures have one place."""
    yield
    found = artifacts(tree)
    assert all(found[name] == kept for name, kept in tree.undisturbed.items() if not name.startswith("figures/"))


def figures(tree) -> Path:
    return tree.root / "results" / "figures"


def test_your_own_architecture(tree):
    one, compared = section("Your own architecture")
    run(tree, one)
    assert "gpt2, 2 layers of width 32" in (figures(tree) / "paper_vs_ours.md").read_text(encoding="utf-8")
    run(tree, compared)
    assert list(dict.fromkeys(row["variant"] for row in read_rows(figures(tree) / "variants.csv"))) == [
        "codegen",
        "gpt2",
    ]


def test_your_own_checkpoints(tree):
    """A GPT-2 that the library's trainer has trained on the exported text comes back, and has learned something."""
    text, train, back = section("Your own checkpoints")
    for script in (text, train, back):
        run(tree, script)
    checkpoints = read_json(figures(tree) / "summary.json")["checkpoints"]
    assert [row["step"] for row in checkpoints] == [0, 100]
    first, last = (row["perplexity_reference"] for row in checkpoints)
    assert last < 0.7 * first
    assert "trained elsewhere, 100 steps" in (figures(tree) / "paper_vs_ours.md").read_text(encoding="utf-8")
