"""Programs and worlds that files give, as far as a study can have them (`corpus.programs`).

A program is text as `syntax` has it, or tokens as `token_lists` has them: a list, or text with white space between. A
world is an object whose `input` is drawn row by row, as `progsem execute` reads it.
"""

from __future__ import annotations

import re

import numpy as np

from progsem.errors import UserError
from progsem.languages.karel import syntax, token_lists
from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.syntax import Action, IfElse, Program, Statement
from progsem.languages.karel.world import World, read_world
from progsem.storage.json_lines import kind_of


def program(given: str | list, programs) -> list[int]:
    """The codes of a program that a study with this section `programs` can have, whatever its length.

    Raises `UserError`: what is no program, and what the study does not have.
    """
    tree = _tree(given)
    depth = max(map(_depth, tree.body))
    if depth and programs.control_flow == 0:
        raise UserError("has control flow, but the study is of programs without; raise programs.control_flow above 0")
    if depth > programs.depth:
        raise UserError(f"nests {depth} deep, but the study has up to {programs.depth}; raise programs.max_depth")
    return syntax.encode(tree)


def _tree(given: str | list) -> Program:
    if isinstance(given, list):
        for number, token in enumerate(given, 1):
            if not isinstance(token, str):
                raise UserError(f"token {number}: given {kind_of(token)}, expected text")
        return token_lists.parse(given)
    first = re.match(r"\s*(\w*)", given)[1]
    if first == "DEF":
        return token_lists.parse(given.split())
    if first == "def":
        return syntax.parse(given)
    begins = repr(given if len(given) <= 40 else given[:40] + "…")
    raise UserError(f"given {begins}, expected a program, as def run() {{ move() }} or DEF run m( move m)")


def _depth(statement: Statement) -> int:
    """Of a statement's blocks: 0 of an action."""
    if isinstance(statement, Action):
        return 0
    bodies = statement.body + (statement.otherwise if isinstance(statement, IfElse) else ())
    return 1 + max(map(_depth, bodies))


def worlds(given: list, section, count: int) -> WorldStates:
    """A program's worlds (K,); `section` is `worlds` of the config, and `count` how many the study has of each program.

    Raises `UserError` for others than that.
    """
    if len(given) != count:
        raise UserError(
            f"worlds: given {len(given)}, expected {count}, as many as corpus.examples and corpus.held_out are together"
        )
    names = [f"worlds[{index}]" for index in range(count)]
    read = [_as_asked(read_world(world, name), name, section) for world, name in zip(given, names, strict=True)]
    return WorldStates(np.stack([world.cells for world in read]), np.stack([world.pose for world in read]))


def example(given: object, name: str, section) -> tuple[WorldStates, WorldStates]:
    """Input and output of an example, one world each, which is given as their two drawings: text, or lists of rows.

    `section` is `worlds` of the config. Raises `UserError` for others, and where walls move.
    """
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise UserError(f"{name}: given {given!r:.60}, expected two worlds, an input and its output")
    before, after = (
        _drawn(world, f"{name}, {what}", section) for world, what in zip(given, ("input", "output"), strict=True)
    )
    if not np.array_equal(before.walls, after.walls):
        row, column = np.argwhere(before.walls != after.walls)[0] + 2
        raise UserError(f"{name}: walls differ at row {row}, column {column}; no program can move one")
    return WorldStates(before.cells, before.pose), WorldStates(after.cells, after.pose)


def of_pair(pair: list) -> list:
    """What `example` reads, of the text of an input and of an output: both of them."""
    return pair


def written(world: WorldStates) -> str:
    """One world as its drawing, as `example` reads it."""
    return "\n".join(World(world.cells, *map(int, world.poses)).to_rows())


def _drawn(given: str | list[str], name: str, section) -> World:
    try:
        rows = given.strip().split() if isinstance(given, str) else given
        return _as_asked(World.from_rows(rows), name, section)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(name) else f"{name}, {text}") from None


def _as_asked(world: World, name: str, section) -> World:
    if world.cells.shape != (section.height, section.width):
        raise UserError(
            f"{name} has {' x '.join(map(str, world.cells.shape))} cells, but the study's have {section.height} x "
            f"{section.width} (worlds.height and worlds.width)"
        )
    return world
