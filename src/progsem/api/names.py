"""Names that are given: the one that is meant, or a line with the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from progsem.errors import UserError


def chosen(what: str, given: object, known: Iterable[str]) -> str:
    """A name that is among the known ones, else a `UserError` with the nearest."""
    names = list(known)
    if given in names:
        return given
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"given the {what} {given!r}, expected one of {', '.join(names)}{hint}")


def listed(values: list) -> str:
    """Values with commas between; of many the first and last ones."""
    shown = values if len(values) <= 8 else [*values[:3], "…", *values[-2:]]
    return ", ".join(map(str, shown))
