"""Edit this key, and these rules run: the table in docs/config.md against real dry runs, for every key.

A job runs where an output is missing, so a study whose files are all there is a
finished one, whatever is in them. That lets Snakemake be asked about the default
study, which would take a quarter of an hour.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from tree import ROOT, RULES, Tree

from progsem.jobs.job import Job
from progsem.storage import manifest
from progsem.study import reference
from progsem.study.config import Study
from progsem.study.plan import FIGURES, STAGES, Plan


def write_study(tree: Tree, name: str, study: Study) -> tuple[str, str]:
    """Every key of a study as a file, and the arguments that name it."""
    (tree.root / f"{name}.json").write_text(study.model_dump_json(), encoding="utf-8")
    return "--configfile", f"{name}.json"


def finish(tree: Tree, study: Study) -> None:
    """Make every file that Snakemake would, empty, with figures that say they are this study's."""
    summary = tree.snakemake("--summary", "--cores", "1", *write_study(tree, "finished", study))
    outputs = [line.split("\t")[0] for line in summary.splitlines() if line.startswith("results/")]
    assert len(outputs) > 200
    for output in outputs:
        path = tree.root / output
        if output != FIGURES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    figures = tree.root / FIGURES
    figures.mkdir(exist_ok=True)
    manifest.write(Job("figures", json.loads(Plan(study).figures_slice), {}, {}), figures, [])


@pytest.fixture(scope="module")
def dry_runs(tmp_path_factory) -> dict[str, set[str]]:
    """For each key, the rules that Snakemake would run after an edit of it in a finished study."""
    edits = {key: reference.edited(key) for key in reference.keys()}
    trees = {}
    for old, _ in edits.values():
        if old not in trees.values():
            tree = Tree.copied(tmp_path_factory.mktemp("edits") / "progsem")
            finish(tree, old)
            assert tree.planned(*write_study(tree, "finished", old)) == {}
            trees[tree] = old

    def planned(key: str) -> set[str]:
        old, new = edits[key]
        (tree,) = (tree for tree, study in trees.items() if study == old)
        return set(tree.planned(*write_study(tree, key, new)))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(edits, pool.map(planned, edits), strict=True))


@pytest.mark.parametrize("key", reference.keys())
def test_the_table_says_what_runs(dry_runs, key):
    (said,) = re.findall(
        rf"^\| `{re.escape(key)}` \|.*\| ([^|]*) \|$", (ROOT / reference.TABLE).read_text(encoding="utf-8"), re.M
    )
    stages = {"nothing": [], "everything": STAGES}.get(said) or [
        stage for stage in said.split(", ") if said != "nothing"
    ]
    assert dry_runs[key] == {RULES.get(stage, stage) for stage in stages}
