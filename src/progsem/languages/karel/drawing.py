"""How the gallery draws worlds: the grid, the robot as it is, and as a probe reads it. See `gallery` for the data.

The trace viewer draws the same in the browser, with `drawing.js` and `drawing.css`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from progsem.languages.karel.codes import ACTIONS, WALL
from progsem.plots import style

SCRIPT, STYLE = (Path(__file__).with_suffix(kind).read_text(encoding="utf-8") for kind in (".js", ".css"))
# Statements for where there is little room.
SHORT = {name: name.removesuffix("_marker").removeprefix("turn_") for name in ACTIONS}
FACING = ("^", ">", "v", "<")  # markers of matplotlib, by heading


def example(entry: dict) -> list[tuple[str, tuple]]:
    """The two worlds of an example by what they are called, each as arguments for `draw`."""
    wanted = entry["wanted"]
    return [
        ("input", (np.array(entry["cells"]), entry["start"])),
        ("output asked for", (np.array(wanted["cells"]), wanted["state"])),
    ]


def after(entry: dict, statement: dict) -> tuple:
    """The world right after a statement's first execution, the robot and the one that is read, as arguments for `draw`.

    Of a statement that was never reached, the world at the start.
    """
    if statement["true"] is None:
        return (np.array(entry["cells"]),)
    return np.array(statement["cells"]), statement["true"], statement["read"]


def of_world(world) -> tuple:
    """One world (`execution.WorldStates`) and the robot in it, as arguments for `draw`."""
    return world.cells, dict(zip(("row", "column", "heading"), map(int, world.poses), strict=True))


def draw(axes: Axes, cells: np.ndarray, robot: dict | None = None, read: dict | None = None) -> None:
    """A world (H, W), the robot in it, and the robot that a probe reads."""
    draw_world(axes, cells)
    for pose, look in (
        (robot, {"markersize": 6.5, "color": style.BLACK}),
        (read, {"markersize": 13} | _HOLLOW),
    ):
        if pose is not None and pose["row"] is not None:
            draw_robot(axes, pose, look)


_HOLLOW = {"markerfacecolor": "none", "markeredgecolor": style.VERMILION, "markeredgewidth": 1.8}


def draw_world(axes: Axes, cells: np.ndarray) -> None:
    """Grid, walls, and numbers of markers."""
    height, width = cells.shape
    style.cells(axes, height, width)
    axes.add_patch(Rectangle((-0.75, -0.75), width + 0.5, height + 0.5, color="#555555"))
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, color="white"))
    for row, column in np.ndindex(height, width):
        if cells[row, column] == WALL:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#555555"))
        elif cells[row, column]:
            axes.text(
                column + 0.27,
                row + 0.27,
                str(cells[row, column]),
                ha="center",
                va="center",
                fontsize=6.5,
                color=style.BLUE,
            )
    for edge in range(1, width):
        axes.plot([edge - 0.5] * 2, [-0.5, height - 0.5], color=style.PALE, linewidth=0.5, zorder=1)
    for edge in range(1, height):
        axes.plot([-0.5, width - 0.5], [edge - 0.5] * 2, color=style.PALE, linewidth=0.5, zorder=1)


def draw_robot(axes: Axes, pose: dict, look: dict) -> None:
    """An arrow at the edge of the world or inside it; a circle where no heading is read."""
    marker = "o" if pose["heading"] is None else FACING[pose["heading"]]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    column, row = np.clip(pose["column"], left, right), np.clip(pose["row"], top, bottom)
    axes.plot(column, row, marker, clip_on=False, zorder=3, **look)


def judgement(statement: dict) -> str:
    """Whether facing and position are read right, in signs."""
    if not statement["executed"]:
        return "not reached"
    parts = [
        f"{name} {'✓' if statement[key] else '✗'}"
        for name, key in (("facing", "facing_right"), ("place", "position_right"))
        if statement[key] is not None
    ]
    return "\n".join(parts) if parts else "not probed"


def legend() -> list:
    """What stands for what, as handles of a legend."""
    return [
        Line2D([], [], marker="^", color=style.BLACK, linestyle="", markersize=7, label="robot"),
        Line2D([], [], marker="^", linestyle="", markersize=11, label="robot as the probe reads it", **_HOLLOW),
        Rectangle((0, 0), 1, 1, color="#555555", label="wall"),
        Line2D([], [], marker="$1$", color=style.BLUE, linestyle="", markersize=6, label="markers in a cell"),
    ]


def row(statement: dict) -> dict:
    """A statement's state, true and read, as columns of gallery.csv."""
    true = statement["true"] or {"row": None, "column": None, "heading": None}
    return (
        {f"true_{key}": true[key] for key in ("row", "column", "heading")}
        | {f"read_{key}": statement["read"][key] for key in ("row", "column", "heading")}
        | {key: statement[key] for key in ("facing_right", "position_right")}
    )


def packed(specification: dict, statement: dict) -> list:
    """A statement for the trace viewer in few characters: a list that `unpacked` in drawing.js turns back.

    What differs from the input's cells, as [row, column, value] each; the true robot; the one that is read. The
    first two are None for a statement that is never reached.
    """
    read = [statement["read"][key] for key in ("row", "column", "heading", "wall_ahead")]
    if not statement["executed"]:
        return [None, None, read]
    changes = [
        [row, column, value]
        for row, line in enumerate(statement["cells"])
        for column, value in enumerate(line)
        if value != specification["cells"][row][column]
    ]
    return [changes, [statement["true"][key] for key in ("row", "column", "heading", "markers", "wall_ahead")], read]
