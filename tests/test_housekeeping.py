"""The commands that look after results/, on trees of small files with real manifests: nothing is trained."""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tree import ROOT, RULES, Tree, default_signals, of_snakemake, variables

from progsem.errors import UserError
from progsem.housekeeping import artifacts, common, keep, prune, verify
from progsem.housekeeping import plan as planning_table
from progsem.jobs.job import Job
from progsem.stages import FIGURES, STAGES
from progsem.storage import manifest
from progsem.storage.files import digest
from progsem.storage.inventory import Unit, survey, unit_of
from progsem.storage.sources import code_files
from progsem.study import plan as planning
from progsem.study.config import load
from progsem.study.configfiles import merge, read_config
from progsem.study.plan import Plan

# Differences to config.yaml: one checkpoint and one alternative keep the trees small.
SMALL = {
    "corpus": {"train": 150, "validation": 20, "test": 20, "shard": 100},
    "traces": {"train": 20, "validation": 20, "test": 20},
    "lm": {"steps": 20, "checkpoint_every": 10, "decay_steps": 300, "extra_checkpoints": [], "seeds": [0]},
    "interventions": {"alternatives": {"mirror": {"turn_left": "turn_right"}}, "difficulty_matched": "mirror"},
}
SHIPPED = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
STUDIES = {
    "one": {},
    "seeds": {"lm": {"seeds": [0, 1]}},
    "probes": {"probes": {"steps": 7}},
    "spaced": {"tokens": {"encoding": "spaced"}},
    "shorter": {"lm": {"steps": 10}},
    "sample": {"corpus": {"seed": 1}},
}
FILES = {  # what the job of one checkpoint makes
    "lm": (
        "model.safetensors",
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        "metrics.csv",
        "state.safetensors",
    ),
    "traces": ("programs.arrow", "generated.arrow", "forced.arrow"),
    "probes": ("predictions.arrow", "accuracy.csv", "probes.safetensors"),
    "interventions": ("predictions.arrow", "accuracy.csv", "probes.safetensors"),
    "controls": ("predictions.arrow", "accuracy.csv", "description.arrow", "probes.safetensors"),
    "generalisation": ("programs.arrow",),
    "playground": ("playground.html",),
}
ENVIRONMENT = variables() | {"PYTHONSAFEPATH": "1"}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with the studies as files."""
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    for name, changes in STUDIES.items():
        own = {**SMALL, "study": name, **{key: {**SMALL.get(key, {}), **value} for key, value in changes.items()}}
        Path("studies", f"{name}.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return tmp_path


def path_of(name: str) -> Path:
    return Path("studies", f"{name}.yaml")


def plan_of(name: str) -> Plan:
    return Plan(load(merge(read_config(ROOT / "config.yaml"), read_config(path_of(name)))))


def make(name: str, seconds: float = 60.0) -> Plan:
    """All results of a study, as its jobs would leave them, where they are missing; a plan of it."""
    plan = plan_of(name)
    for unit in plan.units():
        if not (unit.path / manifest.NAME).exists():
            make_unit(plan, unit, seconds)
    shutil.rmtree(FIGURES, ignore_errors=True)
    Path(FIGURES).mkdir(parents=True)
    inputs = {name: [Path(path)] for name, path in plan.files(plan.statistics).items() if name != "manifest"}
    Path(FIGURES, ".snakemake_timestamp").touch()
    write(Path(FIGURES), "figures", plan.figures_slice, inputs, ["training.png", "summary.json"], seconds)
    return plan


def make_unit(plan: Plan, unit: Unit, seconds: float = 60.0) -> None:
    """One job's files and manifest."""
    by_stage = {"probes": plan.probes, "interventions": plan.interventions.get(unit.key)}
    artifact = by_stage.get(unit.stage) or getattr(plan, unit.stage)
    files, sliced, inputs = list(FILES.get(unit.stage, ())), artifact.slice(), {}
    shards = [path for split in ("train", "validation", "test") for path in plan.shards(artifact, split)]
    corpus = [Path(path) for path in plan.shards(plan.corpus, "train")]
    before = [plan.lm.file(unit.checkpoint), plan.traces.file(unit.checkpoint)]
    if unit.stage in ("corpus", "tokens"):
        files = [os.path.relpath(path, unit.path) for path in shards]
    if unit.stage == "tokens":
        files += ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]
        inputs = {"train": corpus}
    elif unit.stage == "lm":
        seed, step = (part.split("-")[1] for part in unit.checkpoint.split("/"))
        sliced = plan.training_slice(seed, step)
        inputs = {"train": [Path(path) for path in plan.shards(plan.tokens, "train")]}
        for file in ("weights", "state"):
            inputs[file] = [Path(path) for path in plan.before(seed, step, file)]
    elif unit.stage == "traces":
        inputs = {"weights": [Path(before[0], "model.safetensors")], "train": corpus}
    elif unit.stage in ("probes", "interventions", "controls"):
        inputs = {"programs": [Path(before[1], "programs.arrow")]}
    elif unit.stage == "generalisation":
        inputs = {"weights": [Path(before[0], "model.safetensors")]}
    elif unit.stage == "playground":
        inputs = {name: [Path(path) for path in paths] for name, paths in plan.of_playground().items()}
    elif unit.stage == "statistics":
        files = [name for name in STAGES["statistics"].files.values() if name != manifest.NAME]
        inputs = {
            "manifests": [Path(path) for path in plan.manifests()],
            "metrics": [Path(path) for path in plan.everywhere([plan.lm], "metrics")],
        }
    write(unit.path, STAGES[unit.stage].job, sliced, inputs, files, seconds)
    unit.log.parent.mkdir(parents=True, exist_ok=True)
    unit.log.write_text(f"{unit.key}\n", encoding="utf-8")


def write(folder: Path, stage: str, sliced: str, inputs: dict, files: list[str], seconds: float) -> None:
    """Small files that follow from the slice and the inputs alone, and their manifest."""
    job = Job(stage, json.loads(sliced), inputs, {}, command=f"--output manifest {folder}/manifest.json")
    job.checksums = manifest.verify_inputs(job)
    job.started = time.monotonic() - seconds
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} {sliced} {sorted(job.checksums.values())}", encoding="utf-8")
    manifest.write(job, folder, [folder / name for name in files])


@contextlib.contextmanager
def earlier_code(*modules: str):
    """Within it, these modules (default: all) have other code than they have now."""

    def of_module(name, language=None):
        return {**code_files(name, language), **({f"{name}.py": "0" * 64} if name in modules or not modules else {})}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "code_digest", lambda *stage: digest(of_module(*stage)))
        patch.setattr(manifest, "code_files", of_module)
        yield


def files() -> dict[str, bytes]:
    """All that is in results/, by path."""
    return {str(path): path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}


def units_of(*names: str) -> set[Path]:
    return {unit.path for name in names for unit in plan_of(name).units()}


def standing() -> set[Path]:
    """Units of which anything is there."""
    return {unit.path for unit in survey(Path("results"))[0]}


def run_progsem(*arguments: str, status: int = 0) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    answer = of_snakemake().run("progsem", *arguments, cwd=Path.cwd())
    assert answer.returncode == status, answer.stdout + answer.stderr
    return answer


def would_run(study: str) -> dict[str, int]:
    """Jobs by rule that `snakemake -n` says it would run."""
    return Tree(Path.cwd()).planned("-s", str(ROOT / "Snakefile"), "--configfile", f"studies/{study}.yaml")


def would_run_says_plan(study: str) -> dict[str, int]:
    """The same by `progsem plan`."""
    lines = run_progsem("plan", f"studies/{study}.yaml").stdout.splitlines()[1:]
    counts = Counter()
    for stage, *_, to_run in (line.split()[:4] for line in lines if line.split()[0] in STAGES):
        counts[RULES.get(stage, stage)] += int(to_run)
    return dict(+counts)


# plan


def test_plan_says_what_snakemake_says(place):
    plan = make("one")
    assert would_run_says_plan("one") == {}
    shutil.rmtree(plan.traces.file("seed-0/step-000010"))
    shutil.rmtree(plan.statistics.folder)
    shutil.rmtree(FIGURES)
    Path(plan.probes.file("seed-0/step-000020/accuracy.csv")).unlink()
    expected = would_run("one")
    assert expected == {"traces": 1, "probes": 3, "statistics": 1, "playground": 1, "figures": 1}
    assert would_run_says_plan("one") == expected


def test_plan_says_how_long_it_took_and_why(place, capsys):
    with earlier_code("train"):
        make("one", seconds=1800.0)
    given = common.study(path_of("one"))
    outputs = [unit.path / manifest.NAME for unit in given.plan.units() if unit.stage not in ("corpus", "tokens")]
    rows = {row.stage: row for row in planning_table.rows(given, [*outputs, Path(FIGURES)])}
    assert (rows["corpus"].jobs, rows["corpus"].to_run, rows["corpus"].remark) == (1, 0, "")
    assert (rows["lm"].to_run, rows["lm"].remark, rows["lm"].estimated) == (3, "changed: train.py", False)
    assert rows["lm"].seconds == pytest.approx(3 * 1800, abs=60)
    assert rows["traces"].remark == "what it is made from has changed"
    assert rows["figures"].remark == "drawn anew"
    other = common.study(path_of("seeds"))
    new = [unit.path / manifest.NAME for unit in other.plan.units() if unit.checkpoint.startswith("seed-1")]
    (row,) = [row for row in planning_table.rows(other, new) if row.stage == "lm"]
    assert (row.to_run, row.remark, row.estimated, row.anew) == (3, "new", True, 0)
    assert row.seconds == pytest.approx(3 * 1800, abs=60)
    Path(other.plan.corpus.file("train/00000.arrow")).unlink()
    whole = [unit.path / manifest.NAME for unit in given.plan.units() if unit.stage in ("corpus", "tokens")]
    rows = {row.stage: row for row in planning_table.rows(given, whole)}
    assert rows["corpus"].remark == "files are missing"
    assert rows["tokens"].remark == "what it is made from is made again"
    answer = run_progsem("plan", "studies/one.yaml")
    assert "snakemake will ask for consent" in answer.stdout and answer.stderr == ""
    assert [line.split()[3] for line in answer.stdout.splitlines() if line.startswith("total")] == ["20"]


def test_what_other_models_took_counts_step_by_step(place, monkeypatch):
    """A training from 600 to 2 400 takes longer than one from 0 to 600."""

    def made(checkpoint: str, seconds: float) -> SimpleNamespace:
        return SimpleNamespace(stage="lm", name="2x32", checkpoint=checkpoint, manifest=lambda: {"seconds": seconds})

    known = [made("seed-0/step-000010", 10), made("seed-1/step-000010", 30), made("seed-0/step-000020", 100)]
    monkeypatch.setattr(planning_table, "survey", lambda results: (known, []))
    monkeypatch.setattr(planning_table, "RESULTS", ".")
    assert planning_table._mean_seconds("lm", {"2x32"}) == {"step-000010": 20, "step-000020": 100}
    assert planning_table._mean_seconds("lm", {"3x96"}) == planning_table._mean_seconds("traces", {"2x32"}) == {}


def test_plan_leaves_nothing(place):
    """Wherever it is asked, with results and without, and whether it can plan or not."""
    before = sorted(place.rglob("*"))
    run_progsem("plan", "studies/one.yaml")
    assert "did you mean" in run_progsem("plan", "tinny", status=2).stderr
    assert sorted(place.rglob("*")) == before
    make("one")
    Path("results", "lm", "dangling").symlink_to("nowhere")
    before = sorted(place.rglob("*"))
    assert "nothing to be done" in run_progsem("plan", "one").stdout
    assert sorted(place.rglob("*")) == before


def test_plan_without_a_workflow_is_one_line(tmp_path):
    """The package alone, as when it is installed without the repository."""
    shutil.copytree(ROOT / "src" / "progsem", tmp_path / "alone" / "lib" / "progsem")
    (tmp_path / "here").mkdir()
    answer = subprocess.run(
        [sys.executable, "-m", "progsem", "plan"],
        cwd=tmp_path / "here",
        env=ENVIRONMENT | {"PYTHONPATH": str(tmp_path / "alone" / "lib")},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    (line,) = answer.stderr.splitlines()
    assert answer.returncode == 2 and answer.stdout == "" and "there is no Snakefile in" in line
    assert list((tmp_path / "here").iterdir()) == []


def test_a_study_is_named_or_given_as_a_file(place):
    """Those here go before those of the repository."""
    assert run_progsem("study", "one").stdout == "studies/one.yaml\n"
    assert run_progsem("study", "studies/one.yaml").stdout == "studies/one.yaml\n"
    assert run_progsem("study", "tiny").stdout == f"{ROOT / 'studies' / 'tiny.yaml'}\n"
    Path("studies", "tiny.yaml").write_text("study: tiny\n", encoding="utf-8")
    assert run_progsem("study", "tiny").stdout == "studies/tiny.yaml\n"
    for command, given in (("study", "tinny"), ("plan", "Tiny"), ("keep", "studies/tinny.yaml"), ("prune", "tinny")):
        (line,) = run_progsem(command, given, status=2).stderr.splitlines()
        assert repr(given) in line and line.endswith("did you mean 'tiny'?")
        assert all(name in line for name in [*STUDIES, *SHIPPED])


def test_bad_studies_are_one_line(place):
    path_of("one").write_text("lm: {layres: 3}", encoding="utf-8")
    for command in ("plan", "keep", "artifacts", "prune"):
        Path("results").mkdir(exist_ok=True)
        answer = run_progsem(command, "studies/one.yaml", status=2)
        assert answer.stderr.count("\n") == 1 and "studies/one.yaml: lm.layres: unknown key" in answer.stderr
    assert "'studies/none.yaml'" in run_progsem("keep", "studies/none.yaml", status=2).stderr
    assert "cannot be read" in run_progsem("keep", "studies", status=2).stderr
    assert "studies/one.yaml" in run_progsem("prune", status=2).stderr  # one of those that are found here


# keep


def test_keep_gives_earlier_results_their_present_names(place, capsys):
    with earlier_code():
        old = make("one")
        before = {path: content for path, content in files().items() if "/figures" not in path}
    plan = plan_of("one")
    keep.main(["studies/one.yaml"])
    assert f"{old.lm.folder} -> {plan.lm.folder}: 3 results; differs: train.py" in capsys.readouterr().out
    names = {old_name: new_name for old_name, new_name in zip(_keys(old), _keys(plan), strict=True)}

    def renamed(path):
        return next((path.replace(old, new) for old, new in names.items() if old in path), path)

    after = {path: content for path, content in files().items() if "/figures" not in path}
    assert after == {renamed(path): content for path, content in before.items()}
    assert set(would_run("one")) <= {"figures"}  # which are drawn by other code
    assert verify.main([]) == 0
    # With the earlier code again, its names come back.
    with earlier_code():
        keep.main(["studies/one.yaml"])
    assert {path: content for path, content in files().items() if "/figures" not in path} == before


def test_keep_takes_whole_results_only_and_replaces_none(place, capsys):
    with earlier_code("train"):
        old = make("one")
    plan = plan_of("one")
    steps = ["seed-0/step-000000", "seed-0/step-000010", "seed-0/step-000020"]
    make_unit(plan, unit_of(Path(plan.lm.file(steps[0]))))
    Path(old.lm.file(steps[1]), "config.json").unlink()
    untouched = Path(plan.lm.file(steps[0]), manifest.NAME).read_bytes()
    keep.main(["studies/one.yaml"])
    said = capsys.readouterr().out
    assert "config.json is missing" in said and "was left as well" in said
    assert Path(plan.lm.file(steps[0]), manifest.NAME).read_bytes() == untouched
    assert Path(old.lm.file(steps[0])).exists() and Path(old.lm.file(steps[2])).exists()
    assert not Path(plan.lm.file(steps[1])).exists()
    assert not Path(plan.statistics.folder).exists()


def test_keep_does_not_mix(place, capsys):
    """What was made from another corpus than the one that stands under the present name is left."""
    with earlier_code("corpus"):
        old = make("one")
    plan = plan_of("one")
    make_unit(plan, unit_of(Path(plan.corpus.folder)))  # other bytes, as the slice has the code
    keep.main(["studies/one.yaml"])
    assert "made from another corpus than" in capsys.readouterr().out
    assert Path(old.tokens.folder).exists() and not Path(plan.tokens.folder).exists()


def test_keep_leaves_what_was_begun_anew(place, capsys):
    with earlier_code("train"):
        old = make("one")
    begun = Path(plan_of("one").lm.file("seed-0/step-000000"))
    begun.mkdir(parents=True)
    (begun / ".config.json.abcd1234.json").touch()
    (begun / "resume.safetensors").touch()
    keep.main(["studies/one.yaml"])
    assert "begun anew" in capsys.readouterr().out and Path(old.lm.folder).exists()
    (begun / "resume.safetensors").unlink()
    keep.main(["studies/one.yaml"])
    assert (begun / manifest.NAME).exists() and not Path(old.lm.folder).exists()
    assert not (begun / ".config.json.abcd1234.json").exists()
    keep.main(["studies/one.yaml"])
    assert "nothing to keep" in capsys.readouterr().out


def _keys(plan: Plan) -> list[str]:
    return list(dict.fromkeys(unit.key for unit in plan.units()))


# verify


def test_verify_finds_nothing_in_what_is_whole(place, capsys):
    plan = make("seeds")
    for state in Path(plan.lm.folder).rglob(manifest.TEMPORARY):
        state.unlink()
    before = files()
    assert verify.main([]) == 0
    assert "nothing damaged, 0 notes" in capsys.readouterr().out
    Path("results").rename("elsewhere")
    assert verify.main(["elsewhere"]) == 0
    Path("elsewhere").rename("results")
    assert files() == before


@pytest.mark.parametrize(
    "kind", ["altered", "cut", "missing", "manifest", "unmanifest", "figures", "chain", "kept chain"]
)
def test_verify_names_each_kind_of_damage(place, capsys, kind):
    if kind == "kept chain":
        with earlier_code("train"):
            make("one")
        keep.main(["studies/one.yaml"])
    plan = make("one")
    weights = Path(plan.lm.file("seed-0/step-000010/model.safetensors"))
    named = weights
    if kind == "altered":
        content = bytearray(weights.read_bytes())
        content[3] ^= 1
        weights.write_bytes(content)
    elif kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif kind == "missing":
        weights.unlink()
    elif kind == "manifest":
        named = weights.parent / manifest.NAME
        named.write_text(named.read_text(encoding="utf-8").replace('"seconds": ', '"seconds": 1'), encoding="utf-8")
    elif kind == "unmanifest":
        named = weights.parent / manifest.NAME
        named.write_bytes(b"")
    elif kind == "figures":
        named = Path(FIGURES, "training.png")
        named.write_bytes(b"")
    else:  # the checkpoint is made again, with another result
        slices = json.loads(plan.training_slice("0", "000020"))
        named = Path(plan.traces.file("seed-0/step-000020"))
        target = Path(plan.lm.file("seed-0/step-000020"))
        write(target, "train", json.dumps({**slices, "other": 1}), {}, list(FILES["lm"]), 1.0)
        text = json.loads((target / manifest.NAME).read_text(encoding="utf-8"))
        assert text["slice"]["other"] == 1
    capsys.readouterr()
    assert verify.main([]) == 1
    damages = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged")]
    assert any(str(named) in line and "snakemake" in line and "again" in line for line in damages)
    # Generalisation, the statistics and the playground were made from that checkpoint as well as its traces.
    assert len(damages) == (4 if "chain" in kind else 1)


def test_verify_says_what_is_left_over_and_unfinished(place, capsys):
    plan = make("one")
    begun = Path(plan.lm.folder, "seed-0/step-000020")
    (begun / manifest.NAME).unlink()
    (begun / "resume.safetensors").touch()
    leftovers = [Path(plan.corpus.folder, "train/.00000.arrow.a_bcd123.arrow"), Path("results/.figures.a_bcd123")]
    leftovers[0].touch()
    leftovers[1].mkdir()
    strange = [Path("results/notes.txt"), Path("results/lm/mine"), Path(plan.probes.folder, "seed-0/plot.png")]
    strange[1].mkdir()
    for path in (strange[0], strange[2]):
        path.touch()
    assert verify.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    notes = {line.split()[1].rstrip(":"): line for line in lines if line.startswith("note ")}
    assert set(notes) == {str(path) for path in (begun, *leftovers, *strange)}
    assert "unfinished" in notes[str(begun)]
    assert all("killed" in notes[str(path)] for path in leftovers)
    assert lines[-1].endswith("nothing damaged, 6 notes")


# artifacts


def test_artifacts_says_who_uses_what(place, capsys):
    with earlier_code("statistics"):
        make("seeds")
    make("one")
    make("spaced")
    shutil.rmtree(plan_of("one").traces.file("seed-0/step-000010"))
    artifacts.main(["studies/one.yaml", "studies/seeds.yaml"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[1]: line for line in lines[1:-1]}
    one, seeds, spaced = map(plan_of, ("one", "seeds", "spaced"))
    assert "  one, seeds  present" in rows[one.corpus.key]
    assert "  6  " in rows[one.lm.key] and "  5 of 6  " in rows[one.traces.key]
    assert rows[spaced.lm.key].endswith("  -        present") or "  -  " in rows[spaced.lm.key]
    assert "  seeds " in rows[next(key for key in rows if key.startswith("seeds-"))]
    assert rows[next(key for key in rows if key.startswith("seeds-"))].endswith("earlier")
    assert rows[spaced.statistics.key].split()[-2:] == ["-", "present"]
    assert lines[-1].startswith(f"{len(rows)} folders, ")
    assert seeds.lm.key == one.lm.key
    keep.main(["studies/seeds.yaml"])
    capsys.readouterr()
    artifacts.main([])
    assert f"{seeds.statistics.key} " in (said := capsys.readouterr().out)
    assert next(line for line in said.splitlines() if seeds.statistics.key in line).endswith("kept")


# prune


@pytest.mark.parametrize("other", [name for name in STUDIES if name != "one"])
def test_prune_leaves_what_a_study_needs_and_nothing_else(place, other):
    """For a pair of studies, each way round: of both, one, and none by earlier code."""
    make("one")
    make(other)
    everything, figures = files(), {str(path): path.read_bytes() for path in Path(FIGURES).iterdir()}
    for needed in ("one", other):
        wanted = units_of(needed)
        prune.main([f"studies/{needed}.yaml"])
        assert files() == everything  # nothing is deleted unless told
        prune.main([f"studies/{needed}.yaml", "--delete"])
        assert standing() == wanted
        left = files()
        assert all(everything[path] == content for path, content in left.items())
        gone = [path for path in set(everything) - set(left) if wanted & set(Path(path).parents)]
        assert {Path(path).name for path in gone} <= {manifest.TEMPORARY}  # training is done
        assert figures.items() <= left.items()
        logs = {str(path) for path in Path("results/logs").rglob("*.log")}
        assert logs == {str(unit.log) for unit in plan_of(needed).units()}
        assert not any(path.is_dir() and not any(path.iterdir()) for path in Path("results").rglob("*"))
        assert verify.main([]) == 0
        shutil.rmtree("results")
        for path, content in everything.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
    prune.main(["studies/one.yaml", f"studies/{other}.yaml", "--delete"])
    assert standing() == units_of("one", other)


def test_prune_of_results_by_earlier_code(place, capsys):
    with earlier_code():
        make("one")
        make("probes")
    old = standing()
    prune.main(["studies/one.yaml", "studies/probes.yaml", "--delete"])
    assert standing() == old
    make("one")
    prune.main(["studies/one.yaml", "studies/probes.yaml", "--earlier-code"])
    assert standing() == old | units_of("one")
    assert "made by earlier code" in capsys.readouterr().out
    prune.main(["studies/one.yaml", "studies/probes.yaml", "--earlier-code", "--delete"])
    assert standing() == units_of("one")


def test_prune_of_states_and_leftovers(place):
    plan = make("one")
    steps = [Path(plan.lm.file(f"seed-0/step-{step:06d}")) for step in (0, 10, 20)]
    (steps[2] / manifest.NAME).unlink()  # the last one is being made
    (steps[2] / "resume.safetensors").touch()
    leftovers = [steps[0] / ".config.json.abcd1234.json", Path("results/.figures.abcd1234/new/x.png")]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    prune.main(["studies/one.yaml", "--delete"])
    assert [(step / manifest.TEMPORARY).exists() for step in steps] == [False, True, True]
    assert (steps[2] / "resume.safetensors").exists()
    assert not any(path.exists() for path in leftovers) and not Path("results/.figures.abcd1234").exists()
    make_unit(plan, unit_of(steps[2]))
    prune.main(["studies/one.yaml", "--delete"])
    assert not any((step / manifest.TEMPORARY).exists() for step in steps)
    assert would_run("one") == {}


def test_prune_leaves_what_is_not_ours(place, capsys):
    make("one")
    outside = Path("outside")
    outside.mkdir()
    (outside / "precious").touch()
    spaced = make("spaced")
    Path("results/figures").rename("figures")
    strange = [
        Path("results/notes.txt"),
        Path("results/lm/3x128-old"),
        Path(f"{spaced.corpus.folder}.bak"),
        Path(f"{spaced.lm.folder}/seed-0/notes.md"),
    ]
    for path in strange[1:3]:
        path.mkdir()
    for path in (strange[0], strange[3]):
        path.write_text("mine", encoding="utf-8")
    links = [Path("results/lm/link-01234567-89abcdef"), Path("results/tokens/x-01234567-89abcdef"), Path("results/own")]
    for link in links:
        link.symlink_to(outside.resolve())
    inside = Path(spaced.probes.file("seed-0/step-000000/link"))
    inside.symlink_to(outside.resolve())
    prune.main(["studies/one.yaml", "--delete"])
    said = capsys.readouterr().out
    assert all(path.exists() and f"not progsem's: {path}" in said for path in (*strange, *links))
    assert (outside / "precious").exists()
    assert not inside.is_symlink()  # the link went, not what it points to
    assert standing() - units_of("one") == {unit_of(link).path for link in links[1:2]}


def test_prune_takes_the_studies_that_are_here(place, capsys):
    make("one")
    assert {study.name for study in common.studies([])} == {"config", *SHIPPED, *STUDIES}
    Path("config.yaml").write_text(path_of("one").read_text(encoding="utf-8"), encoding="utf-8")
    assert [study.name for study in common.studies([])].count("config") == 2  # this one, and the repository's
    assert common.study(None).plan.lm.key == plan_of("one").lm.key
    prune.main([])
    assert "Nothing was deleted" in capsys.readouterr().out
    for path in [*Path("studies").iterdir(), Path("config.yaml")]:
        path.unlink()
    prune.main(["--delete"])
    assert standing() == set() and [path.name for path in Path("results").iterdir()] == ["figures"]


# all of them


@pytest.mark.parametrize("command", [keep, prune])
def test_nothing_is_touched_while_snakemake_runs(place, command, capsys):
    with earlier_code():
        make("one")
    Path(".snakemake/locks").mkdir(parents=True)
    before = files()
    arguments = ["studies/probes.yaml", *(["--delete"] if command is prune else [])]
    with open(".snakemake/progsem.alive", "w", encoding="utf-8") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        with pytest.raises(UserError, match="a snakemake is running in this folder"):
            command.main(arguments)
    lock = Path(".snakemake/locks/0.input.lock")
    lock.touch()
    Path(".snakemake/progsem.alive").write_text("another-host", encoding="utf-8")
    with pytest.raises(UserError, match="on another-host.*snakemake --unlock"):
        command.main(arguments)
    assert files() == before
    Path(".snakemake/progsem.alive").write_text(
        platform.node(), encoding="utf-8"
    )  # a stale lock of a process that was killed here
    command.main(arguments)
    assert files() != before


def test_a_snakemake_that_runs_holds_the_lock(place):
    """What the Snakefile does and what the commands look for are the same."""
    code = "from progsem.workflow.lock import remove_stale_locks; remove_stale_locks(); print(flush=True); input()"
    Path("results").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as running:
        running.stdout.readline()
        with pytest.raises(UserError, match="a snakemake is running"):
            prune.main(["studies/one.yaml"])
        running.communicate(b"\n")
    prune.main(["studies/one.yaml"])


def test_the_command_line(place):
    answer = run_progsem("--help")
    listed = re.findall("^    ([a-z]+)  +[a-z]", answer.stdout, re.MULTILINE)
    assert listed == ["execute", "plan", "power", "keep", "verify", "study", "export", "artifacts", "prune"]
    for arguments in (["kepe"], [], ["plan", "--all"], ["prune", "--delet"]):
        answer = run_progsem(*arguments, status=2)
        assert answer.stderr.count("\n") == 1 and answer.stderr.startswith("progsem: ")
    assert "did you mean 'keep'" in run_progsem("kepe", status=2).stderr
    assert "there is no such folder" in run_progsem("verify", status=2).stderr
    assert "--slice" in run_progsem("corpus", "--help").stdout  # stages are there, and not listed


def test_light_commands_import_nothing_heavy(place):
    make("one")
    code = (
        "import sys; from progsem.__main__ import main\n"
        "for command in ('keep', 'verify', 'artifacts', 'prune'):\n"
        "    sys.argv = ['progsem', command]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "print('heavy:', *{'numpy', 'torch', 'pyarrow', 'pandas', 'snakemake'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=ENVIRONMENT)
    assert answer.returncode == 0 and answer.stdout.splitlines()[-1] == "heavy:", answer.stdout + answer.stderr


def test_a_reader_that_has_seen_enough(place):
    make("one")
    with subprocess.Popen(
        [sys.executable, "-m", "progsem", "artifacts"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is there on Linux")
def test_a_full_disk_is_one_line(place):
    make("one")
    with open("/dev/full", "w", encoding="utf-8") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "progsem", "artifacts"],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=ENVIRONMENT,
        )
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1 and "cannot be written" in answer.stderr


def test_an_interrupt_is_no_traceback(place):
    """Ctrl-C while a command waits for its input."""
    with subprocess.Popen(
        [sys.executable, "-m", "progsem", "execute", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=default_signals,
    ) as running:
        line = json.dumps({"program": "def run() { move() }", "worlds": [{"input": ["####", "#>.#", "####"]}]})
        running.stdin.write(f"{line}\n".encode())
        running.stdin.flush()
        assert running.stdout.readline()  # it is past its start
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert running.stderr.read() == b""


def test_sizes_and_tables():
    assert [common.human(count) for count in (0, 999, 1000, 9_949, 99_500, 999_700, 1.3e9, 2.5e15)] == [
        *("0 B", "999 B", "1.0 kB", "9.9 kB", "100 kB", "1.0 MB", "1.3 GB", "2500 TB")
    ]
    rows = [("name", "size"), ("a", "12 B"), ("longer", "3 kB")]
    assert common.table(rows, right=("size",)) == "name    size\na       12 B\nlonger  3 kB"
