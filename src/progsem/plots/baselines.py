"""What a probe's accuracy is worth: the same probes on less than the trained model's hidden state."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import style
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
MEANINGS = {
    "untrained": "Untrained model: its hidden states before the first step (of what it wrote then, where it writes).",
    "embedding": "Embedding: only that of the token which the model reads at this place.",
    "text": "Text: all that stands there about the first example (input, output, program so far), one-hot.",
    "input_only": "Input only: the best of statement counts, program so far, and start of the run, by validation.",
    "shuffled": "Shuffled labels (control task, Hewitt & Liang 2019): the trained model's hidden states, asked for a "
    "random label for each different beginning of a program; the distance to it is the selectivity.",
}


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
        2.4 + (1.0 + 0.24 * len(names)) * len(results.sources),
        "what is a probe's accuracy worth?",
        [
            f"Step {last:,}. The same probes, given other things than the trained model's hidden state: corrected "
            f"accuracy (0: always the most frequent answer, 100%: never wrong), mean over {results.features()}; "
            f"{style.STATE_NAMES[results.states]}. Bars: {results.interval()}. "
            f"{results.models()}. Right: model − baseline in percentage points, paired.",
            " ".join(MEANINGS[name] for name in names if name in MEANINGS),
            *([CODE_LENGTH] if any(row["bits"] is not None for row in rows) else []),
        ],
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


CODE_LENGTH = (
    "Code length (Voita & Titov 2020): bits a state that it takes to send the labels, feature by feature, to somebody "
    "who has the hidden states and learns the probe on the way; uniform: without."
)


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
        results,
        1.6 + 3.1 * len(results.depths),
        2.3 + 2.5 * len(results.sources),
        "when does the model know more than its input says?",
        [
            f"Corrected accuracy (0: always the most frequent answer, 100%: never wrong), mean over "
            f"{results.features()}; {style.STATE_NAMES[results.states]}. Bands: {results.interval()}. "
            f"{results.models()}. A baseline moves where the model writes other programs than before.",
            " ".join(MEANINGS[name] for name in CURVES if name in MEANINGS),
        ],
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
