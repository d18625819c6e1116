"""The reference interpreter, and what Karel programs mean.

The state is a grid of cells, each a wall or a count of markers, and a robot on a
free cell with a heading. Outside the grid all is wall. Neither a cell nor the
robot's bag has a largest number of markers.

Actions:
- `move` takes the robot one cell ahead; if that is a wall, nothing happens.
- `turn_left`, `turn_right` turn it by a quarter.
- `pick_marker` takes one marker from its cell; if there is none, nothing happens.
- `put_marker` adds one marker to its cell.

Conditions change nothing: `front_is_clear`, `left_is_clear`, `right_is_clear` hold
if the cell ahead, to the left, to the right is no wall; `markers_present` if the
robot's cell has a marker, `no_markers_present` if not; `not` inverts.

Statements run in order. `if` runs its body if the condition holds, `ifelse` one
of its two; `while` tests before each round and ends when the condition does not
hold; `repeat (n)` runs its body n times.

A *meaning* maps names of actions to names of actions: under it, a statement does
what the action it maps to does under the original meaning. Conditions and control
flow keep theirs.

Steps: each executed action, with effect or without, and each tested condition is
one step; `repeat` itself is none. As soon as the number of steps taken reaches the
step limit, the run ends where it is and the program has *not halted*, even if
that was its last step. Where cells are said to hold so many markers at most, as
those of the kernels do, a run ends in the same way instead of putting one more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from progsem.languages.karel.codes import ACTIONS, FAILED, HELD, UNTESTED
from progsem.languages.karel.syntax import Action, Condition, If, IfElse, Program, Repeat, Statement, While
from progsem.languages.karel.world import World

_AHEAD = ((-1, 0), (0, 1), (1, 0), (0, -1))  # rows and columns, for each heading


class Executed(NamedTuple):
    """An executed action and the state right after it.

    `markers` are those on the robot's cell; `tested` is how the condition that was
    tested last before it came out: `codes.UNTESTED`, `FAILED` or `HELD`.
    """

    action: Action
    row: int
    column: int
    heading: int
    markers: int
    tested: int


class Outcome(NamedTuple):
    """How a run ended; the world is as it was then."""

    world: World
    trace: list[Executed]
    halted: bool


class _LimitReached(Exception):
    pass


class _Robot:
    """The state of a run and what the statements do to it."""

    def __init__(self, world: World, meaning: Mapping[str, str], step_limit: int, most_markers: float):
        # Any number of markers fits: no step limit is too large.
        self.world = World(world.cells.astype(np.int64), world.row, world.column, world.heading, world.walls)
        self.meaning = {name: name for name in ACTIONS} | dict(meaning)
        self.trace: list[Executed] = []
        self.tested = UNTESTED
        self.steps_left = step_limit
        self.most_markers = most_markers

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise _LimitReached

    def is_clear(self, quarters: int) -> bool:
        """Whether the cell that many quarter turns clockwise from ahead is free."""
        rows, columns = _AHEAD[(self.world.heading + quarters) % 4]
        row, column = self.world.row + rows, self.world.column + columns
        height, width = self.world.cells.shape
        return 0 <= row < height and 0 <= column < width and not self.world.walls[row, column]

    def holds(self, condition: Condition) -> bool:
        markers = self.world.cells[self.world.row, self.world.column]
        match condition.name:
            case "front_is_clear":
                value = self.is_clear(0)
            case "left_is_clear":
                value = self.is_clear(3)
            case "right_is_clear":
                value = self.is_clear(1)
            case "markers_present":
                value = markers > 0
            case "no_markers_present":
                value = markers == 0
        return value != condition.negated

    def test(self, condition: Condition) -> bool:
        value = self.holds(condition)
        self.tested = HELD if value else FAILED
        self.step()
        return value

    def act(self, action: Action) -> None:
        world = self.world
        cell = world.row, world.column
        match self.meaning[action.name]:
            case "move" if self.is_clear(0):
                rows, columns = _AHEAD[world.heading]
                world.row += rows
                world.column += columns
            case "turn_left":
                world.heading = (world.heading - 1) % 4
            case "turn_right":
                world.heading = (world.heading + 1) % 4
            case "pick_marker" if world.cells[cell] > 0:
                world.cells[cell] -= 1
            case "put_marker":
                if world.cells[cell] >= self.most_markers:
                    raise _LimitReached
                world.cells[cell] += 1
        markers = int(world.cells[world.row, world.column])
        self.trace.append(Executed(action, world.row, world.column, world.heading, markers, self.tested))
        self.step()

    def run(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            match statement:
                case Action():
                    self.act(statement)
                case If():
                    if self.test(statement.condition):
                        self.run(statement.body)
                case IfElse():
                    self.run(statement.body if self.test(statement.condition) else statement.otherwise)
                case While():
                    while self.test(statement.condition):
                        self.run(statement.body)
                case Repeat():
                    for _ in range(statement.count):
                        before = self.steps_left
                        self.run(statement.body)
                        if self.steps_left == before:
                            break  # nothing was done, nor will be: nested repeats of nothing would take for ever


def run(
    program: Program,
    world: World,
    step_limit: int,
    meaning: Mapping[str, str] | None = None,
    most_markers: float = math.inf,
) -> Outcome:
    """Run a program on a world (not modified) under a meaning; names that it leaves out mean themselves.

    step_limit: at least 1; most_markers: that a cell can hold. The trace lists every
    executed action in order, as it stands in the program.
    """
    if step_limit < 1:
        raise ValueError(f"step_limit: given {step_limit}, expected at least 1")
    robot = _Robot(world, meaning or {}, step_limit, most_markers)
    try:
        robot.run(program.body)
        halted = True
    except _LimitReached:
        halted = False
    return Outcome(robot.world, robot.trace, halted)
