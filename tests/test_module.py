"""The workflow as a module of another one, as docs/own.md has it: in a folder of its own, with a config of its own."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tree import ROOT, Tree, tiny

from progsem.study.config import changed, load
from progsem.study.configfiles import read_config
from progsem.study.plan import Plan

PAGE = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## In another workflow\n")[1].split("\n## ")[0]
SNAKEFILE, CONFIG = re.findall(r"^```(?:yaml)?\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
TRIGGERS = ("--rerun-triggers", "mtime")
CORES = ("--cores", "2")


class Host(Tree):
    """A workflow that has progsem as a module; the clone is `progsem` in its folder."""

    def __init__(self, root: Path, clone: Path, config: dict, snakefile: str = SNAKEFILE):
        super().__init__(root)
        root.mkdir()
        (root / "progsem").symlink_to(clone)
        (root / "config.yaml").write_text(yaml.safe_dump({"progsem": config}, sort_keys=False), encoding="utf-8")
        (root / "Snakefile").write_text(snakefile, encoding="utf-8")

    def refused(self, *arguments: str) -> str:
        """The one line that Snakemake ends with, and status 2."""
        answer = self.ask(*arguments)
        lines = [line for line in answer.stdout.splitlines() if line.startswith("progsem: ")]
        assert answer.returncode == 2 and len(lines) == 1 and "Traceback" not in answer.stdout, answer.stdout[-3000:]
        return lines[0]


@pytest.fixture(scope="module")
def study() -> dict:
    """What the tiny study says, as Snakemake reads it."""
    return yaml.safe_load((ROOT / "studies" / "tiny.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def host(finished, study, tmp_path) -> Host:
    """With no results yet."""
    return Host(tmp_path / "host", finished, study)


def test_the_page_has_a_config_that_is_one():
    study = load(changed(read_config(ROOT / "config.yaml"), yaml.safe_load(CONFIG)["progsem"]))
    assert study.study == "mine" and study.lm.seeds == (0, 1)


def test_the_first_stages_below_the_other_folder(host, finished):
    """The same files as in a run of its own; the other workflow's jobs are told nothing of progsem's environment."""
    plan = Plan(tiny())
    own = "\n\nrule told:\n    output:\n        'env.txt',\n    shell:\n        'env > {output}'\n"
    (host.root / "Snakefile").write_text(SNAKEFILE + own, encoding="utf-8")
    host.snakemake(plan.tokens.file("manifest.json"), "env.txt", *CORES, *TRIGGERS)
    for artifact in (plan.corpus, plan.tokens):
        made = [path for path in (host.root / artifact.folder).rglob("*") if path.suffix in (".arrow", ".json")]
        assert len(made) > 4
        for path in made:
            if path.name != "manifest.json":  # which has times
                assert path.read_bytes() == (finished / path.relative_to(host.root)).read_bytes()
    assert (host.root / plan.corpus.log).is_file()
    told = (host.root / "env.txt").read_text(encoding="utf-8")
    for name in ("PYTHONSAFEPATH", "PYTHONPATH", "PROGSEM", "MPLBACKEND", "MALLOC"):
        assert not re.search(rf"^{name}", told, re.MULTILINE)


def test_it_plans_what_a_run_of_its_own_would(host, finished, tmp_path):
    alone = Tree(tmp_path / "alone")
    shutil.copytree(finished, alone.root, symlinks=True, ignore=shutil.ignore_patterns("results", ".snakemake"))
    expected = alone.planned("--configfile", "studies/tiny.yaml")
    assert len(expected) > 8
    planned = host.planned("progsem_all", *TRIGGERS)
    assert planned.pop("progsem_all") == 1
    assert {rule.removeprefix("progsem_"): count for rule, count in planned.items()} == expected


def test_the_rule_that_comes_first_is_run_by_default(host):
    """Another workflow's own where it stands before the module, else the figures."""
    assert "progsem_all" in host.planned(*TRIGGERS)
    module = SNAKEFILE.index("module progsem")
    first = "rule first:\n    output:\n        'first.txt',\n    shell:\n        'touch {output}'\n\n\n"
    (host.root / "Snakefile").write_text(SNAKEFILE[:module] + first + SNAKEFILE[module:], encoding="utf-8")
    assert host.planned(*TRIGGERS) == {"first": 1}


@pytest.mark.parametrize("prefix", ["", "sub/"])
def test_with_all_results_there_is_only_the_own_rule(prefix, host, finished):
    """Also below a prefix, where figures are drawn that are missing."""
    place = host.root / prefix
    place.mkdir(exist_ok=True)
    shutil.copytree(finished / "results", place / "results")
    if prefix:
        given = SNAKEFILE.replace("    snakefile:", f'    prefix:\n        "{prefix}"\n    snakefile:', 1)
        (host.root / "Snakefile").write_text(given, encoding="utf-8")
    assert set(host.planned("progsem_all", *TRIGGERS)) <= {"progsem_all"}
    assert host.planned("of_mine", *TRIGGERS) == {"of_mine": 1}
    host.snakemake("of_mine", *CORES, *TRIGGERS)
    checkpoints = (place / Plan(tiny()).statistics.file("checkpoints.csv")).read_text(encoding="utf-8").splitlines()
    shown = (host.root / "accuracy.txt").read_text(encoding="utf-8").splitlines()
    assert shown[0] == "step,generative_accuracy" and len(shown) == len(checkpoints)
    shutil.rmtree(place / "results" / "figures")
    assert host.planned("progsem_all", *TRIGGERS) == {"progsem_all": 1, "progsem_figures": 1}
    host.snakemake("progsem_all", *CORES, *TRIGGERS)
    assert (place / "results" / "figures" / "training.png").is_file()
    assert host.planned("progsem_all", *TRIGGERS) == {}
    assert (host.root / "results").exists() == (not prefix)


def test_what_is_refused(host, study, tmp_path):
    plan = Plan(tiny())
    assert "rerun-triggers" in host.refused(plan.tokens.file("manifest.json"), *CORES)
    bad = Host(tmp_path / "bad", host.root / "progsem", {**study, "lm": {"layers": "three"}})
    assert "lm.layers: given 'three'" in bad.refused("-n")


def test_a_module_from_elsewhere_is_refused(study, tmp_path):
    """Jobs run the sources beside the Snakefile, which must be on this machine."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copyfile(ROOT / "Snakefile", clone / "Snakefile")
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "a clone"], ["tag", "v1"]):
        subprocess.run(["git", "-C", clone, *command], check=True)
    given = SNAKEFILE.replace("progsem/Snakefile", f"git+file://{clone}/Snakefile@v1")
    host = Host(tmp_path / "host", clone, study, given)
    assert "expected one in a clone on this machine" in host.refused("-n")
