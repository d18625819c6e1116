"""Permutations of what the four numbers mean, in mirror pairs.

Exchanging rows for columns in a meaning gives its mirror image. Points and programs are drawn alike for both, so that
the labels of the two have the same distribution.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import permutations

from progsem.languages.rectangles.codes import ACTIONS, BOTTOM, LEFT, ORIGINAL, RIGHT, TOP, semantics
from progsem.study.vocabulary import PERMUTATION

_EXCHANGED = {TOP: LEFT, BOTTOM: RIGHT, LEFT: TOP, RIGHT: BOTTOM}


@cache
def mirror_pairs() -> tuple[tuple[str, str], ...]:
    """Names of all pairs but that of the original, in the order of a hash: any first few of them are a sample."""
    pairs = {tuple(sorted((_named(one), _named(_mirrored(one))))) for one in permutations(ORIGINAL)}
    pairs.discard(tuple(sorted((_named(ORIGINAL), _named(_mirrored(ORIGINAL))))))
    return tuple(sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).digest()))


def meaning(name: str) -> dict[str, str]:
    """Which bound each number is under the permutation of that name."""
    digits = name.removeprefix(PERMUTATION)
    return {bound: ACTIONS[int(digit)] for bound, digit in zip(ACTIONS, digits, strict=True)}


def is_mirror_image(mapping: dict[str, str], programs, features: tuple[str, ...]) -> bool:
    """Whether a meaning of the numbers is the original's mirror image, whatever is probed."""
    return semantics(mapping) == _mirrored(ORIGINAL)


def _mirrored(meanings: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_EXCHANGED[one] for one in meanings)


def _named(meanings: tuple[int, ...]) -> str:
    return PERMUTATION + "".join(map(str, meanings))
