"""Rectangles as text, a character a token: the points, each with `+` inside or `-` outside, and the bounds.

    11+33+04-41-      [1,3,1,4]

A list with fewer points than the longest is followed by spaces, so that all specifications have one length. The text is
that of the output, which repeats the input's points; of the input itself nothing stands in it.
"""

from __future__ import annotations

import numpy as np

from progsem.data.encodings import STOP_STRING_PREFIX, Encoding
from progsem.data.special_tokens import BEGIN, SPECIAL_TOKENS
from progsem.languages.rectangles.codes import FIELD
from progsem.languages.rectangles.execution import NOWHERE, Points, Sides
from progsem.languages.rectangles.grammar import GRAMMAR

CELLS = (*map(str, range(FIELD + 1)), "-", "+", " ")
SIGNS, EMPTY = CELLS.index("-"), CELLS.index(" ")  # signs in the order of the numbers of the sides


def glyphs(worlds: Points | Sides) -> np.ndarray:
    """Lists (N, K) as they are written: indices into `CELLS`, (N, K, 3 P) uint8 of outputs, (N, K, 0) of inputs."""
    if isinstance(worlds, Points):
        return np.empty((*worlds.points.shape[:2], 0), np.uint8)
    signs = worlds.sides[..., None] + np.uint8(SIGNS)
    points = np.where(worlds.points == NOWHERE, np.uint8(EMPTY), worlds.points)
    rows = np.concatenate([points, signs], axis=-1)
    return rows.reshape(*rows.shape[:2], rows.shape[2] * rows.shape[3])  # of no list, too


def source(program: np.ndarray) -> str:
    """A program (L,) of codes as text."""
    ids, lengths, *_ = _CHARACTERS.spell(program[None])
    return "[" + "".join(_CHARACTERS.vocabulary[token] for token in ids[0, : lengths[0]])


class Characters(Encoding):
    """A character a token."""

    grammar, glyph = GRAMMAR, CELLS[0]
    head, behind, begin = [BEGIN], [], ["["]
    white_space, apart = True, False

    def __init__(self):
        self.vocabulary = [*SPECIAL_TOKENS, *CELLS, "[", ",", "]", STOP_STRING_PREFIX]

    def expansion(self, state, code):
        if code > FIELD:
            return ["]"]
        return [*([","] if state else []), CELLS[code]]

    def finish(self, made) -> None:
        from tokenizers import decoders

        made.decoder = decoders.Fuse()


_CHARACTERS = Characters()  # keeps its tables
ENCODINGS: dict[str, type[Encoding]] = {"compact": Characters}
