"""`progsem execute FILE.jsonl`: run programs on worlds, one JSON object a line.

Each line has `program` (text) and `worlds`, a list of objects with `input`, a world
drawn row by row; other keys are ignored and empty lines skipped. For each, in the
same order, a line is printed whose `worlds` say what came of them:
- `output`: the world afterwards, drawn, with `+` for more than nine markers, which `markers_out` counts;
- `hero_out`: [x, y, heading letter], counted from the top-left border cell;
- `markers_out`: [x, y] once for every marker, sorted;
- `trace`: after every executed action [action, x, y, heading letter, markers on that cell].
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from progsem.errors import UserError
from progsem.jobs import streams
from progsem.languages.karel import interpreter, syntax
from progsem.languages.karel.codes import HEADINGS
from progsem.languages.karel.world import read_world
from progsem.storage.json_lines import member, value_of

STEP_LIMIT = 10_000  # executed actions and tested conditions


def execute_line(line: str) -> dict:
    """What a line's program does to its worlds, in the output format; UserError says what is wrong with the line."""
    task = value_of(line)
    try:
        program = syntax.parse(member(task, "", "program", str))
    except syntax.KarelSyntaxError as error:
        raise UserError(f"program, {error}") from None
    worlds = member(task, "", "worlds", list)
    return {"worlds": [_execute(program, world, f"worlds[{index}]") for index, world in enumerate(worlds)]}


def _execute(program: syntax.Program, value: object, name: str) -> dict:
    world = read_world(value, name)
    after, trace, halted = interpreter.run(program, world, STEP_LIMIT)
    if not halted:
        raise UserError(f"{name}: the program did not halt within {STEP_LIMIT} steps, expected one that does")
    return {
        "output": after.to_rows(),
        "hero_out": after.hero,
        "markers_out": after.markers,
        "trace": [[s.action.name, s.column + 1, s.row + 1, HEADINGS[s.heading], s.markers] for s in trace],
    }


def _outputs(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield json.dumps(execute_line(line.decode().rstrip()), separators=(",", ":"))
        except UnicodeDecodeError as error:
            raise UserError(f"{name}:{number}: byte {error.start + 1} is not UTF-8; expected JSON text") from None
        except UserError as error:
            raise UserError(f"{name}:{number}: {error}") from None


def main(argv: list[str]) -> None:
    """Run the command; bad input raises UserError, after the lines before it were printed."""
    parser = argparse.ArgumentParser(
        prog="progsem execute", description="Run Karel programs on worlds, one JSON object a line."
    )
    parser.add_argument("file", help="JSON lines with `program` and `worlds[*].input`, or - for standard input")
    file = parser.parse_args(argv).file
    name = "standard input" if file == "-" else file
    try:
        for output in _outputs(_lines(file, name), name):
            streams.say(output)  # at once, so that a reader at the other end of a pipe has it
    except BrokenPipeError:
        streams.discard(sys.stdout)  # the reader has seen enough


def _lines(file: str, name: str) -> Iterator[bytes]:
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as lines:
            yield from lines
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{name}: cannot be read ({reason}); expected a file of JSON lines") from None
