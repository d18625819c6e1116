"""Sampling: distributions, seeds, independence of threads and shards, disjoint splits."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from progsem.data import corpus
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages.karel.codes import MAX_MARKERS, ORIGINAL, PAD, WALL
from progsem.languages.karel.kernels import execute
from progsem.storage.files import read_tables
from progsem.study import config
from progsem.study.vocabulary import SPLITS


def make(folder: Path, threads: int = 1, **changes) -> Job:
    """Run the stage on a small config; `changes` are sections."""
    sections = {
        "programs": {"train_length": [1, 4], "test_length": [1, 4]},
        "traces": {"train": 10, "validation": 10, "test": 10},
        "generalisation": {"sets": {}},
        **changes,
    }
    sizes = {"train": 3000, "validation": 200, "test": 300, "shard": 1000}
    sections["corpus"] = {"examples": 2, **changes.get("corpus", sizes)}
    study = config.load(sections)
    counts = {split: -(-getattr(study.corpus, split) // study.corpus.shard) for split in SPLITS}
    shards = {split: [folder / split / f"{n}.arrow" for n in range(count)] for split, count in counts.items()}
    job = Job("corpus", study.model_dump(mode="json"), {}, shards, threads=threads)
    corpus.run(job)
    return job


def rows(job: Job, split: str) -> dict[str, np.ndarray]:
    return read_tables(job.outputs[split])[0]


def digests(job: Job) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for split in SPLITS for path in job.outputs[split]]


def specifications(columns, examples=2, worlds=5) -> set[bytes]:
    count = len(columns["program"])
    cells = columns["cells"].reshape(count, worlds, -1)[:, :examples].reshape(count, -1)
    poses = columns["poses"].reshape(count, worlds, 3)[:, :examples].reshape(count, -1)
    return {row.tobytes() for row in np.concatenate([columns["program"], cells, poses], axis=1)}


def test_same_bytes_whatever_the_threads_and_the_shards(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", threads=2)
    assert digests(one) == digests(two)
    sizes = {"train": 3000, "validation": 200, "test": 300}
    other = make(tmp_path / "other", corpus={**sizes, "shard": 700})
    np.testing.assert_array_equal(rows(one, "train")["cells"], rows(other, "train")["cells"])
    np.testing.assert_array_equal(rows(one, "train")["program"], rows(other, "train")["program"])


@pytest.mark.parametrize(
    "changes, drawn, expected",
    [
        ({}, "01a177a043cbe76d", "0d89196c6664b2a7"),
        (
            {
                "programs": {"control_flow": 0.4, "train_length": [1, 6], "test_length": [2, 5]},
                "worlds": {"height": 5, "width": 7},
            },
            "d9db6fb7192b47cf",
            "d69e5bcd5edbca7e",
        ),
    ],
    ids=["straight", "control flow"],
)
def test_a_config_has_the_programs_and_worlds_it_always_had(tmp_path, changes, drawn, expected):
    """drawn: what random numbers alone decide, and where the robot ends; expected: everything."""
    job = make(tmp_path, **changes)
    part, whole = hashlib.sha256(), hashlib.sha256()
    for split in SPLITS:
        for name, array in sorted(rows(job, split).items()):
            whole.update(name.encode() + array.tobytes())
            if name != "out_cells":
                part.update(name.encode() + array.tobytes())
    assert (part.hexdigest()[:16], whole.hexdigest()[:16]) == (drawn, expected)


def test_outputs_of_loops_have_more_markers_than_a_digit_can_show(tmp_path):
    columns = rows(make(tmp_path, programs={"control_flow": 0.4, "max_depth": 3}), "train")
    counts = columns["out_cells"][columns["out_cells"] != WALL]
    assert 9 < counts.max() <= MAX_MARKERS
    assert columns["cells"][columns["cells"] != WALL].max() == 1


def test_notes_count_programs_as_they_stand_in_the_shards(tmp_path):
    job = make(tmp_path)
    programs = {split: {row.tobytes() for row in rows(job, split)["program"]} for split in SPLITS}
    assert job.notes["distinct_programs"] == {split: len(programs[split]) for split in SPLITS}
    for split, share in job.notes["share_of_programs_also_in_training"].items():
        drawn = rows(job, split)["program"]
        assert share == round(np.mean([row.tobytes() in programs["train"] for row in drawn]), 6)


def test_seed_changes_everything(tmp_path):
    sizes = {"train": 1000, "validation": 200, "test": 300, "shard": 1000}
    first = make(tmp_path / "a", corpus={**sizes, "seed": 1})
    second = make(tmp_path / "b", corpus={**sizes, "seed": 2})
    assert not set(digests(first)) & set(digests(second))
    assert not specifications(rows(first, "train")) & specifications(rows(second, "train"))


def test_distributions(tmp_path):
    sizes = {"train": 20_000, "validation": 10, "test": 10, "shard": 50_000}
    programs = {"train_length": [6, 10], "test_length": [1, 10]}
    job = make(tmp_path, corpus=sizes, programs=programs, worlds={"height": 6, "width": 5})
    columns = rows(job, "train")
    count = len(columns["program"])
    lengths = (columns["program"] != PAD).sum(axis=1)
    shares = np.bincount(lengths, minlength=11)[6:] / count
    np.testing.assert_allclose(shares, 0.2, atol=0.015)  # uniform over 6-10; standard error 0.003
    statements = columns["program"][columns["program"] != PAD]
    np.testing.assert_allclose(np.bincount(statements) / statements.size, np.array([2, 2, 3, 3, 5]) / 15, atol=0.006)
    cells = columns["cells"].reshape(count, 5, 6, 5)
    poses = columns["poses"].reshape(count, 5, 3)
    # A cell is a wall unless the robot stands on it (1 of 30 cells); markers lie on the rest.
    assert abs((cells == WALL).mean() - 0.1 * 29 / 30) < 0.001
    assert abs((cells == 1).mean() - 0.9 * 0.1 * 29 / 30) < 0.001
    assert set(np.unique(cells)) == {0, 1, WALL}
    under = np.take_along_axis(cells.reshape(count, 5, -1), (poses[..., :1].astype(int) * 5 + poses[..., 1:2]), axis=2)
    assert (under == 0).all()
    places = np.bincount((poses[..., 0].astype(int) * 5 + poses[..., 1]).ravel(), minlength=30)
    np.testing.assert_allclose(places / places.sum(), 1 / 30, atol=0.003)
    np.testing.assert_allclose(np.bincount(poses[..., 2].ravel()) / poses[..., 2].size, 0.25, atol=0.006)


def test_streams_of_neighbouring_programs_are_unrelated(tmp_path):
    """Worlds of rows n and n + 1 agree in as many cells as independent ones do."""
    job = make(tmp_path, corpus={"train": 20_000, "validation": 10, "test": 10, "shard": 50_000})
    walls = rows(job, "train")["cells"] == WALL
    rate = walls.mean()
    expected = rate**2 + (1 - rate) ** 2
    assert abs((walls[1:] == walls[:-1]).mean() - expected) < 0.001
    assert abs((walls[:, 1:] == walls[:, :-1]).mean() - expected) < 0.001


def test_outputs_are_what_the_programs_do(tmp_path):
    job = make(tmp_path, programs={"control_flow": 0.4})
    columns = rows(job, "train")
    count = len(columns["program"])
    out_cells, out_poses, halted = execute(
        columns["program"],
        columns["cells"].reshape(count, 5, 4, 4),
        columns["poses"].reshape(count, 5, 3),
        np.array(ORIGINAL, np.uint8),
        200,
    )
    assert halted.all()
    np.testing.assert_array_equal(columns["out_cells"], out_cells.reshape(count, -1))
    np.testing.assert_array_equal(columns["out_poses"], out_poses.reshape(count, -1))


def test_splits_share_no_specification_even_where_there_are_few(tmp_path):
    tiny = {
        "worlds": {"height": 2, "width": 2, "wall_probability": 0.0, "marker_probability": 0.0},
        "programs": {"train_length": [1, 2], "test_length": [1, 2]},
        "corpus": {"train": 2000, "validation": 100, "test": 100, "examples": 1, "held_out": 0, "shard": 500},
        "traces": {"train": 20, "validation": 20, "test": 20},
        "probes": {"offsets": [0]},
    }
    job = make(tmp_path, **tiny)
    seen = {split: specifications(rows(job, split), examples=1, worlds=1) for split in SPLITS}
    assert len(seen["test"]) == len(seen["validation"]) == 100  # no specification twice
    assert not seen["train"] & (seen["test"] | seen["validation"])
    assert not seen["test"] & seen["validation"]
    # 16 poses and 30 programs: the splits would overlap if nobody took care.
    assert job.notes["share_of_programs_also_in_training"]["test"] > 0.9


def test_too_few_specifications_is_said(tmp_path):
    """Where it cannot be told from the config: walls and markers are possible, but never come."""
    tiny = {
        "worlds": {"height": 2, "width": 2, "wall_probability": 1e-12, "marker_probability": 1e-12},
        "programs": {"train_length": [1, 1], "test_length": [1, 1]},
        "corpus": {"train": 20, "validation": 100, "test": 100, "examples": 1, "held_out": 0, "shard": 500},
        "traces": {"train": 20, "validation": 20, "test": 20},
        "probes": {"offsets": [0]},
    }
    with pytest.raises(UserError, match="no new specification"):
        make(tmp_path, **tiny)


def test_programs_that_never_halt_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_MAX_ATTEMPTS", 20)
    endless = {"programs": {"control_flow": 1.0, "train_length": [4, 4], "test_length": [4, 4], "step_limit": 5}}
    with pytest.raises(UserError, match="raise programs.step_limit"):
        make(tmp_path, **endless)


def test_control_flow_is_sampled_in_all_its_kinds(tmp_path):
    from progsem.languages.karel.syntax import decode, unparse

    job = make(tmp_path, programs={"control_flow": 0.5, "train_length": [1, 6], "test_length": [1, 4]})
    texts = [unparse(decode([int(c) for c in program if c != PAD])) for program in rows(job, "train")["program"]]
    for keyword in ("if (", "ifelse (", "} else {", "while (", "repeat (", "not "):
        assert any(keyword in text for text in texts), keyword
