"""Worlds: a grid of walls and markers with a robot in it, drawn as rows of text.

A drawing shows the border of walls, `#` for a wall, `.` for an empty cell, `1` to
`9` for markers, `+` for more of them, and one of `^ > v <` for the robot, which
hides the markers of its cell: a world read from a drawing has none there. A `+` is
drawn and not read, as it does not say how many. In memory the border is left
out; `x` and `y` of the outside view count from the top-left border cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progsem.errors import UserError
from progsem.languages.karel.codes import GLYPHS, HEADINGS, MAX_DIGIT, WALL
from progsem.storage.json_lines import member

_EXPECTED = "# (wall), . (empty), 1 to 9 (markers) or one of ^ > v < (robot)"


@dataclass(eq=False)
class World:
    """A world: cells (H, W) as in `codes`, the robot's row, column and heading (0-3, clockwise from north).

    Given `walls` (H, W) bool, cells that are none hold any number of markers, which then may be `codes.WALL`.
    """

    cells: np.ndarray
    row: int
    column: int
    heading: int
    walls: np.ndarray | None = None

    def __post_init__(self):
        if self.walls is None:
            self.walls = self.cells == WALL

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, World):
            return NotImplemented
        same_robot = (self.row, self.column, self.heading) == (other.row, other.column, other.heading)
        return same_robot and np.array_equal(self.cells, other.cells) and np.array_equal(self.walls, other.walls)

    @property
    def pose(self) -> np.ndarray:
        """(3,) uint8: row, column, heading."""
        return np.array([self.row, self.column, self.heading], np.uint8)

    @property
    def hero(self) -> list:
        """The robot as [x, y, letter of its heading]."""
        return [self.column + 1, self.row + 1, HEADINGS[self.heading]]

    @property
    def markers(self) -> list[list[int]]:
        """[x, y] once for every marker, the robot's cell included, sorted."""
        counts = np.where(self.walls, 0, self.cells)
        return sorted([int(c) + 1, int(r) + 1] for r, c in np.argwhere(counts) for _ in range(counts[r, c]))

    @classmethod
    def from_rows(cls, rows: list[str]) -> World:
        """Read a drawing; UserError says what is wrong with it, rows and columns counted from 1."""
        _check_shape(rows)
        height, width = len(rows) - 2, len(rows[0]) - 2
        cells = np.zeros((height, width), np.uint8)
        robot = None
        for r, row in enumerate(rows):
            for c, glyph in enumerate(row):
                where = f"row {r + 1}, column {c + 1}"
                if r in (0, height + 1) or c in (0, width + 1):
                    if glyph != "#":
                        raise UserError(f"{where}: given {glyph!r}, expected # as everywhere on the border")
                elif glyph == "#":
                    cells[r - 1, c - 1] = WALL
                elif glyph in GLYPHS:
                    if robot:
                        first = f"row {robot[0] + 2}, column {robot[1] + 2}"
                        raise UserError(f"{where}: given a second robot, expected only the one at {first}")
                    robot = r - 1, c - 1, GLYPHS.index(glyph)
                elif glyph in "123456789":
                    cells[r - 1, c - 1] = int(glyph)
                elif glyph != ".":
                    raise UserError(f"{where}: given {glyph!r}, expected {_EXPECTED}")
        if robot is None:
            raise UserError("given a world without a robot, expected one cell with ^, >, v or <")
        return cls(cells, *robot)

    def to_rows(self) -> list[str]:
        """Draw the world, border included."""
        glyphs = np.array([".", *map(str, range(1, MAX_DIGIT + 1)), "+"])
        inner = np.where(self.walls, "#", glyphs[np.minimum(self.cells, MAX_DIGIT + 1)]).tolist()
        inner[self.row][self.column] = GLYPHS[self.heading]
        border = "#" * (self.cells.shape[1] + 2)
        return [border, *("#" + "".join(row) + "#" for row in inner), border]


def read_world(value: object, name: str) -> World:
    """The world whose drawing is `input` of a JSON object that is called `name`; UserError says what is wrong."""
    rows = member(value, name, "input", list)
    try:
        return World.from_rows(rows)
    except UserError as error:
        raise UserError(f"{name}.input, {error}") from None


def _check_shape(rows: list[str]) -> None:
    if not isinstance(rows, list | tuple):
        raise UserError(f"given {type(rows).__name__}, expected a list of rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, str):
            raise UserError(f"row {number}: given {type(row).__name__}, expected text")
        if len(row) != len(rows[0]):
            raise UserError(f"row {number}: given {len(row)} cells, expected {len(rows[0])} as in row 1")
    if len(rows) < 3 or len(rows[0]) < 3:
        columns = len(rows[0]) if rows else 0
        raise UserError(f"given {len(rows)} rows of {columns} cells, expected at least 3 of 3, border included")
