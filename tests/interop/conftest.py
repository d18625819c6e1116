"""A folder with results of the tiny study, made by its workflow: what the recipes of docs/own.md begin with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tree import ROOT, tiny, variables

from progsem.study.plan import Plan

STEP = 20


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A working folder with the text of the study, its last checkpoint and what that writes, also under short names."""
    folder, plan = tmp_path_factory.mktemp("interop"), Plan(tiny())
    checkpoint = {"seed": "0", "step": f"{STEP:06d}"}
    targets = [plan.tokens.file("manifest.json"), plan.traces.checkpoint_file("manifest.json").format(**checkpoint)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *targets]
    command += ["--cores", "2", "--configfile", ROOT / "studies" / "tiny.yaml"]
    made = subprocess.run(command, cwd=folder, env=variables(), capture_output=True, encoding="utf-8")
    assert made.returncode == 0, made.stderr[-3000:]
    for artifact in (plan.lm, plan.traces):
        (folder / "results" / artifact.stage / "NAME").symlink_to(artifact.key)
    return folder


@pytest.fixture(scope="session", autouse=True)
def offline():
    """Nothing may be fetched, and `progsem` is the one of this environment."""
    assert os.environ["HF_HUB_OFFLINE"] == "1", "run these by `make test-interop`"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
