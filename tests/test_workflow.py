"""The workflow itself: the tiny study through Snakemake, in a copy of the tree, from nothing to figures."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tree import HANGS, ROOT, RULES, TINY, Tree, say, tiny

from progsem.storage import manifest
from progsem.storage.files import file_digest
from progsem.storage.sources import code_files
from progsem.study.plan import Plan


def test_makes_every_artifact_and_the_summary(tree):
    plan = Plan(tiny())
    expected = [
        *plan.shards(plan.corpus, "train"),
        *plan.shards(plan.tokens, "test"),
        *plan.everywhere([plan.lm], "weights"),
        *plan.everywhere([plan.traces], "programs"),
        *plan.everywhere(plan.probed(), "predictions"),
        *plan.manifests(),
        *plan.files(plan.statistics).values(),
    ]
    assert len(expected) > 40
    assert [path for path in expected if not (tree.root / path).is_file()] == []
    for temporary in ("state.safetensors", "resume.safetensors"):
        assert list((tree.root / "results").rglob(temporary)) == []
    summary = json.loads((tree.root / "results" / "figures" / "summary.json").read_text(encoding="utf-8"))
    assert summary["study"] == "tiny"
    assert len(summary["checkpoints"]) == 3


def test_manifest_says_what_an_artifact_was_made_from(tree):
    plan = Plan(tiny())
    for path in plan.manifests():
        made = manifest.read(tree.root / path)
        assert made["versions"]["progsem"] and made["seconds"] >= 0 and made["command"].startswith("python -m progsem")
        assert made["code"] == code_files(made["stage"])
        for name, digest in made["files"].items():
            file = (tree.root / path).parent / name
            assert name == manifest.TEMPORARY or file_digest(file) == digest
    corpus = manifest.read(tree.root / plan.corpus.file("manifest.json"))
    assert corpus["slice"] == json.loads(plan.corpus.slice())
    tokens = manifest.read(tree.root / plan.tokens.file("manifest.json"))
    (shard,) = tokens["inputs"]["test"].items()
    assert shard == (plan.shards(plan.corpus, "test")[0], corpus["files"]["test/00000.arrow"])


def test_second_run_has_nothing_to_do(tree):
    assert tree.planned(*TINY) == {}


# The docs' table is checked key by key in test_edits.py; here the numbers of jobs are, on real results.
EDITS = [
    {"figures": {"title": "Another title"}},
    {"probes": {"offsets": [0, 1]}},
    {"lm": {"seeds": [0, 1]}},
    {"compute": {"threads": 2, "device": "cpu", "trace_batch": 64}},
]


@pytest.mark.parametrize("changes", EDITS, ids=lambda changes: "-".join(changes))
def test_an_edit_runs_as_many_jobs_as_it_renames(tree, changes):
    planned = tree.planned(*TINY, *say(changes))
    before, after = Plan(tiny()).jobs(), Plan(tiny(changes)).jobs()
    new = Counter()
    for stage, names in after.items():
        new[RULES.get(stage, stage)] += len(names - before[stage])
    assert planned == +new


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


COMMANDS = sorted(
    line.removeprefix("#").strip()
    for path in (ROOT / "studies").glob("*.yaml")
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.startswith(("#     snakemake", "#     make"))
)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_study_says_to_run_can_be_planned(tree, command):
    command = command.replace("--profile slurm ", "").removeprefix("snakemake ")
    words = shlex.split(re.sub(r"^make figures STUDY=(\S+)$", r"--configfile studies/\1.yaml", command))
    assert tree.planned(*words)["figures"] == 1


@pytest.mark.parametrize(
    "module, rules",
    [
        ("plots/lengths.py", {"figures"}),
        ("measures/intervals.py", {"statistics", "figures"}),
        ("probing/fits.py", {"probes", "controls", "edits", "transcoders", "statistics", "playground", "figures"}),
        (
            "lm/decoding.py",
            {
                "traces",
                "probes",
                "controls",
                "edits",
                "transcoders",
                "generalisation",
                "writers",
                "synthesis",
                "statistics",
                "playground",
                "figures",
            },
        ),
        ("workflow/snakefile.py", set()),
    ],
)
def test_a_changed_module_runs_what_imports_it(tree, module, rules):
    """And what is computed from that."""
    path = tree.root / "src" / "progsem" / module
    text = path.read_bytes()
    path.write_bytes(text + b"\nCHANGED = True\n")
    try:
        assert set(tree.planned(*TINY)) == rules
    finally:
        path.write_bytes(text)


def test_a_file_that_is_touched_or_put_back_runs_nothing(tree):
    path = tree.root / "src" / "progsem" / "lm" / "decoding.py"
    text = path.read_bytes()
    path.touch()
    assert tree.planned(*TINY) == {}
    path.write_bytes(text + b"\nCHANGED = True\n")
    assert tree.planned(*TINY)
    path.write_bytes(text)
    assert tree.planned(*TINY) == {}


def test_results_of_changed_code_stand_beside_the_earlier_ones(tree):
    """A run after a change of code says what it makes anew; putting the code back finds the earlier results."""
    path = tree.root / "src" / "progsem" / "measures/intervals.py"
    text = path.read_bytes()
    before = tree.files()
    path.write_bytes(text + b"\nCHANGED = True\n")
    try:
        output = tree.snakemake("--cores", "2", *TINY, "--until", "statistics")
    finally:
        path.write_bytes(text)
    assert "the code of statistics has changed (measures/intervals.py): 1 results that took" in output
    after = tree.files()
    assert {file: after.get(file) for file in before} == before
    assert {file.split("/")[0] for file in set(after) - set(before)} == {"statistics"}
    assert tree.planned(*TINY) == {}
    assert "has changed" not in tree.snakemake("--cores", "2", *TINY)
    assert tree.files() == after


def test_what_took_long_is_made_anew_only_with_consent(tree):
    """The manifest of an expensive result says how long it took."""
    module = tree.root / "src" / "progsem" / "measures/intervals.py"
    statistics = tree.root / Plan(tiny()).statistics.file("manifest.json")
    kept, text = statistics.read_bytes(), module.read_bytes()
    body = {name: value for name, value in json.loads(kept).items() if name != "checksum"} | {"seconds": 7200.0}
    statistics.write_text(json.dumps(body | {"checksum": manifest.checksum(body)}), encoding="utf-8")
    module.write_bytes(text + b"\nCHANGED = 'at great expense'\n")
    before = tree.files()
    try:
        answer = tree.ask("--cores", "2", *TINY)
        assert answer.returncode == 2
        assert "no consent to spend 2 h again" in answer.stdout and "Traceback" not in answer.stdout
        assert tree.files() == before
        consented = say({"compute": {"recompute": True}})
        assert "2 h" in tree.snakemake("--cores", "2", *TINY, *consented, "--until", "statistics")
    finally:
        module.write_bytes(text)
        statistics.write_bytes(kept)


def test_results_from_another_machine_are_as_good(tree, tmp_path):
    """Copied without Snakemake's records and with all times the same, older than the sources."""
    other = Tree.copied(tmp_path / "other")
    shutil.copytree(tree.root / "results", other.root / "results")
    for path in (other.root / "results").rglob("*"):
        os.utime(path, (1, 1))
    assert other.planned(*TINY) == {}
    assert other.planned(*TINY, *say({"figures": {"title": "x"}})) == {"figures": 1}


def test_an_edit_during_a_run_does_not_reach_it(tree, tmp_path):
    """config.yaml is edited as soon as the first job has begun; what is made is what was planned."""
    other = Tree.copied(tmp_path / "other")
    config = other.root / "config.yaml"
    config.write_text(yaml.safe_dump(tiny({"corpus": {"seed": 9}}).model_dump(mode="json")), encoding="utf-8")
    plan = Plan(tiny({"corpus": {"seed": 9}}))
    run = subprocess.Popen(
        other.command("--cores", "1", plan.tokens.file("manifest.json")),
        cwd=other.root,
        env=other.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    while run.poll() is None and not (other.root / "results" / "logs").exists():
        time.sleep(0.05)
    config.write_text(
        config.read_text(encoding="utf-8").replace("height: 3", "height: 4").replace("compact", "spaced"),
        encoding="utf-8",
    )
    assert run.poll() is None
    output, _ = run.communicate(timeout=HANGS)
    assert run.returncode == 0, output
    for artifact in (plan.corpus, plan.tokens):
        made = json.loads((other.root / artifact.file("manifest.json")).read_text(encoding="utf-8"))
        assert made["slice"] == json.loads(artifact.slice())
    assert {path.name for path in (other.root / "results").glob("*/*-*-*")} == {plan.corpus.key, plan.tokens.key}


def test_code_that_changes_during_a_run_makes_no_job_go_wrong(tree, tmp_path):
    """A job whose sources are no longer those of the plan refuses, and writes nothing."""
    job = ["-m", "progsem", "corpus", "--output", "manifest", str(tmp_path / "manifest.json"), "--slice"]
    planned = json.loads(Plan(tiny()).corpus.slice()) | {"code": "01234567"}
    answer = subprocess.run(
        [sys.executable, *job, json.dumps(planned)], capture_output=True, encoding="utf-8", cwd=tree.root
    )
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "planned with code 01234567" in line and "run snakemake again" in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def figures(tree) -> Iterator[Path]:
    """The study's figures, which are put back after the test."""
    place, kept = tree.root / "results" / "figures", tree.root / "kept"
    shutil.copytree(place, kept)
    yield place
    shutil.rmtree(place)
    kept.rename(place)


def test_a_killed_workflow_leaves_no_lock(tree, figures):
    """Locks of a dead process go; those of a live one stay."""
    lock = tree.root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/figures\n", encoding="utf-8")
    title = say({"figures": {"title": "after a kill"}})
    with open(tree.root / ".snakemake" / "progsem.alive", encoding="utf-8") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)  # as another Snakemake does while it is alive
        answer = tree.ask("--cores", "2", *TINY, *title)
    assert answer.returncode == 1 and "cannot be locked" in answer.stdout
    assert "Drawing figures" in tree.snakemake("--cores", "2", *TINY, *title)
    assert not lock.exists()


def test_own_files_among_the_figures_stay(tree, figures):
    """When they are drawn anew, and when that fails; what would be replaced is named before anything runs."""
    (figures / "notes.txt").write_text("mine", encoding="utf-8")
    os.mkfifo(figures / "pipe")
    table = tree.root / Plan(tiny()).statistics.file("offsets.csv")
    kept = table.read_bytes()
    table.write_bytes(kept.replace(b"0.", b"1.", 1))
    title = say({"figures": {"title": "drawn anew"}})
    try:
        answer = tree.ask("--cores", "2", *TINY, *title)
        assert answer.returncode == 1 and "offsets.csv: damaged" in answer.stdout and "Traceback" not in answer.stdout
        assert (figures / "notes.txt").read_text(encoding="utf-8") == "mine" and (figures / "training.png").exists()
        table.write_bytes(kept)
        tree.snakemake("--cores", "2", *TINY, *title)
        assert (figures / "notes.txt").read_text(encoding="utf-8") == "mine" and (figures / "pipe").is_fifo()
        drawn = (figures / "training.png").read_bytes()
        (figures / "training.png").write_bytes(b"with arrows")
        refuse(tree, "results/figures/training.png: not as results/figures/manifest.json says")
        assert (figures / "training.png").read_bytes() == b"with arrows"
        (figures / "training.png").write_bytes(drawn)
        elsewhere = figures.rename(tree.root / "results" / "elsewhere")
        figures.symlink_to(elsewhere)
        refuse(tree, "results/figures: given a symbolic link, expected a folder")
        assert figures.is_symlink()
        figures.unlink()
        elsewhere.rename(figures)
    finally:
        table.write_bytes(kept)


def refuse(tree: Tree, expected: str) -> None:
    """The tiny study, whose figures are to be drawn again, ends with this line before a job starts."""
    answer = tree.ask("--cores", "2", *TINY)
    assert answer.returncode == 2 and "Traceback" not in answer.stdout and "Drawing figures" not in answer.stdout
    assert len([line for line in answer.stdout.splitlines() if line.startswith(f"progsem: {expected}")]) == 1


def test_figures_that_cannot_be_drawn_leave_the_earlier_ones(tree):
    """No figure from bad data, and none lost by it."""
    table = tree.root / Plan(tiny()).statistics.file("offsets.csv")
    kept = table.read_bytes()
    shown = {path.name: path.read_bytes() for path in (tree.root / "results" / "figures").iterdir()}
    table.write_bytes(kept.replace(b"0.", b"1.", 1))
    try:
        answer = tree.ask("--cores", "2", *TINY, *say({"figures": {"title": "from bad data"}}))
    finally:
        table.write_bytes(kept)
    assert answer.returncode == 1 and "offsets.csv: damaged" in answer.stdout and "Traceback" not in answer.stdout
    after = {path.name: path.read_bytes() for path in (tree.root / "results" / "figures").iterdir()}
    assert {name: after.get(name) for name in shown} == shown
    assert tree.planned(*TINY) == {}


def test_corpus_and_tokens_do_not_depend_on_cores(tree, tmp_path):
    """The same bytes on one core with one thread as on two cores with two."""
    plan = Plan(tiny())
    files = [path for artifact in (plan.corpus, plan.tokens) for path in plan.shards(artifact, "train")]
    files += [plan.tokens.file("tokenizer/tokenizer.json"), *plan.shards(plan.tokens, "test")]
    threads = say({"compute": {"threads": 2}})
    tree.snakemake("--cores", "2", "--directory", str(tmp_path), *_absolute(tree), *threads, "--until", "tokens")
    for path in files:
        assert (tmp_path / path).read_bytes() == (tree.root / path).read_bytes(), path


@pytest.mark.parametrize("name", ["a{b}c", '{seed} {{a}} it\'s "so" $HOME é日本'])
def test_a_clone_in_a_folder_of_any_name(tmp_path, name):
    """Snakemake takes braces for wildcards, and a shell takes quotes for its own."""
    other = Tree.copied(tmp_path / name)
    assert other.planned(*TINY)["corpus"] == 1
    manifest_file = Plan(tiny()).corpus.file("manifest.json")
    other.snakemake("--cores", "1", manifest_file, *TINY)
    assert (other.root / manifest_file).is_file()


def _absolute(tree: Tree) -> tuple[str, str]:
    return "--configfile", str(tree.root / "studies" / "tiny.yaml")
