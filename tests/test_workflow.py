"""The workflow itself: the tiny study through Snakemake, in a copy of the tree, from nothing to figures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.utils import update_config

from progsem import workflow
from progsem.config import load
from progsem.plan import Plan, reruns

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--configfile", "studies/tiny.yaml")
RULES = {"lm": "checkpoint"}  # stage -> rule, where their names differ


class Tree:
    """A copy of the repository in which Snakemake is run."""

    def __init__(self, root: Path):
        self.root = root

    def snakemake(self, *arguments: str, timeout: int = 400) -> str:
        """Run Snakemake; returns all that it printed."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        answer = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert answer.returncode == 0, answer.stdout[-6000:]
        return answer.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule would run, from a dry run."""
        text = self.snakemake("-n", "--quiet", "rules", *arguments)
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        counts = {line.split()[0]: int(line.split()[1]) for line in table}
        return {rule: count for rule, count in counts.items() if rule not in ("total", "all")}

    def files(self) -> dict[str, int]:
        """Every artifact by path, with the time it was written; figures, which have one place, left out."""
        results = self.root / "results"
        return {
            str(path.relative_to(results)): path.stat().st_mtime_ns
            for path in results.rglob("*")
            if path.is_file() and path.relative_to(results).parts[0] not in ("figures", "logs")
        }


def tiny(changes: dict | None = None):
    """The tiny study with changes on top of it, put together as Snakemake does with --config and --configfile."""
    own = workflow.read_config(ROOT / "studies" / "tiny.yaml")
    update_config(own, changes or {})
    return load(workflow.merge(workflow.read_config(ROOT / "config.yaml"), own))


def say(changes: dict) -> list[str]:
    """Changes as command-line arguments."""
    return ["--config", *(f"{section}={json.dumps(keys)}" for section, keys in changes.items())]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Tree:
    """The tree after one run of the tiny study."""
    target = tmp_path_factory.mktemp("workflow") / "progsem"
    # __pycache__ comes along: it holds the compiled kernels, and saves compiling them anew.
    unwanted = (".venv", "results", ".git", ".snakemake", ".pytest_cache", ".hypothesis", ".ruff_cache", "shared")
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*unwanted))
    tree = Tree(target)
    tree.snakemake("--cores", "2", *TINY)
    return tree


def test_makes_every_artifact_and_the_summary(tree):
    plan = Plan(tiny())
    expected = [
        *plan.shards(plan.corpus, "train"),
        *plan.shards(plan.tokens, "test"),
        *plan.everywhere([plan.lm], "model.safetensors"),
        *plan.everywhere([plan.traces], "programs.arrow"),
        *plan.everywhere(plan.probed(), "predictions.arrow"),
        *plan.manifests(),
        *plan.statistics_files().values(),
    ]
    assert len(expected) > 40
    assert [path for path in expected if not (tree.root / path).is_file()] == []
    assert list((tree.root / "results").rglob("state.safetensors")) == []  # temporary
    summary = json.loads((tree.root / "results" / "figures" / "summary.json").read_text())
    assert summary["study"] == "tiny"
    assert len(summary["checkpoints"]) == 3


def test_manifest_says_what_an_artifact_was_made_from(tree):
    plan = Plan(tiny())
    for path in plan.manifests():
        manifest = json.loads((tree.root / path).read_text())
        assert manifest["versions"]["progsem"] and manifest["seconds"] >= 0
    corpus = json.loads((tree.root / plan.corpus.file("manifest.json")).read_text())
    assert corpus["slice"] == json.loads(plan.corpus.slice())


def test_second_run_has_nothing_to_do(tree):
    assert tree.planned(*TINY) == {}


# Not a single one of these is run: Snakemake's own plan must be the one in docs/config.md.
EDITS = [
    {"figures": {"title": "Another title"}},
    {"statistics": {"seed": 5}},
    {"probes": {"steps": 31}},
    {"probes": {"offsets": [0, 1]}},
    {"interventions": {"alternatives": {"still": {"move": "turn_left"}}}},
    {"traces": {"test": 50}},
    {"lm": {"seeds": [0, 1]}},
    {"lm": {"batch": 8}},
    {"tokens": {"encoding": "spaced"}},
    {"corpus": {"seed": 1}},
    {"compute": {"threads": 2, "device": "cpu", "trace_batch": 64}},
]


@pytest.mark.parametrize("changes", EDITS, ids=lambda changes: "-".join(changes) + "-" + "-".join(*changes.values()))
def test_an_edit_runs_what_the_table_says(tree, changes):
    planned = tree.planned(*TINY, *say(changes))
    stages = reruns(tiny(), tiny(changes))
    assert set(planned) == {RULES.get(stage, stage) for stage in stages}
    before, after = Plan(tiny()).jobs(), Plan(tiny(changes)).jobs()
    for stage in stages:
        assert planned[RULES.get(stage, stage)] == len(after[stage] - before[stage]), stage


def test_editing_and_editing_back_loses_nothing(tree):
    """One alternative is edited, and edited back: the second time only the figures are drawn."""
    shift = {"turn_left": "move", "turn_right": "turn_left", "move": "turn_right"}
    changes = {"interventions": {"alternatives": {"shift": shift}}}
    before = tree.files()
    output = tree.snakemake("--cores", "2", *TINY, *say(changes))
    assert "rule: checkpoint" not in output.lower()
    after = tree.files()
    assert {path: after.get(path) for path in before} == before
    new = {path.split("/")[0] for path in set(after) - set(before)}
    assert new == {"interventions", "statistics"}

    assert tree.planned(*TINY) == {"figures": 1}
    tree.snakemake("--cores", "2", *TINY)
    assert tree.planned(*TINY) == {}
    assert tree.files() == after


def test_corpus_and_tokens_do_not_depend_on_cores(tree, tmp_path):
    """The same bytes on one core with one thread as on two cores with two."""
    plan = Plan(tiny())
    files = [path for artifact in (plan.corpus, plan.tokens) for path in plan.shards(artifact, "train")]
    files += [plan.tokens.file("tokenizer/tokenizer.json"), *plan.shards(plan.tokens, "test")]
    threads = say({"compute": {"threads": 2}})
    tree.snakemake("--cores", "2", "--directory", str(tmp_path), *_absolute(tree), *threads, "--until", "tokens")
    for path in files:
        assert (tmp_path / path).read_bytes() == (tree.root / path).read_bytes(), path


def _absolute(tree: Tree) -> tuple[str, str]:
    return "--configfile", str(tree.root / "studies" / "tiny.yaml")


def test_a_job_that_fails_says_why_and_leaves_no_output(tmp_path):
    """A damaged shard: one line that names it, status 2, and nothing half-made."""
    plan = Plan(tiny())
    broken = tmp_path / plan.shards(plan.corpus, "train")[0]
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not an Arrow file")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "progsem", "tokens", "--slice", plan.tokens.slice()),
            *("--input", "train", str(broken), "--input", "validation", "--input", "test"),
            *("--output", "train", str(tmp_path / "out.arrow"), "--output", "validation", "--output", "test"),
            *("--output", "tokenizer", str(tmp_path / "t.json"), "--output", "tokenizer_config", str(tmp_path / "c")),
            *("--output", "manifest", str(tmp_path / "m.json")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert str(broken) in line and "delete it and run again" in line
    assert not (tmp_path / "out.arrow").exists() and not (tmp_path / "m.json").exists()
