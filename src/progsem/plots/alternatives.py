"""The semantic intervention: is the true semantics easier to read than alternative ones?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import style
from progsem.plots.style import Results

SHORT = {
    "pick_marker": "pick",
    "put_marker": "put",
    "turn_left": "left",
    "turn_right": "right",
    "move": "move",
}


def meanings(results: Results) -> str:
    """What each alternative changes, in one line."""
    parts = []
    for name, row in results.summary["alternatives"].items():
        changed = [f"{SHORT[token]}→{SHORT[meaning]}" for token, meaning in row["meaning"].items() if token != meaning]
        parts.append(f"{name}: {', '.join(changed)}")
    return "; ".join(parts) + "."


def label(results: Results, name: str) -> str:
    """Name for an axis; the difficulty-matched one is marked."""
    return f"{name}*" if results.summary["alternatives"][name]["difficulty_matched"] else name


def colours(results: Results) -> dict[str, tuple[str, str]]:
    """Colour and marker of each alternative."""
    return {
        name: (style.ALTERNATIVE_COLOURS[index % len(style.ALTERNATIVE_COLOURS)], style.MARKERS[index % 10])
        for index, name in enumerate(results.alternatives)
    }


def draw(results: Results) -> tuple[Figure, list[dict]]:
    """Original and alternatives at the last checkpoint, raw and corrected, and their difference over the training."""
    depth, last = results.depths[-1], results.summary["step"]
    count = max(len(results.alternatives), 1)
    figure = style.new_figure(
        results,
        11.5,
        1.9 + max(2.3, 1.5 + 0.28 * count) * len(results.sources),
        "is the true meaning of the statements easier to read than others?",
        [
            "The same hidden states; the same programs executed again with other meanings of their statements; new "
            f"probes for each. {style.DEPTH_NAMES[depth]}, mean over {results.features()}; "
            f"{style.STATE_NAMES[results.states]}. Intervals: {results.interval()}, paired; p: Holm over alternatives.",
            "Corrected: 0 is always giving the most frequent answer (grey ticks), 100% never being wrong. "
            "* difficulty-matched: its states are about as hard to guess as the original's.",
            *([meanings(results)] if results.alternatives else []),
        ],
    )
    panels = figure.subplots(len(results.sources), 3, squeeze=False, width_ratios=(1, 1.25, 1.5))
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
        compared = {row["alternative"]: row for row in results.rows("alternatives", step=last, **where)}
        drawn += list(final.values()) + list(compared.values())
        if not final:
            for axes in line[:2]:
                style.empty(axes, "no states probed at the last checkpoint")
        else:
            dots(line[0], results, final, "accuracy", "majority")
            dots(line[1], results, final, "corrected", None)
            annotate(line[1], results, compared)
        drawn += gap(line[2], results, where)
        line[0].set_ylabel(style.SOURCE_NAMES[source].replace(" that ", "\nthat "), labelpad=8)
        line[2].set_ylabel("difference\n(percentage points)")
    titles = (
        f"Raw accuracy, step {last:,}",
        "Corrected; right: original − alternative",
        "Difference over the training",
    )
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
        row = rows.get(name)
        if row is None or row[key] is None:
            continue
        colour, marker = shown[name]
        axes.plot([row[f"{key}_low"], row[f"{key}_high"]], [height, height], color=colour, linewidth=2.2, alpha=0.5)
        axes.plot(row[key], height, marker, color=colour, markersize=6)
        if baseline and row[baseline] is not None:
            axes.plot(row[baseline], height, "|", color=style.GREY, markersize=11, markeredgewidth=1.8)
    if "original" in rows and rows["original"][key] is not None:
        axes.axvline(rows["original"][key], color=style.BLACK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(names)), ["original", *(label(results, name) for name in results.alternatives)])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    style.percent_axis(axes.xaxis, limits=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.12)


def annotate(axes: Axes, results: Results, rows: dict[str, dict]) -> None:
    """Difference and p beside each alternative."""
    axes.tick_params(axis="y", labelleft=False)
    for height, name in enumerate(results.alternatives, start=1):
        row = rows.get(name)
        if row is None or row["difference"] is None:
            continue
        p = row["p_holm"]
        significance = "" if p is None else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
        axes.text(
            1.02,
            height,
            f"{100 * row['difference']:+.1f}{significance}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
        )


def gap(axes: Axes, results: Results, where: dict) -> list[dict]:
    """Difference from each alternative over the checkpoints."""
    drawn, ends = [], []
    for name, (colour, marker) in colours(results).items():
        rows = results.rows("alternatives", alternative=name, **where)
        if not rows:
            continue
        steps = style.column(rows, "step")
        values = 100 * style.column(rows, "difference")
        axes.plot(steps, values, color=colour, marker=marker, label=label(results, name))
        axes.fill_between(
            steps,
            100 * style.column(rows, "ci_low"),
            100 * style.column(rows, "ci_high"),
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
        ends.append((name, steps[-1], values[-1], colour))
        drawn += rows
    if not ends:
        style.empty(axes, "no alternative semantics in this study" if not results.alternatives else "no states probed")
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


def draw_robustness(results: Results) -> tuple[Figure, list[dict]]:
    """The difference at the last checkpoint for every depth, source and set of states."""
    last = results.summary["step"]
    sets = list(dict.fromkeys(row["states"] for row in results.tables["alternatives"])) or [results.states]
    figure = style.new_figure(
        results,
        max(8.5, 2.2 + 2.9 * len(sets)),
        1.8 + max(2.0, 1.0 + 0.42 * len(results.alternatives)) * len(results.sources),
        "does the difference depend on the probe or on the states?",
        [
            "Original − alternative, corrected accuracy in percentage points, mean over features, at the last "
            f"checkpoint; right of 0 the true meaning is easier to read. Intervals: {results.interval()}, paired. "
            "n: states (of the first alternative). * difficulty-matched.",
        ],
    )
    if not results.alternatives:
        style.empty(figure.subplots(), "no alternative semantics in this study")
        return figure, []
    panels = figure.subplots(len(results.sources), len(sets), squeeze=False, sharex=True, sharey=True)
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        for axes, states in zip(line, sets, strict=True):
            count = 0
            for index, depth in enumerate(results.depths):
                where = {"step": last, "source": source, "states": states, "depth": depth, "feature": "mean"}
                rows = {
                    row["alternative"]: row
                    for row in results.rows("alternatives", lm_seed=results.headline, **where)
                    if row["difference"] is not None
                }
                drawn += list(rows.values())
                shift = 0.22 * (index - (len(results.depths) - 1) / 2)
                heights = [results.alternatives.index(name) + shift for name in rows]
                colour, marker = style.DEPTH_COLOURS[depth], style.DEPTH_MARKERS[depth]
                values = list(rows.values())
                low, high = (100 * style.column(values, key) for key in ("ci_low", "ci_high"))
                axes.hlines(heights, low, high, color=colour, linewidth=1.8, alpha=0.6)
                axes.plot(
                    100 * style.column(values, "difference"),
                    heights,
                    marker,
                    color=colour,
                    markersize=5,
                    label=style.DEPTH_NAMES[depth],
                )
                count = count or (values[0]["n_states"] if values else 0)
            axes.axvline(0, color=style.BLACK, linewidth=0.8)
            axes.set_title(f"{style.STATE_NAMES[states]}, n = {count:,}", fontsize=9)
            axes.grid(axis="y", visible=False)
            axes.set_yticks(range(len(results.alternatives)), [label(results, name) for name in results.alternatives])
            axes.set_ylim(len(results.alternatives) - 0.4, -0.6)
            if not count:
                axes.text(0.5, 0.5, "nothing to compare", transform=axes.transAxes, ha="center", color=style.GREY)
        line[0].set_ylabel(style.SOURCE_NAMES[source].replace(" that ", "\nthat "))
    for axes in panels[-1]:
        axes.set_xlabel("difference (percentage points)")
    handles, names = panels[0][0].get_legend_handles_labels()
    if drawn:
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure, drawn
