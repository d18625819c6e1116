"""Standard streams that are closed or that nobody reads: commands and jobs work, or say so with a status of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tree import HANGS, TINY, tiny

from progsem.study.plan import Plan

ALL = "<&- >&- 2>&-"
CLOSED = ["<&-", ">&-", "2>&-", ALL]
EXECUTE = "execute -"
WORLD = {"program": "def run() { move() }", "worlds": [{"input": ["####", "#>.#", "####"]}]}


def ask(command: list[str], redirections: str, **options) -> subprocess.CompletedProcess:
    """Run a command as a shell does that is told to redirect its streams."""
    shell = ["sh", "-c", f'exec "$@" {redirections}', "sh", *command]
    return subprocess.run(shell, input=json.dumps(WORLD), capture_output=True, encoding="utf-8", **options)


def progsem(tree, words: str) -> dict:
    return {
        "command": [sys.executable, "-m", "progsem", *words.split()],
        "cwd": tree.root,
        "env": tree.environment() | {"PYTHONPATH": str(tree.root / "src")},
    }


PLAN = "plan studies/tiny.yaml"


@pytest.mark.parametrize(
    "words, closed",
    [
        *((words, closed) for words in (EXECUTE, PLAN) for closed in CLOSED),
        *((words, ALL) for words in ("keep studies/tiny.yaml", "verify", "artifacts", "prune", "--help")),
    ],
)
def test_a_command_with_closed_streams(tree, words, closed):
    """It needs standard input only to read from it; without standard output it has nowhere to say what it found.

    One command reads and one starts Snakemake; the others only print.
    """
    answer = ask(**progsem(tree, words), redirections=closed)
    unread = words == EXECUTE and "<" in closed
    if " >" in f" {closed}" or unread:
        named = "standard input: cannot be read" if unread else "standard output: cannot be written"
        assert answer.returncode == 2 and answer.stdout == ""
        if "2>" in closed:
            assert answer.stderr == ""
        else:
            (line,) = answer.stderr.splitlines()
            assert line.startswith(f"progsem: {named} (Bad file descriptor)")
    else:
        assert answer.returncode == 0 and answer.stdout != "" and answer.stderr == ""


@pytest.mark.parametrize("closed", CLOSED)
def test_an_error_goes_nowhere_else(tree, closed):
    """Not to standard output, and not into a file that is opened in the place of a closed stream."""
    answer = ask(**progsem(tree, "verify nowhere"), redirections=closed)
    said = "" if "2>" in closed else "progsem: nowhere: there is no such folder; run this where the results are\n"
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", said)


def test_an_error_that_nobody_reads(tree):
    """Its status is that of the error, not that of damaged results."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as unread:
        asked = progsem(tree, "verify nowhere")
        answer = subprocess.run(asked.pop("command"), **asked, stdout=subprocess.PIPE, stderr=unread)
    assert (answer.returncode, answer.stdout) == (2, b"")


@pytest.mark.parametrize("closed", CLOSED)
def test_a_run_with_closed_streams(tree, tmp_path, closed):
    """As cron and some schedulers start it; what a job says still stands in its log."""
    corpus = Plan(tiny()).corpus
    wanted = [corpus.file("manifest.json"), "--snakefile", str(tree.root / "Snakefile"), "--cores", "1"]
    study = [TINY[0], str(tree.root / TINY[1])]
    answer = ask(tree.command(*wanted, *study), closed, cwd=tmp_path, env=tree.environment(), timeout=HANGS)
    assert answer.returncode == 0, answer.stderr
    said = [line for line in answer.stdout.splitlines() if "profile" not in line]  # Snakemake's own, without stderr
    assert said == [] and "Traceback" not in answer.stderr
    for name in json.loads((tmp_path / corpus.file("manifest.json")).read_bytes())["files"]:
        assert (tmp_path / corpus.file(name)).read_bytes() == (tree.root / corpus.file(name)).read_bytes()
    log = tmp_path / f"results/logs/corpus/{corpus.key}.log"
    assert log.is_file() and "Bad file descriptor" not in log.read_text(encoding="utf-8")


def test_a_run_that_fails_with_closed_streams(tree, tmp_path):
    """Its status says that it failed, and the job's log says why."""
    plan = Plan(tiny())
    shutil.copytree(tree.root / plan.corpus.folder, tmp_path / plan.corpus.folder)
    shard = plan.shards(plan.corpus, "train")[0]
    (tmp_path / shard).write_bytes(b"damaged")
    wanted = [plan.tokens.file("manifest.json"), "--snakefile", str(tree.root / "Snakefile"), "--cores", "1"]
    study = [TINY[0], str(tree.root / TINY[1])]
    answer = ask(tree.command(*wanted, *study), ALL, cwd=tmp_path, env=tree.environment(), timeout=HANGS)
    assert answer.returncode == 1
    log = (tmp_path / f"results/logs/tokens/{plan.tokens.key}.log").read_text(encoding="utf-8")
    assert log.startswith(f"progsem: {shard}: damaged") and log.count("\n") == 1
