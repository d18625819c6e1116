"""The semantic intervention: is the true semantics easier to read than alternative ones?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results


def label(results: Results, name: str) -> str:
    """Name for an axis; the difficulty-matched one is marked."""
    return f"{name}*" if results.summary["alternatives"][name]["difficulty_matched"] else name


def colours(results: Results) -> dict[str, tuple[str, str]]:
    """Colour and marker of each alternative."""
    return {
        name: (style.ALTERNATIVE_COLOURS[index % len(style.ALTERNATIVE_COLOURS)], style.MARKERS[index % 10])
        for index, name in enumerate(results.alternatives)
    }


def compared(results: Results, **where) -> list[dict]:
    """Rows of the named alternatives; those that are members of mirror pairs have a figure of their own."""
    return results.rows("alternatives", family="named", **where)


@style.figure
def alternatives(results: Results) -> tuple[Figure, list[dict]] | None:
    """Original and alternatives at the last checkpoint, raw and corrected, and their difference over the training."""
    if not results.alternatives:
        return None
    depth, last = results.depths[-1], results.summary["step"]
    figure = style.new_figure(
        results,
        12.0,
        1.5 + max(2.3, 1.5 + 0.28 * len(results.alternatives)) * len(results.sources),
        findings.alternatives(results),
        f"{style.DEPTH_NAMES[depth]}. Difference: original − alternative, corrected, in points; p: Holm over "
        "alternatives; grey ticks: the most frequent answer. * labels as hard as the original's.",
    )
    panels = figure.subplots(len(results.sources), 4, squeeze=False, width_ratios=(1, 1, 1.35, 1.5))
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        where = {
            "lm_seed": results.headline,
            "source": source,
            "states": results.states,
            "depth": depth,
            "feature": "mean",
        }
        final = {row["semantics"]: row for row in results.rows("probes", step=last, **where)}
        final = {name: final[name] for name in ("original", *results.alternatives) if name in final}
        rows = {row["alternative"]: row for row in compared(results, step=last, offset=0, **where)}
        drawn += list(final.values()) + list(rows.values())
        if not final:
            for axes in line[:2]:
                style.empty(axes, "no states probed at the last checkpoint")
        else:
            dots(line[0], results, final, "accuracy", "majority")
            dots(line[1], results, final, "corrected", None)
            line[1].tick_params(axis="y", labelleft=False)
        columns_of_numbers(line[2], results, rows)
        drawn += gap(line[3], results, where)
        line[0].set_ylabel(style.source_label(source), labelpad=8)
        line[3].set_ylabel("difference\n(percentage points)")
    titles = ("Raw accuracy", "Corrected", "", "Difference over the training")
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, pad=10)
    for axes in panels[-1][:2]:
        axes.set_xlabel("probe accuracy")
    return figure, drawn


def dots(axes: Axes, results: Results, rows: dict[str, dict], key: str, baseline: str | None) -> None:
    """A dot with interval for the original and each alternative; a grey tick at the baseline."""
    names = ["original", *results.alternatives]
    shown = {"original": (style.BLACK, "o"), **colours(results)}
    for height, name in enumerate(names):
        if name not in rows:
            continue
        row, (colour, marker) = rows[name], shown[name]
        style.dot(axes, row, key, height, colour=colour, marker=marker)
        if baseline and row[baseline] is not None:
            axes.plot(row[baseline], height, "|", color=style.GREY, markersize=11, markeredgewidth=1.8)
    if "original" in rows and rows["original"][key] is not None:
        axes.axvline(rows["original"][key], color=style.BLACK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(names)), ["original", *(label(results, name) for name in results.alternatives)])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    style.percent_axis(axes.xaxis, limits=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.12)


# Header -> where the column begins (the first) or ends (the others), as a share of the width.
COLUMNS = {"difference": 0.0, "p": 0.62, "entropy": 0.83, "differ": 1.0}


def columns_of_numbers(axes: Axes, results: Results, rows: dict[str, dict]) -> None:
    """Beside the dots: difference, p, entropy of the labels, and how many of them differ from the original's."""
    axes.set_axis_off()
    axes.set_ylim(len(results.alternatives) + 0.6, -0.6)
    if not rows:
        return
    for header, place in COLUMNS.items():
        _cell(axes, -0.95, header, place).set_color(style.GREY)
    entropy = next((row["entropy_original"] for row in rows.values()), None)
    _cell(axes, 0, "" if entropy is None else f"{entropy:.2f}", COLUMNS["entropy"])
    for height, name in enumerate(results.alternatives, start=1):
        if name not in rows:
            continue
        row = rows[name]
        p, entropy, differing = row["p_holm"], row["entropy_alternative"], row["share_differing"]
        texts = (
            style.points(row["difference"], row["ci_low"], row["ci_high"]),
            style.p_value(p).removeprefix("p ").removeprefix("= "),
            "" if entropy is None else f"{entropy:.2f}",
            "" if differing is None else f"{differing:.0%}",
        )
        for text, place in zip(texts, COLUMNS.values(), strict=True):
            _cell(axes, height, text, place)


def _cell(axes: Axes, height: float, text: str, place: float) -> Text:
    """Text at a height; the first column is flush left, the others flush right."""
    align = "right" if place else "left"
    return axes.text(place, height, text, transform=axes.get_yaxis_transform(), ha=align, va="center", fontsize=7.5)


def gap(axes: Axes, results: Results, where: dict) -> list[dict]:
    """Difference from each alternative over the checkpoints."""
    drawn, ends = [], []
    for name, (colour, marker) in colours(results).items():
        rows = compared(results, alternative=name, offset=0, **where)
        if not rows:
            continue
        look = {"colour": colour, "marker": marker, "label": label(results, name)}
        style.curve(axes, rows, "difference", interval="ci", scale=100, pale=0.12, **look)
        ends.append((name, rows[-1]["step"], 100 * style.column(rows, "difference")[-1], colour))
        drawn += rows
    if not ends:
        style.empty(axes, "no states probed")
        return drawn
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    style.steps_axis(axes, results)
    style.shade_phases(axes, results, names=False)
    low, high = axes.get_ylim()
    heights = style.spread_labels(np.array([np.nan_to_num(value) for _, _, value, _ in ends]), 0.085 * (high - low))
    for (name, step, _, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            label(results, name),
            (step, height),
            xytext=(9, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    return drawn


@style.figure
def alternatives_robustness(results: Results) -> tuple[Figure, list[dict]] | None:
    """The difference at the last checkpoint for every depth, source and set of states."""
    if not results.alternatives:
        return None
    last = results.summary["step"]
    sets = list(dict.fromkeys(row["states"] for row in compared(results))) or [results.states]
    figure = style.new_figure(
        results,
        max(8.5, 2.2 + 2.9 * len(sets)),
        1.5 + max(2.0, 1.0 + 0.42 * len(results.alternatives)) * len(results.sources),
        findings.alternatives_robustness(results),
        "Right of 0 the true meaning is easier to read. n: states. * labels as hard as the original's.",
    )
    panels = figure.subplots(len(results.sources), len(sets), squeeze=False, sharex=True, sharey=True)
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        for axes, states in zip(line, sets, strict=True):
            count = 0
            for index, depth in enumerate(results.depths):
                where = {"step": last, "source": source, "states": states, "depth": depth, "feature": "mean"}
                rows = {
                    row["alternative"]: row
                    for row in compared(results, lm_seed=results.headline, offset=0, **where)
                    if row["difference"] is not None
                }
                drawn += list(rows.values())
                shift = 0.22 * (index - (len(results.depths) - 1) / 2)
                for row in rows.values():
                    style.dot(
                        axes,
                        row,
                        "difference",
                        results.alternatives.index(row["alternative"]) + shift,
                        colour=style.DEPTH_COLOURS[depth],
                        marker=style.DEPTH_MARKERS[depth],
                        interval="ci",
                        scale=100,
                        markersize=5,
                        label=style.DEPTH_NAMES[depth],
                    )
                count = count or next((row["n_states"] for row in rows.values()), 0)
            axes.axvline(0, color=style.BLACK, linewidth=0.8)
            axes.set_title(f"{style.STATE_NAMES[states]}, n = {count:,}", fontsize=9)
            axes.grid(axis="y", visible=False)
            axes.set_yticks(range(len(results.alternatives)), [label(results, name) for name in results.alternatives])
            axes.set_ylim(len(results.alternatives) - 0.4, -0.6)
            if not count:
                style.nothing(axes, "nothing to compare")
        line[0].set_ylabel(style.source_label(source))
    for axes in panels[-1]:
        axes.set_xlabel("difference (percentage points)")
    style.legend_below(figure, panels)
    return figure, drawn
