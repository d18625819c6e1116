"""Disks that are full or read-only, and writers that are killed: one line, nothing half-written, nothing lost."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import Jobs
from matplotlib.figure import Figure
from tree import HANGS, TINY, Tree, say, tiny

from progsem.errors import UserError
from progsem.plots import style
from progsem.storage import manifest
from progsem.storage.files import (
    clear_leftovers,
    filling,
    replacing,
    save_tensors,
    write_csv,
    write_json,
    write_table,
)
from progsem.study.plan import Plan

# Stages by the folder, below results/, of what one of their jobs has made.
STAGES = {
    "corpus": "corpus/*",
    "tokens": "tokens/*",
    "train": "lm/*/seed-0/step-000000",
    "traces": "traces/*/seed-0/step-000020",
    "probes": "probes/2x32-????????-*/seed-0/step-000020",
    "statistics": "statistics/*",
    "figures": "figures",
}


@pytest.fixture(scope="module")
def jobs(tree, tmp_path_factory):
    """The study's results in a folder of their own."""
    root = tmp_path_factory.mktemp("study")
    shutil.copytree(tree.root / "results", root / "results")
    jobs = Jobs(tree, root)
    yield jobs
    jobs.close()


def leave(disk: Path, room: int) -> None:
    """Fill a file system up to that many bytes, in whole pages."""
    blocks = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(max(blocks.f_bavail * blocks.f_frsize - room, 0)))


def outputs(jobs: Jobs, pattern: str) -> dict[str, Path]:
    """What a job has made, by path below `results/`, its manifest included."""
    (folder,) = (jobs.root / "results").glob(pattern)
    files = [folder / name for name in [*jobs.manifest(pattern)["files"], manifest.NAME]]
    return {str(path.relative_to(jobs.root / "results")): path for path in files}


def sizes(jobs: Jobs, pattern: str) -> list[int]:
    """Bytes of each file that a job has made; the state that training starts from is temporary."""
    return [path.stat().st_size for path in outputs(jobs, pattern).values() if path.exists()]


def check_what_is_there(jobs: Jobs, pattern: str, target: Path) -> None:
    """Below `target` only files of the job, each whole, and neither a manifest nor temporaries."""
    expected = outputs(jobs, pattern)
    for path in (path for path in target.rglob("*") if path.is_file() and path.name != "filling"):
        name = str(path.relative_to(target))
        assert name in expected, f"{name} was left"
        assert path.name != manifest.NAME
        earlier = expected[name]
        if earlier.exists() and path.name not in ("summary.json", "metrics.csv"):
            assert path.read_bytes() == earlier.read_bytes(), f"{name} is half-written"


def last_line(answer) -> str:
    """The line that a job ended with; before it there may be reports of progress, and nothing else."""
    assert answer.status == 2, answer.said
    assert "Traceback" not in answer.said
    *before, line = answer.said.splitlines()
    assert not [other for other in before if other.startswith("progsem: ")], answer.said
    return line


@pytest.mark.parametrize("part", [0, 0.4, 0.9], ids=["nothing fits", "a part fits", "most fits"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(jobs, disk, stage, part):
    """There is room for a part of what the job writes."""
    leave(disk, round(part * sum(sizes(jobs, STAGES[stage]))))
    line = last_line(jobs.ask(jobs.arguments(STAGES[stage], str(disk))))
    assert line.startswith(f"progsem: {disk}/")
    assert "No space left on device" in line and "make room" in line
    check_what_is_there(jobs, STAGES[stage], disk)


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_that_may_not_be_as_large(jobs, tmp_path, stage):
    """The disk takes half of the largest file: needs no right to mount."""
    answer = jobs.ask(jobs.arguments(STAGES[stage], str(tmp_path)), largest=max(sizes(jobs, STAGES[stage])) // 2)
    line = last_line(answer)
    assert line.startswith(f"progsem: {tmp_path}/")
    assert "File too large" in line and "make room" in line
    check_what_is_there(jobs, STAGES[stage], tmp_path)


def figure(path: Path) -> None:
    """One as the stage `figures` saves it. The PDF is the largest file, and its stream larger than what is buffered."""
    drawn = Figure()
    drawn.subplots().plot(np.random.default_rng(0).random(6000))
    with filling(path, manifest.put) as temporary:
        style.save(drawn, temporary, "drawn", 20, [{"x": 1}])


SOME = {"a": np.arange(9_000, dtype=np.float32), "b": np.ones((9_000, 3), np.uint8)}
WRITERS = {
    "figure": figure,
    "table": lambda path: write_table(path, SOME),
    "tensors": lambda path: save_tensors(path, {name: torch.from_numpy(array) for name, array in SOME.items()}),
    "csv": lambda path: write_csv(path, ["number"], zip(range(9_000), strict=True)),
    "json": lambda path: write_json(path, list(range(9_000))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_full_at_any_place_of_a_file(tmp_path, name):
    """Also inside what a library compresses: what it raises while it closes the file does not count."""
    write, usual = WRITERS[name], resource.getrlimit(resource.RLIMIT_FSIZE)
    write(tmp_path / "whole")
    largest = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    for limit in np.linspace(0, largest - 1, 24).astype(int).tolist():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, usual[1]))
        try:
            with pytest.raises(UserError, match=f"{tmp_path}/.*: cannot be written .*File too large.*; make room"):
                write(tmp_path / "other")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_what_is_raised_for_another_reason_stays_what_it_is(tmp_path):
    """Also after an error of the system's that was dealt with."""
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a"):
        try:
            (tmp_path / "none").read_text(encoding="utf-8")
        except FileNotFoundError:
            1 / 0  # noqa: B018


@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_disk(jobs, disk, stage):
    """Nothing that stands on it changes, nor what a process that was killed has left."""
    shutil.copytree(jobs.root / "results" / "corpus", disk / "corpus")
    (disk / "figures").mkdir()
    (disk / ".figures.abcdefgh").touch()
    before = sorted(disk.rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    line = last_line(jobs.ask(jobs.arguments(STAGES[stage], str(disk))))
    assert line.startswith(f"progsem: {disk}/")
    assert "Read-only file system" in line and "give access" in line
    assert sorted(disk.rglob("*")) == before


def test_snakemake_where_results_are_read_only(tree, disk, tmp_path):
    """What there is can be looked at; what is to be written is refused in one line, before any work."""
    other = Tree.copied(tmp_path / "other")
    (other.root / "results").symlink_to(disk)
    subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
    shutil.copytree(tree.root / "results", disk, dirs_exist_ok=True)
    assert other.planned(*TINY) == {}
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert other.planned(*TINY) == {}
    title, steps = say({"figures": {"title": "x"}}), say({"lm": {"seeds": [0, 1]}, "figures": {"title": ""}})
    for changes, named in ((title, "results/figures"), (steps, "results")):
        answer = other.ask("--cores", "1", *TINY, *changes)
        assert answer.returncode == 2 and "Traceback" not in answer.stdout
        assert f"progsem: {named}" in answer.stdout and "cannot be written" in answer.stdout


def test_planning_on_a_read_only_disk(tree, disk, tmp_path):
    """A clone that cannot be written, its figures those of another study, can be asked what would run.

    It is mounted twice, so that its package is not found by the path that it is asked in.
    """
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    clone = disk / "clone"
    shutil.copytree(tree.root, clone, ignore=shutil.ignore_patterns(".snakemake"))
    (clone / "studies" / "other.yaml").write_text("study: other\nfigures: {dpi: 60}\n", encoding="utf-8")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    before = sorted(clone.rglob("*"))
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run(["mount", "--bind", disk, again], check=True)
    environment = tree.environment() | {"PYTHONPATH": str(clone / "src")}
    for study, said in (("tiny", "nothing to be done"), ("studies/other.yaml", "drawn anew")):
        answer = subprocess.run(
            [sys.executable, "-m", "progsem", "plan", study],
            cwd=again / "clone",
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=HANGS,
        )
        assert answer.returncode == 0 and answer.stderr == ""
        assert said in answer.stdout
    subprocess.run(["umount", "-l", again], check=True)
    assert sorted(clone.rglob("*")) == before


def test_a_library_that_cannot_write_is_one_line(tree, disk, tmp_path):
    """numba keeps compiled kernels in a cache of its own."""
    leave(disk, room=0)
    slice_ = Plan(tiny()).corpus.slice()
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "progsem", "corpus", "--slice", slice_),
            *("--output", "train", str(tmp_path / "0.arrow"), str(tmp_path / "1.arrow")),
            *("--output", "validation", str(tmp_path / "v.arrow"), "--output", "test", str(tmp_path / "t.arrow")),
        ],
        env=os.environ | {"NUMBA_CACHE_DIR": str(disk)},
        capture_output=True,
        encoding="utf-8",
    )
    assert answer.returncode == 2
    assert "No space left on device" in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize("what", ["replacing", "filling"])
def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path, what):
    """It is killed in the middle of a big write; what it leaves is cleared before the next one writes."""
    path = tmp_path / "shard.arrow"
    code = f"""
import os, signal, sys
from progsem.storage.files import {what}
with {what}(sys.argv[1]{", print" if what == "filling" else ""}) as temporary:
    target = temporary if {what == "replacing"} else temporary / "part.bin"
    with open(target, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
            if file.tell() > 32 << 20:
                os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, path])
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    (left,) = tmp_path.iterdir()
    other = tmp_path / ".shard.arrow2.abc"  # of another file
    other.touch()
    clear_leftovers(path)
    assert not left.exists() and other.exists()


def test_a_killed_writer_leaves_the_earlier_file(tmp_path):
    """A file that is replaced is the old one until it is the new one."""
    path = tmp_path / "state.bin"
    path.write_bytes(b"earlier")
    code = (
        "import os, sys; from progsem.storage.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'later'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path])
    assert path.read_bytes() == b"earlier"
