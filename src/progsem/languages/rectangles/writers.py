"""Writers of rectangles without a model, and what others are told of a specification.

strings   nine printable characters, the length of a program, each as likely
manual    each bound a coordinate of one of the points inside, drawn for itself; a random rectangle if none is inside
"""

from __future__ import annotations

import numpy as np

from progsem.languages.rectangles.codes import ACTIONS, FIELD
from progsem.languages.rectangles.execution import INSIDE, NO_SIDE, Points, Sides
from progsem.languages.rectangles.text import source

_PRINTABLE = [chr(code) for code in range(32, 127)]


def described(worlds: Points, outputs: Sides) -> np.ndarray:
    """(N, 2 * 6 * 6) uint8: a bit for each cell, whether it is among the points inside, and among those outside."""
    count, shown, most = outputs.sides.shape
    bits = np.zeros((count, 2, FIELD, FIELD), np.uint8)
    number = np.broadcast_to(np.arange(count)[:, None, None], (count, shown, most))
    there = outputs.sides != NO_SIDE
    rows, columns = outputs.points[there].T
    bits[number[there], outputs.sides[there], rows, columns] = 1
    return bits.reshape(count, -1)


def strings(worlds: Points, outputs: Sides, rng: np.random.Generator) -> np.ndarray | None:
    """Codes (4,) if the string is a program, which it is once in 10¹³ times, else None."""
    text = "".join(rng.choice(_PRINTABLE, len(source(np.zeros(len(ACTIONS), np.uint8)))))
    numbers = [text[at] for at in range(1, len(text), 2)]
    if not all(number in map(str, range(FIELD + 1)) for number in numbers):
        return None
    program = np.array([int(number) for number in numbers], np.uint8)
    return program if source(program) == text else None


def manual(worlds: Points, outputs: Sides, rng: np.random.Generator) -> np.ndarray:
    """Codes (4,) of a program for a specification (K,)."""
    inside = outputs.points[outputs.sides == INSIDE]
    if len(inside):
        return inside[rng.integers(len(inside), size=4), [0, 0, 1, 1]]
    low = rng.integers(FIELD - 1, size=2)
    high = low + 1 + rng.integers(FIELD - low)
    return np.array([low[0], high[0], low[1], high[1]], np.uint8)


WRITERS = {"strings": strings, "manual": manual}
NAMED = {"strings": "strings of nine characters", "manual": "coordinates of points inside"}
# Shares of 1 000 specifications that were solved with budgets of 1, 20 and 100 proposals, read off plots (± 0.01), by
# writer and value. The language model was byt5-base, fine-tuned on 5 000 pairs and sampled at temperature 1.
_BUDGETS = 1, 20, 100
REPORTED = {
    key: dict(zip(_BUDGETS, shares, strict=False))
    for key, shares in {
        ("strings", None): ((0, 0), (0, 0), (0, 0)),
        ("uniform", None): ((0.16, 0.17), (0.33, 0.33), (0.59, 0.59)),
        ("corpus", None): ((0.11, 0.14), (0.58, 0.58), (0.84, 0.84)),
        ("manual", None): ((0.34, 0.35), (0.69, 0.69), (0.87, 0.87)),
        ("unigram", None): ((0.33, 0.34), (0.88, 0.88), (0.96, 0.96)),
        ("temperature", 1.0): ((0.43, 0.43), (0.99, 0.99)),
    }.items()
}
