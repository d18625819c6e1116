"""A few programs, statement by statement: their states, and what a probe reads of them."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from progsem.languages import LANGUAGE
from progsem.plots import style
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
    figure = style.new_figure(
        results,
        width,
        1.55 + max(len(entries), 1) * (side + 0.9),
        LANGUAGE.drawing.TITLE,
        [
            f"The probe ({style.DEPTH_NAMES[gallery['depth']]}) sees only the language model's hidden state at a "
            f"statement ({style.SOURCE_NAMES[gallery['source']]}, step {gallery['step']:,}), never the world. "
            f"{LANGUAGE.drawing.READING}",
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
        for axes, (name, world) in zip(line[:2], LANGUAGE.drawing.example(entry), strict=True):
            LANGUAGE.drawing.draw(axes, *world)
            axes.set_title(name, loc="center", fontsize=8, weight="bold")
        line[0].set_xlabel(f"{'correct' if entry['correct'] else 'wrong'} program →", fontsize=7.5, weight="bold")
        for axes in line[2:]:
            axes.set_axis_off()
        for index, (axes, statement) in enumerate(zip(line[2:], entry["statements"], strict=False)):
            axes.set_axis_on()
            LANGUAGE.drawing.draw(axes, *LANGUAGE.drawing.after(entry, statement))
            more = " …" if index + 1 == SHOWN < len(entry["statements"]) else ""
            axes.set_title(statement["text"] + more, loc="center", fontsize=8, family="DejaVu Sans Mono")
            axes.set_xlabel(LANGUAGE.drawing.judgement(statement), fontsize=7.5)
            drawn.append(as_row(entry, index, statement))
    handles = [*LANGUAGE.drawing.legend(), Line2D([], [], linestyle="", label="✓ ✗  the reading is right, wrong")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure, drawn


def as_row(entry: dict, index: int, statement: dict) -> dict:
    """A statement as a row of gallery.csv."""
    row = {"specification": entry["specification"], "correct": entry["correct"], "program": entry["program"]}
    return row | {"statement": index, "text": statement["text"]} | LANGUAGE.drawing.row(statement)
