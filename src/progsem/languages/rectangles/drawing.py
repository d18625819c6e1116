"""How the gallery draws points and rectangles: the bounds so far as they are, and as a probe reads them.

The trace viewer draws the same in the browser, with `drawing.js` and `drawing.css`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from progsem.languages.rectangles.codes import ACTIONS, FIELD
from progsem.languages.rectangles.execution import Sides
from progsem.languages.rectangles.gallery import INSIDE, NOTHING, cells_of
from progsem.plots import style

SCRIPT, STYLE = (Path(__file__).with_suffix(kind).read_text(encoding="utf-8") for kind in (".js", ".css"))
_TRUE = {"facecolor": style.PALE, "edgecolor": style.BLACK, "linewidth": 1.2, "zorder": 1}
_READ = {"fill": False, "edgecolor": style.VERMILION, "linewidth": 1.8, "linestyle": "--", "zorder": 3}
_INSIDE = {"marker": "o", "color": style.BLUE, "linestyle": "", "markersize": 4.5}
_OUTSIDE = _INSIDE | {"markerfacecolor": "white"}
_RIGHT = {"bounds": "bounds_right", "first point": "first_point_right", "count": "points_inside_right"}


def example(entry: dict) -> list[tuple[str, tuple]]:
    """The points, and those with the wanted rectangle, by what they are called, each as arguments for `draw`."""
    wanted = entry["wanted"]
    return [
        ("specification", (np.array(entry["cells"]),)),
        ("a program for it", (np.array(wanted["cells"]), wanted["state"])),
    ]


def after(entry: dict, statement: dict) -> tuple:
    """The points within the bounds so far, and the bounds, true and read, as arguments for `draw`."""
    return np.array(statement["cells"]), statement["true"], statement["read"]


def of_world(world) -> tuple:
    """One list of points (`execution.Points` or `execution.Sides`), as arguments for `draw`."""
    sides = world.sides if isinstance(world, Sides) else np.zeros(len(world.points), np.uint8)
    return (np.array(cells_of(world.points, sides)),)


def draw(axes: Axes, cells: np.ndarray, true: dict | None = None, read: dict | None = None) -> None:
    """Points on a field (6, 6), the rectangle so far, and the one that a probe reads."""
    style.cells(axes, FIELD, FIELD)
    axes.add_patch(Rectangle((-0.5, -0.5), FIELD, FIELD, fill=False, edgecolor="#555555", linewidth=0.8))
    for row, column in np.argwhere(cells != NOTHING):
        axes.plot(column, row, zorder=2, **(_INSIDE if cells[row, column] == INSIDE else _OUTSIDE))
    for rectangle, look in ((true, _TRUE), (read, _READ)):
        if rectangle is not None and rectangle["asked"]:
            _outline(axes, rectangle, look)


def _outline(axes: Axes, rectangle: dict, look: dict) -> None:
    """A rectangle around the cells within its bounds; those that are not said are those of the field."""
    least = {"top": 0, "left": 0}
    top, bottom, left, right = (
        least.get(name, FIELD - 1) if rectangle[name] is None else min(rectangle[name], FIELD - 1) for name in ACTIONS
    )
    if top <= bottom and left <= right:
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, clip_on=False, **look))


def judgement(statement: dict) -> str:
    """Whether the bounds and what is asked of the points are read right, in signs."""
    parts = [f"{name} {'✓' if statement[key] else '✗'}" for name, key in _RIGHT.items() if statement[key] is not None]
    return "\n".join(parts) if parts else "not probed"


def legend() -> list:
    """What stands for what, as handles of a legend."""
    return [
        Line2D([], [], label="point inside", **_INSIDE),
        Line2D([], [], label="point outside", **_OUTSIDE),
        Patch(facecolor=style.PALE, edgecolor=style.BLACK, label="bounds so far"),
        Patch(fill=False, edgecolor=style.VERMILION, linestyle="--", label="bounds as the probe reads them"),
    ]


def row(statement: dict) -> dict:
    """A statement's state, true and read, as columns of gallery.csv."""
    asked = (*ACTIONS, "first_point", "points_inside")
    return (
        {f"true_{key}": statement["true"][key] for key in asked}
        | {f"read_{key}": statement["read"][key] for key in asked}
        | {key: statement[key] for key in _RIGHT.values()}
    )


def packed(specification: dict, statement: dict) -> list:
    """A statement for the trace viewer in few characters: a list that `unpacked` in drawing.js turns back."""
    keys = (*ACTIONS, "asked", "first_point", "points_inside")
    return [statement["cells"], *([statement[which][key] for key in keys] for which in ("true", "read"))]
