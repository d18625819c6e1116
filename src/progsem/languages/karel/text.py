"""Karel as text: what specifications and programs look like to the language model, in two encodings.

The text of a document is

    Examples: INPUT OUTPUT … Code: def run() { move(); turn_left() }

with every grid scanned in row order (border dropped), one glyph a cell: `#` wall, `.` empty, `1`-`9` markers, `9` also
more of them, `^ > v <` the robot, which hides the markers of its cell.

- compact: a token a cell and a statement; the tokens of a program are exactly its codes, framed by `Code: def run() {`
  and `}`. Its tokens imply white space, `;` between statements, and the parentheses around conditions and counts, so
  it reads a text without them as well.
- spaced: the text cut into lexemes, every space a token of its own, as the authors' tokenizer does (paper, section on
  data).
"""

from __future__ import annotations

import numpy as np

from progsem.data.encodings import STOP_STRING_PREFIX, Encoding
from progsem.data.special_tokens import BEGIN, END, PADDING, SPECIAL_TOKENS
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    CONDITIONS,
    ELSE,
    FRONT,
    GLYPHS,
    KEYWORDS,
    MAX_DIGIT,
    MAX_REPEAT,
    NO_MARKERS,
    NOT,
    NUMBER,
    OPEN,
)
from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.grammar import FIRST, GRAMMAR, NEXT

CELLS = ("#", ".", *"123456789", *GLYPHS)
EMPTY = CELLS.index(".")
_HEAD = "Examples:"


def glyphs(worlds: WorldStates) -> np.ndarray:
    """Worlds (N, K) as they are drawn: indices into `CELLS`, (N, K, H * W) uint8."""
    cells, poses = worlds
    count, shown, height, width = cells.shape
    # A wall becomes 0, '#', no marker 1, '.', and so on.
    out = np.add(cells.reshape(count, shown, height * width), np.uint8(1), order="C")
    np.minimum(out, np.uint8(CELLS.index(str(MAX_DIGIT))), out=out)
    place = poses[..., 0].astype(np.int64) * width + poses[..., 1]
    worlds_before = np.arange(count * shown).reshape(count, shown)
    out.reshape(-1)[worlds_before * (height * width) + place] = len(CELLS) - len(GLYPHS) + poses[..., 2]
    return out


def source(program: np.ndarray) -> str:
    """A program (L,) of codes as source text."""
    ids, lengths, *_ = _SPACED.spell(program[None])
    return "def run() {" + "".join(_SPACED.vocabulary[token] for token in ids[0, : lengths[0]])


class Compact(Encoding):
    """One token a cell, one a statement."""

    grammar, glyph = GRAMMAR, CELLS[0]
    head, behind, begin = [BEGIN, _HEAD], [], ["Code: def run() {"]

    def __init__(self):
        calls = [f"{name}()" for name in ACTIONS + CONDITIONS]
        words = [{**KEYWORDS, OPEN: "{", CLOSE: "}"}[code] for code in range(NOT, NUMBER)]
        self._codes = [*calls, *words, *(f"({n}" for n in range(MAX_REPEAT + 1))]
        self.vocabulary = [*SPECIAL_TOKENS, _HEAD, *self.begin, *CELLS, *self._codes, STOP_STRING_PREFIX]

    def expansion(self, state, code):
        return [self._codes[code]]

    def finish(self, made) -> None:
        from tokenizers import Regex, decoders, normalizers

        made.normalizer = normalizers.Sequence(
            [
                normalizers.Replace(Regex(r"(?<=\)|\})\s*;(?=\s*[a-z])"), " "),
                normalizers.Replace(Regex(r"(?<=\bif|\bifelse|\bwhile)\s*\((?=\s*[a-z])"), " "),
                normalizers.Replace(Regex(r"(?<=clear\(\)|esent\(\)|\(\d|\(\d\d)\s*\)(?=\s*\{)"), " "),
            ]
        )
        made.decoder = decoders.Sequence(
            [
                # Behind all that was decoded before, so that what is written can be put behind its prompt's text.
                decoders.Replace(Regex(rf"\A(?!{_HEAD}|{BEGIN}|{END}|{PADDING})"), " "),
                decoders.Fuse(),
                decoders.Replace(Regex(r"(?<=clear\(\)|esent\(\)) \{"), ") {"),
                decoders.Replace(Regex(r"(?<=\(\d|\(\d\d) \{"), ") {"),
                decoders.Replace(Regex(r"(?<= if| ifelse| while) (?=\w)"), " ("),
                decoders.Replace(Regex(r"(?<=\)|\}) (?=[a-z])(?!else)"), "; "),
            ]
        )


class Spaced(Encoding):
    """Lexemes, every space a token of its own."""

    grammar, glyph = GRAMMAR, CELLS[0]
    head = [BEGIN, "Examples", ":", " "]
    behind = [" "]
    white_space = True
    begin = ["Code", ":", " ", "def", " ", "run", "(", ")", " ", "{"]

    def __init__(self):
        words = ["Examples", "Code", "def", "run", *ACTIONS, *CONDITIONS, *KEYWORDS.values(), STOP_STRING_PREFIX]
        numbers = [str(n) for n in range(MAX_REPEAT + 1) if str(n) not in CELLS]
        self.vocabulary = [*SPECIAL_TOKENS, " ", ":", "(", ")", "{", "}", ";", *CELLS, *numbers, *words]

    def expansion(self, state, code):
        before = {FIRST: [" "], NEXT: [";", " "]}.get(state, [])
        if code < len(ACTIONS):
            return [*before, ACTIONS[code], "(", ")"]
        if FRONT <= code <= NO_MARKERS:
            return [CONDITIONS[code - FRONT], "(", ")", ")"]
        if code >= NUMBER:
            return [str(code - NUMBER), ")"]
        if code == NOT:
            return ["not", " "]
        if code in (OPEN, CLOSE):
            return [" ", "{" if code == OPEN else "}"]
        if code == ELSE:
            return [" ", "else"]
        return [*before, KEYWORDS[code], " ", "("]

    def finish(self, made) -> None:
        from tokenizers import decoders

        made.decoder = decoders.Fuse()


_SPACED = Spaced()  # keeps its tables
ENCODINGS: dict[str, type[Encoding]] = {"compact": Compact, "spaced": Spaced}
