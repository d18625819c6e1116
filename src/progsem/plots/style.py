"""How every figure looks, is labelled and is written.

Colours are those of Okabe and Ito, which people with any common colour
blindness can tell apart; every series has a marker of its own as well. Files
carry no dates or versions, so that the same numbers give the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from progsem.storage.files import write_csv

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, PALE = "#6B6B6B", "#D0D0D0"
MARKERS = "osD^vPX<>*"
DEPTH_COLOURS = {"linear": SKY, "mlp1": BLUE, "mlp2": VERMILION}
DEPTH_MARKERS = {"linear": "o", "mlp1": "s", "mlp2": "D"}
DEPTH_NAMES = {"linear": "linear probe", "mlp1": "MLP, 1 hidden layer", "mlp2": "MLP, 2 hidden layers"}
SOURCE_NAMES = {"generated": "programs that the model writes", "forced": "fixed programs that the model reads"}
STATE_NAMES = {
    "all": "all states",
    "non_final": "without each program's last state",
    "differing": "states whose label differs",
}
ALTERNATIVE_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, GREY)
PHASE_COLOURS = ("#F3F3F3", "#E3EEF7", "#FCF3DC")
PHASE_NAMES = ("babbling", "syntax", "semantics")
CONTEXT = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


FIGURES: dict[str, Callable[[Results], tuple[Figure, list[dict]] | None]] = {}


def figure(draw: Callable) -> Callable:
    """A decorator: the function draws the figure of its own name.

    It returns the figure and the rows in it, or None where the study has nothing for it.
    """
    FIGURES[draw.__name__] = draw
    return draw


@dataclass(frozen=True)
class Results:
    """What the stage `statistics` wrote: `summary`, `gallery`, and its tables as lists of rows.

    `sections` are those of the config that say what the study is of, by name. `variants` has the same of each
    variant of the study, as far as they are compared.
    """

    summary: dict
    gallery: dict
    tables: dict[str, list[dict]]
    title: str
    sections: dict
    variants: dict[str, Results] = field(default_factory=dict)

    def rows(self, table: str, **where) -> list[dict]:
        """Rows of a table in which every named column has that value."""
        return [row for row in self.tables[table] if all(row[key] == value for key, value in where.items())]

    def headline_rows(self, table: str, source: str | None = None, **where) -> list[dict]:
        """Rows of the headline: its LM seed and states, its source, mean over features, unless others are given."""
        own = {"lm_seed": self.headline, "states": self.states, "feature": "mean"}
        return self.rows(table, **{"source": source or self.sources[0], **own, **where})

    def rank(self, source: str, depth: str) -> dict | None:
        """Where the original stands among mirror pairs: rank, other_pairs, p; None if the summary does not say."""
        key = (source, self.states, depth)
        found = [row for row in self.summary["mirror_pairs"] if (row["source"], row["states"], row["depth"]) == key]
        return found[0] if found else None

    @property
    def headline(self) -> str | int:
        """Value of lm_seed in the rows that the summary quotes: `pooled`, or the only LM seed."""
        seeds = {row["lm_seed"] for row in self.tables["checkpoints"]}
        return "pooled" if "pooled" in seeds else seeds.pop()

    @property
    def seeds(self) -> list[int]:
        """LM seeds, in order."""
        return sorted({row["lm_seed"] for row in self.tables["checkpoints"]} - {"pooled"})

    @property
    def depths(self) -> list[str]:
        """Depths of the probes, shallowest first."""
        return [depth for depth in DEPTH_NAMES if depth in self.summary["semantic_content"]]

    @property
    def sources(self) -> list[str]:
        """Sources of hidden states, the headline's first."""
        return self.summary["sources"]["probed"]

    @property
    def states(self) -> str:
        """State set of the headline."""
        return self.summary["sources"]["states"]

    @property
    def alternatives(self) -> list[str]:
        """Names of the alternative semantics, the difficulty-matched one first."""
        return list(self.summary["alternatives"])

    def interval(self, probed: bool = True) -> str:
        """What the intervals are, for a figure's subtitle; not `probed`: of what the model writes alone."""
        about = self.summary["intervals"]
        drawn = [unit for unit in about["resampled"] if probed or unit != "probe seeds"]
        units = " and ".join([", ".join(drawn[:-1]), drawn[-1]] if len(drawn) > 1 else drawn)
        return f"{about['confidence']:.0%} intervals over {units}"

    def features(self) -> str:
        """The probed features, spelt out."""
        return ", ".join(name.replace("_", " ") for name in self.summary["sources"]["features"])

    def models(self) -> str:
        """How many language models the numbers are from."""
        count = self.summary["n"]["lm_seeds"]
        return "One language model" if count == 1 else f"Mean of {count} language models"


def new_figure(
    results: Results,
    width: float,
    height: float,
    found: str,
    key: str = "",
    *,
    intervals: bool = True,
    probed: bool = True,
) -> Figure:
    """A figure of width × height inches, under what it has `found`, and how to read it; panels go beneath.

    Below `key` stands what the intervals are, if it has any; `probed` is that of `Results.interval`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    about = f"{results.models()}. Bars and bands: {results.interval(probed)}." if intervals else ""
    lines = [line for note in (key, about) for line in textwrap.wrap(note, int(width * 14.5))]
    head = textwrap.wrap(f"{results.title}: {found}", int(width * 8.2))
    below = 0.14 + 0.23 * len(head)
    # The title is the user's: a dollar sign is one, not the beginning of a formula.
    figure.text(0.1 / width, 1 - 0.1 / height, "\n".join(head), va="top", fontsize=13, weight="bold", parse_math=False)
    figure.text(0.1 / width, 1 - below / height, "\n".join(lines), va="top", fontsize=8.5, color=GREY, linespacing=1.35)
    top = 1 - (below + 0.1 + 0.17 * len(lines)) / height
    figure.get_layout_engine().set(rect=(0, 0, 1, top), hspace=0.06, wspace=0.04)
    return figure


def save(figure: Figure, folder: Path, name: str, dpi: int, rows: list[dict]) -> None:
    """Write NAME.png, NAME.pdf and NAME.csv, the numbers that are drawn."""
    # Canvases are asked themselves: `savefig` draws everything once more, before, for the layout alone.
    usual = figure.dpi
    figure.dpi = dpi
    FigureCanvasAgg(figure).print_png(folder / f"{name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")  # the places just found hold for the PDF too
    figure.dpi = usual
    about = {"CreationDate": None, "Producer": None, "Creator": None}
    FigureCanvasPdf(figure).print_pdf(folder / f"{name}.pdf", metadata=about)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(folder / f"{name}.csv", columns, [[row.get(key) for key in columns] for row in rows])


def column(rows: list[dict], key: str) -> np.ndarray:
    """One column as floats; NaN where there is no number."""
    return np.array([np.nan if row.get(key) in (None, "") else row[key] for row in rows], dtype=float)


def curve(
    axes: Axes,
    rows: list[dict],
    key: str,
    *,
    colour,
    marker: str = "o",
    label: str | None,
    over: str = "step",
    interval: str | None = None,
    scale: float = 1,
    pale: float = 0.2,
    **line,
) -> None:
    """A column times `scale` over another; a band where the table has its interval.

    Columns of the interval begin with `interval` (default: the number's own name); `pale` is how opaque the band is.
    """
    x = column(rows, over)
    axes.plot(x, scale * column(rows, key), color=colour, marker=marker, label=label, **line)
    if rows and f"{interval or key}_low" in rows[0]:
        low, high = (scale * column(rows, f"{interval or key}_{end}") for end in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=pale, linewidth=0)


def bars(
    axes: Axes, x: np.ndarray, rows: list[dict], key: str, *, colour, interval: str = "", scale=1, width=2
) -> None:
    """The interval of each row at x, (n,), as a vertical bar; its columns begin as those that `curve` draws."""
    low, high = (scale * column(rows, f"{interval or key}_{end}") for end in ("low", "high"))
    axes.vlines(x, low, high, color=colour, alpha=0.5, linewidth=width)


def thin_curves(axes: Axes, series: Iterable[list[dict]], key: str, colour: str) -> None:
    """The curve of each language model, behind their mean."""
    for rows in series:
        axes.plot(column(rows, "step"), column(rows, key), color=colour, linewidth=0.7, alpha=0.5, zorder=1.5)


def dot(
    axes: Axes,
    row: dict,
    key: str,
    height: float,
    *,
    colour: str,
    marker: str,
    interval: str | None = None,
    scale: float = 1.0,
    hollow: bool = False,
    **line,
) -> None:
    """One number as a dot at a height, with the interval that the row has of it; nothing where there is no number.

    Columns of the interval begin with `interval` (default: the number's own name).
    """
    if row[key] is None:
        return
    ends = [row[f"{interval or key}_{end}"] for end in ("low", "high")]
    if None not in ends:
        axes.plot(scale * np.array(ends), [height, height], color=colour, linewidth=2, alpha=0.5, solid_capstyle="butt")
    face = {"markerfacecolor": "white"} if hollow else {}
    axes.plot(scale * row[key], height, marker, color=colour, **({"markersize": 6} | face | line))


def spelt(
    value: float | None, low: float | None, high: float | None, form: str, scale: float = 1, unit: str = ""
) -> str:
    """A number times `scale` in a format, with unit and interval if it has one; empty where there is no number."""
    if value is None:
        return ""
    form = form.replace(".", "z.")  # what rounds to zero has no sign
    number, *ends = (None if one is None else format(scale * one, form).replace("-", "−") for one in (value, low, high))
    bounds = "" if None in ends else f" [{', '.join(ends)}]".replace("+", "")
    return f"{number}{unit}{bounds}"


def points(value: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """A difference of shares in percentage points, with its interval."""
    return spelt(value, low, high, "+.1f", 100, unit)


def p_value(p: float | None) -> str:
    """A p-value for a reader; empty where there is none."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def cells(axes: Axes, height: int, width: int) -> None:
    """Room for a grid of cells, whose middles are at whole numbers, rows downwards; nothing is drawn."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.75, width - 0.25)
    axes.set_ylim(height - 0.25, -0.75)
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)


def beside(axes: Axes, height: float, text: str) -> None:
    """Text right of a panel, at a height on its axis."""
    axes.text(1.02, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5)


def legend_below(figure: Figure, panels: np.ndarray, columns: int = 6) -> None:
    """One legend for all panels, below them, in so many columns; every label once, in the order of its first panel."""
    found = [axes.get_legend_handles_labels() for axes in panels.flat]
    handles = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), columns))


def source_label(source: str) -> str:
    """Name of a source of states in two lines, for the side of a row of panels."""
    return SOURCE_NAMES[source].replace(" that ", "\nthat ")


def steps_axis(axes: Axes, results: Results) -> None:
    """x is the training step, from the first checkpoint to the last."""
    steps = [row["step"] for row in results.summary["checkpoints"]]
    pad = 0.02 * (steps[-1] - steps[0] or 1)
    axes.set_xlim(steps[0] - pad, steps[-1] + pad)
    axes.set_xlabel("training step")


def shade_phases(axes: Axes, results: Results, names: bool) -> None:
    """Colour the background by phase; `names` writes them above the panel."""
    left, right = axes.get_xlim()
    shown = [
        (start, end, colour, name)
        for (start, end), colour, name in zip(
            phase_bounds(results.summary["phases"], left, right), PHASE_COLOURS, PHASE_NAMES, strict=True
        )
        if end > start
    ]
    for start, end, colour, _ in shown:
        axes.axvspan(start, end, color=colour, zorder=0, linewidth=0)
    if names and shown:
        centres = np.array([(start + end) / 2 for start, end, _, _ in shown])
        places = spread_labels(centres, 0.16 * (right - left))
        # Names of narrow phases are pushed apart; the panel's left edge holds them.
        places += max(0.0, left + 0.05 * (right - left) - places[0])
        for place, (_, _, _, name) in zip(places, shown, strict=True):
            axes.text(
                place,
                1.015,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                color=GREY,
            )


def phase_bounds(phases: dict, left: float, right: float) -> list[tuple[float, float]]:
    """Start and end of babbling, syntax and semantics on the axis; a phase that never came has no width.

    Where no boundary was found there is nothing to tell phases by, and none has any width.
    """
    if phases["syntax_start"] is None and phases["semantics_start"] is None:
        return [(left, left)] * 3
    semantics = right if phases["semantics_start"] is None else phases["semantics_start"]
    syntax = semantics if phases["syntax_start"] is None else phases["syntax_start"]
    return [(left, syntax), (syntax, semantics), (semantics, right)]


def percent_axis(axis, limits: bool = True) -> None:
    """An axis of shares, labelled in per cent."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%"))
    if limits:
        axis.axes.set_ylim(0, 1)


def nothing(axes: Axes, text: str = "no states probed") -> None:
    """Say in the middle of a panel that nothing is drawn in it."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)


def empty(axes: Axes, text: str) -> None:
    """Say in a panel why there is nothing in it."""
    axes.text(0.5, 0.5, textwrap.fill(text, 34), transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])


def spread_labels(values: np.ndarray, gap: float) -> np.ndarray:
    """Heights for labels beside `values` that are at least `gap` apart, as near to them as that allows."""
    order = np.argsort(values, kind="stable")
    heights = values[order].astype(float)
    for _ in range(200):
        overlap = gap - np.diff(heights)
        if (overlap <= 1e-9).all():
            break
        shift = np.maximum(overlap, 0) / 2
        heights[:-1] -= shift
        heights[1:] += shift
    out = np.empty_like(heights)
    out[order] = heights
    return out
