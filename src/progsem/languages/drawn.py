"""What a language's sampler draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """Programs (N, L) uint8 with their input worlds (N, K), as the language holds them, and two keys each,
    (N,) uint64.

    The first key of a row depends on its program and its shown worlds alone, the second on its program: what is equal
    has equal keys, and the keys of different things differ but for one pair in 2⁶⁴.
    """

    programs: np.ndarray
    worlds: NamedTuple
    keys: np.ndarray
    program_keys: np.ndarray
