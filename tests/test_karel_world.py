"""Worlds from and to drawings."""

import numpy as np
import pytest
from hypothesis import given, settings
from karel_cases import worlds

from progsem.errors import UserError
from progsem.languages.karel.codes import WALL
from progsem.languages.karel.world import World

ROWS = ["#####", "#.3.#", "##<9#", "#####"]


def test_reading():
    world = World.from_rows(ROWS)
    assert world.cells.tolist() == [[0, 3, 0], [WALL, 0, 9]]
    assert world.cells.dtype == np.uint8
    assert (world.row, world.column, world.heading) == (1, 1, 3)
    assert world.pose.tolist() == [1, 1, 3] and world.pose.dtype == np.uint8
    assert world.hero == [2, 2, "W"]
    assert world.markers == [[2, 1]] * 3 + [[3, 2]] * 9
    assert world.to_rows() == ROWS


def test_the_robot_hides_its_markers_only_in_drawings():
    world = World(np.array([[2, 0]], np.uint8), 0, 0, 0)
    assert world.to_rows() == ["####", "#^.#", "####"]
    assert world.markers == [[1, 1], [1, 1]]


def test_more_markers_than_a_digit_can_show_are_drawn_and_not_read():
    world = World(np.array([[9, 10, 254]], np.uint8), 0, 0, 0)
    assert world.to_rows() == ["#####", "#^++#", "#####"]
    assert len(world.markers) == 9 + 10 + 254
    with pytest.raises(UserError, match=r"row 2, column 3: given '\+', expected .* 1 to 9 \(markers\)"):
        World.from_rows(world.to_rows())


def test_equality():
    world = World.from_rows(ROWS)
    assert world == World.from_rows(ROWS)
    for other in (["#####", "#.3.#", "##>9#", "#####"], ["#####", "#.2.#", "##<9#", "#####"]):
        assert world != World.from_rows(other)
    assert world != ROWS


@settings(deadline=None)
@given(worlds())
def test_round_trip(world):
    world.cells[world.row, world.column] = 0
    assert World.from_rows(world.to_rows()) == world


@pytest.mark.parametrize(
    "rows, message",
    [
        ("###", "given str, expected a list of rows"),
        (None, "given NoneType, expected a list of rows"),
        ([], "given 0 rows of 0 cells, expected at least 3 of 3"),
        (["", "", ""], "given 3 rows of 0 cells"),
        (["##", "##", "##"], "given 3 rows of 2 cells"),
        (["###", "###"], "given 2 rows of 3 cells"),
        (["###", 7, "###"], "row 2: given int, expected text"),
        (["####", "#^#", "####"], "row 2: given 3 cells, expected 4 as in row 1"),
        (["####", "#^.#", "#####"], "row 3: given 5 cells, expected 4"),
        (["###", "#.#", "###"], "given a world without a robot"),
        (
            ["#####", "#^.v#", "#####"],
            "row 2, column 4: given a second robot, expected only the one at row 2, column 2",
        ),
        (["#####", "#^.x#", "#####"], "row 2, column 4: given 'x', expected # (wall)"),
        (["#####", "#^.0#", "#####"], "row 2, column 4: given '0'"),
        (["#####", "#^.٣#", "#####"], "row 2, column 4: given '٣'"),
        (["#####", "#^. #", "#####"], "row 2, column 4: given ' '"),
        (["#.###", "#^..#", "#####"], "row 1, column 2: given '.', expected # as everywhere on the border"),
        (["#####", "#^...", "#####"], "row 2, column 5: given '.'"),
        (["####", "#..#", "#^.#"], "row 3, column 2: given '^', expected # as everywhere"),
    ],
)
def test_errors(rows, message):
    with pytest.raises(UserError) as caught:
        World.from_rows(rows)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
