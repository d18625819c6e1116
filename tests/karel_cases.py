"""What the tests of Karel share: golden executions, and random programs, worlds and meanings."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from progsem.languages.karel import syntax
from progsem.languages.karel.codes import ACTIONS, CONDITIONS, MAX_MARKERS, MAX_REPEAT, PAD, WALL
from progsem.languages.karel.world import World

# A part of the recorded executions is kept with the tests; the full set lies beside the checkout in some places.
KEPT = Path(__file__).parent / "data" / "golden"
FULL = Path(__file__).parents[2] / "shared" / "golden"
GOLDEN = [path for folder in (KEPT, FULL) for path in sorted(folder.glob("*.jsonl"))]


@cache
def golden(path: Path) -> list[dict]:
    """The executions recorded in a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _blocks(statements):
    return st.lists(statements, min_size=1, max_size=4).map(tuple)


_conditions = st.builds(syntax.Condition, st.sampled_from(CONDITIONS), st.booleans())
_actions = st.builds(syntax.Action, st.sampled_from(ACTIONS))


def _compound(statements):
    blocks = _blocks(statements)
    return st.one_of(
        st.builds(syntax.If, _conditions, blocks),
        st.builds(syntax.IfElse, _conditions, blocks, blocks),
        st.builds(syntax.While, _conditions, blocks),
        st.builds(syntax.Repeat, st.integers(0, 4) | st.integers(0, MAX_REPEAT), blocks),
    )


_statements = st.recursive(_actions, lambda inner: _actions | _compound(inner), max_leaves=12)
programs = st.builds(syntax.Program, _blocks(_statements))


@st.composite
def worlds(draw, height: int | None = None, width: int | None = None):
    """Worlds of any content, markers under the robot included."""
    height = height or draw(st.integers(1, 6))
    width = width or draw(st.integers(1, 6))
    cell = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 8, 9, WALL, WALL))
    cells = np.array(draw(st.lists(cell, min_size=height * width, max_size=height * width)), np.uint8)
    cells = cells.reshape(height, width)
    row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    cells[row, column] = draw(st.sampled_from((0, 0, 1, 8, 9, 10, MAX_MARKERS - 1)))
    return World(cells, row, column, draw(st.integers(0, 3)))


meanings = st.fixed_dictionaries({}, optional={name: st.sampled_from(ACTIONS) for name in ACTIONS})


def padded(codes: list[list[int]]) -> np.ndarray:
    """Code sequences as one (N, L) uint8 array, with a column of `PAD` to spare."""
    array = np.full((len(codes), max(map(len, codes)) + 1), PAD, np.uint8)
    for row, sequence in zip(array, codes, strict=True):
        row[: len(sequence)] = sequence
    return array
