"""Names that are given: the one that is meant, or a line with the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral

from progsem.errors import UserError
from progsem.study.vocabulary import LAYER


def chosen(what: str, given: object, known: Iterable[str]) -> str:
    """A name that is among the known ones, else a `UserError` with the nearest."""
    names = list(known)
    if given in names:
        return given
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"given the {what} {given!r}, expected one of {', '.join(names)}{hint}")


def whole(what: str, given: object) -> int:
    """A whole number, NumPy's too; a `UserError` for anything else."""
    if isinstance(given, Integral) and not isinstance(given, bool):
        return int(given)
    raise UserError(f"given the {what} {given!r:.60}, expected a whole number")


def layer_named(given: str | int) -> str:
    """The column of a hidden state: `mean`, `last` or `layer_0`, which may be given as a number."""
    return given if isinstance(given, str) else f"{LAYER}{whole('layer', given)}"


def chosen_layer(given: str | int, known: Iterable[str]) -> str:
    """The column that is meant among those that there are; else a `UserError` that says which were traced."""
    names = list(known)
    if (name := layer_named(given)) in names:
        return name
    said = ", ".join(one.removeprefix(LAYER) for one in names)
    raise UserError(f"given the layer {given!r}, expected one of {said} or last; traces.layers: each keeps every one")


def listed(values: list) -> str:
    """Values with commas between; of many the first and last ones."""
    shown = values if len(values) <= 8 else [*values[:3], "…", *values[-2:]]
    return ", ".join(map(str, shown))
