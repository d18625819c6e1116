"""Permutations of the five meanings, in mirror pairs.

A permutation says what each statement means instead. Exchanging the meanings left
and right gives its mirror image: the robot does in the mirrored world what it did in
this one, so that the labels of both have the same distribution, and neither is
harder. The original and `turn_left <-> turn_right` are such a pair; the others show
how far two equally hard semantics differ where neither is the one in the text.

Where nothing that is probed depends on markers, pick_marker and put_marker leave the
same traces: permutations that differ by an exchange of these two meanings are equal up
to renaming, and only one of them is listed.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import permutations

from progsem.languages.karel.codes import ACTIONS, LEFT, ORIGINAL, PICK, PUT, RIGHT, semantics
from progsem.study.vocabulary import PERMUTATION


@cache
def mirror_pairs(markers_matter: bool) -> tuple[tuple[str, str], ...]:
    """Names of all pairs of permutations but that of the original, in the order in which they are drawn.

    The order is that of a hash: any first few are a sample, and more of them begin with the same.
    """
    pairs = set()
    for meanings in permutations(ORIGINAL):
        pair = frozenset(_named(one, markers_matter) for one in (meanings, _exchanged(meanings, LEFT, RIGHT)))
        pairs.add(tuple(sorted(pair)))
    pairs.discard(tuple(sorted((_named(ORIGINAL, True), _named(_exchanged(ORIGINAL, LEFT, RIGHT), True)))))
    return tuple(sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).digest()))


def meaning(name: str) -> dict[str, str]:
    """What each statement means under the permutation of that name."""
    digits = name.removeprefix(PERMUTATION)
    return {action: ACTIONS[int(digit)] for action, digit in zip(ACTIONS, digits, strict=True)}


def markers_matter(programs, features: tuple[str, ...]) -> bool:
    """Whether what is probed depends on markers: of conditions, or because they are asked for.

    programs: that section of the config; features: what probes are asked.
    """
    return programs.control_flow > 0 or "markers" in features


def is_mirror_image(mapping: dict[str, str], programs, features: tuple[str, ...]) -> bool:
    """Whether a meaning of the statements is the original's mirror image, as far as what is probed goes."""
    matter = markers_matter(programs, features)
    return _named(semantics(mapping), matter) == _named(_exchanged(ORIGINAL, LEFT, RIGHT), matter)


def _named(meanings: tuple[int, ...], markers_matter: bool) -> str:
    """Name of a permutation, or of the first of those equal up to renaming: a digit for what each statement means."""
    same = meanings if markers_matter else min(meanings, _exchanged(meanings, PICK, PUT))
    return PERMUTATION + "".join(map(str, same))


def _exchanged(meanings: tuple[int, ...], first: int, second: int) -> tuple[int, ...]:
    other = {first: second, second: first}
    return tuple(other.get(one, one) for one in meanings)
