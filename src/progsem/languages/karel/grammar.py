"""The grammar of Karel's codes. Every block holds at least one statement; that of an `ifelse` is followed by `else`."""

from __future__ import annotations

import numpy as np

from progsem.languages.grammar import ILLEGAL, NOTHING, Grammar
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    CODES,
    ELSE,
    FRONT,
    IF,
    IFELSE,
    MAX_REPEAT,
    NO_MARKERS,
    NOT,
    NUMBER,
    OPEN,
    REPEAT,
    WHILE,
)

FIRST, NEXT, CONDITION, NEGATED, COUNT, BLOCK, OTHERWISE = range(7)


def _transitions() -> np.ndarray:
    table = np.full((7, CODES), ILLEGAL, np.uint8)
    for state in (FIRST, NEXT):
        table[state, : len(ACTIONS)] = NEXT
        table[state, [IF, IFELSE, WHILE]] = CONDITION
        table[state, REPEAT] = COUNT
    table[NEXT, CLOSE] = NEXT
    table[CONDITION, NOT] = NEGATED
    table[[CONDITION, NEGATED], FRONT : NO_MARKERS + 1] = BLOCK
    table[COUNT, NUMBER : NUMBER + MAX_REPEAT + 1] = BLOCK
    table[BLOCK, OPEN] = FIRST
    table[OTHERWISE, ELSE] = BLOCK
    return table


def _pushes() -> np.ndarray:
    pushes = np.full(CODES, NOTHING, np.uint8)
    pushes[[IF, WHILE, REPEAT, ELSE]] = NEXT
    pushes[IFELSE] = OTHERWISE
    return pushes


GRAMMAR = Grammar(FIRST, _transitions(), _pushes(), CLOSE)
