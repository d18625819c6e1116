"""Semantic content against generative accuracy, and by offset."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results

LOWEST = -0.1  # corrected content of the axis: what is below says no more than that nothing is read


@style.figure
def content_vs_accuracy(results: Results) -> tuple[Figure, list[dict]]:
    """Semantic content of every trained checkpoint against its generative accuracy, with the straight line."""
    figure = style.new_figure(
        results,
        1.4 + 3.1 * len(results.depths),
        1.4 + 2.8 * len(results.sources),
        findings.content_vs_accuracy(results),
        "A point is a trained checkpoint of one language model. Changes: from one checkpoint to the next.",
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey="row")
    accuracy = {(row["lm_seed"], row["step"]): row for row in results.tables["checkpoints"]}
    steps = [row["step"] for row in results.summary["checkpoints"]]
    colours, scale = colormaps["viridis"], Normalize(steps[0], steps[-1])
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        for axes, depth in zip(line, results.depths, strict=True):
            where = {"semantics": "original", "source": source, "states": results.states, "feature": "mean"}
            points = [
                row | {name: accuracy[row["lm_seed"], row["step"]][name] for name in ACCURACY}
                for row in results.rows("probes", depth=depth, **where)
                if row["lm_seed"] != "pooled" and row["step"] > 0
            ]
            drawn += points
            x, y = style.column(points, "generative_accuracy"), style.column(points, "accuracy")
            for bar, (value, key) in {"xerr": (x, "generative_accuracy"), "yerr": (y, "accuracy")}.items():
                low, high = style.column(points, f"{key}_low"), style.column(points, f"{key}_high")
                spread = np.abs(np.stack([value - low, high - value]))
                axes.errorbar(x, y, **{bar: spread}, fmt="none", ecolor=style.PALE, elinewidth=1, zorder=1)
            shapes = {seed: style.MARKERS[index % len(style.MARKERS)] for index, seed in enumerate(results.seeds)}
            for seed, shape in shapes.items():
                mine = np.array([row["lm_seed"] == seed for row in points], dtype=bool)
                axes.scatter(
                    x[mine],
                    y[mine],
                    c=style.column(points, "step")[mine],
                    cmap=colours,
                    norm=scale,
                    marker=shape,
                    s=24,
                    edgecolors="black",
                    linewidths=0.4,
                    zorder=3,
                )
            style.percent_axis(axes.xaxis, limits=False)
            style.percent_axis(axes.yaxis, limits=False)
            axes.set_xlim(-0.02, 1.02)
            axes.set_title(style.DEPTH_NAMES[depth])
            fit(axes, results, source, depth, x)
        low, high = line[0].get_ylim() if any(row["source"] == source for row in drawn) else (0.2, 1)
        line[0].set_ylim(low - 0.2 * (high - low), high)  # room for R² below the points
        line[0].set_ylabel(f"semantic content\n{style.SOURCE_NAMES[source]}")
    for axes in panels[-1]:
        axes.set_xlabel("generative accuracy")
    bar = figure.colorbar(
        ScalarMappable(scale, colours), ax=panels, label="training step", fraction=0.03, aspect=40, pad=0.01
    )
    bar.outline.set_visible(False)
    return figure, drawn


ACCURACY = ("generative_accuracy", "generative_accuracy_low", "generative_accuracy_high")


def fit(axes, results: Results, source: str, depth: str, x: np.ndarray) -> None:
    """The line, and R² of levels and of changes."""
    where = {"lm_seed": results.headline, "source": source, "states": results.states, "depth": depth, "measure": "raw"}
    (levels,), (changes,) = (results.rows("regression", points=points, **where) for points in ("levels", "differences"))
    if None in (levels["r2"], levels["slope"], levels["intercept"]):
        axes.text(
            0.97,
            0.03,
            f"too few checkpoints ({levels['n_points']}) for a line",
            transform=axes.transAxes,
            ha="right",
            fontsize=8,
            color=style.GREY,
        )
        return
    ends = np.array([np.nanmin(x), np.nanmax(x)])
    axes.plot(ends, levels["intercept"] + levels["slope"] * ends, color=style.BLACK, linewidth=1, zorder=2)
    text = [f"R² = {r2_text(levels)}, n = {levels['n_points']}", f"changes: R² = {r2_text(changes)}"]
    axes.text(0.97, 0.03, "\n".join(text), transform=axes.transAxes, ha="right", fontsize=8, zorder=4)


def r2_text(row: dict) -> str:
    """R² with its interval."""
    if row["r2"] is None:
        return "undefined"
    if None in (row["r2_low"], row["r2_high"]):
        return f"{row['r2']:.2f}"
    return f"{row['r2']:.2f} [{row['r2_low']:.2f}, {row['r2_high']:.2f}]"


@style.figure
def offsets(results: Results, checkpoints: int = 5) -> tuple[Figure, list[dict]]:
    """Corrected semantic content by offset at a few checkpoints, evenly spaced over those probed."""
    figure = style.new_figure(
        results,
        1.4 + 3.1 * len(results.depths),
        1.4 + 2.7 * len(results.sources),
        findings.offsets(results),
        "Offset: statements from the hidden state to the world that is read; 1 and more are not written yet. What "
        f"reaches {LOWEST:.0%} goes on below.",
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey="row")
    drawn = []
    colours = colormaps["viridis"]
    last = results.summary["checkpoints"][-1]["step"] or 1
    for line, source in zip(panels, results.sources, strict=True):
        where = {"lm_seed": results.headline, "source": source, "states": results.states, "feature": "mean"}
        rows = results.rows("offsets", **where)
        steps = sorted({row["step"] for row in rows if row["offset"] != 0} or {row["step"] for row in rows})
        chosen = (
            [steps[index] for index in np.unique(np.linspace(0, len(steps) - 1, checkpoints).round().astype(int))]
            if steps
            else []
        )
        for axes, depth in zip(line, results.depths, strict=True):
            for index, step in enumerate(chosen):
                rows = sorted(results.rows("offsets", step=step, depth=depth, **where), key=lambda row: row["offset"])
                colour = colours(0.85 * step / last)
                label = "untrained" if step == 0 else f"step {step:,}"
                marker = style.MARKERS[index]
                style.curve(axes, rows, "corrected", over="offset", colour=colour, marker=marker, label=label)
                drawn += rows
            axes.axvline(0, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
            axes.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)
            axes.set_title(style.DEPTH_NAMES[depth])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            style.percent_axis(axes.yaxis, limits=False)
        line[0].set_ylabel(f"corrected semantic content\n{style.SOURCE_NAMES[source]}")
        line[0].set_ylim(bottom=max(LOWEST, line[0].get_ylim()[0]))
        if chosen:
            line[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            style.nothing(line[0])
    for axes in panels[-1]:
        axes.set_xlabel("offset (statements)")
    return figure, drawn
