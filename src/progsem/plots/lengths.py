"""How long the programs are: those it was trained on, those it writes, those that are right."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.style import Results

KINDS = {
    "training": ("training programs", style.BLACK, "o", "--"),
    "reference_of_correct": ("test programs of the solved specifications", style.GREY, "v", ":"),
    "generated": ("programs it writes", style.SKY, "s", "-"),
    "generated_correct": ("of these, the correct ones", style.VERMILION, "D", "-"),
}


@style.figure
def lengths(results: Results) -> tuple[Figure, list[dict]]:
    """Distributions at the last checkpoint, and means over the training."""
    last = results.summary["step"]
    figure = style.new_figure(
        results,
        10.5,
        4.3,
        findings.lengths(results),
        "Solved specifications may be the easier ones: compare with the programs they were made from (dotted).",
        probed=False,
    )
    left, right = figure.subplots(1, 2)
    drawn = []
    known = [row for row in results.tables["lengths"] if row["programs"] == "training" or row["step"] == last]
    lengths = [row["statements"] for row in known]
    shown = np.arange(min(lengths), max(lengths) + 1)
    for kind, (name, colour, marker, line) in KINDS.items():
        rows = [row for row in known if row["programs"] == kind]
        drawn += rows
        counts = np.zeros(len(shown))
        for row in rows:  # of all language models
            counts[row["statements"] - shown[0]] += row["count"]
        if counts.sum():
            left.plot(shown, counts / counts.sum(), color=colour, marker=marker, linestyle=line, label=name)
    left.set_title(f"Distribution at step {last:,}")
    left.set_xlabel("length (statements)")
    left.set_ylabel("share of programs")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.percent_axis(left.yaxis, limits=False)
    left.set_ylim(bottom=0)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(KINDS))
    curves = results.rows("checkpoints", lm_seed=results.headline)
    for kind, (name, colour, marker, line) in KINDS.items():
        style.curve(
            right,
            curves,
            f"mean_length_{kind}",
            colour=colour,
            marker="" if kind == "training" else marker,
            label=name,
            linestyle=line,
        )
    right.set_title("Mean over the training", pad=16)
    right.set_ylabel("mean length (statements)")
    scale(right, curves)
    style.steps_axis(right, results)
    style.shade_phases(right, results, names=True)
    return figure, drawn + [row | {"programs": "means"} for row in curves]


def scale(axes: Axes, curves: list[dict]) -> None:
    """The axis as far as trained models go: an untrained one may never stop, and then its length is written."""
    named = [f"mean_length_{kind}" for kind in KINDS]
    trained, untrained = (
        [row[name] for row in curves for name in named if (row["step"] > 0) == is_trained and row[name] is not None]
        for is_trained in (True, False)
    )
    top = 1.4 * max(trained or untrained or [1.0])
    axes.set_ylim(0, top)
    if max(untrained, default=0) > top:
        axes.annotate(
            f"untrained: {max(untrained):.1f}",
            (0, top),
            (40, -12),
            textcoords="offset points",
            color=style.GREY,
            fontsize="small",
        )
