"""The kernels and the interpreter against recorded executions and against each other."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from karel_cases import FULL, GOLDEN, KEPT, golden, meanings, padded, programs, worlds

from progsem.languages.karel import interpreter, kernels
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    CODES,
    ELSE,
    FAILED,
    FRONT,
    HEADINGS,
    HELD,
    IF,
    IFELSE,
    LEFT,
    MAX_MARKERS,
    MOVE,
    NOT,
    NUMBER,
    OPEN,
    ORIGINAL,
    PAD,
    PICK,
    PUT,
    REPEAT,
    RIGHT,
    UNTESTED,
    WALL,
    WHILE,
    semantics,
)
from progsem.languages.karel.execution import WorldStates, cells_after
from progsem.languages.karel.syntax import Action, Program, Repeat, actions, decode, encode, parse
from progsem.languages.karel.world import World

LIMIT = 1000


def first_executions(trace, program) -> dict[int, interpreter.Executed]:
    """Position in the code sequence -> first execution, for a program that was parsed (its actions have offsets)."""
    offsets = [action.offset for action in actions(program)]
    positions = [at for at, code in enumerate(encode(program)) if code <= MOVE]
    where = dict(zip(offsets, positions, strict=True))
    first = {}
    for executed in trace:
        first.setdefault(where[executed.action.offset], executed)
    return first


def assert_traced(traced, row, program, trace):
    """Row `row` of a kernel's trace is that of the interpreter."""
    first = first_executions(trace, program)
    assert np.flatnonzero(traced.executed[row]).tolist() == sorted(first)
    for at, executed in first.items():
        assert traced.poses[row, at].tolist() == [executed.row, executed.column, executed.heading]
        assert traced.markers[row, at] == executed.markers
        assert traced.tested[row, at] == executed.tested
    for part in (traced.poses, traced.markers, traced.tested):
        assert not part[row][~traced.executed[row]].any()


def test_golden_files_are_there():
    names = ["conditionals.jsonl", "loops.jsonl", "straight.jsonl"]
    assert sorted(path.name for path in GOLDEN if path.parent == KEPT) == names
    assert sum(len(golden(KEPT / name)) for name in names) == 60
    if FULL.exists():
        assert sorted(path.name for path in GOLDEN if path.parent == FULL) == names


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_golden_interpreter(path):
    for case in golden(path):
        program = parse(case["program"])
        for world in case["worlds"]:
            before = World.from_rows(world["input"])
            assert before.to_rows() == world["input"]
            assert before.hero == world["hero_in"]
            assert before.markers == world["markers_in"]
            after, trace, halted = interpreter.run(program, before, LIMIT)
            assert halted
            assert after.to_rows() == world["output"]
            assert after.hero == world["hero_out"]
            assert after.markers == world["markers_out"]
            seen = [[e.action.name, e.column + 1, e.row + 1, HEADINGS[e.heading], e.markers] for e in trace]
            assert seen == world["trace"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_golden_kernels(path):
    for case in golden(path):
        program = parse(case["program"])
        codes = padded([encode(program)])
        inputs = [World.from_rows(world["input"]) for world in case["worlds"]]
        cells = np.stack([world.cells for world in inputs])
        poses = np.stack([world.pose for world in inputs])
        out_cells, out_poses, halted = kernels.execute(codes, cells[None], poses[None], ORIGINAL, LIMIT)
        assert halted.all()
        traced = kernels.trace(np.repeat(codes, len(inputs), 0), cells, poses, ORIGINAL, LIMIT)
        for k, world in enumerate(case["worlds"]):
            after = World(out_cells[0, k], *map(int, out_poses[0, k]))
            assert after.to_rows() == world["output"]
            assert after.hero == world["hero_out"]
            assert after.markers == world["markers_out"]
            # Recorded traces name actions but not positions. What can be said of any program: each state
            # that the kernel keeps for an action was recorded for that action. Without control flow: all, in order.
            kept = [
                [code, int(pose[1]) + 1, int(pose[0]) + 1, HEADINGS[pose[2]], int(count)]
                for code, pose, count, _, executed in zip(codes[0], *(part[k] for part in traced), strict=True)
                if executed
            ]
            recorded = [[ACTIONS.index(name), *state] for name, *state in world["trace"]]
            if all(code <= MOVE for code in encode(program)):
                assert kept == recorded
            else:
                assert all(state in recorded for state in kept)
                assert kept or not recorded
            assert_traced(traced, k, program, interpreter.run(program, inputs[k], LIMIT).trace)


@settings(deadline=None, max_examples=400)
@given(data=st.data(), program=programs, meaning=meanings, limit=st.integers(1, 30) | st.just(LIMIT))
def test_kernels_are_the_interpreter(data, program, meaning, limit):
    program = decode(encode(program))  # so that every action has its own offset
    first = data.draw(worlds())
    others = data.draw(st.lists(worlds(*first.cells.shape), max_size=3))
    inputs = [first, *others]
    cells = np.stack([world.cells for world in inputs])
    poses = np.stack([world.pose for world in inputs])
    codes = padded([encode(program)])
    before = codes.copy(), cells.copy(), poses.copy()
    out_cells, out_poses, halted = kernels.execute(codes, cells[None], poses[None], semantics(meaning), limit)
    traced = kernels.trace(np.repeat(codes, len(inputs), 0), cells, poses, semantics(meaning), limit)
    for k, world in enumerate(inputs):
        expected = interpreter.run(program, world, limit, meaning, MAX_MARKERS)
        assert World(out_cells[0, k], *map(int, out_poses[0, k])) == expected.world
        assert halted[0, k] == expected.halted
        assert_traced(traced, k, program, expected.trace)
    for array, copy in zip((codes, cells, poses), before, strict=True):
        assert np.array_equal(array, copy)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(programs, worlds(3, 4), worlds(3, 4)), min_size=2, max_size=6))
def test_rows_do_not_influence_each_other(rows):
    codes = padded([encode(program) for program, *_ in rows])
    cells = np.stack([[a.cells, b.cells] for _, a, b in rows])
    poses = np.stack([[a.pose, b.pose] for _, a, b in rows])
    together = kernels.execute(codes, cells, poses, ORIGINAL, 50)
    for i in range(len(rows)):
        alone = kernels.execute(codes[i : i + 1], cells[i : i + 1], poses[i : i + 1], ORIGINAL, 50)
        assert all(np.array_equal(a[i], b[0]) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(
    "text, steps",
    [
        ("move(); move(); turn_left()", 3),
        ("if (front_is_clear()) { move() }", 2),
        ("ifelse (not front_is_clear()) { move() } else { turn_left(); turn_left() }", 3),
        ("while (front_is_clear()) { move() }", 7),  # three moves, four tests
        ("repeat (3) { turn_left(); turn_left() }", 6),
        ("repeat (0) { move() }; move()", 1),
    ],
)
def test_step_limit_is_exact(text, steps):
    """A program of n steps halts under a limit of n + 1 and not under n, where it has done all it would."""
    program = parse(f"def run() {{ {text} }}")
    world = World.from_rows(["######", "#>...#", "######"])
    for limit in range(1, steps + 2):
        expected = interpreter.run(program, world, limit)
        assert expected.halted == (limit > steps)
        out = kernels.execute(
            padded([encode(program)]), world.cells[None, None], world.pose[None, None], ORIGINAL, limit
        )
        assert out[2].item() == (limit > steps)
        assert World(out[0][0, 0], *map(int, out[1][0, 0])) == expected.world
    unlimited = interpreter.run(program, world, LIMIT)
    assert interpreter.run(program, world, steps).world == unlimited.world


def test_nested_repeats_of_nothing_end_at_once():
    body = (Repeat(0, (Action("move"),)),)
    for _ in range(50):
        body = (Repeat(19, body),)
    program = Program((*body, Action("turn_left")))
    world = World.from_rows(["###", "#>#", "###"])
    out, trace, halted = interpreter.run(program, world, LIMIT)
    assert halted and out.heading == 0 and len(trace) == 1
    _, poses, halted = kernels.execute(
        padded([encode(program)]), world.cells[None, None], world.pose[None, None], ORIGINAL, LIMIT
    )
    assert halted.all() and poses[0, 0, 2] == 0


def test_cells_hold_more_markers_than_a_digit_can_show():
    program = parse("def run() { repeat (12) { put_marker() }; repeat (10) { pick_marker() } }")
    world = World.from_rows(["###", "#>#", "###"])
    counts = [executed.markers for executed in interpreter.run(program, world, LIMIT).trace]
    assert counts == [*range(1, 13), *range(11, 1, -1)]
    straight = [PUT] * 12 + [PICK] * 10
    for codes, left in ((encode(program), 2), (straight, 2), ([*straight, PICK, PICK, PICK], 0)):
        arguments = padded([codes]), world.cells[None, None], world.pose[None, None], ORIGINAL, LIMIT
        out, _, halted = kernels.execute(*arguments)
        assert out.item() == left and halted.all()


def test_the_interpreter_counts_as_far_as_the_steps_go():
    """255 is the code of a wall in arrays, and no other number than the rest here."""
    world = World.from_rows(["####", "#>2#", "####"])
    for count in (254, 255, 256, 19 * 19):
        body = (Action("put_marker"),) * count
        out, trace, halted = interpreter.run(Program((*body, Action("move"))), world, LIMIT)
        assert halted and out.hero == [2, 1, "E"]
        assert out.markers == [[1, 1]] * count + [[2, 1]] * 2
        assert out.to_rows() == ["####", "#+>#", "####"]
        assert trace[count - 1].markers == count
        back = interpreter.run(Program((Action("turn_left"), Action("turn_left"), Action("move"))), out, LIMIT)
        assert back.world.hero == [1, 1, "W"] and back.world.markers == out.markers


@pytest.mark.parametrize("loop", [False, True], ids=["straight", "with a loop"])
def test_what_a_kernel_cannot_count_ends_the_run(loop):
    """A world where a cell gets full beside one where none does; each as the interpreter has it until then."""
    worlds = [World.from_rows(["####", row, "####"]) for row in ("#>.#", "#>##", "#v3#")]
    worlds[0].cells[0, 0] = 2
    puts = [REPEAT, NUMBER + 2, OPEN, *[PUT] * 126, CLOSE] if loop else [PUT] * 252
    codes = padded([[*puts, PUT, MOVE, RIGHT, PUT, PICK]])
    cells, poses = np.stack([world.cells for world in worlds]), np.stack([world.pose for world in worlds])
    out_cells, out_poses, halted = kernels.execute(codes, cells[None], poses[None], ORIGINAL, LIMIT)
    traced = kernels.trace(np.repeat(codes, 3, 0), cells, poses, ORIGINAL, LIMIT)
    assert halted.tolist() == [[False, True, True]]
    program = decode(codes[0])
    for k, world in enumerate(worlds):
        expected = interpreter.run(program, world, LIMIT, most_markers=MAX_MARKERS)
        assert World(out_cells[0, k], *map(int, out_poses[0, k])) == expected.world
        assert_traced(traced, k, program, expected.trace)
    assert out_cells[0, :, 0, 0].tolist() == [MAX_MARKERS, MAX_MARKERS - 1, MAX_MARKERS - 1]
    shown = cells_after(codes[0], WorldStates(worlds[0].cells, worlds[0].pose), LIMIT)
    assert np.array_equal(shown[:, 0, 0], traced.markers[0])


def test_a_padded_row_alone_does_nothing():
    programs = np.full((1, 4), PAD, np.uint8)
    world = World.from_rows(["####", "#>.#", "####"])
    cells, poses, halted = kernels.execute(programs, world.cells[None, None], world.pose[None, None], ORIGINAL, 1)
    assert np.array_equal(cells[0, 0], world.cells) and np.array_equal(poses[0, 0], world.pose) and halted.all()
    assert not kernels.trace(programs, world.cells[None], world.pose[None], ORIGINAL, 1).executed.any()


# Program, a world of one row, and for each action in the order of the text: column, heading, markers on that cell and
# the last test, right after its first execution; None where it is never reached. Worked out by hand.
BY_HAND = {
    "straight": ("put_marker(); move()", "#>..#", [(0, "E", 1, UNTESTED), (1, "E", 0, UNTESTED)]),
    "inside and after blocks": (
        "move(); if (front_is_clear()) { turn_left() }; move(); "
        "ifelse (not front_is_clear()) { turn_right(); put_marker() } else { pick_marker() }; "
        "repeat (2) { turn_left() }; while (markers_present()) { pick_marker() }; move()",
        "#>..#",
        [
            (1, "E", 0, UNTESTED),
            (1, "N", 0, HELD),
            (1, "N", 0, HELD),  # the way north is blocked, and no other condition has been tested
            (1, "E", 0, HELD),  # `not` is a part of the condition
            (1, "E", 1, HELD),
            None,
            (1, "N", 1, HELD),  # in the first of two rounds
            (1, "W", 0, HELD),
            (0, "W", 0, FAILED),  # the test that ended the loop
        ],
    ),
    "first reached in a later round": (
        "while (front_is_clear()) { move(); if (markers_present()) { pick_marker() }; turn_left(); turn_right() }; "
        "put_marker()",
        "#>.1.#",
        [(1, "E", 0, HELD), (2, "E", 0, HELD), (1, "N", 0, FAILED), (1, "E", 0, FAILED), (3, "E", 1, FAILED)],
    ),
    "the other branch": (
        "repeat (0) { move() }; ifelse (markers_present()) { turn_left() } else { put_marker() }; "
        "if (no_markers_present()) { move() }; turn_right()",
        "#>.#",
        [None, None, (0, "E", 1, FAILED), None, (0, "S", 1, FAILED)],
    ),
}


@pytest.mark.parametrize("text, row, expected", BY_HAND.values(), ids=BY_HAND)
def test_traces_worked_out_by_hand(text, row, expected):
    program = parse(f"def run() {{ {text} }}")
    border = "#" * len(row)
    world = World.from_rows([border, row, border])
    codes = padded([encode(program)])
    traced = kernels.trace(codes, world.cells[None], world.pose[None], ORIGINAL, LIMIT)
    seen = [
        (int(traced.poses[0, at, 1]), HEADINGS[traced.poses[0, at, 2]], traced.markers[0, at], traced.tested[0, at])
        if traced.executed[0, at]
        else None
        for at in np.flatnonzero(codes[0] <= MOVE)
    ]
    assert seen == expected


@settings(deadline=None, max_examples=100)
@given(program=programs, world=worlds(), meaning=meanings, limit=st.integers(1, 40))
def test_cells_after_each_action(program, world, meaning, limit):
    """Ended after each number of steps in turn, the interpreter shows every world on the way."""
    program = decode(encode(program))
    codes = padded([encode(program)])
    cells = cells_after(codes[0], WorldStates(world.cells, world.pose), limit, semantics(meaning))
    expected = np.zeros((codes.shape[1], *world.cells.shape), np.uint8)
    seen = 0
    for steps in range(1, limit + 1):
        ended = interpreter.run(program, world, steps, meaning, MAX_MARKERS)
        if len(ended.trace) > seen:
            seen = len(ended.trace)
            before, after = (first_executions(trace, program) for trace in (ended.trace[:-1], ended.trace))
            for position in after.keys() - before.keys():
                expected[position] = ended.world.cells
    assert np.array_equal(cells, expected)


def test_cells_after_nothing():
    world = World.from_rows(["####", "#>1#", "####"])
    assert not cells_after(np.full(3, PAD, np.uint8), WorldStates(world.cells, world.pose), LIMIT).any()
    with pytest.raises(ValueError, match="code"):
        cells_after(np.array([IF, MOVE], np.uint8), WorldStates(world.cells, world.pose), LIMIT)


_TOKENS = st.sampled_from([PICK, LEFT, MOVE, FRONT, NOT, IF, IFELSE, ELSE, WHILE, REPEAT, OPEN, CLOSE, NUMBER + 2])


@st.composite
def _nearly_programs(draw):
    """Code sequences that are programs but for a change or two, or not at all."""
    codes = encode(draw(programs)) if draw(st.booleans()) else draw(st.lists(_TOKENS, min_size=1, max_size=12))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(codes) - 1))
        replacement = draw(st.lists(_TOKENS | st.integers(0, CODES - 1), max_size=2))
        codes = [*codes[:at], *replacement, *codes[at + 1 :]] or [MOVE]
    return codes


@settings(deadline=None, max_examples=500)
@given(_nearly_programs())
@example([IF, FRONT, OPEN, CLOSE])
@example([IFELSE, FRONT, OPEN, MOVE, CLOSE])
@example([IFELSE, FRONT, OPEN, MOVE, CLOSE, ELSE, OPEN])
@example([REPEAT, FRONT, OPEN, MOVE, CLOSE])
@example([WHILE, NOT])
@example([OPEN, MOVE, CLOSE])
def test_kernels_refuse_what_cannot_be_decoded(codes):
    world = World.from_rows(["####", "#>.#", "####"])
    arguments = padded([codes]), world.cells[None, None], world.pose[None, None], ORIGINAL, 20
    try:
        decode(codes)
    except ValueError:
        with pytest.raises(ValueError, match="programs"):
            kernels.execute(*arguments)
        with pytest.raises(ValueError, match="programs"):
            kernels.trace(padded([codes]), world.cells[None], world.pose[None], ORIGINAL, 20)
    else:
        kernels.execute(*arguments)


def _arguments(**changes):
    arguments = {
        "programs": np.array([[MOVE, RIGHT], [LEFT, PAD]], np.uint8),
        "cells": np.zeros((2, 3, 4, 5), np.uint8),
        "poses": np.zeros((2, 3, 3), np.uint8),
        "meanings": ORIGINAL,
        "step_limit": 10,
    }
    return arguments | changes


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"programs": np.zeros((2, 2), np.int64)}, "programs: given dtype int64"),
        ({"programs": np.zeros((3, 2), np.uint8)}, "cells: given shape"),
        ({"cells": np.zeros((2, 4, 5), np.uint8)}, "cells: given shape"),
        ({"poses": np.zeros((2, 3, 2), np.uint8)}, "poses: given shape"),
        ({"poses": np.zeros((2, 2, 3), np.uint8)}, "poses: given shape"),
        ({"poses": np.full((2, 3, 3), 4, np.uint8)}, r"poses\[0\]: the robot"),
        ({"cells": np.full((2, 3, 4, 5), WALL, np.uint8)}, r"poses\[0\]: the robot"),
        ({"meanings": (0, 1, 2, 3)}, "meanings: given shape"),
        ({"meanings": (0, 1, 2, 3, 9)}, "meanings: given"),
        ({"step_limit": 0}, "step_limit: given 0"),
        ({"programs": np.array([[MOVE, MOVE], [MOVE, CLOSE]], np.uint8)}, r"programs\[1\]"),
    ],
)
def test_wrong_arguments(changes, message):
    kernels.execute(**_arguments())
    with pytest.raises(ValueError, match=message):
        kernels.execute(**_arguments(**changes))


def test_read_only_and_strided_arguments():
    arguments = _arguments()
    expected = kernels.execute(**arguments)
    for name in ("programs", "cells", "poses"):
        wide = np.repeat(arguments[name], 2, axis=-1)[..., ::2]
        wide.flags.writeable = False
        arguments[name] = wide
    for a, b in zip(kernels.execute(**arguments), expected, strict=True):
        assert np.array_equal(a, b)


def test_nothing_to_execute():
    """As where a writer proposes no program for any of several specifications."""
    programs, cells, poses = np.empty((0, 6), np.uint8), np.empty((0, 2, 3, 4), np.uint8), np.empty((0, 2, 3), np.uint8)
    after, _, halted = kernels.execute(programs, cells, poses, ORIGINAL, LIMIT)
    assert after.shape == cells.shape and halted.shape == (0, 2)
    assert kernels.trace(programs, cells[:, 0], poses[:, 0], ORIGINAL, LIMIT).executed.shape == (0, 6)
