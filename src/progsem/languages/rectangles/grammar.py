"""The grammar of the codes: four numbers, whatever they are."""

from __future__ import annotations

import numpy as np

from progsem.languages.grammar import ILLEGAL, NOTHING, Grammar
from progsem.languages.rectangles.codes import ACTIONS, CLOSE, STATEMENTS


def _transitions() -> np.ndarray:
    table = np.full((len(ACTIONS) + 1, CLOSE + 1), ILLEGAL, np.uint8)
    for place in range(len(ACTIONS)):
        table[place, :STATEMENTS] = place + 1
    table[len(ACTIONS), CLOSE] = len(ACTIONS)
    return table


GRAMMAR = Grammar(0, _transitions(), np.full(CLOSE + 1, NOTHING, np.uint8), CLOSE)
