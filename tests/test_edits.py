"""Edit this key, and these rules run: the table in docs/config.md against real dry runs, for each kind of edit.

A job runs where an output is missing, so a study whose files are all there is a
finished one, whatever is in them. That lets Snakemake be asked about the default
study, which would take a quarter of an hour. That the table says of every key what the
plan says is asserted in test_config.py, and what the plan says of every key in test_plan.py.
"""

import json
import re

import pytest
from tree import ROOT, RULES, Tree

from progsem.jobs.job import Job
from progsem.stages import FIGURES
from progsem.storage import manifest
from progsem.study.config import Study
from progsem.study.plan import Plan, reruns
from reference import config as reference


def write_study(tree: Tree, name: str, study: Study) -> tuple[str, str]:
    """Every key of a study as a file, and the arguments that name it."""
    (tree.root / f"{name}.json").write_text(study.model_dump_json(), encoding="utf-8")
    return "--configfile", f"{name}.json"


def finish(tree: Tree, study: Study) -> None:
    """Make every file that Snakemake would, empty, with figures that say they are this study's."""
    summary = tree.snakemake("--summary", "--cores", "1", *write_study(tree, "finished", study))
    outputs = [line.split("\t")[0] for line in summary.splitlines() if line.startswith("results/")]
    assert len(outputs) > 100
    for output in outputs:
        path = tree.root / output
        if output != FIGURES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    figures = tree.root / FIGURES
    figures.mkdir(exist_ok=True)
    manifest.write(Job("figures", json.loads(Plan(study).figures_slice), {}, {}), figures, [])


@pytest.fixture(scope="module")
def edits() -> dict[str, tuple[Study, Study]]:
    """A key of each kind, with a study before and after an edit of it.

    Edits are of one kind that are in one section, run the same stages, and lead to as many jobs of each.
    """
    found = {}
    for key in reference.keys():
        old, new = reference.edited(key)
        counts = tuple(len(jobs) for jobs in Plan(new).jobs().values())
        found.setdefault((key.split(".")[0], *reruns(old, new), counts), (key, (old, new)))
    return dict(found.values())


def test_the_table_says_what_runs(edits, tmp_path):
    table = (ROOT / reference.TABLE).read_text(encoding="utf-8")
    trees, said, planned = [], {}, {}
    for key, (old, new) in edits.items():
        tree = next((tree for tree, study in trees if study == old), None)
        if tree is None:
            tree = Tree.copied(tmp_path / str(len(trees)))
            finish(tree, old)
            assert tree.planned(*write_study(tree, "finished", old)) == {}
            trees.append((tree, old))
        rules = tree.planned(*write_study(tree, key, new))
        # Those of a variant are called as the stage is, and as it is.
        planned[key] = {rule.removesuffix("".join(f"_{name}" for name in new.variants)) for rule in rules}
        (text,) = re.findall(rf"^\| `{re.escape(key)}` \|.*\| ([^|]*) \|$", table, re.MULTILINE)
        every = [stage for stage, jobs in Plan(new).jobs().items() if jobs]
        stages = {"nothing": (), "everything": every}.get(text, text.split(", "))
        said[key] = {RULES.get(stage, stage) for stage in stages}
    assert planned == said
    assert {key.split(".")[0] for key in edits} == set(Study.model_fields)
