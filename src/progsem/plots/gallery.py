"""A few programs, statement by statement: where the robot is, and where the probe reads it to be."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from progsem.plots import style
from progsem.plots.style import Results

WALL = 255
SHOWN = 12  # statements of one program that fit into a row
FACING = ("^", ">", "v", "<")  # markers of matplotlib, by heading


def draw(results: Results) -> tuple[Figure, list[dict]]:
    """One row a program: the example it was written for, then one panel a statement."""
    gallery = results.gallery
    entries = gallery["entries"]
    columns = 2 + min(SHOWN, max((len(entry["statements"]) for entry in entries), default=1))
    side = min(1.35, 12.5 / columns)
    width = max(9.0, columns * side + 0.6)
    figure = style.new_figure(
        results,
        width,
        1.55 + max(len(entries), 1) * (side + 0.9),
        "where the robot is, and where a probe reads it to be",
        [
            f"The probe ({style.DEPTH_NAMES[gallery['depth']]}) sees only the language model's hidden state at a "
            f"statement ({style.SOURCE_NAMES[gallery['source']]}, step {gallery['step']:,}), never the world. "
            "Position: start + the offset read.",
            "Left: the first of the examples in the text. Right: the program written for them, run on that input. "
            + gallery["rule"],
        ],
    )
    drawn: list[dict] = []
    if not entries:
        style.empty(figure.subplots(), "no test program was probed at the last checkpoint")
        return figure, drawn
    panels = figure.subplots(len(entries), columns, squeeze=False)
    for line, entry in zip(panels, entries, strict=True):
        world = np.array(entry["cells"])
        wanted = entry["wanted"]
        example = (("input", world, entry["start"]), ("output asked for", wanted["cells"], wanted["robot"]))
        for axes, (name, cells, robot) in zip(line[:2], example, strict=True):
            draw_world(axes, np.array(cells))
            draw_robot(axes, robot, read=False)
            axes.set_title(name, loc="center", fontsize=8, weight="bold")
        line[0].set_xlabel(f"{'correct' if entry['correct'] else 'wrong'} program →", fontsize=7.5, weight="bold")
        for axes in line[2:]:
            axes.set_axis_off()
        for index, (axes, statement) in enumerate(zip(line[2:], entry["statements"], strict=False)):
            axes.set_axis_on()
            world = after(world, statement, entry["straight_line"])
            draw_world(axes, world)
            more = " …" if index + 1 == SHOWN < len(entry["statements"]) else ""
            axes.set_title(statement["text"] + more, loc="center", fontsize=8, family="DejaVu Sans Mono")
            if statement["true"] is not None:
                draw_robot(axes, statement["true"], read=False)
                draw_robot(axes, statement["read"], read=True)
            axes.set_xlabel(judgement(statement), fontsize=7.5)
            drawn.append(as_row(entry, index, statement))
    handles = [
        Line2D([], [], marker="^", color=style.BLACK, linestyle="", markersize=7, label="robot"),
        Line2D(
            [],
            [],
            marker="^",
            markerfacecolor="none",
            markeredgecolor=style.VERMILION,
            markeredgewidth=1.8,
            linestyle="",
            markersize=11,
            label="robot as the probe reads it",
        ),
        Rectangle((0, 0), 1, 1, color="#555555", label="wall"),
        Line2D([], [], marker="$1$", color=style.BLUE, linestyle="", markersize=6, label="markers in a cell"),
        Line2D([], [], linestyle="", label="✓ ✗  the reading is right, wrong"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure, drawn


def after(world: np.ndarray, statement: dict, straight_line: bool) -> np.ndarray:
    """The cells after a statement; with control flow those at the start, as statements may run many times."""
    if not straight_line or statement["true"] is None:
        return world
    world = world.copy()
    world[statement["true"]["row"], statement["true"]["column"]] = statement["true"]["markers"]
    return world


def draw_world(axes: Axes, cells: np.ndarray) -> None:
    """Grid, walls, and numbers of markers."""
    height, width = cells.shape
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.75, width - 0.25)
    axes.set_ylim(height - 0.25, -0.75)
    axes.set_aspect("equal")
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
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_robot(axes: Axes, pose: dict, read: bool) -> None:
    """A filled arrow for the robot, a hollow larger one for the reading; a circle where no heading is read."""
    if pose["row"] is None:
        return
    marker = "o" if pose["heading"] is None else FACING[pose["heading"]]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    column, row = np.clip(pose["column"], left, right), np.clip(pose["row"], top, bottom)
    look = (
        {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": style.VERMILION, "markeredgewidth": 1.8}
        if read
        else {"markersize": 6.5, "color": style.BLACK}
    )
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


def as_row(entry: dict, index: int, statement: dict) -> dict:
    """A statement as a row of gallery.csv."""
    true = statement["true"] or {"row": None, "column": None, "heading": None}
    row = {"specification": entry["specification"], "correct": entry["correct"], "program": entry["program"]}
    row |= {"statement": index, "text": statement["text"]}
    row |= {f"true_{key}": true[key] for key in ("row", "column", "heading")}
    row |= {f"read_{key}": statement["read"][key] for key in ("row", "column", "heading")}
    return row | {key: statement[key] for key in ("facing_right", "position_right")}
