"""Mirror pairs: is the true meaning ahead of its mirror image by more than any other is of its own?"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.study.vocabulary import ORIGINAL

COLUMNS = 6  # of the grid: divisible by the number of depths and by the two panels below them


@style.figure
def permutations(results: Results) -> tuple[Figure, list[dict]] | None:
    """Every pair's difference by size, and how content and difference depend on how hard and how alike labels are."""
    last = results.summary["step"]
    rows = results.rows("permutations", lm_seed=results.headline, step=last, states=results.states)
    if not any(row["first"] != ORIGINAL for row in rows):
        return None
    figure = style.new_figure(
        results,
        1.6 + 3.2 * max(len(results.depths), 2),
        2.3 + 4.2 * len(results.sources),
        findings.permutations(results),
        "A pair: a permutation of the statements' meanings and its mirror image, whose labels are as hard. Which of "
        "the others' two comes first means nothing, so the size of their difference is shown.",
    )
    grid = figure.add_gridspec(2 * len(results.sources), COLUMNS)
    rows_of_panels = []
    for index, source in enumerate(results.sources):
        span = COLUMNS // len(results.depths)
        above = [figure.add_subplot(grid[2 * index, place : place + span]) for place in range(0, COLUMNS, span)]
        below = [figure.add_subplot(grid[2 * index + 1, place : place + 3]) for place in (0, 3)]
        here = [row for row in rows if row["source"] == source and row["difference"] is not None]
        for axes, depth in zip(above, results.depths, strict=True):
            axes.set_title(f"{style.DEPTH_NAMES[depth]}{_ranked(results.rank(source, depth))}", fontsize=9)
            differences(axes, [row for row in here if row["depth"] == depth])
        contents(below[0], here)
        sizes(below[1], here)
        if not here:
            for axes in (*above, *below):
                style.empty(axes, "no states probed at the last checkpoint")
        above[0].set_ylabel(f"difference (points)\n{style.source_label(source)}")
        rows_of_panels += [above[0], below[0]]
    figure.align_ylabels(rows_of_panels)
    looks = {
        "the true meaning": {"marker": "s", "color": style.BLACK, "markersize": 8},
        "its mirror image": {"marker": "s", "color": style.BLACK, "markersize": 8, "markerfacecolor": "white"},
    } | {
        f"others, {style.DEPTH_NAMES[depth]}": {
            "marker": style.DEPTH_MARKERS[depth],
            "color": style.DEPTH_COLOURS[depth],
        }
        for depth in results.depths
    }
    handles = [Line2D([], [], linestyle="", label=label, **look) for label, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure, rows


def _ranked(ranked: dict | None) -> str:
    """The original's rank and p as the second line of a title."""
    if ranked is None:
        return ""
    return f"\ntrue meaning: rank {ranked['rank']} of {1 + ranked['other_pairs']}, {style.p_value(ranked['p'])}"


def differences(axes: Axes, rows: list[dict]) -> None:
    """The size of every pair's difference, largest first; the original's with its sign."""
    for place, row in enumerate(sorted(rows, key=lambda row: -abs(row["difference"])), start=1):
        own = row["first"] == ORIGINAL
        sign = 100 if own or row["difference"] >= 0 else -100
        colour = style.BLACK if own else style.GREY
        ends = [sign * row[key] for key in ("ci_low", "ci_high") if row[key] is not None]
        axes.plot([place] * len(ends), ends, color=colour, linewidth=2.4 if own else 1, alpha=0.6, zorder=1 + own)
        marker = style.DEPTH_MARKERS[row["depth"]]
        axes.plot(place, sign * row["difference"], marker, color=colour, markersize=8 if own else 3.5, zorder=2 + own)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_xlim(0, len(rows) + 1)
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("mirror pairs, the largest difference first")


def contents(axes: Axes, rows: list[dict]) -> None:
    """Corrected content of every permutation over the entropy of its labels: harder labels are read less well."""
    for row in rows:
        for side in ("first", "second"):
            _point(axes, row, row[f"entropy_{side}"], row[f"corrected_{side}"], hollow=side == "second")
    style.percent_axis(axes.yaxis, limits=False)
    axes.set_title("Harder labels, lower content?", fontsize=9)
    axes.set_xlabel("entropy of the labels (bits a feature)")
    axes.set_ylabel("corrected accuracy")


def sizes(axes: Axes, rows: list[dict]) -> None:
    """Size of every pair's difference over the share of states that tell its two apart."""
    for row in rows:
        own = row["first"] == ORIGINAL
        difference = row["difference"] if own else abs(row["difference"])
        _point(axes, row, row["share_differing"], 100 * difference, hollow=False)
    style.percent_axis(axes.xaxis, limits=False)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_title("More states that differ, larger difference?", fontsize=9)
    axes.set_xlabel("states whose label differs within the pair")
    axes.set_ylabel("difference (points)")


def _point(axes: Axes, row: dict, x: float | None, y: float | None, hollow: bool) -> None:
    """One permutation or pair; the original's is larger, its mirror image hollow."""
    if x is None or y is None:
        return
    own, depth = row["first"] == ORIGINAL, row["depth"]
    colour = style.BLACK if own else style.DEPTH_COLOURS[depth]
    axes.plot(
        x,
        y,
        style.DEPTH_MARKERS[depth],
        color=colour,
        markerfacecolor="white" if own and hollow else colour,
        markersize=7 if own else 3.5,
        alpha=1 if own else 0.6,
        zorder=3 if own else 2,
    )
