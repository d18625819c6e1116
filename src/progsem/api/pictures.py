"""Worlds, programs and what they do, which show themselves as pictures in a notebook and as text in a terminal.

The drawing is that of the gallery (`LANGUAGE.drawing`).
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from progsem.api.names import chosen
from progsem.errors import UserError
from progsem.languages import Language

_SIDE = 1.15  # inches of a panel
_A_ROW = 8  # panels


class Panel(NamedTuple):
    """A world to be drawn: what stands above it and below it, and arguments for the language's `drawing.draw`."""

    title: str
    drawn: tuple
    below: str = ""


def picture(panels: Sequence[Panel], language: Language, described: str) -> str:
    """HTML of an image with these panels; `described` is what is read out in its place."""
    from matplotlib.figure import Figure

    from progsem.plots import figures

    columns = max(1, min(_A_ROW, len(panels)))
    rows = -(-len(panels) // columns)
    with figures.looks():
        figure = Figure((columns * _SIDE, rows * (_SIDE + 0.55)), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every:
            axes.set_axis_off()
        for axes, panel in zip(every, panels, strict=False):
            axes.set_axis_on()
            language.drawing.draw(axes, *panel.drawn)
            axes.set_title(panel.title, loc="center", fontsize=8, family="DejaVu Sans Mono")
            axes.set_xlabel(panel.below, fontsize=7.5)
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(described, quote=True)}" src="data:image/svg+xml;base64,{data}">'


@dataclass(frozen=True, eq=False)
class World:
    """A world, an input or an output, as the language has it.

    `print` draws it as text that `Study.world` reads; a notebook draws it as the gallery does.
    """

    state: Any
    language: Language

    def __str__(self) -> str:
        return self.language.reading.written(self.state)

    def __repr__(self) -> str:
        return f"World:\n{self}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, World):
            return NotImplemented
        return str(self) == str(other)  # as programs are judged: what a drawing hides does not count

    def _repr_html_(self) -> str:
        return picture([Panel("", self.language.drawing.of_world(self.state))], self.language, str(self))


class Example(tuple):
    """An example: a pair of worlds, the input and the output that is asked for."""

    @classmethod
    def of(cls, given: object, name: str, language: Language, section) -> Example:
        """What is given as `Study.world` takes it, or as worlds, one or both; `section` is `worlds` of the config.

        Raises `UserError`, whose line begins with `name`, for what no example can be.
        """
        worlds = [one for one in given if isinstance(one, World)] if isinstance(given, list | tuple) else []
        if any(one.language is not language for one in worlds):
            raise UserError(f"{name}: given worlds of another language, expected those of {language.name}")
        text = given
        if worlds:
            text = language.reading.of_pair([str(one) if isinstance(one, World) else one for one in given])
        read = language.reading.example(text, name, section)
        # What a drawing hides, such as markers below a robot, is that of the worlds.
        kept = worlds if len(worlds) == 2 else [World(one, language) for one in read]
        return cls(kept)

    def _repr_html_(self) -> str:
        shown = zip(("input", "output"), self, strict=True)
        panels = [Panel(name, one.language.drawing.of_world(one.state)) for name, one in shown]
        return picture(panels, self[0].language, "\n".join(map(str, self)))


@dataclass(frozen=True, eq=False)
class Program:
    """A program. `codes` (L,) uint8 are those that tables hold; `print` gives its text."""

    codes: np.ndarray
    language: Language
    step_limit: int

    @classmethod
    def of(cls, text: str, language: Language, programs) -> Program:
        """The program that a text is; `programs` is that section of a config."""
        codes = language.reading.program(text, programs)
        room = max(len(codes) + 1, language.codes.most_codes(programs))
        filled = np.full(room, language.codes.PAD, np.uint8)
        filled[: len(codes)] = codes
        return cls(filled, language, programs.step_limit)

    def __str__(self) -> str:
        return self.language.text.source(self.codes)

    def __repr__(self) -> str:
        return f"Program: {self}"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(str(self))}</code>"

    def run(self, world: World, semantics: Mapping[str, str] | None = None) -> Execution:
        """What it does in a world, with its statements meaning what a mapping says (none: what they say).

        Raises `UserError` for a statement that the language does not have, and for what is no world of it.
        """
        if not isinstance(world, World) or world.language is not self.language:
            raise UserError(
                f"given a {type(world).__name__} to run in, expected a World of {self.language.name}, such as "
                "Study.world(…)[0]"
            )
        meaning = checked(semantics or {}, self.language)
        codes = self.language.codes.semantics(meaning)
        execute = self.language.execution.execute
        after, halted = execute(self.codes[None], world.state.at(np.s_[None, None]), self.step_limit, codes)
        statements = self.language.gallery.statements(self.codes, world.state, self.step_limit, codes)
        output = World(after.at((0, 0)), self.language)
        return Execution(self, world, output, bool(halted[0, 0]), tuple(statements), meaning)


@dataclass(frozen=True, eq=False)
class Execution:
    """What a program does in a world.

    output: the world that it leaves; halted: whether it came to its end. statements: each with its `text`, whether it
    was `executed`, and the state right after it, `true` (None if it never was); `read` is what a probe reads there, if
    one was asked.
    """

    program: Program
    world: World
    output: World
    halted: bool
    statements: tuple[dict[str, Any], ...]
    semantics: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{self.program}", *(f"  {_said(statement)}" for statement in self.statements)]
        return "\n".join([*lines, "output:" if self.halted else "not halted; by then:", str(self.output)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        language = self.program.language
        entry = language.gallery.example(self.world.state, self.program.codes, self.program.step_limit)
        panels = [Panel("input", language.drawing.of_world(self.world.state))]
        for statement in self.statements:
            read = statement.get("read")
            shown = statement | {"read": read}
            below = ""
            if read is not None:
                judged = language.gallery.judgement(statement["true"], read)
                below = language.drawing.judgement(shown | judged)
            elif not statement["executed"]:
                below = "not reached"
            panels.append(Panel(statement["text"], language.drawing.after(entry, shown), below))
        return f"{self.program._repr_html_()}<br>{picture(panels, language, str(self))}"


def checked(mapping: Mapping[str, str], language: Language) -> dict[str, str]:
    """A mapping of statements to statements; a `UserError` with the nearest name for one that there is not."""
    if not isinstance(mapping, Mapping):
        raise UserError(
            f"given {mapping!r:.60} as semantics, expected a mapping such as {{'move': 'turn_left'}}; "
            "Study.semantics has those of a study by name"
        )
    names = language.config.ACTIONS
    return {chosen("statement", key, names): chosen("statement", value, names) for key, value in mapping.items()}


def _said(statement: dict[str, Any]) -> str:
    if not statement["executed"]:
        return f"{statement['text']}  not reached"
    state = ", ".join(f"{name} {value}" for name, value in statement["true"].items())
    read = statement.get("read")
    more = "" if read is None else "; read: " + ", ".join(f"{name} {value}" for name, value in read.items())
    return f"{statement['text']}  {state}{more}"
