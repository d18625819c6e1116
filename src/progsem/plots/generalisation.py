"""Whether the model also solves specifications of a kind that it was not trained on."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results

MEASURES = {
    "generative_accuracy": ("right on the shown examples", "o", 0.0),
    "strict_accuracy": ("right on held-out ones too", "^", 0.2),
    "unconstrained_accuracy": ("right, without the grammar", "v", 0.4),
}
REFERENCE = "test set"
WHOLE = -1  # in the column `length`: all lengths together


@style.figure
def generalisation(results: Results) -> tuple[Figure, list[dict]]:
    """Accuracy in each set as a whole, and by the length of the program that the specification was made from."""
    last = results.summary["step"]
    rows = results.rows("generalisation", lm_seed=results.headline, step=last)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    looks = {
        name: (style.ALTERNATIVE_COLOURS[index % 7], style.MARKERS[(index + 1) % 10])
        for index, name in enumerate(sets[1:])
    }
    looks[REFERENCE] = (style.BLACK, "o")
    counts = [row["n"] for row in rows if row["length"] != WHOLE]
    figure = style.new_figure(
        results,
        10.5,
        2.7 + max(2.2, 0.5 * len(sets)),
        findings.generalisation(results),
        f"n: specifications{' times language models' if len(results.seeds) > 1 else ''}; on the right from "
        f"{min(counts):,} to {max(counts):,} a dot.",
        probed=False,
    )
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    whole = {row["set"]: row for row in rows if row["length"] == WHOLE}
    for height, name in enumerate(sets):
        for measure, (label, marker, down) in MEASURES.items():
            style.dot(
                left,
                whole[name],
                measure,
                height + down - 0.2,
                colour=looks[name][0],
                marker=marker,
                hollow=down > 0,
                label=label if height == 0 else None,
            )
    left.set_yticks(range(len(sets)), [f"{name}\nn = {whole[name]['n']:,}" for name in sets])
    left.set_ylim(len(sets) - 0.5, -0.5)
    left.grid(axis="y", visible=False)
    style.percent_axis(left.xaxis, limits=False)
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("specifications solved")
    left.set_title("All lengths together")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=len(MEASURES))
    by_length(right, results, {name: [row for row in rows if row["set"] == name] for name in sets}, looks)
    return figure, rows


def by_length(axes: Axes, results: Results, sets: dict[str, list[dict]], looks: dict[str, tuple[str, str]]) -> None:
    """Generative accuracy by length in every set, over the lengths of training."""
    trained = [row["statements"] for row in results.rows("lengths", programs="training")]
    axes.axvspan(min(trained) - 0.5, max(trained) + 0.5, color=style.PHASE_COLOURS[0], zorder=0, linewidth=0)
    axes.text(
        (min(trained) + max(trained)) / 2,
        1.0,
        "lengths of training",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
        color=style.GREY,
    )
    for index, (name, rows) in enumerate(sets.items()):
        rows = [row for row in rows if row["length"] != WHOLE]
        x = style.column(rows, "length") + 0.06 * (index - (len(sets) - 1) / 2)
        colour, marker = looks[name]
        style.bars(axes, x, rows, "generative_accuracy", colour=colour)
        line = "--" if name == REFERENCE else "-"
        y = style.column(rows, "generative_accuracy")
        axes.plot(x, y, color=colour, marker=marker, linewidth=1, linestyle=line, label=name)
    axes.set_title("By length", pad=16)
    axes.set_xlabel("statements in the specification's own program")
    axes.set_ylabel("right on the shown examples")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.percent_axis(axes.yaxis)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
