"""The grammar of a language's codes as a pushdown automaton, which spelling and constrained decoding follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ILLEGAL = 255  # in `Grammar.next_state`: the code may not come here
NOTHING = 255  # in `Grammar.pushes`: the code opens no block


class Grammar(NamedTuple):
    """A state says which codes may come next; a stack remembers, for every open block, the state behind its end.

    first: the state in which a program begins.
    next_state: (S, C) uint8, the state after each code, or `ILLEGAL`.
    pushes: (C,) uint8, for a code that opens a block the state behind the block's end, else `NOTHING`.
    closes: the code that ends a block, or the program where none is open. The state after it is the one that was
        pushed, whatever `next_state` says.
    """

    first: int
    next_state: np.ndarray
    pushes: np.ndarray
    closes: int

    @property
    def states(self) -> int:
        """How many states there are."""
        return self.next_state.shape[0]

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return self.next_state.shape[1]

    def legal(self) -> list[tuple[int, int]]:
        """Every (state, code) that may be."""
        return [(int(state), int(code)) for state, code in np.argwhere(self.next_state != ILLEGAL)]
