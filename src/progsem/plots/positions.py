"""Where in a program states can be read: by statement from either end, and by the program's length."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results

BY = {
    "from_start": ("By place in the program", "statement (1 = the first)"),
    "from_end": ("Counted from the end", "statement from the end (1 = the last)"),
    "length": ("By length of the program", "statements in the program"),
}


@style.figure
def positions(results: Results) -> tuple[Figure, list[dict]] | None:
    """Corrected semantic content of the last checkpoint by place, under the original and the matched semantics."""
    depth, last = results.depths[-1], results.summary["step"]
    rows = results.rows("positions", lm_seed=results.headline, step=last, depth=depth, feature="mean")
    if not rows:
        return None
    some = any(row["trained"] is False for row in rows)
    semantics = {"original": ("the true meaning", style.BLACK, "o")} | {
        name: (f"{name}: as hard, another meaning", style.VERMILION, "s")
        for name in results.alternatives
        if any(row["semantics"] == name for row in rows)
    }
    figure = style.new_figure(
        results,
        10.5,
        1.6 + 2.9 * len(results.sources),
        findings.positions(results),
        "Hollow dots: at places whose states have neither trained nor chosen the probes." if some else "",
    )
    panels = figure.subplots(
        2 * len(results.sources),
        len(BY),
        squeeze=False,
        sharex="col",
        sharey="row",
        height_ratios=[1, 0.22] * len(results.sources),
    )
    drawn = []
    for (line, below), source in zip(zip(panels[::2], panels[1::2], strict=True), results.sources, strict=True):
        for axes, counts, by in zip(line, below, BY, strict=True):
            here = [row for row in rows if (row["source"], row["by"]) == (source, by)]
            for shift, (name, (label, colour, marker)) in enumerate(semantics.items()):
                points = sorted((row for row in here if row["semantics"] == name), key=lambda row: row["value"])
                curve(axes, points, 0.08 * (shift - 0.5 * (len(semantics) > 1)), label, colour, marker)
                drawn += points
            original = [row for row in here if row["semantics"] == "original"]
            counts.bar(style.column(original, "value"), style.column(original, "n_states"), 0.6, color=style.PALE)
            counts.grid(axis="x", visible=False)
            counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
            axes.set_title(BY[by][0])
            axes.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)
            if not original:
                style.nothing(axes)
        style.percent_axis(line[0].yaxis, limits=False)
        line[0].set_ylabel(f"corrected probe accuracy\n{style.source_label(source)}")
        below[0].set_ylabel("states")
    for axes, by in zip(panels[-1], BY, strict=True):
        axes.set_xlabel(BY[by][1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[-1][list(BY).index("from_end")].invert_xaxis()  # time goes to the right
    figure.align_ylabels(panels[:, 0])
    style.legend_below(figure, panels)
    return figure, drawn


def curve(axes: Axes, rows: list[dict], shift: float, label: str, colour: str, marker: str) -> None:
    """Dots with intervals, joined; hollow where nothing has trained the probes."""
    x = style.column(rows, "value") + shift
    style.bars(axes, x, rows, "corrected", colour=colour)
    axes.plot(x, style.column(rows, "corrected"), color=colour, marker=marker, linewidth=1, label=label)
    for at, row in zip(x, rows, strict=True):
        if row["trained"] is False and row["corrected"] is not None:
            axes.plot(at, row["corrected"], marker, color=colour, markerfacecolor="white", markersize=6)
