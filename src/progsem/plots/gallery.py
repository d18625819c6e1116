"""A few programs, statement by statement: their states, and what a probe reads of them."""

from __future__ import annotations

from itertools import product

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from progsem.languages import LANGUAGE
from progsem.plots import findings, style
from progsem.plots.style import Results

SHOWN = 12  # statements of one program that fit into a row


@style.figure
def gallery(results: Results) -> tuple[Figure, list[dict]]:
    """One row a program: the example it was written for, then one panel a statement."""
    gallery = results.gallery
    entries = gallery["entries"]
    columns = 2 + min(SHOWN, max((len(entry["statements"]) for entry in entries), default=1))
    side = min(1.35, 12.5 / columns)
    width = max(9.0, columns * side + 0.6)
    semantics = gallery["semantics"]
    figure = style.new_figure(
        results,
        width,
        1.1 + max(len(entries), 1) * len(semantics) * (side + 0.9),
        findings.gallery(results),
        f"By a probe ({style.DEPTH_NAMES[gallery['depth']]}) that sees the hidden state at a statement, never the "
        "world. Left: an example of the text. Right: the program written for it, run on its input"
        + "".join(f"; below, its statements mean what {name} says, and so does the probe." for name in semantics[1:]),
        intervals=False,
    )
    drawn: list[dict] = []
    if not entries:
        style.empty(figure.subplots(), "no test program was probed at the last checkpoint")
        return figure, drawn
    panels = figure.subplots(len(entries) * len(semantics), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for line, (entry, name) in zip(panels, product(entries, semantics), strict=True):
        original = name == semantics[0]
        for axes, (what, world) in zip(line[:2], LANGUAGE.drawing.example(entry) if original else [], strict=False):
            axes.set_axis_on()
            LANGUAGE.drawing.draw(axes, *world)
            axes.set_title(what, loc="center", fontsize=8, weight="bold")
        solved = f"{'correct' if entry['correct'] else 'wrong'} program →"
        line[1].text(
            0.5,
            -0.12 if original else 0.5,
            solved if original else f"under {name} →",
            ha="center",
            va="top",
            fontsize=7.5,
            weight="bold",
            transform=line[1].transAxes,
        )
        shown = entry["statements" if original else "matched"]
        for index, (axes, statement) in enumerate(zip(line[2:], shown, strict=False)):
            axes.set_axis_on()
            LANGUAGE.drawing.draw(axes, *LANGUAGE.drawing.after(entry, statement))
            more = " …" if index + 1 == SHOWN < len(shown) else ""
            axes.set_title(statement["text"] + more, loc="center", fontsize=8, family="DejaVu Sans Mono")
            axes.set_xlabel(LANGUAGE.drawing.judgement(statement), fontsize=7.5)
            drawn.append({"semantics": name} | as_row(entry, index, statement))
    handles = [*LANGUAGE.drawing.legend(), Line2D([], [], linestyle="", label="✓ ✗  the reading is right, wrong")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure, drawn


def as_row(entry: dict, index: int, statement: dict) -> dict:
    """A statement as a row of gallery.csv."""
    row = {"specification": entry["specification"], "correct": entry["correct"], "program": entry["program"]}
    return row | {"statement": index, "text": statement["text"]} | LANGUAGE.drawing.row(statement)
