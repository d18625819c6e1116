"""What a probe's accuracy is worth: the same probes on less than the trained model's hidden state."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results

# Baseline -> its name on the axis, colour, marker, size. Those that `input only` is the best of are smaller.
KINDS = {
    "model": ("trained model", style.BLACK, "o", 7),
    "untrained": ("untrained model", style.BLUE, "s", 6),
    "embedding": ("embedding of one token", style.SKY, "^", 6),
    "text": ("text of the example, no model", style.VERMILION, "D", 6),
    "input_only": ("input only, best of:", style.ORANGE, "v", 6.5),
    "counts": ("statement counts", style.ORANGE, "P", 4.5),
    "prefix": ("program so far", style.ORANGE, "X", 5),
    "start": ("start of the run", style.ORANGE, "<", 4.5),
    "shuffled": ("shuffled labels", style.GREY, "*", 8),
}
CURVES = ("model", "untrained", "text", "input_only")


@style.figure
def baselines(results: Results) -> tuple[Figure, list[dict]] | None:
    """Corrected semantic content of the last checkpoint and of every baseline, by source and depth."""
    last = results.summary["step"]
    rows = results.rows("baselines", lm_seed=results.headline, step=last, states=results.states, feature="mean")
    names = [name for name in KINDS if any(row["baseline"] == name for row in rows)]
    if len(names) < 2:
        return None
    figure = style.new_figure(
        results,
        2.6 + 3.05 * len(results.depths),
        1.7 + (1.0 + 0.24 * len(names)) * len(results.sources),
        findings.baselines(results),
        "The same probes, given other things than the trained model's hidden state. Right: model − baseline in points.",
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey=True)
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        for axes, depth in zip(line, results.depths, strict=True):
            here = {row["baseline"]: row for row in rows if (row["source"], row["depth"]) == (source, depth)}
            drawn += here.values()
            axes.set_title(f"{style.DEPTH_NAMES[depth]}\n{code_length(here)}".rstrip(), fontsize=9)
            if not here:
                style.nothing(axes)
                continue
            compare(axes, here, names)
        first = next((row for row in rows if row["source"] == source), {"n_states": 0, "n_programs": 0})
        line[0].set_ylabel(
            f"{style.source_label(source)}\nn = {first['n_states']:,} states\nof {first['n_programs']:,} programs",
            labelpad=8,
        )
    for axes in panels.flat:
        axes.set_yticks(range(len(names)), [KINDS[name][0] for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.axvline(0, color=style.GREY, linewidth=0.8)
    for axes in panels[-1]:
        axes.set_xlabel("corrected probe accuracy\n(0: the most frequent answer)")
        style.percent_axis(axes.xaxis, limits=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    return figure, drawn


def compare(axes: Axes, rows: dict[str, dict], names: list[str]) -> None:
    """One dot a baseline, and how far the trained model is from it."""
    for height, name in enumerate(names):
        if name not in rows:
            axes.text(0.02, height, "not probed", va="center", fontsize=7.5, color=style.GREY)
            continue
        row = rows[name]
        _, colour, marker, size = KINDS[name]
        style.dot(axes, row, "corrected", height, colour=colour, marker=marker, markersize=size)
        if name != "model":
            bounds = [row[f"difference{end}"] for end in ("", "_low", "_high")]
            style.beside(axes, height, style.points(*bounds))
    if "model" in rows and rows["model"]["corrected"] is not None:
        axes.axvline(rows["model"]["corrected"], color=style.BLACK, linewidth=0.8, linestyle=":", zorder=1)


def code_length(rows: dict[str, dict]) -> str:
    """The online code length of the labels given the hidden states, beside that of the uniform code."""
    model = rows.get("model")
    if model is None or None in (model["bits"], model["compression"]):
        return ""
    return f"code length: {model['bits']:.2f} bits, uniform: {model['bits'] * model['compression']:.2f}"


@style.figure
def baselines_over_training(results: Results) -> tuple[Figure, list[dict]] | None:
    """The trained model and its baselines over the training, where the study asked for them at every checkpoint."""
    where = {"lm_seed": results.headline, "states": results.states, "feature": "mean"}
    rows = [row for row in results.rows("baselines", **where) if row["baseline"] in CURVES]
    compared = {row["step"] for row in rows if row["baseline"] not in ("model", "untrained")}
    if len(compared) < 3:
        return None
    figure = style.new_figure(
        results, 1.6 + 3.1 * len(results.depths), 1.6 + 2.5 * len(results.sources), findings.baselines(results)
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey="row")
    drawn = []
    for line, source in zip(panels, results.sources, strict=True):
        for axes, depth in zip(line, results.depths, strict=True):
            for name in CURVES:
                here = [row for row in rows if (row["source"], row["depth"], row["baseline"]) == (source, depth, name)]
                label, colour, marker, _ = KINDS[name]
                label = label.partition(",")[0]
                style.curve(axes, here, "corrected", colour=colour, marker=marker, label=label)
                drawn += here
            axes.set_title(style.DEPTH_NAMES[depth], pad=16)
            style.percent_axis(axes.yaxis, limits=False)
            style.steps_axis(axes, results)
            style.shade_phases(axes, results, names=True)
            axes.set_xlabel("")
        line[0].set_ylabel(f"corrected probe accuracy\n{style.SOURCE_NAMES[source]}")
    for axes in panels[-1]:
        axes.set_xlabel("training step")
    style.legend_below(figure, panels)
    return figure, drawn
