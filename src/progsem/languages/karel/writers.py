"""What writers without a language model are told of a specification."""

from __future__ import annotations

import numpy as np

from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.text import glyphs

WRITERS: dict = {}  # of Karel's own there are none
NAMED: dict[str, str] = {}
REPORTED: dict = {}  # nor have others published any such shares


def described(worlds: WorldStates, outputs: WorldStates) -> np.ndarray:
    """(N, G) uint8: the glyphs of the worlds (N, K) and their outputs."""
    return np.concatenate([glyphs(part).reshape(len(part.cells), -1) for part in (worlds, outputs)], axis=1)
