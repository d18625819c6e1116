"""Parsing, printing and coding of programs, and where syntax errors are reported."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from karel_cases import GOLDEN, golden, programs

from progsem.languages.karel.codes import (
    CLOSE,
    FRONT,
    IF,
    IFELSE,
    MAX_REPEAT,
    MOVE,
    NOT,
    NUMBER,
    OPEN,
    PAD,
    REPEAT,
    WHILE,
)
from progsem.languages.karel.codes import ELSE as ELSE_CODE
from progsem.languages.karel.syntax import (
    MAX_DEPTH,
    Action,
    Condition,
    If,
    IfElse,
    KarelSyntaxError,
    Program,
    Repeat,
    While,
    actions,
    decode,
    encode,
    parse,
    unparse,
)

MOVES = (Action("move"),)
CLEAR = Condition("front_is_clear")
TREE = Program(
    (
        Action("put_marker"),
        If(Condition("markers_present", negated=True), MOVES),
        IfElse(CLEAR, (*MOVES, Action("turn_left")), (While(CLEAR, MOVES),)),
        Repeat(19, MOVES),
    )
)
TEXT = (
    "def run() { put_marker(); if (not markers_present()) { move() }; "
    "ifelse (front_is_clear()) { move(); turn_left() } else { while (front_is_clear()) { move() } }; "
    "repeat (19) { move() } }"
)


def test_one_program_in_all_forms():
    assert parse(TEXT) == TREE
    assert unparse(TREE) == TEXT
    codes = [1, IF, NOT, 8, OPEN, MOVE, CLOSE, IFELSE, FRONT, OPEN, MOVE, 2, CLOSE, ELSE_CODE, OPEN]
    codes += [WHILE, FRONT, OPEN, MOVE, CLOSE, CLOSE, REPEAT, NUMBER + MAX_REPEAT, OPEN, MOVE, CLOSE]
    assert encode(TREE) == codes
    assert decode([*codes, PAD, PAD]) == TREE
    assert [action.name for action in actions(TREE)] == ["put_marker", "move", "move", "turn_left", "move", "move"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_recorded_programs_are_canonical(path):
    for case in golden(path):
        assert unparse(parse(case["program"])) == case["program"]


@settings(deadline=None)
@given(programs)
def test_text_round_trip(program):
    assert parse(unparse(program)) == program


@settings(deadline=None)
@given(programs)
def test_code_round_trip(program):
    assert decode(encode(program)) == program


@settings(deadline=None)
@given(programs, st.data())
def test_white_space_is_free(program, data):
    text = unparse(program)
    for sign in "(){};":
        space = data.draw(st.text(" \t\r\n", max_size=3))
        text = text.replace(sign, space + sign + space)
    assert parse(text) == program
    assert parse(unparse(program).replace(" ", "").replace("defrun", "def\nrun").replace("not", "not ")) == program


@settings(deadline=None, max_examples=300)
@given(programs, st.data())
def test_any_text_parses_or_says_where_not(program, data):
    text = unparse(program)
    at = data.draw(st.integers(0, len(text)))
    upto = data.draw(st.integers(at, min(len(text), at + 8)))
    text = text[:at] + data.draw(st.text(max_size=5)) + text[upto:]
    try:
        again = parse(text)
    except KarelSyntaxError as error:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert "\n" not in str(error)
    else:
        assert parse(unparse(again)) == again


ERRORS = [
    # text, line, column, what is expected, what the message has as well
    ("", 1, 1, "'def'", "given end of text"),
    ("def run() { mvoe() }", 1, 13, "a statement", "given 'mvoe', expected a statement (pick_marker(), put_marker()"),
    ("def run() { mvoe() }", 1, 13, "a statement", "; did you mean move?"),
    ("def run() { }", 1, 13, "a statement", "given '}'"),
    ("def run() { move(); }", 1, 21, "a statement after ';'", "given '}'"),
    ("def run() { ; move() }", 1, 13, "a statement", "given ';'"),
    ("def run() { move() turn_left() }", 1, 20, "';' or '}'", "given 'turn_left'"),
    ("def run() { move }", 1, 18, "'('", "given '}'"),
    ("def run() { move( }", 1, 19, "')'", "given '}'"),
    ("def run() { move()", 1, 19, "';' or '}'", "given end of text"),
    ("def run() { move() } move()", 1, 22, "the end of the program", "given 'move'"),
    ("def run() move()", 1, 11, "'{'", "given 'move'"),
    ("define run() { move() }", 1, 1, "'def'", "did you mean def?"),
    ("def main() { move() }", 1, 5, "'run'", "given 'main'"),
    ("defrun() { move() }", 1, 1, "'def'", "given 'defrun'"),
    ("def run() {\n  move();\n\tjump()\n}", 3, 2, "a statement", "given 'jump'"),
    ("def run() { if front_is_clear() { move() } }", 1, 16, "'('", "given 'front_is_clear'"),
    ("def run() { if () { move() } }", 1, 17, "a condition (not, front_is_clear()", "given ')'"),
    ("def run() { if (front_clear()) { move() } }", 1, 17, "a condition", "did you mean front_is_clear?"),
    ("def run() { if (not not front_is_clear()) { move() } }", 1, 21, "a condition (front_is_clear()", "given 'not'"),
    ("def run() { if (move()) { move() } }", 1, 17, "a condition", "given 'move'"),
    ("def run() { if (front_is_clear) { move() } }", 1, 31, "'('", "given ')'"),
    ("def run() { if (front_is_clear()) { } }", 1, 37, "a statement", "given '}'"),
    ("def run() { if (front_is_clear()) move() }", 1, 35, "'{'", "given 'move'"),
    ("def run() { ifelse (front_is_clear()) { move() } }", 1, 50, "'else'", "given '}'"),
    ("def run() { if (front_is_clear()) { move() } else { move() } }", 1, 46, "';' or '}'", "given 'else'"),
    ("def run() { repeat (20) { move() } }", 1, 21, "a count from 0 to 19", "given '20'"),
    ("def run() { repeat (-1) { move() } }", 1, 21, "a count from 0 to 19", "given '-'"),
    ("def run() { repeat (n) { move() } }", 1, 21, "a count from 0 to 19", "given 'n'"),
    ("def run() { repeat (٣) { move() } }", 1, 21, "a count from 0 to 19", "given '٣'"),
    (f"def run() {{ repeat ({'9' * 5000}) {{ move() }} }}", 1, 21, "a count from 0 to 19", "…'"),
    ("def run() { move()\n# comment\n}", 2, 1, "';' or '}'", "given '#'"),
    ("def run() { move()\x00 }", 1, 19, "';' or '}'", r"given '\x00'"),
]


@pytest.mark.parametrize("text, line, column, expected, message", ERRORS, ids=map(str, range(len(ERRORS))))
def test_error_positions(text, line, column, expected, message):
    with pytest.raises(KarelSyntaxError) as caught:
        parse(text)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert error.expected.startswith(expected)
    assert str(error).startswith(f"line {line}, column {column}: given ")
    assert message in str(error)
    assert "\n" not in str(error)


def _nested(depth: int) -> str:
    return "def run() { " + "repeat (1) { " * (depth - 1) + "move()" + " }" * depth


def test_depth_of_nesting():
    deepest = parse(_nested(MAX_DEPTH))
    assert parse(unparse(deepest)) == decode(encode(deepest)) == deepest
    for depth in (MAX_DEPTH + 1, 5000):
        with pytest.raises(KarelSyntaxError, match=f"expected at most {MAX_DEPTH} nested blocks"):
            parse(_nested(depth))


@pytest.mark.parametrize(
    "codes",
    [[], [PAD], [CLOSE], [IF, MOVE], [IF, FRONT, OPEN, CLOSE], [MOVE, CLOSE], [200], [-1], [REPEAT, FRONT], [NOT]],
)
def test_codes_of_no_program(codes):
    with pytest.raises(ValueError, match="code"):
        decode(codes)
