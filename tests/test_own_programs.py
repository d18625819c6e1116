"""Programs from a file in place of drawn ones: how they are read, which splits have them, what is refused."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tree import HANGS, ROOT, Tree, jobs_as_forks, say, tiny

from progsem.data import corpus
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages.karel import reading, syntax, token_lists
from progsem.languages.karel.codes import ACTIONS, CONDITIONS, PAD
from progsem.languages.karel.world import World
from progsem.storage.files import read_tables
from progsem.study.config import load
from progsem.study.plan import Plan
from progsem.study.vocabulary import SPLITS
from progsem.workflow import suitability

GOLDEN = sorted((ROOT / "tests" / "data" / "golden").glob("*.jsonl"))
SIZES = {"train": 300, "validation": 20, "test": 3, "examples": 1, "held_out": 1, "shard": 100}
THREE = (
    "def run() { move(); turn_left() }",
    "DEF run m( move turnRight putMarker m)",
    '["DEF", "run", "m(", "pickMarker", "m)"]',
)
FEWEST = 10  # test programs that a config has to ask for, so that they can be probed
EMPTY = ["#####", "#...#", "#.^.#", "#...#", "#####"]
WALLED = ["#####", "#.#.#", "#.^1#", "#...#", "#####"]


def study_of(path: Path, **sections):
    """A small study with the programs in a file; keyword arguments are keys of sections."""
    raw = {
        "worlds": {"height": 3, "width": 3},
        "programs": {"train_length": [1, 4], "test_length": [1, 4]},
        "corpus": {**SIZES, "programs": str(path)},
        "traces": {"train": 20, "validation": FEWEST, "test": FEWEST},
        "figures": {"gallery": 1},
        "generalisation": {"sets": {}},
    }
    for name, keys in sections.items():
        raw[name] = {**raw.get(name, {}), **keys}
    raw["corpus"]["test"], wanted = max(FEWEST, raw["corpus"]["test"]), raw["corpus"]["test"]
    study = load(raw)
    return study.model_copy(update={"corpus": study.corpus.model_copy(update={"test": wanted})})


def written(path: Path, *lines: str | dict) -> Path:
    path.parent.mkdir(exist_ok=True)
    text = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return path


def job_of(folder: Path, study, threads: int = 1) -> Job:
    """The job that makes the corpus of a study below a folder, with the slice of the plan."""
    plan = Plan(study)
    shards = {split: [folder / path for path in plan.shards(plan.corpus, split)] for split in SPLITS}
    return Job("corpus", json.loads(plan.corpus_slice()), {}, shards, threads)


def made(folder: Path, study, threads: int = 1) -> Job:
    job = job_of(folder, study, threads)
    corpus.run(job)
    return job


def rows(job: Job, split: str) -> dict[str, np.ndarray]:
    return read_tables(job.outputs[split])[0]


def texts(job: Job, split: str) -> list[str]:
    return [syntax.unparse(syntax.decode(program)) for program in rows(job, split)["program"]]


def specifications(job: Job, split: str) -> list[bytes]:
    """Each row's program and shown world."""
    columns = rows(job, split)
    shown = columns["cells"].shape[1] // 2, columns["poses"].shape[1] // 2
    parts = columns["program"], columns["cells"][:, : shown[0]], columns["poses"][:, : shown[1]]
    return [row.tobytes() for row in np.concatenate(parts, axis=1)]


def digests(job: Job) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for split in SPLITS for path in job.outputs[split]]


# The two syntaxes.


def spelled(text: str) -> list[str]:
    """A program as tokens of the public data sets, word by word of its text, without a parser."""
    camel = {name: re.sub(r"_(.)", lambda found: found[1].upper(), name) for name in (*ACTIONS, *CONDITIONS)}
    words = re.findall(r"\w+|[{}]", text.removeprefix("def run() "))
    signs = {"if": "i", "ifelse": "i", "else": "e", "while": "w", "repeat": "r"}
    out, open_blocks, kind = ["DEF", "run"], [], "m"
    negated = False
    for word in words:
        if word in signs:
            out.append(word.upper())
            kind = signs[word]
        elif word == "not":
            negated = True
        elif word in CONDITIONS:
            out += ["c(", *(["not", "c("] if negated else []), camel[word], *["c)"] * (1 + negated)]
            negated = False
        elif word == "{":
            open_blocks.append(kind)
            out.append(f"{kind}(")
        elif word == "}":
            out.append(f"{open_blocks.pop()})")
        else:
            out.append(f"R={word}" if word.isdigit() else camel[word])
    return out


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_both_syntaxes_say_the_same(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["program"]
        assert token_lists.parse(spelled(text)) == syntax.parse(text)


def test_every_token_has_its_meaning():
    given = (
        "DEF run m( move turnLeft turnRight pickMarker putMarker REPEAT R=19 r( IF c( frontIsClear c) i( move i) r) "
        "WHILE c( not c( leftIsClear c) c) w( IFELSE c( rightIsClear c) i( move i) ELSE e( IF c( not c( markersPresent "
        "c) c) i( IF c( noMarkersPresent c) i( move i) i) e) w) m)"
    )
    assert syntax.unparse(token_lists.parse(given.split())) == (
        "def run() { move(); turn_left(); turn_right(); pick_marker(); put_marker(); repeat (19) { if "
        "(front_is_clear()) { move() } }; while (not left_is_clear()) { ifelse (right_is_clear()) { move() } else { if "
        "(not markers_present()) { if (no_markers_present()) { move() } } } } }"
    )


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ("", "token 1: given the end, expected 'DEF'"),
        ("DEF run m( m)", "token 4: given 'm)', expected a statement (pickMarker, putMarker"),
        ("DEF run m( turnleft m)", "WHILE, REPEAT); did you mean turnLeft?"),
        ("DEF run m( move", "token 5: given the end, expected a statement or 'm)'"),
        ("DEF run m( move m) move", "token 6: given 'move', expected the end"),
        ("DEF run m( REPEAT R=20 r( move r) m)", "token 5: given 'R=20', expected a count from R=0 to R=19"),
        ("DEF run m( REPEAT 3 r( move r) m)", "token 5: given '3'"),
        ("DEF run m( IF c( move c) i( move i) m)", "token 6: given 'move', expected a condition (not, frontIsClear"),
        ("DEF run m( IF c( not frontIsClear c) i( move i) m)", "token 7: given 'frontIsClear', expected 'c('"),
        ("DEF run m( IF c( not c( not c( frontIsClear", "token 8: given 'not', expected a condition (frontIsClear"),
        ("DEF run m( IF c( frontIsClear c) w( move w) m)", "token 8: given 'w(', expected 'i('"),
        ("DEF run m( IF c( frontIsClear c) i( move w) m)", "token 10: given 'w)', expected a statement or 'i)'"),
        ("DEF run m( IFELSE c( frontIsClear c) i( move i) m)", "token 11: given 'm)', expected 'ELSE'"),
        ("DEF run m( " + "REPEAT R=2 r( " * 200, "at most 100 nested blocks"),
    ],
)
def test_what_is_no_list_of_tokens(tokens, expected):
    with pytest.raises(UserError) as caught:
        token_lists.parse(tokens.split())
    assert expected in str(caught.value)


# What a line may be, and what is left out.

STRAIGHT = {
    "no program": ("move()", "given 'move()', expected a program, as def run() { move() } or DEF run m( move m)"),
    "a misspelt statement": ("def run() { mov() }", "line 1, column 13: given 'mov'", "did you mean move?"),
    "a misspelt token": ("DEF run m( mov m)", "token 4: given 'mov'"),
    "no JSON": ('{"program": ', "column 12: not JSON"),
    "an object without a program": ({"code": "x"}, "'program' is missing; expected text or a list"),
    "a program that is a number": ({"program": 3}, "'program' is a number, expected text or a list"),
    "a token that is a number": ('["DEF", 3]', "token 2: given a number, expected text"),
    "control flow": ("def run() { if (front_is_clear()) { move() } }", "control flow", "programs.control_flow above 0"),
    "too long": ("DEF run m( move move move move move m)", "takes 5 statements", "up to 4; raise programs.test_length"),
    "too few worlds": ({"program": THREE[0], "worlds": [{"input": EMPTY}]}, "worlds: given 1, expected 2", "held_out"),
    "worlds that are text": ({"program": THREE[0], "worlds": "no"}, "'worlds' is text, expected a list"),
    "a world that is a list": ({"program": THREE[0], "worlds": [EMPTY, EMPTY]}, "worlds[0]: given a list", "'input'"),
    "a world without a robot": (
        {"program": THREE[0], "worlds": [{"input": EMPTY}, {"input": ["###", "#.#", "###"]}]},
        "worlds[1].input, given a world without a robot",
    ),
    "a world of another size": (
        {"program": THREE[0], "worlds": [{"input": EMPTY}, {"input": ["###", "#^#", "###"]}]},
        "worlds[1] has 1 x 1 cells, but the study's have 3 x 3",
    ),
}
WITH_CONTROL = {
    "too deep": (
        "def run() { if (front_is_clear()) { if (front_is_clear()) { if (front_is_clear()) { move() } } } }",
        "nests 3 deep, but the study has up to 2; raise programs.max_depth",
    ),
    "for ever": (
        "def run() { while (not front_is_clear()) { put_marker() }; while (front_is_clear()) { put_marker() } }",
        "does not halt on any of 100 draws of its worlds within 200 steps (programs.step_limit)",
    ),
    "for ever in the given worlds": (
        {
            "program": "def run() { while (front_is_clear()) { put_marker() } }",
            "worlds": [{"input": WALLED}, {"input": EMPTY}],
        },
        "does not halt on all of its worlds within 200 steps (programs.step_limit)",
    ),
}


@pytest.mark.parametrize("name", [*STRAIGHT, *WITH_CONTROL])
def test_a_line_that_is_no_program_of_the_study_is_said(name, tmp_path):
    line, *parts = (STRAIGHT | WITH_CONTROL)[name]
    path = written(tmp_path / "programs", "# three", THREE[0], "", THREE[1], line, THREE[2])
    programs = {"control_flow": 0.5 if name in WITH_CONTROL else 0.0}
    with pytest.raises(UserError) as caught:
        made(tmp_path, study_of(path, programs=programs))
    said = str(caught.value)
    assert said.startswith(f"corpus.programs: {path}: 1 of 4 programs cannot be had: line 5: ")
    assert "set corpus.unusable to leave_out" in said and said.replace("…", "").isprintable()
    for part in parts:
        assert part in said
    job = made(tmp_path, study_of(path, programs=programs, corpus={"unusable": "leave_out"}))
    notes = job.notes["programs_from_file"]
    assert (notes["usable"], notes["left_out"]) == (3, 1) and parts[0] in notes["why"]
    assert sorted(texts(job, "test")) == sorted(
        (THREE[0], "def run() { move(); turn_right(); put_marker() }", "def run() { pick_marker() }")
    )


def test_bytes_that_are_no_text_are_said(tmp_path):
    path = written(tmp_path / "programs", *THREE)
    path.write_bytes(path.read_bytes() + b"def \xff\n")
    with pytest.raises(UserError, match="line 4: byte 5 is not UTF-8"):
        made(tmp_path, study_of(path))


def test_only_the_first_of_many_are_named(tmp_path):
    path = written(tmp_path / "programs", *THREE, *["what"] * 6)
    with pytest.raises(UserError) as caught:
        made(tmp_path, study_of(path))
    said = str(caught.value)
    assert "6 of 9 programs" in said and "line 6: " in said and "line 7: " not in said and "; and 3 more; mend" in said


def test_the_same_program_and_shown_worlds_count_once(tmp_path):
    one = {"program": THREE[0], "worlds": [{"input": EMPTY}, {"input": WALLED}]}
    two = {"program": THREE[0], "worlds": [{"input": EMPTY}, {"input": EMPTY}]}
    other = {"program": THREE[0], "worlds": [{"input": WALLED}, {"input": EMPTY}]}
    path = written(tmp_path / "programs", one, other, two)
    with pytest.raises(UserError, match="1 of 3 .*line 3: is the program of line 1, with the same shown worlds"):
        made(tmp_path, study_of(path))


def test_a_length_below_the_studys_is_said(tmp_path):
    path = written(tmp_path / "programs", *THREE)
    with pytest.raises(
        UserError, match="line 3: takes 1 of at least 2 statements that the study has; lower programs.test_length"
    ):
        made(tmp_path, study_of(path, programs={"test_length": [2, 4]}))
    both = "raise programs.train_length and programs.test_length"
    with pytest.raises(UserError, match=f"line 2: takes 3 statements, the study has up to 2; {both}"):
        study = study_of(
            path,
            programs={"train_length": [1, 2], "test_length": [1, 2]},
            corpus={"programs_for": "all"},
            probes={"offsets": [0]},
        )
        made(tmp_path, study)


# The test split.


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_executions_are_a_corpus(path, tmp_path):
    """Programs of another implementation, with their worlds: what comes of them is what it says."""
    golden = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    fitting = [
        one for one in golden if all(len(world["input"]) == len(world["input"][0]) == 8 for world in one["worlds"])
    ]
    study = study_of(
        path,
        worlds={"height": 6, "width": 6},
        programs={"control_flow": 0.5, "max_depth": 4, "test_length": [1, 40], "step_limit": 10_000},
        corpus={"test": len(fitting), "unusable": "leave_out"},
    )
    job = made(tmp_path, study)
    assert job.notes["programs_from_file"]["left_out"] == len(golden) - len(fitting)
    columns, found = rows(job, "test"), texts(job, "test")
    assert sorted(found) == sorted(one["program"] for one in fitting)
    by_text = {one["program"]: one["worlds"] for one in fitting}
    for row, text in enumerate(found):
        for prefix, kind in (("", "in"), ("out_", "out")):
            cells = columns[f"{prefix}cells"][row].reshape(2, 6, 6)
            poses = columns[f"{prefix}poses"][row].reshape(2, 3)
            for cell, pose, said in zip(cells, poses, by_text[text], strict=True):
                world = World(cell, *map(int, pose))
                assert (world.hero, world.markers) == (said[f"hero_{kind}"], said[f"markers_{kind}"])


def test_worlds_on_which_a_program_runs_for_ever_are_drawn_again(tmp_path):
    loop = "def run() { while (not front_is_clear()) { put_marker() } }"
    path = written(tmp_path / "programs", *[loop] * 60)
    job = made(tmp_path, study_of(path, programs={"control_flow": 0.5}, corpus={"test": 60}))
    columns = rows(job, "test")
    assert set(texts(job, "test")) == {loop} and len(set(specifications(job, "test"))) == 60
    np.testing.assert_array_equal(columns["cells"], columns["out_cells"])  # the robot never stands before a wall


def test_training_has_no_specification_of_the_test(tmp_path):
    """Of the 16 poses that the five shortest programs have, the file takes 12 each."""
    path = written(tmp_path / "programs", *[f"def run() {{ {name}() }}" for name in ACTIONS for _ in range(12)])
    study = study_of(
        path,
        worlds={"height": 2, "width": 2, "wall_probability": 0.0, "marker_probability": 0.0},
        programs={"train_length": [1, 2], "test_length": [1, 2]},
        corpus={"test": 60, "held_out": 0, "validation": 20, "train": 2000, "shard": 500},
        probes={"offsets": [0]},
    )
    job = made(tmp_path, study)
    shown = {}
    for split in SPLITS:
        columns = rows(job, split)
        shown[split] = list(map(bytes, np.concatenate([columns[name] for name in ("program", "cells", "poses")], 1)))
    assert len(set(shown["test"])) == 60 and not set(shown["test"]) & set(shown["validation"] + shown["train"])
    short = (rows(job, "train")["program"] != PAD).sum(1) == 1
    assert short.sum() > 100  # they are there, in the other poses
    assert job.notes["share_of_programs_also_in_training"]["test"] == 1


def test_fewer_are_picked_by_the_seed(tmp_path):
    lines = [f"DEF run m( {' '.join(['move'] * n)} turnLeft m)" for n in range(1, 4)] + [THREE[1], THREE[2]]
    path = written(tmp_path / "programs", *lines)
    picked = {
        tuple(texts(made(tmp_path / f"{seed}", study_of(path, corpus={"seed": seed, "test": 2})), "test"))
        for seed in range(6)
    }
    assert len(picked) > 1 and all(len(set(pair)) == 2 for pair in picked)


def test_more_than_there_are_is_refused(tmp_path):
    path = written(tmp_path / "programs", *THREE)
    with pytest.raises(UserError, match="corpus.test is 4, but .* has 3 programs for this study"):
        made(tmp_path, study_of(path, corpus={"test": 4}))
    empty = written(tmp_path / "empty", "# nothing")
    with pytest.raises(UserError, match="has 0 programs for this study"):
        made(tmp_path, study_of(empty))


# All splits.


def many(path: Path, count: int = 60) -> Path:
    """A file of straight programs of four statements, all different, in no order."""
    every = [f"def run() {{ {a}(); {b}(); {c}(); move() }}" for a in ACTIONS for b in ACTIONS for c in ACTIONS]
    return written(path, *random.Random(5).sample(every, count))


def test_splits_have_no_program_in_common(tmp_path):
    study = study_of(many(tmp_path / "programs"), corpus={"programs_for": "all", "test": 15, "validation": 15})
    job = made(tmp_path, study)
    found = {split: texts(job, split) for split in SPLITS}
    assert [len(set(found[split])) for split in SPLITS] == [30, 15, 15]
    assert len(set().union(*found.values())) == 60
    assert {len(rows(job, split)["program"]) for split in SPLITS} == {300, 15}
    # Each training program ten times, in worlds that are drawn anew, of which few are the same by chance.
    assert {found["train"].count(text) for text in set(found["train"])} == {10}
    assert len(set(specifications(job, "train"))) > 290
    assert job.notes["share_of_programs_also_in_training"] == {"validation": 0, "test": 0}


def test_lines_of_one_program_stay_in_one_split(tmp_path):
    path = many(tmp_path / "programs", 20)
    lines = path.read_text(encoding="utf-8").splitlines()
    written(path, *lines, *lines[:10], *lines[:10])
    study = study_of(path, corpus={"programs_for": "all", "test": 7, "validation": 10, "train": 200})
    job = made(tmp_path, study)
    found = {split: texts(job, split) for split in SPLITS}
    assert len(found["test"]) == 7 and len(found["validation"]) == 10
    assert sum(len(set(found[split])) for split in SPLITS) == len(set().union(*found.values()))
    # A program's lines do not follow each other: what takes the first rows of a split takes any.
    assert any(
        found["train"][n] != found["train"][n + 1] and found["train"][n] in found["train"][n + 2 : 20]
        for n in range(18)
    )
    often = [found["train"].count(text) for text in set(found["train"])]
    assert max(often) >= 2.5 * min(often)  # as frequent as in the file


def test_programs_that_do_not_suffice_for_all_splits_are_refused(tmp_path):
    path = many(tmp_path / "programs", 40)
    asked = {"programs_for": "all", "test": 20, "validation": 20}
    with pytest.raises(UserError, match="are 20 and 20, but .* has 40 programs for this study, 40 different ones"):
        made(tmp_path, study_of(path, corpus=asked))
    made(tmp_path, study_of(path, corpus=asked | {"validation": 19}))


def test_given_worlds_are_shown_again_with_their_program(tmp_path):
    own = [{"input": EMPTY}, {"input": WALLED}]
    programs = many(tmp_path / "drawn").read_text(encoding="utf-8").splitlines()
    lines = [{"program": program, "worlds": own} for program in programs]
    path = written(tmp_path / "programs", *lines)
    job = made(tmp_path, study_of(path, corpus={"programs_for": "all", "test": 10, "validation": 10, "train": 120}))
    for split in SPLITS:
        cells = rows(job, split)["cells"].reshape(-1, 2, 3, 3)
        for index, world in enumerate((EMPTY, WALLED)):
            assert (cells[:, index] == World.from_rows(world).cells).all()
    assert len(set(specifications(job, "train"))) == 40


# What is the same, and what has another name.


@pytest.mark.parametrize("programs_for", ["test", "all"])
def test_same_bytes_whatever_the_threads_the_shards_and_the_order_of_lines(programs_for, tmp_path):
    path = many(tmp_path / "programs")
    asked = {"programs_for": programs_for, "test": 15, "validation": 15}
    one = made(tmp_path / "one", study_of(path, corpus=asked))
    two = made(tmp_path / "two", study_of(path, corpus=asked), threads=2)
    assert digests(one) == digests(two)
    lines = path.read_text(encoding="utf-8").splitlines()
    shuffled = written(tmp_path / "shuffled", *reversed(lines))
    assert digests(made(tmp_path / "three", study_of(shuffled, corpus=asked))) == digests(one)
    other = made(tmp_path / "other", study_of(path, corpus=asked | {"shard": 130}))
    for split in SPLITS:
        for name, column in rows(one, split).items():
            np.testing.assert_array_equal(column, rows(other, split)[name])


def test_results_are_named_by_what_the_file_holds(tmp_path):
    path, moved = written(tmp_path / "programs", *THREE), written(tmp_path / "moved", *THREE)
    other = written(tmp_path / "other", *THREE, "# more")
    before, after, new = (Plan(study_of(file)) for file in (path, moved, other))
    assert before.jobs() == after.jobs()
    stages = [stage for stage, names in before.jobs().items() if names]
    assert all(before.jobs()[stage] != new.jobs()[stage] for stage in stages)
    assert str(path) not in before.corpus.slice() and json.loads(before.corpus_slice())["file"] == str(path)
    for key, value in (("programs_for", "all"), ("unusable", "leave_out")):
        assert Plan(study_of(path, corpus={key: value})).corpus.key != before.corpus.key
        # Without a file they say nothing.
        assert Plan(load({"corpus": {key: value}})).jobs() == Plan(load({})).jobs()
    assert "given" not in Plan(load({})).corpus.slice() and "file" not in Plan(load({})).corpus_slice()


def test_a_file_that_changes_under_a_run_is_refused(tmp_path):
    path = written(tmp_path / "programs", *THREE)
    job = job_of(tmp_path, study_of(path))
    written(path, *THREE, THREE[0])
    with pytest.raises(UserError, match="has changed since this job was planned; run snakemake again"):
        corpus.run(job)


def test_planning_reads_no_programs_and_imports_nothing_heavy(tmp_path):
    path = written(tmp_path / "programs", "nonsense")
    code = (
        "import sys; from progsem.study.config import load; from progsem.study.plan import Plan; "
        f"Plan(load({{'corpus': {{'programs': {str(path)!r}}}}})); "
        "print(*{'numpy', 'torch', 'pyarrow', 'numba'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize(
    "raw, parts",
    [
        ({"corpus": {"programs": "programs.txt"}}, ["'programs.txt', a relative path; did you mean '/"]),
        ({"corpus": {"programs": "/no/such/file"}}, ["'/no/such/file', no such file", "leave it empty"]),
        ({"corpus": {"programs": "/"}}, ["'/', no such file"]),
        ({"corpus": {"programs": "/" + "x" * 4000}}, ["no such file"]),
        ({"corpus": {"programs": "/a\nb"}}, ["corpus.programs", "one line"]),
        ({"corpus": {"programs_for": "train"}}, ["corpus.programs_for", "'train'", "'test' or 'all'"]),
        ({"corpus": {"unusable": "ignore"}}, ["corpus.unusable", "'ignore'", "'refuse' or 'leave_out'"]),
        (
            {"corpus": {"programs": __file__, "programs_for": "all"}, "programs": {"test_length": [1, 5]}},
            ["corpus.programs_for is all", "[1, 4]", "[1, 5]", "make them the same"],
        ),
        ({"language": "rectangles", "corpus": {"programs": __file__}}, ["rectangles are not read from files"]),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_the_config(raw, parts):
    with pytest.raises(UserError) as caught:
        load(raw)
    for part in ("config: ", *parts):
        assert part in str(caught.value)


# Runs.


def test_a_run_says_what_it_leaves_out(tmp_path):
    path = written(tmp_path / "programs", *THREE, "what")
    study = study_of(path, corpus={"unusable": "leave_out"})
    said = suitability.check_programs(study)
    assert said.startswith(f"corpus.programs: {path}: 1 of 4 programs cannot be had: line 4: ")
    assert said.endswith("; they are left out")
    assert suitability.check_programs(study_of(written(tmp_path / "good", *THREE))) == ""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Tree:
    return Tree.copied(tmp_path_factory.mktemp("own") / "progsem")


def test_a_run_with_other_programs_does_not_start(copy, tmp_path):
    path = written(tmp_path / "programs", *[THREE[0]] * 60, "what")
    answer = copy.ask(
        "--cores", "1", "--configfile", "studies/tiny.yaml", *say({"corpus": {"programs": str(path), "test": 60}})
    )
    assert answer.returncode == 2 and "Traceback" not in answer.stdout
    assert f"progsem: corpus.programs: {path}: 1 of 61 programs cannot be had: line 61: " in answer.stdout
    assert not (copy.root / "results").exists()


RECIPE = re.search(
    r"^## Programs from elsewhere$.*?^```bash\n(.*?)^```$",
    (ROOT / "docs/own.md").read_text(encoding="utf-8"),
    re.M | re.S,
)[1]


def test_the_recipe_reports_on_the_programs_in_its_file(copy):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", RECIPE],
        cwd=copy.root,
        env=copy.environment() | {"PATH": path} | jobs_as_forks(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    (programs,) = copy.root.glob("results/traces/*/seed-0/step-000020/programs.arrow")
    columns, _ = read_tables([programs])
    reported = columns["reference"][columns["split"] == SPLITS.index("test")]
    lines = (copy.root / "programs.txt").read_text(encoding="utf-8").splitlines()
    given = [line for line in lines if not line.startswith("#")]
    section = tiny().programs
    wanted = [reading.program(json.loads(line)["program"] if line[0] == "{" else line, section) for line in given]
    assert len(wanted) == 8
    assert sorted(program[program != PAD].tolist() for program in reported) == sorted(wanted)
    assert (copy.root / "results/figures/summary.json").exists()
