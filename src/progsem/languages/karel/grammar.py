"""The grammar of code sequences as a pushdown automaton.

A state says what may come next; a stack remembers, for every open block,
whether its closing brace must be followed by `else`. Every block holds at least
one statement. `NEXT_STATE[state, code]` is the state after a code, or `ILLEGAL`;
after `CLOSE` the stack decides, see `close`.
"""

from __future__ import annotations

import numpy as np

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

STATES = 7
FIRST, NEXT, CONDITION, NEGATED, COUNT, BLOCK, OTHERWISE = range(STATES)
ILLEGAL = 255
CONTROL = (IF, IFELSE, WHILE, REPEAT)  # codes that open a block


def _transitions() -> np.ndarray:
    table = np.full((STATES, CODES), ILLEGAL, np.uint8)
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


NEXT_STATE = _transitions()
