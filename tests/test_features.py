"""Labels on worlds small enough to check by eye, and the accuracy scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progsem.languages import LANGUAGE
from progsem.languages.karel import features
from progsem.languages.karel.codes import FAILED, HELD, WALL
from progsem.languages.karel.execution import ProgramStates, WorldStates, trace
from progsem.languages.karel.features import FEATURES
from progsem.languages.karel.syntax import encode, parse
from progsem.languages.labels import corrected_accuracy, majority_label, spans

# Three columns, two rows; # is a wall:
#   . # .
#   . . 1
CELLS = np.array([[[0, WALL, 0], [0, 0, 1]]], np.uint8)
NORTH, EAST, SOUTH, WEST = range(4)


def labels_of(feature, pose, start=(0, 0, NORTH), end=(1, 2, EAST), markers=0, branch=0):
    arrays = (np.array([value], np.uint8) for value in (start, end, pose, markers, branch))
    return features.labels((feature,), ProgramStates(CELLS, *arrays))[0].tolist()


def test_facing_is_the_heading():
    assert [labels_of("facing", (1, 0, heading)) for heading in range(4)] == [[0], [1], [2], [3]]


def test_offset_from_start_is_positive_east_and_south():
    assert labels_of("offset_from_start", (0, 0, NORTH)) == [2, 1]  # nowhere: W - 1, H - 1
    assert labels_of("offset_from_start", (1, 2, EAST)) == [4, 2]
    assert labels_of("offset_from_start", (0, 0, EAST), start=(1, 2, EAST)) == [0, 0]


def test_offset_from_end_is_seen_from_the_end():
    assert labels_of("offset_from_end", (1, 2, NORTH)) == [2, 1]
    assert labels_of("offset_from_end", (0, 0, NORTH)) == [0, 0]


def test_position_is_column_then_row():
    assert labels_of("position", (1, 2, NORTH)) == [2, 1]


@pytest.mark.parametrize(
    ("pose", "ahead"),
    [
        ((0, 0, NORTH), 1),  # the border
        ((0, 0, EAST), 1),  # the wall
        ((0, 0, SOUTH), 0),
        ((0, 0, WEST), 1),
        ((1, 1, NORTH), 1),
        ((1, 1, EAST), 0),  # a marker is no wall
        ((1, 2, SOUTH), 1),
    ],
)
def test_wall_ahead(pose, ahead):
    assert labels_of("wall_ahead", pose) == [ahead]


def test_neighbour_walls_do_not_turn_with_the_robot():
    for heading in range(4):
        assert labels_of("neighbour_walls", (0, 0, heading)) == [1, 1, 0, 1]
        assert labels_of("neighbour_walls", (1, 1, heading)) == [1, 0, 1, 0]


def test_three_markers_and_more_are_one_class():
    labels = [labels_of("markers", (1, 2, NORTH), markers=count) for count in (0, 1, 2, 3, 4, 9)]
    assert labels == [[0], [1], [2], [3], [3], [3]]


def test_states_inside_blocks_and_behind_them():
    """Worked out by hand for a robot that starts in the south-western corner, facing east."""
    program = parse(
        "def run() { ifelse (front_is_clear()) { move(); put_marker() } else { turn_left() }; "
        "while (markers_present()) { pick_marker() }; turn_right(); "
        "if (not front_is_clear()) { turn_left(); move() }; repeat (3) { put_marker() } }"
    )
    codes = np.array([encode(program)], np.uint8)
    start = np.array([[1, 0, EAST]], np.uint8)
    run = trace(codes, WorldStates(CELLS, start), 100)
    asked = ("facing", "offset_from_start", "offset_from_end", "wall_ahead", "markers", "branch")
    seen = [features.labels(asked, run.states(np.array([0]), np.array([k])))[0] for k in range(8)]
    assert run.executed[0, :8].tolist() == [True, True, False, True, True, True, True, True]
    here, east_of, west_of = [2, 1], [3, 1], [1, 1]  # dx and dy of 0 and 0, 1 and 0, -1 and 0
    assert [row.tolist() for row, there in zip(seen, run.executed[0], strict=False) if there] == [
        [EAST, *east_of, *west_of, 0, 0, HELD],  # move
        [EAST, *east_of, *west_of, 0, 1, HELD],  # put_marker
        [EAST, *east_of, *west_of, 0, 0, HELD],  # pick_marker, in the only round
        [SOUTH, *east_of, *west_of, 1, 0, FAILED],  # turn_right: the loop ended because its test failed
        [EAST, *east_of, *west_of, 0, 0, HELD],  # turn_left
        [EAST, 4, 1, *here, 1, 1, HELD],  # move, onto the marker
        [EAST, 4, 1, *here, 1, 2, HELD],  # put_marker, in the first of three rounds
    ]


def test_heads_describe_every_feature_of_the_config():
    heads = features.heads(tuple(FEATURES), {"height": 2, "width": 3})
    assert [(head.name, head.classes) for head in heads if head.feature == "offset_from_end"] == [("dx", 5), ("dy", 3)]
    assert [(head.name, head.classes) for head in heads if head.feature == "position"] == [("x", 3), ("y", 2)]
    columns = spans(heads)
    assert list(columns) == list(FEATURES) == list(LANGUAGE.config.FEATURES)
    assert columns["neighbour_walls"] == slice(8, 12)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_labels_are_below_their_number_of_classes(data):
    height, width, n = data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6)), 20
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    cells = random.choice(np.array([0, 1, WALL], np.uint8), (n, height, width))
    poses = [
        np.stack([random.integers(0, limit, n) for limit in (height, width, 4)], 1).astype(np.uint8) for _ in range(3)
    ]
    markers, branch = random.integers(0, 10, n, np.uint8), random.integers(0, 3, n, np.uint8)
    got = features.labels(tuple(FEATURES), ProgramStates(cells, *poses, markers, branch))
    heads = features.heads(tuple(FEATURES), {"height": height, "width": width})
    assert got.shape == (n, len(heads)) and got.dtype == np.uint8
    assert (got < [head.classes for head in heads]).all()
    columns = spans(heads)
    neighbours, facing = got[:, columns["neighbour_walls"]], got[:, columns["facing"]]
    assert (np.take_along_axis(neighbours, facing, 1) == got[:, columns["wall_ahead"]]).all()


def test_majority_is_of_the_joint_label():
    # dx is mostly 1 and dy mostly 1, yet (1, 1) is never seen.
    train = np.array([[1, 0]] * 3 + [[0, 1]] * 4 + [[1, 2]] * 2, np.uint8)
    assert majority_label(train).tolist() == [0, 1]
    assert majority_label(np.array([[2], [1], [2], [1]], np.uint8)).tolist() == [1]


def test_corrected_accuracy():
    assert corrected_accuracy(0.8, 0.6) == pytest.approx(0.5)
    assert corrected_accuracy(0.5, 0.6) == pytest.approx(-0.25)
    assert np.isnan(corrected_accuracy(1.0, 1.0))
    assert corrected_accuracy(np.array([1.0, 0.5]), np.array([0.5, 0.5])).tolist() == [1.0, 0.0]
